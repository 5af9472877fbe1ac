//! Which revision of a repository is wanted, and how it is written down once found.
//!
//! The order in which the fields of `spec.ref` count is commit, name, tag, semver, branch, and the branch `master` when all
//! are empty. (Flux's API text puts semver before tag; its code, which users depend on, does the opposite.)

use api::source::GitRepositoryRef;
use artifact::Revision;

const HEADS: &str = "refs/heads/";
const TAGS: &str = "refs/tags/";
/// Asks for the commit behind an annotated tag. It stays in the revision's name.
const PEELED: &str = "^{}";
const DEFAULT_BRANCH: &str = "master";

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
    /// What `spec.ref` asks for.
    pub fn of(spec: Option<&GitRepositoryRef>) -> Self {
        let GitRepositoryRef {
            branch,
            tag,
            semver,
            name,
            commit,
        } = spec.cloned().unwrap_or_default();
        let set = |field: Option<String>| field.filter(|text| !text.is_empty());
        let (branch, name) = (set(branch), set(name));
        if let Some(id) = set(commit) {
            return Self::Commit { id, branch, name };
        }
        if let Some(name) = name {
            return Self::Name(name);
        }
        if let Some(tag) = set(tag) {
            return Self::Tag(tag);
        }
        match set(semver) {
            Some(range) => Self::SemVer(range),
            None => Self::Branch(branch.unwrap_or_else(|| DEFAULT_BRANCH.to_owned())),
        }
    }

    /// The full name on the remote, where the reference has one before the remote was asked.
    pub fn full_name(&self) -> Option<String> {
        match self {
            Self::Branch(branch) => Some(format!("{HEADS}{branch}")),
            Self::Tag(tag) => Some(format!("{TAGS}{tag}")),
            Self::Name(name) => Some(name.strip_suffix(PEELED).unwrap_or(name).to_owned()),
            Self::SemVer(_) => None,
            Self::Commit { branch, .. } => branch.as_ref().map(|branch| format!("{HEADS}{branch}")),
        }
    }

    /// Whether only the commit behind an annotated tag will do.
    pub fn wants_peeled(&self) -> bool {
        matches!(self, Self::Name(name) if name.ends_with(PEELED))
    }

    /// Whether a poll that finds the remote unmoved ends without a word about the artifact. For the others Flux clones every
    /// time and then says that the artifact is up to date; observers see the difference in the events.
    pub fn is_polled_by_name(&self) -> bool {
        matches!(self, Self::Branch(_) | Self::Tag(_) | Self::Name(_))
    }

    /// The revision for the commit that was found; `tag` is the tag a range of versions led to.
    pub fn revision(&self, commit: &str, tag: Option<&str>) -> Revision {
        let name = match self {
            Self::Branch(branch) => branch,
            Self::Tag(tag) => tag,
            Self::SemVer(_) => tag.unwrap_or_default(),
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
        Revision::named(name, "sha1", commit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "5394cb7f48332b2de7c17dd8b8384bbc84b7e738";

    /// Builds `spec.ref` from `field=value` words; the reference's full name and the revision it leads to.
    fn check(fields: &str, full_name: Option<&str>, revision: &str) {
        let mut spec = GitRepositoryRef::default();
        for (field, value) in fields.split_whitespace().filter_map(|word| word.split_once('=')) {
            let value = Some(value.to_owned());
            match field {
                "branch" => spec.branch = value,
                "tag" => spec.tag = value,
                "semver" => spec.semver = value,
                "name" => spec.name = value,
                "commit" => spec.commit = value,
                _ => unreachable!("{field}"),
            }
        }
        let reference = Reference::of(Some(&spec));
        assert_eq!(reference.full_name().as_deref(), full_name, "{fields}");
        assert_eq!(
            reference.revision(SHA, Some("v1.2.3")).to_string(),
            revision.replace("SHA", SHA),
            "{fields}"
        );
    }

    #[test]
    fn each_field_leads_to_its_own_revision() {
        check("branch=main", Some("refs/heads/main"), "main@sha1:SHA");
        check("branch=feature/x", Some("refs/heads/feature/x"), "feature/x@sha1:SHA");
        check("tag=v1", Some("refs/tags/v1"), "v1@sha1:SHA");
        check("semver=1.x", None, "v1.2.3@sha1:SHA");
        check(
            "name=refs/pull/1/head",
            Some("refs/pull/1/head"),
            "refs/pull/1/head@sha1:SHA",
        );
        check("name=refs/tags/v1^{}", Some("refs/tags/v1"), "refs/tags/v1^{}@sha1:SHA");
        check("commit=abc", None, "sha1:SHA");
        check("commit=abc branch=main", Some("refs/heads/main"), "main@sha1:SHA");
        check("commit=abc name=refs/heads/x", None, "refs/heads/x@sha1:SHA");
    }

    #[test]
    fn commit_wins_over_name_over_tag_over_semver_over_branch() {
        check(
            "branch=b semver=1.x tag=t name=n commit=c",
            Some("refs/heads/b"),
            "n@sha1:SHA",
        );
        check("branch=b semver=1.x tag=t name=n", Some("n"), "n@sha1:SHA");
        check("branch=b semver=1.x tag=t", Some("refs/tags/t"), "t@sha1:SHA");
        check("branch=b semver=1.x", None, "v1.2.3@sha1:SHA");
        check("branch=b", Some("refs/heads/b"), "b@sha1:SHA");
    }

    #[test]
    fn nothing_set_means_master() {
        check("", Some("refs/heads/master"), "master@sha1:SHA");
        assert_eq!(Reference::of(None), Reference::Branch("master".to_owned()));
    }
}
