//! Reading typed fields out of YAML the way Go's JSON decoder does for kustomize: names match without regard to case, null
//! is the same as absent, a value of the wrong type is an error.

use std::collections::BTreeMap;

use yaml::{Dialect, Node, Value};

use crate::Error;

/// The first document of a configuration file, in the YAML 1.1 dialect kustomize reads these in; none when it is empty.
///
/// # Errors
/// Malformed YAML or text that is not UTF-8.
pub(crate) fn document(content: &[u8]) -> Result<Option<Node>, Error> {
    let text = std::str::from_utf8(content).map_err(|_| Error::new("yaml: invalid UTF-8"))?;
    Ok(yaml::parse(text, Dialect::V2)?.into_iter().next())
}

/// The fields of a mapping, taken one by one.
pub(crate) struct Fields<'a> {
    entries: &'a [(Node, Node)],
    taken: Vec<bool>,
    place: String,
    loose: bool,
}

impl<'a> Fields<'a> {
    fn open(node: Option<&'a Node>, place: &str, loose: bool) -> Result<Option<Self>, Error> {
        match node.map(|node| (&node.value, node)) {
            None | Some((Value::Null, _)) => Ok(None),
            Some((Value::Map(entries), _)) => Ok(Some(Self {
                entries,
                taken: vec![false; entries.len()],
                place: place.to_owned(),
                loose,
            })),
            Some((_, node)) => Err(mismatch(node, place, "mapping")),
        }
    }

    /// Fields where nothing unknown is tolerated. `place` is the path to them for errors; "" at the top.
    ///
    /// # Errors
    /// When this is no mapping.
    pub fn strict(node: Option<&'a Node>, place: &str) -> Result<Option<Self>, Error> {
        Self::open(node, place, false)
    }

    /// Fields where unknown ones are ignored and numbers and booleans do for strings, as in plugin configurations.
    ///
    /// # Errors
    /// When this is no mapping.
    pub fn loose(node: Option<&'a Node>, place: &str) -> Result<Option<Self>, Error> {
        Self::open(node, place, true)
    }

