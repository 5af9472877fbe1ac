//! The lists of changed objects, from the ring in the status.

use super::{Cursor, Revisions, Snapshot};
use crate::derive::Draft;
use api::event::Severity;
use api::kustomize::{Change, ChangeKind};
use api::meta::{condition, reason};

/// The changes that were not told yet, up to one that is not confirmed.
pub(super) fn untold(cursor: &mut Cursor, snapshot: &Snapshot) -> Vec<Draft> {
    let newest = snapshot.changes.iter().map(|change| change.seq).max();
    // Numbers that went back: the status was lost and the count began anew.
    if newest.is_some_and(|newest| cursor.change.is_some_and(|told| newest < told)) {
        let changed_at = cursor.changed_at;
        let fresh = |change: &&Change| change.time.0.as_second() > changed_at;
        match snapshot.changes.iter().find(fresh) {
            Some(first) => cursor.change = Some(first.seq - 1),
            None => return Vec::new(),
        }
    }
    let mut drafts = Vec::new();
    for (position, change) in snapshot.changes.iter().enumerate() {
        if cursor.change.is_some_and(|told| change.seq <= told) {
            continue;
        }
        if change.pending {
            // One that was left behind by a later one is never going to be confirmed.
            if snapshot.changes[position..].iter().all(|change| change.pending) {
                break;
            }
            continue;
        }
        let missed = cursor.change.map_or(0, |told| change.seq - told - 1);
        cursor.change = Some(change.seq);
        cursor.changed_at = change.time.0.as_second();
        if change.action == ChangeKind::Apply {
            cursor.changed = Some(change.revision.clone());
        }
        drafts.extend(change_list(change, missed, snapshot));
    }
    drafts
}

fn change_list(change: &Change, missed: i64, snapshot: &Snapshot) -> Option<Draft> {
    let mut lines: Vec<_> = change
        .entries
        .iter()
        .flat_map(|entry| std::iter::once(format!("{} {}", entry.object, entry.action)).chain(entry.correction()))
        .collect();
    if let Some(more) = change.truncated.filter(|more| *more > 0) {
        lines.push(format!("and {more} more"));
    }
    if snapshot.presumed == Some(change.seq) {
        lines.push("(told from the last inventory that was seen)".to_owned());
    }
    if missed > 0 {
        lines.push(format!("({missed} earlier lists of changes are not recorded any more)"));
    }
    if lines.is_empty() {
        return None;
    }
    let reason = match change.action {
        ChangeKind::Apply | ChangeKind::Prune => reason::PROGRESSING,
        // Flux tells about deletion with the reason the object had before.
        ChangeKind::Delete => snapshot
            .standing
            .get(condition::READY)
            .map_or("info", |ready| ready.reason.as_str()),
    };
    let revisions = Revisions {
        revision: Some(change.revision.clone()).filter(|revision| !revision.is_empty()),
        origin: change.origin_revision.clone(),
    };
    Some(Draft {
        identity: vec![
            "change".into(),
            change.seq.to_string(),
            change.time.0.as_second().to_string(),
        ],
        fold: None,
        severity: Severity::Info,
        at: change.time.0,
        reason: reason.to_owned(),
        message: lines.join("\n"),
        metadata: revisions.metadata(),
    })
}
