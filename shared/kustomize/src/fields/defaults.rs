//! kustomize's own fields, as one table.
//!
//! A line is `LIST[+] TYPES PATHS`: `+` creates the field where it is missing. TYPES is a comma-separated list of `Kind`,
//! `Kind.group` or `Kind/version` (`*` for any type); a word in `<>` stands for a set of workloads, each with the path to its
//! pod specification put in place of the same word in the path. Lines that start with `@` open the references to a type.

use super::{Config, FieldSpec, References};
use crate::resource::Gvk;

/// Workloads by set: kind and the path to the pod specification.
const WORKLOADS: &[(&str, &[(&str, &str)])] = &[
    (
        "<data>",
        &[
            ("Pod/v1", "spec"),
            ("PodTemplate", "template/spec"),
            ("Deployment", "spec/template/spec"),
            ("ReplicaSet", "spec/template/spec"),
            ("DaemonSet", "spec/template/spec"),
            ("StatefulSet", "spec/template/spec"),
            ("Job", "spec/template/spec"),
            ("CronJob", "spec/jobTemplate/spec/template/spec"),
        ],
    ),
    (
        "<pods>",
        &[
            ("Pod", "spec"),
            ("StatefulSet", "spec/template/spec"),
            ("Deployment", "spec/template/spec"),
            ("ReplicationController", "spec/template/spec"),
            ("CronJob", "spec/jobTemplate/spec/template/spec"),
            ("Job", "spec/template/spec"),
            ("DaemonSet", "spec/template/spec"),
        ],
    ),
    (
        "<vars>",
        &[
            ("CronJob", "spec/jobTemplate/spec/template/spec"),
            ("DaemonSet", "spec/template/spec"),
            ("Deployment", "spec/template/spec"),
            ("Job", "spec/template/spec"),
            ("Pod", "spec"),
            ("ReplicaSet", "spec/template/spec"),
            ("StatefulSet", "spec/template/spec"),
        ],
    ),
    (
        "<spread>",
        &[
            ("Deployment.apps", "spec/template/spec"),
            ("StatefulSet.apps", "spec/template/spec"),
        ],
    ),
];

const TABLE: &str = "
namePrefix * metadata/name
nameSuffix * metadata/name

namespace+ Namespace metadata/name
namespace+ APIService.apiregistration.k8s.io spec/service/namespace
namespace CustomResourceDefinition.apiextensions.k8s.io spec/conversion/webhook/clientConfig/service/namespace

commonLabels+ Service/v1,ReplicationController/v1 spec/selector
commonLabels+ Deployment,ReplicaSet,DaemonSet,StatefulSet.apps spec/selector/matchLabels
commonLabels <spread> <spread>/affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels
commonLabels <spread> <spread>/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels
commonLabels <spread> <spread>/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels
commonLabels <spread> <spread>/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels
commonLabels <spread> <spread>/topologySpreadConstraints/labelSelector/matchLabels
commonLabels Job.batch spec/selector/matchLabels
commonLabels CronJob.batch spec/jobTemplate/spec/selector/matchLabels
commonLabels PodDisruptionBudget.policy spec/selector/matchLabels
commonLabels NetworkPolicy.networking.k8s.io spec/podSelector/matchLabels
commonLabels NetworkPolicy.networking.k8s.io spec/ingress/from/podSelector/matchLabels
commonLabels NetworkPolicy.networking.k8s.io spec/egress/to/podSelector/matchLabels

commonLabels,templateLabels+ * metadata/labels
commonLabels,templateLabels+ ReplicationController/v1,Deployment,ReplicaSet,DaemonSet,StatefulSet.apps,Job.batch spec/template/metadata/labels
commonLabels,templateLabels+ StatefulSet.apps spec/volumeClaimTemplates[]/metadata/labels
commonLabels,templateLabels+ CronJob.batch spec/jobTemplate/metadata/labels
commonLabels,templateLabels+ CronJob.batch spec/jobTemplate/spec/template/metadata/labels

commonAnnotations+ * metadata/annotations
commonAnnotations+ ReplicationController/v1,Deployment,ReplicaSet,DaemonSet,StatefulSet,Job.batch spec/template/metadata/annotations
commonAnnotations+ CronJob.batch spec/jobTemplate/metadata/annotations
commonAnnotations+ CronJob.batch spec/jobTemplate/spec/template/metadata/annotations

