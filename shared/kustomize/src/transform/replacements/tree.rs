//! Where the paths of replacements lead: `*` is every item of a list, `[field=regex]` the ones that match, and what is
//! missing may be made. The same steps lead through objects and through YAML kept as text.

use std::borrow::Cow;

use super::structured;
use crate::Error;
use crate::node::{Create, Node, Style, wrong_kind};
use crate::select::pattern;

/// A tree that paths of replacements lead through.
pub(super) trait Tree: Sized {
    /// The items of a list.
    ///
    /// # Errors
    /// When this is something else.
    fn items(&mut self) -> Result<&mut Vec<Self>, Error>;

    /// The value of a field when this is a mapping that has it.
    fn field(&self, name: &str) -> Option<&Self>;

    /// The value of a field; `missing` is what to make when the mapping does not have it.
    ///
    /// # Errors
    /// When this is something else than a mapping.
    fn field_mut(&mut self, name: &str, missing: Option<Create>) -> Result<Option<&mut Self>, Error>;

    /// The text that patterns are compared with.
    fn written(&self) -> Cow<'_, str>;

    /// Something empty.
    fn made(kind: Create) -> Self;

    /// A scalar that becomes what it looks like.
    fn untyped(text: &str) -> Self;

    /// Whether this is null.
    fn is_null(&self) -> bool;

    /// The characters of a scalar.
    fn scalar(&self) -> Option<Cow<'_, str>>;
}

impl Tree for Node {
    fn items(&mut self) -> Result<&mut Vec<Self>, Error> {
        match self {
            Node::List(items) => Ok(items),
            other => Err(wrong_kind("SequenceNode", other)),
        }
    }

    fn field(&self, name: &str) -> Option<&Self> {
        self.get(name)
    }

    fn field_mut(&mut self, name: &str, missing: Option<Create>) -> Result<Option<&mut Self>, Error> {
        match self {
            Node::Map(map) => {
                if let (false, Some(missing)) = (map.contains_key(name), missing) {
                    map.insert(name, missing.node());
                }
                Ok(map.get_mut(name))
            }
            other => Err(wrong_kind("MappingNode", other)),
        }
    }

    fn written(&self) -> Cow<'_, str> {
        match self {
            // Patterns see the quotes.
            Node::Text(text) if text.style != Style::Untyped => Cow::Owned(structured::styled(self).to_string()),
            _ => self.text(),
        }
    }

    fn made(kind: Create) -> Self {
        kind.node()
    }

    fn untyped(text: &str) -> Self {
        Node::untyped(text)
    }

    fn is_null(&self) -> bool {
        Node::is_null(self)
    }

    fn scalar(&self) -> Option<Cow<'_, str>> {
        self.is_scalar().then(|| self.text())
    }
}

/// Calls `set` for every node a path leads to; `*` is every item, `[field=regex]` the matching ones. The result is how many.
/// What a path finds inside of a text that is YAML counts, but is not set, and so does what it would make below null:
/// upstream does that to copies.
///
/// # Errors
/// When a step meets the wrong kind of node, an index is out of bounds, or `set` fails.
pub(super) fn visit<T: Tree>(
    node: &mut T,
    path: &[String],
    create: Option<Create>,
    set: &mut dyn FnMut(&mut T) -> Result<(), Error>,
) -> Result<usize, Error> {
    let Some((first, rest)) = path.split_first() else {
        set(node)?;
        return Ok(1);
    };
    let after = create.map(|create| create.before(rest.first().map(String::as_str)));
    if node.is_null() {
        return match first.parse::<usize>() {
            Ok(index) if index > 0 || create.is_none() => Err(out_of_bounds(index, 0)),
            _ => Ok(usize::from(create.is_some() && path.iter().all(|part| part != "*"))),
        };
    }
    if let Ok(index) = first.parse::<usize>() {
        let items = node.items()?;
        if let (true, Some(after)) = (items.len() == index, after) {
            items.push(T::made(after));
        }
        let count = items.len();
        let item = items.get_mut(index).ok_or_else(|| out_of_bounds(index, count))?;
        return visit(item, rest, create, set);
    }
    if let Some(inner) = first.strip_prefix('[').and_then(|first| first.strip_suffix(']')) {
        return visit_matching(node, inner, rest, create, set);
    }
    if first == "*" {
        return node
            .items()?
            .iter_mut()
            .try_fold(0, |found, item| Ok(found + visit(item, rest, create, set)?));
    }
    let Some(field) = node.field_mut(first, after)? else {
        return Ok(0);
    };
    match field.scalar().filter(|_| !rest.is_empty()) {
        None => visit(field, rest, create, set),
        Some(text) => match yaml::read_styled(&text).map_err(|error| Error::new(error.to_string()))? {
            Some(mut document) => visit(&mut document.root, rest, create, &mut |_| Ok(())),
            None => Ok(0),
        },
    }
}

