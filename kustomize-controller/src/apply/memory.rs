//! What is remembered of a Kustomization's objects while they are applied: what needs no request, and what was learnt.

use super::change::{Answer, Entry};
use super::mark::is_kept;
use super::{Action, Options};
use crate::drift::resource_version;
use crate::fingerprint::Fingerprint;
use crate::health;
use crate::holdings::{Fact, Holdings, Standing, Told, Trust};
use crate::inventory::ObjectId;
use crate::prune::Owner;
use crate::watch::Watches;
use api::meta::key;
use serde_json::Value;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The memory of one owner. The default remembers nothing for anybody.
#[derive(Clone, Default)]
pub struct Memory {
    /// What everybody holds.
    pub holdings: Arc<Holdings>,
    /// Whose objects are applied.
    pub owner: Arc<Owner>,
    /// How far what is remembered can be relied on.
    pub trust: Trust,
    /// What watches have seen.
    pub watches: Option<Watches>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Memory { owner, trust, .. } = self;
        write!(formatter, "Memory({owner:?}, {trust:?})")
    }
}

impl Memory {
    /// What is known of an object before it is looked at.
    pub(super) fn standing(&self, id: &ObjectId, manifest: u64) -> Standing {
        self.holdings.standing(&self.owner, id, manifest, self.trust)
    }

    /// Remembers what an answer of the API server tells of an object.
    pub(super) fn record(&self, id: &ObjectId, fact: Fact) {
        let seen = || self.watches.as_ref().and_then(|watches| watches.seen(id));
        self.holdings.record(&self.owner, id, fact, seen);
    }

    /// An object was deleted on purpose.
    pub(super) fn release(&self, id: &ObjectId) {
        self.holdings.release(&self.owner, [id]);
    }
}

/// A digest of a manifest; equal manifests have equal ones within a process.
pub(super) fn digest(manifest: &Value) -> u64 {
    struct Sink(DefaultHasher);
    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut sink = Sink(DefaultHasher::new());
    // Neither a hasher nor a manifest that was parsed can fail.
    let written = serde_json::to_writer(&mut sink, manifest).is_ok();
    written.hash(&mut sink.0);
    sink.0.finish()
}

/// What an answer tells of an object.
pub(super) fn fact(answer: &Value, manifest: u64, action: Action, options: &Options) -> Fact {
    Fact {
        manifest,
        version: version(answer),
        fingerprint: Fingerprint::of(&answer["metadata"], &options.override_managers),
        skipped: action == Action::Skipped,
        told: match answer["metadata"]["labels"].get(key::OWNER_NAME) {
            Some(_) => Told::ByWatch,
            None => Told::Nowhere,
        },
        healthy: health::status(answer).kind == health::Kind::Current,
        vanishes: health::vanishes(answer),
        // Labels that the manifest sets may name another owner.
        kept: is_kept(answer) || !options.memory.owner.owns(answer),
    }
}

/// The entry of an object with what the answer says of its health.
pub(super) fn answered(mut entry: Entry, answer: &Value) -> Entry {
    entry.answer = Some(Answer {
        version: version(answer),
        status: health::status(answer),
    });
    entry
}

fn version(object: &Value) -> u64 {
    resource_version(object).parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_digest_tells_manifests_apart() {
        let object = |value: &str| json!({ "kind": "ConfigMap", "data": { "k": value } });
        assert_eq!(digest(&object("a")), digest(&object("a")));
        assert_ne!(digest(&object("a")), digest(&object("b")));
    }

    #[test]
    fn only_what_carries_the_owner_label_is_told_of() {
        let object =
            |labels: Value| json!({ "kind": "ConfigMap", "metadata": { "labels": labels, "resourceVersion": "7" } });
        let told = |labels: Value| fact(&object(labels), 1, Action::Unchanged, &Options::default()).told;
        assert_eq!(told(json!({ key::OWNER_NAME: "app" })), Told::ByWatch);
        assert_eq!(told(json!({})), Told::Nowhere);
        assert_eq!(
            fact(&object(json!({})), 1, Action::Skipped, &Options::default()).version,
            7
        );
    }

    #[test]
    fn what_names_another_owner_is_kept() {
        let kept = |name: &str| {
            let labels = json!({ key::OWNER_NAME: name, key::OWNER_NAMESPACE: "apps" });
            let object = json!({ "kind": "ConfigMap", "metadata": { "labels": labels } });
            let owner = Owner {
                namespace: "apps".into(),
                name: "web".into(),
            };
            let memory = Memory {
                owner: Arc::new(owner),
                ..Memory::default()
            };
            let options = Options {
                memory,
                ..Options::default()
            };
            fact(&object, 1, Action::Created, &options).kept
        };
        assert!(!kept("web") && kept("other"));
    }
}
