//! What can go wrong in a build: problems, each with its place, as many as one pass can find.
//!
//! A [`Problem`] is made where something is wrong, knowing little, and gets its place on the way out: the file by whoever
//! read the file, the object by whoever changed it, the kustomization and the field by whoever followed them. The first to
//! know a part of the place is the closest and wins.

mod collect;
mod problem;

pub(crate) use collect::Problems;
pub use problem::Problem;

use std::borrow::Cow;

use crate::Origin;
use crate::kustomization::position;
use crate::remote::redacted;
use crate::resource::Resource;

/// A failed build: every [`Problem`] that could be found in one pass, at most [`Error::MAX_PROBLEMS`].
///
/// Its text is a line per problem: what is wrong, in kustomize's words where it has some, then where. It never holds the
/// data of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(Box<Report>);

/// What an [`Error`] says, behind one pointer so that results stay small.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    problems: Vec<Problem>,
    /// Whether there are problems besides these.
    more: bool,
    /// Whether the build cannot go on to look for further problems.
    fatal: bool,
    /// Whether the file was there, so that what is wrong is what it holds.
    in_content: bool,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        if self.more {
            write!(f, "\nand more: these are the first {} problems", self.problems.len())?;
        }
        Ok(())
    }
}

/// A place in a kustomization file.
#[derive(Clone, Debug)]
pub(crate) struct Place<'k> {
    /// The kustomization file.
    pub path: String,
    /// What is in it, if it can be read.
    pub document: Option<&'k yaml::Node>,
    /// The field in it; "" when no field in particular is at fault.
    pub field: String,
}

impl Error {
    /// The most problems that one error lists.
    pub const MAX_PROBLEMS: usize = 50;

    /// An error with this text.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Report {
            problems: vec![Problem::new(message)],
            more: false,
            fatal: false,
            in_content: false,
        }))
    }

    /// An error after which nothing is looked at any more: a limit is exceeded, kustomizations go in a circle.
    pub(crate) fn fatal(message: impl Into<String>) -> Self {
        Self::new(message).ending()
    }

    /// This error as one that ends the build.
    pub(crate) fn ending(mut self) -> Self {
        self.0.fatal = true;
        self
    }

    /// What is wrong, in the order it was found.
    pub fn problems(&self) -> &[Problem] {
        &self.0.problems
    }

    /// Whether there are more problems than [`Error::problems`] lists.
    pub fn has_more(&self) -> bool {
        self.0.more
    }

    /// Whether the build has to end here.
    pub(crate) fn is_fatal(&self) -> bool {
        self.0.fatal
    }

    /// This error as one about what a file holds, so that nobody looks for a directory in its place.
    pub(crate) fn in_content(mut self) -> Self {
        self.0.in_content = true;
        self
    }

    /// Whether this is about what a file holds.
    pub(crate) fn is_in_content(&self) -> bool {
        self.0.in_content
    }

    /// This error with `edit` applied to each problem: for a caller that knows better where things stand, because it made
    /// the kustomization file from something else.
    #[must_use]
    pub fn each(mut self, edit: impl FnMut(&mut Problem)) -> Self {
        self.0.problems.iter_mut().for_each(edit);
        self
    }

    /// Adds where in its text this is, unless that is known.
    pub(crate) fn at(self, position: yaml::Position) -> Self {
        self.at_line(position.line).each(|problem| {
            if problem.line == Some(position.line) && problem.file.is_none() {
                problem.column.get_or_insert(position.column);
            }
        })
    }

    /// Adds the line in its text, unless that is known.
    pub(crate) fn at_line(self, line: usize) -> Self {
        self.each(|problem| {
            if problem.file.is_none() {
                problem.line.get_or_insert(line);
            }
        })
    }

    /// The same without credentials in the URLs that are part of its texts.
    pub(crate) fn redacted(self) -> Self {
        let hide = |text: &mut String| {
            if let Cow::Owned(shown) = redacted(text) {
                *text = shown;
            }
        };
        self.each(|problem| {
            hide(&mut problem.message);
            [&mut problem.kustomization, &mut problem.file, &mut problem.field]
                .into_iter()
                .flatten()
                .for_each(hide);
        })
    }

    /// Puts `context` and a colon in front of the text of every problem.
    pub(crate) fn inside<C: std::fmt::Display>(self, context: impl FnOnce() -> C) -> Self {
        let context = context();
        self.each(|problem| problem.message = format!("{context}: {}", problem.message))
    }

    /// Forgets positions: they are in a text that is itself inside of a file.
    pub(crate) fn inline(self) -> Self {
        self.each(|problem| {
            if problem.file.is_none() {
                (problem.line, problem.column) = (None, None);
            }
        })
    }

    /// Adds the file, unless that is known.
    pub(crate) fn in_file(self, file: &str) -> Self {
        self.each(|problem| {
            problem.file.get_or_insert_with(|| file.to_owned());
        })
    }

    /// Adds the place of a document or entry, unless the file is known.
    pub(crate) fn in_origin(self, origin: Option<&Origin>) -> Self {
        let Some(origin) = origin else {
            return self;
        };
        let error = match origin.line {
            Some(line) => self.at_line(line),
            None => self,
        };
        error.in_file(&origin.file())
    }

    /// Adds the field, unless that is known.
    pub(crate) fn in_field(self, field: &str) -> Self {
        self.each(|problem| {
            problem.field.get_or_insert_with(|| field.to_owned());
        })
    }

    /// Adds what the field, or its closest part if that is known, is a part of.
    pub(crate) fn under_field(self, field: &str) -> Self {
        self.each(|problem| {
            problem.field = Some(match &problem.field {
                Some(part) => format!("{field}.{part}"),
                None => field.to_owned(),
            });
        })
    }

    /// Forgets the field: it is one of something else than a kustomization.
    pub(crate) fn without_field(self) -> Self {
        self.each(|problem| {
            if problem.kustomization.is_none() {
                problem.field = None;
            }
        })
    }

    /// What is wrong first.
    pub(crate) fn first_message(&self) -> &str {
        self.0.problems.first().map_or("", |problem| &problem.message)
    }

    /// Adds the object, unless that is known.
    pub(crate) fn about(self, resource: &Resource) -> Self {
        self.each(|problem| {
            if problem.object.is_none() {
                problem.object = Some(resource.id().to_string());
                problem.origin.clone_from(&resource.place);
                problem.touched_by.clone_from(&resource.touched_by);
            }
        })
    }

    /// Adds the kustomization and the field of it that led here, unless they are known.
    pub(crate) fn placed(self, place: &Place<'_>) -> Self {
        self.each(|problem| {
            if problem.kustomization.is_some() {
                return;
            }
            problem.kustomization = Some(place.path.clone());
            if !place.field.is_empty() {
                problem.field.get_or_insert_with(|| place.field.clone());
            }
            if *problem.file.get_or_insert_with(|| place.path.clone()) != place.path {
                return;
            }
            if let (None, Some(field), Some(document)) = (problem.line, &problem.field, place.document) {
                let position = position(document, field);
                (problem.line, problem.column) = (Some(position.line), Some(position.column));
            }
        })
    }
}

