//! One thing that is wrong, and where.

use std::fmt::{Display, Formatter, Result};
use std::sync::Arc;

use crate::{Origin, Touch};

/// One thing that is wrong. Paths are relative to the root of the [`Files`](crate::Files); lines and columns count from 1,
/// columns in characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong and what was expected, in one line, in kustomize's words where it has some.
    pub message: String,
    /// The kustomization file at work.
    pub kustomization: Option<String>,
    /// The file at fault: the kustomization file itself, or a file it names.
    pub file: Option<String>,
    /// The line in that file.
    pub line: Option<usize>,
    /// The column in that line.
    pub column: Option<usize>,
    /// The field of the kustomization, such as `patches[2]` or `images[0].newTag`.
    pub field: Option<String>,
    /// The object, as `Kind.version.group/name.namespace`.
    pub object: Option<String>,
    /// Where that object was read or generated.
    pub origin: Option<Origin>,
    /// What changed that object before, oldest first.
    pub touched_by: Vec<Arc<Touch>>,
}

impl Problem {
    /// A problem whose place is not known yet.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }

    /// The file with line and column.
    fn spot(&self, f: &mut Formatter<'_>, file: &str) -> Result {
        f.write_str(file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        Ok(())
    }

    fn place(&self, f: &mut Formatter<'_>) -> Result {
        let field = self.field.as_deref();
        match (&self.file, &self.kustomization) {
            (Some(file), Some(kustomization)) if file != kustomization => {
                f.write_str(" (at ")?;
                self.spot(f, file)?;
                f.write_str(", from ")?;
                if let Some(field) = field {
                    write!(f, "{field} of ")?;
                }
                write!(f, "{kustomization})")
            }
            (Some(file), _) | (None, Some(file)) => {
                f.write_str(" (at ")?;
                self.spot(f, file)?;
                if let Some(field) = field {
                    write!(f, ", {field}")?;
                }
                f.write_str(")")
            }
            (None, None) => match (field, self.line) {
                (Some(field), Some(line)) => write!(f, " (at {field}, line {line})"),
                (Some(field), None) => write!(f, " (at {field})"),
                (None, Some(line)) => write!(f, " (at line {line})"),
                (None, None) => Ok(()),
            },
        }
    }

    fn provenance(&self, f: &mut Formatter<'_>) -> Result {
        let Some(object) = &self.object else { return Ok(()) };
        // What the message and the place say already is not said again.
        let told = |origin: &Origin| self.file.as_ref() == Some(&origin.path) && self.line == origin.line;
        let origin = self.origin.as_ref().filter(|origin| !told(origin));
        if origin.is_none() && self.touched_by.is_empty() && self.message.contains(object.as_str()) {
            return Ok(());
        }
        write!(f, "; {object}")?;
        if let Some(origin) = origin {
            write!(f, " is from {origin}")?;
        }
        for (at, touch) in self.touched_by.iter().enumerate() {
            f.write_str(if at == 0 { ", changed by " } else { ", " })?;
            write!(f, "{touch}")?;
        }
        Ok(())
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut lines = self.message.trim_end().lines();
        f.write_str(lines.next().unwrap_or_default())?;
        for line in lines {
            write!(f, " {}", line.trim())?;
        }
        self.place(f)?;
        self.provenance(f)
    }
}
