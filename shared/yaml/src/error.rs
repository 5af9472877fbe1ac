//! Why a text could not be read, and where.

use crate::Position;

/// What kind of rule a text broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The text is not YAML, or refers to an anchor it does not define.
    Syntax,
    /// A `---` line carries content, which kustomize does not split on.
    Separator,
    /// The text is YAML but has no JSON form: duplicate or non-string keys, a wrong tag, an infinite number, an alias
    /// inside of its own anchor.
    Content,
    /// One of the bounds of this crate was exceeded.
    Limit,
}

/// A text that could not be read.
///
/// `Display` is worded as the Go tools word it (`yaml: line 3: did not find expected key`), because those messages end
/// up in conditions that people and tools match on. Go counts that line in its own way: from the start of the document
/// and sometimes one too low. [`Error::position`] is the true place in the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    kind: ErrorKind,
    position: Position,
    text: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, position: Position, text: impl Into<String>) -> Self {
        Self {
            kind,
            position,
            text: text.into(),
        }
    }

    /// An error about what the text says, worded `yaml: line <n>: <what>`.
    pub(crate) fn content(position: Position, what: impl std::fmt::Display) -> Self {
        Self::new(
            ErrorKind::Content,
            position,
            format!("yaml: line {}: {what}", position.line),
        )
    }

    /// An error about a bound of this crate, worded `yaml: line <n>: <what>`.
    pub(crate) fn limit(position: Position, what: impl std::fmt::Display) -> Self {
        Self::new(
            ErrorKind::Limit,
            position,
            format!("yaml: line {}: {what}", position.line),
        )
    }

    /// Which rule was broken.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Where in the text, counted from its first line and column.
    pub fn position(&self) -> Position {
        self.position
    }
}