/// A message of the YAML reader without the scalars it quotes, which may be data of a Secret.
pub(crate) fn without_values(message: &str) -> String {
    match (message.find('`'), message.rfind('`')) {
        (Some(start), Some(end)) if start < end => {
            let (before, after) = (message.get(..start), message.get(end + 1..));
            format!("{}a value{}", before.unwrap_or_default(), after.unwrap_or_default())
        }
        _ => message.to_owned(),
    }
}

/// Adds to the error of a result.
pub(crate) trait Within<T> {
    /// Puts `context` and a colon in front of the text of every problem.
    fn within<C: std::fmt::Display>(self, context: impl FnOnce() -> C) -> Result<T, Error>;

    /// Adds the place in a kustomization, as [`Error::placed`].
    fn placed<'k>(self, place: impl FnOnce() -> Place<'k>) -> Result<T, Error>;

    /// Adds the file, as [`Error::in_file`].
    fn in_file(self, file: &str) -> Result<T, Error>;
}

impl<T, E: Into<Error>> Within<T> for Result<T, E> {
    fn within<C: std::fmt::Display>(self, context: impl FnOnce() -> C) -> Result<T, Error> {
        self.map_err(|error| error.into().inside(context))
    }

    fn placed<'k>(self, place: impl FnOnce() -> Place<'k>) -> Result<T, Error> {
        self.map_err(|error| error.into().placed(&place()))
    }

    fn in_file(self, file: &str) -> Result<T, Error> {
        self.map_err(|error| error.into().in_file(file))
    }
}

impl From<crate::FileError> for Error {
    fn from(error: crate::FileError) -> Self {
        let made = Self::new(error.to_string());
        match error {
            crate::FileError::TooLarge { .. } => made.ending(),
            _ => made,
        }
    }
}

impl From<yaml::Error> for Error {
    fn from(error: yaml::Error) -> Self {
        let made = Self::new(without_values(&error.to_string())).at(error.position());
        match error.kind() {
            yaml::ErrorKind::Limit => made.ending(),
            _ => made,
        }
    }
}