    fn path(&self, name: &str) -> String {
        if self.place.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.place)
        }
    }

    fn take(&mut self, name: &str) -> Option<&'a Node> {
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

    fn as_text(&self, node: &Node, path: &str) -> Result<String, Error> {
        match &node.value {
            Value::Str(text) => Ok(text.clone()),
            Value::Int(number) if self.loose => Ok(number.to_string()),
            Value::Uint(number) if self.loose => Ok(number.to_string()),
            Value::Float(number) if self.loose => Ok(number.to_string()),
            Value::Bool(value) if self.loose => Ok(value.to_string()),
            _ => Err(mismatch(node, path, "string")),
        }
    }

    /// The line of a field that is there and not null.
    pub fn line_of(&self, name: &str) -> Option<usize> {
        let found = self
            .entries
            .iter()
            .find(|(key, value)| key.as_str().is_some_and(|key| key.eq_ignore_ascii_case(name)) && !value.is_null());
        found.map(|(key, _)| key.position.line)
    }

    /// The line of a field that is there and neither null nor an empty list.
    pub fn line_of_filled(&mut self, name: &str) -> Option<usize> {
        let line = self.line_of(name)?;
        let is_empty = self
            .take(name)
            .is_some_and(|node| node.as_seq().is_some_and(<[Node]>::is_empty));
        (!is_empty).then_some(line)
    }

    /// Whether this is a plugin's configuration.
    pub fn is_loose(&self) -> bool {
        self.loose
    }

    /// A string; none when absent.
    ///
    /// # Errors
    /// When it is no string.
    pub fn optional_text(&mut self, name: &str) -> Result<Option<String>, Error> {
        let path = self.path(name);
        self.take(name).map(|node| self.as_text(node, &path)).transpose()
    }

    /// A string; empty when absent.
    ///
    /// # Errors
    /// When it is no string.
    pub fn text(&mut self, name: &str) -> Result<String, Error> {
        self.optional_text(name).map(Option::unwrap_or_default)
    }

    /// A boolean; false when absent.
    ///
    /// # Errors
    /// When it is no boolean.
    pub fn flag(&mut self, name: &str) -> Result<bool, Error> {
        match self.take(name) {
            None => Ok(false),
            Some(Node {
                value: Value::Bool(value),
                ..
            }) => Ok(*value),
            Some(node) => Err(mismatch(node, &self.path(name), "boolean")),
        }
    }

    /// An integer; 0 when absent.
    ///
    /// # Errors
    /// When it is no integer.
    pub fn integer(&mut self, name: &str) -> Result<i64, Error> {
        match self.take(name) {
            None => Ok(0),
            Some(Node {
                value: Value::Int(value),
                ..
            }) => Ok(*value),
            Some(node) => Err(mismatch(node, &self.path(name), "integer")),
        }
    }

    fn items(&mut self, name: &str) -> Result<&'a [Node], Error> {
        match self.take(name) {
            None => Ok(&[]),
            Some(node) => node.as_seq().ok_or_else(|| mismatch(node, &self.path(name), "list")),
        }
    }

    /// A list of strings; empty when absent.
    ///
    /// # Errors
    /// When it is no list, or an item no string.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, Error> {
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
                }
            })
            .collect()
    }

    /// A mapping of strings; empty when absent.
    ///
    /// # Errors
    /// When it is no mapping, or a value no string.
    pub fn strings(&mut self, name: &str) -> Result<BTreeMap<String, String>, Error> {
        let path = self.path(name);
        let Some(node) = self.take(name) else {
            return Ok(BTreeMap::new());
        };
        let entries = node.as_map().ok_or_else(|| mismatch(node, &path, "mapping"))?;
        entries
            .iter()
            .map(|(key, value)| {
                let key = key.as_str().unwrap_or_default();
                let text = if value.is_null() {
                    String::new()
                } else {
                    self.as_text(value, &format!("{path}.{key}"))?
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
        name: &str,
        decode: impl Fn(&mut Fields<'a>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let path = self.path(name);
        let items = self.items(name)?;
        let mut result = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let empty = Fields {
                entries: &[],
                taken: Vec::new(),
                place: path.clone(),
                loose: self.loose,
            };
            let mut fields = Self::open(Some(item), &format!("{path}[{at}]"), self.loose)?.unwrap_or(empty);
            result.push(decode(&mut fields)?);
            fields.finish()?;
        }
        Ok(result)
    }

    /// A mapping; none when absent.
    ///
    /// # Errors
    /// When it is no mapping, or `decode` fails.
    pub fn object<T>(
        &mut self,
        name: &str,
        decode: impl FnOnce(&mut Fields<'a>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let path = self.path(name);
        let node = self.take(name);
        let Some(mut fields) = Self::open(node, &path, self.loose)? else {
            return Ok(None);
        };
        let value = decode(&mut fields)?;
        fields.finish()?;
        Ok(Some(value))
    }

    /// Marks a field as known without reading it.
    pub fn skip(&mut self, name: &str) {
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

    /// Checks that every field was asked for.
    ///
    /// # Errors
    /// Names the first unknown one and its line.
    pub fn finish(&self) -> Result<(), Error> {
        if self.loose {
            return Ok(());
        }
        match self.entries.iter().zip(&self.taken).find(|(_, taken)| !**taken) {
            Some(((key, _), _)) => {
                let line = key.position.line;
                Err(Error::new(format!(
                    "json: unknown field \"{}\" (line {line})",
                    self.path(key.as_str().unwrap_or_default())
                )))
            }
            None => Ok(()),
        }
    }
}

fn mismatch(node: &Node, path: &str, expected: &str) -> Error {
    let place = if path.is_empty() {
        String::new()
    } else {
        format!(" field '{path}':")
    };
    Error::new(format!(
        "line {}:{place} cannot read {} as {expected}",
        node.position.line,
        node.value.kind()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let document = document(text.as_bytes()).unwrap();
        let result = Fields::strict(document.as_ref(), "").and_then(|fields| {
            let mut fields = fields.unwrap();
            let value = fields.list("items", |item| item.text("name"))?.join(",");
            fields.finish()?;
            Ok(value)
        });
        match expected {
            Ok(value) => assert_eq!(result.unwrap(), value),
            Err(part) => assert_eq!(result.unwrap_err().to_string(), part),
        }
    }

    #[test]
    fn names_match_in_any_case_and_unknown_ones_are_refused() {
        check("Items: [{NAME: a}, {name: null}]", Ok("a,"));
        check(
            "items: [{nam: a}]",
            Err("json: unknown field \"items[0].nam\" (line 1)"),
        );
        check("x: 1\n", Err("json: unknown field \"x\" (line 1)"));
        check(
            "items:\n- name: 1\n",
            Err("line 2: field 'items[0].name': cannot read number as string"),
        );
        check("items: a\n", Err("line 1: field 'items': cannot read string as list"));
    }
}
