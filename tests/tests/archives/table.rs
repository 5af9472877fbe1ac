//! The repositories that archives are made of, one by one.

use crate::shape::{Item, Shape, file, hollow, link, module, old_file, program, shape};

/// The largest file that controllers take by default.
const LARGEST: usize = 100 << 20;

/// All of them.
pub fn shapes() -> Vec<Shape> {
    let groups = [kinds(), names(), long_names(), rules(), parts(), sizes(), random()];
    groups.into_iter().flatten().collect()
}

/// Files that hold their names.
fn files(names: &[&str]) -> Vec<Item> {
    names.iter().map(|name| file(name, *name)).collect()
}

/// What may stand in a tree.
fn kinds() -> Vec<Shape> {
    vec![
        shape("nothing at all", []),
        shape("one file", [file("a.yaml", "a: 1\n")]),
        shape("empty files", [file("a", ""), file("d/b", ""), file("d/e/c", "")]),
        shape(
            "programs",
            [program("run", "#!/bin/sh\n"), file("bin/a", "x"), program("bin/b", "")],
        ),
        shape(
            "files that their group may write",
            [old_file("old/a", "1"), file("c", "3")],
        ),
        shape(
            "directories that hold nothing",
            [hollow("d/e"), old_file("d/f", "1"), hollow("g/h"), file("z", "")],
        ),
        shape("object names of SHA-256", [file("a/b", "1"), program("c", "2")]).in_sha256(),
        shape(
            "a hundred levels",
            [file(format!("{}f", "d/".repeat(100)), "deep"), file("z", "")],
        ),
        shape(
            "links to what is there",
            [
                file("d/a", "1"),
                link("a", "d/a"),
                link("b", "d"),
                link("d/c", "../d/a"),
            ],
        ),
        shape(
            "links that lead nowhere",
            [link("a", "nowhere"), link("b", "b"), file("c", "1")],
        ),
        shape(
            "links that lead out",
            [link("a", "/etc/passwd"), link("d/b", "../../.."), file("d/c", "1")],
        ),
        shape(
            "nothing but links",
            [link("a", "b"), link("d/a", "b"), link("d/e/f", "/")],
        ),
        shape(
            "links with long targets",
            [link("a", "x".repeat(255)), link("b", "../".repeat(1300)), file("c", "")],
        ),
        shape(
            "rules behind a link",
            [
                link(".sourceignore", "rules"),
                file("rules", "*.md\n"),
                file("a.md", ""),
            ],
        ),
    ]
}

/// What things may be called.
fn names() -> Vec<Shape> {
    vec![
        // Git sorts a directory as if its name ended in a slash.
        shape(
            "names that begin alike",
            files(&["a/b/c", "a/b-c", "a/b.c", "a-b", "a.b", "a0", "aa/a", "a="]),
        ),
        shape(
            "names that differ in case",
            files(&["A/x", "a/X", "B", "b", "README", "readme"]),
        ),
        shape(
            "umlauts in one piece and in two",
            files(&["gr\u{fc}n", "gru\u{308}n", "\u{e9}/e\u{301}", "e\u{301}/y"]),
        ),
        shape(
            "names of the world",
            files(&["日本語/ファイル.yaml", "עברית", "😀/👩‍👩‍👧", "\u{202e}txt", "\u{a0}"]),
        ),
        shape(
            "names that are no text",
            [
                file(b"\xff\xfe", "1"),
                file(b"l1/gr\xfcn", "2"),
                program(b"\x80/x", "3"),
            ],
        ),
        shape("spaces", files(&[" a", "b ", "c d/e  f", " / ", "  "])),
        shape(
            "quotes and signs",
            files(&["'q'", "\"q\"", "`q`", "$x", "a;b", "a&b|c", "%41", "#x", "a:b", "(c)"]),
        ),
        shape(
            "names for shells and globs",
            files(&["-rf", "--", "*", "?", "[a]", "{a,b}", "~", "!x", "@{0}"]),
        ),
        shape("dots", files(&["...", "..a", "a..", ".a/.b/.c", "d/..b", "d/e..."])),
        shape(
            "names close to those of git",
            files(&[".gitkeep", "git", ".git2", "a.git/x", "git~2", ".gi"]),
        ),
        shape(
            "names that archives use",
            files(&["PaxHeaders.0/x", "d/PaxHeaders.0/\u{e9}", "pax_global_header"]),
        ),
        shape(
            "names that are refused",
            [file("a\nb", ""), file("d/c\\d", ""), file("e../f", ""), file("z", "")],
        )
        .ignoring("a*\nc*\ne*\n")
        .without(&["a\nb", "d/c\\d", "e..", "e../f"]),
    ]
}

