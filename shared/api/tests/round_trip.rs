//! Every field is read and written under its own name: an object with all of them set survives unchanged, and an object
//! with none of the optional ones gains nothing.
#![cfg(test)]

use api::kustomize::Kustomization;
use api::notification::{Alert, Provider, Receiver};
use api::source::GitRepository;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// `full` sets every field the schema of the kind has, and reading and writing it changes nothing.
fn check<K: Serialize + DeserializeOwned>(full: Value) {
    let object: K = serde_json::from_value(full.clone()).unwrap();
    assert_eq!(serde_json::to_value(&object).unwrap(), full);
    let definitions = api::crd::definitions().unwrap();
    let definition = definitions
        .iter()
        .find(|crd| crd["spec"]["names"]["kind"] == full["kind"])
        .unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for part in ["spec", "status"] {
        if let Some(schema) = schema["properties"].get(part) {
            assert_covered(schema, &full[part], part);
        }
    }
}

/// Every property of the schema occurs in the value; for lists, in any element.
fn assert_covered(schema: &Value, value: &Value, path: &str) {
    if let Some(properties) = schema.get("properties") {
        for (name, inner) in properties.as_object().unwrap() {
            let path = format!("{path}.{name}");
            match value {
                Value::Array(elements) => {
                    let with: Vec<_> = elements.iter().filter_map(|element| element.get(name)).collect();
                    assert!(!with.is_empty(), "{path} is not covered");
                    assert_covered(inner, with[0], &path);
                }
                _ => {
                    assert!(value.get(name).is_some(), "{path} is not covered");
                    assert_covered(inner, &value[name], &path);
                }
            }
        }
    }
    if let Some(items) = schema.get("items") {
        assert!(
            value.as_array().is_some_and(|elements| !elements.is_empty()),
            "{path} is not covered"
        );
        assert_covered(items, value, path);
    }
}

fn conditions() -> Value {
    json!([{
        "type": "Ready",
        "status": "True",
        "reason": "Succeeded",
        "message": "all is well",
        "observedGeneration": 3,
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }])
}

fn selector() -> Value {
    json!({
        "group": "apps", "version": "v1", "kind": "Deployment", "namespace": "a", "name": "b",
        "annotationSelector": "x=y", "labelSelector": "z",
    })
}

#[test]
fn a_gitrepository_with_every_field_survives() {
    let artifact = json!({
        "path": "gitrepository/a/b/c.tar.gz", "url": "http://source/c.tar.gz", "revision": "main@sha1:c",
        "digest": "sha256:d", "lastUpdateTime": "2026-01-02T03:04:05Z", "size": 42, "metadata": { "k": "v" },
    });
    let include = json!([{ "repository": { "name": "other" }, "fromPath": "from", "toPath": "to" }]);
    check::<GitRepository>(json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": { "name": "a", "namespace": "b" },
        "spec": {
            "url": "https://example.com/a.git",
            "secretRef": { "name": "secret" },
            "provider": "azure",
            "serviceAccountName": "account",
            "interval": "10m0s",
            "timeout": "1m30s",
            "ref": { "branch": "b", "tag": "t", "semver": ">=1", "name": "refs/heads/b", "commit": "c" },
            "verify": { "mode": "TagAndHEAD", "secretRef": { "name": "keys" } },
            "proxySecretRef": { "name": "proxy" },
            "ignore": "*.md\n",
            "suspend": true,
            "recurseSubmodules": true,
            "include": include,
            "sparseCheckout": ["deploy"],
        },
        "status": {
            "observedGeneration": 3,
            "conditions": conditions(),
            "artifact": artifact,
            "includedArtifacts": [artifact],
            "observedIgnore": "",
            "observedRecurseSubmodules": true,
            "observedInclude": include,
            "observedSparseCheckout": ["deploy"],
            "sourceVerificationMode": "HEAD",
            "lastHandledReconcileAt": "now",
        },
    }));
}

#[test]
fn a_kustomization_with_every_field_survives() {
    check::<Kustomization>(json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": { "name": "a", "namespace": "b" },
        "spec": {
            "commonMetadata": { "annotations": { "a": "1" }, "labels": { "b": "2" } },
            "dependsOn": [{ "name": "first", "namespace": "c", "readyExpr": "true" }],
            "decryption": { "provider": "sops", "serviceAccountName": "account", "secretRef": { "name": "keys" } },
            "interval": "10m0s",
            "retryInterval": "1m0s",
            "kubeConfig": { "configMapRef": { "name": "cloud" }, "secretRef": { "name": "config", "key": "value" } },
            "path": "./deploy",
            "postBuild": {
                "substituteStrategy": "Always",
                "substitute": { "a": "b" },
                "substituteFrom": [{ "kind": "ConfigMap", "name": "vars", "optional": true }],
            },
            "prune": true,
            "deletionPolicy": "WaitForTermination",
            "healthChecks": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "namespace": "n" }],
            "namePrefix": "p-",
            "nameSuffix": "-s",
            "patches": [{ "patch": "- op: remove", "target": selector() }],
            "images": [{ "name": "i", "newName": "j", "newTag": "k", "digest": "sha256:l" }],
            "serviceAccountName": "account",
            "sourceRef": { "apiVersion": "v1", "kind": "OCIRepository", "name": "s", "namespace": "n" },
            "suspend": true,
            "targetNamespace": "t",
            "timeout": "5m0s",
            "force": true,
            "wait": true,
            "buildMetadata": ["originAnnotations", "transformerAnnotations"],
            "components": ["../c"],
            "ignoreMissingComponents": true,
            "healthCheckExprs": [{
                "apiVersion": "v1", "kind": "K", "current": "true", "inProgress": "false", "failed": "false",
            }],
            "ignore": [{ "paths": ["/spec/replicas"], "target": selector() }],
        },
        "status": {
            "lastHandledReconcileAt": "now",
            "observedGeneration": 3,
            "conditions": conditions(),
            "lastAppliedRevision": "main@sha1:a",
            "lastAppliedOriginRevision": "main@sha1:b",
            "lastAttemptedRevision": "main@sha1:c",
            "inventory": { "entries": [{ "id": "a_b__ConfigMap", "v": "v1" }] },
            "history": [{
                "digest": "sha256:a", "firstReconciled": "2026-01-02T03:04:05Z",
                "lastReconciled": "2026-01-02T03:04:06Z", "lastReconciledDuration": "1.5s",
                "lastReconciledStatus": "ReconciliationSucceeded", "totalReconciliations": 2,
                "metadata": { "revision": "main@sha1:a" },
            }],
            "changes": [{
                "seq": 7, "time": "2026-01-02T03:04:05Z", "revision": "main@sha1:a", "originRevision": "b",
                "action": "prune",
                "entries": [{
                    "object": "ConfigMap/a/b", "action": "configured",
                    "fields": [".data.key"], "manager": "kubectl-edit", "origin": "app/config.yaml:3",
                }],
                "pending": true, "truncated": 12,
            }],
        },
    }));
}

