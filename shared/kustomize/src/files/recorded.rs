//! What was asked of a tree and a digest of each answer, so that another tree can be asked the same: where every answer
//! is the same, a build must come to the same result and need not be done.
//!
//! Answers are recorded, not guessed from the kustomization: a file that was looked for and is missing is as much a part
//! of the footprint as one that was read. Contents are not kept, and nothing is said about what differs. Options, and
//! files laid over the tree by an [`Overlay`](super::Overlay), are other inputs of a build, which the caller compares.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{FileError, FileKind, Files};

/// The most memory a footprint may take, in bytes; a build that asks for more has none.
const MAX_SIZE: usize = 16 << 20;

/// A tree of files that records what it is asked.
///
/// The tree below must not change meanwhile. Lay an [`Overlay`](super::Overlay) over this one, not the other way round,
/// so that files that are not of the tree stay out of the footprint.
///
/// ```
/// use kustomize::{MemoryFiles, Options, Recorded};
///
/// let mut files = MemoryFiles::default();
/// files.insert("kustomization.yaml", "resources: [app.yaml]\n")?;
/// files.insert("app.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\n")?;
/// let recorded = Recorded::new(&files);
/// kustomize::build(&recorded, "", &Options::default())?;
/// let footprint = recorded.footprint();
/// files.insert("README.md", "not read by the build")?;
/// assert!(footprint.is_of(&files));
/// files.insert("kustomization.yml", "found beside the other")?;
/// assert!(!footprint.is_of(&files));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Recorded<'a> {
    files: &'a dyn Files,
    notes: RefCell<Notes>,
}

/// The first half of a SHA-256, or what else tells the answers to one question apart.
type Digest = [u8; 16];

/// A question about a path. `exists` and `is_dir` are asked as `Kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Kind,
    List,
    Resolve,
    /// With the limit, which decides between the content and an error.
    Read(u64),
}

impl Probe {
    fn ask(self, files: &dyn Files, path: &str) -> Digest {
        match self {
            Probe::Kind => of_kind(files.kind(path)),
            Probe::List => of_names(&files.list(path)),
            Probe::Resolve => of_bytes(&files.resolve(path)),
            Probe::Read(limit) => of_bytes(&files.read(path, limit)),
        }
    }
}

fn of_kind(kind: Option<FileKind>) -> Digest {
    let mut digest = Digest::default();
    if let Some(first) = digest.first_mut() {
        *first = match kind {
            None => 0,
            Some(FileKind::File) => 1,
            Some(FileKind::Directory) => 2,
        };
    }
    digest
}

/// Digests of answers and of errors must not be mixed up, whatever a file contains.
fn start(error: Option<&FileError>) -> Sha256 {
    match error {
        None => Sha256::new().chain_update([0]),
        Some(error) => Sha256::new().chain_update([1]).chain_update(format!("{error:?}")),
    }
}

fn finish(hasher: Sha256) -> Digest {
    let mut digest = Digest::default();
    digest
        .iter_mut()
        .zip(hasher.finalize())
        .for_each(|(to, from)| *to = from);
    digest
}

fn of_bytes(answer: &Result<impl AsRef<[u8]>, FileError>) -> Digest {
    let mut hasher = start(answer.as_ref().err());
    if let Ok(bytes) = answer {
        hasher.update(bytes);
    }
    finish(hasher)
}

fn of_names(answer: &Result<Vec<String>, FileError>) -> Digest {
    let mut hasher = start(answer.as_ref().err());
    for name in answer.iter().flatten() {
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name);
    }
    finish(hasher)
}

/// One answer.
struct Answer {
    probe: Probe,
    digest: Digest,
    /// The length of the content, where the answer is one.
    content: Option<usize>,
}

/// All answers so far, by path.
#[derive(Default)]
struct Notes {
    answers: BTreeMap<Box<str>, Vec<Answer>>,
    size: usize,
    /// Too much was asked, or the tree changed: whatever is recorded says nothing.
    void: bool,
}

impl Notes {
    /// Keeps an answer to a new question.
    fn push(&mut self, path: &str, answer: Answer) {
        self.size += size_of::<Entry>();
        match self.answers.get_mut(path) {
            Some(answers) => answers.push(answer),
            None => {
                self.size += path.len();
                self.answers.insert(path.into(), vec![answer]);
            }
        }
        if self.size > MAX_SIZE {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        self.void = true;
        self.answers.clear();
    }

    fn note(&mut self, path: &str, probe: Probe, digest: impl FnOnce() -> Digest) {
        if self.void {
            return;
        }
        let digest = digest();
        let known = self.answers.get(path).into_iter().flatten();
        match known.into_iter().find(|answer| answer.probe == probe) {
            Some(known) if known.digest == digest => {}
            Some(_) => self.give_up(),
            None => self.push(
                path,
                Answer {
                    probe,
                    digest,
                    content: None,
                },
            ),
        }
    }

    /// A content is digested once, however often it is read: it fits into the smallest limit that it was read with.
    fn note_content(&mut self, path: &str, limit: u64, content: &[u8]) {
        if self.void {
            return;
        }
        let known = self
            .answers
            .get_mut(path)
            .and_then(|answers| answers.iter_mut().find(|answer| answer.content.is_some()));
        match known {
            Some(known) if known.content == Some(content.len()) => {
                if let Probe::Read(smallest) = &mut known.probe {
                    *smallest = limit.min(*smallest);
                }
            }
            Some(_) => self.give_up(),
            None => self.push(
                path,
                Answer {
                    probe: Probe::Read(limit),
                    digest: of_bytes(&Ok(content)),
                    content: Some(content.len()),
                },
            ),
        }
    }
}

impl<'a> Recorded<'a> {
    /// A tree of which nothing was asked yet.
    pub fn new(files: &'a dyn Files) -> Self {
        Self {
            files,
            notes: RefCell::default(),
        }
    }

