//! Patterns of what is left out. An input is `spec.ignore`; behind a line `=== dir DIRECTORY` a file `.sourceignore` of that
//! directory; behind a line `=== paths` a path in each line, directories with a slash at the end. Comments and line ends mean
//! nothing, what is left out takes along what is in it, its opposite takes a pattern back, and a pattern means the same in
//! every directory.

use source_controller::ignore::Rules;

/// A pattern, so that the defaults do not count.
const SOMETHING: &str = "no-such-name";
/// A directory of which no default speaks.
const ELSEWHERE: &str = "one/two";

/// Rules and paths of any form.
pub fn check(input: &[u8]) {
    let (mut spec, mut files, mut paths) = ("", Vec::new(), Vec::new());
    for (number, (name, content)) in super::parts(input).into_iter().enumerate() {
        let (Ok(name), Ok(content)) = (std::str::from_utf8(name), std::str::from_utf8(content)) else {
            return;
        };
        match (number, name.strip_prefix("dir ")) {
            (0, _) => spec = content,
            (_, Some(directory)) if is_path(directory) => files.push((directory.to_owned(), content)),
            _ if name == "dir" => files.push((String::new(), content)),
            _ => paths.extend(content.lines().filter(|path| is_path(path))),
        }
    }
    let case = Case { spec, files, paths };
    case.notes_and_line_ends_mean_nothing();
    case.what_is_left_out_takes_along_what_is_in_it();
    case.the_opposite_takes_a_pattern_back();
    case.patterns_mean_the_same_in_every_directory();
}

/// Whether a tree can have it.
fn is_path(path: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').all(|name| !matches!(name, "" | "." | ".."))
}

fn excludes(rules: &Rules, path: &str) -> bool {
    rules.excludes(path.trim_end_matches('/'), path.ends_with('/'))
}

struct Case<'a> {
    spec: &'a str,
    /// Directory and content of the files `.sourceignore`.
    files: Vec<(String, &'a str)>,
    paths: Vec<&'a str>,
}

impl<'a> Case<'a> {
    /// The rules, each text as `change` makes it.
    fn rules(&self, change: impl Fn(&str) -> String) -> Rules {
        let files: Vec<_> = self.files.iter().map(|(at, text)| (at.clone(), change(text))).collect();
        Rules::new(&files, Some(&change(self.spec)))
    }

    fn texts(&self) -> impl Iterator<Item = &'a str> {
        self.files.iter().map(|(_, text)| *text).chain([self.spec])
    }

    fn notes_and_line_ends_mean_nothing(&self) {
        // A line that ends in a carriage return of its own would lose that one.
        if self.texts().any(|text| text.contains('\r')) {
            return;
        }
        let noted = |text: &str| {
            let lines = text.split('\n').map(|line| format!("# a note\r\n{line}\r\n \t\r\n"));
            lines.collect::<String>()
        };
        let (rules, noted) = (self.rules(str::to_owned), self.rules(noted));
        for path in &self.paths {
            assert_eq!(excludes(&rules, path), excludes(&noted, path), "{path:?}");
        }
    }

    fn what_is_left_out_takes_along_what_is_in_it(&self) {
        if self.texts().any(|text| text.contains('!')) {
            return;
        }
        let rules = self.rules(str::to_owned);
        for path in &self.paths {
            let below = path.trim_end_matches('/');
            for (at, _) in below.match_indices('/') {
                let is_out = rules.excludes(&below[..at], true);
                assert!(!is_out || excludes(&rules, path), "{path:?} in {:?}", &below[..at]);
            }
        }
    }

    fn the_opposite_takes_a_pattern_back(&self) {
        for text in self.texts() {
            let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
            let is_pattern = |line: &&str| !line.starts_with(['#', '!']) && !line.trim().is_empty();
            // A carriage return at the end of a pattern stays, since there is one behind it.
            let opposites: String = lines.filter(is_pattern).map(|line| format!("!{line}\r\n")).collect();
            let defaults = Rules::new(&[], Some(SOMETHING));
            let both = Rules::new(&[], Some(&format!("{text}\n{opposites}")));
            for path in self.paths.iter().filter(|_| !opposites.is_empty()) {
                assert!(!excludes(&both, path) || excludes(&defaults, path), "{path:?}");
            }
        }
    }

    fn patterns_mean_the_same_in_every_directory(&self) {
        for text in self.texts() {
            let in_directory = |at: &str| Rules::new(&[(at.to_owned(), text.to_owned())], None);
            let (here, elsewhere) = (in_directory(""), in_directory(ELSEWHERE));
            for path in &self.paths {
                let moved = format!("{ELSEWHERE}/{path}");
                assert_eq!(excludes(&here, path), excludes(&elsewhere, &moved), "{path:?}");
            }
        }
    }
}
