//! `replacements`: a field of one object, or a part of it, copied into fields of others.

use super::Transformer;
use super::structured;
use crate::Error;
use crate::error::Within;
use crate::kustomization::{Fields, document};
use crate::node::{Create, Growth, Node, Size, check_length, lookup, split_bracketed};
use crate::resource::{Gvk, Id, Resource, Resources};
use crate::schema::Schema;
use crate::select::Selector;

/// The path that is meant where none is given.
const DEFAULT_PATH: &str = "metadata.name";

/// An entry of `replacements`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replacement {
    /// A file with replacements instead of the rest.
    path: String,
    source: Option<Source>,
    value: Option<String>,
    targets: Vec<Target>,
}

/// Where a value is read.
#[derive(Clone, Debug)]
struct Source {
    object: Id,
    path: String,
    options: Options,
}

/// Where a value is written.
#[derive(Clone, Debug, Default)]
struct Target {
    select: Option<Selector>,
    reject: Vec<Selector>,
    paths: Vec<String>,
    options: Options,
}

/// How a field is read or written.
#[derive(Clone, Debug, Default)]
struct Options {
    /// What separates the parts of the field; empty for the whole field.
    delimiter: String,
    /// Which part.
    index: i64,
    /// Whether to create what is missing.
    create: bool,
}

impl Options {
    fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        let options = fields.object("options", |fields| {
            fields.text("encoding")?;
            Ok(Self {
                delimiter: fields.text("delimiter")?,
                index: fields.integer("index")?,
                create: fields.flag("create")?,
            })
        })?;
        Ok(options.unwrap_or_default())
    }
}

impl Replacement {
    /// From a kustomization or a file.
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            path: fields.text("path")?,
            source: fields.object("source", |fields| {
                let gvk = Gvk {
                    group: fields.text("group")?,
                    version: fields.text("version")?,
                    kind: fields.text("kind")?,
                };
                Ok(Source {
                    object: Id {
                        gvk,
                        name: fields.text("name")?,
                        namespace: fields.text("namespace")?,
                    },
                    path: fields.text("fieldPath")?,
                    options: Options::decode(fields)?,
                })
            })?,
            value: fields.optional_text("sourceValue")?,
            targets: fields.list("targets", |fields| {
                Ok(Target {
                    select: fields.object("select", Selector::decode)?,
                    reject: fields.list("reject", Selector::decode)?,
                    paths: fields.texts("fieldPaths")?,
                    options: Options::decode(fields)?,
                })
            })?,
        })
    }
}

/// All replacements of a kustomization, files read.
pub(crate) struct Replacements {
    list: Vec<Replacement>,
}

impl Replacements {
    /// The replacements with those of their files; `load` reads a file.
    ///
    /// # Errors
    /// When an entry has both a path and more, or a file holds no replacements.
    pub fn new(entries: Vec<Replacement>, load: impl Fn(&str) -> Result<Vec<u8>, Error>) -> Result<Self, Error> {
        let mut list = Vec::new();
        for entry in entries {
            if entry.path.is_empty() {
                list.push(entry);
                continue;
            }
            if entry.source.is_some() || !entry.targets.is_empty() {
                return Err(Error::new("cannot specify both path and inline replacement"));
            }
            let path = entry.path;
            list.extend(Self::parse(&load(&path)?).within(|| format!("replacements file '{path}'"))?);
        }
        Ok(Self { list })
    }

    /// A file: one replacement or a list of them.
    fn parse(content: &[u8]) -> Result<Vec<Replacement>, Error> {
        let Some(node) = document(content)? else {
            return Err(Error::new(
                "unsupported replacement type encountered within replacement path: invalid",
            ));
        };
        match node.as_seq() {
            Some(items) => items
                .iter()
                .map(|item| {
                    Fields::loose(Some(item), "")?.map_or(Ok(Replacement::default()), |mut fields| {
                        Replacement::decode(&mut fields)
                    })
                })
                .collect(),
            None => match Fields::loose(Some(&node), "")? {
                Some(mut fields) => Ok(vec![Replacement::decode(&mut fields)?]),
                None => Ok(Vec::new()),
            },
        }
    }

    /// From a plugin configuration.
    pub fn decode(fields: &mut Fields<'_>, load: impl Fn(&str) -> Result<Vec<u8>, Error>) -> Result<Self, Error> {
        Self::new(fields.list("replacements", Replacement::decode)?, load)
    }
}

impl Transformer for Replacements {
    fn transform(&self, resources: &mut Resources, _: &Schema) -> Result<(), Error> {
        let mut growth = Growth::new();
        for replacement in &self.list {
            if (replacement.source.is_none() && replacement.value.is_none()) || replacement.targets.is_empty() {
                return Err(Error::new("replacements must specify a source and at least one target"));
            }
            let value = match (&replacement.source, &replacement.value) {
                (Some(_), Some(_)) => return Err(Error::new("value and resource selectors are mutually exclusive")),
                (Some(source), None) => source.read(resources)?,
                (None, Some(value)) => plain_source(value),
                (None, None) => continue,
            };
            for target in &replacement.targets {
                target.write(resources, &value, &mut growth)?;
            }
            resources.drop_empty();
        }
        Ok(())
    }
}

