//! Ranges of versions as Flux users write them in `ref.semver`, and the tags they pick.
//!
//! The language is that of Masterminds' Go library, which the usual Rust crates do not speak: `= != > < >= => <= =< ~ ~> ^`,
//! wildcards `x X *` and missing parts, `1.2 - 1.4`, "and" by comma or space, "or" by `||`. A pre-release matches only within
//! an "and" group that itself names one (`>=1.0.0-0`). Ordering alone comes from the `semver` crate.
//!
//! Tags need three parts; a leading `v` and zero-padded numbers are fine, anything else is not a version and is passed over.

use std::cmp::Ordering;
use std::sync::LazyLock;

use regex::Regex;

/// Longer texts are refused.
const MAX_RANGE: usize = 512;
const MAX_GROUPS: usize = 32;
const MAX_VERSION: usize = 256;

/// One part of a version within a range: a number, or a wildcard.
const PART: &str = "[0-9|xX*]+";
const PRE: &str = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*";
const OPERATOR: &str = r"=|!=|>=|=>|<=|=<|~>|~|>|<|\^|";

type Pattern = LazyLock<Option<Regex>>;

static VERSION: Pattern =
    Pattern::new(|| Regex::new(&format!(r"^v?([0-9]+)(\.[0-9]+)?(\.[0-9]+)?(?:-({PRE}))?(?:\+{PRE})?$")).ok());
static TERM: Pattern = Pattern::new(|| {
    let version = format!(r"v?({PART})(\.{PART})?(\.{PART})?(-{PRE})?(?:\+{PRE})?");
    Regex::new(&format!(r"({OPERATOR})\s*{version}")).ok()
});
static GROUP: Pattern = Pattern::new(|| {
    let term = format!(r"(?:{OPERATOR})\s*{}", version());
    Regex::new(&format!(r"^\s*{term}\s*(?:(?:\s+|,\s*){term}\s*)*$")).ok()
});
static HYPHEN: Pattern =
    Pattern::new(|| Regex::new(&format!(r"\s*({version})\s+-\s+({version})\s*", version = version())).ok());

fn version() -> String {
    format!(r"v?{PART}(?:\.{PART})?(?:\.{PART})?(?:-{PRE})?(?:\+{PRE})?")
}

/// A version, compared by precedence: build metadata does not count.
#[derive(Clone, Debug)]
pub struct Version(semver::Version);

impl Version {
    /// Reads a version with any number of parts; missing ones are 0.
    fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_VERSION {
            return None;
        }
        let parts = VERSION.as_ref()?.captures(text)?;
        let number = |at: usize| {
            parts
                .get(at)
                .map_or(Some(0), |m| m.as_str().trim_start_matches('.').parse().ok())
        };
        let mut version = semver::Version::new(number(1)?, number(2)?, number(3)?);
        if let Some(pre) = parts.get(4) {
            version.pre = semver::Prerelease::new(pre.as_str()).ok()?;
        }
        Some(Self(version))
    }

    /// Reads a tag as a version: it must have three parts.
    pub fn of_tag(tag: &str) -> Option<Self> {
        if tag.splitn(3, '.').count() == 3 {
            Self::parse(tag)
        } else {
            None
        }
    }

    /// Order by precedence.
    pub fn cmp_precedence(&self, other: &Self) -> Ordering {
        self.0.cmp_precedence(&other.0)
    }
}

/// A range that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A part of the range is not a constraint.
    #[error("improper constraint: {0:?}")]
    Improper(String),
    /// The text is too long to be a range.
    #[error("constraint string is too long (max {MAX_RANGE} bytes)")]
    TooLong,
    /// Too many alternatives.
    #[error("too many constraint groups (max {MAX_GROUPS})")]
    TooManyGroups,
}

/// A range of versions: alternatives, each of which is a list of constraints that all must hold.
#[derive(Clone, Debug)]
pub struct Range {
    groups: Vec<Vec<Constraint>>,
}

impl Range {
    /// Parses a range. An empty text is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_RANGE {
            return Err(Error::TooLong);
        }
        let text = spell_out_hyphens(text);
        let groups: Vec<_> = text.split("||").collect();
        if groups.len() > MAX_GROUPS {
            return Err(Error::TooManyGroups);
        }
        Ok(Self {
            groups: groups.into_iter().map(group).collect::<Result<_, _>>()?,
        })
    }

    /// Whether the version lies in the range.
    pub fn contains(&self, version: &Version) -> bool {
        self.groups.iter().any(|group| {
            let names_pre_release = group.iter().any(|constraint| !constraint.version.pre.is_empty());
            let admitted = version.0.pre.is_empty() || names_pre_release;
            admitted && group.iter().all(|constraint| constraint.admits(&version.0))
        })
    }
}

