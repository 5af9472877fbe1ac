//! Which revision `spec.ref` asks for.
//!
//! The order in which its fields count is commit, name, tag, semver, branch, and the branch `master` when all are empty.
//! (Flux's API text puts semver before tag; its code, which users depend on, does the opposite.)

use api::source::GitRepositoryRef;
use git::Reference;

const DEFAULT_BRANCH: &str = "master";

/// What `spec.ref` asks for.
pub fn wanted(spec: Option<&GitRepositoryRef>) -> Reference {
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
        return Reference::Commit { id, branch, name };
    }
    if let Some(name) = name {
        return Reference::Name(name);
    }
    if let Some(tag) = set(tag) {
        return Reference::Tag(tag);
    }
    match set(semver) {
        Some(range) => Reference::SemVer(range),
        None => Reference::Branch(branch.unwrap_or_else(|| DEFAULT_BRANCH.to_owned())),
    }
}

/// Whether a poll that finds the remote unmoved ends without a word about the artifact. For the others Flux clones every time
/// and then says that the artifact is up to date; observers see the difference in the events.
pub fn is_polled_by_name(reference: &Reference) -> bool {
    matches!(reference, Reference::Branch(_) | Reference::Tag(_) | Reference::Name(_))
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
        let reference = wanted(Some(&spec));
        assert_eq!(
            reference.full_names().first().map(String::as_str),
            full_name,
            "{fields}"
        );
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
        assert_eq!(wanted(None), Reference::Branch("master".to_owned()));
    }
}
