//! What has to hold whatever is built: a function of `checks` for each target, which panics where it does not, and here what
//! they share: inputs of several parts in one readable text, builds of trees in memory, and what holds for every build. The
//! fuzzer makes the inputs; `tests/corpora.rs` of the library tries those that are kept in `corpus`.

pub mod checks;

use kustomize::{Limits, LoadRestriction, MemoryFiles, Options};
use serde_json::Value;

/// What a target does with an input.
pub type Check = fn(&str);

/// The targets by name.
pub const TARGETS: [(&str, Check); 6] = [
    ("json_patch", checks::json_patch),
    ("kustomization", checks::kustomization),
    ("replacements", checks::replacements),
    ("strategic_merge", checks::strategic_merge),
    ("tree", checks::tree),
    ("yaml", checks::yaml),
];

/// Limits small enough for thousands of builds a second and large enough for everything to happen.
fn options() -> Options {
    Options {
        load_restriction: LoadRestriction::None,
        limits: Limits {
            depth: 12,
            files: 200,
            file_bytes: 64 << 10,
            total_bytes: 1 << 20,
            objects: 500,
            ..Limits::default()
        },
        ..Options::default()
    }
}

/// The parts of an input: what stands between lines that start with `===`, each with what such a line says behind that.
fn parts(input: &str) -> Vec<(&str, &str)> {
    let mut parts = Vec::new();
    let (mut name, mut start, mut at) = ("", 0, 0);
    for line in input.split_inclusive('\n') {
        if let Some(next) = line.strip_prefix("===") {
            parts.push((name, &input[start..at]));
            (name, start) = (next.trim(), at + line.len());
        }
        at += line.len();
    }
    parts.push((name, &input[start..]));
    parts
}

/// A tree of these files. What has no path that a file of a tree can have is left out.
fn tree<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> MemoryFiles {
    let mut tree = MemoryFiles::default();
    for (path, content) in files
        .into_iter()
        .filter(|(path, _)| !path.trim_matches(['.', '/']).is_empty())
    {
        let _ = tree.insert(path, content);
    }
    tree
}

/// Builds the tree twice and checks what has to hold whatever is in it. An error is an answer like any other.
fn check(files: &MemoryFiles) {
    let first = kustomize::build(files, "", &options());
    let second = kustomize::build(files, "", &options());
    match (first, second) {
        (Ok(first), Ok(second)) => {
            assert!(first == second, "built twice, the objects differ");
            first.iter().for_each(|built| readable(&built.object));
        }
        (Err(first), Err(second)) => {
            assert_eq!(first.to_string(), second.to_string(), "built twice, the errors differ")
        }
        (first, second) => panic!("built twice: {:?}, then {:?}", first.err(), second.err()),
    }
}

/// What is printed reads as what it was printed from.
fn readable(value: &Value) {
    if odd(value) {
        return;
    }
    let text = yaml::to_string(value);
    match yaml::parse_json(&text, yaml::Dialect::V3) {
        Ok(read) => {
            let read: Vec<&Value> = read.iter().map(|(_, value)| value).collect();
            let expected: &[&Value] = if value.is_null() { &[] } else { &[value] };
            assert_eq!(read, expected, "printed as {text}");
        }
        Err(error) => panic!("{error} in {text}"),
    }
}

/// Whether there is something in it that kustomize, and so we, print in a way that does not read back.
fn odd(value: &Value) -> bool {
    let odd_text = |text: &str| text.contains(['\u{85}', '\u{2028}', '\u{2029}', '\u{FEFF}', '\r']) || text == "<<";
    match value {
        Value::String(text) => odd_text(text),
        Value::Array(items) => items.iter().any(odd),
        Value::Object(map) => map.iter().any(|(key, value)| odd_text(key) || odd(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Lets panics of the YAML parser's scanner pass, which the `yaml` crate catches and turns into errors. The fuzzer would
/// otherwise take them for findings, since it ends the process in the panic hook.
pub fn tolerate_caught_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let caught = info
            .location()
            .is_some_and(|place| place.file().contains("libyaml-safer"));
        if !caught {
            default(info);
        }
    }));
}
