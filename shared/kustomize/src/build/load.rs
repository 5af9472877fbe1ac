//! Reading what a kustomization names: relative to its directory, and no further than it may.
//!
//! A kustomization is in a tree: the one the build was given, or a fetched repository. No path leads from one tree into
//! another; only a URL does. What is fetched and how it is kept is not decided here.

use std::rc::Rc;

use super::session::Session;
use crate::error::Within;
use crate::files::{file_name, join, within};
use crate::remote::{RepoSpec, is_url, redacted};
use crate::unsupported::REMOTE;
use crate::{Error, FileError, FileKind, Files, LoadRestriction, Origin};

/// Reads for the kustomization in one directory.
#[derive(Clone)]
pub(crate) struct Loader<'a> {
    /// The build.
    pub session: &'a Session<'a>,
    root: Rc<Root<'a>>,
}

/// The directory of a kustomization, and those of the kustomizations that led to it.
struct Root<'a> {
    tree: Tree<'a>,
    /// In the tree, symbolic links resolved.
    path: String,
    /// The directory as errors name it.
    shown: String,
    referrer: Option<Rc<Root<'a>>>,
}

/// Where a directory is.
#[derive(Clone)]
enum Tree<'a> {
    /// In the files that the build was given.
    Own(&'a dyn Files),
    /// In a fetched repository. Each reference to a repository is a checkout of its own, though the files are shared.
    Fetched(Rc<Checkout>),
}

/// A reference to a repository.
struct Checkout {
    /// The reference as written.
    text: String,
    spec: RepoSpec,
    files: Rc<dyn Files>,
}

impl<'a> Tree<'a> {
    fn files(&self) -> &dyn Files {
        match self {
            Tree::Own(files) => *files,
            Tree::Fetched(checkout) => &*checkout.files,
        }
    }

    fn checkout(&self) -> Option<&Rc<Checkout>> {
        match self {
            Tree::Own(_) => None,
            Tree::Fetched(checkout) => Some(checkout),
        }
    }

    fn is(&self, other: &Tree<'_>) -> bool {
        match (self.checkout(), other.checkout()) {
            (None, None) => true,
            (Some(one), Some(other)) => Rc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// A path of the tree as errors name it.
    fn shown(&self, path: &str) -> String {
        match (self.checkout(), path) {
            (None, "") => ".".to_owned(),
            (None, path) => path.to_owned(),
            (Some(checkout), "") => checkout.spec.name(),
            (Some(checkout), path) => format!("{}//{path}", checkout.spec.name()),
        }
    }
}

impl<'a> Root<'a> {
    fn new(tree: Tree<'a>, path: String, referrer: Option<Rc<Root<'a>>>) -> Self {
        Self {
            shown: tree.shown(&path),
            tree,
            path,
            referrer,
        }
    }

    /// This one and those that led here, the nearest first.
    fn lineage(&self) -> impl Iterator<Item = &Root<'a>> {
        std::iter::successors(Some(self), |root| root.referrer.as_deref())
    }
}

impl<'a> Loader<'a> {
    /// A loader for the build's root: a directory, or a URL.
    ///
    /// # Errors
    /// When it is no directory, or cannot be fetched.
    pub fn root(session: &'a Session<'a>, dir: &str) -> Result<Self, Error> {
        let root = match RepoSpec::parse(dir) {
            Some(spec) => fetched(session, dir, spec, None)?,
            None if is_url(dir) => return Err(no_repository(session, dir)),
            None => {
                let tree = Tree::Own(session.files);
                let directory = directory(&tree, &join("", dir)?)?;
                Root::new(tree, directory, None)
            }
        };
        Ok(Self {
            session,
            root: Rc::new(root),
        })
    }

    /// The directory, for errors.
    pub fn directory(&self) -> &str {
        &self.root.shown
    }

    /// The directory's name.
    pub fn directory_name(&self) -> &str {
        match (self.root.path.as_str(), self.root.tree.checkout()) {
            ("", None) => ".",
            ("", Some(checkout)) => {
                let url = checkout.spec.repository.url.as_str();
                file_name(url.strip_suffix(".git").unwrap_or(url))
            }
            (directory, _) => file_name(directory),
        }
    }

