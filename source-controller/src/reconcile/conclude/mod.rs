//! From what happened to what is written and told: the conditions, the generation, the events and the next look.
//!
//! Pure. [`begin`] marks the start of a reconcile in the status, [`conclude`] its end; in between the pipeline adds facts with
//! [`Draft`]. Nobody else decides a condition.

use std::collections::BTreeMap;

use api::meta::condition::{
    ARTIFACT_IN_STORAGE, ARTIFACT_OUTDATED, FETCH_FAILED, INCLUDE_UNAVAILABLE, READY, RECONCILING, SOURCE_VERIFIED,
    STALLED, STORAGE_OPERATION_FAILED,
};
use api::meta::key::{COMMIT_SUBJECT, STALE_SINCE};
use api::meta::reason::{
    ARTIFACT_UP_TO_DATE, GIT_OPERATION_SUCCEEDED, INCLUDE_CHANGE, NEW_ARTIFACT, NEW_REVISION, PROGRESSING,
    PROGRESSING_WITH_RETRY, SUCCEEDED,
};
use api::source::{Artifact, GitRepositoryStatus};
use artifact::Revision;
use jiff::Timestamp;
use runtime::conditions::{self, Setting, Verdict};
use runtime::events::{Notice, Severity};

use super::failure::{Failure, Fate, Retry};

/// Keys of an artifact's event.
const REVISION: &str = "source.toolkit.fluxcd.io/revision";
const DIGEST: &str = "source.toolkit.fluxcd.io/digest";

/// Why an artifact is built anew at the same revision.
const OTHER_INCLUDES: &str = "included artifacts differ from last observed includes";

/// The conditions `Ready` sums up, most telling first, and whether `True` is good news.
const SUMMED_UP: [(&str, bool); 8] = [
    (STORAGE_OPERATION_FAILED, false),
    (FETCH_FAILED, false),
    (INCLUDE_UNAVAILABLE, false),
    (ARTIFACT_OUTDATED, false),
    (ARTIFACT_IN_STORAGE, true),
    (SOURCE_VERIFIED, true),
    (STALLED, false),
    (RECONCILING, false),
];

/// A status in the making.
pub struct Draft<'a> {
    /// The status.
    pub status: &'a mut GitRepositoryStatus,
    /// The generation it speaks of.
    pub generation: i64,
    /// The moment of the changes.
    pub now: Timestamp,
}

