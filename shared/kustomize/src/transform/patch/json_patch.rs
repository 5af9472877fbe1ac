//! RFC 6902 patches as the Go library kustomize uses applies them: negative indexes count from the end, a test for null also
//! holds where nothing is.

use serde_json::Value;

use crate::Error;
use crate::error::Within;
use crate::node::{Growth, Size};

/// A patch: operations in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JsonPatch(Vec<Operation>);

#[derive(Clone, Debug, PartialEq)]
struct Operation {
    op: String,
    path: String,
    from: Option<String>,
    value: Option<Value>,
}

impl JsonPatch {
    /// Reads a patch in YAML or JSON.
    ///
    /// # Errors
    /// When it is no list of mappings.
    pub fn parse(text: &str) -> Result<Self, Error> {
        // What starts like JSON has to be JSON; only then may it also be a patch for upstream.
        let document = if text.starts_with('[') {
            Some(serde_json::from_str(text).map_err(|error| {
                let position = yaml::Position {
                    line: error.line(),
                    column: error.column(),
                };
                Error::new(format!("invalid JSON: {error}")).at(position)
            })?)
        } else {
            let document = crate::kustomization::document(text.as_bytes())?;
            document.map(|document| document.to_json()).transpose()?
        };
        let operations = match document {
            None => return Ok(Self::default()),
            Some(Value::Array(operations)) => operations,
            Some(_) => return Err(Error::new("a JSON patch is a list of operations")),
        };
        let operations = operations.into_iter().map(|operation| match operation {
            Value::Object(mut fields) => {
                let text = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
                Ok(Operation {
                    op: text(fields.remove("op")).unwrap_or_default(),
                    path: text(fields.remove("path")).unwrap_or_default(),
                    from: text(fields.remove("from")),
                    value: fields.remove("value"),
                })
            }
            Value::Null => Ok(Operation {
                op: String::new(),
                path: String::new(),
                from: None,
                value: None,
            }),
            _ => Err(Error::new("an operation of a JSON patch is a mapping")),
        });
        operations.collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies all operations. Whether any changed something.
    ///
    /// # Errors
    /// Names the operation, counted from 0, and the path that does not fit.
    pub fn apply(&self, document: &mut Value) -> Result<bool, Error> {
        let mut growth = Growth::new();
        let mut changed = false;
        for (at, operation) in self.0.iter().enumerate() {
            changed |= operation
                .apply(document, &mut growth)
                .within(|| format!("operation {at}"))?;
        }
        Ok(changed)
    }
}

impl Operation {
    fn fail(&self, why: &str) -> Error {
        Error::new(format!("{} operation does not apply: {why}: {}", self.op, self.path))
    }

    fn apply(&self, document: &mut Value, growth: &mut Growth) -> Result<bool, Error> {
        match self.op.as_str() {
            "add" => self.add(document, self.value.clone().unwrap_or(Value::Null), growth),
            "remove" => self.remove(document, &self.path).map(|_| true),
            "replace" => {
                let new = self.value.clone().unwrap_or(Value::Null);
                if self.path.is_empty() {
                    return Ok(put(document, new));
                }
                // The library only looks for the place, not for what is there.
                let (parent, key) = self.parent(document, &self.path)?;
                if let Value::Object(map) = parent {
                    Ok(put(map.entry(key).or_insert(Value::Null), new))
                } else {
                    Ok(self.find(document, &self.path)?.is_some_and(|slot| put(slot, new)))
                }
            }
            "move" => {
                let from = self.from.clone().ok_or_else(|| self.fail("missing from"))?;
                let value = self.remove(document, &from)?;
                self.add(document, value, growth)?;
                Ok(from != self.path)
            }
            "copy" => {
                let from = self.from.clone().ok_or_else(|| self.fail("missing from"))?;
                let value = self.find(document, &from)?.cloned().unwrap_or(Value::Null);
                self.add(document, value, growth)
            }
            "test" => {
                let expected = self.value.clone().unwrap_or(Value::Null);
                let found = if self.path.is_empty() {
                    Some(document)
                } else {
                    self.find(document, &self.path)?
                };
                let equal = found.map_or(expected.is_null(), |found| same(found, &expected));
                if equal {
                    Ok(false)
                } else {
                    Err(Error::new(format!("testing value {} failed", self.path)))
                }
            }
            other => Err(Error::new(format!("Unexpected kind: {other}"))),
        }
    }

    /// The container a path's last part is in, with that part.
    fn parent<'a>(&self, document: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), Error> {
        let Some((container, last)) = path.rsplit_once('/') else {
            return Err(self.fail("doc is missing path"));
        };
        let mut at = document;
        for part in container.split('/').skip(1) {
            let key = unescape(part);
            let next = match at {
                Value::Object(map) => map.get_mut(&key),
                Value::Array(items) => index(&key, items.len()).and_then(|index| items.get_mut(index)),
                _ => None,
            };
            at = next.ok_or_else(|| self.fail("doc is missing path"))?;
        }
        if at.is_object() || at.is_array() {
            Ok((at, unescape(last)))
        } else {
            Err(self.fail("doc is missing path"))
        }
    }

