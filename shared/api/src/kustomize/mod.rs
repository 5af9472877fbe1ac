//! Group `kustomize.toolkit.fluxcd.io`: what is applied to the cluster from which artifact, and what became of it.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::meta::{
    DURATION_PATTERN, LocalObjectReference, NamespacedObjectKindReference, SecretKeyReference, is_false,
};

mod deletion;
mod inventory;
mod status;

pub use deletion::Fate;
pub use inventory::{ObjectId, group_version};
pub use status::{
    Change, ChangeEntry, ChangeKind, KustomizationStatus, MAX_CHANGE_BYTES, MAX_CHANGES, MAX_HISTORY,
    ResourceInventory, ResourceRef, Snapshot,
};

/// The API group.
pub const GROUP: &str = "kustomize.toolkit.fluxcd.io";

/// Which part of which artifact to build, and how to bring it into the cluster.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "kustomize.toolkit.fluxcd.io",
    version = "v1",
    kind = "Kustomization",
    plural = "kustomizations",
    doc = "Objects that are built from an artifact and kept in the cluster as they were built.",
    namespaced,
    status = "KustomizationStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "ks",
    category = "all",
    category = "fluxcd",
    category = "fluxcd-appliers",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct KustomizationSpec {
    /// Labels and annotations for every object, over what the manifests say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_metadata: Option<CommonMetadata>,

    /// Kustomizations that have to be ready first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<DependencyReference>,

    /// How to decrypt what is encrypted in the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decryption: Option<Decryption>,

    /// How often to compare the cluster with the artifact.
    #[schemars(regex(pattern = DURATION_PATTERN))]
    pub interval: Duration,

    /// How long to wait after a failure. Absent means the interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DURATION_PATTERN))]
    pub retry_interval: Option<Duration>,

    /// The cluster to apply to. Absent means the one this object lives in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_config: Option<KubeConfigReference>,

    /// Directory in the artifact. Absent means its root.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub path: Option<String>,

    /// What is done to the objects between building and applying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_build: Option<PostBuild>,

    /// Delete objects that are no longer in the artifact.
    pub prune: bool,

    /// What happens to the objects when this Kustomization is deleted. Absent means `MirrorPrune`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,

    /// Objects whose health is awaited. Not looked at when `wait` is set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health_checks: Vec<NamespacedObjectKindReference>,

    /// Text put in front of the name of every object.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 1, max = 200))]
    pub name_prefix: Option<String>,

    /// Text put behind the name of every object.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 1, max = 200))]
    pub name_suffix: Option<String>,

    /// Patches, as in a kustomization.yaml.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<Patch>,

    /// Changes of images, as in a kustomization.yaml.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,

    /// ServiceAccount in whose name objects are applied and deleted.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub service_account_name: Option<String>,

    /// The source whose artifact is built.
    pub source_ref: CrossNamespaceSourceReference,

    /// Do nothing until this is unset.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspend: bool,

    /// Namespace that every object is put into, over what the manifests say.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 1, max = 63))]
    pub target_namespace: Option<String>,

    /// How long to wait for health, and for objects to be gone. Absent means the interval less 30 s; never below 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DURATION_PATTERN))]
    pub timeout: Option<Duration>,

    /// Delete and create again what cannot be changed in place.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schemars(extend("default" = false))]
    pub force: bool,

    /// Await the health of every object that is applied.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wait: bool,

    /// Annotations to add about where objects came from, as in a kustomization.yaml.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build_metadata: Vec<BuildMetadata>,

    /// Components to add, by path inside of the artifact.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,

    /// Leave out components that do not exist, where they would be an error.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ignore_missing_components: bool,

    /// CEL expressions that judge the health of kinds which no built-in rule fits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health_check_exprs: Vec<CustomHealthCheck>,

    /// Fields that are neither compared nor corrected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<IgnoreRule>,
}

/// Labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommonMetadata {
    /// Annotations by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,

    /// Labels by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A Kustomization that has to be ready first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DependencyReference {
    /// Name of the Kustomization.
    pub name: String,

    /// Namespace of the Kustomization. Absent means that of the referring one.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub namespace: Option<String>,

    /// CEL expression over `self` and `dep` that says when it counts as ready.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub ready_expr: Option<String>,
}

/// How to decrypt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decryption {
    /// The format of what is encrypted.
    pub provider: DecryptionProvider,

    /// ServiceAccount whose identity is shown to key services.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub service_account_name: Option<String>,

    /// Secret with the private keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalObjectReference>,
}

choices! {
    /// A format of encrypted files.
    pub enum DecryptionProvider {
        /// SOPS.
        Sops = "sops",
    }
}

