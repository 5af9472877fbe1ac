//! Repositories that are told in a few words: how git makes them, and what an archive of them holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use anyhow::{Result, ensure};
use tests::git_server::GitServer;
use tests::repo::Repo;

use crate::book::{Member, tar};

/// Something at a path.
#[derive(Clone, Debug)]
pub struct Item {
    path: Vec<u8>,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    File(Vec<u8>),
    Program(Vec<u8>),
    /// A file that its group may write, as very old repositories have them.
    OldFile(Vec<u8>),
    Link(Vec<u8>),
    /// A directory with nothing in it, which no command of git would commit.
    Hollow,
    Module(Vec<Item>),
}

pub fn file(path: impl AsRef<[u8]>, content: impl Into<Vec<u8>>) -> Item {
    item(path, What::File(content.into()))
}

pub fn program(path: impl AsRef<[u8]>, content: impl Into<Vec<u8>>) -> Item {
    item(path, What::Program(content.into()))
}

pub fn old_file(path: impl AsRef<[u8]>, content: impl Into<Vec<u8>>) -> Item {
    item(path, What::OldFile(content.into()))
}

pub fn link(path: impl AsRef<[u8]>, target: impl Into<Vec<u8>>) -> Item {
    item(path, What::Link(target.into()))
}

pub fn hollow(path: impl AsRef<[u8]>) -> Item {
    item(path, What::Hollow)
}

pub fn module(path: impl AsRef<[u8]>, items: impl Into<Vec<Item>>) -> Item {
    item(path, What::Module(items.into()))
}

fn item(path: impl AsRef<[u8]>, what: What) -> Item {
    let path = path.as_ref().to_vec();
    Item { path, what }
}

impl Item {
    /// Whether there cannot be another one at this path.
    pub fn is_in_the_way_of(&self, path: &[u8]) -> bool {
        let is_below = |one: &[u8], other: &[u8]| one.strip_prefix(other).is_some_and(|rest| rest.starts_with(b"/"));
        self.path == path || is_below(&self.path, path) || is_below(path, &self.path)
    }
}

/// A repository, what is asked for of it, and what does not get into the archive then.
#[derive(Clone, Debug)]
pub struct Shape {
    /// What is special about it.
    pub name: &'static str,
    items: Vec<Item>,
    /// `spec.ignore`.
    pub ignore: Option<&'static str>,
    /// `spec.sparseCheckout`.
    pub sparse: Vec<String>,
    /// `spec.recurseSubmodules`.
    pub submodules: bool,
    is_sha256: bool,
    without: Vec<&'static str>,
}

/// A repository that is archived as it is.
pub fn shape(name: &'static str, items: impl Into<Vec<Item>>) -> Shape {
    Shape {
        name,
        items: items.into(),
        ignore: None,
        sparse: Vec::new(),
        submodules: false,
        is_sha256: false,
        without: Vec::new(),
    }
}

impl Shape {
    pub fn ignoring(self, lines: &'static str) -> Self {
        let ignore = Some(lines);
        Self { ignore, ..self }
    }

    pub fn sparse(self, entries: &[&str]) -> Self {
        let sparse = entries.iter().map(|entry| (*entry).to_owned()).collect();
        Self { sparse, ..self }
    }

    pub fn with_submodules(self) -> Self {
        let submodules = true;
        Self { submodules, ..self }
    }

    pub fn in_sha256(self) -> Self {
        let is_sha256 = true;
        Self { is_sha256, ..self }
    }

    /// Says which files and directories are not archived. Links never are, and need not be told.
    pub fn without(self, paths: &[&'static str]) -> Self {
        let without = paths.to_vec();
        Self { without, ..self }
    }

    /// Makes the repository, and those of its submodules beside it.
    pub fn make(&self, server: &GitServer, name: &str) -> Result<Repo> {
        make(server, name, &self.items, self.is_sha256)
    }

    /// The archive: the root, and below it, directory by directory in the order of bytes, what the repository holds.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let mut found = Found::new();
        self.find(&self.items, &[], &mut found);
        for path in &self.without {
            let path: Vec<_> = path.as_bytes().split(|byte| *byte == b'/').collect();
            ensure!(found.remove(&path).is_some(), "{path:?} is not there");
        }
        let names: Vec<Vec<u8>> = found.keys().map(|path| path.join(&b'/')).collect();
        let root = Member { name: b".", file: None };
        let below = names.iter().zip(found.values());
        let below = below.map(|(name, file)| Member { name, file: *file });
        Ok(tar(&std::iter::once(root).chain(below).collect::<Vec<_>>()))
    }

