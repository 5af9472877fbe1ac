use super::*;
use artifact::{Algorithm, Archive};
use serde_json::json;
use std::io::Seek;

const LIMITS: Limits = Limits {
    bytes: 64 << 10,
    entries: 20,
    depth: 5,
};

fn object(name: &str, includes: &[&str], digest: Option<&str>, included: &[&str]) -> GitRepository {
    let includes: Vec<_> = includes
        .iter()
        .map(|name| json!({"repository": {"name": name}}))
        .collect();
    let mut object = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"url": "https://host/r", "interval": "1m", "include": includes},
        "status": {"includedArtifacts": included.iter().map(|digest| about("", digest)).collect::<Vec<_>>()},
    });
    if let Some(digest) = digest {
        object["status"]["artifact"] = serde_json::to_value(about("", digest)).unwrap();
    }
    serde_json::from_value(object).unwrap()
}

fn about(path: &str, digest: &str) -> Artifact {
    serde_json::from_value(json!({
        "path": path, "url": "u", "revision": "main@sha1:a", "digest": digest, "lastUpdateTime": "2026-01-01T00:00:00Z",
    }))
    .unwrap()
}

/// A listing of these paths; a directory ends in a slash, a link in `@`.
fn listing(paths: &[&str]) -> Listing {
    let entry = |path: &&str| {
        let (name, content) = match (path.strip_suffix('/'), path.strip_suffix('@')) {
            (Some(name), _) => (name, Content::Directory),
            (_, Some(name)) => (name, Content::Link),
            _ => {
                let (source, executable) = (Source::Copy(usize::MAX), false);
                (*path, Content::File { source, executable })
            }
        };
        let name = name.as_bytes().to_vec();
        Entry { name, content }
    };
    let mut listing = Listing::default();
    listing
        .merge(paths.iter().map(entry).collect(), Vec::new(), LIMITS.entries)
        .unwrap();
    listing
}

/// The file of an artifact with these members: a directory ends in a slash, a program in `*`.
fn packed(members: &[&str]) -> (File, String) {
    let mut file = tempfile::tempfile().unwrap();
    let mut archive = Archive::new(&mut file, Algorithm::Blake3);
    archive.directory(b".").unwrap();
    for member in members {
        if let Some(name) = member.strip_suffix('/') {
            archive.directory(name.as_bytes()).unwrap();
        } else {
            let (name, executable) = member.strip_suffix('*').map_or((*member, false), |name| (name, true));
            // The rule leaves out what is named so.
            let content = if name.ends_with(ignore::FILE) { "*.md\n" } else { name };
            let size = content.len() as u64;
            let added = archive.file(name.as_bytes(), executable, size, |out| {
                out.write_all(content.as_bytes())
            });
            added.unwrap();
        }
    }
    let digest = archive.finish().unwrap().digest.to_string();
    file.rewind().unwrap();
    (File::from_std(file), digest)
}

/// Merges an artifact of the members into a tree of the paths; what the listing then holds, or the message.
fn check(tree: &[&str], members: &[&str], fields: serde_json::Value, expected: Result<&[&str], &str>) {
    let (file, digest) = packed(members);
    let found = merge(tree, Ok(file), &digest, fields.clone());
    let expected = expected.map(|paths| paths.iter().map(|path| (*path).to_owned()).collect());
    assert_eq!(found, expected.map_err(str::to_owned), "{fields}");
}

fn merge(
    tree: &[&str],
    file: io::Result<File>,
    digest: &str,
    mut fields: serde_json::Value,
) -> Result<Vec<String>, String> {
    fields["repository"] = json!({"name": "lib"});
    let include: GitRepositoryInclude = serde_json::from_value(fields).unwrap();
    let mut listing = listing(tree);
    let into = tempfile::tempdir().unwrap();
    let copy = Copy {
        include: &include,
        artifact: &about("gitrepository/ns/lib/a.tar.gz", digest),
        limits: LIMITS,
    };
    copy.add(&mut listing, file, into.path())
        .map_err(|error| error.to_string())?;
    let shown = |entry: &Entry| {
        let name = String::from_utf8(entry.name.clone()).unwrap();
        match entry.content {
            Content::Directory => format!("{name}/"),
            Content::Link => format!("{name}@"),
            Content::File { executable: true, .. } => format!("{name}*"),
            Content::File { .. } => name,
        }
    };
    Ok(listing.entries().iter().map(shown).collect())
}