    /// A path, as named here, from the root of the tree, in the form in which errors name it.
    ///
    /// # Errors
    /// When it leads out of the tree, or is absolute in what was fetched.
    pub fn path(&self, path: &str) -> Result<String, Error> {
        if is_url(path) {
            return Ok(redacted(path).into_owned());
        }
        Ok(self.root.tree.shown(&self.full(path)?))
    }

    /// A place in a file, as named here; the URL of a file that is behind one.
    ///
    /// # Errors
    /// As [`Loader::path`].
    pub fn origin(&self, path: &str, line: Option<usize>) -> Result<Origin, Error> {
        if is_url(path) {
            return Ok(Origin {
                path: redacted(path).into_owned(),
                line,
                repository: None,
                reference: None,
            });
        }
        let repository = self.root.tree.checkout().map(|checkout| &checkout.spec.repository);
        Ok(Origin {
            path: self.full(path)?,
            line,
            repository: repository.map(|repository| redacted(&repository.url).into_owned()),
            reference: repository.and_then(|repository| repository.reference.clone()),
        })
    }

    fn full(&self, path: &str) -> Result<String, Error> {
        // An absolute path starts at the root of the files.
        if path.starts_with('/') && self.root.tree.checkout().is_some() {
            return Err(Error::new(format!("'{path}' cannot be absolute")));
        }
        Ok(join(&self.root.path, path)?)
    }

    /// The content of a file, or of what is behind a URL.
    ///
    /// # Errors
    /// When it cannot be read or must not be.
    pub fn load(&self, path: &str) -> Result<Vec<u8>, Error> {
        if is_url(path) {
            return self.session.fetch(path);
        }
        match self.root.tree.checkout() {
            None => self.load_from_tree(path),
            Some(checkout) => self.load_from_tree(path).within(|| checkout.spec.name()),
        }
    }

    fn load_from_tree(&self, path: &str) -> Result<Vec<u8>, Error> {
        let Root { tree, path: root, .. } = &*self.root;
        let (files, full) = (tree.files(), self.full(path)?);
        // What was fetched may never read further than the kustomization's own directory.
        if tree.checkout().is_none() && self.session.options.load_restriction == LoadRestriction::None {
            return self.session.read(files, &full);
        }
        let resolved = files.resolve(&full)?;
        if files.is_dir(&resolved) {
            return Err(Error::new(format!("'{full}' must resolve to a file")));
        }
        if !within(&resolved, root) {
            return Err(Error::new(format!(
                "security; file '{full}' is not in or below '{}'",
                self.directory()
            )));
        }
        self.session.read(files, &resolved)
    }

    /// A loader for another directory, or for a repository.
    ///
    /// # Errors
    /// When it is no directory, cannot be fetched, is this one or holds one on the way here, or is nested too deep.
    pub fn descend(&self, path: &str) -> Result<Self, Error> {
        if path.is_empty() {
            return Err(Error::new("new root cannot be empty"));
        }
        let most = self.session.options.limits.depth;
        if self.root.lineage().count() >= most {
            return Err(Error::fatal(format!(
                "more than {most} kustomizations nested in one another"
            )));
        }
        let root = match RepoSpec::parse(path) {
            Some(spec) => {
                self.check_repositories(path)?;
                fetched(self.session, path, spec, Some(self.root.clone()))?
            }
            None if is_url(path) => return Err(no_repository(self.session, path)),
            None => self.below(path)?,
        };
        Ok(Self {
            session: self.session,
            root: Rc::new(root),
        })
    }

