//! Revisions as they stand in a status, and those that references lead to. What was read prints so that it reads the same.

use artifact::Revision;
use git::Reference;

/// A commit for each kind of hash.
const COMMITS: [(&str, &str); 2] = [
    ("sha1", "5394cb7f48332b2de7c17dd8b8384bbc84b7e738"),
    (
        "sha256",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
];

/// A text of any form, as a revision and as the name of a branch, a tag and what else there is.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(revision) = Revision::parse(text) {
        prints_as_it_reads(&revision, text);
    }
    for (algorithm, commit) in COMMITS {
        let pinned = |branch: Option<&str>, name: Option<&str>| Reference::Commit {
            id: commit.to_owned(),
            branch: branch.map(str::to_owned),
            name: name.map(str::to_owned),
        };
        for reference in [
            Reference::Branch(text.to_owned()),
            Reference::Tag(text.to_owned()),
            Reference::Name(text.to_owned()),
            Reference::SemVer("*".to_owned()),
            Reference::any(Some(text)),
            pinned(Some(text), None),
            pinned(None, Some(text)),
            pinned(Some("other"), Some(text)),
            pinned(None, None),
        ] {
            let revision = reference.revision(commit, Some(text));
            let printed = revision.to_string();
            assert_eq!(Revision::parse(&printed), Some(revision.clone()), "{reference:?}");
            assert_eq!(
                (revision.algorithm(), revision.hash()),
                (algorithm, commit),
                "{reference:?}"
            );
            assert_eq!(revision.name(), name(&reference, text, commit), "{reference:?}");
            is_asked_by_absolute_name(&reference, text);
        }
    }
}

fn prints_as_it_reads(revision: &Revision, text: &str) {
    let printed = revision.to_string();
    assert_eq!(
        Revision::parse(&printed).as_ref(),
        Some(revision),
        "{text:?} printed as {printed:?}"
    );
    assert!(
        !revision.hash().is_empty() && printed.ends_with(revision.hash()),
        "{text:?}"
    );
    // Only the old form `NAME/COMMIT` is printed in another way.
    let is_old = text.ends_with(&format!("/{}", revision.hash())) && revision.algorithm() == "sha1";
    assert!(printed == text || is_old, "{text:?} printed as {printed:?}");
}

/// By which name the revision goes.
fn name<'a>(reference: &Reference, text: &'a str, commit: &str) -> Option<&'a str> {
    let name = match reference {
        Reference::Commit {
            branch: None,
            name: None,
            ..
        } => "",
        Reference::Any(_) if text.is_empty() => "HEAD",
        Reference::Any(_) if text.eq_ignore_ascii_case(commit) => "",
        _ => text,
    };
    Some(name).filter(|name| !name.is_empty())
}

fn is_asked_by_absolute_name(reference: &Reference, text: &str) {
    let names = reference.full_names();
    if let Reference::Branch(_) | Reference::Tag(_) = reference {
        assert!(names.len() == 1 && names[0].starts_with("refs/") && names[0].ends_with(text));
    }
    if reference.wants_peeled() {
        assert_eq!(names.first().map(|name| format!("{name}^{{}}")).as_deref(), Some(text));
    }
}
