//! What happened to objects, in Flux's words.

use crate::health::Status;
use crate::inventory::Owned;
use api::kustomize::ChangeEntry;
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
    /// What was corrected, if the object had been as the manifest says before.
    pub correction: Option<Correction>,
    /// What the API server's answer says of the object; nothing if it was not asked.
    pub answer: Option<Answer>,
}

impl Entry {
    /// An entry without correction or answer.
    pub fn new(owned: Owned, action: Action) -> Self {
        Entry {
            owned,
            action,
            correction: None,
            answer: None,
        }
    }

    /// Whether it is in the cluster and not left alone.
    pub fn is_present(&self) -> bool {
        !matches!(self.action, Action::Skipped | Action::Deleted)
    }

    /// What the status tells of it, its origin aside.
    pub fn told(&self) -> ChangeEntry {
        let (fields, manager) = match &self.correction {
            Some(correction) => (correction.fields.clone(), correction.manager.clone()),
            None => (Vec::new(), None),
        };
        ChangeEntry {
            object: self.owned.id.to_string(),
            action: self.action.to_string(),
            fields,
            manager,
            origin: None,
        }
    }
}

/// Somebody else's change that was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The fields, never their values; [`ChangeEntry::DELETED`] for the object as a whole.
    pub fields: Vec<String>,
    /// Who had changed them, as far as the API server knows.
    pub manager: Option<String>,
}

/// An object in an answer of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its resource version, as a number.
    pub version: u64,
    /// How it did.
    pub status: Status,
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

    /// One line per object that is not as before, and one more for each correction.
    pub fn changed_lines(&self) -> String {
        let lines = self.changed().flat_map(|entry| {
            let correction = entry.told().correction();
            std::iter::once(entry.to_string()).chain(correction)
        });
        lines.collect::<Vec<_>>().join("\n")
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
        let owned = Owned {
            id,
            version: "v1".into(),
        };
        Entry::new(owned, action)
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
        let present = changes.entries.iter().filter(|entry| entry.is_present());
        let kinds: Vec<_> = present.map(|entry| entry.owned.id.kind.as_str()).collect();
        assert_eq!(kinds, ["Namespace", "ConfigMap"]);
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
