//! A tree of files and how it is built.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use cap_std::{ambient_authority, fs::Dir};
use kustomize::{DirFiles, Files, LoadRestriction, MemoryFiles, Options, Reorder, build};

/// The files of a kustomization and those around it, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    pub files: BTreeMap<String, String>,
    /// The directory to build.
    pub root: String,
    /// Whether objects are sorted by kind.
    pub sorted: bool,
    /// Whether files outside of a kustomization's directory may be read.
    pub free: bool,
}

impl Tree {
    pub fn options(&self) -> Options {
        Options {
            reorder: if self.sorted { Reorder::Legacy } else { Reorder::None },
            load_restriction: if self.free {
                LoadRestriction::None
            } else {
                LoadRestriction::RootOnly
            },
            ..Options::default()
        }
    }

    /// Writes the files below an existing directory.
    pub fn write(&self, directory: &Path) -> Result<()> {
        for (path, content) in &self.files {
            let path = directory.join(path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, content)?;
        }
        Ok(())
    }

    pub fn in_memory(&self) -> Result<MemoryFiles> {
        let mut files = MemoryFiles::default();
        for (path, content) in &self.files {
            files.insert(path, content.as_str())?;
        }
        Ok(files)
    }

    /// What the library makes of the files in memory.
    pub fn build(&self) -> Result<Outcome> {
        Ok(Outcome::of(&self.in_memory()?, &self.root, &self.options()))
    }

    /// What the library makes of the files in a directory.
    pub fn build_in(&self, directory: &Path) -> Result<Outcome> {
        let files = DirFiles::new(Dir::open_ambient_dir(directory, ambient_authority())?);
        Ok(Outcome::of(&files, &self.root, &self.options()))
    }

    /// The files one after the other, for people to read.
    pub fn listing(&self) -> String {
        self.files
            .iter()
            .map(|(path, content)| {
                format!(
                    "--> {path}\n{content}{}",
                    if content.ends_with('\n') { "" } else { "\n" }
                )
            })
            .collect()
    }
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With this text.
    Built(String),
    /// With an error.
    Refused(String),
    /// With a crash.
    Crashed(String),
}

impl Outcome {
    /// Builds with the library.
    pub fn of(files: &dyn Files, root: &str, options: &Options) -> Self {
        let run = std::panic::AssertUnwindSafe(|| build(files, root, options));
        match std::panic::catch_unwind(run) {
            Ok(Ok(objects)) => Self::Built(yaml::to_string_all(objects.iter().map(|built| &built.object))),
            Ok(Err(error)) => Self::Refused(error.to_string()),
            Err(_) => Self::Crashed("a panic of the library".to_owned()),
        }
    }

    /// Whether two outcomes are the same to a user: the same bytes, or no build.
    pub fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Built(a), Self::Built(b)) => a == b,
            (Self::Refused(_), Self::Refused(_)) => true,
            _ => false,
        }
    }

    /// Built, refused or crashed.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Built(_) => "built",
            Self::Refused(_) => "refused",
            Self::Crashed(_) => "crashed",
        }
    }
}
