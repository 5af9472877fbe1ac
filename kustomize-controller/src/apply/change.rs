//! What happened to objects, in Flux's words.

use crate::inventory::Owned;
use std::fmt;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// It did not exist.
    Created,
    /// It differed.
    Configured,
    /// It is as it should be.
    Unchanged,
    /// It is left alone, because a mark says so or another one owns it.
    Skipped,
    /// It is gone, or will be.
    Deleted,
}

impl Action {
    /// Flux's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Created => "created",
            Action::Configured => "configured",
            Action::Unchanged => "unchanged",
            Action::Skipped => "skipped",
            Action::Deleted => "deleted",
        }
    }

    /// Whether the cluster is not as before.
    pub fn is_change(self) -> bool {
        match self {
            Action::Created | Action::Configured | Action::Deleted => true,
            Action::Unchanged | Action::Skipped => false,
        }
    }
}

/// Flux's word.
impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// An object and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The object, as the API server names it.
    pub owned: Owned,
    /// What happened.
    pub action: Action,
}

/// A line of Flux's change lists: `Kind/namespace/name created`.
impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.owned.id, self.action)
    }
}

/// What happened to many objects, in the order in which it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// One entry per object.
    pub entries: Vec<Entry>,
}

impl ChangeSet {
    /// Adds what happened next.
    pub fn extend(&mut self, next: ChangeSet) {
        self.entries.extend(next.entries);
    }

    /// All objects, those left alone included: what Flux's inventory lists.
    pub fn owned(&self) -> Vec<Owned> {
        self.entries.iter().map(|entry| entry.owned.clone()).collect()
    }

    /// The objects that are not left alone: those whose health `spec.wait` waits for.
    pub fn present(&self) -> impl Iterator<Item = &Owned> {
        let present = self
            .entries
            .iter()
            .filter(|entry| !matches!(entry.action, Action::Skipped | Action::Deleted));
        present.map(|entry| &entry.owned)
    }

    /// The objects that are not as before.
    pub fn changed(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.action.is_change())
    }

    /// Whether any object is not as before.
    pub fn has_changes(&self) -> bool {
        self.changed().next().is_some()
    }

    /// One line per object.
    pub fn lines(&self) -> String {
        lines(self.entries.iter())
    }

    /// One line per object that is not as before.
    pub fn changed_lines(&self) -> String {
        lines(self.changed())
    }
}

fn lines<'a>(entries: impl Iterator<Item = &'a Entry>) -> String {
    entries.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::ObjectId;

    fn entry(kind: &str, namespace: &str, action: Action) -> Entry {
        let id = ObjectId {
            group: String::new(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: "a".into(),
        };
        Entry {
            owned: Owned {
                id,
                version: "v1".into(),
            },
            action,
        }
    }

    #[test]
    fn lines_read_as_in_flux() {
        let mut changes = ChangeSet {
            entries: vec![entry("Namespace", "", Action::Created)],
        };
        changes.extend(ChangeSet {
            entries: vec![
                entry("ConfigMap", "n", Action::Unchanged),
                entry("Job", "n", Action::Skipped),
            ],
        });
        assert_eq!(
            changes.lines(),
            "Namespace/a created\nConfigMap/n/a unchanged\nJob/n/a skipped"
        );
        assert_eq!(changes.changed_lines(), "Namespace/a created");
        assert_eq!(
            changes
                .present()
                .map(|owned| owned.id.kind.as_str())
                .collect::<Vec<_>>(),
            ["Namespace", "ConfigMap"]
        );
        assert_eq!(changes.owned().len(), 3);
    }

    #[test]
    fn objects_that_stay_as_they_are_are_no_changes() {
        let changes = ChangeSet {
            entries: vec![entry("Job", "n", Action::Skipped), entry("Job", "n", Action::Unchanged)],
        };
        assert!(!changes.has_changes());
        assert_eq!(changes.changed_lines(), "");
    }
}