#[test]
fn an_artifact_goes_where_the_spec_says() {
    let members = ["a.yaml", "d/", "d/run*", "empty/"];
    let tree = ["deploy/", "deploy/x", "link@", "z"];
    check(
        &tree,
        &members,
        json!({}),
        Ok(&[
            "deploy/",
            "deploy/x",
            "lib/",
            "lib/a.yaml",
            "lib/d/",
            "lib/d/run*",
            "lib/empty/",
            "link@",
            "z",
        ]),
    );
    check(
        &tree,
        &members,
        json!({"fromPath": "./d/", "toPath": "deploy/new/place"}),
        Ok(&[
            "deploy/",
            "deploy/new/",
            "deploy/new/place/",
            "deploy/new/place/run*",
            "deploy/x",
            "link@",
            "z",
        ]),
    );
    // No path leads out of the artifact or the tree.
    check(
        &["z"],
        &members,
        json!({"fromPath": "../../d", "toPath": "../../../etc"}),
        Ok(&["etc/", "etc/run*", "z"]),
    );
    // One file may take the place of another.
    check(
        &["z"],
        &members,
        json!({"fromPath": "a.yaml", "toPath": "z"}),
        Ok(&["z"]),
    );
}

#[test]
fn names_that_are_no_text_stay_as_they_are() {
    let names = [
        &b"d\xfe"[..],
        b"d\xfe/.sourceignore",
        b"d\xfe/a\xff.txt",
        b"d\xfe/b\xff.txt",
        b"x\xc3(",
    ];
    let mut packed = Archive::new(tempfile::tempfile().unwrap(), Algorithm::Sha256);
    packed.directory(b".").unwrap();
    packed.directory(names[0]).unwrap();
    for name in &names[1..] {
        let content = if name.ends_with(b"e") { &b"b*"[..] } else { name };
        let added = packed.file(name, false, content.len() as u64, |out| out.write_all(content));
        added.unwrap();
    }
    let packed = packed.finish().unwrap();
    let mut file = packed.writer;
    file.rewind().unwrap();
    let include: GitRepositoryInclude = serde_json::from_value(json!({"repository": {"name": "lib"}})).unwrap();
    let copy = Copy {
        include: &include,
        artifact: &about("gitrepository/ns/lib/a.tar.gz", &packed.digest.to_string()),
        limits: LIMITS,
    };
    let (mut listing, into) = (Listing::default(), tempfile::tempdir().unwrap());
    copy.add(&mut listing, Ok(File::from_std(file)), into.path()).unwrap();
    listing.select(None).unwrap();
    // What was merged, archived beside nothing else.
    let empty = tempfile::tempdir().unwrap();
    let objects = gix::odb::at(empty.path(), gix::hash::Kind::Sha1).unwrap();
    let root = gix::objs::Write::write(&objects, &gix::objs::Tree { entries: Vec::new() }).unwrap();
    let tree = git::Tree::open(empty.path(), root).unwrap();
    let bounds = checkout::Bounds {
        whole: LIMITS,
        file: LIMITS.bytes,
    };
    let mut archive = Archive::new(Vec::new(), Algorithm::Sha256);
    checkout::archive(&tree, &listing, bounds, &mut archive).unwrap();
    let (bytes, into) = (archive.finish().unwrap().writer, tempfile::tempdir().unwrap());
    let into_dir = Dir::open_ambient_dir(into.path(), cap_std::ambient_authority()).unwrap();
    artifact::unpack(&bytes[..], &into_dir, LIMITS).unwrap();
    let at = |name: &[u8]| into.path().join("lib").join(std::ffi::OsStr::from_bytes(name));
    for name in [names[2], names[4]] {
        assert_eq!(std::fs::read(at(name)).unwrap(), name);
    }
    assert!(at(names[1]).exists());
    assert!(!at(names[3]).exists(), "its own rules leave it out");
}