impl Draft<'_> {
    /// Sets a condition.
    pub fn set(&mut self, kind: &str, verdict: Verdict, reason: &str, message: &str) {
        let setting = Setting {
            kind,
            verdict,
            reason,
            message,
        };
        conditions::set(&mut self.status.conditions, setting, self.generation, self.now);
    }

    /// Removes a condition.
    pub fn remove(&mut self, kind: &str) {
        conditions::remove(&mut self.status.conditions, kind);
    }

    /// Marks work that goes on; `Ready` turns unknown only if it was not known before.
    fn progress(&mut self, message: &str) {
        let ready = conditions::get(&self.status.conditions, READY);
        if ready.is_none_or(|ready| ready.status == Verdict::Unknown.as_str()) {
            self.set(READY, Verdict::Unknown, PROGRESSING, message);
        }
        self.set(RECONCILING, Verdict::True, PROGRESSING, message);
    }

    /// Who asked has been answered. An empty value is none: the field is absent then.
    fn handled(&mut self, requested: Option<&str>) {
        if let Some(requested) = requested {
            self.status.last_handled_reconcile_at = Some(requested.to_owned()).filter(|value| !value.is_empty());
        }
    }

    /// A revision was fetched that there is no artifact for.
    pub fn found_new_revision(&mut self, revision: &str) {
        let message = format!("new upstream revision '{revision}'");
        if self.status.artifact.is_some() {
            self.set(ARTIFACT_OUTDATED, Verdict::True, NEW_REVISION, &message);
        }
        self.build(&message);
    }

    /// What was refused before is judged anew; what was accepted stays accepted until then.
    pub fn forget_refusal(&mut self) {
        if conditions::is(&self.status.conditions, SOURCE_VERIFIED, Verdict::False) {
            self.remove(SOURCE_VERIFIED);
        }
    }

    /// Other artifacts are included than those that the artifact was made with.
    pub fn found_other_includes(&mut self) {
        self.build(OTHER_INCLUDES);
    }

    /// So the artifact there is is outdated. To be shown, and to be taken back when the repository itself is looked at: what
    /// that fails for is another thing.
    pub fn outdated_by_includes(&mut self) {
        self.set(ARTIFACT_OUTDATED, Verdict::True, INCLUDE_CHANGE, OTHER_INCLUDES);
    }

    fn build(&mut self, why: &str) {
        let message = format!("building artifact: {why}");
        self.set(RECONCILING, Verdict::True, PROGRESSING, &message);
        self.set(READY, Verdict::Unknown, PROGRESSING, &message);
    }

    /// Nothing is done for this generation, and there is nothing more to do.
    fn rest(&mut self) {
        self.remove(STALLED);
        if self.status.conditions.is_empty() {
            return;
        }
        // What was under way goes on when the object does.
        let going_on = conditions::get(&self.status.conditions, RECONCILING).map(|c| c.message.clone());
        if let Some(message) = going_on {
            self.set(RECONCILING, Verdict::True, PROGRESSING_WITH_RETRY, &message);
        }
        self.status.observed_generation = Some(self.generation);
        self.sum_up();
    }

    /// `Ready` from the other conditions.
    fn sum_up(&mut self) {
        let list = &self.status.conditions;
        let present =
            |kind: &str, verdict| conditions::get(list, kind).filter(|c| c.status == Verdict::as_str(verdict));
        let bad = SUMMED_UP
            .iter()
            .find_map(|(kind, is_good)| if *is_good { None } else { present(kind, Verdict::True) });
        let failed = || {
            SUMMED_UP
                .iter()
                .find_map(|(kind, is_good)| if *is_good { present(kind, Verdict::False) } else { None })
        };
        let good = || {
            SUMMED_UP
                .iter()
                .find_map(|(kind, is_good)| if *is_good { present(kind, Verdict::True) } else { None })
        };
        // A signature that is wrong outweighs everything.
        let unverified = present(SOURCE_VERIFIED, Verdict::False);
        let (verdict, from) = match unverified.or(bad).or_else(failed) {
            Some(condition) => (Verdict::False, condition),
            None => match good() {
                Some(condition) => (Verdict::True, condition),
                None => return,
            },
        };
        let (reason, message) = (from.reason.clone(), from.message.clone());
        self.set(READY, verdict, &reason, &message);
    }
}

/// An artifact that is served although nobody knows any more whether it is the newest.
///
/// The status says since when, under a key of the artifact's metadata: that is written with the first failure and taken out
/// with the next success, when the conditions change anyway, so that neither a retry nor a quiet interval writes anything. The
/// texts of the conditions stay what they are, since others compare them; the event says it in words.
impl Draft<'_> {
    /// The last attempt failed: what the event says about the artifact, if there is one.
    fn remember_staleness(&mut self) -> Option<String> {
        let now = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
        let artifact = self.status.artifact.as_mut()?;
        let since = artifact.metadata.entry(STALE_SINCE.to_owned());
        let since = since.or_insert_with(|| now.to_string());
        Some(format!(
            "; still serving revision '{}', stale since {since}",
            artifact.revision
        ))
    }

    fn forget_staleness(&mut self) {
        if let Some(artifact) = &mut self.status.artifact {
            artifact.metadata.remove(STALE_SINCE);
        }
    }
}

/// Since when attempts to renew the artifact have failed, if they have.
pub fn stale_since(status: &GitRepositoryStatus) -> Option<Timestamp> {
    status.artifact.as_ref()?.metadata.get(STALE_SINCE)?.parse().ok()
}

/// What is known when a reconcile begins.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The value of the annotation that asks for a reconcile.
    pub requested: Option<&'a str>,
    /// The artifact was there before and is not any more.
    pub has_disappeared: bool,
}

