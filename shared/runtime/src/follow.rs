//! A watch that only keeps up with objects: a store to read from, and a call for every change.
//!
//! For the kinds that a controller reads but does not reconcile. An object that cannot be decoded is treated as
//! absent here; the controller of its kind tells about it.

use crate::controller::Object;
use crate::objects::{Entry, EntryRef, Listed, Objects};
use crate::watching;
use futures::{StreamExt, TryStreamExt};
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What happened to a followed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there, new or changed, or was listed again.
    Present,
    /// It was deleted; the object is its last state.
    Deleted,
    /// It is gone, and nobody saw how; the object is the last state that was seen, which need not be its last one. Told
    /// of what vanished while the watch was interrupted, of an object whose name another one has taken, and of one that
    /// could not be decoded any more when it was deleted.
    Gone,
}

/// Follows a kind until the shutdown token is cancelled, and calls for every object that appears, changes or goes.
///
/// The call comes after the store knows: for what a list names, that is at its end.
pub fn follow<K: Object>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    shutdown: CancellationToken,
    mut changed: impl FnMut(Change, &K) + Send + 'static,
) -> Objects<K> {
    let (store, writer) = reflector::store();
    let events = watching::watch(api, config)
        .map_ok(Entry::event)
        .reflect(writer)
        .take_until(shutdown.cancelled_owned());
    let listed = Listed::default();
    let done = listed.clone();
    let mut known = Known::<K>::default();
    tokio::spawn(events.for_each(move |event| {
        match event {
            Ok(event) => {
                done.notice(&event);
                for (change, object) in known.take(event) {
                    changed(change, &object);
                }
            }
            Err(error) => tracing::warn!(%error, kind = %K::kind(&()), "watch failed, will try again"),
        }
        std::future::ready(())
    }));
    Objects::new(store, listed)
}

/// Follows the objects of a kind that carry labels (an empty selector takes all), in a namespace or in all, and calls
/// with namespace and name for every one that appears, changes in any way, or goes.
///
/// Metadata alone is watched: what is in a Secret does not come over the wire, and is not kept.
pub fn follow_labelled<K: Object>(
    client: Client,
    namespace: Option<&str>,
    labels: &str,
    shutdown: CancellationToken,
    mut changed: impl FnMut(&str, &str) + Send + 'static,
) {
    let api: Api<DeserializeGuard<PartialObjectMeta<K>>> = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let config = watcher::Config::default().labels(labels);
    let mut seen = HashMap::new();
    follow(api, config, shutdown, move |change, object: &PartialObjectMeta<K>| {
        let name = (object.namespace().unwrap_or_default(), object.name_any());
        let is_news = match change {
            Change::Deleted | Change::Gone => seen.remove(&name).is_some(),
            Change::Present => {
                let now = object.resource_version();
                seen.insert(name.clone(), now.clone()) != Some(now)
            }
        };
        if is_news {
            changed(&name.0, &name.1);
        }
    });
}

/// The last known state of every object; shared with the store.
struct Known<K: Object> {
    objects: HashMap<EntryRef<K>, Arc<K>>,
    /// What the list that is under way has named so far. One that breaks off leaves nothing.
    listed: Vec<Entry<K>>,
}

impl<K: Object> Default for Known<K> {
    fn default() -> Self {
        Known {
            objects: HashMap::new(),
            listed: Vec::new(),
        }
    }
}

