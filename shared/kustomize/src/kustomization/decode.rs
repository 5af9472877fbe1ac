//! Reading typed fields out of YAML the way Go's JSON decoder does for kustomize: names match without regard to case, null
//! is the same as absent, a value of the wrong type is an error. Reading goes on after an error with the default in place of
//! the value, so that one pass finds them all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use yaml::{Dialect, Node, Position, Value};

use crate::Error;
use crate::error::Problems;
use crate::node::EXACT;

/// The first document of a configuration file, in the YAML 1.1 dialect kustomize reads these in; none when it is empty.
///
/// # Errors
/// Malformed YAML or text that is not UTF-8.
pub(crate) fn document(content: &[u8]) -> Result<Option<Node>, Error> {
    let text = std::str::from_utf8(content).map_err(|_| Error::new("yaml: invalid UTF-8"))?;
    Ok(yaml::parse(text, Dialect::V2)?.into_iter().next())
}

/// Like [`document`], for files in which no key may come twice.
///
/// # Errors
/// As [`document`]; a key given twice.
pub(crate) fn strict_document(content: &[u8]) -> Result<Option<Node>, Error> {
    let text = std::str::from_utf8(content).map_err(|_| Error::new("yaml: invalid UTF-8"))?;
    let (documents, flaws) = yaml::parse_tolerant(text, Dialect::V2)?;
    match flaws.into_iter().next() {
        Some(flaw) => Err(flaw.error.into()),
        None => Ok(documents.into_iter().next()),
    }
}

/// The fields of a mapping, taken one by one.
pub(crate) struct Fields<'a> {
    entries: &'a [(Node, Node)],
    taken: Vec<bool>,
    /// The names that were asked for.
    known: Vec<&'static str>,
    place: String,
    loose: bool,
    found: Rc<RefCell<Problems>>,
}