    /// What was asked up to now, and the answers.
    pub fn footprint(self) -> Footprint {
        let notes = self.notes.into_inner();
        if notes.void {
            return Footprint(Arc::new(Asked::void()));
        }
        let mut paths = String::with_capacity(notes.answers.keys().map(|path| path.len()).sum());
        let mut entries = Vec::with_capacity(notes.answers.values().map(Vec::len).sum());
        for (path, answers) in &notes.answers {
            let from = u32::try_from(paths.len());
            paths.push_str(path);
            let (Ok(from), Ok(to)) = (from, u32::try_from(paths.len())) else {
                return Footprint(Arc::new(Asked::void()));
            };
            entries.extend(answers.iter().map(|answer| Entry {
                path: (from, to),
                probe: answer.probe,
                digest: answer.digest,
            }));
        }
        Footprint(Arc::new(Asked {
            paths: paths.into(),
            entries: entries.into(),
            void: false,
        }))
    }
}

impl Files for Recorded<'_> {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        let answer = self.files.read(path, limit);
        let mut notes = self.notes.borrow_mut();
        match &answer {
            Ok(content) => notes.note_content(path, limit, content),
            Err(_) => notes.note(path, Probe::Read(limit), || of_bytes(&answer)),
        }
        answer
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        let answer = self.files.kind(path);
        self.notes.borrow_mut().note(path, Probe::Kind, || of_kind(answer));
        answer
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let answer = self.files.list(path);
        self.notes.borrow_mut().note(path, Probe::List, || of_names(&answer));
        answer
    }

    fn resolve(&self, path: &str) -> Result<String, FileError> {
        let answer = self.files.resolve(path);
        self.notes.borrow_mut().note(path, Probe::Resolve, || of_bytes(&answer));
        answer
    }
}

/// What was asked of a tree, and digests of the answers; made by [`Recorded::footprint`]. Clones share their memory.
#[derive(Clone, Debug)]
pub struct Footprint(Arc<Asked>);

#[derive(Debug)]
struct Asked {
    /// One after another, each once.
    paths: Box<str>,
    /// By path, and in the order in which they were asked.
    entries: Box<[Entry]>,
    void: bool,
}

impl Asked {
    fn void() -> Self {
        Self {
            paths: Box::default(),
            entries: Box::default(),
            void: true,
        }
    }
}

#[derive(Debug)]
struct Entry {
    /// Where in the paths it begins and ends.
    path: (u32, u32),
    probe: Probe,
    digest: Digest,
}

impl Footprint {
    /// Whether the tree gives the recorded answer to every question; the first other one ends the asking. Reads every
    /// file that was read.
    ///
    /// Never true when the footprint would take more than 16 MiB, or when the recorded tree was seen to change meanwhile (a
    /// content that changes between two reads and keeps its length is not seen).
    pub fn is_of(&self, files: &dyn Files) -> bool {
        let Asked { paths, entries, void } = &*self.0;
        !void
            && entries.iter().all(|entry| {
                let (from, to) = entry.path;
                paths
                    .get(from as usize..to as usize)
                    .is_some_and(|path| entry.probe.ask(files, path) == entry.digest)
            })
    }

