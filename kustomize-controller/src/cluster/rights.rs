//! The watches that tell when rights may have changed: metadata of roles and their bindings.
//!
//! What a service account may do decides whether an apply as that account would still go well. Nobody is told about
//! that, so whoever acts as an account verifies at its next interval after a change. Which account a change concerns is
//! not worked out here.

use super::Clusters;
use futures::StreamExt;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Resource};
use runtime::watching::watch;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use tokio_util::sync::CancellationToken;

impl Clusters {
    /// Follows roles and bindings until the token is cancelled, and calls after each change. Without the right to watch
    /// them nothing is told.
    pub fn follow_rights(&self, shutdown: &CancellationToken, changed: impl Fn() + Clone + Send + 'static) {
        self.follow::<ClusterRole>(shutdown, changed.clone());
        self.follow::<ClusterRoleBinding>(shutdown, changed.clone());
        self.follow::<Role>(shutdown, changed.clone());
        self.follow::<RoleBinding>(shutdown, changed);
    }

    fn follow<K>(&self, shutdown: &CancellationToken, changed: impl Fn() + Send + 'static)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let api: Api<PartialObjectMeta<K>> = Api::all(self.own().client());
        let events = watch(api, watcher::Config::default()).take_until(shutdown.clone().cancelled_owned());
        let (mut listed, mut said) = (false, false);
        tokio::spawn(events.for_each(move |event| {
            match event {
                Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)) => changed(),
                // Whatever came to pass while nobody watched.
                Ok(watcher::Event::InitDone) if std::mem::replace(&mut listed, true) => changed(),
                Ok(watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::InitDone) => {}
                Err(error) if !std::mem::replace(&mut said, true) => {
                    let kind = K::kind(&());
                    tracing::info!(%error, %kind, "cannot watch rights: changes are noticed at verifications only");
                }
                Err(_) => {}
            }
            std::future::ready(())
        }));
    }
}
