//! Random objects of many kinds, with references to one another in the fields that hold names.

use serde_json::{Map, Value, json};

use crate::dice::{Dice, IMAGES, NAMESPACES};
use crate::style::plain;

/// The kinds there are, the frequent ones more than once.
const KINDS: &[&str] = &[
    "Deployment",
    "Deployment",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "Job",
    "CronJob",
    "Pod",
    "PodTemplate",
    "ReplicationController",
    "Service",
    "Service",
    "ConfigMap",
    "ConfigMap",
    "ConfigMap",
    "Secret",
    "Secret",
    "ServiceAccount",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "Ingress",
    "OldIngress",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "StorageClass",
    "PriorityClass",
    "IngressClass",
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
    "APIService",
    "CustomResourceDefinition",
    "Namespace",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "Thing",
    "Thing",
    "Thing",
    "KnativeService",
    "Node",
    "Zoo",
    "Gorilla",
];

/// A random object. Its name is one of a few, so that references meet.
pub fn object(dice: &mut Dice) -> Value {
    let kind = dice.pick(KINDS);
    object_of(dice, kind)
}

/// A random object of a kind of the list above.
pub fn object_of(dice: &mut Dice, kind: &str) -> Value {
    let (version, body) = match kind {
        "Deployment" => ("apps/v1", json!({"spec": workload(dice, true)})),
        "ReplicaSet" => ("apps/v1", json!({"spec": workload(dice, true)})),
        "DaemonSet" => ("apps/v1", json!({"spec": workload(dice, false)})),
        "StatefulSet" => ("apps/v1", json!({"spec": stateful(dice)})),
        "Job" => ("batch/v1", json!({"spec": {"template": template(dice)}})),
        "CronJob" => (
            if dice.chance(80) { "batch/v1" } else { "batch/v1beta1" },
            json!({"spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": template(dice)}}}}),
        ),
        "Pod" => ("v1", json!({"spec": pod(dice)})),
        "PodTemplate" => ("v1", json!({"template": template(dice)})),
        "ReplicationController" => (
            "v1",
            json!({"spec": {"replicas": 1, "selector": labels(dice), "template": template(dice)}}),
        ),
        "Service" => ("v1", json!({"spec": service(dice)})),
        "ConfigMap" => ("v1", config_map(dice)),
        "Secret" => ("v1", secret(dice)),
        "ServiceAccount" => (
            "v1",
            json!({"secrets": [{"name": dice.name()}], "imagePullSecrets": [{"name": dice.name()}]}),
        ),
        "Role" | "ClusterRole" => ("rbac.authorization.k8s.io/v1", json!({"rules": rules(dice)})),
        "RoleBinding" | "ClusterRoleBinding" => (
            "rbac.authorization.k8s.io/v1",
            binding(dice, kind == "ClusterRoleBinding"),
        ),
        "Ingress" => ("networking.k8s.io/v1", json!({"spec": ingress(dice)})),
        "OldIngress" => ("extensions/v1beta1", json!({"spec": old_ingress(dice)})),
        "NetworkPolicy" => ("networking.k8s.io/v1", json!({"spec": policy(dice)})),
        "PodDisruptionBudget" => (
            "policy/v1",
            json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": labels(dice)}}}),
        ),
        "HorizontalPodAutoscaler" => ("autoscaling/v2", autoscaler(dice)),
        "PersistentVolume" => ("v1", volume(dice)),
        "PersistentVolumeClaim" => ("v1", json!({"spec": claim(dice)})),
        "StorageClass" => (
            "storage.k8s.io/v1",
            json!({"provisioner": "example.com/p", "parameters": {"secretName": dice.name(), "adminSecretName": dice.name(), "type": dice.text()}}),
        ),
        "PriorityClass" => (
            "scheduling.k8s.io/v1",
            json!({"value": 1000, "description": dice.text()}),
        ),
        "IngressClass" => ("networking.k8s.io/v1", json!({"spec": {"controller": "example.com/c"}})),
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
            ("admissionregistration.k8s.io/v1", webhooks(dice))
        }
        "APIService" => (
            "apiregistration.k8s.io/v1",
            json!({"spec": {"service": {"name": dice.name(), "namespace": dice.pick(NAMESPACES)}, "group": "g", "version": "v1"}}),
        ),
        "CustomResourceDefinition" => ("apiextensions.k8s.io/v1", definition(dice)),
        "ValidatingAdmissionPolicy" => (
            "admissionregistration.k8s.io/v1",
            json!({"spec": {"failurePolicy": "Fail", "validations": [{"expression": dice.text()}]}}),
        ),
        "ValidatingAdmissionPolicyBinding" => (
            "admissionregistration.k8s.io/v1",
            json!({"spec": {"policyName": dice.name(), "validationActions": ["Deny"]}}),
        ),
        "KnativeService" => (
            "serving.knative.dev/v1",
            json!({"spec": {"template": {"spec": {"containers": [container(dice, "main")]}}}}),
        ),
        "Node" => (
            "v1",
            json!({"spec": {"configSource": {"configMap": {"name": dice.name()}}}}),
        ),
        "Namespace" => ("v1", json!({})),
        "Zoo" => ("example.com/v1", zoo(dice)),
        "Gorilla" => ("example.com/v1", json!({"spec": {"diet": dice.text()}})),
        _ => ("example.com/v1", json!({"spec": anything(dice, 0)})),
    };
    let kind = match kind {
        "OldIngress" => "Ingress",
        "KnativeService" => "Service",
        kind => kind,
    };
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": metadata(dice, kind)});
    if let (Value::Object(object), Value::Object(body)) = (&mut object, body) {
        object.extend(body);
    }
    object
}

