//! The watch that tells when kinds come and go: metadata of the CustomResourceDefinitions.

use super::Clusters;
use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use runtime::watching::watch;
use tokio_util::sync::CancellationToken;

impl Clusters {
    /// Follows definitions until the token is cancelled: discovery asks anew after each change, and `changed` is
    /// called with the group.
    ///
    /// Definitions that were there when the watch began count as changes too. Without the right to watch them,
    /// discovery falls back to asking when it misses a kind.
    pub fn follow_definitions(&self, shutdown: CancellationToken, mut changed: impl FnMut(&str) + Send + 'static) {
        let api: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(self.own().client());
        let discovery = self.own.discovery.clone();
        let events = watch(api, watcher::Config::default()).take_until(shutdown.cancelled_owned());
        tokio::spawn(events.for_each(move |event| {
            match event {
                Ok(watcher::Event::Apply(definition) | watcher::Event::Delete(definition)) => {
                    let group = group(&definition);
                    discovery.definitions_changed(&group);
                    changed(&group);
                }
                Ok(watcher::Event::InitApply(definition)) => changed(&group(&definition)),
                Ok(watcher::Event::Init | watcher::Event::InitDone) => discovery.outdated(),
                Err(error) => tracing::warn!(%error, "cannot watch CustomResourceDefinitions, will try again"),
            }
            std::future::ready(())
        }));
    }
}

/// The group a definition defines a kind of: its name is `<plural>.<group>`.
fn group(definition: &PartialObjectMeta<CustomResourceDefinition>) -> String {
    definition
        .name_any()
        .split_once('.')
        .map(|(_, group)| group.to_owned())
        .unwrap_or_default()
}