/// A cluster other than our own; exactly one of the two is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.configMapRef) || has(self.secretRef)",
        "message": "exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"
    },
    {
        "rule": "!has(self.configMapRef) || !has(self.secretRef)",
        "message": "exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"
    }
]))]
pub struct KubeConfigReference {
    /// ConfigMap that says how to reach the cluster with an identity from a cloud provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<LocalObjectReference>,

    /// Secret with a kubeconfig, by default under the key `value` or `value.yaml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyReference>,
}

/// What is done to the objects between building and applying.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostBuild {
    /// Which objects variables are replaced in. Absent means `WithVariables`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substitute_strategy: Option<SubstituteStrategy>,

    /// Values of variables by name. They win over `substituteFrom`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub substitute: BTreeMap<String, String>,

    /// ConfigMaps and Secrets with values of variables. Later ones win.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub substitute_from: Vec<SubstituteReference>,
}

choices! {
    /// Which objects variables are replaced in.
    pub enum SubstituteStrategy {
        /// All objects, but only if any variable is given.
        WithVariables = "WithVariables",
        /// All objects.
        Always = "Always",
    }
}

/// A ConfigMap or Secret with values of variables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubstituteReference {
    /// Which of the two it is.
    pub kind: SubstituteKind,

    /// Name of the object, in the namespace of the Kustomization.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Go on without it where it does not exist.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schemars(extend("default" = false))]
    pub optional: bool,
}

choices! {
    /// The kind of an object with values of variables.
    pub enum SubstituteKind {
        /// A Secret.
        Secret = "Secret",
        /// A ConfigMap.
        ConfigMap = "ConfigMap",
    }
}

choices! {
    /// What happens to the objects when their Kustomization is deleted.
    pub enum DeletionPolicy {
        /// `Delete` if `spec.prune` is set, else `Orphan`.
        MirrorPrune = "MirrorPrune",
        /// They are deleted too.
        Delete = "Delete",
        /// They are deleted too, and the Kustomization stays until they are gone.
        WaitForTermination = "WaitForTermination",
        /// They stay.
        Orphan = "Orphan",
    }
}

/// A patch, and what it applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Patch {
    /// A strategic merge patch or a JSON 6902 patch, as YAML or JSON.
    pub patch: String,

    /// The objects it applies to. Absent means the one object a strategic merge patch names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Selector>,
}

/// Chooses objects; what is absent matches everything. The first five are regular expressions over the whole value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// API group.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub group: Option<String>,

    /// API version.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub version: Option<String>,

    /// Kind.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub kind: Option<String>,

    /// Namespace.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub namespace: Option<String>,

    /// Name.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub name: Option<String>,

    /// Selector over annotations, in the syntax of label selectors.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub annotation_selector: Option<String>,

    /// Label selector.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub label_selector: Option<String>,
}

/// A change of the images that have a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Name of the image, without a tag.
    pub name: String,

    /// The name to use in its place.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub new_name: Option<String>,

    /// The tag to use in its place.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub new_tag: Option<String>,

    /// The digest to use in place of a tag.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub digest: Option<String>,
}

/// A source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CrossNamespaceSourceReference {
    /// API group and version; the kind alone decides.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub api_version: Option<String>,

    /// Kind of the source.
    pub kind: SourceKind,

    /// Name of the source.
    pub name: String,

    /// Namespace of the source. Absent means that of the Kustomization.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub namespace: Option<String>,
}

choices! {
    /// The kinds of sources a Kustomization can be built from.
    pub enum SourceKind {
        /// An OCI image.
        OciRepository = "OCIRepository",
        /// A Git repository.
        GitRepository = "GitRepository",
        /// An object store.
        Bucket = "Bucket",
        /// An artifact somebody else provides.
        ExternalArtifact = "ExternalArtifact",
    }
}

choices! {
    /// Annotations about where objects came from.
    pub enum BuildMetadata {
        /// The file an object was read from or generated by.
        OriginAnnotations = "originAnnotations",
        /// The files that changed an object.
        TransformerAnnotations = "transformerAnnotations",
    }
}

/// CEL expressions that judge the health of a kind; the members of the object (`spec`, `status` and so on) are variables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomHealthCheck {
    /// API group and version of the kind.
    pub api_version: String,

    /// The kind.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub kind: Option<String>,

    /// When true, the object is healthy.
    pub current: String,

    /// When true, the object is on its way; looked at first.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub in_progress: Option<String>,

    /// When true, the object has failed; looked at second.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub failed: Option<String>,
}

/// Fields that are neither compared nor corrected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IgnoreRule {
    /// JSON pointers to the fields.
    pub paths: Vec<String>,

    /// The objects the rule is about. Absent means all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Selector>,
}
