//! What a build reads and fetches, told on standard error while it happens: `--verbose`.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use kustomize::{Fetch, FetchError, FileError, FileKind, Files, Remote, Repository};

/// The sums of one build.
#[derive(Debug)]
pub(crate) struct Account {
    started: Instant,
    files: Cell<usize>,
    bytes: Cell<usize>,
}

impl Account {
    /// Nothing so far.
    pub fn open() -> Rc<Self> {
        Rc::new(Self {
            started: Instant::now(),
            files: Cell::new(0),
            bytes: Cell::new(0),
        })
    }

    fn add(&self, bytes: usize) {
        self.files.set(self.files.get() + 1);
        self.bytes.set(self.bytes.get() + bytes);
    }

    /// Tells the sums.
    pub fn close(&self, objects: usize) {
        eprintln!(
            "built {objects} objects from {} files ({} bytes) in {:.3} s",
            self.files.get(),
            self.bytes.get(),
            self.started.elapsed().as_secs_f64()
        );
    }
}

/// Files whose reading is told.
pub(crate) struct ToldFiles {
    inner: Rc<dyn Files>,
    /// What stands in front of the paths.
    place: String,
    account: Rc<Account>,
}

impl ToldFiles {
    /// Tells of files, whose paths are shown behind `place`.
    pub fn new(inner: Rc<dyn Files>, place: String, account: Rc<Account>) -> Self {
        Self { inner, place, account }
    }
}

impl Files for ToldFiles {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        let content = self.inner.read(path, limit)?;
        eprintln!("read {}{path}: {} bytes", self.place, content.len());
        self.account.add(content.len());
        Ok(content)
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        self.inner.kind(path)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        self.inner.list(path)
    }

    fn resolve(&self, path: &str) -> Result<String, FileError> {
        self.inner.resolve(path)
    }
}

/// Fetches that are told.
pub(crate) struct ToldFetch<'a> {
    inner: &'a dyn Fetch,
    account: Rc<Account>,
}

impl<'a> ToldFetch<'a> {
    /// Tells of fetches.
    pub fn new(inner: &'a dyn Fetch, account: Rc<Account>) -> Self {
        Self { inner, account }
    }
}

impl Fetch for ToldFetch<'_> {
    fn repository(&self, repository: &Repository) -> Result<Rc<dyn Files>, FetchError> {
        let started = Instant::now();
        let files = self.inner.repository(repository)?;
        let told = Remote::Repository(repository.clone());
        eprintln!("fetched {told}: {:.3} s", started.elapsed().as_secs_f64());
        let place = format!("{told}: ");
        Ok(Rc::new(ToldFiles::new(files, place, Rc::clone(&self.account))))
    }

    fn file(&self, url: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
        let started = Instant::now();
        let content = self.inner.file(url, limit)?;
        eprintln!(
            "fetched {}: {} bytes, {:.3} s",
            Remote::File(url.to_owned()),
            content.len(),
            started.elapsed().as_secs_f64()
        );
        self.account.add(content.len());
        Ok(content)
    }
}
