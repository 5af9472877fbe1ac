//! Which Alerts take an event, and what Alerts are told about themselves.

use super::{Engine, Labels, Message, Posted, foreign_key, later, named, provider_of, signed};
use crate::alert::{self, Choice, Fit};
use crate::cursor::{Pending, shard_of};
use crate::derive::Told;
use crate::metrics::Result as Counted;
use crate::resources;
use api::event::Event;
use api::meta::reason;
use jiff::Timestamp;
use kube::ResourceExt;
use runtime::events::{Notice, Severity};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The most texts remembered as told.
const REMEMBERED: usize = 1024;

impl Engine {
    /// Compiles the Alerts that are new or changed and forgets those that are gone.
    pub(super) fn refresh_choices(&mut self) {
        let there = self.parts.alerts.select(|alert| {
            Some((
                alert.uid()?,
                alert.metadata.generation,
                alert.namespace().unwrap_or_default(),
                alert.name_any(),
            ))
        });
        let mut choices = BTreeMap::new();
        for (uid, generation, namespace, name) in there {
            let known = self
                .choices
                .remove(&uid)
                .filter(|known| known.alert.metadata.generation == generation);
            let choice = match known {
                Some(known) => known,
                None => {
                    let Some(alert) = self.parts.alerts.get(&namespace, &name) else {
                        continue;
                    };
                    let choice = Arc::new(Choice::new(alert));
                    for text in &choice.invalid {
                        self.tell(&choice, reason::INVALID_CONFIG, text, Timestamp::now());
                    }
                    choice
                }
            };
            choices.insert(uid, choice);
        }
        for gone in self.choices.values() {
            self.parts
                .deliveries
                .forget(&gone.alert.namespace().unwrap_or_default(), &gone.alert.name_any());
        }
        self.choices = choices;
    }

    /// The uids of the Alerts that take an event.
    pub(super) fn choose(&mut self, event: &Event, labels: &Labels, now: Timestamp) -> BTreeSet<String> {
        self.refresh_choices();
        let known = match labels {
            Labels::Known(labels) => Some(labels),
            Labels::Unknown | Labels::Failed(_) => None,
        };
        let mut chosen = BTreeSet::new();
        for (uid, choice) in self.choices.clone() {
            match choice.fit(event, known) {
                Fit::No => continue,
                Fit::Yes => {}
                Fit::NeedsLabels => {
                    if let Labels::Failed(error) = labels {
                        let text = format!("failed to get the labels of {}: {error}", named(&event.involved_object));
                        self.tell(&choice, reason::SOURCE_FETCH_FAILED, &text, now);
                    }
                    continue;
                }
            }
            if self.parts.no_cross_namespace && choice.crosses(event) {
                let text = format!(
                    "failed to dispatch notification for {object}: alert '{}/{}' can't process event from '{object}', \
                     cross-namespace references have been blocked",
                    choice.alert.namespace().unwrap_or_default(),
                    choice.alert.name_any(),
                    object = named(&event.involved_object),
                );
                self.tell(&choice, reason::NOTIFICATION_DISPATCH_FAILED, &text, now);
                continue;
            }
            if self.takes(&choice, event, now) {
                chosen.insert(uid);
            }
        }
        chosen
    }

    /// Whether the Provider of an Alert is for such an event. One that is not there may come.
    fn takes(&mut self, choice: &Choice, event: &Event, now: Timestamp) -> bool {
        let namespace = choice.alert.namespace().unwrap_or_default();
        let Some(provider) = self
            .parts
            .providers
            .get(&namespace, &choice.alert.spec.provider_ref.name)
        else {
            return true;
        };
        let kind = provider.spec.provider_type;
        if provider.spec.suspend || !alert::wanted(alert::place(kind), event) {
            return false;
        }
        let Some(why) = crate::unsupported::provider(kind) else {
            return true;
        };
        let text = format!(
            "failed to dispatch notification for {}: {why}",
            named(&event.involved_object)
        );
        self.tell(choice, reason::NOTIFICATION_DISPATCH_FAILED, &text, now);
        self.parts
            .deliveries
            .count(&namespace, &choice.alert.name_any(), Counted::Unsupported);
        false
    }

