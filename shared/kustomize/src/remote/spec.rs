//! Which texts are Git repositories: kustomize's grammar for URLs, to the letter.
//!
//! A text is taken apart from left to right: the query, `git::`, the scheme, the user, the host, and then the path, in which
//! a mark (`_git/`, `//` or `.git`) or else the count of two segments tells the repository from the directory inside of it.
//! Whether such a repository exists, or may be fetched, is not looked at.

use super::Repository;
use super::query::parse_query;
use super::redact::redacted;

const FILE: &str = "file://";
const SCHEMES: [&str; 4] = ["ssh://", "https://", "http://", FILE];

/// What go-getter used to take for "by Git"; kustomize drops it and warns.
const FORCED: &str = "git::";

/// The segments of a path without a mark that name a repository, as on GitHub: organisation and name.
const SEGMENTS: usize = 2;

/// A directory in a Git repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepoSpec {
    /// The repository.
    pub repository: Repository,
    /// The directory as written, without one leading slash. It does not begin with `..` but may lead out all the same.
    pub directory: String,
    /// Whether `git::` came first.
    pub forced: bool,
}

impl RepoSpec {
    /// Reads a text; none when kustomize would take it for a path of the file system.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            return None;
        }
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let (reference, timeout, submodules) = parse_query(query);
        let (forced, address) = match strip_prefix(address, FORCED) {
            Some(rest) => (true, rest),
            None => (false, address),
        };
        let (host, path) = split_host(address)?;
        let (path, directory) = split_path(path, host.starts_with(FILE))?;
        Some(Self {
            repository: Repository {
                url: host + &path,
                reference,
                submodules,
                timeout,
            },
            directory,
            forced,
        })
    }

    /// The repository as errors name it: `URL@REFERENCE`, without credentials.
    pub fn name(&self) -> String {
        let url = redacted(&self.repository.url);
        match &self.repository.reference {
            Some(reference) => format!("{url}@{reference}"),
            None => url.into_owned(),
        }
    }

    /// The directory as `buildMetadata` writes it. Upstream cuts it out of the path of the clone, whose stand-in `notCloned`
    /// stays when there is nothing to cut.
    pub fn origin_path(&self) -> String {
        let mut parts = vec!["notCloned"];
        for part in self.directory.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                name => parts.push(name),
            }
        }
        let from = usize::from(parts.len() > 1);
        parts.get(from..).unwrap_or_default().join("/")
    }

    /// Whether the repository is a directory of the machine that builds.
    pub fn is_local(&self) -> bool {
        self.repository.url.starts_with(FILE)
    }
}

/// The text after a prefix of any case.
fn strip_prefix<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// Scheme, user and host in their normal form, and the path behind them.
fn split_host(address: &str) -> Option<(String, &str)> {
    let (scheme, rest) = SCHEMES
        .iter()
        .find_map(|scheme| Some((*scheme, strip_prefix(address, scheme)?)))
        .unwrap_or(("", address));
    if scheme == FILE {
        return Some((FILE.to_owned(), rest));
    }
    let (user, rest) = split_user(rest);
    let is_github = ["github.com/", "github.com:"]
        .iter()
        .any(|host| strip_prefix(rest, host).is_some());
    // `user@host:path` has no scheme; without a user it is understood for GitHub alone.
    let is_scp = scheme.is_empty() && (!user.is_empty() || is_github);
    if scheme.is_empty() && !is_scp {
        return None;
    }
    let (host, path) = match separator(rest, is_scp) {
        Some(at) => rest.split_at(at + 1),
        None => (rest, ""),
    };
    if host.is_empty() {
        return None;
    }
    let host = match (is_github, scheme, user) {
        (false, _, _) => format!("{scheme}{user}{host}"),
        (true, "ssh://", _) => format!("{user}github.com:"),
        (true, _, "") => "https://github.com/".to_owned(),
        (true, _, _) => format!("{user}github.com:"),
    };
    Some((host, path))
}

/// The user with its `@`, when it is letters, digits and dashes, and what follows.
fn split_user(text: &str) -> (&str, &str) {
    let end = text
        .bytes()
        .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        .count();
    let begins_with_letter = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if begins_with_letter && text.as_bytes().get(end) == Some(&b'@') {
        text.split_at(end + 1)
    } else {
        ("", text)
    }
}

