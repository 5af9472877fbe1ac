//! Whether a commit may be published: `spec.verify`.
//!
//! The keys are read in every run, before anything is fetched: keys that were withdrawn or exchanged call for verification
//! of a revision that is stored already ([`needs`]). Whatever is refused, the artifact before stays and is served.

use std::collections::BTreeMap;

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
use super::{GitRepositories, draft};
use crate::verify::needs::{self, Fingerprint};
use crate::verify::{self, Signed, TagOf};

/// What a commit is verified with.
pub struct Trust {
    mode: GitVerificationMode,
    keys: BTreeMap<String, Vec<u8>>,
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
            keys,
        }))
    }

    /// Whether the revision that is stored has to be verified again.
    pub(super) fn is_unverified(&self, object: &GitRepository, status: &GitRepositoryStatus, trust: &Trust) -> bool {
        let uid = object.uid().unwrap_or_default();
        needs::by_mode(trust.mode, status.source_verification_mode) || self.verified.by_keys(&uid, trust.fingerprint)
    }

    /// Verifies a commit and says so in the status; without `spec.verify` nothing is said any more.
    pub(super) fn verify(
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
        let id = commit.id.to_string();
        let signed = Signed {
            id: &id,
            raw: &commit.raw,
        };
        let tag_id = commit.tag.as_ref().map(|tag| tag.id.to_string()).unwrap_or_default();
        let tag = match &commit.tag {
            Some(tag) => Some(TagOf {
                name: &tag.name,
                object: Some(Signed {
                    id: &tag_id,
                    raw: &tag.raw,
                }),
            }),
            None => lightweight(reference, commit).map(|name| TagOf { name, object: None }),
        };
        let verified = verify::verify(trust.mode, &trust.keys, signed, tag, Timestamp::now());
        let message = match verified {
            Ok(verified) => verified.message(),
            Err(error) => {
                self.verified.forget(&uid);
                return Err(error.into());
            }
        };
        self.verified.verified(&uid, trust.fingerprint);
        let mut draft = draft(report);
        draft.set(SOURCE_VERIFIED, Verdict::True, SUCCEEDED, &message);
        draft.status.source_verification_mode = Some(needs::recorded(trust.mode));
        self.recorder.tell(object, trace(SUCCEEDED, message));
        Ok(())
    }
}

/// The short name of the tag that a reference leads through.
fn lightweight<'a>(reference: &'a Reference, commit: &'a Commit) -> Option<&'a str> {
    match reference {
        Reference::Tag(tag) => Some(tag),
        Reference::SemVer(_) => commit.revision.name(),
        Reference::Name(name) => {
            let tag = name.strip_prefix("refs/tags/")?;
            Some(tag.strip_suffix("^{}").unwrap_or(tag))
        }
        Reference::Branch(_) | Reference::Any(_) | Reference::Commit { .. } => None,
    }
}
