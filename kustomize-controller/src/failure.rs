//! Everything that can end a reconcile without success, and what follows from it: one table.
//!
//! A new failure does not compile until its fate is decided here: the reason of the Ready condition, whether people
//! are told, when it is tried again, and what else the status says.

use api::meta::reason;
use runtime::client::is_outage;

/// Why a reconcile did not succeed. The texts are those of Flux where Flux has the failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A field of the spec that is not supported yet.
    #[error("{0}")]
    Unsupported(String),
    /// A source that must not be used.
    #[error("{0}")]
    AccessDenied(String),
    /// The source does not exist.
    #[error("{0}")]
    SourceMissing(String),
    /// The source could not be read.
    #[error("{text}")]
    SourceUnreadable {
        /// Why.
        text: String,
        /// Whether the API server was away.
        outage: bool,
    },
    /// The source has no artifact yet.
    #[error("Source artifact not found, retrying in {retry}")]
    NoArtifact {
        /// The pause, for the text.
        retry: api::Duration,
    },
    /// The artifact that the source names is not served (any more).
    #[error("Source is not ready, artifact not found, retrying in {retry}")]
    ArtifactGone {
        /// The pause, for the text.
        retry: api::Duration,
    },
    /// A dependency is not ready.
    #[error("{0}")]
    Dependency(String),
    /// The artifact could not be downloaded, verified or unpacked, or lacks the path.
    #[error("{0}")]
    Artifact(String),
    /// No place to work.
    #[error("tmp dir error: {0}")]
    Workspace(String),
    /// No client for the cluster.
    #[error("{0}")]
    Client(String),
    /// The manifests could not be built.
    #[error("{0}")]
    Build(String),
    /// The objects could not be applied.
    #[error("{0}")]
    Apply(String),
    /// The API server went away while variables were read, or objects applied or deleted.
    #[error("{0}")]
    Unreachable(String),
    /// Stale objects could not be deleted.
    #[error("{0}")]
    Prune(String),
    /// What was applied does not become healthy.
    #[error("health check failed after {took}: {cause}{origins}")]
    Health {
        /// How long was waited.
        took: api::Duration,
        /// What for.
        cause: String,
        /// Where the objects come from, a line each behind the text.
        origins: String,
    },
    /// The API server did not answer a question about our own kinds, or did not take what we wrote to them.
    #[error("{text}")]
    Status {
        /// What it said, or why it said nothing.
        text: String,
        /// Whether it was away.
        outage: bool,
    },
}

/// When a failed reconcile is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Not before the spec changes or somebody asks.
    Never,
    /// With the object's exponential backoff.
    Backoff,
    /// As soon as the API server may be back.
    Outage,
    /// After the retry interval.
    AfterFailure,
    /// After the pause for dependencies.
    AfterDependency,
}

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Nobody but the status and the log.
    Silent,
    /// A normal event.
    Info,
    /// A warning event.
    Error,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The reason of Ready=False; none leaves the conditions alone.
    pub reason: Option<&'static str>,
    /// When it is tried again.
    pub retry: Retry,
    /// Who is told.
    pub notice: Notice,
    /// Whether it is terminal: Stalled=True.
    pub stalled: bool,
    /// Whether the status says that this generation was dealt with.
    pub observed: bool,
    /// The status in the history; none for failures before there are manifests.
    pub history: Option<&'static str>,
}

impl Failure {
    /// Whether the source is not there or has nothing to offer, for now.
    pub fn is_about_source(&self) -> bool {
        matches!(
            self,
            Failure::SourceMissing(_) | Failure::SourceUnreadable { .. } | Failure::NoArtifact { .. }
        )
    }