#[test]
fn what_is_in_the_way_is_told() {
    let conflict = |from: &str, to: &str, shown: &str, what: &str| {
        format!(
            "failed to copy 'lib' include from {from} to {to}: link error: cannot rename {shown} to {to}: \
             rename {shown} {to}: {what}"
        )
    };
    let tree = ["deploy/", "file", "link@"];
    let to = |to: &str| json!({"toPath": to});
    check(
        &tree,
        &["a"],
        to("deploy"),
        Err(&conflict("", "deploy", "unpack", "file exists")),
    );
    check(
        &tree,
        &["a"],
        to("file"),
        Err(&conflict("", "file", "unpack", "not a directory")),
    );
    let text =
        "failed to copy 'lib' include from  to .: link error: cannot rename unpack to : rename unpack : file exists";
    check(&tree, &["a"], to("."), Err(text));
    let text = "failed to copy 'lib' include from  to file/x: mkdir file: not a directory";
    check(&tree, &["a"], to("file/x"), Err(text));
    let text = "failed to copy 'lib' include from ../../../path to lib: cannot stat unpack/path: stat unpack/path: \
                no such file or directory";
    check(&tree, &["a"], json!({"fromPath": "../../../path"}), Err(text));
    for (path, detail) in [
        ("link", "'link' is a symbolic link"),
        ("link/x/y", "'link' is a symbolic link"),
        (
            ".git/hooks",
            "'.git/hooks' is refused: some file systems take it for '.git'",
        ),
        (
            "a\nb",
            "'a\\nb' is refused: it holds a control character; rename it or leave it out with spec.ignore",
        ),
    ] {
        let text = format!("path calculation for include 'lib' failed: {detail}");
        check(&tree, &["a"], to(path), Err(&text));
    }
}

#[test]
fn an_artifact_that_is_not_what_it_should_be_is_not_merged() {
    let told = |file, digest: &str| merge(&["z"], file, digest, json!({})).unwrap_err();
    let introduction = "failed to copy 'lib' include from  to lib: ";
    let (file, digest) = packed(&["a"]);
    let (_, other) = packed(&["b"]);
    let text = format!("computed digest '{digest}' of gitrepository/ns/lib/a.tar.gz doesn't match '{other}'");
    assert_eq!(told(Ok(file), &other), format!("{introduction}{text}"));
    let text = "open gitrepository/ns/lib/a.tar.gz: lost";
    assert_eq!(
        told(Err(io::Error::other("lost")), &digest),
        format!("{introduction}{text}")
    );
    let names: Vec<_> = (0..25).map(|n| format!("f{n}")).collect();
    let (file, digest) = packed(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let text = "tar holds more than 20 entries";
    assert_eq!(told(Ok(file), &digest), format!("{introduction}{text}"));
    let (file, digest) = packed(&names[..18].iter().map(String::as_str).collect::<Vec<_>>());
    let text = "the tree holds more than 20 files and directories";
    let told = merge(&["a", "b", "c"], Ok(file), &digest, json!({})).unwrap_err();
    assert_eq!(told, format!("{introduction}{text}"));
}

#[test]
fn rules_in_an_artifact_hold_where_it_is_put() {
    let mut listing = listing(&["a.md@", "b.md/"]);
    let (file, digest) = packed(&["sub/.sourceignore", "sub/x.md", "sub/y.txt", "x.md"]);
    let include: GitRepositoryInclude = serde_json::from_value(json!({"repository": {"name": "lib"}})).unwrap();
    let into = tempfile::tempdir().unwrap();
    let copy = Copy {
        include: &include,
        artifact: &about("p", &digest),
        limits: LIMITS,
    };
    copy.add(&mut listing, Ok(file), into.path()).unwrap();
    listing.select(Some("y.txt")).unwrap();
    let names: Vec<_> = listing
        .entries()
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.name))
        .collect();
    assert_eq!(names, ["b.md", "lib", "lib/sub", "lib/sub/.sourceignore", "lib/x.md"]);
}

