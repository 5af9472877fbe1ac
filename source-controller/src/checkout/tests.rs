use super::*;
use artifact::Algorithm;
use gix::objs::Write as _;
use gix::objs::tree::{EntryKind, EntryMode};
use gix::{ObjectId, odb};
use std::io::Read;

const BOUNDS: Bounds = Bounds {
    whole: Limits {
        bytes: 1000,
        entries: 20,
        depth: 3,
    },
    file: 100,
};

/// An object database on disk that trees can be put into.
struct Store {
    handle: odb::Handle,
    directory: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let handle = odb::at(directory.path(), gix::hash::Kind::Sha1).unwrap();
        Self { handle, directory }
    }

    fn blob(&self, content: &[u8]) -> ObjectId {
        self.handle.write_buf(gix::objs::Kind::Blob, content).unwrap()
    }

    fn tree(&self, entries: &[(&str, EntryKind, ObjectId)]) -> ObjectId {
        let mut entries: Vec<_> = entries
            .iter()
            .map(|(name, kind, oid)| gix::objs::tree::Entry {
                mode: EntryMode::from(*kind),
                filename: (*name).into(),
                oid: *oid,
            })
            .collect();
        entries.sort();
        self.handle.write(&gix::objs::Tree { entries }).unwrap()
    }
}

/// The members of the archive, directories with a trailing slash; or the message.
fn check(store: &Store, tree: ObjectId, ignore: Option<&str>, expected: Result<&[&str], &str>) {
    check_sparse(store, tree, &[], ignore, expected);
}

fn check_sparse(store: &Store, tree: ObjectId, dirs: &[&str], ignore: Option<&str>, expected: Result<&[&str], &str>) {
    let tree = Tree::open(store.directory.path(), tree).unwrap();
    let dirs: Vec<_> = dirs.iter().map(|dir| (*dir).to_owned()).collect();
    let result = list(&tree, &Sparse::new(&dirs), BOUNDS).and_then(|mut listing| {
        listing.select(ignore)?;
        let mut into = Archive::new(Vec::new(), Algorithm::Sha256);
        archive(&tree, &listing, BOUNDS, &mut into)?;
        Ok(into.finish()?.writer)
    });
    let found = result.map_err(|error| error.to_string()).map(|bytes| {
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut tar).unwrap();
        let mut members = Vec::new();
        for member in tar::Archive::new(&tar[..]).entries().unwrap() {
            let member = member.unwrap();
            let slash = if member.header().entry_type().is_dir() { "/" } else { "" };
            members.push(format!("{}{slash}", String::from_utf8_lossy(&member.path_bytes())));
        }
        members
    });
    let expected = expected
        .map(|names| names.iter().map(|n| (*n).to_owned()).collect())
        .map_err(str::to_owned);
    assert_eq!(found, expected);
}

#[test]
fn a_tree_is_walked_like_a_directory() {
    let store = Store::new();
    let blob = store.blob(b"x");
    let a = store.tree(&[("b.yaml", EntryKind::Blob, blob)]);
    let links = store.tree(&[("link", EntryKind::Link, store.blob(b"../../etc/passwd"))]);
    let root = store.tree(&[
        ("a", EntryKind::Tree, a),
        ("a-b", EntryKind::Tree, a),
        ("a.yaml", EntryKind::Blob, blob),
        ("links", EntryKind::Tree, links),
        ("module", EntryKind::Commit, blob),
        ("run", EntryKind::BlobExecutable, blob),
    ]);
    let members = [
        "./",
        "a/",
        "a/b.yaml",
        "a-b/",
        "a-b/b.yaml",
        "a.yaml",
        "links/",
        "module/",
        "run",
    ];
    check(&store, root, None, Ok(&members));
}

#[test]
fn ignore_files_of_the_tree_count_and_links_to_them_do_not() {
    let store = Store::new();
    let (blob, ignored) = (store.blob(b"x"), store.blob(b"*.txt\n"));
    let keep = store.tree(&[
        (".sourceignore", EntryKind::Blob, ignored),
        ("y.txt", EntryKind::Blob, blob),
    ]);
    let linked = store.tree(&[
        (".sourceignore", EntryKind::Link, ignored),
        ("y.txt", EntryKind::Blob, blob),
    ]);
    let of = |sub| store.tree(&[("keep", EntryKind::Tree, sub), ("x.png", EntryKind::Blob, blob)]);
    check(
        &store,
        of(keep),
        None,
        Ok(&["./", "keep/", "keep/.sourceignore", "x.png"]),
    );
    check(&store, of(linked), None, Ok(&["./", "keep/", "keep/y.txt"]));
    check(&store, of(keep), Some("/*\n!/keep/y.txt\n"), Ok(&["./", "keep/y.txt"]));
}