    /// The table.
    pub fn fate(&self) -> Fate {
        use Notice::{Error, Info, Silent};
        use Retry::{AfterDependency, AfterFailure, Backoff, Never, Outage};
        let fate = |reason, retry, notice| Fate {
            reason: Some(reason),
            retry,
            notice,
            stalled: retry == Never,
            observed: false,
            history: None,
        };
        let soon = |outage| if outage { Outage } else { Backoff };
        match self {
            Failure::Unsupported(_) => Fate {
                observed: true,
                ..fate(reason::UNSUPPORTED_FEATURE, Never, Error)
            },
            Failure::AccessDenied(_) => fate(reason::ACCESS_DENIED, Never, Error),
            Failure::SourceMissing(_) => fate(reason::ARTIFACT_FAILED, AfterFailure, Silent),
            Failure::SourceUnreadable { outage, .. } => fate(reason::ARTIFACT_FAILED, soon(*outage), Silent),
            Failure::NoArtifact { .. } | Failure::ArtifactGone { .. } => {
                fate(reason::ARTIFACT_FAILED, AfterDependency, Silent)
            }
            Failure::Dependency(_) => fate(reason::DEPENDENCY_NOT_READY, AfterDependency, Info),
            Failure::Artifact(_) => fate(reason::ARTIFACT_FAILED, AfterFailure, Error),
            Failure::Workspace(_) => fate(reason::DIRECTORY_CREATION_FAILED, AfterFailure, Error),
            Failure::Client(_) => fate(reason::RECONCILIATION_FAILED, AfterFailure, Error),
            Failure::Build(_) => fate(reason::BUILD_FAILED, AfterFailure, Error),
            Failure::Apply(_) => Fate {
                history: Some(reason::RECONCILIATION_FAILED),
                ..fate(reason::RECONCILIATION_FAILED, AfterFailure, Error)
            },
            Failure::Unreachable(_) => fate(reason::RECONCILIATION_FAILED, Outage, Silent),
            Failure::Prune(_) => Fate {
                history: Some(reason::PRUNE_FAILED),
                ..fate(reason::PRUNE_FAILED, AfterFailure, Error)
            },
            Failure::Health { .. } => Fate {
                history: Some(reason::HEALTH_CHECK_FAILED),
                ..fate(reason::HEALTH_CHECK_FAILED, AfterFailure, Error)
            },
            Failure::Status { outage, .. } => Fate {
                reason: None,
                stalled: false,
                ..fate("", soon(*outage), Silent)
            },
        }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Failure::Status {
            text: error.to_string(),
            outage: is_outage(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_terminal_failures_are_stalled_and_never_tried_again() {
        let stalled = Failure::AccessDenied("no".into()).fate();
        assert!(stalled.stalled && stalled.retry == Retry::Never && !stalled.observed);
        let failed = Failure::Build("no".into()).fate();
        assert!(!failed.stalled && failed.retry == Retry::AfterFailure && failed.history.is_none());
        let health = Failure::Health {
            took: api::Duration::from_secs(30),
            cause: "slow".into(),
            origins: "\nPod/n/a is from a.yaml:1".into(),
        };
        assert_eq!(
            health.to_string(),
            "health check failed after 30s: slow\nPod/n/a is from a.yaml:1"
        );
        assert_eq!(health.fate().history, Some("HealthCheckFailed"));
    }

    #[test]
    fn what_an_api_server_did_that_was_away_is_tried_again_when_it_may_be_back() {
        let retry = |failure: Failure| failure.fate().retry;
        assert_eq!(retry(Failure::Unreachable("cut off".into())), Retry::Outage);
        assert_eq!(retry(kube::Error::Service("refused".into()).into()), Retry::Outage);
        let text = String::new;
        assert_eq!(
            retry(Failure::SourceUnreadable {
                text: text(),
                outage: true
            }),
            Retry::Outage
        );
        assert_eq!(
            retry(Failure::SourceUnreadable {
                text: text(),
                outage: false
            }),
            Retry::Backoff
        );
        let invalid = kube::core::Status::failure("no", "Invalid").with_code(422).boxed();
        assert_eq!(retry(kube::Error::Api(invalid).into()), Retry::Backoff);
        assert_eq!(retry(Failure::Prune("no".into())), Retry::AfterFailure);
    }
}
