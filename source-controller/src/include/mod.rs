//! Other artifacts in this one: `spec.include`.
//!
//! [`resolve`] finds the artifacts among the objects the watch knows; one that is missing is waited for. [`Copy::add`] unpacks
//! an artifact from the local disk, within the limits of any artifact and only if it has the digest it is announced with, and
//! merges what is wanted of it into the listing of the tree, where the ignore rules apply to it like to everything else.
//! [`includers`] says whom a new artifact concerns, so that nobody has to poll for it.
//!
//! What a user writes as a path never leads out of the artifact or of the tree: `..` stops at the root. A path that leads over
//! a symbolic link of the tree is refused, as links are not part of an artifact.

use std::collections::HashSet;
use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use api::source::{Artifact, GitRepository, GitRepositoryInclude, GitRepositoryStatus};
use artifact::{Digest, Limits};
use cap_std::fs::{Dir, File, MetadataExt};
use kube::ResourceExt;

use crate::checkout::{self, Content, Entry, Listing, Source, Unpacked, within};
use crate::ignore;
use crate::names;

/// An include that cannot be had yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// There is no such object, or this controller does not watch it.
    #[error("could not get resource for include '{0}': GitRepository.source.toolkit.fluxcd.io \"{0}\" not found")]
    NotFound(String),
    /// It has no artifact.
    #[error("no artifact available for include '{0}'")]
    NoArtifact(String),
}

/// Why an artifact cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `toPath` is none that a file could have.
    #[error("path calculation for include '{name}' failed: {detail}")]
    IllegalPath {
        /// The repository that is included.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// Anything else.
    #[error("failed to copy '{name}' include from {from} to {to}: {detail}")]
    Failed {
        /// The repository that is included.
        name: String,
        /// `fromPath` as it is written.
        from: String,
        /// `toPath` as it is written, or what stands for it.
        to: String,
        /// What went wrong.
        detail: String,
    },
}

/// The artifacts to include, in the order of the spec; `artifact` finds that of an object, if there is one.
///
/// # Errors
/// The first that cannot be had.
pub fn resolve(
    include: &[GitRepositoryInclude],
    artifact: impl Fn(&str) -> Option<Option<Artifact>>,
) -> Result<Vec<Artifact>, Unavailable> {
    let find = |include: &GitRepositoryInclude| {
        let name = &include.repository.name;
        match artifact(name) {
            None => Err(Unavailable::NotFound(name.clone())),
            Some(None) => Err(Unavailable::NoArtifact(name.clone())),
            Some(Some(artifact)) => Ok(artifact),
        }
    };
    include.iter().map(find).collect()
}

/// Whether artifacts of other revisions are included than those that the artifact there is was made with, or more or fewer.
/// Their order does not matter. One that was only built anew, at the same revision, makes no news, but a new artifact:
/// [`has_changed`].
pub fn has_moved(status: &GitRepositoryStatus, included: &[Artifact]) -> bool {
    let before = &status.included_artifacts;
    let is_known = |artifact: &Artifact| before.iter().any(|known| known.revision == artifact.revision);
    before.len() != included.len() || !included.iter().all(is_known)
}

/// Whether the artifact there is was made with other included artifacts than these.
pub fn has_changed(status: &GitRepositoryStatus, included: &[Artifact]) -> bool {
    let identity = |artifact: &Artifact| (artifact.revision.clone(), artifact.digest.clone());
    let before = status.included_artifacts.iter().map(identity);
    !before.eq(included.iter().map(identity))
}

