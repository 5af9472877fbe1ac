//! What can go wrong in a build, with the place it went wrong in front.

/// A failed build. Its text is one line or more, names the kustomization directory or file, the object and the field
/// where known, and never holds the data of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    message: String,
    malformed: bool,
}

impl Error {
    /// An error with this text.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            malformed: false,
        }
    }

    /// An error about a file that exists but is no YAML, so that nobody looks for a directory in its place.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            malformed: true,
        }
    }

    /// Whether a file was found and could not be parsed.
    pub(crate) fn is_malformed(&self) -> bool {
        self.malformed
    }
}

/// Adds the place to the error of a result.
pub(crate) trait Within<T> {
    /// Puts `context` and a colon in front of the error's text.
    fn within<C: std::fmt::Display>(self, context: impl FnOnce() -> C) -> Result<T, Error>;
}

impl<T, E: Into<Error>> Within<T> for Result<T, E> {
    fn within<C: std::fmt::Display>(self, context: impl FnOnce() -> C) -> Result<T, Error> {
        self.map_err(|error| {
            let error = error.into();
            Error {
                message: format!("{}: {}", context(), error.message),
                malformed: error.malformed,
            }
        })
    }
}

impl From<crate::FileError> for Error {
    fn from(error: crate::FileError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<yaml::Error> for Error {
    fn from(error: yaml::Error) -> Self {
        Self::new(error.to_string())
    }
}
