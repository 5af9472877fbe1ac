//! `spec.dependsOn`: what a Kustomization waits for before it runs, and who waits for one.
//!
//! What a dependency must be is decided elsewhere ([`crate::dependency`]).

use super::{Kustomizer, Name};
use crate::dependency;
use crate::failure::Failure;
use api::kustomize::Kustomization;
use kube::api::Api;
use runtime::path;

impl Kustomizer {
    /// Checks the dependencies in their order; the first that is not ready ends it.
    pub(super) async fn dependencies(&self, object: &Kustomization, revision: &str) -> Result<(), Failure> {
        let me = super::name(object);
        for dependency in dependency::names(object) {
            // Before the check, so that a dependency that turns ready meanwhile still wakes this one.
            runtime::lock(&self.blocked)
                .entry(dependency.clone())
                .or_default()
                .insert(me.clone());
            let Some(mut text) = self.obstacle(object, revision, &dependency).await? else {
                self.unblock(&dependency, &me);
                continue;
            };
            let known = |name: &Name| {
                let found = self.context.objects.get(&name.0, &name.1);
                found
                    .map(|found| dependency::names(&found).collect())
                    .unwrap_or_default()
            };
            if let Some(cycle) = dependency::cycle(&me, known) {
                let names: Vec<_> = cycle
                    .iter()
                    .map(|(namespace, name)| format!("{namespace}/{name}"))
                    .collect();
                text = format!("{text}: dependency loop {}", names.join(" -> "));
            }
            return Err(Failure::Dependency(text));
        }
        Ok(())
    }

    fn unblock(&self, dependency: &Name, waiting: &Name) {
        let mut blocked = runtime::lock(&self.blocked);
        if let Some(waiters) = blocked.get_mut(dependency) {
            waiters.remove(waiting);
            if waiters.is_empty() {
                blocked.remove(dependency);
            }
        }
    }

    /// What keeps a dependency from being ready; looked up in the API where the watch is limited to some.
    async fn obstacle(
        &self,
        object: &Kustomization,
        revision: &str,
        dependency: &Name,
    ) -> Result<Option<String>, Failure> {
        if let Some(found) = self.context.objects.get(&dependency.0, &dependency.1) {
            let found = (&*found, &self.ledger.status(&found));
            return Ok(dependency::obstacle(object, revision, dependency, Some(found)));
        }
        if self.context.sees_all {
            return Ok(dependency::obstacle(object, revision, dependency, None));
        }
        // What cannot be a name is the name of none.
        let (Ok(namespace), Ok(name)) = (path::segment("namespace", &dependency.0), path::name(&dependency.1)) else {
            return Ok(dependency::obstacle(object, revision, dependency, None));
        };
        let api: Api<Kustomization> = Api::namespaced(self.context.process.client.clone(), &namespace);
        let found = api.get_opt(&name).await?;
        let found = found.as_ref().map(|found| (found, self.ledger.status(found)));
        Ok(dependency::obstacle(
            object,
            revision,
            dependency,
            found.as_ref().map(|(found, status)| (*found, status)),
        ))
    }

    /// Wakes whoever waits for a Kustomization.
    pub(super) fn wake_dependents(&self, name: &Name) {
        for (namespace, name) in runtime::lock(&self.blocked).remove(name).unwrap_or_default() {
            self.context.asked.ask(&self.context.trigger, &namespace, &name);
        }
    }
}
