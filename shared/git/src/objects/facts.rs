//! What is read of a commit, and of the tag that leads to it.

use gix::ObjectId;
use gix::objs::{CommitRef, Kind, TagRef};

use crate::pack::{Error, Reader};

/// The longest chain of tags pointing to tags that is followed.
const MAX_TAG_CHAIN: usize = 10;
/// What Flux shows of a subject before it adds dots.
const SUBJECT_CHARS: usize = 50;

/// What is of interest in a commit.
#[derive(Clone, Debug)]
pub struct CommitFacts {
    /// Its id.
    pub id: ObjectId,
    /// Its tree.
    pub tree: ObjectId,
    /// The first line of its message, as Flux shows it.
    pub subject: String,
    /// Who wrote it: `Name <address>`.
    pub author: String,
    /// When it was committed, in seconds since the epoch.
    pub committed: i64,
    /// The object.
    pub raw: Vec<u8>,
    /// The first tag on the way to it, if there was one.
    pub tag: Option<TagFacts>,
}

/// An annotated tag.
#[derive(Clone, Debug)]
pub struct TagFacts {
    /// Its id.
    pub id: ObjectId,
    /// The name it has of its own.
    pub name: String,
    /// The object.
    pub raw: Vec<u8>,
}

/// Reads the commit that `id` is or, as a tag, points to; nothing when it leads to something else.
pub fn commit_facts(reader: &mut Reader, mut id: ObjectId) -> Result<Option<CommitFacts>, Error> {
    let mut first = None;
    for _ in 0..MAX_TAG_CHAIN {
        let mut raw = Vec::new();
        match reader.object(&id, &mut raw)? {
            Kind::Tag => {
                let tag = TagRef::from_bytes(&raw, id.kind()).map_err(|error| Error::Damaged(error.to_string()))?;
                let (name, target) = (tag.name.to_string(), tag.target());
                first.get_or_insert(TagFacts { id, name, raw });
                id = target;
            }
            Kind::Commit => return read(id, raw, first).map(Some),
            Kind::Tree | Kind::Blob => return Ok(None),
        }
    }
    Ok(None)
}

fn read(id: ObjectId, raw: Vec<u8>, tag: Option<TagFacts>) -> Result<CommitFacts, Error> {
    let commit = CommitRef::from_bytes(&raw, id.kind()).map_err(|error| Error::Damaged(error.to_string()))?;
    let author = commit.author().map(|author| {
        let (name, address) = (author.name.to_string(), author.email.to_string());
        format!("{} <{}>", name.trim(), address.trim())
    });
    let facts = CommitFacts {
        id,
        tree: commit.tree(),
        subject: subject(&String::from_utf8_lossy(commit.message)),
        author: author.unwrap_or_default(),
        committed: commit.committer().map_or(0, |committer| committer.seconds()),
        tag,
        raw: Vec::new(),
    };
    drop(commit);
    Ok(CommitFacts { raw, ..facts })
}

/// The first line of a commit message as Flux shows it.
fn subject(message: &str) -> String {
    let line = message.split('\n').next().unwrap_or_default();
    match line.char_indices().nth(SUBJECT_CHARS) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: &str) {
        assert_eq!(subject(message), expected);
    }

    #[test]
    fn a_subject_is_the_first_line_and_at_most_fifty_characters() {
        check("fix it\n\nbecause", "fix it");
        check("", "");
        check(&"ü".repeat(50), &"ü".repeat(50));
        check(&"ü".repeat(51), &format!("{}...", "ü".repeat(50)));
        check(&format!("{}...", "ü".repeat(50)), &format!("{}...", "ü".repeat(50)));
    }
}
