//! Receivers: the token makes the path, and the status says which it is.

use super::FIELD_MANAGER;
use crate::receiver::hooks::Hooks;
use crate::receiver::path;
use crate::{secrets, unsupported};
use api::Duration;
use api::meta::condition::{READY, RECONCILING, STALLED};
use api::meta::{key, reason};
use api::notification::{Receiver, ReceiverType};
use kube::{Client, ResourceExt};
use runtime::conditions::Verdict;
use runtime::controller::{Gone, Next, Reconcile};
use runtime::events::{Notice, Recorder, Severity};
use runtime::finalizer;
use runtime::metrics::{Metrics, ObjectLabels};
use runtime::objects::Objects;
use runtime::process::Process;
use runtime::report::{Ledger, Report};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// The pause before the Secret is looked at again, where the Receiver does not say.
const DEFAULT_INTERVAL: Duration = Duration::from_mins(10);

/// Reconciles Receivers.
pub struct Reconciler {
    client: Client,
    recorder: Recorder,
    metrics: Metrics,
    ledger: Arc<Ledger<Receiver>>,
    hooks: Arc<Hooks>,
}

/// Why a Receiver is not ready.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("unable to read token from secret '{0}' error: {1}")]
    Unreadable(String, String),
    #[error("invalid '{0}' secret data: required fields 'token'")]
    NoToken(String),
    #[error("{0}")]
    Unsupported(String),
    #[error("{0}")]
    Invalid(&'static str),
}

impl Failure {
    /// The reason, and whether only a change of the Receiver can help.
    fn verdict(&self) -> (&'static str, bool) {
        match self {
            Failure::Unreadable(..) | Failure::NoToken(_) => (reason::TOKEN_NOT_FOUND, false),
            Failure::Unsupported(_) => (unsupported::REASON, true),
            Failure::Invalid(_) => (reason::VALIDATION_FAILED, true),
        }
    }
}

impl Reconciler {
    /// A reconciler of the objects that enters ready Receivers into these hooks.
    pub fn new(process: &Process, objects: Objects<Receiver>, hooks: Arc<Hooks>) -> Self {
        let store = move |namespace: &str, name: &str| objects.get(namespace, name);
        Reconciler {
            client: process.client.clone(),
            recorder: process.recorder.clone(),
            metrics: process.metrics.clone(),
            ledger: Ledger::new(process.client.clone(), FIELD_MANAGER, store),
            hooks,
        }
    }

    /// The path of a Receiver.
    async fn sync(&self, receiver: &Receiver) -> Result<String, Failure> {
        if let Some(why) = unsupported::receiver(&receiver.spec) {
            return Err(Failure::Unsupported(why));
        }
        let (namespace, name) = (receiver.namespace().unwrap_or_default(), receiver.name_any());
        let Some(reference) = &receiver.spec.secret_ref else {
            return Err(Failure::Invalid("secretRef is required when type is not generic-oidc"));
        };
        if !receiver.spec.oidc_providers.is_empty() && receiver.spec.receiver_type != ReceiverType::GenericOidc {
            return Err(Failure::Invalid(
                "oidcProviders can only be set when type is generic-oidc",
            ));
        }
        let token = token(&self.client, &namespace, &reference.name).await?;
        Ok(path(&token, &name, &namespace))
    }

