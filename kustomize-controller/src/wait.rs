//! What the health of many objects means for the one that waits for them. Pure.

use crate::health::{Kind, Status};
use crate::inventory::Owned;

/// What to make of the objects that are waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// All are as they should be.
    Ready,
    /// Some are not yet.
    Waiting,
    /// It will not or did not come about; the text names the objects.
    Failed(String),
}

/// Judges objects by what is known of them.
///
/// With `fail_fast` one failed object ends the wait for the others; without it the wait goes on until none can change
/// any more. `expired` says that time is up.
pub fn judge(known: &[(Owned, Option<Status>)], fail_fast: bool, expired: bool) -> Judgement {
    let is = |status: &Option<Status>, kind: Kind| status.as_ref().is_some_and(|status| status.kind == kind);
    if known.iter().all(|(_, status)| is(status, Kind::Current)) {
        return Judgement::Ready;
    }
    let failed = known.iter().any(|(_, status)| is(status, Kind::Failed));
    let settled = known
        .iter()
        .all(|(_, status)| is(status, Kind::Failed) || is(status, Kind::Current));
    if failed && (fail_fast || settled) {
        let stalled = known.iter().filter(|(_, status)| is(status, Kind::Failed));
        return Judgement::Failed(format!("failed early due to stalled resources: [{}]", list(stalled)));
    }
    if expired {
        let others = known.iter().filter(|(_, status)| !is(status, Kind::Current));
        return Judgement::Failed(format!("timeout waiting for: [{}]", list(others)));
    }
    Judgement::Waiting
}

fn list<'a>(known: impl Iterator<Item = &'a (Owned, Option<Status>)>) -> String {
    let texts = known.map(|(owned, status)| match status {
        None => format!("can't determine status for {}", owned.id),
        Some(status) if status.kind == Kind::Unknown && !status.message.is_empty() => {
            format!("{} status: '{}': {}", owned.id, status.kind, status.message)
        }
        Some(status) => format!("{} status: '{}'", owned.id, status.kind),
    });
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::ObjectId;

    #[track_caller]
    fn check(kinds: &[Option<Kind>], fail_fast: bool, expired: bool, expected: Judgement) {
        let known: Vec<_> = kinds
            .iter()
            .enumerate()
            .map(|(index, kind)| {
                let id = ObjectId {
                    group: "apps".into(),
                    kind: "Deployment".into(),
                    namespace: "n".into(),
                    name: index.to_string(),
                };
                let status = kind.map(|kind| Status {
                    kind,
                    message: String::new(),
                });
                (
                    Owned {
                        id,
                        version: "v1".into(),
                    },
                    status,
                )
            })
            .collect();
        assert_eq!(judge(&known, fail_fast, expired), expected);
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
        check(&[PROGRESS, FAILED], true, false, Judgement::Failed(text.into()));
        check(&[PROGRESS, FAILED], false, false, Judgement::Waiting);
        check(&[CURRENT, FAILED], false, false, Judgement::Failed(text.into()));
    }

    #[test]
    fn time_runs_out_for_everything_that_is_not_current() {
        let text =
            "timeout waiting for: [Deployment/n/1 status: 'InProgress', can't determine status for Deployment/n/2]";
        check(&[CURRENT, PROGRESS, None], true, true, Judgement::Failed(text.into()));
    }
}
