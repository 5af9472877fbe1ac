//! Who is to run before its time.
//!
//! A finished run rests until its interval is over or its inputs change. Some news change what a run would do without
//! changing its inputs; they are noted here, so that the next call does not rest.

use super::Name;
use api::kustomize::Kustomization;
use runtime::controller::Trigger;
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Instant;

/// Kustomizations that are to run before their time although their inputs are the same: a dependency has turned ready,
/// a variable has changed, a kind that was missing is defined.
#[derive(Debug, Default)]
pub struct Asked {
    asked: Mutex<HashSet<Name>>,
    lacking: Mutex<HashMap<String, HashSet<Name>>>,
    /// When definitions of an API group changed last.
    defined: Mutex<HashMap<String, Instant>>,
}

impl Asked {
    /// Asks one to run, even if its inputs are the same.
    pub fn ask(&self, trigger: &Trigger<Kustomization>, namespace: &str, name: &str) {
        runtime::lock(&self.asked).insert((namespace.to_owned(), name.to_owned()));
        trigger.wake(namespace, name);
    }

    /// A definition in an API group has changed: asks those that lacked a kind of it.
    pub fn defined(&self, trigger: &Trigger<Kustomization>, group: &str) {
        runtime::lock(&self.defined).insert(group.to_owned(), Instant::now());
        for (namespace, name) in runtime::lock(&self.lacking).remove(group).unwrap_or_default() {
            self.ask(trigger, &namespace, &name);
        }
    }

    /// One lacked a kind of an API group when it looked, at or after `since`.
    pub(super) fn lacks(&self, trigger: &Trigger<Kustomization>, name: Name, group: &str, since: Instant) {
        runtime::lock(&self.lacking)
            .entry(group.to_owned())
            .or_default()
            .insert(name);
        // It may have been defined while the rest of the stage was looked at.
        if runtime::lock(&self.defined)
            .get(group)
            .is_some_and(|defined| *defined >= since)
        {
            self.defined(trigger, group);
        }
    }

    /// Whether one was asked and has not run since.
    pub(super) fn is_asked(&self, name: &Name) -> bool {
        runtime::lock(&self.asked).contains(name)
    }

    /// Whether one was asked; it is not any more.
    pub(super) fn take(&self, name: &Name) -> bool {
        runtime::lock(&self.asked).remove(name)
    }

    /// One is gone.
    pub(super) fn forget(&self, name: &Name) {
        self.take(name);
        runtime::lock(&self.lacking).retain(|_, names| {
            names.remove(name);
            !names.is_empty()
        });
    }
}
