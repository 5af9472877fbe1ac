//! Group `notification.toolkit.fluxcd.io`: who is told about what (Provider, Alert), and who may ask for a reconcile from
//! outside (Receiver).

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::meta::{Condition, DURATION_PATTERN, LocalObjectReference, TIMEOUT_PATTERN, condition, is_false};

/// The API group.
pub const GROUP: &str = "notification.toolkit.fluxcd.io";

/// What the path of every webhook begins with.
pub const WEBHOOK_PREFIX: &str = "/hook/";

/// The audience demanded of tokens where a Receiver names none.
pub const DEFAULT_OIDC_AUDIENCE: &str = "notification-controller";

/// Where messages go, and how to get them there.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "notification.toolkit.fluxcd.io",
    version = "v1beta3",
    kind = "Provider",
    plural = "providers",
    doc = "A chat, a webhook, a Git host or another service that takes messages.",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    category = "all",
    category = "fluxcd",
    category = "fluxcd-notifications",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.type == 'github' || self.type == 'gitlab' || self.type == 'gitea' || self.type == 'bitbucketserver' || self.type == 'bitbucket' || self.type == 'azuredevops' || !has(self.commitStatusExpr)",
    "message": "spec.commitStatusExpr is only supported for the 'github', 'gitlab', 'gitea', 'bitbucketserver', 'bitbucket', 'azuredevops' provider types"
}]))]
pub struct ProviderSpec {
    /// The service.
    #[serde(rename = "type")]
    pub provider_type: ProviderType,

    /// Has no effect; kept for old objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DURATION_PATTERN))]
    pub interval: Option<Duration>,

    /// Channel, room or topic.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 2048))]
    pub channel: Option<String>,

    /// Name the messages are sent under.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 2048))]
    pub username: Option<String>,

    /// Address of the service. The key `address` of the Secret wins over it.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 2048))]
    pub address: Option<String>,

    /// How long a delivery may take. Absent means 15 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = TIMEOUT_PATTERN))]
    pub timeout: Option<Duration>,

    /// Address of a proxy. Deprecated: use `proxySecretRef`.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 2048), regex(pattern = "^(http|https)://.*$"))]
    pub proxy: Option<String>,

    /// Secret with the proxy to go through: `address`, optionally `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_secret_ref: Option<LocalObjectReference>,

    /// Secret with the credentials: `address`, `token`, `username`, `password`, `headers`, as the service needs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalObjectReference>,

    /// ServiceAccount whose identity is shown to the service, where it is one of a cloud provider.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub service_account_name: Option<String>,

    /// Secret with certificates: `ca.crt` for the service, `tls.crt` and `tls.key` for us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<LocalObjectReference>,

    /// Send nothing until this is unset.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspend: bool,

    /// CEL expression over `event`, `alert` and `provider` that gives the id of a commit status.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub commit_status_expr: Option<String>,
}

choices! {
    /// A service that takes messages.
    pub enum ProviderType {
        /// Slack.
        Slack = "slack",
        /// Discord.
        Discord = "discord",
        /// Microsoft Teams.
        MsTeams = "msteams",
        /// Rocket.Chat.
        Rocket = "rocket",
        /// Any webhook; receives the event as it is.
        Generic = "generic",
        /// Any webhook; receives the event as it is, signed.
        GenericHmac = "generic-hmac",
        /// Commit statuses of GitHub.
        GitHub = "github",
        /// Commit statuses of GitLab.
        GitLab = "gitlab",
        /// Commit statuses of Gitea.
        Gitea = "gitea",
        /// Comments on pull requests of Gitea.
        GiteaPullRequestComment = "giteapullrequestcomment",
        /// Commit statuses of Bitbucket Server.
        BitbucketServer = "bitbucketserver",
        /// Commit statuses of Bitbucket.
        Bitbucket = "bitbucket",
        /// Commit statuses of Azure DevOps.
        AzureDevOps = "azuredevops",
        /// Google Chat.
        GoogleChat = "googlechat",
        /// Google Pub/Sub.
        GooglePubSub = "googlepubsub",
        /// Webex.
        Webex = "webex",
        /// Sentry.
        Sentry = "sentry",
        /// Azure Event Hubs.
        AzureEventHub = "azureeventhub",
        /// Telegram.
        Telegram = "telegram",
        /// Lark.
        Lark = "lark",
        /// Matrix.
        Matrix = "matrix",
        /// Opsgenie.
        Opsgenie = "opsgenie",
        /// Prometheus Alertmanager.
        Alertmanager = "alertmanager",
        /// Annotations of Grafana.
        Grafana = "grafana",
        /// Repository dispatch of GitHub.
        GitHubDispatch = "githubdispatch",
        /// Comments on pull requests of GitHub.
        GitHubPullRequestComment = "githubpullrequestcomment",
        /// Comments on merge requests of GitLab.
        GitLabMergeRequestComment = "gitlabmergerequestcomment",
        /// PagerDuty.
        PagerDuty = "pagerduty",
        /// Datadog.
        Datadog = "datadog",
        /// NATS.
        Nats = "nats",
        /// Zulip.
        Zulip = "zulip",
        /// OpenTelemetry traces.
        Otel = "otel",
        /// Zoom.
        Zoom = "zoom",
        /// incident.io.
        IncidentIo = "incident.io",
    }
}

