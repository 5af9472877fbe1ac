//! Everything that can go wrong in a reconcile, and in one table what follows from it.
//!
//! The text of a [`Failure`] is what the user reads in the condition and the event. A new failure does not compile until its
//! condition, its reason and its retry are decided.

use api::meta::condition::{FETCH_FAILED, INCLUDE_UNAVAILABLE, SOURCE_VERIFIED, STORAGE_OPERATION_FAILED};
use api::meta::reason;
use git::{client, url};
use runtime::conditions::Verdict;

use crate::auth;
use crate::checkout;
use crate::include::{self, Unavailable};
use crate::storage;
use crate::verify;

/// A reconcile that did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// `spec.url` cannot be fetched from.
    #[error(transparent)]
    Url(#[from] url::Error),
    /// The Secret cannot be read.
    #[error("failed to get secret '{name}': failed to get secret '{name}': {detail}")]
    Secret {
        /// Namespace and name of the Secret.
        name: String,
        /// What the API server says.
        detail: String,
    },
    /// The Secret is for a GitHub App, which the provider does not use.
    #[error("secretRef '{0}' has github app data but provider is not set to github")]
    AppDataWithoutProvider(String),
    /// The key in the Secret is encrypted, and nothing opens it.
    #[error("SSH identity key is encrypted but no 'password' field was provided in the secret '{0}'")]
    EncryptedKey(String),
    /// What the Secret holds makes no credentials.
    #[error("failed to configure authentication options: {0}")]
    Credentials(#[from] auth::secret::Error),
    /// The Secret of the proxy makes no proxy.
    #[error("failed to configure proxy options: {0}")]
    Proxy(#[from] auth::proxy::Error),
    /// The provider is GitHub, and nothing says as which App.
    #[error("secretRef with github app data must be specified when provider is set to github")]
    NoAppData {
        /// Whether there is a Secret that could say it.
        has_secret: bool,
    },
    /// Objects may not be ServiceAccounts.
    #[error(
        "to use spec.serviceAccountName for provider authentication please enable the ObjectLevelWorkloadIdentity \
         feature gate in the controller"
    )]
    GateDisabled,
    /// The provider gives nothing.
    #[error("failed to configure authentication options: {0}")]
    Provider(#[from] auth::provider::Error),
    /// The remote, or the way to it.
    #[error("{}", words(.0))]
    Git(client::Error),
    /// Nobody who is trusted has signed what was fetched.
    #[error(transparent)]
    Unverified(#[from] verify::Error),
    /// The tree that was fetched cannot be read, or holds what is refused.
    #[error("{}", of_tree(.0))]
    Tree(#[from] checkout::Error),
    /// An artifact to include is not there yet.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// An artifact to include cannot be merged.
    #[error(transparent)]
    Include(#[from] include::Error),
    /// The artifact cannot be kept.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// A task of the controller itself ended early.
    #[error("{0}")]
    Internal(String),
}

/// When a failed reconcile is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// With the object's backoff.
    Backoff,
    /// After the fixed pause for what is missing; that is no error.
    Dependency,
    /// When the spec changes or somebody asks: trying again leads to the same end.
    Never,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The condition that says so, and as what; where there is none, `Ready` alone does.
    pub condition: Option<(&'static str, Verdict)>,
    /// The reason in conditions and event.
    pub reason: &'static str,
    /// When it is tried again.
    pub retry: Retry,
}

impl Failure {
    /// The table.
    pub fn fate(&self) -> Fate {
        use Retry::{Backoff, Dependency, Never};
        let fate = |condition, reason, retry| Fate {
            condition,
            reason,
            retry,
        };
        let failed = |condition| Some((condition, Verdict::True));
        let fetch = |reason, retry| fate(failed(FETCH_FAILED), reason, retry);
        let storage = |reason| fate(failed(STORAGE_OPERATION_FAILED), reason, Backoff);
        let waiting = |reason| fate(failed(INCLUDE_UNAVAILABLE), reason, Dependency);
        match self {
            Self::Url(_) => fetch(reason::URL_INVALID, Never),
            Self::Secret { .. } | Self::EncryptedKey(_) | Self::Credentials(_) | Self::Proxy(_) | Self::Provider(_) => {
                fetch(reason::AUTHENTICATION_FAILED, Backoff)
            }
            Self::AppDataWithoutProvider(_) | Self::NoAppData { has_secret: true } => {
                fetch(reason::INVALID_PROVIDER_CONFIGURATION, Backoff)
            }
            Self::NoAppData { has_secret: false } => fetch(reason::INVALID_PROVIDER_CONFIGURATION, Never),
            Self::GateDisabled => fetch(reason::FEATURE_GATE_DISABLED, Never),
            Self::Git(client::Error::EmptyRepository) => fetch(reason::EMPTY_GIT_REPOSITORY, Backoff),
            Self::Git(client::Error::Failed(_) | client::Error::FileTooLarge { .. } | client::Error::Setup(_)) => {
                fetch(reason::GIT_OPERATION_FAILED, Backoff)
            }
            Self::Git(client::Error::WorkDirectory(_)) => storage(reason::DIRECTORY_CREATION_FAILED),
            Self::Unverified(error) => {
                let retry = if error.is_stalling() { Never } else { Backoff };
                fate(Some((SOURCE_VERIFIED, Verdict::False)), error.reason(), retry)
            }
            Self::Tree(_) => fetch(reason::GIT_OPERATION_FAILED, Backoff),
            Self::Unavailable(Unavailable::NotFound(_)) => waiting(reason::NOT_FOUND),
            Self::Unavailable(Unavailable::NoArtifact(_)) => waiting(reason::NO_ARTIFACT),
            Self::Include(include::Error::IllegalPath { .. }) => storage(reason::ILLEGAL_PATH),
            Self::Include(include::Error::Failed { .. }) => storage(reason::COPY_FAILURE),
            Self::Storage(storage::Error::Stat(_)) => storage(reason::STAT_OPERATION_FAILED),
            Self::Storage(storage::Error::Directory(_)) => storage(reason::DIRECTORY_CREATION_FAILED),
            Self::Storage(storage::Error::Archive(_)) => storage(reason::ARCHIVE_OPERATION_FAILED),
            Self::Storage(storage::Error::Lock(_)) | Self::Internal(_) => fate(None, reason::FAILED, Backoff),
        }
    }
}

/// What Flux says before the words of Git, and where a limit is set.
fn words(error: &client::Error) -> String {
    match error {
        client::Error::EmptyRepository | client::Error::Setup(_) | client::Error::WorkDirectory(_) => error.to_string(),
        client::Error::Failed(_) => format!("failed to checkout and determine revision: {error}"),
        client::Error::FileTooLarge { .. } => {
            format!("failed to checkout and determine revision: {error}, see --git-max-file-size")
        }
    }
}

/// A sparse checkout fails with words of its own.
fn of_tree(error: &checkout::Error) -> String {
    match error {
        checkout::Error::Sparse { .. } | checkout::Error::SparseLinks { .. } => {
            format!("failed to sparse checkout directories : {error}")
        }
        error => format!("failed to checkout and determine revision: {error}"),
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        Self::Git(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failure: Failure, text: &str, condition: Option<&str>, reason: &str, retry: Retry) {
        assert_eq!(failure.to_string(), text);
        let fate = failure.fate();
        assert_eq!(
            (fate.condition.map(|(kind, _)| kind), fate.reason, fate.retry),
            (condition, reason, retry),
            "{text}"
        );
    }

    #[test]
    fn every_failure_has_the_words_and_the_fate_of_flux() {
        let fetch = Some("FetchFailed");
        let storage = Some("StorageOperationFailed");
        let url = url::RemoteUrl::parse("https://a:b@host:x/").unwrap_err();
        check(
            url.into(),
            "failed to parse url 'https://***@host:x/': invalid port number",
            fetch,
            "URLInvalid",
            Retry::Never,
        );
        check(
            Failure::Secret {
                name: "ns/creds".into(),
                detail: "secrets \"creds\" not found".into(),
            },
            "failed to get secret 'ns/creds': failed to get secret 'ns/creds': secrets \"creds\" not found",
            fetch,
            "AuthenticationFailed",
            Retry::Backoff,
        );
        check(
            Failure::AppDataWithoutProvider("ns/creds".into()),
            "secretRef 'ns/creds' has github app data but provider is not set to github",
            fetch,
            "InvalidProviderConfiguration",
            Retry::Backoff,
        );
        check(
            auth::secret::Error::PasswordAlone("http").into(),
            "failed to configure authentication options: invalid 'http' auth option: 'password' requires 'username' to be set",
            fetch,
            "AuthenticationFailed",
            Retry::Backoff,
        );
        check(
            Failure::EncryptedKey("ns/creds".into()),
            "SSH identity key is encrypted but no 'password' field was provided in the secret 'ns/creds'",
            fetch,
            "AuthenticationFailed",
            Retry::Backoff,
        );
        let empty = client::Error::EmptyRepository;
        check(
            empty.into(),
            "git repository is empty",
            fetch,
            "EmptyGitRepository",
            Retry::Backoff,
        );
        check(
            client::Error::Failed("no match found for semver: 5".into()).into(),
            "failed to checkout and determine revision: no match found for semver: 5",
            fetch,
            "GitOperationFailed",
            Retry::Backoff,
        );
        let full = storage::Error::Archive("disk full".into());
        let text = "unable to archive artifact to storage: disk full";
        check(full.into(), text, storage, "ArchiveOperationFailed", Retry::Backoff);
        let hidden = storage::Error::Stat(std::io::Error::other("denied"));
        let text = "failed to stat target artifact path: denied";
        check(hidden.into(), text, storage, "StatOperationFailed", Retry::Backoff);
        let refused = storage::Error::Directory(std::io::Error::other("read-only"));
        let text = "failed to create artifact directory: read-only";
        check(refused.into(), text, storage, "DirectoryCreationFailed", Retry::Backoff);
        check(
            storage::Error::Lock(std::io::Error::other("no space")).into(),
            "failed to acquire lock for artifact: no space",
            None,
            "Failed",
            Retry::Backoff,
        );
        let unfit = checkout::Error::Unfit {
            path: "a/.GIT".into(),
            why: crate::names::Unfit::GitDirectory,
        };
        let text = "failed to checkout and determine revision: tree contains refused name 'a/.GIT': \
                    some file systems take it for '.git'";
        check(unfit.into(), text, fetch, "GitOperationFailed", Retry::Backoff);
        let sparse = checkout::Error::Sparse {
            entry: "./nope/".into(),
            path: "nope".into(),
        };
        let text = "failed to sparse checkout directories : sparse checkout dir './nope/' does not exist in repository: \
                    lstat nope: no such file or directory";
        check(sparse.into(), text, fetch, "GitOperationFailed", Retry::Backoff);
        let include = Some("IncludeUnavailable");
        let text = "could not get resource for include 'lib': GitRepository.source.toolkit.fluxcd.io \"lib\" not found";
        check(
            Unavailable::NotFound("lib".into()).into(),
            text,
            include,
            "NotFound",
            Retry::Dependency,
        );
        let text = "no artifact available for include 'lib'";
        check(
            Unavailable::NoArtifact("lib".into()).into(),
            text,
            include,
            "NoArtifact",
            Retry::Dependency,
        );
        let illegal = include::Error::IllegalPath {
            name: "lib".into(),
            detail: "no".into(),
        };
        let text = "path calculation for include 'lib' failed: no";
        check(illegal.into(), text, storage, "IllegalPath", Retry::Backoff);
        let copy = include::Error::Failed {
            name: "lib".into(),
            from: String::new(),
            to: "deploy".into(),
            detail: "file exists".into(),
        };
        let text = "failed to copy 'lib' include from  to deploy: file exists";
        check(copy.into(), text, storage, "CopyFailure", Retry::Backoff);
        let source = Some("SourceVerified");
        let unsigned = verify::Error::UnsignedTag("v1".into());
        let text = "cannot verify signature of tag 'v1' since it is not signed";
        check(unsigned.into(), text, source, "InvalidGitObject", Retry::Backoff);
        let text = "cannot verify tag object's signature if a tag reference is not specified";
        check(
            verify::Error::NoTagReference.into(),
            text,
            source,
            "InvalidVerificationMode",
            Retry::Never,
        );
        let text = "public keys secret error: secrets \"keys\" not found";
        let no_keys = verify::Error::Secret("secrets \"keys\" not found".into());
        check(no_keys.into(), text, source, "VerificationError", Retry::Backoff);
        let missing = auth::proxy::Error::NotFound {
            secret: "ns/way".into(),
        };
        let text = "failed to configure proxy options: secret 'ns/way' not found";
        check(missing.into(), text, fetch, "AuthenticationFailed", Retry::Backoff);
        let text = "secretRef with github app data must be specified when provider is set to github";
        for (has_secret, retry) in [(false, Retry::Never), (true, Retry::Backoff)] {
            let failure = Failure::NoAppData { has_secret };
            check(failure, text, fetch, "InvalidProviderConfiguration", retry);
        }
        let text = "to use spec.serviceAccountName for provider authentication please enable the \
            ObjectLevelWorkloadIdentity feature gate in the controller";
        check(Failure::GateDisabled, text, fetch, "FeatureGateDisabled", Retry::Never);
        let elsewhere = auth::provider::aws::NotCodeCommit::Host("github.com".into());
        let elsewhere = auth::provider::Error::from(elsewhere);
        let text = "failed to configure authentication options: invalid AWS CodeCommit Git URL: github.com";
        check(elsewhere.into(), text, fetch, "AuthenticationFailed", Retry::Backoff);
    }
}
