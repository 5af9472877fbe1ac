//! The inputs by name.

mod definitions;
mod documents;
mod generators;
mod manifests;
mod many;
mod one;
mod references;
mod tree;

use std::io::Result;
use std::path::Path;

/// A tree of files and the directory in it that is built.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// The directory of the kustomization that is built, from the root of the tree.
    pub dir: String,
    /// Paths from the root of the tree with their contents.
    pub files: Vec<(String, String)>,
}

impl Tree {
    fn new(dir: &str) -> Self {
        Self {
            dir: dir.to_owned(),
            files: Vec::new(),
        }
    }

    fn add(&mut self, path: impl Into<String>, content: impl Into<String>) {
        self.files.push((path.into(), content.into()));
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> usize {
        self.files.iter().map(|(_, content)| content.len()).sum()
    }

    /// Writes the tree below a directory of the file system.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, root: &Path) -> Result<()> {
        for (path, content) in &self.files {
            let path = root.join(path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, content)?;
        }
        Ok(())
    }
}

/// Something to build.
pub struct Input {
    /// How it is called.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// How many objects the build comes to.
    pub objects: usize,
    make: fn(objects: usize) -> Tree,
}

impl Input {
    /// The input by this name.
    pub fn named(name: &str) -> Option<&'static Input> {
        INPUTS.iter().find(|input| input.name == name)
    }

    /// Makes it.
    pub fn tree(&self) -> Tree {
        (self.make)(self.objects)
    }
}

/// A row of [`INPUTS`].
const fn input(name: &'static str, about: &'static str, objects: usize, make: fn(usize) -> Tree) -> Input {
    Input {
        name,
        about,
        objects,
        make,
    }
}

const MANY: &str = "applications of three objects each: prefix, namespace, labels, images, 50 patches";

/// All inputs, small ones first.
pub static INPUTS: [Input; 12] = [
    input("one", "an overlay over a base of one Deployment", 1, one::tree),
    input(
        "tree",
        "50 applications, each with base, environment and region",
        150,
        tree::tree,
    ),
    input(
        "generators",
        "200 Deployments that refer to 200 generated ConfigMaps",
        400,
        generators::tree,
    ),
    input(
        "documents",
        "plain documents in one file, nothing done to them",
        7_000,
        documents::tree,
    ),
    input(
        "definitions",
        "CustomResourceDefinitions, 12 MB in all",
        60,
        definitions::tree,
    ),
    input(
        "references",
        "renamed objects with as many references to each other",
        10_000,
        references::tree,
    ),
    input("many", MANY, 3_000, many::tree),
    input("many-1k", MANY, 1_000, many::tree),
    input("many-2k", MANY, 2_000, many::tree),
    input("many-4k", MANY, 4_000, many::tree),
    input("many-8k", MANY, 8_000, many::tree),
    input("many-16k", MANY, 16_000, many::tree),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_paths_stay_in_the_tree() {
        for (at, input) in INPUTS.iter().enumerate() {
            assert!(
                INPUTS[..at].iter().all(|other| other.name != input.name),
                "{}",
                input.name
            );
            let tree = input.tree();
            let kustomization = format!("{}/kustomization.yaml", tree.dir);
            assert!(
                tree.files
                    .iter()
                    .any(|(path, _)| *path == kustomization.trim_start_matches('/')),
                "{}",
                input.name
            );
            assert!(
                tree.files.iter().all(|(path, _)| !path.contains("..")),
                "{}",
                input.name
            );
        }
    }

    #[test]
    fn the_sizes_are_as_said() {
        let bytes = |name| Input::named(name).map(|input| input.tree().bytes());
        assert!(bytes("definitions").is_some_and(|bytes| (11_000_000..13_000_000).contains(&bytes)));
        assert!(bytes("many-2k") > bytes("many-1k"));
    }
}
