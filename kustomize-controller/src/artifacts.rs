//! Unpacked artifacts on disk, shared by the Kustomizations that use the same digest.
//!
//! A copy is made by one download however many ask at the same moment. The last few that were asked for are kept,
//! because the next interval asks again; an older one goes as soon as nobody holds it, and is made again when it is
//! asked for. Copies live in a private temporary directory of this process that goes with it; the directory of a
//! process that was killed goes when the next one starts. One attempt per call; trying again is the reconciler's.

use crate::failure::Failure;
use api::source::Artifact;
use artifact::fetch::Error as FetchError;
use artifact::scratch::Place;
use artifact::{Digest, Limits, Scratch};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// Copies that are kept, whether somebody holds them or not.
const KEPT: usize = 8;
/// How long the server may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a whole download may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// What the names of the directories of all processes begin with.
const PREFIX: &str = "kustomize-controller-";

/// An unpacked artifact; its files go when the last holder is gone.
#[derive(Debug)]
pub struct Tree {
    /// Always there until the end.
    directory: Option<TempDir>,
    path: PathBuf,
    /// The tree is inside of it.
    _place: Arc<Place>,
}

impl Tree {
    /// Opens the tree; nothing outside of it can be reached through the handle.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(&self) -> std::io::Result<Dir> {
        Dir::open_ambient_dir(&self.path, ambient_authority())
    }

    /// Where the tree is, for messages.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // A tree can be large, and whoever lets go of it last may hold a worker or a lock.
        let directory = self.directory.take();
        in_background(move || drop(directory));
    }
}

/// Does slow work with files without holding anybody up, where that is possible.
fn in_background(work: impl FnOnce() + Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(work)),
        Err(_) => work(),
    }
}

/// Why there is no tree.
#[derive(Debug)]
pub enum Error {
    /// Another attempt may help.
    Retryable(String),
    /// The failure of this reconcile.
    Failed(Failure),
}

type Cell = Arc<OnceCell<Arc<Tree>>>;

#[derive(Default)]
struct Shelf {
    cells: HashMap<String, Cell>,
    recent: VecDeque<String>,
}

/// The copies of this process.
pub struct Artifacts {
    client: reqwest::Client,
    scratch: Arc<Scratch>,
    shelf: Mutex<Shelf>,
    max_size: u64,
    patience: Duration,
    limits: Limits,
    retry: api::Duration,
    /// Replaces the host of artifact URLs, for controllers outside of the cluster.
    localhost: Option<String>,
}