impl<'a> Fields<'a> {
    /// Reads fields where nothing unknown is tolerated. `place` is the path to them for errors; "" at the top. None when
    /// the node is not there or null.
    ///
    /// # Errors
    /// When this is no mapping, has unknown fields or values of the wrong type, or `decode` fails: all there are.
    pub fn strict<T>(
        node: Option<&'a Node>,
        place: &str,
        decode: impl FnOnce(&mut Fields<'a>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        Self::read(node, place, false, decode)
    }

    /// Reads fields where unknown ones are ignored and numbers and booleans do for strings, as in plugin configurations.
    ///
    /// # Errors
    /// As [`Fields::strict`], unknown fields aside.
    pub fn loose<T>(
        node: Option<&'a Node>,
        place: &str,
        decode: impl FnOnce(&mut Fields<'a>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        Self::read(node, place, true, decode)
    }

    fn read<T>(
        node: Option<&'a Node>,
        place: &str,
        loose: bool,
        decode: impl FnOnce(&mut Fields<'a>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let found = Rc::default();
        let value = Self::nested(node, place.to_owned(), loose, &found, decode)?;
        found.take().finish()?;
        Ok(value)
    }

    /// Reads a mapping inside of others; none also when it cannot be read, which is noted then.
    fn nested<T>(
        node: Option<&'a Node>,
        place: String,
        loose: bool,
        found: &Rc<RefCell<Problems>>,
        decode: impl FnOnce(&mut Fields<'a>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let Some(node) = node.filter(|node| !node.is_null()) else {
            return Ok(None);
        };
        match &node.value {
            Value::Map(entries) => Self::entries(entries, node.position, place, loose, found, decode),
            _ => found.borrow_mut().note(Err(mismatch(node, &place, "a mapping"))),
        }
    }

    fn entries<T>(
        entries: &'a [(Node, Node)],
        position: Position,
        place: String,
        loose: bool,
        found: &Rc<RefCell<Problems>>,
        decode: impl FnOnce(&mut Fields<'a>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let mut fields = Self {
            entries,
            taken: vec![false; entries.len()],
            known: Vec::new(),
            place,
            loose,
            found: Rc::clone(found),
        };
        let before = found.borrow().len();
        let decoded = decode(&mut fields);
        let value = match decoded {
            // What fails for want of a value that could not be read is no news.
            Err(error) if !error.is_fatal() && found.borrow().len() > before => None,
            decoded => {
                let place = |error: Error| match fields.place.as_str() {
                    "" => error.at(position),
                    place => error.at(position).in_field(place),
                };
                found.borrow_mut().note(decoded.map_err(place))?
            }
        };
        fields.finish()?;
        Ok(value)
    }

    fn report(&self, error: Error) -> Result<(), Error> {
        self.found.borrow_mut().note(Err(error)).map(|_: Option<()>| ())
    }

    fn path(&self, name: &str) -> String {
        if self.place.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.place)
        }
    }

    fn take(&mut self, name: &'static str) -> Option<&'a Node> {
        self.known.push(name);
        let mut found = None;
        for ((key, value), taken) in self.entries.iter().zip(&mut self.taken) {
            if key.as_str().is_some_and(|key| key.eq_ignore_ascii_case(name)) {
                *taken = true;
                if !value.is_null() {
                    found = Some(value);
                }
            }
        }
        found
    }

    fn as_text(&self, node: &Node, path: &str) -> Result<Option<String>, Error> {
        match &node.value {
            // A kustomization is handed on as JSON that is read as YAML.
            Value::Str(text) if !self.loose => Ok(Some(yaml::through_json(text).into_owned())),
            Value::Str(text) => Ok(Some(text.clone())),
            Value::Int(number) if self.loose => Ok(Some(number.to_string())),
            Value::Uint(number) if self.loose => Ok(Some(number.to_string())),
            Value::Float(number) if self.loose => Ok(Some(number.to_string())),
            Value::Bool(value) if self.loose => Ok(Some(value.to_string())),
            _ => self.report(mismatch(node, path, "a string")).map(|()| None),
        }
    }

    /// Whether a field is there and not null.
    pub fn has(&self, name: &str) -> bool {
        self.entries
            .iter()
            .any(|(key, value)| key.as_str().is_some_and(|key| key.eq_ignore_ascii_case(name)) && !value.is_null())
    }

    /// Notes that a field must not be there, if it is there and neither null nor an empty list.
    ///
    /// # Errors
    /// When there are too many problems to go on.
    pub fn refuse(&mut self, name: &'static str, why: impl std::fmt::Display) -> Result<(), Error> {
        match self.take(name) {
            Some(node) if !node.as_seq().is_some_and(<[Node]>::is_empty) => {
                let path = self.path(name);
                self.report(
                    Error::new(format!("field '{path}': {why}"))
                        .at(node.position)
                        .in_field(&path),
                )
            }
            _ => Ok(()),
        }
    }

    /// Whether this is a plugin's configuration.
    pub fn is_loose(&self) -> bool {
        self.loose
    }

    /// A string; none when absent.
    ///
    /// # Errors
    /// When there are too many problems to go on; this is so for every field. A value that is no string is noted.
    pub fn optional_text(&mut self, name: &'static str) -> Result<Option<String>, Error> {
        let path = self.path(name);
        match self.take(name) {
            Some(node) => self.as_text(node, &path),
            None => Ok(None),
        }
    }

    /// A string; empty when absent.
    ///
    /// # Errors
    /// When it is no string.
    pub fn text(&mut self, name: &'static str) -> Result<String, Error> {
        self.optional_text(name).map(Option::unwrap_or_default)
    }

    /// A boolean; false when absent.
    ///
    /// # Errors
    /// When it is no boolean.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, Error> {
        match self.take(name) {
            None => Ok(false),
            Some(Node {
                value: Value::Bool(value),
                ..
            }) => Ok(*value),
            Some(node) => self
                .report(mismatch(node, &self.path(name), "a boolean"))
                .map(|()| false),
        }
    }

    /// An integer; 0 when absent.
    ///
    /// # Errors
    /// When it is no integer.
    pub fn integer(&mut self, name: &'static str) -> Result<i64, Error> {
        match self.take(name) {
            None => Ok(0),
            Some(Node {
                value: Value::Int(value),
                ..
            }) => Ok(*value),
            // On its way through JSON a float without a fraction is an integer: `1e2`, `3.0`.
            Some(Node {
                value: Value::Float(value),
                ..
            }) if value.fract() == 0.0 && value.abs() < EXACT => Ok(*value as i64),
            Some(node) => self.report(mismatch(node, &self.path(name), "an integer")).map(|()| 0),
        }
    }

    fn items(&mut self, name: &'static str) -> Result<&'a [Node], Error> {
        match self.take(name) {
            None => Ok(&[]),
            Some(node) => match node.as_seq() {
                Some(items) => Ok(items),
                None => self
                    .report(mismatch(node, &self.path(name), "a list"))
                    .map(|()| &[][..]),
            },
        }
    }

    /// A list of strings; empty when absent.
    ///
    /// # Errors
    /// When it is no list, or an item no string.
    pub fn texts(&mut self, name: &'static str) -> Result<Vec<String>, Error> {
        let path = self.path(name);
        let items = self.items(name)?;
        items
            .iter()
            .enumerate()
            .map(|(at, item)| {
                if item.is_null() {
                    Ok(String::new())
                } else {
                    self.as_text(item, &format!("{path}[{at}]"))
                        .map(Option::unwrap_or_default)
                }
            })
            .collect()
    }

    /// A mapping of strings; empty when absent.
    ///
    /// # Errors
    /// When it is no mapping, or a value no string.
    pub fn strings(&mut self, name: &'static str) -> Result<BTreeMap<String, String>, Error> {
        let path = self.path(name);
        let Some(node) = self.take(name) else {
            return Ok(BTreeMap::new());
        };
        let Some(entries) = node.as_map() else {
            return self
                .report(mismatch(node, &path, "a mapping"))
                .map(|()| BTreeMap::new());
        };
        entries
            .iter()
            .map(|(key, value)| {
                let at = key.position;
                let key = key.as_str().unwrap_or_default();
                if !self.loose && yaml::through_json(key) != key {
                    let error = Error::new(format!("field {path}: a key with a line break in it (U+0085)"));
                    self.report(error.at(at).in_field(&path))?;
                }
                let text = if value.is_null() {
                    String::new()
                } else {
                    self.as_text(value, &format!("{path}.{key}"))?.unwrap_or_default()
                };
                Ok((key.to_owned(), text))
            })
            .collect()
    }

    /// A list of mappings; empty when absent.
    ///
    /// # Errors
    /// When it is no list, an item no mapping, or `decode` fails.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        decode: impl Fn(&mut Fields<'a>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let path = self.path(name);
        let items = self.items(name)?;
        let mut result = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let place = format!("{path}[{at}]");
            let value = if item.is_null() {
                // An item that is null is one without fields.
                Self::entries(&[], item.position, place, self.loose, &self.found, &decode)?
            } else {
                Self::nested(Some(item), place, self.loose, &self.found, &decode)?
            };
            result.extend(value);
        }
        Ok(result)
    }