/// A value written in the kustomization has no type of its own.
fn plain_source(value: &str) -> Value {
    Value {
        node: Node::untyped(value),
        text: value.to_owned(),
    }
}

/// A value to copy.
pub(super) struct Value {
    /// The node.
    pub node: Node,
    /// Its text when it is a scalar.
    pub text: String,
}

/// The identities an object goes by: the present one, then the earlier ones.
fn ids(resource: &Resource) -> Vec<Id> {
    std::iter::once(resource.id()).chain(resource.previous_ids()).collect()
}

impl Source {
    fn describe(&self) -> String {
        if self.path.is_empty() {
            self.object.to_string()
        } else {
            format!("{}:{}", self.object, self.path)
        }
    }

    fn read(&self, resources: &Resources) -> Result<Value, Error> {
        let mut found = resources
            .iter()
            .filter(|resource| ids(resource).iter().any(|id| id.is_selected_by(&self.object)));
        let resource = found
            .next()
            .ok_or_else(|| Error::new(format!("nothing selected by {}", self.describe())))?;
        if found.next().is_some() {
            return Err(Error::new(format!("multiple matches for selector {}", self.describe())));
        }
        let path = if self.path.is_empty() { DEFAULT_PATH } else { &self.path };
        let node =
            lookup(&resource.node, &split_bracketed(path, '.')).within(|| "error looking up replacement source")?;
        let node = node.filter(|node| !node.is_empty()).ok_or_else(|| {
            Error::new(format!(
                "fieldPath `{path}` is missing for replacement source {}",
                self.object
            ))
        })?;
        let mut value = Value {
            node: node.clone(),
            text: node.text().into_owned(),
        };
        if !self.options.delimiter.is_empty() {
            if !node.is_scalar() {
                return Err(Error::new("delimiter option can only be used with scalar nodes"));
            }
            let part = usize::try_from(self.options.index)
                .ok()
                .and_then(|index| value.text.split(&self.options.delimiter).nth(index));
            let part = part
                .ok_or_else(|| {
                    Error::new(format!(
                        "options.index {} is out of bounds for field `{path}`",
                        self.options.index
                    ))
                })?
                .to_owned();
            if value.node.replace_text(&part).is_err() {
                value.node = Node::string(part.clone());
            }
            value.text = part;
        }
        Ok(value)
    }
}

impl Target {
    fn write(&self, resources: &mut Resources, value: &Value, growth: &mut Growth) -> Result<(), Error> {
        let size = Size::of(&value.node);
        let select = self
            .select
            .as_ref()
            .ok_or_else(|| Error::new("target must specify resources to select"))?;
        let matcher = select.compile().within(|| "error creating target selector")?;
        let mut rejects = Vec::new();
        for reject in &self.reject {
            let by_meta = !(reject.annotations.is_empty() && reject.labels.is_empty());
            rejects.push((
                reject.compile().within(|| "error creating target selector")?,
                reject.id != Id::default(),
                by_meta,
            ));
        }
        let default = [DEFAULT_PATH.to_owned()];
        let paths = if self.paths.is_empty() {
            &default[..]
        } else {
            &self.paths
        };
        for at in 0..resources.len() {
            let Some(resource) = resources.get(at) else { continue };
            let ids = ids(resource);
            if !matcher.fits_meta(resource)
                || rejects
                    .iter()
                    .any(|(reject, _, by_meta)| *by_meta && reject.fits_meta(resource))
                || rejects
                    .iter()
                    .any(|(reject, by_id, _)| *by_id && ids.iter().any(|id| reject.fits_id(id)))
                || !ids.iter().any(|id| matcher.fits_id(id))
            {
                continue;
            }
            let Some(resource) = resources.get_mut(at) else {
                continue;
            };
            for path in paths {
                self.copy(&mut resource.node, value, path, size, growth)
                    .within(|| format!("replacing in {}", ids.first().cloned().unwrap_or_default()))?;
            }
            resource.settle_cells();
        }
        Ok(())
    }

    fn copy(&self, object: &mut Node, value: &Value, path: &str, size: Size, growth: &mut Growth) -> Result<(), Error> {
        let create = self.options.create.then_some(match value.node {
            Node::Map(_) => Create::Map,
            Node::List(_) => Create::List,
            _ => Create::Scalar,
        });
        let parts = split_bracketed(path, '.');
        check_length(&parts)?;
        if structured::replace(object, &parts, value, create)? {
            return Ok(());
        }
        let found = visit(object, &parts, create, &mut |node| {
            growth.take(size, parts.len())?;
            self.set(node, value, growth)
        })
        .within(|| self.not_found(path))?;
        if found == 0 {
            return Err(Error::new(self.not_found(path)));
        }
        Ok(())
    }