/// Which events of which objects go to which Provider.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "notification.toolkit.fluxcd.io",
    version = "v1beta3",
    kind = "Alert",
    plural = "alerts",
    doc = "A choice of events that are sent to a Provider.",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    category = "all",
    category = "fluxcd",
    category = "fluxcd-notifications",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct AlertSpec {
    /// The Provider, in the same namespace.
    pub provider_ref: LocalObjectReference,

    /// The lowest severity that is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "info"))]
    pub event_severity: Option<EventSeverity>,

    /// The objects; an event has to be about any of them.
    pub event_sources: Vec<CrossNamespaceObjectReference>,

    /// Regular expressions; where there are any, the message has to match one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inclusion_list: Vec<String>,

    /// Facts to add to every message.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub event_metadata: BTreeMap<String, String>,

    /// Regular expressions; a message that matches one is not sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclusion_list: Vec<String>,

    /// A short description to add to every message. Deprecated: use `eventMetadata` with the key `summary`.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 255))]
    pub summary: Option<String>,

    /// Send nothing until this is unset.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspend: bool,
}

choices! {
    /// The lowest severity an Alert sends.
    pub enum EventSeverity {
        /// Everything.
        Info = "info",
        /// Failures only.
        Error = "error",
    }
}

/// Objects of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CrossNamespaceObjectReference {
    /// API group and version.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub api_version: Option<String>,

    /// Kind.
    pub kind: ObjectKind,

    /// Name, or `*` for all.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Namespace. Absent means that of the referring object.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 1, max = 253))]
    pub namespace: Option<String>,

    /// Labels the object has to carry, with their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

choices! {
    /// The kinds that can be told about and asked for a reconcile.
    pub enum ObjectKind {
        /// source.toolkit.fluxcd.io.
        Bucket = "Bucket",
        /// source.toolkit.fluxcd.io.
        GitRepository = "GitRepository",
        /// kustomize.toolkit.fluxcd.io.
        Kustomization = "Kustomization",
        /// helm.toolkit.fluxcd.io.
        HelmRelease = "HelmRelease",
        /// source.toolkit.fluxcd.io.
        HelmChart = "HelmChart",
        /// source.toolkit.fluxcd.io.
        HelmRepository = "HelmRepository",
        /// image.toolkit.fluxcd.io.
        ImageRepository = "ImageRepository",
        /// image.toolkit.fluxcd.io.
        ImagePolicy = "ImagePolicy",
        /// image.toolkit.fluxcd.io.
        ImageUpdateAutomation = "ImageUpdateAutomation",
        /// source.toolkit.fluxcd.io.
        OciRepository = "OCIRepository",
        /// source.extensions.fluxcd.io.
        ArtifactGenerator = "ArtifactGenerator",
        /// source.toolkit.fluxcd.io.
        ExternalArtifact = "ExternalArtifact",
    }
}