    /// A mapping; none when absent.
    ///
    /// # Errors
    /// When it is no mapping, or `decode` fails.
    pub fn object<T>(
        &mut self,
        name: &'static str,
        decode: impl FnOnce(&mut Fields<'a>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let path = self.path(name);
        let node = self.take(name);
        Self::nested(node, path, self.loose, &self.found, decode)
    }

    /// Marks a field as known without reading it.
    pub fn skip(&mut self, name: &'static str) {
        self.take(name);
    }

    /// Whether every field so far, `except` aside, is null or an empty string.
    pub fn is_blank(&self, except: &[&str]) -> bool {
        self.entries.iter().all(|(key, value)| {
            key.as_str()
                .is_some_and(|key| except.iter().any(|known| key.eq_ignore_ascii_case(known)))
                || value.is_null()
                || value.as_str() == Some("")
        })
    }

    /// Forgets the fields nobody asked for.
    pub fn drop_unknown(&mut self) {
        self.taken.iter_mut().for_each(|taken| *taken = true);
    }

    /// Notes the fields nobody asked for.
    fn finish(&self) -> Result<(), Error> {
        if self.loose {
            return Ok(());
        }
        for ((key, _), _) in self.entries.iter().zip(&self.taken).filter(|(_, taken)| !**taken) {
            let name = key.as_str().unwrap_or_default();
            let mut message = format!("json: unknown field \"{name}\"");
            if let Some(meant) = closest(name, &self.known) {
                message.push_str(&format!("; did you mean \"{meant}\"?"));
            }
            self.report(Error::new(message).at(key.position).in_field(&self.path(name)))?;
        }
        Ok(())
    }
}

/// The known name that a mistyped one is for: two letters away at most, and not more than it has in common.
fn closest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    const LONGEST: usize = 64;
    let typed: Vec<char> = name.to_lowercase().chars().take(LONGEST).collect();
    let nearest = known.iter().map(|known| (distance(&typed, known), *known)).min()?;
    (nearest.0 <= 2 && nearest.0 * 2 < typed.len()).then_some(nearest.1)
}

