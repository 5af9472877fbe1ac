//! Mappings: their entries, and what is remembered of the text that no entry can hold.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use super::Node;

/// The entries of a mapping; of a key that was given several times the first, which is the one that upstream finds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Map {
    entries: BTreeMap<String, Node>,
    /// Nearly always none.
    notes: Option<Box<Notes>>,
}

/// What most mappings do not have.
#[derive(Clone, Debug, Default, PartialEq)]
struct Notes {
    /// Further values of keys that were given several times, in order.
    repeated: BTreeMap<String, Vec<Node>>,
    /// Keys that read as something else than text.
    odd: BTreeSet<String>,
    /// What the text says about either.
    flaws: BTreeMap<String, String>,
    /// Schemas written in comments at keys.
    schemas: BTreeMap<String, serde_json::Value>,
}

impl Map {
    /// No entries.
    pub const fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            notes: None,
        }
    }

    fn notes_mut(&mut self) -> &mut Notes {
        self.notes.get_or_insert_default()
    }

    /// Notes another value of a key, which the output must not have.
    pub fn repeat(&mut self, key: &str, value: Node, flaw: String) {
        let notes = self.notes_mut();
        notes.repeated.entry(key.to_owned()).or_default().push(value);
        notes.flaws.insert(key.to_owned(), flaw);
    }

    /// Notes that a key is no text, which the output must not have.
    pub fn mark_odd(&mut self, key: &str, flaw: String) {
        let notes = self.notes_mut();
        notes.odd.insert(key.to_owned());
        notes.flaws.insert(key.to_owned(), flaw);
    }

    /// Notes the schema in the comment at a key.
    pub fn note_schema(&mut self, key: &str, schema: serde_json::Value) {
        self.notes_mut().schemas.insert(key.to_owned(), schema);
    }

    /// The schema in the comment at a key.
    pub fn noted_schema(&self, key: &str) -> Option<&serde_json::Value> {
        self.notes.as_ref()?.schemas.get(key)
    }

    /// An empty mapping with the notes of this one.
    pub fn bare(&self) -> Self {
        Self {
            entries: BTreeMap::new(),
            notes: self.notes.clone(),
        }
    }

    /// Settles the notes on a key whose value is gone: the next of several values takes its place.
    pub fn expose(&mut self, key: &str) {
        let Some(notes) = &mut self.notes else { return };
        if let Some(rest) = notes.repeated.get_mut(key)
            && !rest.is_empty()
        {
            self.entries.insert(key.to_owned(), rest.remove(0));
        } else {
            notes.odd.remove(key);
        }
    }

    /// Takes over what another mapping says about a key that was new here: that it is no text.
    pub fn take_oddity(&mut self, key: &str, from: &Map) {
        if let Some(notes) = from.notes.as_ref().filter(|notes| notes.odd.contains(key)) {
            self.mark_odd(key, notes.flaws.get(key).cloned().unwrap_or_default());
        }
    }

    /// The value that counts where a mapping is rebuilt entry by entry: the last.
    pub fn last(&self, key: &str) -> Option<&Node> {
        let repeated = self.notes.as_ref().and_then(|notes| notes.repeated.get(key));
        repeated
            .and_then(|values| values.last())
            .or_else(|| self.entries.get(key))
    }

    /// What is wrong with the keys of this mapping, if anything.
    pub(super) fn own_flaw(&self) -> Option<&str> {
        let notes = self.notes.as_ref()?;
        let odd = notes.odd.iter().filter(|key| self.entries.contains_key(*key));
        let repeated = notes.repeated.iter().filter(|(_, rest)| !rest.is_empty());
        let key = odd.chain(repeated.map(|(key, _)| key)).next()?;
        notes.flaws.get(key).map(String::as_str)
    }
}

impl Deref for Map {
    type Target = BTreeMap<String, Node>;

    fn deref(&self) -> &Self::Target {
        &self.entries
    }
}

impl DerefMut for Map {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.entries
    }
}

impl FromIterator<(String, Node)> for Map {
    fn from_iter<T: IntoIterator<Item = (String, Node)>>(entries: T) -> Self {
        Self {
            entries: entries.into_iter().collect(),
            notes: None,
        }
    }
}

impl<const N: usize> From<[(String, Node); N]> for Map {
    fn from(entries: [(String, Node); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl IntoIterator for Map {
    type Item = (String, Node);
    type IntoIter = std::collections::btree_map::IntoIter<String, Node>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a String, &'a Node);
    type IntoIter = std::collections::btree_map::Iter<'a, String, Node>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

impl<'a> IntoIterator for &'a mut Map {
    type Item = (&'a String, &'a mut Node);
    type IntoIter = std::collections::btree_map::IterMut<'a, String, Node>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_repeated_key_the_first_value_counts_until_it_is_gone() {
        let mut map = Map::from([("a".to_owned(), Node::string("1"))]);
        map.repeat("a", Node::string("2"), "twice".to_owned());
        assert_eq!(
            (map.get("a"), map.last("a")),
            (Some(&Node::string("1")), Some(&Node::string("2")))
        );
        assert_eq!(map.own_flaw(), Some("twice"));
        map.remove("a");
        map.expose("a");
        assert_eq!((map.get("a"), map.own_flaw()), (Some(&Node::string("2")), None));
        map.remove("a");
        map.expose("a");
        assert_eq!(map.get("a"), None);
    }

    #[test]
    fn a_key_that_is_no_text_is_a_flaw_while_it_is_there() {
        let mut patch = Map::from([("1".to_owned(), Node::string("x"))]);
        patch.mark_odd("1", "number".to_owned());
        let mut map = Map::new();
        map.take_oddity("1", &patch);
        assert_eq!(map.own_flaw(), None);
        map.insert("1".to_owned(), Node::string("x"));
        assert_eq!(map.own_flaw(), Some("number"));
    }
}