    /// Turns an outcome into conditions, an event, and what comes next.
    async fn conclude(
        &self,
        receiver: &Receiver,
        mut report: Report<Receiver>,
        outcome: Result<String, Failure>,
    ) -> Next {
        let (namespace, name) = (receiver.namespace().unwrap_or_default(), receiver.name_any());
        let interval = receiver.spec.interval.unwrap_or(DEFAULT_INTERVAL);
        let generation = Some(report.generation());
        let (next, severity, reason, message) = match outcome {
            Ok(path) => {
                self.hooks.set(&path, &namespace, &name);
                let message = format!("Receiver initialized for path: {path}");
                report.status_mut().webhook_path = Some(path);
                report.status_mut().observed_generation = generation;
                report.remove(RECONCILING);
                report.remove(STALLED);
                report.set(READY, Verdict::True, reason::SUCCEEDED, &message);
                let text = format!("Reconciliation finished, next run in {interval}");
                (Next::After(interval.std()), Severity::Info, reason::SUCCEEDED, text)
            }
            Err(failure) => {
                self.hooks.remove(&namespace, &name);
                let message = failure.to_string();
                let (reason, stalled) = failure.verdict();
                tracing::error!(error = message, "reconciliation failed");
                if stalled {
                    report.set(STALLED, Verdict::True, reason, &message);
                    report.set(READY, Verdict::False, reason, &message);
                    report.status_mut().observed_generation = generation;
                    (Next::Event, Severity::Error, reason, message)
                } else {
                    report.status_mut().webhook_path = None;
                    let progress = (reason::PROGRESSING_WITH_RETRY, "Reconciliation in progress");
                    report.set(RECONCILING, Verdict::True, progress.0, progress.1);
                    report.set(READY, Verdict::False, reason, &message);
                    (Next::Backoff, Severity::Error, reason::FAILED, message)
                }
            }
        };
        let written = report.write().await;
        let notice = Notice {
            severity,
            reason: reason.to_owned(),
            message,
            annotations: BTreeMap::new(),
        };
        self.recorder.tell(receiver, notice);
        match written {
            Ok(()) => next,
            Err(error) => {
                tracing::error!(%error, "cannot write the status");
                Next::retry(&error)
            }
        }
    }

    async fn finalize(&self, receiver: &Receiver) -> Next {
        self.hooks
            .remove(&receiver.namespace().unwrap_or_default(), &receiver.name_any());
        match finalizer::remove(&self.client, FIELD_MANAGER, receiver).await {
            Ok(()) => Next::Event,
            Err(error) => {
                tracing::error!(%error, "cannot remove the finalizer");
                Next::retry(&error)
            }
        }
    }
}

impl Reconcile for Reconciler {
    type Object = Receiver;

    async fn reconcile(&self, receiver: Arc<Receiver>) -> Next {
        if receiver.metadata.deletion_timestamp.is_some() {
            return self.finalize(&receiver).await;
        }
        let started = Instant::now();
        let mut report = self.ledger.begin(&receiver);
        if let Some(token) = receiver.annotations().get(key::REQUESTED_AT) {
            report.status_mut().last_handled_reconcile_at = Some(token.clone());
        }
        if receiver.spec.suspend {
            report.status_mut().observed_generation = Some(report.generation());
            return match report.write().await {
                Ok(()) => Next::Event,
                Err(error) => {
                    tracing::error!(%error, "cannot write the status");
                    Next::retry(&error)
                }
            };
        }
        let outcome = self.sync(&receiver).await;
        let next = self.conclude(&receiver, report, outcome).await;
        let labels = labels(&receiver.namespace().unwrap_or_default(), &receiver.name_any());
        self.metrics.reconciled(&labels, started.elapsed());
        next
    }

    fn gone(&self, receiver: &Gone) {
        let Gone { namespace, name, uid } = receiver;
        self.hooks.remove(namespace, name);
        self.ledger.forget(uid);
        self.metrics.forget(&labels(namespace, name));
    }

    fn seen(&self, receiver: &Receiver) {
        self.ledger.seen(receiver);
    }
}

fn labels(namespace: &str, name: &str) -> ObjectLabels {
    ObjectLabels {
        kind: "Receiver".to_owned(),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
    }
}

/// The token in a Secret. It may be empty, but it has to be there.
async fn token(client: &Client, namespace: &str, name: &str) -> Result<Vec<u8>, Failure> {
    let secret = format!("{namespace}/{name}");
    let data = match secrets::read(client, namespace, name).await {
        Ok(data) => data,
        Err(text) => return Err(Failure::Unreadable(secret, text)),
    };
    data.get("token")
        .map(|token| token.0.clone())
        .ok_or(Failure::NoToken(secret))
}
