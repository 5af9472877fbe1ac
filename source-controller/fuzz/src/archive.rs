//! From trees to archives. An input is `spec.ignore`, and behind lines `=== KIND PATH` what is in the tree: `file`, `run` (an
//! executable file), `link` with its target, `module` (a submodule), `tree` (a directory whose bytes follow), `take` (an entry
//! of `spec.sparseCheckout`). A `:` in a path is a slash within a name. The archive is the same every time, what is in it is
//! what a reader by path finds, no name leads out or does harm, and it unpacks.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use artifact::{Algorithm, Archive, Limits, unpack};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use git::Tree;
use git::tree::Kind as Found;
use gix::ObjectId;
use gix::objs::{Kind, Write as _};
use source_controller::checkout::{Bounds, Sparse, archive, list};

const BOUNDS: Bounds = Bounds {
    whole: Limits {
        bytes: 2000,
        entries: 60,
        depth: 8,
    },
    file: 500,
};
/// No path has more parts: beyond the bound above there is nothing to see.
const MOST_PARTS: usize = 12;
/// No file system takes a longer name.
const LONGEST_NAME: usize = 255;

/// A tree.
pub fn check(input: &[u8]) {
    let case = Case::read(input);
    let objects = tempfile::tempdir().expect("a directory");
    let database = gix::odb::at(objects.path(), gix::hash::Kind::Sha1).expect("an object database");
    let root = case.root.write(&database);
    let tree = Tree::open(objects.path(), root).expect("an object database");
    let first = archived(&tree, &case);
    assert_eq!(first, archived(&tree, &case), "archived twice");
    // What was read before changes nothing.
    paths_stay_inside(&tree, &case);
    let anew = Tree::open(objects.path(), root).expect("an object database");
    assert_eq!(first, archived(&anew, &case), "read and archived");
    if let Ok(bytes) = first {
        let members = members(&bytes);
        do_no_harm(&members);
        are_in_the_tree(&members, &tree);
        unpacks(&bytes, &members);
    }
}

struct Case {
    ignore: String,
    sparse: Vec<String>,
    root: Folder,
    paths: Vec<String>,
}

/// A directory: names, perhaps the same twice, and what is there.
#[derive(Default)]
struct Folder(Vec<(Vec<u8>, Item)>);

enum Item {
    Folder(Folder),
    /// The mode and the bytes of an object.
    Object(&'static str, Kind, Vec<u8>),
}

impl Case {
    fn read(input: &[u8]) -> Self {
        let mut parts = super::parts(input).into_iter();
        let ignore = parts.next().map(|(_, text)| String::from_utf8_lossy(text).into_owned());
        let mut case = Self {
            ignore: ignore.unwrap_or_default(),
            sparse: Vec::new(),
            root: Folder::default(),
            paths: Vec::new(),
        };
        for (name, content) in parts {
            let at = name.iter().position(|byte| *byte == b' ').unwrap_or(name.len());
            let (kind, path) = (&name[..at], name.get(at + 1..).unwrap_or_default());
            let content = content.to_vec();
            let item = match kind {
                b"file" => Item::Object("100644", Kind::Blob, content),
                b"run" => Item::Object("100755", Kind::Blob, content),
                b"link" => Item::Object("120000", Kind::Blob, content),
                b"module" => Item::Object("160000", Kind::Blob, content),
                b"tree" => Item::Object("40000", Kind::Tree, content),
                b"take" => {
                    case.sparse.push(String::from_utf8_lossy(path).into_owned());
                    continue;
                }
                _ => continue,
            };
            case.paths.extend(String::from_utf8(path.to_vec()));
            case.root.put(path, item, MOST_PARTS);
        }
        case
    }
}

impl Folder {
    fn put(&mut self, path: &[u8], item: Item, most: usize) {
        let Some(slash) = path.iter().position(|byte| *byte == b'/').filter(|_| most > 1) else {
            let name = path.iter().map(|byte| if *byte == b':' { b'/' } else { *byte });
            self.0.push((name.collect(), item));
            return;
        };
        let (name, below) = (&path[..slash], &path[slash + 1..]);
        for (other, item_there) in &mut self.0 {
            if let Item::Folder(folder) = item_there
                && other.as_slice() == name
            {
                return folder.put(below, item, most - 1);
            }
        }
        let mut folder = Folder::default();
        folder.put(below, item, most - 1);
        self.0.push((name.to_vec(), Item::Folder(folder)));
    }

