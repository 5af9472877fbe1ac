//! Which types have no namespace. kustomize knows those of Kubernetes 1.21 and takes every other type for namespaced.

/// A group, versions and kinds.
type Types = (&'static str, &'static [&'static str], &'static [&'static str]);

/// Types without a namespace.
const CLUSTER_SCOPED: &[Types] = &[
    (
        "",
        &["v1"],
        &[
            "ComponentStatus",
            "Namespace",
            "Node",
            "NodeProxyOptions",
            "PersistentVolume",
        ],
    ),
    (
        "admissionregistration.k8s.io",
        &["v1", "v1beta1"],
        &["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"],
    ),
    (
        "apiextensions.k8s.io",
        &["v1", "v1beta1"],
        &["CustomResourceDefinition"],
    ),
    ("apiregistration.k8s.io", &["v1", "v1beta1"], &["APIService"]),
    (
        "certificates.k8s.io",
        &["v1", "v1beta1"],
        &["CertificateSigningRequest"],
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        &["v1beta1"],
        &["FlowSchema", "PriorityLevelConfiguration"],
    ),
    ("networking.k8s.io", &["v1", "v1beta1"], &["IngressClass"]),
    ("node.k8s.io", &["v1", "v1beta1"], &["RuntimeClass"]),
    ("policy", &["v1beta1"], &["PodSecurityPolicy"]),
    (
        "rbac.authorization.k8s.io",
        &["v1", "v1beta1"],
        &["ClusterRole", "ClusterRoleBinding"],
    ),
    ("scheduling.k8s.io", &["v1", "v1beta1"], &["PriorityClass"]),
    (
        "storage.k8s.io",
        &["v1", "v1beta1"],
        &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"],
    ),
];

/// Types with a namespace that kustomize knows as well.
const NAMESPACED: &[Types] = &[
    (
        "",
        &["v1"],
        &[
            "ConfigMap",
            "Endpoints",
            "Event",
            "LimitRange",
            "PersistentVolumeClaim",
            "Pod",
            "PodAttachOptions",
            "PodExecOptions",
            "PodPortForwardOptions",
            "PodProxyOptions",
            "PodTemplate",
            "ReplicationController",
            "ResourceQuota",
            "Secret",
            "Service",
            "ServiceAccount",
            "ServiceProxyOptions",
        ],
    ),
    (
        "apps",
        &["v1"],
        &[
            "ControllerRevision",
            "DaemonSet",
            "Deployment",
            "ReplicaSet",
            "StatefulSet",
        ],
    ),
    (
        "autoscaling",
        &["v1", "v2beta1", "v2beta2"],
        &["HorizontalPodAutoscaler"],
    ),
    ("autoscaling", &["v1"], &["Scale"]),
    ("batch", &["v1", "v1beta1"], &["CronJob"]),
    ("batch", &["v1"], &["Job"]),
    ("coordination.k8s.io", &["v1", "v1beta1"], &["Lease"]),
    ("discovery.k8s.io", &["v1", "v1beta1"], &["EndpointSlice"]),
    ("events.k8s.io", &["v1", "v1beta1"], &["Event"]),
    ("extensions", &["v1beta1"], &["Ingress"]),
    ("networking.k8s.io", &["v1", "v1beta1"], &["Ingress"]),
    ("networking.k8s.io", &["v1"], &["NetworkPolicy"]),
    ("policy", &["v1", "v1beta1"], &["PodDisruptionBudget"]),
    (
        "rbac.authorization.k8s.io",
        &["v1", "v1beta1"],
        &["Role", "RoleBinding"],
    ),
    ("storage.k8s.io", &["v1beta1"], &["CSIStorageCapacity"]),
];

fn has(types: &[Types], group: &str, version: &str, kind: &str) -> bool {
    types
        .iter()
        .any(|(known, versions, kinds)| *known == group && versions.contains(&version) && kinds.contains(&kind))
}

/// Whether objects of this type are known to have no namespace.
pub(super) fn is_cluster_scoped(group: &str, version: &str, kind: &str) -> bool {
    has(CLUSTER_SCOPED, group, version, kind)
}

/// Whether it is known if objects of this type have a namespace.
pub(super) fn is_known(group: &str, version: &str, kind: &str) -> bool {
    has(NAMESPACED, group, version, kind) || has(CLUSTER_SCOPED, group, version, kind)
}