/// Whether a reconcile that begins with this status tries again what failed before. It tells nothing new.
pub fn is_retry(status: &GitRepositoryStatus, generation: i64) -> bool {
    conditions::get(&status.conditions, RECONCILING)
        .is_some_and(|c| c.reason == PROGRESSING_WITH_RETRY && c.observed_generation == Some(generation))
}

/// Marks the start; whether it is worth telling before the work is done.
pub fn begin(draft: &mut Draft<'_>, start: Start<'_>) -> bool {
    let observed = draft.status.observed_generation.unwrap_or(-1);
    let generation = draft.generation;
    let is_retry = is_retry(draft.status, generation);
    let is_new = observed != generation && !is_retry;
    let handled = draft.status.last_handled_reconcile_at.as_deref().unwrap_or_default();
    let is_asked = start.requested.is_some_and(|requested| requested != handled);
    let is_first = draft.status.artifact.is_none() && !is_retry;
    let told = is_new || is_asked || is_first || start.has_disappeared;
    draft.remove(STORAGE_OPERATION_FAILED);
    match &draft.status.artifact {
        Some(_) if observed != generation => {
            draft.progress(&format!("processing object: new generation {observed} -> {generation}"));
        }
        Some(_) => draft.progress("reconciliation in progress"),
        None => {
            let message = if start.has_disappeared {
                "building artifact: disappeared from storage"
            } else {
                "building artifact"
            };
            draft.remove(ARTIFACT_IN_STORAGE);
            draft.set(RECONCILING, Verdict::True, PROGRESSING, message);
            if told {
                draft.set(READY, Verdict::Unknown, PROGRESSING, message);
            }
        }
    }
    told
}

/// How a reconcile came to a good end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// The remote still has the revision of the artifact.
    Unmoved {
        /// Whether the reference is one that Flux polls without cloning; the events differ.
        by_name: bool,
    },
    /// There is a new artifact.
    Stored,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// At the next interval.
    Interval,
    /// After the backoff.
    Backoff,
    /// After the pause for what is missing.
    Dependency,
    /// When something changes.
    Change,
}

/// What follows from a reconcile.
#[derive(Debug)]
pub struct Conclusion {
    /// What is told, in order.
    pub notices: Vec<Notice>,
    /// When to look again.
    pub again: Again,
}

/// Marks the end. `before` is the status the reconcile started from.
pub fn conclude(
    draft: &mut Draft<'_>,
    before: &GitRepositoryStatus,
    requested: Option<&str>,
    outcome: &Result<Synced, Failure>,
) -> Conclusion {
    draft.handled(requested);
    match outcome {
        Ok(synced) => {
            draft.forget_staleness();
            succeed(draft);
            Conclusion {
                notices: good_news(draft.status, before, *synced),
                again: Again::Interval,
            }
        }
        Err(failure) => {
            let again = fail(draft, failure);
            let (reason, message) = (failure.fate().reason, failure.to_string());
            let staleness = draft.remember_staleness();
            let notice = match again {
                Again::Dependency => trace(reason, message),
                Again::Interval | Again::Backoff | Again::Change => Notice {
                    severity: Severity::Error,
                    reason: reason.to_owned(),
                    message: format!("{message}{}", staleness.unwrap_or_default()),
                    annotations: BTreeMap::new(),
                },
            };
            Conclusion {
                notices: vec![notice],
                again,
            }
        }
    }
}

fn succeed(draft: &mut Draft<'_>) {
    for kind in [
        STALLED,
        RECONCILING,
        FETCH_FAILED,
        INCLUDE_UNAVAILABLE,
        STORAGE_OPERATION_FAILED,
        ARTIFACT_OUTDATED,
    ] {
        draft.remove(kind);
    }
    if let Some(artifact) = &draft.status.artifact {
        let message = format!("stored artifact for revision '{}'", shown(artifact));
        draft.set(ARTIFACT_IN_STORAGE, Verdict::True, SUCCEEDED, &message);
    }
    draft.status.observed_generation = Some(draft.generation);
    draft.sum_up();
}

