//! Mappings: their entries, and what is remembered of the text that no entry can hold.
//!
//! Objects are made of many small mappings, so the entries are in a list, ordered by key: it takes a tenth of the room of a
//! tree. What changes many entries of a large mapping goes through it once, in order, instead of inserting here and there.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Node;

/// A key. Mappings that were read from one text share theirs.
pub(crate) type Name = Rc<str>;

/// Among so few entries one is found fastest by looking at all: most keys differ in length already.
const FEW: usize = 12;

/// The entries of a mapping; of a key that was given several times the first, which is the one that upstream finds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Map {
    /// Ordered by key.
    entries: Vec<(Name, Node)>,
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
            entries: Vec::new(),
            notes: None,
        }
    }

    /// Gets its entries, in any order; of a key that comes again the last one stays.
    pub fn fill(&mut self, entries: Vec<(Name, Node)>) {
        self.entries = entries;
        self.order();
    }

    fn order(&mut self) {
        if self.entries.is_sorted_by(|(a, _), (b, _)| a < b) {
            return;
        }
        self.entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.entries.dedup_by(|later, earlier| {
            let again = later.0 == earlier.0;
            if again {
                std::mem::swap(later, earlier);
            }
            again
        });
    }

    /// The place of a key, if it is there.
    fn find(&self, key: &str) -> Option<usize> {
        if self.entries.len() > FEW {
            return self.place(key).ok();
        }
        self.entries.iter().position(|(name, _)| **name == *key)
    }

    /// The place of a key, or the one where it would be.
    fn place(&self, key: &str) -> Result<usize, usize> {
        match self.entries.last() {
            // What is built in order is asked for in order.
            Some((last, _)) if &**last < key => Err(self.entries.len()),
            _ => self.entries.binary_search_by(|(name, _)| (**name).cmp(key)),
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether there is an entry of this key.
    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let (_, value) = self.entries.get(self.find(key)?)?;
        Some(value)
    }

    /// The value of a key, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let at = self.find(key)?;
        let (_, value) = self.entries.get_mut(at)?;
        Some(value)
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: impl Into<Name>, value: Node) {
        let key = key.into();
        match self.place(&key) {
            Ok(at) => {
                if let Some((_, old)) = self.entries.get_mut(at) {
                    *old = value;
                }
            }
            Err(at) => {
                self.make_room();
                self.entries.insert(at, (key, value));
            }
        }
    }

    /// The value of a key; what it is to be where there is none.
    pub fn get_or_insert_with(&mut self, key: &str, make: impl FnOnce() -> Node) -> &mut Node {
        let at = match self.place(key) {
            Ok(at) => at,
            Err(at) => {
                self.make_room();
                self.entries.insert(at, (key.into(), make()));
                at
            }
        };
        &mut self.entries[at].1
    }

    /// Most mappings get no entry after they were read, and few get more than one.
    fn make_room(&mut self) {
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(2 + self.entries.len() / 4);
        }
    }

    /// Takes the entry of a key out.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        let at = self.find(key)?;
        Some(self.entries.remove(at).1)
    }

    /// Keeps the entries of which this is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Node) -> bool) {
        self.entries.retain(|(key, value)| keep(key, value));
    }

    /// The entries, in the order of their keys, taken out; the notes stay.
    pub fn take_entries(&mut self) -> std::vec::IntoIter<(Name, Node)> {
        std::mem::take(&mut self.entries).into_iter()
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Name> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &Node> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// The values, in the order of their keys, to change.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// The entries, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Node)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// The entries, in the order of their keys, with the values to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Name, &mut Node)> {
        self.entries.iter_mut().map(|(key, value)| (&*key, value))
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
            entries: Vec::new(),
            notes: self.notes.clone(),
        }
    }

    /// Settles the notes on a key whose value is gone: the next of several values takes its place.
    pub fn expose(&mut self, key: &str) {
        let Some(notes) = &mut self.notes else { return };
        if let Some(rest) = notes.repeated.get_mut(key)
            && !rest.is_empty()
        {
            let next = rest.remove(0);
            self.insert(key, next);
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
        repeated.and_then(|values| values.last()).or_else(|| self.get(key))
    }

    /// What is wrong with the keys of this mapping, if anything.
    pub(super) fn own_flaw(&self) -> Option<&str> {
        let notes = self.notes.as_ref()?;
        let odd = notes.odd.iter().filter(|key| self.contains_key(key));
        let repeated = notes.repeated.iter().filter(|(_, rest)| !rest.is_empty());
        let key = odd.chain(repeated.map(|(key, _)| key)).next()?;
        notes.flaws.get(key).map(String::as_str)
    }
}

impl Extend<(Name, Node)> for Map {
    /// Adds entries; of a key that comes again the last one stays.
    fn extend<T: IntoIterator<Item = (Name, Node)>>(&mut self, entries: T) {
        self.entries.extend(entries);
        self.order();
    }
}

impl<K: Into<Name>> FromIterator<(K, Node)> for Map {
    fn from_iter<T: IntoIterator<Item = (K, Node)>>(entries: T) -> Self {
        let mut map = Self::new();
        map.extend(entries.into_iter().map(|(key, value)| (key.into(), value)));
        map
    }
}

impl<K: Into<Name>, const N: usize> From<[(K, Node); N]> for Map {
    fn from(entries: [(K, Node); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl IntoIterator for Map {
    type Item = (Name, Node);
    type IntoIter = std::vec::IntoIter<(Name, Node)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_ordered_and_the_last_of_a_key_stays() {
        let text = |map: &Map| -> String {
            let entries = map.iter().map(|(key, value)| format!("{key}{} ", value.text()));
            entries.collect()
        };
        let mut map = Map::from([
            ("b", Node::string("1")),
            ("a", Node::string("2")),
            ("b", Node::string("3")),
        ]);
        assert_eq!(text(&map), "a2 b3 ");
        map.insert("c", Node::string("4"));
        map.insert("a", Node::string("5"));
        map.insert("aa", Node::string("6"));
        assert_eq!(text(&map), "a5 aa6 b3 c4 ");
        map.extend([
            ("d".into(), Node::string("7")),
            ("b".into(), Node::string("8")),
            ("b".into(), Node::string("9")),
        ]);
        assert_eq!(text(&map), "a5 aa6 b9 c4 d7 ");
        assert_eq!(
            map.remove("aa").map(|value| value.text().into_owned()).as_deref(),
            Some("6")
        );
        assert_eq!((map.remove("aa"), map.contains_key("b"), map.len()), (None, true, 4));
        assert_eq!(map.get_or_insert_with("b", Node::map).text(), "9");
        assert_eq!(map.get_or_insert_with("e", || Node::string("x")).text(), "x");
        map.retain(|key, _| key < "c");
        assert_eq!(text(&map), "a5 b9 ");
    }

    #[test]
    fn of_a_repeated_key_the_first_value_counts_until_it_is_gone() {
        let mut map = Map::from([("a", Node::string("1"))]);
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
        let mut patch = Map::from([("1", Node::string("x"))]);
        patch.mark_odd("1", "number".to_owned());
        let mut map = Map::new();
        map.take_oddity("1", &patch);
        assert_eq!(map.own_flaw(), None);
        map.insert("1", Node::string("x"));
        assert_eq!(map.own_flaw(), Some("number"));
    }
}