/// Those of all objects that include one and were made with another artifact of it. One that it includes in turn, over however
/// many, is left to its interval: two that include each other might never come to rest.
pub fn includers(changed: &GitRepository, all: &[GitRepository]) -> Vec<String> {
    let Some(artifact) = changed.status.as_ref().and_then(|status| status.artifact.as_ref()) else {
        return Vec::new();
    };
    let (namespace, name) = (changed.namespace(), changed.name_any());
    let is_behind = |object: &GitRepository| {
        let known = object
            .status
            .as_ref()
            .map(|status| &status.included_artifacts[..])
            .unwrap_or_default();
        object.spec.include.iter().enumerate().any(|(index, include)| {
            let is_known =
                |known: &Artifact| (&known.revision, &known.digest) == (&artifact.revision, &artifact.digest);
            include.repository.name == name && !known.get(index).is_some_and(is_known)
        })
    };
    let mut found: Vec<_> = all
        .iter()
        .filter(|object| object.namespace() == namespace && is_behind(object))
        .map(|object| object.name_any())
        .collect();
    if !found.is_empty() {
        let below = below(changed, all);
        found.retain(|name| !below.contains(name));
    }
    found
}

/// The names of all that an object includes, and of what that includes.
fn below(object: &GitRepository, all: &[GitRepository]) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut open = vec![object];
    while let Some(object) = open.pop() {
        for include in &object.spec.include {
            if found.insert(include.repository.name.clone()) {
                let is_it = |other: &&GitRepository| {
                    other.name_any() == include.repository.name && other.namespace() == object.namespace()
                };
                open.extend(all.iter().find(is_it));
            }
        }
    }
    found
}

/// One artifact to merge.
pub struct Copy<'a> {
    /// What the spec says.
    pub include: &'a GitRepositoryInclude,
    /// The artifact that was found.
    pub artifact: &'a Artifact,
    /// How much it may hold, and the merged listing too.
    pub limits: Limits,
}

