//! Which paths an artifact leaves out: the defaults, `.sourceignore` files and `spec.ignore`.
//!
//! The dialect is the one Flux's users rely on, which is go-git's and *not* git's: a pattern also matches everything below what
//! it matches; an excluded directory is still looked into, so `/*` with `!/deploy` works; the last matching pattern wins; `**`
//! counts only as a whole segment; globs are those of Go's `filepath.Match` (`[^x]` negates, `[!x]` does not, a malformed one
//! matches nothing).
//!
//! Any pattern at all, in `spec.ignore` or in a `.sourceignore` anywhere, switches off the defaults for media, archives and CI
//! files. Those for version control stay and can only be re-included. `.gitignore` is never consulted.

/// The name of the files patterns are read from.
pub const FILE: &str = ".sourceignore";

const VCS: [&str; 4] = [".git/", ".gitignore", ".gitmodules", ".gitattributes"];
const DEFAULTS: [&str; 20] = [
    "*.jpg",
    "*.jpeg",
    "*.gif",
    "*.png",
    "*.wmv",
    "*.flv",
    "*.tar.gz",
    "*.zip",
    ".github/",
    ".circleci/",
    ".travis.yml",
    ".gitlab-ci.yml",
    "appveyor.yml",
    ".drone.yml",
    "cloudbuild.yaml",
    "codeship-services.yml",
    "codeship-steps.yml",
    "**/.goreleaser.yml",
    "**/.sops.yaml",
    "**/.flux.yaml",
];

/// A line longer than this ends the reading of its file.
const MAX_LINE: usize = 64 * 1024;

/// The rules for one artifact.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Lowest priority first.
    patterns: Vec<Pattern>,
}

impl Rules {
    /// The rules from the `.sourceignore` files found, as (directory, content) with the root (an empty path) first and then in
    /// walking order, and from `spec.ignore`.
    pub fn new(files: &[(String, String)], spec: Option<&str>) -> Self {
        let mut own = Vec::new();
        for (directory, content) in files {
            let scope: Vec<_> = directory.split('/').filter(|name| !name.is_empty()).collect();
            own.extend(read(content, &scope));
        }
        own.extend(read(spec.unwrap_or_default(), &[]));
        let defaults = if own.is_empty() { &DEFAULTS[..] } else { &[] };
        let mut patterns: Vec<_> = VCS
            .iter()
            .chain(defaults)
            .map(|text| Pattern::parse(text, &[]))
            .collect();
        patterns.extend(own);
        Self { patterns }
    }

    /// Whether the artifact leaves out this path.
    pub fn excludes(&self, path: &str, is_directory: bool) -> bool {
        let path: Vec<_> = path.split('/').collect();
        let decisive = self
            .patterns
            .iter()
            .rev()
            .find(|pattern| pattern.matches(&path, is_directory));
        decisive.is_some_and(|pattern| !pattern.includes)
    }
}

fn read<'a>(content: &'a str, directory: &'a [&str]) -> impl Iterator<Item = Pattern> + 'a {
    content
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .take_while(|line| line.len() < MAX_LINE)
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| Pattern::parse(line, directory))
}

/// One line.
#[derive(Clone, Debug)]
struct Pattern {
    /// The directory of the file the line stands in; it speaks of nothing outside.
    scope: Vec<String>,
    segments: Vec<Segment>,
    /// A slash before the end ties the pattern to its scope; without one it matches any component.
    anchored: bool,
    /// `!`: takes back in what an earlier pattern left out.
    includes: bool,
    /// A slash at the end: not a file of that name.
    directories_only: bool,
}

#[derive(Clone, Debug)]
enum Segment {
    /// Between two slashes, or before the first.
    Empty,
    /// `**`
    AnyDepth,
    /// `a**b`, which matches nothing in an anchored pattern.
    Mixed(Glob),
    Name(Glob),
}

