//! Objects in the form in which they are applied.
//!
//! Flux converts every object of a built-in kind to its Go struct and back before it applies it ([`schema`]), which
//! hides typing errors of users and spells values as the API server does; without it server-side apply would refuse
//! manifests that Flux accepts (a field not declared in the schema) and see drift where there is none. Kinds the
//! table does not know, and objects that do not fit their struct, are left as they are, apart from the fields below.
//! Pure: values in, values out.
//!
//! Beyond the round trip: `stringData` of Secrets moves into `data`; ports of containers (not of init containers) and
//! of Services get `protocol: TCP`; `metadata.creationTimestamp` is null; `status` goes, except in
//! CustomResourceDefinitions; there a `caBundle` that is no certificate goes, which the API server would refuse. Roles
//! and ClusterRoles are not touched at all: the round trip would write `rules: null`.

mod quantity;
pub mod schema;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

/// Kinds with a pod template, and where its spec is.
const POD_SPECS: [(&str, &str, &str); 7] = [
    ("v1", "Pod", "/spec"),
    ("apps/v1", "Deployment", "/spec/template/spec"),
    ("apps/v1", "StatefulSet", "/spec/template/spec"),
    ("apps/v1", "DaemonSet", "/spec/template/spec"),
    ("apps/v1", "ReplicaSet", "/spec/template/spec"),
    ("batch/v1", "Job", "/spec/template/spec"),
    ("batch/v1", "CronJob", "/spec/jobTemplate/spec/template/spec"),
];

/// Brings an object into the form in which it is applied.
pub fn normalize(object: &mut Value) {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version == "rbac.authorization.k8s.io/v1" && matches!(kind.as_str(), "Role" | "ClusterRole") {
        return;
    }
    if let Some(Ok(converted)) = schema::round_trip(object, &api_version, &kind, schema::Reading::Converter) {
        *object = converted;
        default_protocols(object, &api_version, &kind);
        if api_version == "v1" && kind == "Secret" {
            merge_string_data(object);
        }
    }
    let definition =
        kind.eq_ignore_ascii_case("CustomResourceDefinition") && api_version.starts_with("apiextensions.k8s.io/");
    if let Some(fields) = object.as_object_mut() {
        let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("creationTimestamp".to_owned(), Value::Null);
        }
        if !definition {
            fields.remove("status");
        }
    }
    if definition {
        remove_broken_ca_bundle(object);
    }
}

fn default_protocols(object: &mut Value, api_version: &str, kind: &str) {
    if (api_version, kind) == ("v1", "Service") {
        set_protocols(object.pointer_mut("/spec/ports"));
    }
    let pod_spec = POD_SPECS
        .iter()
        .find(|(version, name, _)| (*version, *name) == (api_version, kind));
    let containers = pod_spec.and_then(|(_, _, path)| object.pointer_mut(path)?.get_mut("containers")?.as_array_mut());
    for container in containers.into_iter().flatten() {
        set_protocols(container.get_mut("ports"));
    }
}

fn set_protocols(ports: Option<&mut Value>) {
    for port in ports.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            port.entry("protocol").or_insert_with(|| "TCP".into());
        }
    }
}

fn merge_string_data(secret: &mut Value) {
    let Some(secret) = secret.as_object_mut() else { return };
    let Some(Value::Object(plain)) = secret.remove("stringData") else {
        return;
    };
    let data = secret.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if let Some(data) = data.as_object_mut() {
        for (key, value) in plain {
            data.insert(key, STANDARD.encode(value.as_str().unwrap_or_default()).into());
        }
    }
}

fn remove_broken_ca_bundle(definition: &mut Value) {
    let Some(config) = definition
        .pointer_mut("/spec/conversion/webhook/clientConfig")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let broken = config.get("caBundle").and_then(Value::as_str).is_some_and(|text| {
        let decoded = STANDARD.decode(text.replace(['\r', '\n'], ""));
        !text.is_empty() && !decoded.is_ok_and(|bytes| bytes.is_empty() || has_certificate(&bytes))
    });
    if broken {
        config.remove("caBundle");
    }
}

