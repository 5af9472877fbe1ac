//! Which names of a tree are refused.
//!
//! Trees are written by strangers, and an artifact is unpacked by many: a name that some file system takes for `.git`, in any
//! case, with the characters HFS ignores, or in one of NTFS's spellings, is never checked out by git itself and is refused
//! wherever it stands ([`is_git_directory`]). Names with control characters, backslashes or two dots before a slash are legal
//! in Git, but consumers of artifacts refuse them or are fooled by them; those are refused only where they would be archived
//! ([`unfit`]), so that `spec.ignore` can leave them out. Names that are no text go through as they are.

use std::str::Utf8Chunk;

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Some file system takes it for `.git`.
    #[error("some file systems take it for '.git'")]
    GitDirectory,
    /// It would break out of lines, terminals and messages.
    #[error("it holds a control character; rename it or leave it out with spec.ignore")]
    Control,
    /// Consumers take it for a separator, and refuse it.
    #[error("it holds a backslash; rename it or leave it out with spec.ignore")]
    Backslash,
    /// Consumers take it for a way up, and refuse it.
    #[error("the name of a directory ends in two dots; rename it or leave it out with spec.ignore")]
    Dots,
}

/// Whether some file system takes a name, one component of a path, for `.git`.
pub fn is_git_directory(name: &[u8]) -> bool {
    name.split(|byte| *byte == b'\\').any(is_git_on_ntfs) || is_git_on_hfs(name)
}

/// Why a path cannot stand in an archive.
pub fn unfit(path: &[u8]) -> Option<Unfit> {
    let has_control = |chunk: Utf8Chunk<'_>| chunk.valid().chars().any(char::is_control);
    if path.utf8_chunks().any(has_control) {
        Some(Unfit::Control)
    } else if path.contains(&b'\\') {
        Some(Unfit::Backslash)
    } else if path.windows(3).any(|three| three == b"../") {
        Some(Unfit::Dots)
    } else {
        None
    }
}

/// A path as messages show it: printable, whatever it holds.
pub fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let escaped = text.chars().map(|c| match c {
        c if c.is_control() => c.escape_default().to_string(),
        c if is_ignored_by_hfs(c) => c.escape_unicode().to_string(),
        c => c.to_string(),
    });
    escaped.collect()
}

/// NTFS has a short name for it, drops dots and spaces at the end, and reads what follows a colon as the name of a stream.
fn is_git_on_ntfs(name: &[u8]) -> bool {
    let rest = [&b".git"[..], b"git~1"].iter().find_map(|form| {
        let (start, rest) = name.split_at_checked(form.len())?;
        start.eq_ignore_ascii_case(form).then_some(rest)
    });
    rest.is_some_and(|rest| {
        let end = rest.split(|byte| *byte == b':').next().unwrap_or_default();
        end.iter().all(|byte| matches!(byte, b'.' | b' '))
    })
}

/// HFS passes over some characters when it compares names; none of them is ASCII, and without them it is as NTFS.
fn is_git_on_hfs(name: &[u8]) -> bool {
    !name.is_ascii()
        && std::str::from_utf8(name).is_ok_and(|name| {
            let seen: String = name.chars().filter(|c| !is_ignored_by_hfs(*c)).collect();
            seen.eq_ignore_ascii_case(".git")
        })
}

fn is_ignored_by_hfs(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: bool) {
        assert_eq!(is_git_directory(name.as_bytes()), expected, "{name:?}");
    }

    #[test]
    fn every_spelling_of_the_git_directory_is_known() {
        for name in [
            ".git",
            ".GIT",
            ".gIt",
            "git~1",
            "GIT~1",
            ".git.",
            ".git ",
            ".git. . ",
            "git~1.",
            ".git::$INDEX_ALLOCATION",
            ".git:stream",
            "git~1 :x",
            "a\\.git",
            ".git\\hooks",
            ".g\u{200c}it",
            "\u{200e}.git",
            ".GI\u{feff}T",
            ".git\u{206a}",
        ] {
            check(name, true);
        }
    }

    #[test]
    fn names_that_only_look_like_it_are_none() {
        for name in [
            "git",
            "GIT",
            ".gitignore",
            ".gitmodules",
            ".gitattributes",
            ".github",
            "git~2",
            "git~10",
            "git~",
            ".git2",
            "a.git",
            ".git.x",
            ".g",
            "",
            ".gi\u{301}t",
            "x:.git",
        ] {
            check(name, false);
        }
        assert!(!is_git_directory(b".g\x80it"));
    }

    #[test]
    fn what_cannot_be_archived_is_told_and_shown_without_doing_harm() {
        for (path, why) in [
            (&b"a/b c/gr\xc3\xbcn.txt"[..], None),
            (b"a\nb", Some(Unfit::Control)),
            (b"Icon\r", Some(Unfit::Control)),
            (b"\x7f", Some(Unfit::Control)),
            (b"a\xc2\x9bb", Some(Unfit::Control)),
            (b"a\\b", Some(Unfit::Backslash)),
            (b"a../b", Some(Unfit::Dots)),
            (b"a..", None),
            (b"..a/b", None),
            (b"\xff\xfe", None),
            (b"\xff\xc2\x9b", Some(Unfit::Control)),
        ] {
            assert_eq!(unfit(path), why, "{path:?}");
        }
        assert_eq!(shown(b"a\n\x1b[31m/gr\xc3\xbcn"), "a\\n\\u{1b}[31m/gr\u{fc}n");
        assert_eq!(shown(".g\u{200c}it".as_bytes()), ".g\\u{200c}it");
    }
}