/// `1.2 - 1.4` means `>= 1.2, <= 1.4`.
fn spell_out_hyphens(text: &str) -> String {
    match HYPHEN.as_ref() {
        Some(hyphen) => hyphen.replace_all(text, ">= $1, <= $2 ").into_owned(),
        None => text.to_owned(),
    }
}

fn group(text: &str) -> Result<Vec<Constraint>, Error> {
    let improper = || Error::Improper(text.to_owned());
    let (Some(whole), Some(term)) = (GROUP.as_ref(), TERM.as_ref()) else {
        return Err(improper());
    };
    if !whole.is_match(text) {
        return Err(improper());
    }
    term.captures_iter(text)
        .map(|found| {
            let piece = |at: usize| found.get(at).map_or("", |m| m.as_str());
            Constraint::new(piece(1), [piece(2), piece(3), piece(4)], piece(5)).ok_or_else(improper)
        })
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    Tilde,
    Caret,
}

/// From which part on a constraint is open: `1.x` is open from the minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nowhere,
    Patch,
    Minor,
    Everything,
}

#[derive(Clone, Debug)]
struct Constraint {
    operator: Operator,
    version: semver::Version,
    open: Open,
}

impl Constraint {
    fn new(operator: &str, parts: [&str; 3], pre: &str) -> Option<Self> {
        let operator = match operator {
            "" | "=" => Operator::Equal,
            "!=" => Operator::NotEqual,
            ">" => Operator::Greater,
            "<" => Operator::Less,
            ">=" | "=>" => Operator::GreaterEqual,
            "<=" | "=<" => Operator::LessEqual,
            "~" | "~>" => Operator::Tilde,
            "^" => Operator::Caret,
            _ => return None,
        };
        let is_open = |part: &str| matches!(part.trim_start_matches('.'), "" | "x" | "X" | "*");
        let [major, minor, patch] = parts;
        let (text, open) = if is_open(major) {
            (format!("0.0.0{pre}"), Open::Everything)
        } else if is_open(minor) {
            (format!("{major}.0.0{pre}"), Open::Minor)
        } else if is_open(patch) {
            (format!("{major}{minor}.0{pre}"), Open::Patch)
        } else {
            (format!("{major}{minor}{patch}{pre}"), Open::Nowhere)
        };
        Some(Self {
            operator,
            version: Version::parse(&text)?.0,
            open,
        })
    }

    fn admits(&self, version: &semver::Version) -> bool {
        let order = version.cmp_precedence(&self.version);
        match self.operator {
            Operator::Equal if self.open == Open::Nowhere => order == Ordering::Equal,
            Operator::Equal | Operator::Tilde => self.admits_near(version, order),
            Operator::NotEqual => self.admits_other_than(version, order),
            Operator::Greater => self.admits_above(version, order),
            Operator::Less => order == Ordering::Less,
            Operator::GreaterEqual => order != Ordering::Less,
            Operator::LessEqual => self.admits_up_to(version, order),
            Operator::Caret => self.admits_compatible(version, order),
        }
    }

    /// `~1.2.3` stays within 1.2, `~1` within 1; `~0.0.0` and `*` take everything from there on.
    fn admits_near(&self, version: &semver::Version, order: Ordering) -> bool {
        let own = &self.version;
        let is_zero = (own.major, own.minor, own.patch) == (0, 0, 0);
        if order == Ordering::Less {
            return false;
        }
        if is_zero && matches!(self.open, Open::Nowhere | Open::Everything) {
            return true;
        }
        version.major == own.major && (version.minor == own.minor || self.open == Open::Minor)
    }

    fn admits_other_than(&self, version: &semver::Version, order: Ordering) -> bool {
        let own = &self.version;
        match self.open {
            Open::Nowhere => order != Ordering::Equal,
            // A bare `!=*` compares with 0.0.0 part by part, like a full version.
            Open::Everything => order != Ordering::Equal,
            Open::Minor => version.major != own.major,
            Open::Patch => {
                (version.major, version.minor) != (own.major, own.minor)
                    || (!(version.pre.is_empty() && own.pre.is_empty()) && version.pre != own.pre)
            }
        }
    }

