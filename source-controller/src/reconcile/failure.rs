//! Everything that can go wrong in a reconcile, and in one table what follows from it.
//!
//! The text of a [`Failure`] is what the user reads in the condition and the event. A new failure does not compile until its
//! condition, its reason and its retry are decided.

use api::meta::condition::{FETCH_FAILED, STORAGE_OPERATION_FAILED};
use api::meta::reason;
use git::{client, url};

use crate::auth;
use crate::storage;
use crate::unsupported::{self, Feature};

/// A reconcile that did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// `spec.url` cannot be fetched from.
    #[error(transparent)]
    Url(#[from] url::Error),
    /// Something that is not there yet is asked for.
    #[error("{}", .0.message())]
    Unsupported(Feature),
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
    Credentials(#[from] auth::Error),
    /// The remote, or the way to it.
    #[error("{}", words(.0))]
    Git(client::Error),
    /// The tree that was fetched cannot be read.
    #[error("failed to load source ignore patterns from repository: {0}")]
    Tree(String),
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
    /// When the spec changes or somebody asks: trying again leads to the same end.
    Never,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The condition that says so; where there is none, `Ready` alone does.
    pub condition: Option<&'static str>,
    /// The reason in conditions and event.
    pub reason: &'static str,
    /// When it is tried again.
    pub retry: Retry,
}

impl Failure {
    /// The table.
    pub fn fate(&self) -> Fate {
        use Retry::{Backoff, Never};
        let fate = |condition, reason, retry| Fate {
            condition,
            reason,
            retry,
        };
        let fetch = |reason, retry| fate(Some(FETCH_FAILED), reason, retry);
        let storage = |reason| fate(Some(STORAGE_OPERATION_FAILED), reason, Backoff);
        match self {
            Self::Url(_) => fetch(reason::URL_INVALID, Never),
            Self::Unsupported(feature) if feature.is_of_spec() => fetch(unsupported::REASON, Never),
            Self::Unsupported(_) => fetch(unsupported::REASON, Backoff),
            Self::Secret { .. } | Self::EncryptedKey(_) | Self::Credentials(_) => {
                fetch(reason::AUTHENTICATION_FAILED, Backoff)
            }
            Self::AppDataWithoutProvider(_) => fetch(reason::INVALID_PROVIDER_CONFIGURATION, Backoff),
            Self::Git(client::Error::EmptyRepository) => fetch(reason::EMPTY_GIT_REPOSITORY, Backoff),
            Self::Git(client::Error::Failed(_) | client::Error::FileTooLarge { .. } | client::Error::Setup(_)) => {
                fetch(reason::GIT_OPERATION_FAILED, Backoff)
            }
            Self::Git(client::Error::WorkDirectory(_)) => storage(reason::DIRECTORY_CREATION_FAILED),
            Self::Tree(_) => fate(None, reason::SOURCE_IGNORE_ERROR, Backoff),
            Self::Storage(storage::Error::Directory(_)) => storage(reason::DIRECTORY_CREATION_FAILED),
            Self::Storage(storage::Error::Archive(_)) => storage(reason::ARCHIVE_OPERATION_FAILED),
            Self::Internal(_) => fate(None, reason::FAILED, Backoff),
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
            (fate.condition, fate.reason, fate.retry),
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
            auth::Error::PasswordAlone("http").into(),
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
        let refused = storage::Error::Directory(std::io::Error::other("read-only"));
        let text = "failed to create artifact directory: read-only";
        check(refused.into(), text, storage, "DirectoryCreationFailed", Retry::Backoff);
        let verify = Failure::Unsupported(Feature::Verify);
        check(
            verify,
            Feature::Verify.message(),
            fetch,
            "UnsupportedFeature",
            Retry::Never,
        );
        let certificate = Failure::Unsupported(Feature::ClientCertificate);
        check(
            certificate,
            Feature::ClientCertificate.message(),
            fetch,
            "UnsupportedFeature",
            Retry::Backoff,
        );
    }
}
