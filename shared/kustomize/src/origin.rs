//! Where objects come from and what changed them, for the callers of a build. It costs a pointer per change, so it is
//! always there; what `buildMetadata` writes into annotations is another matter.

use std::fmt::{Display, Formatter, Result};

/// The place an object comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Path of the file relative to the root of the [`Files`](crate::Files), or of the repository; the kustomization file for
    /// generated objects; the URL of a file that is neither, without credentials.
    pub path: String,
    /// The URL of the Git repository the file is of, without credentials, when it is of one that was fetched.
    pub repository: Option<String>,
    /// The reference by which the repository was asked for; none for its HEAD.
    pub reference: Option<String>,
    /// Line of the document's first entry, or of the generator's entry, counted from 1.
    pub line: Option<usize>,
}

impl Origin {
    /// The file as errors name it: `REPOSITORY@REFERENCE//PATH` in a repository, otherwise its path.
    pub fn file(&self) -> String {
        match (&self.repository, &self.reference) {
            (Some(repository), Some(reference)) => format!("{repository}@{reference}//{}", self.path),
            (Some(repository), None) => format!("{repository}//{}", self.path),
            (None, _) => self.path.clone(),
        }
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&self.file())?;
        self.line.iter().try_for_each(|line| write!(f, ":{line}"))
    }
}

/// A field of a kustomization that changed an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Touch {
    /// Path of the kustomization file relative to the root of the [`Files`](crate::Files); `REPOSITORY@REFERENCE//PATH` in a
    /// fetched repository. Never empty in what a build says; a caller that names a field of something else leaves it so.
    pub kustomization: String,
    /// The field, with its index where it is a list: `namePrefix`, `patches[2]`.
    pub field: String,
}

impl Display for Touch {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.kustomization.as_str() {
            "" => f.write_str(&self.field),
            file => write!(f, "{file} {}", self.field),
        }
    }
}