images+ * spec/containers[]/image
images+ * spec/initContainers[]/image
images+ * spec/volumes[]/image/reference
images+ * spec/template/spec/containers[]/image
images+ * spec/template/spec/initContainers[]/image
images+ * spec/template/spec/volumes[]/image/reference

replicas+ Deployment,ReplicationController,ReplicaSet,StatefulSet spec/replicas

varReference <vars> <vars>/containers/args
varReference <vars> <vars>/containers/command
varReference <vars> <vars>/containers/env/value
varReference <vars> <vars>/containers/volumeMounts/mountPath
varReference <vars> <vars>/initContainers/args
varReference <vars> <vars>/initContainers/command
varReference <vars> <vars>/initContainers/env/value
varReference <vars> <vars>/initContainers/volumeMounts/mountPath
varReference DaemonSet,Deployment,Job,ReplicaSet spec/template/spec/volumes/nfs/server
varReference CronJob spec/jobTemplate/spec/template/volumes/nfs/server
varReference Pod spec/volumes/nfs/server
varReference StatefulSet spec/volumeClaimTemplates/spec/nfs/server
varReference PersistentVolume spec/nfs/server
varReference Deployment spec/template/metadata/annotations
varReference Ingress spec/rules/host
varReference Ingress spec/tls/hosts
varReference Ingress spec/tls/secretName
varReference Service spec/ports/port
varReference Service spec/ports/targetPort
varReference * metadata/labels
varReference * metadata/annotations

@ Deployment,ReplicationController,ReplicaSet,StatefulSet
HorizontalPodAutoscaler spec/scaleTargetRef/name

@ ConfigMap/v1
<data> <data>/volumes/configMap/name
<data> <data>/containers/env/valueFrom/configMapKeyRef/name
<data> <data>/initContainers/env/valueFrom/configMapKeyRef/name
<data> <data>/containers/envFrom/configMapRef/name
<data> <data>/initContainers/envFrom/configMapRef/name
<data> <data>/volumes/projected/sources/configMap/name
Node spec/configSource/configMap
Role,ClusterRole rules/resourceNames
Ingress metadata/annotations/nginx.ingress.kubernetes.io\\/fastcgi-params-configmap

@ Secret/v1
<data> <data>/volumes/secret/secretName
<data> <data>/containers/env/valueFrom/secretKeyRef/name
<data> <data>/initContainers/env/valueFrom/secretKeyRef/name
<data> <data>/containers/envFrom/secretRef/name
<data> <data>/initContainers/envFrom/secretRef/name
<data> <data>/imagePullSecrets/name
<data> <data>/volumes/projected/sources/secret/name
Ingress spec/tls/secretName
Ingress metadata/annotations/ingress.kubernetes.io\\/auth-secret
Ingress metadata/annotations/nginx.ingress.kubernetes.io\\/auth-secret
Ingress metadata/annotations/nginx.ingress.kubernetes.io\\/auth-tls-secret
ServiceAccount imagePullSecrets/name
StorageClass parameters/secretName
StorageClass parameters/adminSecretName
StorageClass parameters/userSecretName
StorageClass parameters/secretRef
Role,ClusterRole rules/resourceNames
Service.serving.knative.dev/v1 spec/template/spec/containers/env/valueFrom/secretKeyRef/name
PersistentVolume spec/azureFile/secretName

@ Service/v1
StatefulSet.apps spec/serviceName
Ingress spec/rules/http/paths/backend/serviceName
Ingress spec/backend/serviceName
Ingress spec/rules/http/paths/backend/service/name
Ingress spec/defaultBackend/service/name
APIService.apiregistration.k8s.io spec/service/name
ValidatingWebhookConfiguration.admissionregistration.k8s.io,MutatingWebhookConfiguration.admissionregistration.k8s.io webhooks/clientConfig/service

@ Role.rbac.authorization.k8s.io
RoleBinding.rbac.authorization.k8s.io roleRef/name

@ ClusterRole.rbac.authorization.k8s.io
RoleBinding.rbac.authorization.k8s.io,ClusterRoleBinding.rbac.authorization.k8s.io roleRef/name