    fn find<'a>(&self, items: &'a [Item], above: &[&'a [u8]], found: &mut Found<'a>) {
        for Item { path, what } in items {
            let mut path: Vec<_> = above.iter().copied().chain(path.split(|b| *b == b'/')).collect();
            let file = match what {
                What::File(content) | What::OldFile(content) => Some((&content[..], false)),
                What::Program(content) => Some((&content[..], true)),
                What::Link(_) | What::Module(_) => None,
                What::Hollow => continue,
            };
            if let What::Module(below) = what {
                found.insert(path.clone(), None);
                if self.submodules {
                    self.find(below, &path, found);
                }
            } else if file.is_some() {
                found.insert(path.clone(), file);
            }
            while path.pop().is_some() && !path.is_empty() {
                found.insert(path.clone(), None);
            }
        }
    }
}

/// Files and directories by the names that their paths are made of.
type Found<'a> = BTreeMap<Vec<&'a [u8]>, Option<(&'a [u8], bool)>>;

fn make(server: &GitServer, name: &str, items: &[Item], is_sha256: bool) -> Result<Repo> {
    let repo = server.create(name)?;
    if is_sha256 {
        repo.use_sha256()?;
    }
    let mut stream = Vec::new();
    writeln!(stream, "commit refs/heads/main")?;
    writeln!(stream, "committer Ada Example <ada@example.test> 1767225600 +0000")?;
    writeln!(stream, "data 3\none")?;
    let mut modules = String::new();
    for (n, Item { path, what }) in items.iter().enumerate() {
        let mut put = |mode: &str, content: &[u8]| -> Result<()> {
            writeln!(stream, "M {mode} inline {}\ndata {}", quoted(path), content.len())?;
            stream.extend_from_slice(content);
            stream.push(b'\n');
            Ok(())
        };
        match what {
            What::File(content) => put("100644", content)?,
            What::Program(content) => put("100755", content)?,
            What::Link(target) => put("120000", target)?,
            What::Module(below) => {
                let beside = format!("{name}-{n}");
                let id = make(server, &beside, below, is_sha256)?.head()?;
                writeln!(stream, "M 160000 {id} {}", quoted(path))?;
                let path = String::from_utf8(path.clone())?;
                modules += &format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = ../{beside}.git\n");
            }
            What::OldFile(_) | What::Hollow => {}
        }
    }
    if !modules.is_empty() {
        writeln!(stream, "M 100644 inline .gitmodules\ndata {}\n{modules}", modules.len())?;
    }
    for directory in odd_directories(items) {
        let id = odd_tree(&repo, items, directory)?;
        writeln!(stream, "M 040000 {id} {}", quoted(directory))?;
    }
    writeln!(stream, "done")?;
    repo.import(&stream)?;
    Ok(repo)
}

/// A path as git's import reads it, whatever it holds.
fn quoted(path: &[u8]) -> String {
    let letter = |byte: &u8| match byte {
        b'"' | b'\\' => format!("\\{}", char::from(*byte)),
        b' '..=b'~' => char::from(*byte).to_string(),
        _ => format!("\\{byte:03o}"),
    };
    format!("\"{}\"", path.iter().map(letter).collect::<String>())
}

/// The directories with something in them that git's import would not take. They hold nothing else.
fn odd_directories(items: &[Item]) -> BTreeSet<&[u8]> {
    let is_odd = |item: &&Item| matches!(item.what, What::OldFile(_) | What::Hollow);
    items.iter().filter(is_odd).map(|item| split(&item.path).0).collect()
}

fn odd_tree(repo: &Repo, items: &[Item], directory: &[u8]) -> Result<String> {
    let mut entries = Vec::new();
    for item in items {
        let (above, name) = split(&item.path);
        if above != directory {
            continue;
        }
        entries.push(match &item.what {
            What::OldFile(content) => ("100664", name, repo.object("blob", content)?),
            _ => ("40000", name, repo.object("tree", b"")?),
        });
    }
    repo.tree(&entries)
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
