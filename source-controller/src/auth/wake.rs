//! A Secret that changes wakes the GitRepositories that name it, if it is labelled for that.
//!
//! Flux reads the same label in its other controllers; here it looks at Secrets at intervals only.

use api::source::GitRepository;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use runtime::controller::Trigger;
use runtime::follow::follow_labelled;
use runtime::objects::Objects;
use runtime::process::Process;

/// Follows the Secrets that carry the labels, in a namespace or in all.
pub fn follow_secrets(
    process: &Process,
    namespace: Option<&str>,
    labels: &str,
    objects: Objects<GitRepository>,
    trigger: Trigger<GitRepository>,
) {
    let (client, shutdown) = (process.client.clone(), process.shutdown.clone());
    follow_labelled::<Secret>(client, namespace, labels, shutdown, move |namespace, secret| {
        let name = |object: &GitRepository| names(object, namespace, secret).then(|| object.name_any());
        for object in objects.select(name) {
            trigger.wake(namespace, &object);
        }
    });
}

/// Whether a GitRepository names a Secret.
fn names(object: &GitRepository, namespace: &str, secret: &str) -> bool {
    let spec = &object.spec;
    let verification = spec.verification.as_ref().map(|verification| &verification.secret_ref);
    let references = [spec.secret_ref.as_ref(), spec.proxy_secret_ref.as_ref(), verification];
    object.namespace().as_deref() == Some(namespace)
        && references
            .into_iter()
            .flatten()
            .any(|reference| reference.name == secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(fields: Value, expected: bool) {
        let mut object = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": { "name": "app", "namespace": "ns" },
            "spec": { "url": "https://host/r", "interval": "1m" },
        });
        let spec = object["spec"].as_object_mut().unwrap();
        spec.extend(fields.as_object().unwrap().clone());
        let object: GitRepository = serde_json::from_value(object).unwrap();
        assert_eq!(names(&object, "ns", "key"), expected, "{fields}");
        assert!(!names(&object, "other", "key"), "{fields}");
    }

    #[test]
    fn every_reference_to_a_secret_counts_in_its_own_namespace() {
        check(json!({}), false);
        check(json!({"secretRef": {"name": "other"}}), false);
        for fields in [
            json!({"secretRef": {"name": "key"}}),
            json!({"proxySecretRef": {"name": "key"}}),
            json!({"verify": {"secretRef": {"name": "key"}}}),
        ] {
            check(fields, true);
        }
    }
}