    /// `>11` needs 12, `>11.1` needs 11.2.
    fn admits_above(&self, version: &semver::Version, order: Ordering) -> bool {
        let own = &self.version;
        match self.open {
            Open::Nowhere => order == Ordering::Greater,
            _ if version.major != own.major => version.major > own.major,
            Open::Minor => false,
            Open::Patch => version.minor > own.minor,
            Open::Everything => order == Ordering::Greater,
        }
    }

    /// `<=11` includes 11.5, `<=11.1` includes 11.1.5.
    fn admits_up_to(&self, version: &semver::Version, order: Ordering) -> bool {
        let own = &self.version;
        match self.open {
            Open::Nowhere => order != Ordering::Greater,
            Open::Minor => version.major <= own.major,
            Open::Patch | Open::Everything => (version.major, version.minor) <= (own.major, own.minor),
        }
    }

    /// `^1.2.3` stays within 1, `^0.2.3` within 0.2, `^0.0.3` is exactly that.
    fn admits_compatible(&self, version: &semver::Version, order: Ordering) -> bool {
        let own = &self.version;
        if order == Ordering::Less {
            return false;
        }
        if own.major > 0 || self.open == Open::Minor {
            return version.major == own.major;
        }
        if version.major > 0 {
            return false;
        }
        if own.minor > 0 || self.open == Open::Patch {
            return version.minor == own.minor;
        }
        version.minor == 0 && version.patch == own.patch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSIONS: &str = "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0 1.0.0-rc.1 v1.0.0 1.1.0-rc.1 1.1.0 1.2.0 1.2.3 1.3.0-beta.2 1.3.0+b 1.4.5 2.0.0 11.1.0";

    /// The versions within the range, or the message. The expectations are what the Go library says.
    fn check(range: &str, expected: &str) {
        let found = match Range::parse(range) {
            Ok(range) => {
                let within = |text: &&str| Version::parse(text).is_some_and(|version| range.contains(&version));
                VERSIONS.split(' ').filter(within).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{range}");
    }

    #[test]
    fn every_form_of_range_takes_the_versions_it_takes_in_go() {
        check("=1.2.3", "1.2.3");
        check("1.2.3", "1.2.3");
        check(
            "!=1.2.3",
            "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0 v1.0.0 1.1.0 1.2.0 1.3.0+b 1.4.5 2.0.0 11.1.0",
        );
        check(
            "!=1.2",
            "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0 v1.0.0 1.1.0 1.3.0+b 1.4.5 2.0.0 11.1.0",
        );
        check("!=1.x", "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0 2.0.0 11.1.0");
        check(
            "!=*",
            "0.0.3 0.0.4 0.2.3 0.3.0 v1.0.0 1.1.0 1.2.0 1.2.3 1.3.0+b 1.4.5 2.0.0 11.1.0",
        );
        check(">1.2.3", "1.3.0+b 1.4.5 2.0.0 11.1.0");
        check(">1.2", "1.3.0+b 1.4.5 2.0.0 11.1.0");
        check(">1", "2.0.0 11.1.0");
        check(
            ">*",
            "0.0.3 0.0.4 0.2.3 0.3.0 v1.0.0 1.1.0 1.2.0 1.2.3 1.3.0+b 1.4.5 2.0.0 11.1.0",
        );
        check("<1.2.3", "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0 v1.0.0 1.1.0 1.2.0");
        check("<1.2", "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0 v1.0.0 1.1.0");
        check("<=1.2.3", "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0 v1.0.0 1.1.0 1.2.0 1.2.3");
        check("<=1.2", "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0 v1.0.0 1.1.0 1.2.0 1.2.3");
        check(
            "=<1",
            "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0 v1.0.0 1.1.0 1.2.0 1.2.3 1.3.0+b 1.4.5",
        );
        check("<=*", "0.0.0 0.0.3 0.0.4");
        check(">=1.2", "1.2.0 1.2.3 1.3.0+b 1.4.5 2.0.0 11.1.0");
        check("=>2", "2.0.0 11.1.0");
        check(
            ">=1.0.0-0",
            "1.0.0-rc.1 v1.0.0 1.1.0-rc.1 1.1.0 1.2.0 1.2.3 1.3.0-beta.2 1.3.0+b 1.4.5 2.0.0 11.1.0",
        );
        check(">=1.0.0-0 <1.2.0-0", "1.0.0-rc.1 v1.0.0 1.1.0-rc.1 1.1.0");
        check("~1.2.3", "1.2.3");
        check("~1.2", "1.2.0 1.2.3");
        check("~1", "v1.0.0 1.1.0 1.2.0 1.2.3 1.3.0+b 1.4.5");
        check("~>1.2", "1.2.0 1.2.3");
        check("~0", "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0");
        check(
            "~0.0.0",
            "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0 v1.0.0 1.1.0 1.2.0 1.2.3 1.3.0+b 1.4.5 2.0.0 11.1.0",
        );
        check(
            "~*",
            "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0 v1.0.0 1.1.0 1.2.0 1.2.3 1.3.0+b 1.4.5 2.0.0 11.1.0",
        );
        check("~1.3.0-beta.1", "1.3.0-beta.2 1.3.0+b");
        check("^1.2.3", "1.2.3 1.3.0+b 1.4.5");
        check("^1.2", "1.2.0 1.2.3 1.3.0+b 1.4.5");
        check("^1", "v1.0.0 1.1.0 1.2.0 1.2.3 1.3.0+b 1.4.5");
        check("^0.2.3", "0.2.3");
        check("^0.2", "0.2.3");
        check("^0.0.3", "0.0.3");
        check("^0.0", "0.0.0 0.0.3 0.0.4");
        check("^0", "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0");
        check("^*", "0.0.0");
        check("1.x", "v1.0.0 1.1.0 1.2.0 1.2.3 1.3.0+b 1.4.5");
        check("1.2.*", "1.2.0 1.2.3");
        check(
            "*",
            "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0 v1.0.0 1.1.0 1.2.0 1.2.3 1.3.0+b 1.4.5 2.0.0 11.1.0",
        );
        check("1.2 - 1.4", "1.2.0 1.2.3 1.3.0+b 1.4.5");
        check("1.0.0 - 1.2.0 || 11.x", "v1.0.0 1.1.0 1.2.0 11.1.0");
        check(">=1.2, <2", "1.2.0 1.2.3 1.3.0+b 1.4.5");
        check(">=1.2 <2", "1.2.0 1.2.3 1.3.0+b 1.4.5");
        check(">=1.2,<2", "1.2.0 1.2.3 1.3.0+b 1.4.5");
        check("<1.0.0 || >=2.0.0 <3.0.0", "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0 2.0.0");
        check(">= 1.2.3", "1.2.3 1.3.0+b 1.4.5 2.0.0 11.1.0");
        check(
            "^1.0.0-0",
            "1.0.0-rc.1 v1.0.0 1.1.0-rc.1 1.1.0 1.2.0 1.2.3 1.3.0-beta.2 1.3.0+b 1.4.5",
        );
        check("v1.2.x", "1.2.0 1.2.3");
        check("=v1.2.3+x", "1.2.3");
        check(
            "!=1.3.x-beta.2",
            "0.0.0 0.0.3 0.0.4 0.2.3 0.3.0 1.0.0-rc.1 v1.0.0 1.1.0-rc.1 1.1.0 1.2.0 1.2.3 1.3.0+b 1.4.5 2.0.0 11.1.0",
        );
        check("01.2.3", "1.2.3");
    }

    #[test]
    fn what_is_no_range_is_named() {
        check("", r#"improper constraint: """#);
        check("1.x ||", r#"improper constraint: """#);
        check("not a range", r#"improper constraint: "not a range""#);
        check(">1.2 junk", r#"improper constraint: ">1.2 junk""#);
        check("1.2.3.4", r#"improper constraint: "1.2.3.4""#);
        check(">>1", r#"improper constraint: ">>1""#);
        check(&"1".repeat(513), "constraint string is too long (max 512 bytes)");
        check(&"||".repeat(40), "too many constraint groups (max 32)");
    }

    #[test]
    fn tags_with_three_parts_are_versions() {
        for tag in ["v1.2.3", "1.2.3", "v2025.02.03-rc.1", "1.2.3+b", "0.0.0"] {
            assert!(Version::of_tag(tag).is_some(), "{tag}");
        }
        for tag in [
            "junk",
            "v1",
            "1.2",
            "1.2.x",
            "release-1.2.3",
            "1.2.3.4",
            "v1.2.3-01",
            "99999999999999999999.0.0",
        ] {
            assert!(Version::of_tag(tag).is_none(), "{tag}");
        }
    }

    #[test]
    fn build_metadata_does_not_count() {
        let version = |text| Version::parse(text).unwrap();
        assert_eq!(version("1.0.0+a").cmp_precedence(&version("v1.0.0+b")), Ordering::Equal);
        assert_eq!(version("1.10.0").cmp_precedence(&version("1.9.0")), Ordering::Greater);
        assert_eq!(
            version("1.0.0-rc.2").cmp_precedence(&version("1.0.0-rc.10")),
            Ordering::Less
        );
    }
}