impl Copy<'_> {
    /// Unpacks the artifact, which `file` holds, into an empty directory and merges what is wanted of it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn add(&self, listing: &mut Listing, file: io::Result<File>, into: &Path) -> Result<(), Error> {
        let name = &self.include.repository.name;
        let to = self.target(listing).map_err(|detail| Error::IllegalPath {
            name: name.clone(),
            detail,
        })?;
        self.merge(listing, file, into, to).map_err(|detail| Error::Failed {
            name: name.clone(),
            from: self.include.from_path.clone().unwrap_or_default(),
            to: self.include.target_path().to_owned(),
            detail,
        })
    }

    /// Where it goes.
    fn target(&self, listing: &Listing) -> Result<String, String> {
        let to = within(self.include.target_path());
        for name in to.split('/') {
            if names::is_git_directory(name.as_bytes()) {
                return Err(format!(
                    "'{}' is refused: {}",
                    names::shown(to.as_bytes()),
                    names::Unfit::GitDirectory
                ));
            }
        }
        if let Some(why) = names::unfit(to.as_bytes()) {
            return Err(format!("'{}' is refused: {why}", names::shown(to.as_bytes())));
        }
        for above in upwards(&to) {
            if let Some(Content::Link) = listing.find(above.as_bytes()) {
                return Err(format!("'{above}' is a symbolic link"));
            }
        }
        Ok(to)
    }

    fn merge(&self, listing: &mut Listing, file: io::Result<File>, into: &Path, to: String) -> Result<(), String> {
        let path = &self.artifact.path;
        let file = file.map_err(|error| format!("open {path}: {error}"))?;
        let directory = self.unpack(file, into)?;
        let from = within(self.include.from_path.as_deref().unwrap_or_default());
        let shown = ["unpack", &from].join("/");
        let shown = shown.trim_end_matches('/');
        let missing = || format!("cannot stat {shown}: stat {shown}: no such file or directory");
        let is_directory = match &*from {
            "" => true,
            from => directory.symlink_metadata(from).map_err(|_| missing())?.is_dir(),
        };
        let conflict = |what: &str| format!("link error: cannot rename {shown} to {to}: rename {shown} {to}: {what}");
        let mut entries = self.parents(listing, &to)?;
        match listing.find(to.as_bytes()) {
            _ if to.is_empty() => return Err(conflict("file exists")),
            Some(Content::Directory) => return Err(conflict("file exists")),
            Some(Content::File { .. }) if is_directory => return Err(conflict("not a directory")),
            Some(Content::File { .. } | Content::Link) | None => {}
        }
        let failed = |error: io::Error| format!("cannot read {shown}: {error}");
        let copy = listing.copy(Unpacked {
            directory: directory.try_clone().map_err(failed)?,
            from: from.clone(),
            to: to.clone(),
        });
        let mut walk = Walk {
            copy,
            entries: Vec::new(),
            ignore_files: Vec::new(),
        };
        let walked = match (is_directory, &*from) {
            (true, "") => walk.directory(&directory, to.as_bytes()),
            (true, from) => directory
                .open_dir(from)
                .and_then(|directory| walk.directory(&directory, to.as_bytes())),
            (false, from) => directory.open(from).and_then(|file| walk.file(&file, to.into_bytes())),
        };
        walked.map_err(failed)?;
        entries.append(&mut walk.entries);
        listing
            .merge(entries, walk.ignore_files, self.limits.entries)
            .map_err(|error: checkout::Error| error.to_string())
    }

    /// Unpacks the file if it is what it is announced to be.
    fn unpack(&self, mut file: File, into: &Path) -> Result<Dir, String> {
        let announced = self.artifact.digest.parse::<Digest>();
        let announced = announced.map_err(|error| format!("{}: {error}", self.artifact.path))?;
        let unreadable = |error: io::Error| format!("read {}: {error}", self.artifact.path);
        let found = Digest::of_reader(announced.algorithm(), &mut file).map_err(unreadable)?;
        if found != announced {
            return Err(format!(
                "computed digest '{found}' of {} doesn't match '{announced}'",
                self.artifact.path
            ));
        }
        file.rewind().map_err(unreadable)?;
        let directory = Dir::open_ambient_dir(into, cap_std::ambient_authority()).map_err(unreadable)?;
        artifact::unpack(io::BufReader::new(file), &directory, self.limits)
            .map_err(|error| error.cause().to_string())?;
        Ok(directory)
    }

    /// The directories above the target that are not there yet.
    fn parents(&self, listing: &Listing, to: &str) -> Result<Vec<Entry>, String> {
        let mut made = Vec::new();
        for above in upwards(to).skip(1) {
            match listing.find(above.as_bytes()) {
                Some(Content::Directory) => {}
                Some(Content::File { .. } | Content::Link) => return Err(format!("mkdir {above}: not a directory")),
                None => made.push(Entry {
                    name: above.as_bytes().to_vec(),
                    content: Content::Directory,
                }),
            }
        }
        Ok(made)
    }
}

/// A path, then the ones above it, without the root.
fn upwards(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| Some(path.rsplit_once('/')?.0)).filter(|path| !path.is_empty())
}

/// The walk through what was unpacked.
struct Walk {
    copy: usize,
    entries: Vec<Entry>,
    ignore_files: Vec<(String, String)>,
}

impl Walk {
    fn directory(&mut self, directory: &Dir, path: &[u8]) -> io::Result<()> {
        self.entries.push(Entry {
            name: path.to_vec(),
            content: Content::Directory,
        });
        for entry in directory.entries()? {
            let entry = entry?;
            let name = entry.file_name();
            let below = [path, b"/", name.as_bytes()].concat();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.directory(&entry.open_dir()?, &below)?;
            } else if kind.is_file() {
                let file = entry.open()?;
                self.file(&file, below)?;
                if name == ignore::FILE {
                    let mut content = Vec::new();
                    file.take(checkout::MAX_IGNORE_FILE as u64).read_to_end(&mut content)?;
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    self.ignore_files.push((text(path), text(&content)));
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, file: &File, path: Vec<u8>) -> io::Result<()> {
        let executable = file.metadata()?.mode() & 0o111 != 0;
        let source = Source::Copy(self.copy);
        self.entries.push(Entry {
            name: path,
            content: Content::File { source, executable },
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