/// Kinds that live in no namespace.
const CLUSTER: &[&str] = &[
    "ClusterRole",
    "ClusterRoleBinding",
    "PersistentVolume",
    "StorageClass",
    "PriorityClass",
    "IngressClass",
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
    "APIService",
    "CustomResourceDefinition",
    "Namespace",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "Node",
];

fn metadata(dice: &mut Dice, kind: &str) -> Value {
    let name = match kind {
        "CustomResourceDefinition" => dice.pick(&["things.example.com", "zoos.example.com"]).to_owned(),
        "Namespace" => dice.pick(NAMESPACES).to_owned(),
        _ => dice.name(),
    };
    let mut metadata = Map::from_iter([("name".to_owned(), Value::String(name))]);
    if !CLUSTER.contains(&kind) && dice.chance(25) {
        metadata.insert("namespace".into(), dice.pick(NAMESPACES).into());
    }
    if dice.chance(35) {
        metadata.insert("labels".into(), labels(dice));
    }
    if dice.chance(25) {
        let mut annotations = texts(dice);
        if kind == "Ingress" && dice.chance(50) {
            annotations["nginx.ingress.kubernetes.io/auth-secret"] = dice.name().into();
            annotations["nginx.ingress.kubernetes.io/fastcgi-params-configmap"] = dice.name().into();
        }
        if dice.chance(6) {
            annotations["config.kubernetes.io/local-config"] = dice.pick(&["true", "false"]).into();
        }
        if dice.chance(8) {
            annotations["kustomize.config.k8s.io/needs-hash"] = dice.pick(&["enabled", "disabled"]).into();
        }
        if dice.chance(6) {
            let behavior = dice.pick(&["merge", "replace", "create"]);
            annotations["kustomize.config.k8s.io/behavior"] = behavior.into();
        }
        metadata.insert("annotations".into(), annotations);
    }
    if dice.chance(3) {
        metadata.insert("creationTimestamp".into(), Value::Null);
    }
    Value::Object(metadata)
}

/// Labels, all of them strings that a label may be.
pub fn labels(dice: &mut Dice) -> Value {
    let count = dice.between(1, 2);
    (0..count).map(|_| (dice.key(), Value::String(dice.label()))).collect()
}

/// Any texts behind keys.
pub fn texts(dice: &mut Dice) -> Value {
    let count = dice.between(1, 3);
    (0..count).map(|_| (dice.key(), Value::String(dice.text()))).collect()
}

fn scalar(dice: &mut Dice) -> Value {
    match dice.below(8) {
        0 => json!(dice.below(100_000)),
        1 => json!(dice.chance(50)),
        2 => Value::Null,
        3 => dice.plain(),
        _ => Value::String(dice.text()),
    }
}

