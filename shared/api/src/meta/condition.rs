//! The types of conditions in `status.conditions`, and the shape the API server holds them to.
//!
//! How conditions are set, sorted and summarised is not decided here.

/// The summary of everything else: `True` when the object is as its spec wants it.
pub const READY: &str = "Ready";
/// `True` while work is under way or about to be retried; absent otherwise.
pub const RECONCILING: &str = "Reconciling";
/// `True` when nothing but a change of the object can help; absent otherwise.
pub const STALLED: &str = "Stalled";
/// Kustomization: whether the applied objects passed their health checks.
pub const HEALTHY: &str = "Healthy";

/// Sources: `True` while an artifact is stored and served.
pub const ARTIFACT_IN_STORAGE: &str = "ArtifactInStorage";
/// Sources: `True` while the stored artifact is older than what was last seen upstream.
pub const ARTIFACT_OUTDATED: &str = "ArtifactOutdated";
/// Sources: whether the signature of the current revision was accepted; absent without `spec.verify`.
pub const SOURCE_VERIFIED: &str = "SourceVerified";
/// Sources: `True` after a failure to reach or read the upstream; absent otherwise.
pub const FETCH_FAILED: &str = "FetchFailed";
/// Sources: `True` when an artifact named in `spec.include` is missing; absent otherwise.
pub const INCLUDE_UNAVAILABLE: &str = "IncludeUnavailable";
/// Sources: `True` after a failure to write to the artifact storage; absent otherwise.
pub const STORAGE_OPERATION_FAILED: &str = "StorageOperationFailed";

/// The `status` of a condition that holds.
pub const TRUE: &str = "True";
/// The `status` of a condition that does not hold.
pub const FALSE: &str = "False";
/// The `status` of a condition that cannot be judged yet.
pub const UNKNOWN: &str = "Unknown";

/// The longest message of a condition, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 32_768;

/// The schema of `status.conditions`, with the limits the API conventions set for every condition.
pub(crate) fn list_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "items": {
            "type": "object",
            "description": "One aspect of the state of the object.",
            "properties": {
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When the status, the reason or the message last changed.",
                },
                "message": {
                    "type": "string",
                    "maxLength": MAX_MESSAGE_BYTES,
                    "description": "What happened, for people.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "The metadata.generation this condition was judged for.",
                },
                "reason": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                    "description": "What happened, for programs: one word.",
                },
                "status": {
                    "type": "string",
                    "enum": [TRUE, FALSE, UNKNOWN],
                    "description": "Whether the condition holds.",
                },
                "type": {
                    "type": "string",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                    "description": "Which aspect this is.",
                },
            },
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
        },
    })
}