/// How many letters have to be put in, left out or replaced.
fn distance(typed: &[char], known: &str) -> usize {
    let mut row: Vec<usize> = (0..=typed.len()).collect();
    for (at, letter) in known.to_lowercase().chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (index, other) in typed.iter().enumerate() {
            let replaced = diagonal + usize::from(*other != letter);
            diagonal = row[index + 1];
            row[index + 1] = replaced.min(diagonal + 1).min(row[index] + 1);
        }
    }
    row[typed.len()]
}

fn mismatch(node: &Node, path: &str, expected: &str) -> Error {
    let into = if path.is_empty() {
        String::new()
    } else {
        format!(" into field {path}")
    };
    let error = Error::new(format!(
        "json: cannot unmarshal {}{into}: expected {expected}",
        node.value.kind()
    ));
    let error = error.at(node.position);
    if path.is_empty() { error } else { error.in_field(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &[&str]>) {
        let document = document(text.as_bytes()).unwrap();
        let result = Fields::strict(document.as_ref(), "", |fields| {
            fields.flag("flag")?;
            Ok(fields.list("items", |item| item.text("name"))?.join(","))
        });
        match expected {
            Ok(value) => assert_eq!(result.unwrap().unwrap(), value),
            Err(lines) => assert_eq!(result.unwrap_err().to_string().lines().collect::<Vec<_>>(), lines),
        }
    }

    #[test]
    fn names_match_in_any_case_and_unknown_ones_are_refused() {
        check("Items: [{NAME: a}, {name: null}, null]", Ok("a,,"));
        check(
            "items: [{nam: a}]",
            Err(&["json: unknown field \"nam\"; did you mean \"name\"? (at items[0].nam, line 1)"]),
        );
        check("x: 1\n", Err(&["json: unknown field \"x\" (at x, line 1)"]));
    }

    #[test]
    fn everything_that_is_wrong_is_found() {
        check(
            "items:\n- name: 1\n- a\n- other: 1\n  name: []\nflag: x\niitems: 1",
            Err(&[
                "json: cannot unmarshal string into field flag: expected a boolean (at flag, line 6)",
                "json: cannot unmarshal number into field items[0].name: expected a string (at items[0].name, line 2)",
                "json: cannot unmarshal string into field items[1]: expected a mapping (at items[1], line 3)",
                "json: cannot unmarshal list into field items[2].name: expected a string (at items[2].name, line 5)",
                "json: unknown field \"other\" (at items[2].other, line 4)",
                "json: unknown field \"iitems\"; did you mean \"items\"? (at iitems, line 7)",
            ]),
        );
        check(
            "items: a\n",
            Err(&["json: cannot unmarshal string into field items: expected a list (at items, line 1)"]),
        );
    }

    #[test]
    fn names_are_compared_by_letters() {
        assert_eq!(closest("resourcs", &["bases", "resources"]), Some("resources"));
        assert_eq!(closest("Nmae", &["name"]), None);
        assert_eq!(closest("nam", &["name"]), Some("name"));
        assert_eq!(closest("x", &["name"]), None);
    }
}
