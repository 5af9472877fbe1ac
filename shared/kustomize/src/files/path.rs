//! Arithmetic on slash-separated paths, without a file system.

use super::FileError;

/// Joins `path` to the directory `base` and resolves `.`, `..` and doubled slashes by name. The result has no leading
/// slash; "" is the root. An absolute `path` starts at the root.
///
/// # Errors
/// [`FileError::Outside`] when `..` climbs above the root.
pub(crate) fn join(base: &str, path: &str) -> Result<String, FileError> {
    let base = if path.starts_with('/') { "" } else { base };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(FileError::Outside(path.to_owned()));
                }
            }
            name => parts.push(name),
        }
    }
    Ok(parts.join("/"))
}

/// The path with `.`, `..` and doubled slashes resolved by name; like Go's `filepath.Clean` for relative paths, so
/// leading `..` stay and the empty path is ".".
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    }
}

/// The last part of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Whether `path` is `directory` or below it; both cleaned.
pub(crate) fn within(path: &str, directory: &str) -> bool {
    directory.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: &str, path: &str, expected: Option<&str>) {
        assert_eq!(join(base, path).ok().as_deref(), expected, "{base} + {path}");
    }

    #[test]
    fn joins_resolve_dots_and_never_leave_the_root() {
        check("a/b", "../c", Some("a/c"));
        check("a", "./b//c/.", Some("a/b/c"));
        check("", "x", Some("x"));
        check("a", "..", Some(""));
        check("a", "../..", None);
        check("a", "/x/../y", Some("y"));
    }

    #[test]
    fn a_directory_holds_what_is_below_it_and_not_its_namesakes() {
        assert!(within("a/b", "a"));
        assert!(within("a", "a"));
        assert!(within("a", ""));
        assert!(!within("ab", "a"));
    }

    #[test]
    fn cleaning_keeps_leading_parents() {
        assert_eq!(clean("./a/../../b/"), "../b");
        assert_eq!(clean("a/.."), ".");
        assert_eq!(file_name("a/b"), "b");
    }
}