#[test]
fn what_a_stranger_may_try_is_refused() {
    let store = Store::new();
    let blob = store.blob(b"x");
    for name in ["..", ".", "a/b"] {
        let root = store.tree(&[("d", EntryKind::Tree, store.tree(&[(name, EntryKind::Blob, blob)]))]);
        check(
            &store,
            root,
            None,
            Err(&format!("tree contains invalid name 'd/{name}'")),
        );
    }
    for other in [EntryKind::Tree, EntryKind::Blob] {
        let twice = store.tree(&[("a", EntryKind::Blob, blob), ("a", other, blob)]);
        let root = store.tree(&[("d", EntryKind::Tree, twice)]);
        check(
            &store,
            root,
            None,
            Err(&format!("cannot read 'd' ({twice}): it holds the name \"a\" twice")),
        );
    }
    let large = store.tree(&[("large.bin", EntryKind::Blob, store.blob(&[0; 101]))]);
    let message = "file 'large.bin' has 101 bytes, more than the limit of 100 bytes: \
                   remove it or raise --git-max-file-size";
    check(&store, large, None, Err(message));
    check(&store, large, Some("large.bin"), Ok(&["./"]));
    let mut deep = store.tree(&[("x", EntryKind::Blob, blob)]);
    for _ in 0..4 {
        deep = store.tree(&[("d", EntryKind::Tree, deep)]);
    }
    check(
        &store,
        deep,
        None,
        Err("the tree holds more than 3 levels of directories at 'd/d/d/d'"),
    );
    let names: Vec<_> = (0..21).map(|n| format!("f{n}")).collect();
    let many: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), EntryKind::Blob, blob))
        .collect();
    check(
        &store,
        store.tree(&many),
        None,
        Err("the tree holds more than 20 files and directories"),
    );
    let hundred = store.blob(&[b'x'; 100]);
    let heavy: Vec<_> = names[..11]
        .iter()
        .map(|name| (name.as_str(), EntryKind::Blob, hundred))
        .collect();
    check(
        &store,
        store.tree(&heavy),
        None,
        Err("the tree holds more than 1000 bytes of files"),
    );
}

#[test]
fn names_that_would_do_harm_are_refused_wherever_they_would_land() {
    let store = Store::new();
    let blob = store.blob(b"x");
    let taken = "some file systems take it for '.git'";
    for (kind, node) in [
        (EntryKind::Blob, blob),
        (EntryKind::Link, blob),
        (EntryKind::Tree, store.tree(&[("config", EntryKind::Blob, blob)])),
        (EntryKind::Commit, blob),
    ] {
        for (name, shown) in [
            (".git", ".git"),
            (".GiT.", ".GiT."),
            ("git~1", "git~1"),
            (".g\u{200c}it", ".g\\u{200c}it"),
        ] {
            let root = store.tree(&[("d", EntryKind::Tree, store.tree(&[(name, kind, node)]))]);
            let text = format!("tree contains refused name 'd/{shown}': {taken}");
            check(&store, root, Some("d"), Err(&text));
        }
    }
    for (name, shown, why) in [
        ("a\nb", "a\\nb", "it holds a control character"),
        ("a\\b", "a\\b", "it holds a backslash"),
    ] {
        let root = store.tree(&[(name, EntryKind::Blob, blob), ("c", EntryKind::Blob, blob)]);
        let text = format!("tree contains refused name '{shown}': {why}; rename it or leave it out with spec.ignore");
        check(&store, root, None, Err(&text));
        check(&store, root, Some("/*\n!/c"), Ok(&["./", "c"]));
        let link = store.tree(&[(name, EntryKind::Link, blob), ("c", EntryKind::Blob, blob)]);
        check(&store, link, None, Ok(&["./", "c"]));
    }
}