/// Names that do not fit into a header as they are, or just so.
fn long_names() -> Vec<Shape> {
    let x = |count: usize| "x".repeat(count);
    let e = |count: usize| "\u{e9}".repeat(count);
    // A file at the end of names of so many bytes.
    let deep = |names: &[usize]| file(names.iter().map(|count| x(*count)).collect::<Vec<_>>().join("/"), "1");
    vec![
        shape(
            "names of a hundred bytes and more",
            [file(x(100), "1"), file(x(101), "2"), program(x(255), "3")],
        ),
        shape(
            "paths of a hundred bytes and more",
            [deep(&[50, 49]), deep(&[51, 49]), deep(&[1, 100]), deep(&[2, 99])],
        ),
        shape(
            "paths that just can be split",
            [deep(&[155, 100]), deep(&[77, 77, 100]), deep(&[20, 134, 50, 49])],
        ),
        shape(
            "paths that just cannot be split",
            [deep(&[156, 1]), deep(&[155, 101]), deep(&[77, 77, 101])],
        ),
        shape(
            "paths of a thousand bytes",
            [deep(&[200; 6]), deep(&[9; 99]), deep(&[100; 15])],
        ),
        shape(
            "long directories",
            [
                link(format!("{}/a", x(101)), "b"),
                deep(&[150, 200, 99, 98]),
                deep(&[254, 1]),
            ],
        ),
        shape(
            "long names with umlauts",
            [
                file(e(127), "1"),
                file(x(99) + "\u{e9}", "2"),
                file(x(100) + "/\u{e9}", "3"),
            ],
        ),
        shape(
            "slashes where names are cut off",
            [
                file(format!("{}/{}/\u{e9}", x(99), x(9)), "1"),
                file(format!("{}/{}", x(86), e(9)), "2"),
                file(format!("{}/a/{}", x(84), e(9)), "3"),
            ],
        ),
    ]
}

/// What is left out, and what stays although it could be.
fn rules() -> Vec<Shape> {
    let tree = || files(&["a.md", "b.txt", "keep/a.md", "keep/b.txt", "keep/d/c.md"]);
    let with = |path: &str, lines: &str| [tree(), vec![file(path, lines)]].concat();
    vec![
        shape(
            "what is left out by itself",
            files(&["a.jpg", "b.zip", "d/c.tar.gz", ".github/w.yml", "d/.sops.yaml", "e"]),
        )
        .without(&[
            "a.jpg",
            "b.zip",
            "d/c.tar.gz",
            ".github",
            ".github/w.yml",
            "d/.sops.yaml",
        ]),
        shape(
            "what is left out always",
            files(&[".gitignore", "d/.gitattributes", "d/.gitmodules", "a.jpg", "e"]),
        )
        .ignoring("nothing\n")
        .without(&[".gitignore", "d/.gitattributes", "d/.gitmodules"]),
        shape(
            "rules of git",
            [
                file(".gitignore", "*\n"),
                file("a", "1"),
                file("d/.gitignore", "b\n"),
                file("d/b", ""),
            ],
        )
        .without(&[".gitignore", "d/.gitignore"]),
        shape("rules of its own", with(".sourceignore", "*.md\n!/keep/d/\n")).without(&["a.md", "keep/a.md"]),
        shape(
            "rules of a directory",
            with("keep/.sourceignore", "# none\n\n*.txt\n/d\n"),
        )
        .without(&["keep/b.txt", "keep/d", "keep/d/c.md"]),
        shape("rules of the spec", tree()).ignoring("/*\n!/keep/d\n").without(&[
            "a.md",
            "b.txt",
            "keep",
            "keep/a.md",
            "keep/b.txt",
        ]),
        shape("directories of what is left out", tree())
            .ignoring("c.md\n")
            .without(&["keep/d/c.md"]),
        shape("everything left out", tree()).ignoring("**\n").without(&[
            "a.md",
            "b.txt",
            "keep",
            "keep/a.md",
            "keep/b.txt",
            "keep/d",
            "keep/d/c.md",
        ]),
        shape(
            "ends of lines",
            [
                file(".gitattributes", "* text=auto eol=crlf\n"),
                file("a", "1\r\n2\n"),
                file("b", "1\n"),
            ],
        )
        .without(&[".gitattributes"]),
        shape(
            "attributes",
            [
                file(
                    ".gitattributes",
                    "a export-ignore\nb export-subst ident\nc filter=lfs\nd working-tree-encoding=UTF-16\n",
                ),
                file("a", "1"),
                file("b", "$Format:%H$ $Id$\n"),
                file(
                    "c",
                    "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
                ),
                file("d", "\u{fc}\n"),
            ],
        )
        .without(&[".gitattributes"]),
    ]
}

