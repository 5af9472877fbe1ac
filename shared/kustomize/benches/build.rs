//! What calls of the library cost: builds of trees in memory, and their parts that the public API reaches.
//!
//! `cargo bench -p kustomize [FILTER]`. `hack/bench kustomize` compares whole programs.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use kustomize::{MemoryFiles, Options};
use kustomize_bench::Input;

fn main() {
    divan::main();
}

/// An input in memory, and the directory to build.
fn input(name: &str) -> (MemoryFiles, String, usize) {
    let mut files = MemoryFiles::default();
    let Some(input) = Input::named(name) else {
        return (files, String::new(), 0);
    };
    let tree = input.tree();
    for (path, content) in tree.files {
        if let Err(error) = files.insert(&path, content) {
            eprintln!("{error}");
        }
    }
    (files, tree.dir, input.objects)
}

/// Whole builds.
#[divan::bench(args = ["one", "tree", "generators", "documents", "definitions", "references", "many"])]
fn build(bencher: Bencher<'_, '_>, name: &str) {
    let (files, dir, objects) = input(name);
    let options = Options::default();
    bencher
        .counter(ItemsCount::new(objects))
        .bench(|| kustomize::build(&files, &dir, &options));
}

/// The text of what was built.
#[divan::bench(args = ["one", "documents", "definitions", "many"])]
fn print(bencher: Bencher<'_, '_>, name: &str) {
    let (files, dir, _) = input(name);
    let built = kustomize::build(&files, &dir, &Options::default()).unwrap_or_default();
    let print = || yaml::to_string_all(built.iter().map(|object| &object.object));
    bencher.counter(BytesCount::of_str(&print())).bench(print);
}

/// Manifests read to JSON.
#[divan::bench(args = ["one", "documents", "definitions", "many"])]
fn read(bencher: Bencher<'_, '_>, name: &str) {
    let (files, _, _) = input(name);
    let texts: Vec<&str> = files
        .iter()
        .filter(|(path, _)| !path.ends_with("kustomization.yaml"))
        .filter_map(|(_, content)| std::str::from_utf8(content).ok())
        .collect();
    bencher
        .counter(BytesCount::new(texts.iter().map(|text| text.len()).sum::<usize>()))
        .bench(|| {
            texts
                .iter()
                .map(|text| yaml::parse_json(text, yaml::Dialect::V3).map_or(0, |documents| documents.len()))
                .sum::<usize>()
        });
}
