//! From a fetched commit to a stored artifact. What blocks runs where it may.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::meta::Time;
use api::meta::key::{COMMIT_AUTHOR, COMMIT_SUBJECT, COMMIT_TIME};
use api::source::{Artifact, GitRepository, GitRepositoryInclude};
use artifact::{Scratch, scratch};
use git::client::{self, Commit};
use jiff::Timestamp;
use kube::ResourceExt;
use tempfile::TempDir;

use super::failure::Failure;
use super::{GitRepositories, KIND, blocking};
use crate::checkout::{self, Bounds, Listing, Sparse};
use crate::include::Copy;
use crate::storage::Storage;
use crate::storage::path::{Place, file_name};

/// A commit and what a checkout of it would hold.
pub struct Checkout {
    /// The commit.
    pub commit: Commit,
    /// What is in it.
    listing: Listing,
}

impl GitRepositories {
    /// Lists what `spec.sparseCheckout` takes of a commit.
    pub(super) async fn list(&self, object: &GitRepository, commit: Commit) -> Result<Checkout, Failure> {
        let (sparse, bounds) = (Sparse::new(&object.spec.sparse_checkout), self.bounds);
        blocking(move || {
            let listing = checkout::list(&commit.tree, &sparse, bounds)?;
            Ok(Checkout { commit, listing })
        })
        .await?
    }

    /// Merges what is included, archives what is not ignored, and announces it.
    pub(super) async fn store(
        &self,
        object: &GitRepository,
        place: &Place,
        checkout: Checkout,
        included: &[Artifact],
    ) -> Result<Artifact, Failure> {
        let spec = &object.spec;
        let includes = Includes {
            storage: Arc::clone(&self.storage),
            scratch: Arc::clone(&self.scratch),
            namespace: object.namespace().unwrap_or_default(),
            all: spec.include.iter().cloned().zip(included.iter().cloned()).collect(),
            bounds: self.bounds,
        };
        let (storage, bounds) = (Arc::clone(&self.storage), self.bounds);
        let (place, ignore) = (place.clone(), spec.ignore.clone());
        // It is never closed. Held by the writing itself, which goes on when nobody waits for it any more.
        let writer = Arc::clone(&self.writers).acquire_owned().await;
        blocking(move || {
            let _writer = writer;
            let Checkout { commit, mut listing } = checkout;
            let _unpacked = includes.add(&mut listing)?;
            listing.select(ignore.as_deref())?;
            let file = file_name(commit.revision.hash());
            let stored = storage.publish(&place, &file, |archive| {
                checkout::archive(&commit.tree, &listing, bounds, archive)
            })?;
            let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
            Ok(Artifact {
                url: storage.url(&stored.path),
                path: stored.path,
                revision: commit.revision.to_string(),
                digest: stored.digest.to_string(),
                last_update_time: Time(now),
                size: i64::try_from(stored.size).ok(),
                metadata: metadata(&commit),
            })
        })
        .await?
    }
}

/// What the status says about the commit besides its revision.
fn metadata(commit: &Commit) -> BTreeMap<String, String> {
    let committed = Timestamp::from_second(commit.committed).unwrap_or_default();
    BTreeMap::from([
        (COMMIT_SUBJECT.to_owned(), commit.subject.clone()),
        (COMMIT_AUTHOR.to_owned(), commit.author.clone()),
        (COMMIT_TIME.to_owned(), committed.to_string()),
    ])
}

/// The artifacts to include.
struct Includes {
    storage: Arc<Storage>,
    scratch: Arc<Scratch>,
    namespace: String,
    all: Vec<(GitRepositoryInclude, Artifact)>,
    bounds: Bounds,
}

impl Includes {
    /// Unpacks and merges them; where they lie as long as they are needed, and the place in which they do.
    fn add(&self, listing: &mut Listing) -> Result<Vec<(TempDir, Arc<scratch::Place>)>, Failure> {
        let mut unpacked = Vec::new();
        for (include, artifact) in &self.all {
            let place = self.scratch.place().map_err(client::Error::WorkDirectory)?;
            let directory = tempfile::Builder::new().prefix("include-").tempdir_in(place.path());
            let directory = directory.map_err(client::Error::WorkDirectory)?;
            let owner = Place::new(KIND, &self.namespace, &include.repository.name);
            let copy = Copy {
                include,
                artifact,
                limits: self.bounds.whole,
            };
            let file = self.storage.open_file(&owner, &artifact.path);
            copy.add(listing, file, directory.path())?;
            unpacked.push((directory, place));
        }
        Ok(unpacked)
    }
}
