//! Which revision of a repository is wanted, and how it is written down once found.

use artifact::Revision;

const HEADS: &str = "refs/heads/";
const TAGS: &str = "refs/tags/";
/// Asks for the commit behind an annotated tag. It stays in the revision's name.
const PEELED: &str = "^{}";
const SHA1_DIGITS: usize = 40;

/// The wanted revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The head of a branch, by short name.
    Branch(String),
    /// A tag, by short name.
    Tag(String),
    /// The highest tag within a range of versions.
    SemVer(String),
    /// An absolute reference such as `refs/pull/1/head`.
    Name(String),
    /// Whatever `git fetch` makes of a word: a commit's full hash, `HEAD`, an absolute reference, a tag or a branch, the first
    /// that there is.
    Any(String),
    /// One commit, by its full hash.
    Commit {
        /// The hash as the user wrote it.
        id: String,
        /// The branch it must be fetched from, where the server does not hand out commits by hash.
        branch: Option<String>,
        /// A reference that only labels the revision.
        name: Option<String>,
    },
}

impl Reference {
    /// What a word asks for that people write where `git` takes one; `HEAD` when there is none.
    pub fn any(word: Option<&str>) -> Self {
        Self::Any(word.filter(|word| !word.is_empty()).unwrap_or("HEAD").to_owned())
    }

    /// The full names it may have on the remote, the first that there is counts; none where that takes asking first.
    pub fn full_names(&self) -> Vec<String> {
        match self {
            Self::Branch(branch) => vec![format!("{HEADS}{branch}")],
            Self::Tag(tag) => vec![format!("{TAGS}{tag}")],
            Self::Name(name) => vec![name.strip_suffix(PEELED).unwrap_or(name).to_owned()],
            Self::SemVer(_) => Vec::new(),
            Self::Any(word) => ["", "refs/", TAGS, HEADS, "refs/remotes/"]
                .iter()
                .map(|prefix| format!("{prefix}{word}"))
                .collect(),
            Self::Commit { branch, .. } => branch.iter().map(|branch| format!("{HEADS}{branch}")).collect(),
        }
    }

    /// Whether only the commit behind an annotated tag will do.
    pub fn wants_peeled(&self) -> bool {
        matches!(self, Self::Name(name) if name.ends_with(PEELED))
    }

    /// The revision for the commit that was found; `tag` is the tag a range of versions led to.
    pub fn revision(&self, commit: &str, tag: Option<&str>) -> Revision {
        let name = match self {
            Self::Branch(branch) => branch,
            Self::Tag(tag) => tag,
            Self::SemVer(_) => tag.unwrap_or_default(),
            Self::Any(word) if word.eq_ignore_ascii_case(commit) => "",
            Self::Any(word) => word,
            Self::Name(name) | Self::Commit { name: Some(name), .. } => name,
            Self::Commit {
                branch: Some(branch),
                name: None,
                ..
            } => branch,
            Self::Commit {
                branch: None,
                name: None,
                ..
            } => "",
        };
        // A longer hash is of the other kind.
        let algorithm = if commit.len() > SHA1_DIGITS { "sha256" } else { "sha1" };
        Revision::named(name, algorithm, commit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "5394cb7f48332b2de7c17dd8b8384bbc84b7e738";

    /// The first full name and the revision it leads to.
    fn check(reference: Reference, full_name: Option<&str>, revision: &str) {
        assert_eq!(
            reference.full_names().first().map(String::as_str),
            full_name,
            "{reference:?}"
        );
        let found = reference.revision(SHA, Some("v1.2.3")).to_string();
        assert_eq!(found, revision.replace("SHA", SHA), "{reference:?}");
    }

    #[test]
    fn each_kind_leads_to_its_own_revision() {
        check(
            Reference::Branch("main".into()),
            Some("refs/heads/main"),
            "main@sha1:SHA",
        );
        check(Reference::Tag("v1".into()), Some("refs/tags/v1"), "v1@sha1:SHA");
        check(Reference::SemVer("1.x".into()), None, "v1.2.3@sha1:SHA");
        let pull = "refs/pull/1/head";
        check(Reference::Name(pull.into()), Some(pull), "refs/pull/1/head@sha1:SHA");
        let peeled = Reference::Name("refs/tags/v1^{}".into());
        check(peeled, Some("refs/tags/v1"), "refs/tags/v1^{}@sha1:SHA");
        check(Reference::any(None), Some("HEAD"), "HEAD@sha1:SHA");
        check(Reference::any(Some("v1")), Some("v1"), "v1@sha1:SHA");
        check(Reference::any(Some(SHA)), Some(SHA), "sha1:SHA");
    }

    #[test]
    fn a_word_may_mean_a_tag_before_it_means_a_branch() {
        let names = ["x", "refs/x", "refs/tags/x", "refs/heads/x", "refs/remotes/x"];
        assert_eq!(Reference::any(Some("x")).full_names(), names);
    }

    #[test]
    fn the_length_of_a_hash_tells_its_kind() {
        let hash = "e".repeat(64);
        let revision = Reference::Branch("main".into()).revision(&hash, None);
        assert_eq!(revision.to_string(), format!("main@sha256:{hash}"));
    }
}