    fn find<'a>(&self, document: &'a mut Value, path: &str) -> Result<Option<&'a mut Value>, Error> {
        let (parent, key) = self.parent(document, path)?;
        match parent {
            Value::Object(map) => Ok(map.get_mut(&key)),
            Value::Array(items) => {
                let at = index(&key, items.len()).ok_or_else(|| self.fail("unable to access invalid index"))?;
                Ok(items.get_mut(at))
            }
            _ => Ok(None),
        }
    }

    fn add(&self, document: &mut Value, value: Value, growth: &mut Growth) -> Result<bool, Error> {
        let path = self.path.as_str();
        growth.take(Size::of_json(&value), path.split('/').count())?;
        if path.is_empty() {
            return Ok(put(document, value));
        }
        let (parent, key) = self.parent(document, path)?;
        match parent {
            Value::Object(map) => {
                let is_new = !map.contains_key(&key);
                return Ok(put(map.entry(key).or_insert(Value::Null), value) || is_new);
            }
            Value::Array(items) if key == "-" => items.push(value),
            Value::Array(items) => {
                // One more place than there are items: behind the last one.
                let at = index(&key, items.len() + 1).ok_or_else(|| self.fail("unable to access invalid index"))?;
                items.insert(at, value);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn remove(&self, document: &mut Value, path: &str) -> Result<Value, Error> {
        let (parent, key) = self.parent(document, path)?;
        match parent {
            Value::Object(map) => map
                .remove(&key)
                .ok_or_else(|| self.fail("unable to remove nonexistent key")),
            Value::Array(items) => {
                let at = index(&key, items.len()).ok_or_else(|| self.fail("unable to access invalid index"))?;
                Ok(items.remove(at))
            }
            _ => Ok(Value::Null),
        }
    }
}

/// Puts a value in place of another. Whether they differ.
fn put(slot: &mut Value, value: Value) -> bool {
    let changed = *slot != value;
    *slot = value;
    changed
}

/// An index below `count`; negative ones count from the end.
fn index(key: &str, count: usize) -> Option<usize> {
    let number: i64 = key.parse().ok()?;
    let at = if number < 0 {
        i64::try_from(count).ok()?.checked_add(number)?
    } else {
        number
    };
    usize::try_from(at).ok().filter(|at| *at < count)
}

fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// Equality where 1 and 1.0 are the same.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(patch: &str, expected: Option<Value>) {
        let mut document = json!({"a": {"b": [1, 2]}, "c/d": null});
        let result = JsonPatch::parse(patch).and_then(|patch| patch.apply(&mut document));
        assert_eq!(result.ok().map(|_| document), expected, "{patch}");
    }

    #[test]
    fn operations_change_the_document() {
        check(
            "- {op: add, path: /a/b/-, value: 3}",
            Some(json!({"a": {"b": [1, 2, 3]}, "c/d": null})),
        );
        check(
            "- {op: add, path: /a/b/0, value: 3}",
            Some(json!({"a": {"b": [3, 1, 2]}, "c/d": null})),
        );
        check(
            "- {op: remove, path: /a/b/-1}",
            Some(json!({"a": {"b": [1]}, "c/d": null})),
        );
        check(
            "- {op: replace, path: /c~1d, value: x}",
            Some(json!({"a": {"b": [1, 2]}, "c/d": "x"})),
        );
        check(
            "- {op: move, from: /a/b, path: /x}",
            Some(json!({"a": {}, "x": [1, 2], "c/d": null})),
        );
        check(
            "- {op: copy, from: /a/b/0, path: /a/x}",
            Some(json!({"a": {"b": [1, 2], "x": 1}, "c/d": null})),
        );
        check(
            "- {op: test, path: /a/b/0, value: 1}",
            Some(json!({"a": {"b": [1, 2]}, "c/d": null})),
        );
        check("[{\"op\": \"remove\", \"path\": \"/a\"}]", Some(json!({"c/d": null})));
        check("", Some(json!({"a": {"b": [1, 2]}, "c/d": null})));
    }

    #[test]
    fn operations_that_do_not_fit_are_errors() {
        check("- {op: remove, path: /x}", None);
        check("- {op: add, path: /x/y, value: 1}", None);
        check("- {op: replace, path: /x/y, value: 1}", None);
        check("- {op: replace, path: /a/b/7, value: 1}", None);
        check("- {op: test, path: /a/b/0, value: 2}", None);
        check("- {op: add, path: /a/b/3, value: 1}", None);
        check("- {op: twist, path: /a}", None);
        check("{a: b}", None);
        check("[{op: remove, path: /a}]", None);
    }
}
