//! Ranges of versions and the tags in them: the first line is a range, each further line a tag. How versions stand to one
//! another and how ranges are put together goes by rules that hold for all of them.

use std::cmp::Ordering;

use git::semver::{Range, Version};

/// A range as long as this may have something added to it and is still read.
const SHORT: usize = 400;
/// And one with so many alternatives.
const FEW: usize = 15;

/// A range and tags of any form.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (range, tags) = text.split_once('\n').unwrap_or((text, ""));
    let versions: Vec<(&str, Version)> = tags
        .split('\n')
        .take(16)
        .filter_map(|tag| Some((tag, Version::of_tag(tag)?)))
        .collect();
    for (tag, version) in &versions {
        lies_in_what_is_made_of_it(tag, version);
        for (_, other) in &versions {
            let order = version.cmp_precedence(other);
            assert_eq!(order.reverse(), other.cmp_precedence(version), "{tag}");
            for (_, third) in &versions {
                if order == other.cmp_precedence(third) {
                    assert_eq!(version.cmp_precedence(third), order, "{tag}");
                }
            }
        }
    }
    if let Ok(parsed) = Range::parse(range) {
        goes_together(range, &parsed, &versions);
    }
}

/// A version is in every range that begins or ends with it and says so, and in none that says otherwise.
fn lies_in_what_is_made_of_it(tag: &str, version: &Version) {
    let number = tag.strip_prefix('v').unwrap_or(tag);
    let other_form = if number == tag {
        format!("v{tag}")
    } else {
        number.to_owned()
    };
    let same = Version::of_tag(&other_form).expect("a version with or without its letter");
    assert_eq!(version.cmp_precedence(&same), Ordering::Equal, "{tag}");
    assert!(number.splitn(3, '.').count() == 3, "{tag} has three parts");
    for (operator, expected) in [
        ("", true),
        ("=", true),
        (">=", true),
        ("=>", true),
        ("<=", true),
        ("=<", true),
        ("~", true),
        ("~>", true),
        ("^", true),
        (">", false),
        ("<", false),
        ("!=", false),
    ] {
        let text = format!("{operator}{tag}");
        let range = Range::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(range.contains(version), expected, "{text}");
    }
}

/// Alternatives hold what one of them holds.
fn goes_together(text: &str, range: &Range, versions: &[(&str, Version)]) {
    if text.len() > SHORT || text.split("||").count() > FEW {
        return;
    }
    let with = |addition: &str| {
        let text = format!("{text}{addition}");
        Range::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    let (twice, one_more, spaced) = (with(&format!(" || {text}")), with(" || 1.2.3"), with(" "));
    let one = Range::parse("1.2.3").expect("a range");
    for (tag, version) in versions {
        let found = range.contains(version);
        assert_eq!(twice.contains(version), found, "{text:?} {tag}");
        assert_eq!(spaced.contains(version), found, "{text:?} {tag}");
        assert_eq!(
            one_more.contains(version),
            found || one.contains(version),
            "{text:?} {tag}"
        );
    }
}
