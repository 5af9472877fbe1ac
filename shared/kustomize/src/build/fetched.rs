//! What a build got from outside of its files: each repository and each file once, however often it is named, and no more
//! of them than the limits say.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::error::Within;
use crate::remote::RepoSpec;
use crate::unsupported::{LOCAL_REPOSITORY, REMOTE};
use crate::{Error, Fetch, FetchError, Files, Limits, Remote, Repository};

/// What identifies the tree of a repository. The timeout of the first who asks is the one that counts.
type Key = (String, Option<String>, bool);

type Answers<K, A> = RefCell<HashMap<K, Result<A, FetchError>>>;

/// The answers to what was asked.
pub(crate) struct Fetched<'a> {
    fetch: Option<&'a dyn Fetch>,
    limits: &'a Limits,
    repositories: Answers<Key, Rc<dyn Files>>,
    files: Answers<String, Vec<u8>>,
    bytes: Cell<u64>,
    asked: RefCell<Vec<Remote>>,
}

impl<'a> Fetched<'a> {
    /// Nothing was asked yet.
    pub fn new(fetch: Option<&'a dyn Fetch>, limits: &'a Limits) -> Self {
        Self {
            fetch,
            limits,
            repositories: RefCell::default(),
            files: RefCell::default(),
            bytes: Cell::new(0),
            asked: RefCell::default(),
        }
    }

    /// Whether there is anybody to ask.
    pub fn is_allowed(&self) -> bool {
        self.fetch.is_some()
    }

    /// Everything that was asked for, whether it could be had or not.
    pub fn asked(&self) -> Vec<Remote> {
        self.asked.take()
    }

    /// The files of a repository.
    ///
    /// # Errors
    /// When it cannot be had, must not be, or is one too many.
    pub fn repository(&self, spec: &RepoSpec) -> Result<Rc<dyn Files>, Error> {
        if spec.is_local() {
            return Err(Error::new(LOCAL_REPOSITORY));
        }
        let fetch = self.fetch.ok_or_else(|| Error::new(REMOTE))?;
        let Repository {
            url,
            reference,
            submodules,
            ..
        } = &spec.repository;
        let key = (url.clone(), reference.clone(), *submodules);
        let mut repositories = self.repositories.borrow_mut();
        if !repositories.contains_key(&key) && repositories.len() >= self.limits.repositories {
            return Err(Error::fatal(format!(
                "more than {} repositories fetched",
                self.limits.repositories
            )));
        }
        let answer = repositories.entry(key).or_insert_with(|| {
            self.asked
                .borrow_mut()
                .push(Remote::Repository(spec.repository.clone()));
            fetch.repository(&spec.repository)
        });
        answer.clone().map_err(|error| Error::new(error.to_string()))
    }

    /// The content behind a URL, of at most `limit` bytes.
    ///
    /// # Errors
    /// When it cannot be had, must not be, or is too large.
    pub fn file(&self, url: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let fetch = self
            .fetch
            .ok_or_else(|| Error::new(REMOTE))
            .within(|| format!("'{url}'"))?;
        let mut files = self.files.borrow_mut();
        if !files.contains_key(url) {
            self.asked.borrow_mut().push(Remote::File(url.to_owned()));
            let left = self.limits.fetched_bytes.saturating_sub(self.bytes.get());
            let answer = fetch.file(url, limit.min(left)).and_then(|content| {
                let total = self.bytes.get().saturating_add(content.len() as u64);
                self.bytes.set(total);
                if total > self.limits.fetched_bytes {
                    return Err(FetchError(format!(
                        "more than {} bytes fetched",
                        self.limits.fetched_bytes
                    )));
                }
                Ok(content)
            });
            files.insert(url.to_owned(), answer);
        }
        match files.get(url) {
            Some(Ok(content)) => Ok(content.clone()),
            Some(Err(error)) if RepoSpec::parse(url).is_some() => {
                Err(Error::new(format!("'{url}': {error} (URL is a git repository)")))
            }
            Some(Err(error)) => Err(Error::new(format!("'{url}': {error}"))),
            None => Err(Error::new(format!("'{url}': nothing was fetched"))),
        }
    }
}