impl Pattern {
    fn parse(line: &str, scope: &[&str]) -> Self {
        let (includes, text) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
        let text = if text.ends_with("\\ ") {
            text
        } else {
            text.trim_end_matches(' ')
        };
        let (directories_only, text) = text.strip_suffix('/').map_or((false, text), |rest| (true, rest));
        let segments = text.split('/').map(|segment| match segment {
            "" => Segment::Empty,
            "**" => Segment::AnyDepth,
            _ if segment.contains("**") => Segment::Mixed(Glob::parse(segment)),
            _ => Segment::Name(Glob::parse(segment)),
        });
        Self {
            scope: scope.iter().map(|name| (*name).to_owned()).collect(),
            segments: segments.collect(),
            anchored: text.contains('/'),
            includes,
            directories_only,
        }
    }

    fn matches(&self, path: &[&str], is_directory: bool) -> bool {
        match path.split_at_checked(self.scope.len()) {
            Some((above, below)) if !below.is_empty() && above == self.scope => match self.anchored {
                true => self.matches_from_scope(below, is_directory),
                false => self.matches_a_component(below, is_directory),
            },
            _ => false,
        }
    }

    fn matches_a_component(&self, path: &[&str], is_directory: bool) -> bool {
        let glob = match self.segments.first() {
            Some(Segment::Name(glob) | Segment::Mixed(glob)) => glob,
            // `**` without a slash is an ordinary glob.
            Some(Segment::AnyDepth) => return !(self.directories_only && !is_directory && path.len() == 1),
            Some(Segment::Empty) | None => return false,
        };
        match path.iter().position(|name| glob.matches(name)) {
            Some(at) => !(self.directories_only && !is_directory && at + 1 == path.len()),
            None => false,
        }
    }

    fn matches_from_scope(&self, path: &[&str], is_directory: bool) -> bool {
        let mut rest = path;
        let mut matched = false;
        let mut any_depth = false;
        for (index, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Empty => any_depth = false,
                Segment::AnyDepth if index + 1 == self.segments.len() => break,
                Segment::AnyDepth => any_depth = true,
                Segment::Mixed(_) => return false,
                Segment::Name(glob) => {
                    let at = if any_depth {
                        rest.iter().position(|name| glob.matches(name))
                    } else {
                        rest.first().filter(|name| glob.matches(name)).map(|_| 0)
                    };
                    match at {
                        Some(at) => (matched, rest) = (true, &rest[at + 1..]),
                        None => return false,
                    }
                    any_depth = false;
                }
            }
        }
        matched && !(self.directories_only && !is_directory && rest.is_empty())
    }
}

/// A pattern for one name, as Go's `filepath.Match` reads it; `None` when it is malformed.
#[derive(Clone, Debug)]
struct Glob(Option<Vec<Token>>);