    fn not_found(&self, path: &str) -> String {
        let what = if self.options.create { "find or create" } else { "find" };
        format!("unable to {what} field \"{path}\" in replacement target")
    }

    fn set(&self, node: &mut Node, value: &Value, growth: &mut Growth) -> Result<(), Error> {
        let mut text = value.text.clone();
        if !self.options.delimiter.is_empty() {
            if !node.is_scalar() {
                return Err(Error::new("delimiter option can only be used with scalar nodes"));
            }
            let old = node.text().into_owned();
            let mut parts: Vec<&str> = old.split(&self.options.delimiter).collect();
            match usize::try_from(self.options.index) {
                Err(_) => parts.insert(0, &value.text),
                Ok(index) => match parts.get_mut(index) {
                    Some(part) => *part = &value.text,
                    None => parts.push(&value.text),
                },
            }
            text = parts.join(&self.options.delimiter);
            growth.take(
                Size {
                    weight: text.len(),
                    depth: 1,
                },
                0,
            )?;
        }
        write(node, &value.node, &text)
    }
}

/// Puts a value in place of a node: a scalar gets its characters and keeps its type.
pub(super) fn write(node: &mut Node, value: &Node, text: &str) -> Result<(), Error> {
    if node.is_scalar() {
        return node.replace_text(text);
    }
    *node = value.clone();
    Ok(())
}

/// Calls `set` for every node a path leads to; `*` is every item, `[field=regex]` the matching ones. The result is how many.
///
/// # Errors
/// When a step meets the wrong kind of node, an index is out of bounds, or `set` fails.
pub(super) fn visit(
    node: &mut Node,
    path: &[String],
    create: Option<Create>,
    set: &mut dyn FnMut(&mut Node) -> Result<(), Error>,
) -> Result<usize, Error> {
    let Some((first, rest)) = path.split_first() else {
        set(node)?;
        return Ok(1);
    };
    let after = |create: Create| create.before(rest.first().map(String::as_str));
    if let Ok(index) = first.parse::<usize>() {
        let items = items(node)?;
        if let (true, Some(create)) = (items.len() == index, create) {
            items.push(after(create).node());
        }
        let count = items.len();
        let item = items
            .get_mut(index)
            .ok_or_else(|| Error::new(format!("index {index} specified but only {count} elements found")))?;
        return visit(item, rest, create, set);
    }
    if let Some(inner) = first.strip_prefix('[').and_then(|first| first.strip_suffix(']')) {
        let (field, pattern) = inner
            .split_once('=')
            .ok_or_else(|| Error::new("list path element must contain fieldName=fieldValue for element to match"))?;
        let pattern_of = || {
            regex::Regex::new(pattern).map_err(|error| Error::new(format!("error parsing regexp '{pattern}': {error}")))
        };
        let regex = pattern_of()?;
        let items = items(node)?;
        let mut found = 0;
        for _ in 0..2 {
            for item in items.iter_mut() {
                let text = if field.is_empty() {
                    Some(item.text())
                } else {
                    item.get(field).map(Node::text)
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
                Node::untyped(pattern)
            } else {
                Node::Map([(field.to_owned(), Node::untyped(pattern))].into())
            });
        }
        return Ok(found);
    }
    if first == "*" {
        return items(node)?
            .iter_mut()
            .try_fold(0, |found, item| Ok(found + visit(item, rest, create, set)?));
    }
    match node {
        Node::Null { .. } => Ok(0),
        Node::Map(map) => {
            if let (false, Some(create)) = (map.contains_key(first), create) {
                map.insert(first.clone(), after(create).node());
            }
            match map.get_mut(first) {
                Some(field) => visit(field, rest, create, set),
                None => Ok(0),
            }
        }
        other => Err(crate::node::wrong_kind("MappingNode", other)),
    }
}

fn items(node: &mut Node) -> Result<&mut Vec<Node>, Error> {
    match node {
        Node::List(items) => Ok(items),
        other => Err(crate::node::wrong_kind("SequenceNode", other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, create: bool, expected: Option<serde_json::Value>) {
        let mut tree =
            Node::from_json(serde_json::json!({"a": [{"n": "x", "v": "1"}, {"n": "xy", "v": "2"}], "s": "t"}));
        let create = create.then_some(Create::Scalar);
        let found = visit(&mut tree, &split_bracketed(path, '.'), create, &mut |node| {
            node.replace_text("new")
        });
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
        check("b", false, None);
        check("a.5.v", false, None);
        check("s.x", false, None);
    }
}