/// Any value.
pub fn anything(dice: &mut Dice, depth: usize) -> Value {
    if depth > 2 {
        return scalar(dice);
    }
    match dice.below(if depth == 0 { 4 } else { 8 }) {
        0..=2 => {
            let count = dice.between(usize::from(depth == 0), 4);
            let mut entries = Map::new();
            for _ in 0..count {
                let key = dice.pick(&[
                    "items",
                    "list",
                    "map",
                    "name",
                    "value",
                    "a.b/c",
                    "x",
                    "yes",
                    "with space",
                    "1",
                    "labels",
                    "image",
                    "ünï",
                    "a:b",
                    "<<",
                    "gorillaRef",
                ]);
                entries.insert(key.to_owned(), anything(dice, depth + 1));
            }
            Value::Object(entries)
        }
        3 if depth == 0 => json!({"items": named(dice), "list": [scalar(dice), scalar(dice)], "map": texts(dice)}),
        3 | 4 => {
            let count = dice.below(4);
            (0..count).map(|_| anything(dice, depth + 1)).collect()
        }
        5 => named(dice),
        _ => scalar(dice),
    }
}

/// A list of mappings with names.
fn named(dice: &mut Dice) -> Value {
    let count = dice.between(1, 3);
    (0..count)
        .map(|at| json!({"name": (["one", "two", "three"][at]), "id": format!("i{at}"), "value": scalar(dice)}))
        .collect()
}

fn workload(dice: &mut Dice, counted: bool) -> Value {
    let mut spec = json!({"selector": {"matchLabels": labels(dice)}, "template": template(dice)});
    if counted && dice.chance(60) {
        spec["replicas"] = json!(dice.below(5));
    }
    if dice.chance(15) {
        spec["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}});
    }
    if dice.chance(8) {
        spec["selector"]["matchExpressions"] = json!([{"key": "app", "operator": "In", "values": ["a", "b"]}]);
    }
    spec
}

fn stateful(dice: &mut Dice) -> Value {
    let mut spec = workload(dice, true);
    spec["serviceName"] = dice.name().into();
    if dice.chance(60) {
        let mut template = json!({"metadata": {"name": "data"}, "spec": claim(dice)});
        if dice.chance(40) {
            template["metadata"]["labels"] = labels(dice);
        }
        spec["volumeClaimTemplates"] = json!([template]);
    }
    spec
}

fn template(dice: &mut Dice) -> Value {
    let mut template = json!({"spec": pod(dice)});
    if dice.chance(60) {
        template["metadata"] = json!({"labels": labels(dice)});
        if dice.chance(30) {
            template["metadata"]["annotations"] = texts(dice);
        }
    }
    template
}

fn pod(dice: &mut Dice) -> Value {
    let mut pod = json!({"containers": [container(dice, "main")]});
    if dice.chance(35) {
        let sidecar = container(dice, "sidecar");
        if let Value::Array(containers) = &mut pod["containers"] {
            containers.push(sidecar);
        }
    }
    if dice.chance(25) {
        pod["initContainers"] = json!([container(dice, "init")]);
    }
    if dice.chance(50) {
        let count = dice.between(1, 3);
        pod["volumes"] = (0..count).map(|at| pod_volume(dice, at)).collect();
    }
    if dice.chance(30) {
        pod["serviceAccountName"] = dice.name().into();
    }
    if dice.chance(20) {
        pod["imagePullSecrets"] = json!([{"name": dice.name()}]);
    }
    if dice.chance(12) {
        pod["priorityClassName"] = dice.name().into();
    }
    if dice.chance(12) {
        pod["tolerations"] =
            json!([{"key": "a", "operator": "Exists"}, {"key": "b", "value": dice.label(), "effect": "NoSchedule"}]);
    }
    if dice.chance(12) {
        pod["nodeSelector"] = labels(dice);
    }
    if dice.chance(15) {
        let term = json!({"labelSelector": {"matchLabels": labels(dice)}, "topologyKey": "kubernetes.io/hostname"});
        let affinity = dice.pick(&["podAffinity", "podAntiAffinity"]);
        pod["affinity"] = json!({affinity: {
            "requiredDuringSchedulingIgnoredDuringExecution": [term.clone()],
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]}});
    }
    if dice.chance(10) {
        pod["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": labels(dice)}}]);
    }
    if dice.chance(8) {
        pod["hostAliases"] = json!([{"ip": "127.0.0.1", "hostnames": ["a.example.com", "b.example.com"]}]);
    }
    if dice.chance(10) {
        pod["securityContext"] = json!({"runAsUser": 1000, "sysctls": [{"name": "a", "value": dice.text()}]});
    }
    pod
}