/// Which service may call in, and what is reconciled when it does.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "notification.toolkit.fluxcd.io",
    version = "v1",
    kind = "Receiver",
    plural = "receivers",
    doc = "A webhook that asks for objects to be reconciled.",
    namespaced,
    status = "ReceiverStatus",
    derive = "Default",
    derive = "PartialEq",
    category = "all",
    category = "fluxcd",
    category = "fluxcd-notifications",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.type != 'generic-oidc' || (has(self.oidcProviders) && size(self.oidcProviders) > 0)",
        "message": "generic-oidc receivers must define at least one oidcProvider"
    },
    {
        "rule": "self.type == 'generic-oidc' || !has(self.oidcProviders) || size(self.oidcProviders) == 0",
        "message": "oidcProviders can only be set when type is generic-oidc"
    },
    {
        "rule": "self.type != 'generic-oidc' || !has(self.secretRef)",
        "message": "secretRef cannot be set when type is generic-oidc"
    },
    {
        "rule": "self.type == 'generic-oidc' || has(self.secretRef)",
        "message": "secretRef is required when type is not generic-oidc"
    }
]))]
pub struct ReceiverSpec {
    /// The service that calls, which decides how a call is authenticated.
    #[serde(rename = "type")]
    pub receiver_type: ReceiverType,

    /// How often to look at the Secret again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DURATION_PATTERN), extend("default" = "10m"))]
    pub interval: Option<Duration>,

    /// The events of the service that count; absent means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,

    /// The objects that are reconciled.
    pub resources: Vec<ReceiverResource>,

    /// CEL expression over `res` and `req` that an object has to pass too.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub resource_filter: Option<String>,

    /// Secret whose key `token` authenticates calls and makes up the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalObjectReference>,

    /// Who may sign the tokens of calls; only with type `generic-oidc`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["issuerURL"]))]
    pub oidc_providers: Vec<OidcProvider>,

    /// Accept no calls until this is unset.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspend: bool,
}

choices! {
    /// A service that calls.
    pub enum ReceiverType {
        /// Anybody who knows the path.
        Generic = "generic",
        /// Anybody who signs the body with the token.
        GenericHmac = "generic-hmac",
        /// Anybody with a token of a trusted issuer.
        GenericOidc = "generic-oidc",
        /// GitHub.
        GitHub = "github",
        /// GitLab.
        GitLab = "gitlab",
        /// Bitbucket.
        Bitbucket = "bitbucket",
        /// Harbor.
        Harbor = "harbor",
        /// Docker Hub.
        DockerHub = "dockerhub",
        /// Quay.
        Quay = "quay",
        /// Google Container Registry.
        Gcr = "gcr",
        /// Nexus.
        Nexus = "nexus",
        /// Azure Container Registry.
        Acr = "acr",
        /// CDEvents.
        CdEvents = "cdevents",
    }
}

/// Objects to reconcile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReceiverResource {
    /// The objects.
    #[serde(flatten)]
    pub reference: CrossNamespaceObjectReference,

    /// CEL expression over `res` and `req` that each of them has to pass.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub filter: Option<String>,
}

/// An issuer of tokens, and what its tokens have to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OidcProvider {
    /// Address of the issuer, as in the claim `iss`.
    #[serde(rename = "issuerURL")]
    #[schemars(regex(pattern = "^https?://"))]
    pub issuer_url: String,

    /// Audience the token has to be for. Absent means `notification-controller`.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub audience: Option<String>,

    /// Names for parts of the claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<OidcVariable>,

    /// What has to hold for the claims.
    #[schemars(length(min = 1))]
    pub validations: Vec<OidcValidation>,
}

/// A name for a part of the claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OidcVariable {
    /// The name, used as `vars.<name>`.
    pub name: String,

    /// CEL expression that gives the value.
    pub expression: String,
}

/// Something that has to hold for the claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OidcValidation {
    /// CEL expression that has to be true.
    pub expression: String,

    /// What to say when it is not.
    pub message: String,
}

/// What became of a Receiver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct ReceiverStatus {
    /// The value of the annotation `reconcile.fluxcd.io/requestedAt` that was dealt with last.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_handled_reconcile_at: Option<String>,

    /// The state, aspect by aspect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list_schema")]
    pub conditions: Vec<Condition>,

    /// Path of the webhook: `/hook/` and a digest of the token and the object's name.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub webhook_path: Option<String>,

    /// The last generation that was dealt with to its end; -1 until there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}