#[test]
fn what_is_missing_is_named_and_the_rest_keeps_its_order() {
    let include: Vec<GitRepositoryInclude> =
        serde_json::from_value(json!([{"repository": {"name": "a"}}, {"repository": {"name": "b"}}])).unwrap();
    let digests = |found: Result<Vec<Artifact>, Unavailable>| {
        found.map(|all| all.into_iter().map(|artifact| artifact.digest).collect::<Vec<_>>())
    };
    let all = |name: &str| Some(Some(about("p", name)));
    assert_eq!(
        digests(resolve(&include, all)),
        Ok(vec!["a".to_owned(), "b".to_owned()])
    );
    let one = |name: &str| (name == "a").then(|| Some(about("p", name)));
    assert_eq!(
        digests(resolve(&include, one)),
        Err(Unavailable::NotFound("b".to_owned()))
    );
    let none = |_: &str| Some(None);
    assert_eq!(
        digests(resolve(&include, none)),
        Err(Unavailable::NoArtifact("a".to_owned()))
    );
}

#[test]
fn a_new_artifact_concerns_those_that_were_made_with_another() {
    let check = |changed: &GitRepository, all: &[GitRepository], expected: &[&str]| {
        assert_eq!(includers(changed, all), expected);
    };
    let lib = object("lib", &[], Some("sha256:2"), &[]);
    let behind = object("behind", &["other", "lib"], Some("sha256:9"), &["sha256:0", "sha256:1"]);
    let current = object("current", &["lib"], Some("sha256:9"), &["sha256:2"]);
    let waiting = object("waiting", &["lib"], None, &[]);
    let mut elsewhere = object("elsewhere", &["lib"], None, &[]);
    elsewhere.metadata.namespace = Some("other".into());
    let all = [behind, current, waiting, elsewhere];
    check(&lib, &all, &["behind", "waiting"]);
    check(&object("lib", &[], None, &[]), &all, &[]);
    // Two that include each other, over a third: each is left to its interval.
    let a = object("a", &["b"], Some("sha256:1"), &["sha256:0"]);
    let b = object("b", &["c"], Some("sha256:2"), &["sha256:0"]);
    let c = object("c", &["a"], Some("sha256:3"), &["sha256:0"]);
    let all = [
        a,
        b,
        c,
        object("d", &["a"], None, &[]),
        object("e", &["e"], Some("sha256:1"), &[]),
    ];
    check(&all[0], &all, &["d"]);
    check(&all[1], &all, &[]);
    check(&all[4], &all, &[]);
}

#[test]
fn another_revision_is_news_and_another_build_of_the_same_one_is_not() {
    let of = |revisions: &[&str]| -> Vec<Artifact> {
        let of = |revision: &&str| Artifact {
            revision: (*revision).to_owned(),
            ..about("p", revision)
        };
        revisions.iter().map(of).collect()
    };
    let has_moved = |before: &[&str], now: &[&str]| {
        let status = GitRepositoryStatus {
            included_artifacts: of(before),
            ..Default::default()
        };
        super::has_moved(&status, &of(now))
    };
    assert!(!has_moved(&[], &[]));
    assert!(has_moved(&[], &["a"]));
    assert!(has_moved(&["a"], &[]));
    assert!(has_moved(&["a", "b"], &["a", "c"]));
    assert!(!has_moved(&["a", "b"], &["b", "a"]));
    let mut rebuilt = of(&["a"]);
    rebuilt[0].digest = "sha256:other".to_owned();
    let status = GitRepositoryStatus {
        included_artifacts: of(&["a"]),
        ..Default::default()
    };
    assert!(!super::has_moved(&status, &rebuilt) && has_changed(&status, &rebuilt));
}