fn container(dice: &mut Dice, name: &str) -> Value {
    let mut container = json!({"name": name, "image": dice.pick(IMAGES)});
    if dice.chance(45) {
        let count = dice.between(1, 3);
        container["env"] = (0..count).map(|at| variable(dice, at)).collect();
    }
    if dice.chance(25) {
        container["envFrom"] = json!([{"configMapRef": {"name": dice.name()}}, {"secretRef": {"name": dice.name(), "optional": true}, "prefix": "P_"}]);
    }
    if dice.chance(35) {
        container["ports"] = json!([{"containerPort": 80, "name": "http"}, {"containerPort": 443, "protocol": "TCP"}]);
    }
    if dice.chance(25) {
        container["args"] = json!([dice.text(), "--x=$(VAR)", dice.text()]);
    }
    if dice.chance(15) {
        container["command"] = json!(["sh", "-c", dice.text()]);
    }
    if dice.chance(25) {
        container["volumeMounts"] =
            json!([{"name": "v0", "mountPath": "/data"}, {"name": "v1", "mountPath": "/etc/$(VAR)", "readOnly": true}]);
    }
    if dice.chance(20) {
        container["resources"] = json!({"limits": {"cpu": plain(dice.pick(&["1", "500m", "0.5"])), "memory": "64Mi"}, "requests": {"cpu": "1"}});
    }
    if dice.chance(10) {
        container["livenessProbe"] = json!({"httpGet": {"path": "/", "port": "http"}, "initialDelaySeconds": 5});
    }
    container
}

fn variable(dice: &mut Dice, at: usize) -> Value {
    let name = ["A", "B", "LONG_NAME"][at];
    match dice.below(6) {
        0 => json!({"name": name, "valueFrom": {"configMapKeyRef": {"name": dice.name(), "key": dice.key()}}}),
        1 => json!({"name": name, "valueFrom": {"secretKeyRef": {"name": dice.name(), "key": dice.key()}}}),
        2 => json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        3 => json!({"name": name}),
        _ => json!({"name": name, "value": dice.text()}),
    }
}

fn pod_volume(dice: &mut Dice, at: usize) -> Value {
    let name = format!("v{at}");
    match dice.below(8) {
        0 => json!({"name": name, "configMap": {"name": dice.name(), "items": [{"key": "a", "path": "b"}]}}),
        1 => json!({"name": name, "configMap": {"name": dice.name()}}),
        2 => json!({"name": name, "secret": {"secretName": dice.name()}}),
        3 => json!({"name": name, "persistentVolumeClaim": {"claimName": dice.name()}}),
        4 => {
            json!({"name": name, "projected": {"sources": [{"configMap": {"name": dice.name()}}, {"secret": {"name": dice.name()}}, {"serviceAccountToken": {"path": "t"}}]}})
        }
        5 => json!({"name": name, "nfs": {"server": dice.text(), "path": "/"}}),
        6 => json!({"name": name, "image": {"reference": dice.pick(IMAGES)}}),
        _ => json!({"name": name, "emptyDir": {}}),
    }
}