    /// Puts it into the database as it is, in Git's order.
    fn write(&self, database: &gix::odb::Handle) -> ObjectId {
        let put = |kind, bytes: &[u8]| database.write_buf(kind, bytes).expect("a directory takes it");
        let mut lines: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for (name, item) in &self.0 {
            let (mode, id) = match item {
                Item::Folder(folder) => ("40000", folder.write(database)),
                Item::Object(mode, kind, bytes) => (*mode, put(*kind, bytes)),
            };
            let slash: &[u8] = if mode == "40000" { b"/" } else { b"" };
            let line = [mode.as_bytes(), b" ", name, b"\0", id.as_slice()].concat();
            lines.push(([name, slash].concat(), line));
        }
        lines.sort();
        let bytes: Vec<u8> = lines.into_iter().flat_map(|(_, line)| line).collect();
        put(Kind::Tree, &bytes)
    }
}

fn archived(tree: &Tree, case: &Case) -> Result<Vec<u8>, String> {
    let written = list(tree, &Sparse::new(&case.sparse), BOUNDS).and_then(|mut listing| {
        listing.select(Some(&case.ignore))?;
        let mut into = Archive::new(Vec::new(), Algorithm::Sha256);
        archive(tree, &listing, BOUNDS, &mut into)?;
        Ok(into.finish()?.writer)
    });
    written.map_err(|error| error.to_string())
}

/// Whatever links there are: where a path ends is in the tree, and leads nowhere else.
fn paths_stay_inside(tree: &Tree, case: &Case) {
    for path in &case.paths {
        let Ok(end) = tree.resolve(path) else { continue };
        assert!(
            end.split('/').all(|name| !matches!(name, "." | "..")),
            "{path:?} leads to {end:?}"
        );
        assert_eq!(tree.resolve(&end).as_ref(), Ok(&end), "{path:?}");
        assert_eq!(tree.kind(path), tree.kind(&end), "{path:?}");
        match tree.kind(path) {
            Some(Found::File) => {
                let read = |path| tree.read(path, BOUNDS.file).ok();
                assert_eq!(read(path), read(&end), "{path:?}");
            }
            Some(Found::Directory) => assert_eq!(tree.list(path).ok(), tree.list(&end).ok(), "{path:?}"),
            None => panic!("{path:?} leads to {end:?}, where nothing is"),
        }
    }
}

/// What is in an archive: names in their order, and the content of files with whether they may be run.
type Members = Vec<(Vec<u8>, Option<(bool, Vec<u8>)>)>;

fn members(bytes: &[u8]) -> Members {
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut tar).expect("gzip");
    let mut archive = tar::Archive::new(&tar[..]);
    let entries = archive.entries().expect("a tar");
    let member = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.expect("a member");
        let name = entry.path_bytes().into_owned();
        let (kind, mode) = (entry.header().entry_type(), entry.header().mode().expect("a mode"));
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("its content");
        match (kind.as_byte(), mode) {
            (b'5', 0o750) if content.is_empty() => (name, None),
            (b'0', 0o600) => (name, Some((false, content))),
            (b'0', 0o700) => (name, Some((true, content))),
            (kind, mode) => panic!("{name:?} is a member of kind {kind} and mode {mode:o}"),
        }
    };
    entries.map(member).collect()
}

fn do_no_harm(members: &Members) {
    let (root, below) = members.split_first().expect("the root is there");
    assert_eq!(root, &(b".".to_vec(), None));
    let mut files: BTreeSet<Vec<&[u8]>> = BTreeSet::new();
    let mut last: Vec<&[u8]> = Vec::new();
    for (path, content) in below {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        assert!(last < names, "{path:?} is out of order, or there twice");
        for (depth, name) in names.iter().enumerate() {
            let plain = name.to_ascii_lowercase();
            assert!(
                !matches!(*name, b"" | b"." | b"..") && plain != b".git" && plain != b"git~1",
                "{path:?}"
            );
            assert!(!files.contains(&names[..depth]), "{path:?} is below a file");
        }
        assert!(
            !path.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\'),
            "{path:?}"
        );
        if content.is_some() {
            files.insert(names.clone());
        }
        last = names;
    }
}

/// Files are found by their paths, and no link is on the way to them.
fn are_in_the_tree(members: &Members, tree: &Tree) {
    for (path, content) in members.iter().skip(1) {
        let Ok(path) = std::str::from_utf8(path) else { continue };
        // Along the way there may be names that a reader by path refuses.
        match (tree.resolve(path), content) {
            (Ok(end), Some((_, content))) => {
                assert_eq!(end, path);
                assert_eq!(tree.read(path, BOUNDS.file).as_ref(), Ok(content), "{path:?}");
            }
            (Ok(end), None) => {
                assert_eq!(end, path);
                assert_eq!(tree.kind(path), Some(Found::Directory));
            }
            (Err(error), _) => panic!("{path:?} is in the archive, but {error}"),
        }
    }
}

/// What other controllers do with it: they get each file, and no file that is not a member.
fn unpacks(bytes: &[u8], members: &Members) {
    let fits = |path: &[u8]| path.split(|byte| *byte == b'/').all(|name| name.len() <= LONGEST_NAME);
    if !members
        .iter()
        .all(|(path, _)| fits(path) && std::str::from_utf8(path).is_ok())
    {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let directory = Dir::open_ambient_dir(place.path(), ambient_authority()).expect("a directory");
    let unpacked = unpack(bytes, &directory, Limits::default()).expect("what was archived can be unpacked");
    let files = members.iter().filter(|(_, content)| content.is_some()).count() as u64;
    assert_eq!((unpacked.files, unpacked.skipped), (files, 0));
    for (path, content) in members {
        let Some((_, content)) = content else { continue };
        let path = Path::new(std::str::from_utf8(path).expect("all of them are text"));
        assert_eq!(
            &std::fs::read(place.path().join(path)).expect("it was unpacked"),
            content,
            "{path:?}"
        );
    }
}