#[derive(Clone, Debug)]
enum Token {
    Star,
    Any,
    Literal(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    fn parse(text: &str) -> Self {
        let mut tokens = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(next) = rest.next() {
            tokens.push(match next {
                '*' => Token::Star,
                '?' => Token::Any,
                '[' => match class(&mut rest) {
                    Some(class) => class,
                    None => return Self(None),
                },
                '\\' => match rest.next() {
                    Some(escaped) => Token::Literal(escaped),
                    None => return Self(None),
                },
                literal => Token::Literal(literal),
            });
        }
        Self(Some(tokens))
    }

    fn matches(&self, name: &str) -> bool {
        let Some(tokens) = &self.0 else { return false };
        let name: Vec<char> = name.chars().collect();
        let (mut token, mut at) = (0, 0);
        // Where the last star stands and how much it has taken: it takes one more when what follows does not fit.
        let mut star: Option<(usize, usize)> = None;
        while at < name.len() {
            match tokens.get(token) {
                Some(Token::Star) => {
                    star = Some((token, at));
                    token += 1;
                }
                Some(other) if other.takes(name[at]) => (token, at) = (token + 1, at + 1),
                _ => match star {
                    Some((place, taken)) => {
                        star = Some((place, taken + 1));
                        (token, at) = (place + 1, taken + 1);
                    }
                    None => return false,
                },
            }
        }
        tokens[token..].iter().all(|rest| matches!(rest, Token::Star))
    }
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Star => false,
            Self::Any => c != '/',
            Self::Literal(literal) => *literal == c,
            Self::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
        }
    }
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Reads a class behind its `[`; at least one range before `]` counts, and only `^` negates.
fn class(rest: &mut Chars<'_>) -> Option<Token> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.next_if_eq(&']').is_some() {
            return Some(Token::Class { negated, ranges });
        }
        let low = class_member(rest)?;
        let high = if rest.next_if_eq(&'-').is_some() {
            class_member(rest)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

fn class_member(rest: &mut Chars<'_>) -> Option<char> {
    match rest.next()? {
        '-' | ']' => None,
        '\\' => rest.next(),
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `spec.ignore` of `;`-separated lines excludes the path; a path that ends in `/` is a directory.
    fn check(patterns: &str, path: &str, excluded: bool) {
        let rules = Rules::new(&[], Some(&patterns.replace(';', "\n")));
        let found = rules.excludes(path.trim_end_matches('/'), path.ends_with('/'));
        assert_eq!(found, excluded, "{patterns} {path}");
    }

    #[test]
    fn patterns_match_what_they_match_in_go() {
        check("/*;!/deploy", "deploy/a/b.yaml", false);
        check("/*;!/deploy", "other/a", true);
        check("/*;!/deploy/app", "deploy/", true);
        check("/*;!/deploy/app", "deploy/app/x", false);
        check("abc/**", "abc/", true);
        check("dir/*;!dir/keep", "dir/keep/x", false);
        check("a**b/x", "axxb/x", false);
        check("a**b", "axxb", true);
        check("f[!x]", "fx", true);
        check("f[!x]", "f!", true);
        check("f[^x]", "fx", false);
        check("f[^x]", "fy", true);
        check("**/foo", "foo", true);
        check("**/foo", "a/b/foo/c", true);
        check("foo/bar", "x/foo/bar", false);
        check("build/", "build", false);
        check("build/", "build/", true);
        check("build/", "a/build/x", true);
        check("*.md", "docs/x.md/y", true);
        check("a/**/b", "a/b", true);
        check("a/**/b", "a/x/y/b", true);
        check("/deploy/**/*.md", "deploy/x.md", true);
        check("[", "[", false);
        check("\\#x", "#x", true);
        check("**", "a/b", true);
        check("**/*", "a/b", true);
        check("/**", "a/b", false);
    }

    #[test]
    fn patterns_of_every_form_match_what_they_match_in_go() {
        check("!**.txt", "a.txt", false);
        check("!**.txt", "a/b.png", false);
        check("!**.txt", "a/b.txt", false);
        check("a?c", "abc", true);
        check("a?c", "a/b/abc/d", true);
        check("a?c", "aéc", true);
        check("*.MD", "a.md", false);
        check("README", "a/readme", false);
        check("kee", "keep", false);
        check("keep", "kee", false);
        check("keep/", "keep/x", true);
        check("keep/", "a/keep", false);
        check("keep/", "a/keep/", true);
        check("keep/x", "keep/x/", true);
        check("keep/x", "a/keep/x", false);
        check("/keep/x", "keep/keep/x", false);
        check("keep/?", "keep", false);
        check("**/k*p/x", "keep/x", true);
        check("**/k*p/x", "a/b/keep/x/y", true);
        check("**/k*p/x", "a/keep/X", false);
        check("**/k*p/x/", "a/keep/x", false);
        check("**/k*p/x/", "a/keep/x/", true);
        check("**/k*p/x/", "a/keep/x/y", true);
        check("/k*p/**", "keep/", true);
        check("/k*p/**", "keep/x/y", true);
        check("/k*p/**/x", "keep/x", true);
        check("/k*p/**/x", "keep/a/b/x", true);
        check("/k*p/**/x/", "keep/a/b/x", false);
        check("/k*p/**/x/", "keep/a/b/x/", true);
        check("/k*p/**x/y", "keep/x/y", false);
        check("**/a/[xy]z", "b/a/yz", true);
        check("**/a/[", "b/a/[", false);
        check("/a/**/x[", "a/b/x[", false);
        check("**/a/**/b.c", "d/a/e/x.c", false);
        check("a/**/**/b", "a/c/b", true);
        check("a//b", "a/b", true);
        check("a/**", "a", true);
        check("**/", "a/b/", true);
        check("**/", "a", false);
        check("a/*", "a/b/c", true);
        check("!a;a", "a", true);
        check("a;!a;a/b", "a/b", true);
        check("/", "a", false);
        check("//", "a", false);
        check("[a-]", "a", false);
        check("[\\-a]", "-", true);
        check("[^]a]", "b", false);
        check("\\*", "*", true);
        check("\\*", "a", false);
        check("a\\", "a\\", false);
        check("é*", "éa/b", true);
        check("[é-ü]", "ö", true);
    }

    #[test]
    fn lines_are_read_as_upstream_reads_them() {
        check("# x", "# x", false);
        check("x   ", "x", true);
        check("x\\ ", "x ", true);
        check("x\r", "x", true);
        check("[a-c]?[]", "bz", false);
        check("[a-c]?", "bz", true);
        check("*a*b", "xaybzb", true);
        check("*a*b", "xaybz", false);
        let rules = Rules::new(&[], Some(&format!("a\n{}\nb", "x".repeat(MAX_LINE))));
        assert!(rules.excludes("a", false) && !rules.excludes("b", false));
    }

    #[test]
    fn the_defaults_hold_until_there_is_a_pattern() {
        for path in ["x.png", "a/.sops.yaml", ".github/w.yml", ".travis.yml"] {
            for nothing in ["", "# nothing;;"] {
                check(nothing, path, true);
            }
            check("other", path, false);
        }
        for spec in ["", "other"] {
            check(spec, ".gitignore", true);
            check(spec, "a/.git/config", true);
            check(spec, ".git", false);
            check(spec, ".sourceignore", false);
        }
        check("!.gitignore", ".gitignore", false);
    }

    #[test]
    fn files_rule_their_own_directory_and_spec_ignore_wins() {
        let files = [
            (String::new(), "*.md\n/keep\n".to_owned()),
            ("keep".to_owned(), "*.txt\n!/dir/y.txt\n".to_owned()),
        ];
        let rules = Rules::new(&files, Some("!/keep\n"));
        let excluded = |path: &str| rules.excludes(path, false);
        assert!(excluded("a.md") && !excluded("keep/a.txt"));
        let rules = Rules::new(&files[1..], None);
        let excluded = |path: &str| rules.excludes(path, false);
        assert!(excluded("keep/dir/z.txt") && excluded("keep/a.txt"));
        assert!(!excluded("keep/dir/y.txt") && !excluded("other.txt") && !excluded("keep"));
    }

    /// Texts of these letters, the same on every run.
    fn texts(letters: &str) -> impl Iterator<Item = String> {
        let letters: Vec<char> = letters.chars().collect();
        let mut seed = 1_u64;
        let mut below = move |bound: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % bound
        };
        std::iter::repeat_with(move || (0..=below(12)).map(|_| letters[below(letters.len())]).collect())
    }

    #[test]
    fn whatever_a_line_says_its_opposite_takes_back() {
        let (lines, paths) = (texts("ab*?[]^-!\\/#. é"), texts("abé./-"));
        let mut excluded = 0;
        for (line, path) in lines.zip(paths).take(20_000) {
            let (line, path) = (line.trim_start_matches(['!', '#', ' ']), path.trim_matches('/'));
            let rules = |text: &str| Rules::new(&[], Some(text));
            for is_directory in [true, false] {
                excluded += usize::from(rules(line).excludes(path, is_directory));
                let both = rules(&format!("{line}\n!{line}"));
                assert!(!both.excludes(path, is_directory), "{line:?} {path:?}");
            }
        }
        assert!(excluded > 100, "the lines say something: {excluded}");
    }
}
