//! The paths that are served, from the moment a Receiver is found ready: the watch would know it a little later.

use runtime::lock;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// The Receivers that are ready, by path.
#[derive(Debug, Default)]
pub struct Hooks {
    by_path: Mutex<BTreeMap<String, (String, String)>>,
}

impl Hooks {
    /// A Receiver is ready under this path and no other.
    pub fn set(&self, path: &str, namespace: &str, name: &str) {
        let owner = (namespace.to_owned(), name.to_owned());
        let mut by_path = lock(&self.by_path);
        by_path.retain(|_, other| *other != owner);
        by_path.insert(path.to_owned(), owner);
    }

    /// A Receiver is not ready.
    pub fn remove(&self, namespace: &str, name: &str) {
        lock(&self.by_path).retain(|_, (space, other)| space != namespace || other != name);
    }

    /// The namespace and name of the Receiver under this path.
    pub fn find(&self, path: &str) -> Option<(String, String)> {
        lock(&self.by_path).get(path).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_has_one_path_at_a_time() {
        let hooks = Hooks::default();
        hooks.set("/hook/1", "d", "a");
        hooks.set("/hook/2", "d", "a");
        assert_eq!(hooks.find("/hook/1"), None);
        assert_eq!(hooks.find("/hook/2"), Some(("d".into(), "a".into())));
        hooks.remove("d", "b");
        assert!(hooks.find("/hook/2").is_some());
        hooks.remove("d", "a");
        assert_eq!(hooks.find("/hook/2"), None);
    }
}
