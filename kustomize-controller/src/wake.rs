//! What wakes Kustomizations besides their own changes: a source with a new artifact, a ConfigMap or Secret that they
//! take variables from.
//!
//! Health, dependencies and terminations wake them too; those are woken by the reconciler itself.

use api::kustomize::{Kustomization, SubstituteKind};
use api::source::GitRepository;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use runtime::controller::{Object, Trigger};
use runtime::follow::{Change, follow, follow_labelled};
use runtime::objects::Objects;
use runtime::process::Process;
use std::collections::HashMap;
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
        let api: Api<DeserializeGuard<GitRepository>> = match only {
            Some(namespace) => Api::namespaced(process.client.clone(), namespace),
            None => Api::all(process.client.clone()),
        };
        follow(
            api,
            watcher::Config::default(),
            process.shutdown.clone(),
            move |change, repository: &GitRepository| {
                let name = (repository.namespace().unwrap_or_default(), repository.name_any());
                if change != Change::Present {
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

    fn follow_values<K: Object>(&self, process: &Process, only: Option<&str>, selector: &str, kind: SubstituteKind) {
        let wake = self.clone();
        let (client, shutdown) = (process.client.clone(), process.shutdown.clone());
        follow_labelled::<K>(client, only, selector, shutdown, move |namespace, name| {
            for (namespace, own) in wake.matching(|object| uses(object, kind, (namespace, name))) {
                wake.asked.ask(&wake.trigger, &namespace, &own);
            }
        });
    }

    fn matching(&self, matches: impl Fn(&Kustomization) -> bool) -> Vec<(String, String)> {
        let name = |object: &Kustomization| (object.namespace().unwrap_or_default(), object.name_any());
        self.objects.select(|object| matches(object).then(|| name(object)))
    }
}

/// Whether a Kustomization takes variables from a ConfigMap or Secret.
fn uses(object: &Kustomization, kind: SubstituteKind, (namespace, name): (&str, &str)) -> bool {
    let Some(post_build) = &object.spec.post_build else {
        return false;
    };
    object.namespace().as_deref() == Some(namespace)
        && post_build
            .substitute_from
            .iter()
            .any(|reference| reference.kind == kind && reference.name == name)
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
        assert!(uses(&object, SubstituteKind::ConfigMap, ("apps", "vars")));
        assert!(!uses(&object, SubstituteKind::Secret, ("apps", "vars")));
        assert!(!uses(&object, SubstituteKind::ConfigMap, ("other", "vars")));
        assert!(!uses(&object, SubstituteKind::ConfigMap, ("apps", "others")));
    }
}
