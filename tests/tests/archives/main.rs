//! Artifacts, byte by byte.
//!
//! Git makes a repository of every shape there is, and it is fetched over http, archived and stored as the source controller
//! does it. The tar in the artifact then has to be the one that is written here by the book from what was put into the
//! repository; and the artifact has to have the same digest whenever and wherever it is made of that commit.

mod book;
mod shape;
mod table;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use artifact::{Algorithm, Limits};
use flate2::read::GzDecoder;
use git::{Reference, RemoteUrl, Request};
use rustix::fs::Mode;
use rustix::process::umask;
use source_controller::checkout::{self, Bounds, Sparse};
use source_controller::storage::gc::Retention;
use source_controller::storage::path::{Place, file_name};
use source_controller::storage::{Storage, Stored};
use tests::git_client::GitClient;
use tests::git_server::GitServer;

use shape::Shape;

/// Where artifacts are made.
struct Workshop {
    client: GitClient,
    storage: tempfile::TempDir,
}

impl Workshop {
    fn new(cache: Option<&Path>) -> Result<Self> {
        Ok(Self {
            client: GitClient::with(|config| {
                config.cache = cache.map(|path| git::cache::Config {
                    path: path.to_owned(),
                    max_size: 1 << 30,
                    max_age: Duration::from_secs(3600),
                });
            })?,
            storage: tempfile::tempdir()?,
        })
    }

    /// Makes an artifact of the branch main.
    fn artifact(&self, url: &str, shape: &Shape) -> Result<Stored> {
        let request = Request {
            submodules: shape.submodules,
            timeout: Duration::from_secs(600),
            ..Request::new(RemoteUrl::parse(url)?, Reference::Branch("main".to_owned()))
        };
        let commit = self.client.get(&request)?;
        let bounds = Bounds {
            whole: Limits::default(),
            file: request.limits.object,
        };
        let mut listing = checkout::list(&commit.tree, &Sparse::new(&shape.sparse), bounds)?;
        listing.select(shape.ignore)?;
        let retention = Retention {
            ttl: Duration::from_secs(60),
            records: 2,
        };
        let storage = Storage::open(self.storage.path(), String::new(), Algorithm::Sha256, retention)?;
        let (place, file) = (
            Place::new("GitRepository", "ns", "app"),
            file_name(commit.revision.hash()),
        );
        let write = |archive: &mut _| checkout::archive(&commit.tree, &listing, bounds, archive);
        Ok(storage.publish(&place, &file, write)?)
    }
}

#[test]
fn archives_are_by_the_book_and_the_same_wherever_they_are_made() -> Result<()> {
    let (server, cache) = (GitServer::start()?, tempfile::tempdir()?);
    let (here, there) = (Workshop::new(None)?, Workshop::new(Some(cache.path()))?);
    let mut failures = Vec::new();
    for (n, shape) in table::shapes().iter().enumerate() {
        if let Err(error) = check(&server, &format!("shape-{n}"), shape, &here, &there) {
            failures.push(format!("{}: {error:#}", shape.name));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

fn check(server: &GitServer, name: &str, shape: &Shape, here: &Workshop, there: &Workshop) -> Result<()> {
    let repo = shape.make(server, name)?;
    let stored = here.artifact(repo.url(), shape)?;
    let bytes = fs::read(here.storage.path().join(&stored.path))?;
    // No name, no time, no system.
    let head = bytes.first_chunk().context("it is too short")?;
    ensure!(*head == [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], "{head:?}");
    let mut found = Vec::new();
    GzDecoder::new(&bytes[..]).read_to_end(&mut found)?;
    compare(&found, &shape.archive()?)?;
    // Once more, out of another pack, into another directory, with other rights.
    let mut repack = Command::new("git");
    repack.args(["repack", "-adfq", "--depth=3"]).current_dir(repo.bare());
    ensure!(repack.status()?.success(), "git cannot repack");
    let before = umask(Mode::RWXG | Mode::RWXO);
    let elsewhere = there.artifact(repo.url(), shape);
    umask(before);
    ensure!(
        elsewhere.as_ref().is_ok_and(|artifact| *artifact == stored),
        "{elsewhere:?} is not {stored:?}"
    );
    Ok(())
}

/// Tells where two archives differ, not what all of their bytes are.
fn compare(found: &[u8], expected: &[u8]) -> Result<()> {
    let pairs = found.iter().zip(expected);
    let same = pairs.take_while(|(one, other)| one == other).count();
    let part = |bytes: &[u8]| {
        let start = same / 512 * 512;
        let end = bytes.len().min(start + 512);
        String::from_utf8_lossy(bytes.get(start..end).unwrap_or_default()).replace('\0', "·")
    };
    ensure!(
        found == expected,
        "{} bytes instead of {}, which differ from byte {same} on:\n{}\ninstead of\n{}",
        found.len(),
        expected.len(),
        part(found),
        part(expected)
    );
    Ok(())
}