fn out_of_bounds(index: usize, count: usize) -> Error {
    Error::new(format!("index {index} specified but only {count} elements found"))
}

/// [`visit`] for the items that match `field=regex`, or `=regex`.
fn visit_matching<T: Tree>(
    node: &mut T,
    condition: &str,
    rest: &[String],
    create: Option<Create>,
    set: &mut dyn FnMut(&mut T) -> Result<(), Error>,
) -> Result<usize, Error> {
    let (field, expression) = condition
        .split_once('=')
        .ok_or_else(|| Error::new("list path element must contain fieldName=fieldValue for element to match"))?;
    let regex = pattern(expression)?;
    let items = node.items()?;
    let mut found = 0;
    for _ in 0..2 {
        for item in items.iter_mut() {
            let text = if field.is_empty() {
                Some(item.written())
            } else {
                item.field(field).map(T::written)
            };
            if text.is_some_and(|text| regex.is_match(text.trim())) {
                found += if field.is_empty() {
                    set(item)?;
                    1
                } else {
                    visit(item, rest, create, set)?
                };
            }
        }
        if found > 0 || create.is_none() {
            break;
        }
        items.push(if field.is_empty() {
            T::untyped(expression)
        } else {
            let mut item = T::made(Create::Map);
            if let Some(value) = item.field_mut(field, Some(Create::Scalar))? {
                *value = T::untyped(expression);
            }
            item
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::split_bracketed;

    fn check(path: &str, create: bool, expected: Option<serde_json::Value>) {
        let mut tree =
            Node::from_json(serde_json::json!({"a": [{"n": "x", "v": "1"}, {"n": "xy", "v": "2"}], "s": "t"}));
        let create = create.then_some(Create::Scalar);
        let found = visit(
            &mut tree,
            &split_bracketed(path, '.'),
            create,
            &mut |node: &mut Node| node.replace_text("new"),
        );
        assert_eq!(
            found.ok().filter(|found| *found > 0).map(|_| tree.to_json()),
            expected,
            "{path}"
        );
    }

    #[test]
    fn paths_reach_items_by_index_pattern_and_wildcard() {
        use serde_json::json;
        check(
            "s",
            false,
            Some(json!({"a": [{"n": "x", "v": "1"}, {"n": "xy", "v": "2"}], "s": "new"})),
        );
        check(
            "a.1.v",
            false,
            Some(json!({"a": [{"n": "x", "v": "1"}, {"n": "xy", "v": "new"}], "s": "t"})),
        );
        check(
            "a.*.v",
            false,
            Some(json!({"a": [{"n": "x", "v": "new"}, {"n": "xy", "v": "new"}], "s": "t"})),
        );
        check(
            "a.[n=^x$].v",
            false,
            Some(json!({"a": [{"n": "x", "v": "new"}, {"n": "xy", "v": "2"}], "s": "t"})),
        );
        check(
            "a.[n=z].v",
            true,
            Some(json!({"a": [{"n": "x", "v": "1"}, {"n": "xy", "v": "2"}, {"n": "z", "v": "new"}], "s": "t"})),
        );
        check(
            "b.c",
            true,
            Some(json!({"a": [{"n": "x", "v": "1"}, {"n": "xy", "v": "2"}], "b": {"c": "new"}, "s": "t"})),
        );
        check(
            r"a.[n=\bx\z].v",
            false,
            Some(json!({"a": [{"n": "x", "v": "new"}, {"n": "xy", "v": "2"}], "s": "t"})),
        );
        check("a.[n=x**].v", false, None);
        check("b", false, None);
        check("a.5.v", false, None);
        check("s.x", false, None);
    }

    #[test]
    fn what_is_made_below_null_is_found_and_does_not_show() {
        for (path, create, found) in [
            ("n.x", true, Some(1)),
            ("n.x.0.[a=b].y", true, Some(1)),
            ("n.0", true, Some(1)),
            ("n.1", true, None),
            ("n.*", true, Some(0)),
            ("n.x.*", true, Some(0)),
            ("n.x", false, Some(0)),
            ("e.x", true, Some(0)),
        ] {
            let mut tree = Node::Map(
                [("n", Node::NULL), ("e", Node::NOTHING)]
                    .into_iter()
                    .map(|(key, null)| (key.to_owned(), null))
                    .collect(),
            );
            let (before, create) = (tree.clone(), create.then_some(Create::Scalar));
            let result = visit(&mut tree, &split_bracketed(path, '.'), create, &mut |_| Ok(()));
            assert_eq!((result.ok(), tree), (found, before), "{path}");
        }
    }
}
