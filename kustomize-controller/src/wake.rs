//! What wakes Kustomizations besides their own changes: a source with a new artifact, a ConfigMap or Secret that they
//! take variables from.
//!
//! Health, dependencies and terminations wake them too; those are woken by the reconciler itself.

use api::kustomize::{Kustomization, SubstituteKind};
use api::source::GitRepository;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use runtime::controller::Trigger;
use runtime::follow::{Change, follow};
use runtime::objects::Objects;
use runtime::process::Process;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use crate::reconcile::Asked;
use crate::source::SourceRef;

/// Wakes Kustomizations by what they refer to.
#[derive(Clone)]
pub struct Wake {
    objects: Objects<Kustomization>,
    trigger: Trigger<Kustomization>,
    asked: Arc<Asked>,
}

impl Wake {
    /// Wakes those of the objects.
    pub fn new(objects: Objects<Kustomization>, trigger: Trigger<Kustomization>, asked: Arc<Asked>) -> Self {
        Wake {
            objects,
            trigger,
            asked,
        }
    }

    /// Follows GitRepositories: a new revision or digest wakes their Kustomizations.
    pub fn follow_sources(&self, process: &Process, only: Option<&str>) -> Objects<GitRepository> {
        let wake = self.clone();
        let mut seen = HashMap::new();
        let api = scoped(process, only);
        follow(
            api,
            watcher::Config::default(),
            process.shutdown.clone(),
            move |change, repository: &GitRepository| {
                let name = (repository.namespace().unwrap_or_default(), repository.name_any());
                if change == Change::Gone {
                    seen.remove(&name);
                    return;
                }
                let artifact = repository.status.as_ref().and_then(|status| status.artifact.as_ref());
                let now = artifact.map(|artifact| (artifact.revision.clone(), artifact.digest.clone()));
                let before = seen.insert(name.clone(), now.clone());
                if now.is_some() && before != Some(now) {
                    let source = SourceRef {
                        kind: "GitRepository",
                        namespace: name.0,
                        name: name.1,
                    };
                    // No news for those that have this artifact already: they rest.
                    for (namespace, name) in wake.matching(|object| SourceRef::of(object) == source) {
                        wake.trigger.wake(&namespace, &name);
                    }
                }
            },
        )
    }

    /// Follows the ConfigMaps and Secrets that carry the label: a change wakes the Kustomizations that use them.
    pub fn follow_variables(&self, process: &Process, only: Option<&str>, selector: &str) {
        self.follow_values::<ConfigMap>(process, only, selector, SubstituteKind::ConfigMap);
        self.follow_values::<Secret>(process, only, selector, SubstituteKind::Secret);
    }

    fn follow_values<K>(&self, process: &Process, only: Option<&str>, selector: &str, kind: SubstituteKind)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Send + Sync + 'static,
    {
        let wake = self.clone();
        let mut seen = HashMap::new();
        let config = watcher::Config::default().labels(selector);
        let api = scoped::<PartialObjectMeta<K>>(process, only);
        follow(
            api,
            config,
            process.shutdown.clone(),
            move |change, object: &PartialObjectMeta<K>| {
                let name = (object.namespace().unwrap_or_default(), object.name_any());
                let news = match change {
                    Change::Gone => seen.remove(&name).is_some(),
                    Change::Present => {
                        let now = object.resource_version();
                        seen.insert(name.clone(), now.clone()) != Some(now)
                    }
                };
                if news {
                    for (namespace, own) in wake.matching(|object| uses(object, kind, &name)) {
                        wake.asked.ask(&wake.trigger, &namespace, &own);
                    }
                }
            },
        );
    }

    fn matching(&self, matches: impl Fn(&Kustomization) -> bool) -> Vec<(String, String)> {
        let name = |object: &Kustomization| (object.namespace().unwrap_or_default(), object.name_any());
        self.objects.select(|object| matches(object).then(|| name(object)))
    }
}

fn scoped<K>(process: &Process, only: Option<&str>) -> Api<DeserializeGuard<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match only {
        Some(namespace) => Api::namespaced(process.client.clone(), namespace),
        None => Api::all(process.client.clone()),
    }
}

/// Whether a Kustomization takes variables from a ConfigMap or Secret.
fn uses(object: &Kustomization, kind: SubstituteKind, name: &(String, String)) -> bool {
    let Some(post_build) = &object.spec.post_build else {
        return false;
    };
    object.namespace().as_deref() == Some(name.0.as_str())
        && post_build
            .substitute_from
            .iter()
            .any(|reference| reference.kind == kind && reference.name == name.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kustomize::{KustomizationSpec, PostBuild, SubstituteReference};

    #[test]
    fn only_those_that_use_it_are_woken() {
        let reference = SubstituteReference {
            kind: SubstituteKind::ConfigMap,
            name: "vars".into(),
            optional: false,
        };
        let post_build = PostBuild {
            substitute_from: vec![reference],
            ..PostBuild::default()
        };
        let spec = KustomizationSpec {
            post_build: Some(post_build),
            ..KustomizationSpec::default()
        };
        let mut object = Kustomization::new("app", spec);
        object.metadata.namespace = Some("apps".into());
        let name = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        assert!(uses(&object, SubstituteKind::ConfigMap, &name("apps", "vars")));
        assert!(!uses(&object, SubstituteKind::Secret, &name("apps", "vars")));
        assert!(!uses(&object, SubstituteKind::ConfigMap, &name("other", "vars")));
        assert!(!uses(&object, SubstituteKind::ConfigMap, &name("apps", "others")));
    }
}
