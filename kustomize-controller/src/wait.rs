//! What the health of many objects means for the one that waits for them. Pure.

use crate::health::{Kind, Status};
use crate::inventory::{ObjectId, Owned};

/// What to make of the objects that are waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// All are as they should be.
    Ready,
    /// Some are not yet.
    Waiting,
    /// It will not or did not come about.
    Failed(Obstacle),
}

/// What did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Flux's text, which names the objects.
    pub text: String,
    /// The objects.
    pub objects: Vec<ObjectId>,
}

impl Obstacle {
    fn new<'a>(what: &str, looks: impl Iterator<Item = &'a Look> + Clone) -> Self {
        Obstacle {
            text: format!("{what}: [{}]", list(looks.clone())),
            objects: looks.map(|look| look.owned.id.clone()).collect(),
        }
    }
}

/// An object that is waited for, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Which one.
    pub owned: Owned,
    /// How it did when it was looked at; nothing before, or when that cannot be determined.
    pub status: Option<Status>,
    /// The resource version that was looked at, as a number; 0 before.
    pub version: u64,
}

impl Look {
    /// An object that nothing is known of yet.
    pub fn new(owned: Owned) -> Self {
        Look {
            owned,
            status: None,
            version: 0,
        }
    }

    /// Whether it is of that kind.
    pub fn is(&self, kind: Kind) -> bool {
        self.status.as_ref().is_some_and(|status| status.kind == kind)
    }
}

/// Judges objects by what is known of them.
///
/// With `fail_fast` one failed object ends the wait for the others; without it the wait goes on until none can change
/// any more. `expired` says that time is up.
pub fn judge(known: &[Look], fail_fast: bool, expired: bool) -> Judgement {
    if known.iter().all(|look| look.is(Kind::Current)) {
        return Judgement::Ready;
    }
    let failed = known.iter().any(|look| look.is(Kind::Failed));
    let settled = known.iter().all(|look| look.is(Kind::Failed) || look.is(Kind::Current));
    if failed && (fail_fast || settled) {
        let stalled = known.iter().filter(|look| look.is(Kind::Failed));
        return Judgement::Failed(Obstacle::new("failed early due to stalled resources", stalled));
    }
    if expired {
        let others = known.iter().filter(|look| !look.is(Kind::Current));
        return Judgement::Failed(Obstacle::new("timeout waiting for", others));
    }
    Judgement::Waiting
}

fn list<'a>(looks: impl Iterator<Item = &'a Look>) -> String {
    let texts = looks.map(|look| match &look.status {
        None => format!("can't determine status for {}", look.owned.id),
        Some(status) if status.kind == Kind::Unknown && !status.message.is_empty() => {
            format!("{} status: '{}': {}", look.owned.id, status.kind, status.message)
        }
        Some(status) => format!("{} status: '{}'", look.owned.id, status.kind),
    });
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: usize) -> ObjectId {
        ObjectId {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: "n".into(),
            name: index.to_string(),
        }
    }

    #[track_caller]
    fn check(kinds: &[Option<Kind>], fail_fast: bool, expired: bool, expected: Judgement) {
        let known: Vec<_> = kinds
            .iter()
            .enumerate()
            .map(|(index, kind)| {
                let id = id(index);
                let status = kind.map(|kind| Status {
                    kind,
                    message: String::new(),
                });
                let version = "v1".into();
                Look {
                    status,
                    ..Look::new(Owned { id, version })
                }
            })
            .collect();
        assert_eq!(judge(&known, fail_fast, expired), expected);
    }

    fn failed(text: &str, objects: &[usize]) -> Judgement {
        Judgement::Failed(Obstacle {
            text: text.into(),
            objects: objects.iter().copied().map(id).collect(),
        })
    }

    const CURRENT: Option<Kind> = Some(Kind::Current);
    const PROGRESS: Option<Kind> = Some(Kind::InProgress);
    const FAILED: Option<Kind> = Some(Kind::Failed);

    #[test]
    fn all_current_is_ready_and_nothing_at_all_too() {
        check(&[], true, false, Judgement::Ready);
        check(&[CURRENT, CURRENT], true, true, Judgement::Ready);
        check(&[CURRENT, PROGRESS, None], true, false, Judgement::Waiting);
    }

    #[test]
    fn a_failed_object_ends_the_wait_when_that_is_wanted() {
        let text = "failed early due to stalled resources: [Deployment/n/1 status: 'Failed']";
        check(&[PROGRESS, FAILED], true, false, failed(text, &[1]));
        check(&[PROGRESS, FAILED], false, false, Judgement::Waiting);
        check(&[CURRENT, FAILED], false, false, failed(text, &[1]));
    }

    #[test]
    fn time_runs_out_for_everything_that_is_not_current() {
        let text =
            "timeout waiting for: [Deployment/n/1 status: 'InProgress', can't determine status for Deployment/n/2]";
        check(&[CURRENT, PROGRESS, None], true, true, failed(text, &[1, 2]));
    }
}
