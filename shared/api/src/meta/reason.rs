//! The reasons of conditions and events: one word per cause, part of the contract with whatever reads them.
//!
//! Which failure gets which reason is decided by the controllers, in one table each.

// Every kind.

/// The work is done.
pub const SUCCEEDED: &str = "Succeeded";
/// It failed for a cause without a reason of its own.
pub const FAILED: &str = "Failed";
/// Work is under way.
pub const PROGRESSING: &str = "Progressing";
/// Work failed and is going to be retried.
pub const PROGRESSING_WITH_RETRY: &str = "ProgressingWithRetry";
/// `spec.suspend` is set.
pub const SUSPENDED: &str = "Suspended";
/// An object that has to be ready first is not.
pub const DEPENDENCY_NOT_READY: &str = "DependencyNotReady";
/// A path is not usable.
pub const INVALID_PATH: &str = "InvalidPath";
/// The spec asks for something the controller's feature gates turn off.
pub const FEATURE_GATE_DISABLED: &str = "FeatureGateDisabled";
/// The spec points into another namespace, and the controller's flags forbid that.
pub const ACCESS_DENIED: &str = "AccessDenied";
/// The spec asks for something that Sluice does not support yet; terminal until the spec changes.
pub const UNSUPPORTED_FEATURE: &str = "UnsupportedFeature";
/// The object cannot be decoded, so nothing can be done with it (events only).
pub const INVALID_OBJECT: &str = "InvalidObject";
/// A CEL expression of the spec does not compile.
pub const INVALID_CEL_EXPRESSION: &str = "InvalidCELExpression";
/// The status could not be written.
pub const PATCH_OPERATION_FAILED: &str = "PatchOperationFailed";

// GitRepository.

/// `spec.url` cannot be used.
pub const URL_INVALID: &str = "URLInvalid";
/// The credentials could not be read or were refused.
pub const AUTHENTICATION_FAILED: &str = "AuthenticationFailed";
/// The signature was not accepted.
pub const VERIFICATION_ERROR: &str = "VerificationError";
/// `spec.provider` and the credentials do not fit each other.
pub const INVALID_PROVIDER_CONFIGURATION: &str = "InvalidProviderConfiguration";
/// `spec.verify` cannot be fulfilled for `spec.ref`.
pub const INVALID_VERIFICATION_MODE: &str = "InvalidVerificationMode";
/// The object that should be signed could not be read.
pub const INVALID_GIT_OBJECT: &str = "InvalidGitObject";
/// The tag's signature was not accepted.
pub const INVALID_TAG_SIGNATURE: &str = "InvalidTagSignature";
/// The commit's signature was not accepted.
pub const INVALID_COMMIT_SIGNATURE: &str = "InvalidCommitSignature";
/// The upstream was read and nothing changed.
pub const GIT_OPERATION_SUCCEEDED: &str = "GitOperationSucceeded";
/// The upstream could not be read.
pub const GIT_OPERATION_FAILED: &str = "GitOperationFailed";
/// The repository has no commits.
pub const EMPTY_GIT_REPOSITORY: &str = "EmptyGitRepository";
/// The upstream has moved on from the stored artifact.
pub const NEW_REVISION: &str = "NewRevision";
/// An included artifact has changed.
pub const INCLUDE_CHANGE: &str = "IncludeChange";
/// An included object does not exist.
pub const NOT_FOUND: &str = "NotFound";
/// An included object has no artifact yet.
pub const NO_ARTIFACT: &str = "NoArtifact";
/// A new artifact was stored (events only).
pub const NEW_ARTIFACT: &str = "NewArtifact";
/// The artifact needed no change (events only).
pub const ARTIFACT_UP_TO_DATE: &str = "ArtifactUpToDate";
/// The stored artifact does not match its digest (events only).
pub const ARTIFACT_VERIFICATION_FAILED: &str = "ArtifactVerificationFailed";
/// A directory could not be made.
pub const DIRECTORY_CREATION_FAILED: &str = "DirectoryCreationFailed";
/// The storage could not be looked at.
pub const STAT_OPERATION_FAILED: &str = "StatOperationFailed";
/// The storage could not be read.
pub const READ_OPERATION_FAILED: &str = "ReadOperationFailed";
/// Somebody else holds the storage.
pub const ACQUIRE_LOCK_FAILED: &str = "AcquireLockFailed";
/// The artifact could not be written.
pub const ARCHIVE_OPERATION_FAILED: &str = "ArchiveOperationFailed";
/// The link to the newest artifact could not be moved.
pub const SYMLINK_UPDATE_FAILED: &str = "SymlinkUpdateFailed";
/// An include names a path outside of its artifact.
pub const ILLEGAL_PATH: &str = "IllegalPath";
/// An included artifact could not be copied.
pub const COPY_FAILURE: &str = "CopyFailure";
/// The ignore rules of the repository could not be read (events only).
pub const SOURCE_IGNORE_ERROR: &str = "SourceIgnoreError";
/// Old artifacts were removed (events only).
pub const GARBAGE_COLLECTION_SUCCEEDED: &str = "GarbageCollectionSucceeded";
/// Old artifacts could not be removed.
pub const GARBAGE_COLLECTION_FAILED: &str = "GarbageCollectionFailed";

// Kustomization.

/// Everything is applied and healthy.
pub const RECONCILIATION_SUCCEEDED: &str = "ReconciliationSucceeded";
/// Applying failed.
pub const RECONCILIATION_FAILED: &str = "ReconciliationFailed";
/// The source's artifact could not be had or unpacked.
pub const ARTIFACT_FAILED: &str = "ArtifactFailed";
/// The manifests could not be built.
pub const BUILD_FAILED: &str = "BuildFailed";
/// Stale objects could not be deleted.
pub const PRUNE_FAILED: &str = "PruneFailed";
/// Applied objects did not become healthy in time.
pub const HEALTH_CHECK_FAILED: &str = "HealthCheckFailed";
/// A newer revision, spec or request ended the wait for health.
pub const HEALTH_CHECK_CANCELED: &str = "HealthCheckCanceled";

// Notification kinds.

/// The object is accepted.
pub const INITIALIZED: &str = "Initialized";
/// The spec contradicts itself.
pub const VALIDATION_FAILED: &str = "ValidationFailed";
/// The Secret or its token is missing.
pub const TOKEN_NOT_FOUND: &str = "TokenNotFound";
/// A message could not be delivered (events only).
pub const NOTIFICATION_DISPATCH_FAILED: &str = "NotificationDispatchFailed";
/// A regular expression or selector of an Alert is broken (events only).
pub const INVALID_CONFIG: &str = "InvalidConfig";
/// The labels of an event's object could not be looked up (events only).
pub const SOURCE_FETCH_FAILED: &str = "SourceFetchFailed";
/// Metadata of different origin uses the same key (events only).
pub const METADATA_APPEND_FAILED: &str = "MetadataAppendFailed";
/// The object was brought to today's form (events only).
pub const MIGRATION: &str = "Migration";
