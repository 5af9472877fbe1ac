//! What lies outside of the tree a build reads: Git repositories and files behind URLs.
//!
//! The build asks a [`Fetch`] for them and reads the answer like its own files. What is a URL, and of what, is decided
//! here by kustomize's grammar; nothing here opens a connection.

mod query;
mod redact;
mod spec;

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

pub(crate) use redact::{redacted, without_password};
pub(crate) use spec::RepoSpec;

use crate::Files;

/// A Git repository a kustomization refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Repository {
    /// What `git clone` would be given: `https://…`, `http://…`, `ssh://…`, `user@host:path`, or what is none of these, such
    /// as `user@host/path`. It may hold a user name and a password.
    pub url: String,
    /// A branch, a tag, a full reference name or a commit; none for what the remote's HEAD points to.
    pub reference: Option<String>,
    /// Whether the trees of submodules are wanted too.
    pub submodules: bool,
    /// How long fetching may take.
    pub timeout: Duration,
}

/// Something outside of its files that a build asked for. Its text holds no credentials.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Remote {
    /// A Git repository.
    Repository(Repository),
    /// The http or https URL of a file.
    File(String),
}

impl fmt::Display for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Repository(Repository { url, reference, .. }) => {
                formatter.write_str(&redacted(url))?;
                reference
                    .iter()
                    .try_for_each(|reference| write!(formatter, "?ref={reference}"))
            }
            Remote::File(url) => formatter.write_str(&redacted(url)),
        }
    }
}

/// Brings what is not in the tree of a build.
pub trait Fetch {
    /// The files of a repository at the revision. Asked once per repository and build.
    ///
    /// # Errors
    /// When it cannot be had or must not be.
    fn repository(&self, repository: &Repository) -> Result<Rc<dyn Files>, FetchError>;

    /// The content behind an http or https URL, at most `limit` bytes of it.
    ///
    /// # Errors
    /// When it cannot be had or must not be, is larger, or the answer's status is no success.
    fn file(&self, url: &str, limit: u64) -> Result<Vec<u8>, FetchError>;
}

/// Why something could not be fetched, in words that hold no credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FetchError(pub String);

/// Whether [`Builder::build`](crate::Builder::build) takes a text for a URL, instead of the path of a directory.
pub fn is_remote(dir: &str) -> bool {
    RepoSpec::parse(dir).is_some() || is_url(dir)
}

/// Whether a path is one that is fetched with GET: an http or https URL. One that is malformed counts; kustomize takes it
/// for a file and fails too.
pub(crate) fn is_url(path: &str) -> bool {
    let scheme = path.split_once(':').map_or("", |(scheme, _)| scheme);
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
        && !path.contains(|c: char| c.is_ascii_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: bool) {
        assert_eq!(is_url(path), expected, "{path}");
    }

    #[test]
    fn files_behind_urls_are_told_from_paths() {
        check("https://example.com/x.yaml", true);
        check("HTTP://example.com/x.yaml", true);
        check("http:x.yaml", true);
        check("ssh://example.com/x.yaml", false);
        check("git::https://example.com/x.yaml", false);
        check("https", false);
        check("./https://x", false);
        check("https://example.com\nkind: Pod", false);
    }
}