    /// A directory of the same tree.
    fn below(&self, path: &str) -> Result<Root<'a>, Error> {
        if path.starts_with('/') {
            return Err(Error::new(format!("new root '{path}' cannot be absolute")));
        }
        let tree = &self.root.tree;
        let full = match (join(&self.root.path, path), tree.checkout()) {
            (Err(FileError::Outside(_)), Some(checkout)) => {
                return Err(Error::new(format!(
                    "security; bases in kustomizations found in cloned git repos must be within the repo, but base \
                     '{path}' is outside '{}'",
                    checkout.spec.name()
                )));
            }
            (full, _) => full?,
        };
        let root = directory(tree, &full)?;
        for visited in self.root.lineage().filter(|visited| visited.tree.is(tree)) {
            if within(&visited.path, &root) {
                return Err(Error::fatal(format!(
                    "cycle detected: candidate root '{}' contains visited root '{}'",
                    tree.shown(&root),
                    visited.shown
                )));
            }
        }
        Ok(Root::new(tree.clone(), root, Some(self.root.clone())))
    }

    /// Finds cycles of references to repositories by their texts, as upstream.
    fn check_repositories(&self, path: &str) -> Result<(), Error> {
        let mut previous = self.root.lineage().filter_map(|root| root.tree.checkout());
        match previous.find(|checkout| checkout.text.starts_with(path)) {
            Some(checkout) => Err(Error::fatal(format!(
                "cycle detected: URI '{path}' referenced by previous URI '{}'",
                checkout.text
            ))),
            None => Ok(()),
        }
    }

    /// The error for a path that is neither a file nor a base: both reasons, but only one of them where the other says the
    /// same or nothing of use.
    pub fn neither(&self, path: &str, no_file: Error, no_base: Error) -> Error {
        let is_base = RepoSpec::parse(path).is_some();
        let is_refused = !self.session.fetched.is_allowed() && (is_base || is_url(path));
        let is_file = !is_base && (no_file.is_in_content() || is_url(path));
        if is_refused {
            no_base.inside(|| "accumulating resources")
        } else if is_file {
            no_file
        } else {
            no_base.inside(|| format!("accumulating resources: accumulation err='{}'", no_file.first_message()))
        }
    }
}

/// A directory in a repository, which is fetched unless it was already.
fn fetched<'a>(
    session: &Session<'a>,
    text: &str,
    spec: RepoSpec,
    referrer: Option<Rc<Root<'a>>>,
) -> Result<Root<'a>, Error> {
    let files = session.fetched.repository(&spec).within(|| format!("'{text}'"))?;
    if spec.forced {
        session.warn(&format!(
            "'{text}': 'git::' has no effect, and a later kustomize will not understand it; leave it out"
        ));
    }
    let outside = || {
        Error::new(format!(
            "'{text}' refers to directory outside of repo '{}'",
            spec.name()
        ))
    };
    let named = join("", &spec.directory).map_err(|_| outside())?;
    let directory = match files.resolve(&named) {
        Err(FileError::Outside(_)) => return Err(outside()),
        resolved => resolved.within(|| format!("'{text}'"))?,
    };
    if !files.is_dir(&directory) {
        return Err(Error::new(format!(
            "'{text}' refers to file '{directory}'; expecting directory"
        )));
    }
    let text = text.to_owned();
    let tree = Tree::Fetched(Rc::new(Checkout { text, spec, files }));
    Ok(Root::new(tree, directory, referrer))
}

/// The error for a URL that can only be one of a file.
fn no_repository(session: &Session<'_>, url: &str) -> Error {
    let why = if session.fetched.is_allowed() {
        "not a Git repository; expected a URL such as https://HOST/ORGANISATION/REPOSITORY//DIRECTORY?ref=REFERENCE"
    } else {
        REMOTE
    };
    Error::new(format!("'{url}': {why}"))
}

/// A path of a tree, symbolic links resolved.
fn directory(tree: &Tree<'_>, path: &str) -> Result<String, Error> {
    let resolved = tree.files().resolve(path).within(|| "must build at directory")?;
    match tree.files().kind(&resolved) {
        Some(FileKind::Directory) => Ok(resolved),
        _ => Err(Error::new(format!(
            "must build at directory: not a valid directory: '{}'",
            tree.shown(path)
        ))),
    }
}