    /// How many different questions were asked.
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// Whether nothing was asked, or too much to be kept.
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }

    /// What it takes in memory, in bytes: about 40 for each question and each path once.
    pub fn size(&self) -> usize {
        size_of::<Asked>() + self.0.paths.len() + size_of_val(&*self.0.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryFiles;

    fn tree(files: &[(&str, &str)]) -> MemoryFiles {
        let mut tree = MemoryFiles::default();
        for (path, content) in files {
            assert_eq!(tree.insert(path, *content), Ok(()));
        }
        tree
    }

    const TREE: [(&str, &str); 3] = [("a/x", "1"), ("a/y", "22"), ("b", "3")];

    /// Asks one tree and compares the footprint with another.
    fn check(ask: fn(&Recorded<'_>), other: &[(&str, &str)], expected: bool) {
        let files = tree(&TREE);
        let recorded = Recorded::new(&files);
        ask(&recorded);
        let footprint = recorded.footprint();
        assert!(footprint.is_of(&files), "of itself");
        assert_eq!(footprint.is_of(&tree(other)), expected, "{other:?}");
    }

    fn read(files: &Recorded<'_>, path: &str, limit: u64) {
        drop(files.read(path, limit));
    }

    #[test]
    fn every_answer_counts_and_nothing_else() {
        let changed = [("a/x", "0"), ("a/y", "22"), ("b", "3")];
        check(|files| read(files, "a/x", 9), &changed, false);
        check(|files| read(files, "a/y", 9), &changed, true);
        check(|files| drop(files.list("a")), &changed, true);
        check(|files| assert!(files.exists("a/x")), &changed, true);
        check(|_| {}, &[], true);

        let added = [("a/x", "1"), ("a/y", "22"), ("a/z", ""), ("b", "3")];
        check(|files| drop(files.list("a")), &added, false);
        check(|files| drop(files.list("")), &added, true);
        check(|files| assert_eq!(files.kind("a/z"), None), &added, false);
        check(|files| assert!(!files.exists("a/z")), &added, false);
        check(|files| drop(files.resolve("a/z")), &added, false);
        check(|files| read(files, "a/z", 9), &added, false);
        check(|files| drop(files.resolve("a")), &added, true);

        let swapped = [("a", "1"), ("b/x", "3")];
        check(|files| assert!(files.is_dir("a")), &swapped, false);
        check(|files| assert!(!files.is_dir("b")), &swapped, false);
        check(|files| read(files, "a", 9), &swapped, false);
        check(|files| drop(files.list("b")), &swapped, false);
        check(|files| drop(files.resolve("a")), &swapped, true);
    }

    #[test]
    fn a_limit_is_part_of_the_question() {
        let longer = [("a/x", "1"), ("a/y", "222"), ("b", "3")];
        check(|files| read(files, "a/y", 1), &longer, true);
        check(|files| read(files, "a/y", 2), &longer, false);
        let shorter = [("a/x", "1"), ("a/y", "2"), ("b", "3")];
        check(|files| read(files, "a/y", 1), &shorter, false);
        check(
            |files| {
                read(files, "a/y", 1);
                read(files, "a/y", 9);
            },
            &longer,
            false,
        );
    }

    #[test]
    fn errors_are_told_from_contents_that_look_like_them() {
        let error = FileError::NotFound("a".into());
        let text = format!("{error:?}");
        assert_ne!(
            of_bytes(&Ok::<&str, FileError>(&text)),
            of_bytes(&Err::<&str, _>(error))
        );
        let names = |names: &[&str]| of_names(&Ok(names.iter().map(|name| (*name).to_owned()).collect()));
        assert_ne!(names(&["ab"]), names(&["a", "b"]));
    }

    #[test]
    fn the_same_question_is_kept_once_and_small() {
        fn is_shared<T: Send + Sync + 'static>(_: &T) {}
        let files = tree(&TREE);
        let recorded = Recorded::new(&files);
        for limit in [9, 5, 7] {
            read(&recorded, "a/x", limit);
            assert_eq!(recorded.kind("a/x"), Some(FileKind::File));
        }
        let footprint = recorded.footprint();
        is_shared(&footprint);
        assert_eq!(footprint.len(), 2);
        assert!(!footprint.is_empty());
        assert_eq!(footprint.size(), size_of::<Asked>() + "a/x".len() + 2 * 40);
        let read = footprint.0.entries.iter().find(|entry| entry.probe != Probe::Kind);
        assert_eq!(read.map(|entry| entry.probe), Some(Probe::Read(5)));
    }

    /// A tree that answers differently every time.
    struct Restless(std::cell::Cell<usize>);

    impl Files for Restless {
        fn read(&self, _: &str, _: u64) -> Result<Vec<u8>, FileError> {
            self.0.set(self.0.get() + 1);
            Ok(vec![0; self.0.get()])
        }

        fn kind(&self, _: &str) -> Option<FileKind> {
            Some(FileKind::File)
        }

        fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
            Err(FileError::NotADirectory(path.to_owned()))
        }

        fn resolve(&self, _: &str) -> Result<String, FileError> {
            self.0.set(self.0.get() + 1);
            Ok(self.0.get().to_string())
        }
    }

    #[test]
    fn a_tree_that_changes_under_the_build_has_no_footprint() {
        let questions: [fn(&Recorded<'_>); 2] = [|files| drop(files.resolve("a")), |files| read(files, "a", 9)];
        for ask in questions {
            let files = Restless(std::cell::Cell::new(0));
            let recorded = Recorded::new(&files);
            ask(&recorded);
            ask(&recorded);
            let footprint = recorded.footprint();
            files.0.set(0);
            assert!(footprint.is_empty() && !footprint.is_of(&files));
        }
    }

    #[test]
    fn a_footprint_that_would_be_huge_is_of_nothing() {
        let files = tree(&TREE);
        let recorded = Recorded::new(&files);
        let long = "x".repeat(MAX_SIZE / 4);
        for name in ["a", "b", "c", "d", "e"] {
            assert!(!recorded.exists(&format!("{name}{long}")));
        }
        let footprint = recorded.footprint();
        assert!(footprint.is_empty() && !footprint.is_of(&files));
        assert!(footprint.size() < 100);
    }
}
