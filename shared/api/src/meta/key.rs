//! The keys (and fixed values) of annotations and labels that mean something to the controllers.

// On the custom resources.

/// Annotation: a changed value asks for a reconcile right now.
pub const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
/// Annotation: asks a HelmRelease for a forced upgrade; nothing here reads it.
pub const FORCE_AT: &str = "reconcile.fluxcd.io/forceAt";
/// Label on ConfigMaps and Secrets: with [`WATCH_ENABLED`], their changes reconcile the objects that refer to them.
pub const WATCH: &str = "reconcile.fluxcd.io/watch";
/// The value of [`WATCH`].
pub const WATCH_ENABLED: &str = "Enabled";
/// Label: the controller instance in charge, by convention.
pub const SHARDING_KEY: &str = "sharding.fluxcd.io/key";
/// Annotation prefix: what follows becomes metadata of the object's events.
pub const EVENT_PREFIX: &str = "event.toolkit.fluxcd.io/";

// On the objects a Kustomization applies.

/// Label: name of the Kustomization that owns the object.
pub const OWNER_NAME: &str = "kustomize.toolkit.fluxcd.io/name";
/// Label: namespace of the Kustomization that owns the object.
pub const OWNER_NAMESPACE: &str = "kustomize.toolkit.fluxcd.io/namespace";
/// Label or annotation: [`DISABLED`] leaves the object alone, neither applied nor pruned.
pub const RECONCILE: &str = "kustomize.toolkit.fluxcd.io/reconcile";
/// Label or annotation: how the object is applied, one of the `SSA_` values.
pub const SSA: &str = "kustomize.toolkit.fluxcd.io/ssa";
/// [`SSA`], the default: fields kubectl left behind are taken over.
pub const SSA_OVERRIDE: &str = "Override";
/// [`SSA`]: fields of other managers stay.
pub const SSA_MERGE: &str = "Merge";
/// [`SSA`]: created once, never changed.
pub const SSA_IF_NOT_PRESENT: &str = "IfNotPresent";
/// [`SSA`]: not applied at all.
pub const SSA_IGNORE: &str = "Ignore";
/// Label or annotation: [`ENABLED`] allows this one object to be deleted and created again.
pub const FORCE: &str = "kustomize.toolkit.fluxcd.io/force";
/// Label or annotation: [`DISABLED`] keeps the object when it is stale.
pub const PRUNE: &str = "kustomize.toolkit.fluxcd.io/prune";
/// Label or annotation: [`DISABLED`] keeps variables of the object as they are.
pub const SUBSTITUTE: &str = "kustomize.toolkit.fluxcd.io/substitute";
/// Annotation: [`DISABLED`] keeps the object encrypted.
pub const DECRYPT: &str = "kustomize.toolkit.fluxcd.io/decrypt";
/// The value that turns a behaviour on.
pub const ENABLED: &str = "enabled";
/// The value that turns a behaviour off.
pub const DISABLED: &str = "disabled";

// In `status.artifact.metadata`.

/// OCI annotation: where the artifact came from before it was packed.
pub const OCI_SOURCE: &str = "org.opencontainers.image.source";
/// OCI annotation: the revision the artifact was packed from.
pub const OCI_REVISION: &str = "org.opencontainers.image.revision";
/// Our own: the first line of the commit's message, which the message about a new artifact quotes.
pub const COMMIT_SUBJECT: &str = "source.toolkit.fluxcd.io/commit-subject";
/// Our own: who wrote the commit, as `Name <address>`; anybody may call himself so.
pub const COMMIT_AUTHOR: &str = "source.toolkit.fluxcd.io/commit-author";
/// Our own: when the committer says the commit was made, in UTC.
pub const COMMIT_TIME: &str = "source.toolkit.fluxcd.io/commit-time";
/// Our own: since when attempts to bring the artifact up to date have failed; absent while they succeed.
pub const STALE_SINCE: &str = "source.toolkit.fluxcd.io/stale-since";
