//! The revision of an artifact: `<name>@<algorithm>:<hash>` or `<algorithm>:<hash>`.
//!
//! The name is a branch, a tag or an absolute Git reference (or an OCI tag); it is free text and may itself contain `@`, so
//! the last `@` separates. The hash is what identifies the content. Two shapes that older Flux releases wrote are still read:
//! `<branch>/<commit>` and `HEAD/<commit>`, both of which mean SHA-1; they are printed in the new shape.

use std::fmt;

/// A parsed revision. Equality compares name, algorithm and hash, so a legacy text equals its modern form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision {
    name: Option<String>,
    algorithm: String,
    hash: String,
}

impl Revision {
    /// A revision found by name (branch, tag, absolute reference). An empty name counts as none.
    pub fn named(name: &str, algorithm: &str, hash: &str) -> Self {
        Self {
            name: Some(name).filter(|n| !n.is_empty()).map(str::to_owned),
            algorithm: algorithm.to_owned(),
            hash: hash.to_owned(),
        }
    }

    /// A revision pinned by hash alone.
    pub fn pinned(algorithm: &str, hash: &str) -> Self {
        Self::named("", algorithm, hash)
    }

    /// Reads any of the known shapes; `None` when the text is none of them.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = match text.rsplit_once('@') {
            Some((name, rest)) => (name, rest),
            None => ("", text),
        };
        if let Some((algorithm, hash)) = rest.split_once(':')
            && !algorithm.is_empty()
            && !hash.is_empty()
            && !algorithm.contains('/')
            && (text.len() == rest.len() || !name.is_empty())
        {
            return Some(Self::named(name, algorithm, hash));
        }
        let (name, hash) = text.rsplit_once('/')?;
        let is_commit = hash.len() == 40 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        (is_commit && !name.is_empty()).then(|| Self::named(if name == "HEAD" { "" } else { name }, "sha1", hash))
    }

    /// The branch, tag or reference, where the revision was found by one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The hash algorithm: `sha1` for Git commits, `sha256` for OCI and buckets.
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// The hash alone: the commit id of a Git revision.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}@{}:{}", self.algorithm, self.hash),
            None => write!(f, "{}:{}", self.algorithm, self.hash),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "5394cb7f48332b2de7c17dd8b8384bbc84b7e738";

    fn check(text: &str, expected: Option<(&str, Option<&str>)>) {
        let found = Revision::parse(text);
        let found = found.as_ref().map(|r| (r.to_string(), r.name()));
        assert_eq!(
            found,
            expected.map(|(printed, name)| (printed.to_owned(), name)),
            "{text}"
        );
    }

    #[test]
    fn every_shape_is_read_and_printed_in_the_modern_one() {
        check(
            &format!("main@sha1:{SHA}"),
            Some((&format!("main@sha1:{SHA}"), Some("main"))),
        );
        check(
            &format!("feature/x@sha1:{SHA}"),
            Some((&format!("feature/x@sha1:{SHA}"), Some("feature/x"))),
        );
        check(&format!("sha1:{SHA}"), Some((&format!("sha1:{SHA}"), None)));
        check(
            &format!("refs/tags/v1^{{}}@sha1:{SHA}"),
            Some((&format!("refs/tags/v1^{{}}@sha1:{SHA}"), Some("refs/tags/v1^{}"))),
        );
        check(
            &format!("user@host@sha1:{SHA}"),
            Some((&format!("user@host@sha1:{SHA}"), Some("user@host"))),
        );
        check("latest@sha256:00ff", Some(("latest@sha256:00ff", Some("latest"))));
    }

    #[test]
    fn shapes_of_older_releases_are_read() {
        check(
            &format!("main/{SHA}"),
            Some((&format!("main@sha1:{SHA}"), Some("main"))),
        );
        check(
            &format!("feature/x/{SHA}"),
            Some((&format!("feature/x@sha1:{SHA}"), Some("feature/x"))),
        );
        check(&format!("HEAD/{SHA}"), Some((&format!("sha1:{SHA}"), None)));
    }

    #[test]
    fn other_texts_are_no_revisions() {
        for text in ["", "main", "main@", "@sha1:00", "main@sha1:", "main/abc", "main@abc"] {
            check(text, None);
        }
    }
}
