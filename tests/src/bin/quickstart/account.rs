//! The running account: one line for each thing that happens, read from the status of the objects and from what the
//! receiver got. It looks and prints; it decides nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use ::tests::receiver::Receiver;
use api::event::Event;
use api::kustomize::{ChangeEntry, Kustomization};
use api::meta::{Condition, condition, reason};
use api::source::GitRepository;
use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::say;

/// What the account is told about: a word, and the rest of the line.
pub type Line = (&'static str, String);

/// Prints lines with the time since the start.
#[derive(Clone, Debug)]
pub struct Account {
    start: Instant,
    /// How many messages have been told about.
    told: watch::Sender<usize>,
}

impl Account {
    /// Starts the clock.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            told: watch::Sender::new(0),
        }
    }

    /// Prints a line.
    pub fn line(&self, word: &str, text: &str) {
        say(&format!(
            "{:7.1}s  {word:<9} {text}",
            self.start.elapsed().as_secs_f64()
        ));
    }

    /// Tells what happens to the objects and what the receiver gets, without end.
    pub async fn follow(
        self,
        sources: Api<GitRepository>,
        kustomizations: Api<Kustomization>,
        receiver: Arc<Receiver>,
    ) {
        tokio::join!(
            self.watch(sources, source_lines),
            self.watch(kustomizations, kustomization_lines),
            self.messages(&receiver),
        );
    }

    async fn watch<K>(&self, api: Api<K>, lines: impl Fn(&K, &K) -> Vec<Line>)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Default + DeserializeOwned + Send + 'static,
    {
        let mut known: BTreeMap<String, K> = BTreeMap::new();
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(new) | watcher::Event::InitApply(new)) => {
                    let old = known.insert(new.name_any(), new.clone()).unwrap_or_default();
                    for (word, text) in lines(&old, &new) {
                        self.line(word, &text);
                    }
                }
                Ok(watcher::Event::Delete(old)) => {
                    known.remove(&old.name_any());
                    self.line("gone", &format!("{} {}", K::kind(&()), old.name_any()));
                }
                // The watch goes on by itself; what was missed is told when it is back.
                Ok(watcher::Event::Init | watcher::Event::InitDone) | Err(_) => {}
            }
        }
    }

    /// Waits until every message that has come by now is told about.
    pub async fn caught_up(&self, receiver: &Receiver) {
        let count = receiver.received().len();
        let mut told = self.told.subscribe();
        // This one is a sender, so that there always is one.
        let _ = told.wait_for(|told| *told >= count).await;
    }

    async fn messages(&self, receiver: &Receiver) {
        let mut come = receiver.subscribe();
        loop {
            let told = *self.told.borrow();
            let received = come.borrow_and_update().clone();
            for request in &received[told..] {
                let event = serde_json::from_slice(&request.body);
                self.line(
                    "message",
                    &event.map_or_else(|_| "something that is no event".to_owned(), |event| message(&event)),
                );
            }
            self.told.send_replace(received.len());
            if come.changed().await.is_err() {
                return;
            }
        }
    }
}

fn source_lines(old: &GitRepository, new: &GitRepository) -> Vec<Line> {
    let name = new.name_any();
    let mut lines = suspension(&name, old.spec.suspend, new.spec.suspend);
    let (before, after) = (old.status.as_ref(), new.status.as_ref());
    let stored = |status: Option<&api::source::GitRepositoryStatus>| status.and_then(|status| status.artifact.clone());
    if let Some(artifact) = stored(after)
        && stored(before).is_none_or(|before| before.digest != artifact.digest || before.revision != artifact.revision)
    {
        let size = artifact.size.map_or_else(String::new, |size| format!(", {size} bytes"));
        lines.push((
            "artifact",
            format!("{name}: stored {} ({}{size})", artifact.revision, artifact.digest),
        ));
    }
    let conditions = |status: Option<&api::source::GitRepositoryStatus>| {
        status.map(|status| status.conditions.clone()).unwrap_or_default()
    };
    lines.extend(failure(&name, &conditions(before), &conditions(after)));
    lines
}

fn kustomization_lines(old: &Kustomization, new: &Kustomization) -> Vec<Line> {
    let name = new.name_any();
    let mut lines = suspension(&name, old.spec.suspend, new.spec.suspend);
    let before = old.status.clone().unwrap_or_default();
    let after = new.status.clone().unwrap_or_default();
    for change in after.changes.iter().filter(|change| !change.pending) {
        if before
            .changes
            .iter()
            .all(|known| known.pending || known.seq != change.seq)
        {
            lines.extend(changes(&name, &change.entries));
        }
    }
    if let Some(revision) = &after.last_applied_revision
        && before.last_applied_revision.as_ref() != Some(revision)
    {
        lines.push(("applied", format!("{name}: {revision}")));
    }
    let health = |conditions: &[Condition]| {
        find(conditions, condition::HEALTHY).filter(|healthy| healthy.status == condition::TRUE)
    };
    if let Some(healthy) = health(&after.conditions)
        && health(&before.conditions).is_none_or(|known| known.message != healthy.message)
    {
        lines.push(("healthy", format!("{name}: {}", healthy.message)));
    }
    lines.extend(failure(&name, &before.conditions, &after.conditions));
    lines
}

fn suspension(name: &str, before: bool, after: bool) -> Vec<Line> {
    match (before, after) {
        (false, true) => vec![("suspended", name.to_owned())],
        (true, false) => vec![("resumed", name.to_owned())],
        _ => Vec::new(),
    }
}

