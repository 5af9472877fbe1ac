//! Alerts: the engine is told that one changed.

use super::FIELD_MANAGER;
use crate::engine::Mailbox;
use api::notification::Alert;
use kube::Client;
use runtime::controller::{Gone, Next, Reconcile};
use runtime::finalizer;
use runtime::process::Process;
use std::sync::Arc;

/// Watches Alerts.
pub struct Reconciler {
    client: Client,
    mailbox: Mailbox,
}

impl Reconciler {
    /// A reconciler that tells this mailbox.
    pub fn new(process: &Process, mailbox: Mailbox) -> Self {
        Reconciler {
            client: process.client.clone(),
            mailbox,
        }
    }
}

impl Reconcile for Reconciler {
    type Object = Alert;

    async fn reconcile(&self, alert: Arc<Alert>) -> Next {
        self.mailbox.changed(None);
        if alert.metadata.deletion_timestamp.is_none() {
            return Next::Event;
        }
        match finalizer::remove(&self.client, FIELD_MANAGER, &*alert).await {
            Ok(()) => Next::Event,
            Err(error) => {
                tracing::error!(%error, "cannot remove the finalizer");
                Next::retry(&error)
            }
        }
    }

    fn gone(&self, _: &Gone) {
        self.mailbox.changed(None);
    }
}
