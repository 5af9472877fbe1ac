//! Going on after a problem, to find the next one.

use super::{Error, Problem, Report};

/// Problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    in_content: bool,
}

impl Problems {
    /// Keeps the error of a result, so that the caller goes on with the next thing.
    ///
    /// # Errors
    /// When nothing may follow: the error ends the build, or there are as many problems as are listed.
    pub fn note<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        let error = match result {
            Ok(value) => return Ok(Some(value)),
            Err(error) => *error.0,
        };
        let ends = error.fatal;
        // What ended the build is said first.
        let (first, second) = if ends {
            (error.problems, std::mem::take(&mut self.found))
        } else {
            (std::mem::take(&mut self.found), error.problems)
        };
        self.in_content |= error.in_content;
        self.found = first;
        for problem in second {
            if !self.found.contains(&problem) {
                self.found.push(problem);
            }
        }
        let more = error.more || self.found.len() > Error::MAX_PROBLEMS;
        self.found.truncate(Error::MAX_PROBLEMS);
        if ends || more {
            return Err(self.take(more, true));
        }
        Ok(None)
    }

    /// How many were found.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    fn take(&mut self, more: bool, fatal: bool) -> Error {
        Error(Box::new(Report {
            problems: std::mem::take(&mut self.found),
            more,
            fatal,
            in_content: self.in_content,
        }))
    }

    /// All problems as one error.
    ///
    /// # Errors
    /// When there is any.
    pub fn finish(mut self) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        Err(self.take(false, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_collected_once_each_and_up_to_a_bound() {
        let mut problems = Problems::default();
        assert_eq!(problems.note(Ok(1)), Ok(Some(1)));
        for number in 0..Error::MAX_PROBLEMS {
            assert_eq!(problems.note::<()>(Err(Error::new(format!("{number}")))), Ok(None));
            assert_eq!(problems.note::<()>(Err(Error::new(format!("{number}")))), Ok(None));
        }
        let last = problems.note::<()>(Err(Error::new("last"))).unwrap_err();
        assert_eq!(last.problems().len(), Error::MAX_PROBLEMS);
        assert!(last.has_more() && last.is_fatal());
        assert!(last.to_string().ends_with("and more: these are the first 50 problems"));
    }

    #[test]
    fn what_ends_the_build_is_said_first() {
        let mut problems = Problems::default();
        assert_eq!(problems.note::<()>(Err(Error::new("a"))), Ok(None));
        let error = problems.note::<()>(Err(Error::fatal("limit"))).unwrap_err();
        assert_eq!(error.to_string(), "limit\na");
        assert!(problems.is_empty());
        assert_eq!(problems.finish(), Ok(()));
    }
}
