//! Reading what a kustomization names: relative to its directory, and no further than it may.

use super::session::Session;
use crate::error::Within;
use crate::files::{file_name, join, within};
use crate::unsupported::REMOTE;
use crate::{Error, FileKind, LoadRestriction};

/// Reads for the kustomization in one directory.
#[derive(Clone)]
pub(crate) struct Loader<'a> {
    /// The build.
    pub session: &'a Session<'a>,
    /// The directory, symbolic links resolved.
    root: String,
    /// The directories of the kustomizations that led here.
    referrers: Vec<String>,
}

impl<'a> Loader<'a> {
    /// A loader for the build's root directory.
    ///
    /// # Errors
    /// When it is no directory.
    pub fn root(session: &'a Session<'a>, dir: &str) -> Result<Self, Error> {
        let path = join("", dir)?;
        let root = session.files.resolve(&path).within(|| "must build at directory")?;
        match session.files.kind(&root) {
            Some(FileKind::Directory) => Ok(Self {
                session,
                root,
                referrers: Vec::new(),
            }),
            _ => Err(Error::new(format!(
                "must build at directory: not a valid directory: '{dir}'"
            ))),
        }
    }

    /// The directory.
    pub fn directory(&self) -> &str {
        if self.root.is_empty() { "." } else { &self.root }
    }

    /// The directory's name.
    pub fn directory_name(&self) -> &str {
        file_name(self.directory())
    }

    /// A path, as named here, from the root of the files.
    ///
    /// # Errors
    /// When it is absolute, remote or leads out of the files.
    pub fn path(&self, path: &str) -> Result<String, Error> {
        if is_url(path) {
            return Err(Error::new(format!("'{path}': {REMOTE}")));
        }
        if path.starts_with('/') {
            return Err(Error::new(format!("'{path}' cannot be absolute")));
        }
        Ok(join(&self.root, path)?)
    }

    /// The content of a file.
    ///
    /// # Errors
    /// When it cannot be read or must not be.
    pub fn load(&self, path: &str) -> Result<Vec<u8>, Error> {
        let full = self.path(path)?;
        if self.session.options.load_restriction == LoadRestriction::None {
            return self.session.read(&full);
        }
        let resolved = self.session.files.resolve(&full)?;
        if self.session.files.is_dir(&resolved) {
            return Err(Error::new(format!("'{full}' must resolve to a file")));
        }
        if !within(&resolved, &self.root) {
            return Err(Error::new(format!(
                "security; file '{full}' is not in or below '{}'",
                self.directory()
            )));
        }
        self.session.read(&resolved)
    }

    /// A loader for another directory.
    ///
    /// # Errors
    /// When it is no directory, is this one or holds one on the way here, or is nested too deep.
    pub fn descend(&self, path: &str) -> Result<Self, Error> {
        if path.is_empty() {
            return Err(Error::new("new root cannot be empty"));
        }
        if is_remote(path) {
            return Err(Error::new(format!("'{path}': {REMOTE}")));
        }
        if path.starts_with('/') {
            return Err(Error::new(format!("new root '{path}' cannot be absolute")));
        }
        let full = join(&self.root, path)?;
        let root = self.session.files.resolve(&full).within(|| "must build at directory")?;
        if !self.session.files.is_dir(&root) {
            return Err(Error::new(format!(
                "must build at directory: not a valid directory: '{full}'"
            )));
        }
        for visited in std::iter::once(&self.root).chain(self.referrers.iter().rev()) {
            if within(visited, &root) {
                return Err(Error::new(format!(
                    "cycle detected: candidate root '{root}' contains visited root '{visited}'"
                )));
            }
        }
        let most = self.session.options.limits.depth;
        if self.referrers.len() + 1 >= most {
            return Err(Error::new(format!(
                "more than {most} kustomizations nested in one another"
            )));
        }
        let mut referrers = self.referrers.clone();
        referrers.push(self.root.clone());
        Ok(Self {
            session: self.session,
            root,
            referrers,
        })
    }
}

fn is_url(path: &str) -> bool {
    let lower = path.get(..8).unwrap_or(path).to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https:/")
}

/// Whether kustomize would take this for a Git repository.
fn is_remote(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    if is_url(path)
        || [
            "git::",
            "gh:",
            "ssh://",
            "file://",
            "github.com/",
            "github.com:",
            "www.github.com/",
        ]
        .iter()
        .any(|start| lower.starts_with(start))
    {
        return true;
    }
    // user@host:path and user@host/path
    let host = path.split_once('@').filter(|(user, _)| {
        !user.is_empty()
            && user
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
    });
    host.is_some_and(|(_, rest)| rest.find([':', '/']).is_some_and(|at| at > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: bool) {
        assert_eq!(is_remote(path), expected, "{path}");
    }

    #[test]
    fn repositories_are_told_from_directories() {
        check("https://github.com/a/b?ref=v1", true);
        check("github.com/a/b//c", true);
        check("git@github.com:a/b", true);
        check("ssh://git@host/a", true);
        check("../base", false);
        check("a@b", false);
        check("github.com", false);
    }
}