impl Artifacts {
    /// No copies yet; what killed processes left of theirs is removed in the background.
    ///
    /// `retry` is the pause after an artifact that is not served, for its message.
    ///
    /// # Errors
    /// An HTTP client that cannot be made.
    pub fn new(max_size: u64, max_unpacked: u64, retry: api::Duration) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::limited(3))
            .build()?;
        let scratch = Arc::new(Scratch::new(PREFIX));
        let swept = Arc::clone(&scratch);
        in_background(move || match swept.sweep() {
            Ok(removed) => removed
                .iter()
                .for_each(|name| tracing::info!(name, "removed what a killed process left behind")),
            Err(error) => tracing::info!(%error, "cannot look for what killed processes left behind"),
        });
        Ok(Artifacts {
            client,
            scratch,
            shelf: Mutex::default(),
            max_size,
            patience: PATIENCE,
            limits: Limits {
                bytes: max_unpacked,
                ..Limits::default()
            },
            retry,
            localhost: std::env::var("SOURCE_CONTROLLER_LOCALHOST")
                .ok()
                .filter(|host| !host.is_empty()),
        })
    }

    /// The tree of an artifact, downloaded if there is no copy.
    ///
    /// # Errors
    /// Whether another attempt may help, or how the reconcile ends.
    pub async fn tree(&self, artifact: &Artifact) -> Result<Arc<Tree>, Error> {
        let failed = |text: String| Error::Failed(Failure::Artifact(text));
        if artifact.digest.is_empty() {
            return Err(failed("failed to verify archive: empty digest".to_owned()));
        }
        let digest: Digest = artifact
            .digest
            .parse()
            .map_err(|error| failed(format!("failed to verify archive: {error}")))?;
        let tree = Arc::clone(
            self.cell(&digest.to_string())
                .get_or_try_init(|| self.make(artifact, &digest))
                .await?,
        );
        if tree.path().is_dir() {
            return Ok(tree);
        }
        // Somebody cleaned up the directory for temporary files.
        runtime::lock(&self.shelf).cells.remove(&digest.to_string());
        self.cell(&digest.to_string())
            .get_or_try_init(|| self.make(artifact, &digest))
            .await
            .map(Arc::clone)
    }

    /// The cell of a digest, marked as asked for just now; the one that was not asked for the longest is forgotten.
    /// What is forgotten stays with those that hold it.
    fn cell(&self, digest: &str) -> Cell {
        let mut shelf = runtime::lock(&self.shelf);
        shelf.recent.retain(|recent| recent != digest);
        shelf.recent.push_back(digest.to_owned());
        let cell = Arc::clone(shelf.cells.entry(digest.to_owned()).or_default());
        while shelf.recent.len() > KEPT {
            let Some(oldest) = shelf.recent.pop_front() else { break };
            shelf.cells.remove(&oldest);
        }
        cell
    }

    async fn make(&self, artifact: &Artifact, digest: &Digest) -> Result<Arc<Tree>, Error> {
        let workspace = |error: std::io::Error| Error::Failed(Failure::Workspace(error.to_string()));
        let place = self.scratch.place().map_err(workspace)?;
        let url = self.reachable(&artifact.url);
        let fetch = artifact::fetch(&self.client, &url, digest, self.max_size, place.path());
        let fetched = tokio::time::timeout(self.patience, fetch).await.unwrap_or_else(|_| {
            let limit = api::Duration::from(self.patience);
            let text = format!("failed to download archive from {url}: not complete within {limit}");
            Err(FetchError::Retryable(text))
        });
        let fetched = fetched.map_err(|error| match error {
            FetchError::NotFound { .. } => Error::Failed(Failure::ArtifactGone { retry: self.retry }),
            FetchError::Retryable(text) => Error::Retryable(text),
            FetchError::Fatal(text) => Error::Failed(Failure::Artifact(text)),
        })?;
        let limits = self.limits;
        let unpacked = tokio::task::spawn_blocking(move || {
            let directory = tempfile::Builder::new()
                .prefix("kustomization-")
                .tempdir_in(place.path())
                .map_err(workspace)?;
            let tree = Tree {
                path: directory.path().to_owned(),
                directory: Some(directory),
                _place: place,
            };
            let dir = tree.open().map_err(workspace)?;
            artifact::unpack(fetched.file, &dir, limits)
                .map_err(|error| Error::Failed(Failure::Artifact(error.to_string())))?;
            Ok(Arc::new(tree))
        });
        unpacked
            .await
            .unwrap_or_else(|error| Err(Error::Failed(Failure::Workspace(error.to_string()))))
    }

    /// The URL to ask; another host and port where the environment says so.
    fn reachable(&self, url: &str) -> String {
        let Some(host) = &self.localhost else {
            return url.to_owned();
        };
        let Ok(mut parsed) = url::Url::parse(url) else {
            return url.to_owned();
        };
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().ok()),
            None => (host.as_str(), None),
        };
        match parsed.set_host(Some(name)).is_ok() && parsed.set_port(port).is_ok() {
            true => parsed.to_string(),
            false => url.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    fn artifacts(temporary: &Path) -> Artifacts {
        runtime::telemetry::use_ring();
        let mut artifacts = Artifacts::new(1 << 20, 1 << 20, api::Duration::from_secs(30)).unwrap();
        artifacts.scratch = Arc::new(Scratch::within(temporary.to_owned(), PREFIX));
        artifacts
    }

    #[tokio::test]
    async fn a_download_that_does_not_end_is_tried_again() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let temporary = tempfile::tempdir().unwrap();
        let mut artifacts = artifacts(temporary.path());
        artifacts.patience = Duration::from_millis(50);
        let url = format!("http://{}/a.tar.gz", server.local_addr().unwrap());
        let artifact = Artifact {
            path: String::new(),
            url: url.clone(),
            revision: String::new(),
            digest: format!("sha256:{:064}", 0),
            last_update_time: api::meta::Time(jiff::Timestamp::UNIX_EPOCH),
            size: None,
            metadata: BTreeMap::new(),
        };
        match artifacts.tree(&artifact).await {
            Err(Error::Retryable(text)) => {
                assert_eq!(
                    text,
                    format!("failed to download archive from {url}: not complete within 50ms")
                );
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_forgotten_tree_stays_with_its_holder_and_goes_with_it() {
        let temporary = tempfile::tempdir().unwrap();
        let artifacts = artifacts(temporary.path());
        let cell = artifacts.cell("first");
        let place = artifacts.scratch.place().unwrap();
        let directory = tempfile::tempdir_in(place.path()).unwrap();
        let path = directory.path().to_owned();
        let tree = Tree {
            path: path.clone(),
            directory: Some(directory),
            _place: place,
        };
        let tree = Arc::clone(cell.get_or_init(async || Arc::new(tree)).await);
        drop(cell);
        for number in 0..KEPT {
            artifacts.cell(&number.to_string());
        }
        assert_eq!(Arc::strong_count(&tree), 1);
        assert!(tree.open().is_ok());
        drop(tree);
        while path.exists() {
            tokio::task::yield_now().await;
        }
    }
}
