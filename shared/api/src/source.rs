//! Group `source.toolkit.fluxcd.io`: where revisions come from, and the artifact they become.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::meta::{Condition, DURATION_PATTERN, LocalObjectReference, TIMEOUT_PATTERN, Time, condition, is_false};

/// The API group.
pub const GROUP: &str = "source.toolkit.fluxcd.io";

/// What to fetch from which Git repository, and how often to look.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "source.toolkit.fluxcd.io",
    version = "v1",
    kind = "GitRepository",
    plural = "gitrepositories",
    doc = "A Git repository whose content is kept available as an artifact.",
    namespaced,
    status = "GitRepositoryStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "gitrepo",
    category = "all",
    category = "fluxcd",
    category = "fluxcd-sources",
    printcolumn = r#"{"name":"URL","type":"string","jsonPath":".spec.url"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.serviceAccountName) || (has(self.provider) && self.provider in ['azure', 'aws', 'gcp'])",
    "message": "serviceAccountName can only be set when provider is 'azure', 'aws' or 'gcp'"
}]))]
pub struct GitRepositorySpec {
    /// URL of the repository: http, https or ssh.
    #[schemars(regex(pattern = "^(http|https|ssh)://.*$"))]
    pub url: String,

    /// Secret with the credentials: `username` and `password`, or `bearerToken`; for ssh `identity` and
    /// `known_hosts`. Certificates in `ca.crt`, `tls.crt` and `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalObjectReference>,

    /// The Git host, where it has its own way to authenticate. Absent means `generic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<GitProvider>,

    /// ServiceAccount whose identity authenticates to the host; only with provider aws, azure or gcp.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub service_account_name: Option<String>,

    /// How often to look for a new revision.
    #[schemars(regex(pattern = DURATION_PATTERN))]
    pub interval: Duration,

    /// How long one Git operation may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = TIMEOUT_PATTERN), extend("default" = "60s"))]
    pub timeout: Option<Duration>,

    /// Which revision to fetch. Absent means the branch master.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<GitRepositoryRef>,

    /// Which signatures to demand.
    #[serde(default, rename = "verify", skip_serializing_if = "Option::is_none")]
    pub verification: Option<GitRepositoryVerification>,

    /// Secret with the proxy to go through: `address`, optionally `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_secret_ref: Option<LocalObjectReference>,

    /// Paths to leave out of the artifact, in the format of .gitignore. Replaces the defaults, and adds to the
    /// `.sourceignore` files of the repository. An empty text is not the same as none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<String>,

    /// Do nothing until this is unset.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspend: bool,

    /// Fetch the submodules too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub recurse_submodules: bool,

    /// Artifacts of other GitRepositories to copy into this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<GitRepositoryInclude>,

    /// The only directories to take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sparse_checkout: Vec<String>,
}

choices! {
    /// A Git host with its own way to authenticate.
    pub enum GitProvider {
        /// Any host: credentials come from the Secret.
        Generic = "generic",
        /// AWS CodeCommit.
        Aws = "aws",
        /// Azure DevOps.
        Azure = "azure",
        /// GitHub, with the keys of a GitHub App.
        GitHub = "github",
        /// Secure Source Manager and Cloud Source Repositories of Google Cloud. Not a value of Flux.
        Gcp = "gcp",
    }
}

/// Which revision of a repository. Where more than one field is set, the order is: commit (inside of the branch, if that
/// is set too), name, tag, semver, branch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GitRepositoryRef {
    /// Branch whose head is taken.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub branch: Option<String>,

    /// Tag to take.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub tag: Option<String>,

    /// Range of versions; the tag with the highest version inside is taken.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub semver: Option<String>,

    /// Full name of a reference, such as `refs/heads/main` or `refs/pull/420/head`.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub name: Option<String>,

    /// Full hash of a commit.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub commit: Option<String>,
}

/// Which signatures a revision has to carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitRepositoryVerification {
    /// What has to be signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "HEAD"))]
    pub mode: Option<GitVerificationMode>,

    /// Secret with the public keys that are trusted.
    pub secret_ref: LocalObjectReference,
}

choices! {
    /// What has to be signed.
    pub enum GitVerificationMode {
        /// The commit; the spelling of older objects, recorded in the status as `HEAD`.
        HeadLegacy = "head",
        /// The commit.
        Head = "HEAD",
        /// The annotated tag.
        Tag = "Tag",
        /// Both.
        TagAndHead = "TagAndHEAD",
    }
}

/// An artifact to copy into this one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitRepositoryInclude {
    /// The GitRepository, in the same namespace, whose artifact is copied.
    pub repository: LocalObjectReference,

    /// Path inside of that artifact. Absent means all of it.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub from_path: Option<String>,

    /// Path inside of this artifact. Absent means a directory with the name of the repository.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub to_path: Option<String>,
}

impl GitRepositoryInclude {
    /// Where the copy goes.
    pub fn target_path(&self) -> &str {
        self.to_path.as_deref().unwrap_or(&self.repository.name)
    }
}

/// What became of a GitRepository.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct GitRepositoryStatus {
    /// The last generation that was dealt with to its end; -1 until there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The state, aspect by aspect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list_schema")]
    pub conditions: Vec<Condition>,

    /// The artifact that is served now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,

    /// The artifacts that were copied into it, in the order of `spec.include`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included_artifacts: Vec<Artifact>,

    /// `spec.ignore` as the artifact was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_ignore: Option<String>,

    /// `spec.recurseSubmodules` as the artifact was made with.
    #[serde(default, skip_serializing_if = "is_false")]
    pub observed_recurse_submodules: bool,

    /// `spec.include` as the artifact was made with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed_include: Vec<GitRepositoryInclude>,

    /// `spec.sparseCheckout` as the artifact was made with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed_sparse_checkout: Vec<String>,

    /// What was verified last: `HEAD`, `Tag` or `TagAndHEAD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub source_verification_mode: Option<GitVerificationMode>,

    /// The value of the annotation `reconcile.fluxcd.io/requestedAt` that was dealt with last.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_handled_reconcile_at: Option<String>,
}

/// A revision as a file that can be downloaded: what every source kind has in `status.artifact`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Path of the file relative to the root of the storage.
    pub path: String,

    /// Address the file is served at.
    pub url: String,

    /// Where it comes from, in a form people can read, such as `main@sha1:...`.
    pub revision: String,

    /// Digest of the file as `<algorithm>:<hex>`.
    #[schemars(regex(pattern = "^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$"))]
    pub digest: String,

    /// When the file was written.
    #[schemars(extend("description" = "When the file was written."))]
    pub last_update_time: Time,

    /// Size of the file in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,

    /// Facts about the revision, such as the annotations of an OCI image or the subject of a commit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}