impl<K: Object> Known<K> {
    /// What an event means, in order.
    fn take(&mut self, event: watcher::Event<Entry<K>>) -> Vec<(Change, Arc<K>)> {
        match event {
            watcher::Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            watcher::Event::InitApply(object) => {
                self.listed.push(object);
                Vec::new()
            }
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let mut changes: Vec<_> = listed.iter().flat_map(|object| self.present(object)).collect();
                let listed: HashSet<_> = listed.iter().map(ObjectRef::from).collect();
                let gone = self.objects.extract_if(|reference, _| !listed.contains(reference));
                changes.extend(gone.map(|(_, object)| (Change::Gone, object)));
                changes
            }
            watcher::Event::Apply(object) => self.present(&object),
            watcher::Event::Delete(object) => {
                let known = self.objects.remove(&ObjectRef::from(&object));
                let last = object.decoded().map(|last| (Change::Deleted, Arc::clone(last)));
                last.or(known.map(|known| (Change::Gone, known))).into_iter().collect()
            }
        }
    }

    fn present(&mut self, object: &Entry<K>) -> Vec<(Change, Arc<K>)> {
        let mut changes = Vec::new();
        let reference = ObjectRef::from(object);
        let other = |known: &Arc<K>| known.uid() != object.uid();
        if self.objects.get(&reference).is_some_and(other)
            && let Some(known) = self.objects.remove(&reference)
        {
            changes.push((Change::Gone, known));
        }
        if let Some(object) = object.decoded() {
            self.objects.insert(reference, Arc::clone(object));
            changes.push((Change::Present, Arc::clone(object)));
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::source::GitRepository;
    use http::{Request, Response};
    use kube::Resource;
    use kube::client::Body;
    use kube::core::error_boundary::InvalidObject;
    use kube::runtime::watcher::Event;
    use serde_json::json;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    fn object(name: &str, uid: &str) -> Entry<GitRepository> {
        let mut object = GitRepository::new(name, Default::default());
        object.metadata.namespace = Some("apps".into());
        object.metadata.uid = Some(uid.into());
        Entry::Decoded(Arc::new(object))
    }

    fn invalid(name: &str, uid: &str) -> Entry<GitRepository> {
        Entry::Invalid(Arc::new(InvalidObject {
            error: "no".into(),
            metadata: object(name, uid).meta().clone(),
        }))
    }

    #[track_caller]
    fn check(events: Vec<Event<Entry<GitRepository>>>, expected: &[(Change, &str)]) {
        let mut known = Known::default();
        let told: Vec<_> = events
            .into_iter()
            .flat_map(|event| known.take(event))
            .map(|(change, object)| (change, object.uid().unwrap_or_default()))
            .collect();
        let told: Vec<_> = told.iter().map(|(change, uid)| (*change, uid.as_str())).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn what_a_later_list_lacks_is_gone() {
        check(
            vec![
                Event::Init,
                Event::InitApply(object("a", "1")),
                Event::InitApply(object("b", "2")),
                Event::InitDone,
                Event::Init,
                Event::InitApply(object("b", "2")),
                Event::InitDone,
            ],
            &[
                (Change::Present, "1"),
                (Change::Present, "2"),
                (Change::Present, "2"),
                (Change::Gone, "1"),
            ],
        );
    }

    #[test]
    fn what_a_list_names_is_told_at_its_end() {
        let begun = vec![Event::Init, Event::InitApply(object("a", "1"))];
        check(begun.clone(), &[]);
        let ended = begun.into_iter().chain([Event::InitDone]);
        check(ended.collect(), &[(Change::Present, "1")]);
    }

    /// An API server whose objects get a new generation with every list, and whose watches end in 410, the second one
    /// never.
    fn forgetful() -> Client {
        let lists = Arc::new(AtomicI64::new(0));
        let server = tower::service_fn(move |request: Request<Body>| {
            let lists = Arc::clone(&lists);
            async move {
                let answer = match request.uri().query() {
                    Some(query) if query.contains("watch=true") => {
                        if lists.load(Ordering::SeqCst) > 1 {
                            return std::future::pending().await;
                        }
                        let status =
                            json!({ "status": "Failure", "message": "too old", "reason": "Expired", "code": 410 });
                        json!({ "type": "ERROR", "object": status })
                    }
                    _ => {
                        let generation = lists.fetch_add(1, Ordering::SeqCst) + 1;
                        let item = |name: &str| {
                            json!({
                                "apiVersion": "source.toolkit.fluxcd.io/v1",
                                "kind": "GitRepository",
                                "metadata": { "name": name, "namespace": "apps", "uid": name, "generation": generation },
                                "spec": { "url": "https://host/r", "interval": "1m" },
                            })
                        };
                        let metadata = json!({ "resourceVersion": generation.to_string() });
                        json!({ "kind": "GitRepositoryList", "metadata": metadata, "items": [item("a"), item("b")] })
                    }
                };
                Ok::<_, tower::BoxError>(Response::new(Body::from(format!("{answer}\n").into_bytes())))
            }
        });
        Client::new(server, "default")
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_told_finds_it_in_the_store() {
        let store = Arc::new(OnceLock::<Objects<GitRepository>>::new());
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let reader = Arc::clone(&store);
        let changed = move |_, object: &GitRepository| {
            let stored = reader.get().and_then(|store| store.get("apps", &object.name_any()));
            let generation = |object: &GitRepository| object.metadata.generation;
            let _ = told.send((generation(object), stored.as_deref().and_then(generation)));
        };
        let shutdown = CancellationToken::new();
        let objects = follow(Api::all(forgetful()), watcher::Config::default(), shutdown, changed);
        assert!(store.set(objects).is_ok());
        for generation in [1, 1, 2, 2].map(Some) {
            assert_eq!(heard.recv().await, Some((generation, generation)));
        }
    }

    #[test]
    fn a_list_that_breaks_off_and_starts_again_counts_once() {
        let broken = || {
            [
                Event::Init,
                Event::InitApply(object("a", "1")),
                Event::InitApply(object("b", "2")),
            ]
        };
        let again = [Event::Init, Event::InitApply(object("b", "2")), Event::InitDone];
        check(
            broken().into_iter().chain(broken()).chain(again).collect(),
            &[(Change::Present, "2")],
        );
    }

    #[test]
    fn an_object_that_was_made_anew_is_gone_before_it_is_present() {
        check(
            vec![Event::Apply(object("a", "1")), Event::Apply(object("a", "2"))],
            &[(Change::Present, "1"), (Change::Gone, "1"), (Change::Present, "2")],
        );
    }

    #[test]
    fn a_deletion_that_was_seen_brings_the_last_state() {
        check(
            vec![
                Event::Apply(object("a", "1")),
                Event::Delete(object("a", "1")),
                Event::Delete(object("b", "2")),
                Event::Init,
                Event::InitDone,
            ],
            &[(Change::Present, "1"), (Change::Deleted, "1"), (Change::Deleted, "2")],
        );
    }

    #[test]
    fn an_object_that_became_undecodable_is_gone_only_when_it_is_deleted() {
        check(
            vec![
                Event::Apply(object("a", "1")),
                Event::Apply(invalid("a", "1")),
                Event::Delete(invalid("a", "1")),
                Event::Delete(invalid("b", "2")),
            ],
            &[(Change::Present, "1"), (Change::Gone, "1")],
        );
    }
}