/// Repositories of which only a part is wanted, or more than one.
fn parts() -> Vec<Shape> {
    let below = || {
        vec![
            file("l.yaml", "l: 1\n"),
            module("deep", [program("d", "1"), link("e", "d")]),
        ]
    };
    vec![
        shape(
            "submodules that stay away",
            [module("lib", below()), file("a", ""), module("x/y/z", [])],
        ),
        shape(
            "submodules that come along",
            [module("lib", below()), file("a", ""), module("x/y/z", [])],
        )
        .with_submodules(),
        shape("parts", files(&["apps/a", "apps-old/b", "c", "other/apps/d"]))
            .sparse(&["./apps"])
            .without(&["c", "other", "other/apps", "other/apps/d"]),
        shape("parts of parts", files(&["a/b/c", "a/b/d", "a/e", "f"]))
            .sparse(&["a/b/c", "f"])
            .without(&["a/b/d", "a/e"]),
    ]
}

/// How large and how many they may be.
fn sizes() -> Vec<Shape> {
    let blocks = [511, 512, 513, 1023, 1024, 1025];
    let alike = |n: usize| text(20_000).replace(&format!("line {n}7"), "changed");
    vec![
        shape(
            "sizes around those of a block",
            blocks.map(|size| file(format!("{size:04}"), vec![b'x'; size])),
        ),
        shape(
            "files that are much alike",
            [1, 2, 3, 4].map(|n| file(format!("{n}"), alike(n))),
        ),
        shape(
            "noise and silence",
            [file("noise", noise(1 << 20, 1)), file("silence", vec![0; 1 << 20])],
        ),
        shape(
            "a file of the largest size",
            [file("large", text(2_000_000).as_bytes().repeat(5)[..LARGEST].to_vec())],
        ),
        shape(
            "many files",
            (0..10_000)
                .map(|n| file(format!("{:02}/{n}", n % 97), format!("{n}\n")))
                .collect::<Vec<_>>(),
        ),
    ]
}

fn text(lines: usize) -> String {
    (0..lines).map(|n| format!("line {n}\n")).collect()
}

fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(size).collect()
}

/// Trees that nobody has thought of, the same on every run.
fn random() -> Vec<Shape> {
    (0..8)
        .map(|seed| shape("at random", random_items(&mut fastrand::Rng::with_seed(seed))))
        .collect()
}

fn random_items(random: &mut fastrand::Rng) -> Vec<Item> {
    let names = ["a", "b", "a-b", "a.b", "ab", "\u{e4}", "A", " ", "0", "a b"];
    let mut items: Vec<Item> = Vec::new();
    for _ in 0..random.usize(1..60) {
        let mut path: Vec<String> = (0..random.usize(1..6))
            .map(|_| names[random.usize(..names.len())].to_owned())
            .collect();
        if random.u8(..4) == 0 {
            path.push("long".repeat(random.usize(1..60)));
        }
        let (path, content) = (path.join("/"), noise(random.usize(..2000), random.u64(..)));
        if items.iter().any(|item| item.is_in_the_way_of(path.as_bytes())) {
            continue;
        }
        items.push(match random.u8(..6) {
            0 => link(path, "somewhere"),
            1 => program(path, content),
            _ => file(path, content),
        });
    }
    items
}