fn fail(draft: &mut Draft<'_>, failure: &Failure) -> Again {
    let Fate {
        condition,
        reason,
        retry,
    } = failure.fate();
    let message = failure.to_string();
    if let Some((kind, verdict)) = condition {
        draft.set(kind, verdict, reason, &message);
    }
    let again = match retry {
        Retry::Never => {
            draft.set(STALLED, Verdict::True, reason, &message);
            draft.status.observed_generation = Some(draft.generation);
            Again::Change
        }
        Retry::Backoff | Retry::Dependency => {
            let going_on = conditions::get(&draft.status.conditions, RECONCILING).map(|c| c.message.clone());
            draft.remove(STALLED);
            draft.set(
                RECONCILING,
                Verdict::True,
                PROGRESSING_WITH_RETRY,
                &going_on.unwrap_or(message),
            );
            match retry {
                Retry::Dependency => Again::Dependency,
                Retry::Backoff | Retry::Never => Again::Backoff,
            }
        }
    };
    draft.sum_up();
    again
}

/// A suspended object: what was said stays said, for this generation too.
pub fn conclude_suspended(draft: &mut Draft<'_>, requested: Option<&str>) {
    draft.handled(requested);
    draft.rest();
}

/// An object that is being deleted, and stays for somebody else's sake: its artifact is gone.
pub fn conclude_deleted(draft: &mut Draft<'_>, requested: Option<&str>) {
    draft.handled(requested);
    draft.status.artifact = None;
    draft.rest();
}

/// An artifact's revision as it is written today; what older controllers have stored may read otherwise.
fn shown(artifact: &Artifact) -> String {
    Revision::parse(&artifact.revision).map_or_else(|| artifact.revision.clone(), |revision| revision.to_string())
}

fn good_news(status: &GitRepositoryStatus, before: &GitRepositoryStatus, synced: Synced) -> Vec<Notice> {
    let Some(artifact) = &status.artifact else {
        return Vec::new();
    };
    let mut notices = Vec::new();
    match synced {
        Synced::Unmoved { by_name: true } => {
            let text = format!(
                "no changes since last reconciliation: observed revision '{}'",
                shown(artifact)
            );
            notices.push(trace(GIT_OPERATION_SUCCEEDED, text));
        }
        Synced::Unmoved { by_name: false } => {
            let text = format!("artifact up-to-date with remote revision: '{}'", artifact.revision);
            notices.push(trace(ARTIFACT_UP_TO_DATE, text));
        }
        Synced::Stored => {}
    }
    let is_new = before
        .artifact
        .as_ref()
        .is_none_or(|before| before.digest != artifact.digest);
    let failed = [FETCH_FAILED, INCLUDE_UNAVAILABLE, STORAGE_OPERATION_FAILED];
    let was_failing = failed
        .iter()
        .any(|kind| conditions::is(&before.conditions, kind, Verdict::True));
    if is_new || was_failing {
        // Flux has no commit at hand when the remote did not move, and quotes the revision.
        let is_unread = synced == Synced::Unmoved { by_name: true };
        let subject = artifact
            .metadata
            .get(COMMIT_SUBJECT)
            .filter(|_| !is_unread)
            .unwrap_or(&artifact.revision);
        notices.push(Notice {
            severity: Severity::Info,
            reason: if is_new { NEW_ARTIFACT } else { SUCCEEDED }.to_owned(),
            message: format!("stored artifact for commit '{subject}'"),
            annotations: annotations(artifact),
        });
    }
    notices
}

/// What Flux calls a trace event: Normal, and without annotations.
pub fn trace(reason: &str, message: String) -> Notice {
    Notice {
        severity: Severity::Info,
        reason: reason.to_owned(),
        message,
        annotations: BTreeMap::new(),
    }
}

fn annotations(artifact: &Artifact) -> BTreeMap<String, String> {
    BTreeMap::from([
        (REVISION.to_owned(), artifact.revision.clone()),
        (DIGEST.to_owned(), artifact.digest.clone()),
    ])
}

#[cfg(test)]
mod tests;