/// Whether a PEM text holds at least one block that can be a certificate.
fn has_certificate(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.split("-----BEGIN CERTIFICATE-----").skip(1).any(|block| {
        let body = block.split("-----END CERTIFICATE-----").next().unwrap_or_default();
        let compact: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        // A DER certificate is a sequence.
        STANDARD.decode(compact).is_ok_and(|der| der.first() == Some(&0x30))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(mut object: Value, expected: Value) {
        normalize(&mut object);
        assert_eq!(object, expected);
    }

    #[test]
    fn fields_nobody_knows_vanish_and_required_ones_appear() {
        check(
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "a", "labels": {}, "typo": 1},
                "spec": {
                    "replicas": 0, "paused": false, "minReadySeconds": 0, "typo": true,
                    "selector": {"matchLabels": {"app": "a"}},
                    "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{
                        "name": "c", "image": "i", "command": [], "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}],
                        "resources": {"requests": {"cpu": 0.5, "memory": "1024Mi"}},
                    }], "initContainers": [{"name": "i", "ports": [{"containerPort": 80}]}]}},
                },
                "status": {"replicas": 1},
            }),
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "a", "creationTimestamp": null},
                "spec": {
                    "replicas": 0,
                    "selector": {"matchLabels": {"app": "a"}},
                    "strategy": {},
                    "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{
                        "name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}],
                        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
                    }], "initContainers": [{"name": "i", "ports": [{"containerPort": 80}], "resources": {}}]}},
                },
            }),
        );
    }

    #[test]
    fn services_get_protocols_and_the_zero_of_their_target_port() {
        check(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}, {"port": 81, "targetPort": "http", "protocol": ""}]}}),
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "creationTimestamp": null},
                "spec": {"ports": [
                    {"port": 80, "protocol": "TCP", "targetPort": 0},
                    {"port": 81, "protocol": "TCP", "targetPort": "http"},
                ]},
            }),
        );
    }

    #[test]
    fn string_data_of_secrets_moves_into_data() {
        check(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "YQ==", "b": "Yg=="}, "stringData": {"b": "new", "c": "é"}, "sops": {}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "creationTimestamp": null}, "data": {"a": "YQ==", "b": "bmV3", "c": "w6k="}}),
        );
    }

    #[test]
    fn an_object_that_does_not_fit_its_kind_stays_as_it_is() {
        check(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": 1}, "typo": 1, "status": {}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "creationTimestamp": null}, "data": {"a": 1}, "typo": 1}),
        );
        check(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c"}, "data": {"a": "%"}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c", "creationTimestamp": null}, "data": {"a": "%"}}),
        );
    }

    #[test]
    fn kinds_of_others_lose_their_status_only() {
        check(
            json!({"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"a": null}, "status": {"b": 1}}),
            json!({"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "t", "creationTimestamp": null}, "spec": {"a": null}}),
        );
    }

    #[test]
    fn roles_are_not_touched() {
        for kind in ["Role", "ClusterRole"] {
            let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "r"}, "typo": 1});
            check(role.clone(), role);
        }
        check(
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r"}, "typo": 1}),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r", "creationTimestamp": null},
                "roleRef": {"apiGroup": "", "kind": "", "name": ""},
            }),
        );
    }

    #[test]
    fn definitions_keep_their_status_and_lose_a_broken_ca_bundle() {
        let definition = |bundle: Option<&str>| {
            let mut config = json!({"service": {"name": "s"}});
            if let Some(bundle) = bundle {
                config["caBundle"] = bundle.into();
            }
            json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "d", "creationTimestamp": null},
                "spec": {"conversion": {"webhook": {"clientConfig": config}}}, "status": {"conditions": []},
            })
        };
        let pem = STANDARD.encode("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
        check(definition(Some(&pem)), definition(Some(&pem)));
        check(definition(Some("")), definition(Some("")));
        check(definition(Some("%%")), definition(None));
        check(definition(Some("aGVsbG8=")), definition(None));
    }

    #[test]
    fn numbers_are_cut_to_their_width() {
        let with = |replicas: Value| json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "r", "creationTimestamp": null}, "spec": {"replicas": replicas}});
        check(with(json!(4_294_967_297_i64)), with(json!(1)));
        check(with(json!(2.5)), with(json!(2.5)));
    }
}