/// One line for each kind of change.
fn changes(name: &str, entries: &[ChangeEntry]) -> Vec<Line> {
    let objects = |action: &str| -> Vec<&str> {
        entries
            .iter()
            .filter(|entry| entry.action == action)
            .map(|entry| entry.object.as_str())
            .collect()
    };
    [
        ("created", "created"),
        ("configured", "changed"),
        ("deleted", "deleted"),
    ]
    .into_iter()
    .map(|(action, word)| (word, objects(action)))
    .filter(|(_, objects)| !objects.is_empty())
    .map(|(word, objects)| (word, short(&format!("{name}: {}", objects.join(", ")))))
    .collect()
}

/// What is in the way, when it is something new.
fn failure(name: &str, before: &[Condition], after: &[Condition]) -> Option<Line> {
    let failed =
        |conditions: &[Condition]| find(conditions, condition::READY).filter(|ready| ready.status == condition::FALSE);
    let ready = failed(after)?;
    if failed(before).is_some_and(|known| known.reason == ready.reason && known.message == ready.message) {
        return None;
    }
    // At first there is nothing to apply, and that is no failure.
    let waits = ready.reason == reason::DEPENDENCY_NOT_READY
        || ready.reason == reason::ARTIFACT_FAILED
            && (ready.message.starts_with("Source artifact not found") || ready.message.ends_with(" not found"));
    let word = if waits { "waiting" } else { "failed" };
    Some((word, short(&format!("{name}: {}: {}", ready.reason, ready.message))))
}

fn find(conditions: &[Condition], kind: &str) -> Option<Condition> {
    conditions.iter().find(|condition| condition.type_ == kind).cloned()
}

fn message(event: &Event) -> String {
    let object = &event.involved_object;
    short(&format!(
        "{} about {} {}: {}",
        event.severity, object.kind, object.name, event.message
    ))
}

/// At most so many characters are shown of a line.
const WIDTH: usize = 320;

/// A text as one line of bearable length.
fn short(text: &str) -> String {
    let line = text
        .split('\n')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("; ");
    if line.chars().count() <= WIDTH {
        return line;
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn kustomization(suspend: bool, status: Value) -> Kustomization {
        serde_json::from_value(json!({
            "metadata": { "name": "apps" },
            "spec": { "interval": "1m", "prune": true, "suspend": suspend, "sourceRef": { "kind": "GitRepository", "name": "x" } },
            "status": status,
        }))
        .unwrap()
    }

    fn check(old: &Kustomization, new: &Kustomization, expected: &[Line]) {
        assert_eq!(kustomization_lines(old, new), expected);
    }

    fn ready(status: &str, reason: &str, message: &str) -> Value {
        json!([{ "type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z" }])
    }

    fn change(seq: i64, pending: bool) -> Value {
        json!({ "seq": seq, "time": "2026-01-01T00:00:00Z", "revision": "r", "action": "apply", "pending": pending, "entries": [
            { "object": "Namespace/web", "action": "created" }, { "object": "Service/web/web", "action": "configured" },
            { "object": "ConfigMap/web/a", "action": "skipped" }, { "object": "ConfigMap/web/b", "action": "created" },
        ]})
    }

    #[test]
    fn a_change_is_told_once_and_not_before_it_is_done() {
        let (nothing, pending) = (
            kustomization(false, json!({})),
            kustomization(false, json!({ "changes": [change(1, true)] })),
        );
        let done = kustomization(false, json!({ "changes": [change(1, false)] }));
        let lines = [
            ("created", "apps: Namespace/web, ConfigMap/web/b".to_owned()),
            ("changed", "apps: Service/web/web".to_owned()),
        ];
        check(&nothing, &pending, &[]);
        check(&pending, &done, &lines);
        check(&done, &done, &[]);
        check(&nothing, &done, &lines);
    }

    #[test]
    fn a_failure_is_told_when_it_is_new_and_a_missing_dependency_is_none() {
        let well = kustomization(
            false,
            json!({ "conditions": ready("True", "ReconciliationSucceeded", "") }),
        );
        let broken = kustomization(false, json!({ "conditions": ready("False", "BuildFailed", "a\n b") }));
        let waiting = kustomization(
            false,
            json!({ "conditions": ready("False", "DependencyNotReady", "not yet") }),
        );
        check(&well, &broken, &[("failed", "apps: BuildFailed: a; b".to_owned())]);
        check(&broken, &broken, &[]);
        check(
            &well,
            &waiting,
            &[("waiting", "apps: DependencyNotReady: not yet".to_owned())],
        );
        check(&broken, &well, &[]);
    }

    #[test]
    fn suspending_and_applying_are_told() {
        let old = kustomization(false, json!({}));
        let new = kustomization(true, json!({ "lastAppliedRevision": "main@sha1:1" }));
        check(
            &old,
            &new,
            &[
                ("suspended", "apps".to_owned()),
                ("applied", "apps: main@sha1:1".to_owned()),
            ],
        );
        check(&new, &old, &[("resumed", "apps".to_owned())]);
    }

    #[test]
    fn a_long_text_ends_in_an_ellipsis() {
        let text = short(&"é".repeat(WIDTH + 1));
        assert!(text.chars().count() == WIDTH && text.ends_with('…'));
        assert_eq!(short(&"é".repeat(WIDTH)), "é".repeat(WIDTH));
    }
}