fn service(dice: &mut Dice) -> Value {
    let mut spec = json!({"ports": [{"port": 80, "targetPort": "http"}]});
    if dice.chance(70) {
        spec["selector"] = labels(dice);
    }
    if dice.chance(30) {
        spec["ports"] = json!([{"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "UDP"}, {"name": "c", "port": 443, "targetPort": 8443}]);
    }
    if dice.chance(20) {
        spec["type"] = dice.pick(&["ClusterIP", "NodePort", "ExternalName"]).into();
        spec["externalName"] = dice.text().into();
    }
    spec
}

fn config_map(dice: &mut Dice) -> Value {
    let mut body = json!({"data": texts(dice)});
    if dice.chance(10) {
        body["data"][dice.key()] = dice.plain();
    }
    if dice.chance(10) {
        body["binaryData"] = json!({"bin": "AAEC"});
    }
    if dice.chance(10) {
        body["immutable"] = json!(true);
    }
    if dice.chance(5) {
        return json!({});
    }
    body
}

fn secret(dice: &mut Dice) -> Value {
    let mut body = json!({"type": "Opaque", "data": {"password": "cGFzcw==", "key": "YWJj"}});
    if dice.chance(40) {
        body["stringData"] = texts(dice);
    }
    body
}

fn rules(dice: &mut Dice) -> Value {
    json!([
        {"apiGroups": [""], "resources": ["configmaps", "secrets"], "resourceNames": [dice.name(), dice.name()], "verbs": ["get"]},
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    ])
}

fn binding(dice: &mut Dice, cluster: bool) -> Value {
    let role = if cluster || dice.chance(40) {
        "ClusterRole"
    } else {
        "Role"
    };
    let mut subjects = vec![json!({"kind": "ServiceAccount", "name": dice.name(), "namespace": dice.pick(NAMESPACES)})];
    if dice.chance(40) {
        subjects.push(json!({"kind": "ServiceAccount", "name": "default", "namespace": "default"}));
    }
    if dice.chance(30) {
        subjects.push(json!({"kind": "ServiceAccount", "name": dice.name()}));
    }
    if dice.chance(30) {
        subjects.push(json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": dice.name()}));
    }
    json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": dice.name()}, "subjects": subjects})
}

fn ingress(dice: &mut Dice) -> Value {
    let mut spec = json!({
        "rules": [{"host": dice.pick(&["a.example.com", "*.example.com", "$(web.NAME).example.com"]), "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": dice.name(), "port": {"number": 80}}}}]}}]});
    if dice.chance(50) {
        spec["tls"] = json!([{"hosts": ["a.example.com"], "secretName": dice.name()}]);
    }
    if dice.chance(40) {
        spec["ingressClassName"] = dice.name().into();
    }
    if dice.chance(30) {
        spec["defaultBackend"] = json!({"service": {"name": dice.name(), "port": {"name": "http"}}});
    }
    spec
}

fn old_ingress(dice: &mut Dice) -> Value {
    json!({"backend": {"serviceName": dice.name(), "servicePort": 80},
        "rules": [{"http": {"paths": [{"backend": {"serviceName": dice.name(), "servicePort": "http"}}]}}]})
}

fn policy(dice: &mut Dice) -> Value {
    json!({"podSelector": {"matchLabels": labels(dice)},
        "ingress": [{"from": [{"podSelector": {"matchLabels": labels(dice)}}, {"namespaceSelector": {"matchLabels": labels(dice)}}]}],
        "egress": [{"to": [{"podSelector": {}}]}]})
}

fn autoscaler(dice: &mut Dice) -> Value {
    let kind = dice.pick(&["Deployment", "StatefulSet", "ReplicaSet"]);
    json!({"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": dice.name()}, "minReplicas": 1, "maxReplicas": 5}})
}

fn volume(dice: &mut Dice) -> Value {
    json!({"spec": {"capacity": {"storage": "1Gi"}, "storageClassName": dice.name(), "azureFile": {"secretName": dice.name()}, "nfs": {"server": dice.text()},
        "claimRef": {"kind": "PersistentVolumeClaim", "name": dice.name(), "namespace": dice.pick(NAMESPACES)}}})
}

fn claim(dice: &mut Dice) -> Value {
    json!({"accessModes": ["ReadWriteOnce"], "storageClassName": dice.name(), "volumeName": dice.name(), "resources": {"requests": {"storage": "1Gi"}}})
}

fn webhooks(dice: &mut Dice) -> Value {
    json!({"webhooks": [
        {"name": "a.example.com", "clientConfig": {"service": {"name": dice.name(), "namespace": dice.pick(NAMESPACES), "path": "/x"}}, "admissionReviewVersions": ["v1"]},
        {"name": "b.example.com", "clientConfig": {"url": "https://example.com/"}},
    ]})
}

fn definition(dice: &mut Dice) -> Value {
    let mut spec = json!({"group": "example.com", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "description": dice.text()}}}]});
    if dice.chance(50) {
        spec["conversion"] = json!({"strategy": "Webhook", "webhook": {"clientConfig": {"service": {"name": dice.name(), "namespace": dice.pick(NAMESPACES)}}}});
    }
    json!({"spec": spec})
}

fn zoo(dice: &mut Dice) -> Value {
    json!({"spec": {
        "gorillaRef": {"name": dice.name(), "namespace": dice.pick(NAMESPACES)},
        "keeper": {"name": dice.name()},
        "keepers": [dice.name(), dice.name()],
        "image": dice.pick(IMAGES),
        "replicas": 2,
        "note": dice.text(),
        "labels": labels(dice),
        "containers": [{"name": "cage", "image": dice.pick(IMAGES), "value": "$(VAR)"}],
    }})
}
