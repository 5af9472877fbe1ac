//! Whether a commit may be published: `spec.verify`.
//!
//! The keys are read in every run, before anything is fetched: keys that were withdrawn or exchanged call for verification
//! of a revision that is stored already ([`needs`]). Whatever is refused, the artifact before stays and is served.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::meta::condition::SOURCE_VERIFIED;
use api::meta::reason::SUCCEEDED;
use api::source::{GitRepository, GitRepositoryStatus, GitVerificationMode};
use git::Reference;
use git::client::Commit;
use jiff::Timestamp;
use kube::ResourceExt;
use runtime::conditions::Verdict;
use runtime::report::Report;

use super::conclude::trace;
use super::failure::Failure;
use super::{GitRepositories, blocking, draft};
use crate::verify::needs::{self, Fingerprint};
use crate::verify::{self, Signed, TagOf, Verified};

/// What a commit is verified with.
pub struct Trust {
    mode: GitVerificationMode,
    keys: Arc<BTreeMap<String, Vec<u8>>>,
    fingerprint: Fingerprint,
}

impl GitRepositories {
    /// What `spec.verify` asks for, if it does.
    pub(super) async fn trust(&self, object: &GitRepository) -> Result<Option<Trust>, Failure> {
        let Some(verification) = &object.spec.verification else {
            return Ok(None);
        };
        let namespace = object.namespace().unwrap_or_default();
        let keys = self.cluster.secret(&namespace, &verification.secret_ref.name).await;
        let keys = keys.map_err(|error| verify::Error::Secret(error.text))?;
        Ok(Some(Trust {
            mode: verification.mode.unwrap_or(GitVerificationMode::Head),
            fingerprint: Fingerprint::of(&keys),
            keys: Arc::new(keys),
        }))
    }

    /// Whether the revision that is stored has to be verified again.
    pub(super) fn is_unverified(&self, object: &GitRepository, status: &GitRepositoryStatus, trust: &Trust) -> bool {
        let uid = object.uid().unwrap_or_default();
        let stored = status.artifact.as_ref().map(|artifact| artifact.revision.as_str());
        needs::by_mode(trust.mode, status.source_verification_mode)
            || self
                .verified
                .by_keys(&uid, stored.unwrap_or_default(), trust.fingerprint)
    }

    /// Verifies a commit and says so in the status; without `spec.verify` nothing is said any more.
    pub(super) async fn verify(
        &self,
        object: &GitRepository,
        report: &mut Report<GitRepository>,
        commit: &Commit,
        reference: &Reference,
        trust: Option<&Trust>,
    ) -> Result<(), Failure> {
        let uid = object.uid().unwrap_or_default();
        let Some(trust) = trust else {
            self.verified.forget(&uid);
            let mut draft = draft(report);
            draft.remove(SOURCE_VERIFIED);
            draft.status.source_verification_mode = None;
            return Ok(());
        };
        let (mode, keys, objects) = (trust.mode, Arc::clone(&trust.keys), Objects::of(commit, reference));
        // Large keys, and many of them, take their time: the other objects do not wait for it.
        let verified = blocking(move || objects.verify(mode, &keys)).await?;
        let message = match verified {
            Ok(verified) => verified.message(),
            Err(error) => {
                self.verified.forget(&uid);
                return Err(error.into());
            }
        };
        self.verified
            .verified(&uid, &commit.revision.to_string(), trust.fingerprint);
        let mut draft = draft(report);
        draft.set(SOURCE_VERIFIED, Verdict::True, SUCCEEDED, &message);
        draft.status.source_verification_mode = Some(needs::recorded(trust.mode));
        self.recorder.tell(object, trace(SUCCEEDED, message));
        Ok(())
    }
}

/// The objects that may be signed.
struct Objects {
    commit: Object,
    /// The tag's name, and the object if it is an annotated one.
    tag: Option<(String, Option<Object>)>,
}

/// An object and its id.
struct Object {
    id: String,
    raw: Vec<u8>,
}

impl Objects {
    fn of(commit: &Commit, reference: &Reference) -> Self {
        let object = |id: &dyn ToString, raw: &[u8]| Object {
            id: id.to_string(),
            raw: raw.to_vec(),
        };
        Self {
            tag: match &commit.tag {
                Some(tag) => Some((tag.name.clone(), Some(object(&tag.id, &tag.raw)))),
                None => lightweight(reference, commit).map(|name| (name.to_owned(), None)),
            },
            commit: object(&commit.id, &commit.raw),
        }
    }

    fn verify(&self, mode: GitVerificationMode, keys: &BTreeMap<String, Vec<u8>>) -> Result<Verified, verify::Error> {
        let tag = self.tag.as_ref().map(|(name, object)| TagOf {
            name,
            object: object.as_ref().map(Object::signed),
        });
        verify::verify(mode, keys, self.commit.signed(), tag, Timestamp::now())
    }
}

impl Object {
    fn signed(&self) -> Signed<'_> {
        Signed {
            id: &self.id,
            raw: &self.raw,
        }
    }
}

/// The short name of the tag that a reference leads through.
fn lightweight<'a>(reference: &'a Reference, commit: &'a Commit) -> Option<&'a str> {
    match reference {
        Reference::Tag(tag) => Some(tag),
        Reference::SemVer(_) => commit.revision.name(),
        Reference::Name(name) | Reference::Commit { name: Some(name), .. } => {
            let tag = name.strip_prefix("refs/tags/")?;
            Some(tag.strip_suffix("^{}").unwrap_or(tag))
        }
        Reference::Branch(_) | Reference::Any(_) | Reference::Commit { .. } => None,
    }
}
