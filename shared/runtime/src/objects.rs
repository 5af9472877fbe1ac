//! The objects of a kind as a watch knows them, to read from.
//!
//! An object that cannot be decoded is treated as absent; the controller of its kind tells about it.

use crate::controller::Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use std::borrow::Cow;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// An object as it is kept: shared, so that neither the store nor a reader copies it.
#[derive(Clone, Debug)]
pub(crate) enum Entry<K> {
    /// It was decoded.
    Decoded(Arc<K>),
    /// It was not; its metadata is known all the same.
    Invalid(Arc<InvalidObject>),
}

/// The reference to a kept object; equal for objects of the same name, whatever their uid.
pub(crate) type EntryRef<K> = ObjectRef<Entry<K>>;

impl<K: Resource> From<DeserializeGuard<K>> for Entry<K> {
    /// Who manages which field takes more room than most objects, and nobody asks a kept object for it.
    fn from(object: DeserializeGuard<K>) -> Self {
        match object.0 {
            Ok(mut object) => {
                object.meta_mut().managed_fields = None;
                Entry::Decoded(Arc::new(object))
            }
            Err(mut invalid) => {
                invalid.metadata.managed_fields = None;
                Entry::Invalid(Arc::new(invalid))
            }
        }
    }
}

impl<K: Resource> Entry<K> {
    /// The object, if it was decoded.
    pub(crate) fn decoded(&self) -> Option<&Arc<K>> {
        match self {
            Entry::Decoded(object) => Some(object),
            Entry::Invalid(_) => None,
        }
    }

    /// An event of a watch about what is kept.
    pub(crate) fn event(event: watcher::Event<DeserializeGuard<K>>) -> watcher::Event<Self> {
        match event {
            watcher::Event::Apply(object) => watcher::Event::Apply(object.into()),
            watcher::Event::Delete(object) => watcher::Event::Delete(object.into()),
            watcher::Event::InitApply(object) => watcher::Event::InitApply(object.into()),
            watcher::Event::Init => watcher::Event::Init,
            watcher::Event::InitDone => watcher::Event::InitDone,
        }
    }
}

impl<K: Resource + Clone> Resource for Entry<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &K::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &K::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &K::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &K::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Entry::Decoded(object) => object.meta(),
            Entry::Invalid(invalid) => &invalid.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Entry::Decoded(object) => Arc::make_mut(object).meta_mut(),
            Entry::Invalid(invalid) => &mut Arc::make_mut(invalid).metadata,
        }
    }
}

/// The objects of a kind as the watch knows them.
#[derive(Clone, Debug)]
pub struct Objects<K: Object> {
    store: Store<Entry<K>>,
    listed: Listed,
}

impl<K: Object> Objects<K> {
    pub(crate) fn new(store: Store<Entry<K>>, listed: Listed) -> Self {
        Objects { store, listed }
    }

    /// The object of that name, not a copy; nothing when it is absent or cannot be decoded.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let object = self.store.get(&ObjectRef::new(name).within(namespace))?;
        object.decoded().map(Arc::clone)
    }

    /// The references and values of all objects that the filter takes.
    pub fn select<T>(&self, filter: impl Fn(&K) -> Option<T>) -> Vec<T> {
        self.store
            .state()
            .iter()
            .filter_map(|object| object.decoded().and_then(|object| filter(object)))
            .collect()
    }

    /// Waits until the first list is complete.
    pub async fn ready(&self) {
        self.listed.wait().await;
    }
}

/// Whether the first list of a watch is complete.
///
/// The library's own way of waiting wakes only the one that asked last, and there are several here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed(CancellationToken);

impl Listed {
    /// Takes note of an event that the store knows already.
    pub(crate) fn notice<T>(&self, event: &watcher::Event<T>) {
        if matches!(event, watcher::Event::InitDone) {
            self.0.cancel();
        }
    }

    /// Waits for the end of the first list.
    pub(crate) async fn wait(&self) {
        self.0.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::source::GitRepository;
    use serde_json::{Value, json};

    /// Keeps an object that came with managed fields and an annotation.
    #[track_caller]
    fn check(spec: Value, decodable: bool) {
        let object = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {
                "name": "a",
                "annotations": { "k": "v" },
                "managedFields": [{ "manager": "m", "operation": "Apply", "fieldsV1": { "f:spec": {} } }],
            },
            "spec": spec,
        });
        let guard: DeserializeGuard<GitRepository> = serde_json::from_value(object).unwrap();
        let watcher::Event::Apply(entry) = Entry::event(watcher::Event::Apply(guard)) else {
            panic!("another event");
        };
        assert_eq!(entry.decoded().is_some(), decodable);
        assert_eq!(entry.meta().managed_fields, None);
        assert!(entry.meta().annotations.is_some());
    }

    #[test]
    fn kept_objects_do_not_say_who_manages_their_fields() {
        check(json!({ "url": "https://host/r", "interval": "1m" }), true);
        check(json!({ "url": 1 }), false);
    }
}