#[test]
fn a_provider_with_every_field_survives() {
    check::<Provider>(json!({
        "apiVersion": "notification.toolkit.fluxcd.io/v1beta3",
        "kind": "Provider",
        "metadata": { "name": "a", "namespace": "b" },
        "spec": {
            "type": "incident.io",
            "interval": "10m0s",
            "channel": "c",
            "username": "u",
            "address": "https://example.com",
            "timeout": "15s",
            "proxy": "http://proxy",
            "proxySecretRef": { "name": "proxy" },
            "secretRef": { "name": "secret" },
            "serviceAccountName": "account",
            "certSecretRef": { "name": "certs" },
            "suspend": true,
            "commitStatusExpr": "'id'",
        },
    }));
}

#[test]
fn an_alert_with_every_field_survives() {
    check::<Alert>(json!({
        "apiVersion": "notification.toolkit.fluxcd.io/v1beta3",
        "kind": "Alert",
        "metadata": { "name": "a", "namespace": "b" },
        "spec": {
            "providerRef": { "name": "p" },
            "eventSeverity": "error",
            "eventSources": [{
                "apiVersion": "v1", "kind": "OCIRepository", "name": "*", "namespace": "n", "matchLabels": { "a": "b" },
            }],
            "inclusionList": [".*"],
            "eventMetadata": { "cluster": "c" },
            "exclusionList": ["waiting"],
            "summary": "s",
            "suspend": true,
        },
    }));
}

#[test]
fn a_receiver_with_every_field_survives() {
    check::<Receiver>(json!({
        "apiVersion": "notification.toolkit.fluxcd.io/v1",
        "kind": "Receiver",
        "metadata": { "name": "a", "namespace": "b" },
        "spec": {
            "type": "generic-oidc",
            "interval": "10m0s",
            "events": ["push"],
            "resources": [{
                "apiVersion": "v1", "kind": "ArtifactGenerator", "name": "g", "namespace": "n",
                "matchLabels": { "a": "b" }, "filter": "true",
            }],
            "resourceFilter": "true",
            "secretRef": { "name": "token" },
            "oidcProviders": [{
                "issuerURL": "https://issuer", "audience": "us",
                "variables": [{ "name": "n", "expression": "claims.sub" }],
                "validations": [{ "expression": "true", "message": "never" }],
            }],
            "suspend": true,
        },
        "status": {
            "lastHandledReconcileAt": "now",
            "conditions": conditions(),
            "webhookPath": "/hook/abc",
            "observedGeneration": 3,
        },
    }));
}

#[test]
fn the_least_that_can_be_said_gains_nothing() {
    let least = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": { "name": "a" },
        "spec": { "interval": "1m0s", "prune": false, "sourceRef": { "kind": "Bucket", "name": "b" } },
        "status": {},
    });
    let object: Kustomization = serde_json::from_value(least.clone()).unwrap();
    assert_eq!(serde_json::to_value(object).unwrap(), least);
}

#[test]
fn the_status_of_a_new_object_is_the_default_of_the_schema() {
    let object: GitRepository = serde_json::from_value(json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": { "name": "a" },
        "spec": { "interval": "1m", "timeout": "60s", "url": "https://example.com" },
        "status": { "observedGeneration": -1 },
    }))
    .unwrap();
    assert_eq!(object.status.unwrap().observed_generation, Some(-1));
    assert_eq!(object.spec.timeout.unwrap().to_string(), "1m0s");
}

#[test]
fn a_duration_out_of_range_makes_one_object_undecodable_and_says_which_text() {
    let with = |interval: &str| {
        serde_json::from_value::<GitRepository>(json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": { "name": "a" },
            "spec": { "interval": interval, "url": "https://example.com" },
        }))
    };
    assert!(with("1h").is_ok());
    // The pattern of the schema lets this one through.
    let error = with("99999999h").unwrap_err().to_string();
    assert!(
        error.contains(r#"invalid duration "99999999h": longer than 292 years"#),
        "{error}"
    );
}

#[test]
fn members_that_later_versions_add_are_not_an_error() {
    let object: Alert = serde_json::from_value(json!({
        "apiVersion": "notification.toolkit.fluxcd.io/v1beta3",
        "kind": "Alert",
        "metadata": { "name": "a" },
        "spec": { "providerRef": { "name": "p" }, "eventSources": [], "new": true },
        "status": { "observedGeneration": 1 },
    }))
    .unwrap();
    assert_eq!(object.spec.provider_ref.name, "p");
}
