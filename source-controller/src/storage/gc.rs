//! Which files of an object have had their time. Pure: what lies there comes in, what is to go comes out.
//!
//! The current artifact never goes. Others go when they are older than the retention time, and then the oldest until no more
//! than the retention count remain. The count is a cap, not a promise: with an interval longer than the retention time only
//! the current file survives the next reconcile.

use std::time::Duration;

/// A file in an object's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// How long ago it was written.
    pub age: Duration,
}

/// How long and how many.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Files that are not current go when they are older.
    pub ttl: Duration,
    /// At most so many files remain, the current one included.
    pub records: usize,
}

/// The names of the artifacts that are to go, oldest first.
pub fn outdated(mut files: Vec<File>, current: Option<&str>, retention: Retention) -> Vec<String> {
    files.retain(|file| Some(file.name.as_str()) != current);
    files.sort_by(|a, b| b.age.cmp(&a.age).then_with(|| a.name.cmp(&b.name)));
    let kept = retention.records.saturating_sub(usize::from(current.is_some()));
    let too_many = files.len().saturating_sub(kept);
    let goes = |(index, file): (usize, File)| (index < too_many || file.age > retention.ttl).then_some(file.name);
    files.into_iter().enumerate().filter_map(goes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Retention = Retention {
        ttl: Duration::from_secs(60),
        records: 2,
    };

    /// Files are `name:age` words.
    fn check(files: &str, current: Option<&str>, gone: &[&str]) {
        let files = files.split_whitespace().map(|word| {
            let (name, age) = word.split_once(':').unwrap();
            File {
                name: name.to_owned(),
                age: Duration::from_secs(age.parse().unwrap()),
            }
        });
        assert_eq!(outdated(files.collect(), current, MINUTE), gone);
    }

    #[test]
    fn the_oldest_go_until_the_count_is_met() {
        check("a:40 b:30 c:20 d:10", Some("d"), &["a", "b"]);
        check("a:10 b:10 c:10", Some("c"), &["a"]);
        check("a:40 b:30 c:20", None, &["a"]);
    }

    #[test]
    fn what_is_too_old_goes_whatever_the_count() {
        check("a:61 b:10", Some("b"), &["a"]);
        check("a:60 b:10", Some("b"), &[]);
    }

    #[test]
    fn the_current_file_stays_whatever_its_age() {
        check("a:4000", Some("a"), &[]);
        check("a:4000 b:30 c:20", Some("a"), &["b"]);
    }
}