    /// Somebody posted an event.
    pub(super) fn posted(&mut self, posted: Posted, now: Timestamp) {
        let Posted { event, labels, reply } = posted;
        if !self.tracking {
            let _ = reply.send(());
            return;
        }
        let needs = |choice: &Arc<Choice>| choice.fit(&event, None) == Fit::NeedsLabels;
        if matches!(labels, Labels::Unknown) && self.choices.values().any(needs) {
            let (client, mailbox) = (self.parts.client.clone(), self.mailbox.clone());
            tokio::spawn(async move {
                let labels = match resources::labels(&client, &event.involved_object).await {
                    Ok(labels) => Labels::Known(labels),
                    Err(error) => Labels::Failed(error.to_string()),
                };
                mailbox.send(Message::Posted(Box::new(Posted { event, labels, reply })));
            });
            return;
        }
        let alerts = self.choose(&event, &labels, now);
        if alerts.is_empty() {
            let _ = reply.send(());
            return;
        }
        let object = event.involved_object.clone();
        let key = foreign_key(&object);
        let bytes = serde_json::to_vec(&event).unwrap_or_default();
        let id = Sha256::digest(&bytes)
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let about = (object.kind.as_str(), object.namespace.as_str(), object.name.as_str());
        let dropped = self
            .outbox
            .push(&key, about, Told { id, fold: None, event }, alerts, now);
        self.overflowed(&dropped, now);
        let number = shard_of(&key);
        self.reply_when_written(number, reply);
        self.request_write(number, now);
    }

    /// Messages had to go because too many wait.
    pub(super) fn overflowed(&mut self, dropped: &[Pending], now: Timestamp) {
        for pending in dropped {
            for uid in &pending.alerts {
                let Some(choice) = self.choices.get(uid).cloned() else {
                    continue;
                };
                let object = named(&pending.event.involved_object);
                let text = format!(
                    "failed to send notification for {object}: too many messages wait for provider '{}', the oldest were dropped",
                    provider_of(&choice)
                );
                let (namespace, name) = (choice.alert.namespace().unwrap_or_default(), choice.alert.name_any());
                self.parts.deliveries.count(&namespace, &name, Counted::Overflowed);
                tracing::error!(
                    alert = name,
                    namespace,
                    object,
                    id = pending.id,
                    "message dropped: too many wait"
                );
                self.tell(&choice, reason::NOTIFICATION_DISPATCH_FAILED, &text, now);
            }
        }
    }

    /// Tells about an Alert by an Event, the same text not again within the pause of reminders.
    pub(super) fn tell(&mut self, choice: &Choice, why: &str, text: &str, now: Timestamp) {
        let key = (choice.alert.uid().unwrap_or_default(), format!("{why} {text}"));
        let window = signed(self.parts.remind);
        if self.told.get(&key).is_some_and(|at| now.duration_since(*at) < window) {
            return;
        }
        if self.told.len() >= REMEMBERED {
            self.told.clear();
        }
        self.told.insert(key, later(now, std::time::Duration::ZERO));
        tracing::error!(
            error = text,
            controllerKind = "Alert",
            name = choice.alert.name_any(),
            namespace = choice.alert.namespace().unwrap_or_default(),
            "{why}"
        );
        self.parts.recorder.tell(&*choice.alert, notice(why, text));
    }

    /// Tells that a message is lost for good: never left out.
    pub(super) fn tell_lost(&self, choice: &Choice, text: &str, event: &Event) {
        let (alert, namespace) = (choice.alert.name_any(), choice.alert.namespace().unwrap_or_default());
        tracing::error!(error = text, alert, namespace, lost = event.message, "message given up");
        self.parts
            .recorder
            .tell(&*choice.alert, notice(reason::NOTIFICATION_DISPATCH_FAILED, text));
    }
}

fn notice(why: &str, text: &str) -> Notice {
    Notice {
        severity: Severity::Error,
        reason: why.to_owned(),
        message: text.to_owned(),
        annotations: BTreeMap::new(),
    }
}
