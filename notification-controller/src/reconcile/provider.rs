//! Providers: the engine is told that one changed, and the user if it is of a type that is not supported yet.

use super::FIELD_MANAGER;
use crate::engine::Mailbox;
use crate::unsupported;
use api::notification::Provider;
use kube::{Client, ResourceExt};
use runtime::controller::{Gone, Next, Reconcile};
use runtime::events::{Notice, Recorder, Severity};
use runtime::finalizer;
use runtime::process::Process;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Watches Providers.
pub struct Reconciler {
    client: Client,
    recorder: Recorder,
    mailbox: Mailbox,
}

impl Reconciler {
    /// A reconciler that tells this mailbox.
    pub fn new(process: &Process, mailbox: Mailbox) -> Self {
        Reconciler {
            client: process.client.clone(),
            recorder: process.recorder.clone(),
            mailbox,
        }
    }
}

fn key(provider: &Provider) -> String {
    format!("{}/{}", provider.namespace().unwrap_or_default(), provider.name_any())
}

impl Reconcile for Reconciler {
    type Object = Provider;

    async fn reconcile(&self, provider: Arc<Provider>) -> Next {
        self.mailbox.changed(Some(key(&provider)));
        if provider.metadata.deletion_timestamp.is_none() {
            if let Some(message) = unsupported::provider(provider.spec.provider_type) {
                tracing::error!(error = message, "no message is sent");
                self.recorder.tell(
                    &*provider,
                    Notice {
                        severity: Severity::Error,
                        reason: unsupported::REASON.to_owned(),
                        message,
                        annotations: BTreeMap::new(),
                    },
                );
            }
            return Next::Event;
        }
        match finalizer::remove(&self.client, FIELD_MANAGER, &*provider).await {
            Ok(()) => Next::Event,
            Err(error) => {
                tracing::error!(%error, "cannot remove the finalizer");
                Next::retry(&error)
            }
        }
    }

    fn gone(&self, provider: &Gone) {
        self.mailbox
            .changed(Some(format!("{}/{}", provider.namespace, provider.name)));
    }
}