/// Where the host ends: at the first slash, or at a colon before it when there is no scheme.
fn separator(text: &str, is_scp: bool) -> Option<usize> {
    let slash = text.find('/');
    let colon = text.find(':').filter(|_| is_scp);
    match (slash, colon) {
        (Some(slash), Some(colon)) if colon > 0 && colon < slash => Some(colon),
        (None, colon) => colon,
        (slash, _) => slash,
    }
}

/// The path of the repository and the directory in it.
fn split_path(path: &str, whole: bool) -> Option<(String, String)> {
    let (repository, directory) = split_at_mark(path)
        .or_else(|| whole.then_some((path, "")))
        .or_else(|| split_by_count(path))?;
    if repository.is_empty() || leads_out(directory) {
        return None;
    }
    let directory = directory.strip_prefix('/').unwrap_or(directory);
    Some((repository.to_owned(), directory.to_owned()))
}

fn split_at_mark(path: &str) -> Option<(&str, &str)> {
    const AZURE: &str = "_git/";
    const SUFFIX: &str = ".git";
    if let Some(at) = path.find(AZURE) {
        let name = at + AZURE.len();
        let end = path[name..].find('/').map_or(path.len(), |slash| name + slash);
        Some((&path[..end], path.get(end + 1..).unwrap_or("")))
    } else if let Some(split) = path.split_once("//") {
        Some(split)
    } else {
        let at = path.find(SUFFIX)?;
        Some(path.split_at(at + SUFFIX.len()))
    }
}

fn split_by_count(path: &str) -> Option<(&str, &str)> {
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    let enough = slashes.nth(SEGMENTS - 2)?;
    match path[enough + 1..].find('/') {
        Some(at) => Some((&path[..=enough + at], &path[enough + at + 2..])),
        None => Some((path, "")),
    }
}

/// Whether a directory begins with `..` once dots are resolved by name. One that begins with a second slash does not.
fn leads_out(directory: &str) -> bool {
    let directory = directory.strip_prefix('/').unwrap_or(directory);
    !directory.starts_with('/') && crate::files::clean(directory).split('/').next() == Some("..")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    /// What kustomize made of some texts, a line each: the text; and, for a repository, the URL to clone, the directory, the
    /// path in origins, the reference, whether submodules are wanted, and the timeout in nanoseconds.
    const TABLE: &str = include_str!("urls.jsonl");

    fn check(expected: &Value) {
        let input = expected[0].as_str().unwrap();
        let mut line = vec![json!(input)];
        if let Some(spec) = RepoSpec::parse(input) {
            let repository = &spec.repository;
            line.extend([
                json!(repository.url),
                json!(spec.directory),
                json!(spec.origin_path()),
                json!(repository.reference.as_deref().unwrap_or_default()),
                json!(repository.submodules),
                json!(u64::try_from(repository.timeout.as_nanos()).unwrap()),
            ]);
        }
        assert_eq!(Value::from(line), *expected);
    }

    #[test]
    fn every_text_is_read_as_kustomize_reads_it() {
        for line in TABLE.lines() {
            let expected: Value = serde_json::from_str(line).unwrap();
            check(&expected);
        }
        assert!(TABLE.lines().count() > 900);
    }

    #[test]
    fn no_beginning_of_a_text_has_a_directory_that_leads_out_at_once() {
        for line in TABLE.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = line[0].as_str().unwrap();
            for (end, _) in text.char_indices() {
                let Some(spec) = RepoSpec::parse(&text[..end]) else {
                    continue;
                };
                assert!(
                    !spec.repository.url.is_empty() && !spec.directory.starts_with("../"),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn what_came_before_the_grammar_is_remembered() {
        let spec = RepoSpec::parse("GIT::file:///srv/repo//base?timeout=1m").unwrap();
        assert!(spec.forced && spec.is_local());
        assert_eq!(spec.repository.timeout, Duration::from_secs(60));
        let spec = RepoSpec::parse("https://git.example.com/org/repo").unwrap();
        assert!(!spec.forced && !spec.is_local());
    }
}