@ ServiceAccount/v1
RoleBinding.rbac.authorization.k8s.io,ClusterRoleBinding.rbac.authorization.k8s.io subjects
<pods> <pods>/serviceAccountName

@ PersistentVolumeClaim/v1
<pods> <pods>/volumes/persistentVolumeClaim/claimName

@ PersistentVolume/v1
PersistentVolumeClaim spec/volumeName
ClusterRole rules/resourceNames

@ StorageClass.storage.k8s.io/v1
PersistentVolume,PersistentVolumeClaim spec/storageClassName
StatefulSet spec/volumeClaimTemplates/spec/storageClassName

@ PriorityClass.scheduling.k8s.io/v1
<pods> <pods>/priorityClassName

@ IngressClass.networking.k8s.io/v1/v1
Ingress spec/ingressClassName

@ ValidatingAdmissionPolicy.admissionregistration.k8s.io
ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io spec/policyName
";

/// The table, expanded.
pub(super) fn config() -> Config {
    let mut config = Config::default();
    let mut references: Vec<References> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        if let Some(types) = line.strip_prefix("@ ") {
            config.name_reference.append(&mut references);
            references = types
                .split(',')
                .map(|name| References {
                    gvk: gvk(name),
                    referrers: Vec::new(),
                })
                .collect();
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            [types, path] => {
                for references in &mut references {
                    references.referrers.extend(specs(types, path, false));
                }
            }
            [lists, types, path] => {
                let (lists, create) = lists.strip_suffix('+').map_or((*lists, false), |lists| (lists, true));
                for list in lists.split(',') {
                    let list = match list {
                        "namePrefix" => &mut config.name_prefix,
                        "nameSuffix" => &mut config.name_suffix,
                        "namespace" => &mut config.namespace,
                        "commonLabels" => &mut config.common_labels,
                        "templateLabels" => &mut config.template_labels,
                        "commonAnnotations" => &mut config.common_annotations,
                        "images" => &mut config.images,
                        "replicas" => &mut config.replicas,
                        _ => &mut config.var_reference,
                    };
                    list.extend(specs(types, path, create));
                }
            }
            _ => {}
        }
    }
    config.name_reference.append(&mut references);
    config
}

fn specs(types: &str, path: &str, create: bool) -> Vec<FieldSpec> {
    if let Some((set, workloads)) = WORKLOADS.iter().find(|(set, _)| *set == types) {
        return workloads
            .iter()
            .map(|(kind, pod)| FieldSpec {
                gvk: gvk(kind),
                path: path.replace(set, pod),
                create,
            })
            .collect();
    }
    types
        .split(',')
        .map(|name| FieldSpec {
            gvk: gvk(name),
            path: path.to_owned(),
            create,
        })
        .collect()
}

/// `Kind.group/version`; the version is behind the last slash, since one group of the original holds a slash.
fn gvk(name: &str) -> Gvk {
    if name == "*" {
        return Gvk::default();
    }
    let (name, version) = name.rsplit_once('/').unwrap_or((name, ""));
    let (kind, group) = name.split_once('.').unwrap_or((name, ""));
    Gvk {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_expands_to_fields() {
        let config = config();
        let counts = [
            config.name_prefix.len(),
            config.namespace.len(),
            config.common_labels.len(),
            config.template_labels.len(),
            config.common_annotations.len(),
            config.images.len(),
            config.replicas.len(),
            config.var_reference.len(),
            config.name_reference.len(),
        ];
        assert_eq!(counts, [1, 3, 32, 10, 9, 6, 4, 72, 16]);
        let ingress_class = config
            .name_reference
            .iter()
            .find(|references| references.gvk.kind == "IngressClass")
            .unwrap();
        assert_eq!(ingress_class.gvk.group, "networking.k8s.io/v1");
        let pods = config
            .name_reference
            .iter()
            .find(|references| references.gvk.kind == "PriorityClass")
            .unwrap();
        assert!(pods.referrers.iter().any(
            |spec| spec.path == "spec/jobTemplate/spec/template/spec/priorityClassName" && spec.gvk.kind == "CronJob"
        ));
    }
}