#[test]
fn a_sparse_checkout_takes_what_begins_with_the_text_of_an_entry() {
    let store = Store::new();
    let (blob, ignored) = (store.blob(b"x"), store.blob(b"*.txt\n"));
    let files = store.tree(&[("a.yaml", EntryKind::Blob, blob), ("b.txt", EntryKind::Blob, blob)]);
    let nested = store.tree(&[("deep", EntryKind::Tree, files), ("other", EntryKind::Tree, files)]);
    let links = store.tree(&[("link", EntryKind::Link, blob)]);
    let root = store.tree(&[
        (".sourceignore", EntryKind::Blob, ignored),
        ("apps", EntryKind::Tree, files),
        ("apps-old", EntryKind::Tree, files),
        ("links", EntryKind::Tree, links),
        ("module", EntryKind::Commit, blob),
        ("nested", EntryKind::Tree, nested),
        ("root.yaml", EntryKind::Blob, blob),
    ]);
    let sparse = |dirs: &[&str], expected: Result<&[&str], &str>| check_sparse(&store, root, dirs, None, expected);
    let apps = ["./", "apps/", "apps/a.yaml", "apps/b.txt"];
    let old = ["apps-old/", "apps-old/a.yaml", "apps-old/b.txt"];
    sparse(&["./apps"], Ok(&[&apps[..], &old].concat()));
    sparse(&["apps/"], Ok(&apps));
    sparse(
        &["apps/", "root.yaml", "links", "module"],
        Ok(&[&apps[..], &["links/", "module/", "root.yaml"]].concat()),
    );
    sparse(&["nested/deep/a"], Err(&missing("nested/deep/a", "nested/deep/a")));
    sparse(
        &["nested/deep/a.yaml"],
        Ok(&["./", "nested/", "nested/deep/", "nested/deep/a.yaml"]),
    );
    sparse(&["../nested/other"], Err(&missing("../nested/other", "nested/other")));
    sparse(&["apps", "nope"], Err(&missing("nope", "nope")));
    sparse(&["/apps"], Err(&missing("/apps", "apps")));
    sparse(&["mod"], Err(&missing("mod", "mod")));
    // The rules of a file that is not taken do not count; one that is does.
    sparse(
        &[".sourceignore", "apps/"],
        Ok(&["./", ".sourceignore", "apps/", "apps/a.yaml"]),
    );
    let all = [
        "./",
        ".sourceignore",
        "apps/",
        "apps/a.yaml",
        "apps-old/",
        "apps-old/a.yaml",
        "links/",
        "module/",
    ];
    let nested = [
        "nested/",
        "nested/deep/",
        "nested/deep/a.yaml",
        "nested/other/",
        "nested/other/a.yaml",
        "root.yaml",
    ];
    sparse(&["./"], Ok(&[&all[..], &nested].concat()));
}

#[test]
fn an_entry_that_is_a_link_wants_what_it_leads_to() {
    let store = Store::new();
    let link = |target: &str| (EntryKind::Link, store.blob(target.as_bytes()));
    let file = (EntryKind::Blob, store.blob(b"x"));
    let directory = |names: &[(&str, (EntryKind, ObjectId))]| {
        let names: Vec<_> = names.iter().map(|(name, (kind, id))| (*name, *kind, *id)).collect();
        (EntryKind::Tree, store.tree(&names))
    };
    let long = "x".repeat(5000);
    let links = directory(&[
        ("abs", link("/apps")),
        ("file", link("../apps/a")),
        ("long", link(&long)),
        ("loop", link("loop")),
        ("none", link("nope")),
        ("out", link("../../../apps")),
        ("root", link("..")),
        ("two", link("./up")),
        ("up", link("../apps")),
    ]);
    let deep = directory(&[("a", file)]);
    let (_, root) = directory(&[("apps", directory(&[("a", file), ("b", deep)])), ("l", links)]);
    let ended = |dirs: &[&str]| {
        let tree = Tree::open(store.directory.path(), root).unwrap();
        let entries: Vec<_> = dirs.iter().map(|dir| (*dir).to_owned()).collect();
        let found = list(&tree, &Sparse::new(&entries), BOUNDS).map(drop);
        found.map_err(|error| error.to_string())
    };
    let ends = |dirs: &[&str], missing_at: Option<&str>| {
        let first = dirs.first().copied().unwrap_or_default();
        let expected = missing_at.map_or(Ok(()), |path| Err(missing(first, path)));
        assert_eq!(ended(dirs), expected, "{dirs:?}");
    };
    ends(&["l/up"], Some("apps"));
    ends(&["l/up", "apps"], None);
    ends(&["l/two", "apps"], Some("l/up"));
    ends(&["l/two", "l/up", "apps"], None);
    ends(&["l/file", "apps/b"], Some("apps/a"));
    ends(&["l/file", "apps"], None);
    ends(&["l/abs", "apps"], None);
    ends(&["l/out", "apps"], None);
    ends(&["l/root"], None);
    ends(&["l/none", "apps"], Some("l/nope"));
    ends(&["l/long"], None);
    ends(&["l/up/b", "l/up", "apps"], None);
    ends(&["l/up/../l", "l", "apps"], None);
    ends(&["l/up/c", "l/up", "apps"], Some("apps/c"));
    let text = "sparse checkout dir 'l/loop' cannot be resolved: SecureJoin l/loop: too many levels of symbolic links";
    assert_eq!(ended(&["l/loop"]), Err(text.to_owned()));
}

fn missing(entry: &str, path: &str) -> String {
    format!("sparse checkout dir '{entry}' does not exist in repository: lstat {path}: no such file or directory")
}

#[test]
fn what_a_sparse_checkout_leaves_out_is_not_looked_at() {
    let store = Store::new();
    let blob = store.blob(b"x");
    let hostile = store.tree(&[(".git", EntryKind::Blob, blob)]);
    let good = store.tree(&[("a", EntryKind::Blob, blob)]);
    let root = store.tree(&[("bad", EntryKind::Tree, hostile), ("good", EntryKind::Tree, good)]);
    check_sparse(&store, root, &["good"], None, Ok(&["./", "good/", "good/a"]));
}
