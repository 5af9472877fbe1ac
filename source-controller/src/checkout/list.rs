//! The walk through a tree.

use std::collections::HashMap;
use std::io::{self, Write};

use artifact::Limits;
use git::Tree;
use git::tree::{Damage, Node, What};

use super::listing::{Content, Entry, Listing, MAX_IGNORE_FILE, Source};
use super::{Bounds, Error, Sparse, object};
use crate::ignore;
use crate::names::{self, Unfit};

/// How long the target of a link may be, in bytes.
const MAX_TARGET: u64 = 4095;

/// Lists what a checkout of the tree would hold, and reads the `.sourceignore` files in it.
///
/// # Errors
/// See [`Error`]; also when an entry of the sparse checkout leads to nothing.
pub fn list(tree: &Tree, sparse: &Sparse, bounds: Bounds) -> Result<Listing, Error> {
    let mut walk = Walk {
        tree,
        sparse,
        limits: bounds.whole,
        listing: Listing::default(),
        links: HashMap::new(),
    };
    walk.directory(tree.root(), b"", 0)?;
    sparse.check(&walk.listing, |path| walk.target(path))?;
    Ok(walk.listing)
}

struct Walk<'a> {
    tree: &'a Tree,
    sparse: &'a Sparse,
    limits: Limits,
    listing: Listing,
    /// The links in the listing, where entries of the sparse checkout may lead through them.
    links: HashMap<Vec<u8>, Node>,
}

impl Walk<'_> {
    /// Lists a directory whose children's paths begin with the prefix.
    fn directory(&mut self, node: Node, prefix: &[u8], depth: usize) -> Result<(), Error> {
        let path = prefix.strip_suffix(b"/").unwrap_or(prefix);
        if depth > self.limits.depth {
            let text = format!(
                "{} levels of directories at '{}'",
                self.limits.depth,
                names::shown(path)
            );
            return Err(Error::Limit(text));
        }
        let children = self.tree.directory(node).map_err(|damage| match damage {
            Damage::Name(name) => Error::Name(names::shown(&[prefix, name.as_bytes()].concat())),
            Damage::Object(detail) => object(path, node, detail),
        })?;
        for child in &children {
            let name = [prefix, &child.name[..]].concat();
            if names::is_git_directory(&child.name) {
                return Err(Error::Unfit {
                    path: names::shown(&name),
                    why: Unfit::GitDirectory,
                });
            }
            match child.what {
                What::File { executable } if self.sparse.takes(&name) => {
                    if child.name == ignore::FILE.as_bytes() {
                        self.ignore_file(child.node, path, &name)?;
                    }
                    let source = Source::Tree(child.node);
                    self.push(name, Content::File { source, executable })?;
                }
                What::Link if self.sparse.takes(&name) => {
                    if self.sparse.prefixes().next().is_some() {
                        self.links.insert(name.clone(), child.node);
                    }
                    self.push(name, Content::Link)?;
                }
                What::Directory => self.below(child.node, name, depth, false)?,
                What::Module => match self.tree.module(&String::from_utf8_lossy(&name)) {
                    Some(module) => {
                        let is_taken = self.sparse.takes(&name);
                        self.below(module, name, depth, is_taken)?;
                    }
                    None if self.sparse.takes(&name) => self.push(name, Content::Directory)?,
                    None => {}
                },
                What::File { .. } | What::Link => {}
            }
        }
        Ok(())
    }

    /// A directory and what is in it. A checkout makes no directory for nothing, unless it takes it for itself.
    fn below(&mut self, node: Node, name: Vec<u8>, depth: usize, is_taken: bool) -> Result<(), Error> {
        let prefix = [&name[..], b"/"].concat();
        if !is_taken && !self.sparse.leads_to(&prefix) {
            return Ok(());
        }
        let before = self.listing.entries.len();
        self.push(name, Content::Directory)?;
        self.directory(node, &prefix, depth + 1)?;
        if !is_taken && self.listing.entries.len() == before + 1 {
            self.listing.entries.truncate(before);
        }
        Ok(())
    }

    /// Where a link leads; what Linux would not take for a link is not followed.
    fn target(&self, path: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Some(node) = self.links.get(path).copied() else {
            return Ok(None);
        };
        let failed = |damage: Damage| object(path, node, damage.to_string());
        let mut target = Vec::new();
        if self.tree.size(node).map_err(failed)? <= MAX_TARGET {
            self.tree.content(node, &mut target).map_err(failed)?;
        }
        Ok(Some(target).filter(|target| !target.is_empty()))
    }

    fn push(&mut self, name: Vec<u8>, content: Content) -> Result<(), Error> {
        self.listing.push(Entry { name, content }, self.limits.entries)
    }

    fn ignore_file(&mut self, node: Node, directory: &[u8], path: &[u8]) -> Result<(), Error> {
        let mut beginning = Beginning(Vec::new());
        let read = self.tree.copy(node, &mut beginning);
        read.map_err(|error| object(path, node, error.to_string()))?;
        let directory = String::from_utf8_lossy(directory).into_owned();
        let content = String::from_utf8_lossy(&beginning.0).into_owned();
        self.listing.ignore_files.push((directory, content));
        Ok(())
    }
}

/// Keeps the beginning of an ignore file, however much there is.
struct Beginning(Vec<u8>);

impl Write for Beginning {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MAX_IGNORE_FILE.saturating_sub(self.0.len());
        self.0.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
