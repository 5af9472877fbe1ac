//! `replacements`: a field of one object, or a part of it, copied into fields of others.

use std::borrow::Cow;

use super::structured;
use super::{Pass, Transformer};
use crate::Error;
use crate::error::{Problems, Within};
use crate::files::Loaded;
use crate::kustomization::{Fields, document};
use crate::node::{Create, Growth, Node, Size, Style, check_length, lookup, split_bracketed, wrong_kind};
use crate::resource::{Gvk, Id, Resource, Resources};
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
    list: Vec<Entry>,
}

/// A replacement and where it is written.
struct Entry {
    /// The entry of the kustomization.
    field: String,
    /// The file, when it is not in the kustomization itself.
    file: Option<String>,
    replacement: Replacement,
}

impl Replacements {
    /// The replacements with those of their files; `load` reads a file.
    ///
    /// # Errors
    /// When an entry has both a path and more, or a file holds no replacements.
    pub fn new(entries: Vec<Replacement>, load: impl Fn(&str) -> Result<Loaded, Error>) -> Result<Self, Error> {
        let mut problems = Problems::default();
        let mut list = Vec::new();
        for (at, entry) in entries.into_iter().enumerate() {
            let field = format!("replacements[{at}]");
            let read = Self::read(entry, &load).map_err(|error| error.in_field(&field));
            let Some((file, replacements)) = problems.note(read)? else {
                continue;
            };
            list.extend(replacements.into_iter().map(|replacement| Entry {
                field: field.clone(),
                file: file.clone(),
                replacement,
            }));
        }
        problems.finish()?;
        Ok(Self { list })
    }

    /// An entry's replacements, and the file they are in when that is not the kustomization's.
    fn read(
        entry: Replacement,
        load: &impl Fn(&str) -> Result<Loaded, Error>,
    ) -> Result<(Option<String>, Vec<Replacement>), Error> {
        if entry.path.is_empty() {
            return Ok((None, vec![entry]));
        }
        if entry.source.is_some() || !entry.targets.is_empty() {
            return Err(Error::new("cannot specify both path and inline replacement"));
        }
        let file = load(&entry.path)?;
        let replacements = Self::parse(&file.content).within(|| format!("replacements file '{}'", entry.path));
        let replacements = replacements.map_err(Error::without_field).in_file(&file.path)?;
        Ok((Some(file.path), replacements))
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
                    let replacement = Fields::loose(Some(item), "", Replacement::decode)?;
                    Ok(replacement.unwrap_or_default())
                })
                .collect(),
            None => Ok(Fields::loose(Some(&node), "", Replacement::decode)?
                .into_iter()
                .collect()),
        }
    }

    /// From a plugin configuration.
    pub fn decode(fields: &mut Fields<'_>, load: impl Fn(&str) -> Result<Loaded, Error>) -> Result<Self, Error> {
        Self::new(fields.list("replacements", Replacement::decode)?, load)
    }
}

impl Transformer for Replacements {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        let mut growth = Growth::new();
        let mut problems = Problems::default();
        for entry in &self.list {
            let replaced = entry
                .replacement
                .replace(resources, pass, &mut growth, &mut |place, result| {
                    problems
                        .note(result.map_err(|error| entry.place(error, place)))
                        .map(drop)
                });
            replaced.map_err(|error| entry.place(error, ""))?;
            resources.drop_empty();
        }
        problems.finish()
    }
}

/// Keeps the error of a part of a replacement, named by its path, so that the next one follows; an error ends the build.
type Note<'a> = &'a mut dyn FnMut(&str, Result<(), Error>) -> Result<(), Error>;

impl Entry {
    /// Adds the place of a part of the replacement to an error.
    fn place(&self, error: Error, part: &str) -> Error {
        let error = error.in_field(&format!("{}{part}", self.field));
        match &self.file {
            Some(file) => error.in_file(file),
            None => error,
        }
    }
}

impl Replacement {
    fn replace(
        &self,
        resources: &mut Resources,
        pass: &Pass<'_>,
        growth: &mut Growth,
        note: Note<'_>,
    ) -> Result<(), Error> {
        pass.go_on()?;
        let value = match (&self.source, &self.value) {
            _ if (self.source.is_none() && self.value.is_none()) || self.targets.is_empty() => {
                Err(Error::new("replacements must specify a source and at least one target"))
            }
            (Some(_), Some(_)) => Err(Error::new("value and resource selectors are mutually exclusive")),
            (Some(source), _) => match source.read(resources) {
                Ok(value) => Ok(value),
                Err(error) => return note(".source", Err(error)),
            },
            (None, value) => Ok(plain_source(value.as_deref().unwrap_or_default())),
        };
        let value = match value {
            Ok(value) => value,
            Err(error) => return note("", Err(error)),
        };
        for (at, target) in self.targets.iter().enumerate() {
            let written = target.write(resources, &value, pass, growth);
            note(&format!(".targets[{at}]"), written)?;
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
    fn write(
        &self,
        resources: &mut Resources,
        value: &Value,
        pass: &Pass<'_>,
        growth: &mut Growth,
    ) -> Result<(), Error> {
        let mut problems = Problems::default();
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
            let changed = pass.on(resource, |resource| {
                let mut changed = false;
                for path in paths {
                    changed |= self
                        .copy(&mut resource.node, value, path, size, growth)
                        .within(|| format!("replacing in {}", ids.first().cloned().unwrap_or_default()))?;
                }
                resource.settle_cells();
                Ok(changed)
            });
            problems.note(changed)?;
        }
        problems.finish()
    }

    /// Copies the value into a field. Whether anything is another one now.
    fn copy(
        &self,
        object: &mut Node,
        value: &Value,
        path: &str,
        size: Size,
        growth: &mut Growth,
    ) -> Result<bool, Error> {
        let create = self.options.create.then_some(match value.node {
            Node::Map(_) => Create::Map,
            Node::List(_) => Create::List,
            _ => Create::Scalar,
        });
        let parts = split_bracketed(path, '.');
        check_length(&parts)?;
        if structured::replace(object, &parts, value, create, growth)? {
            return Ok(true);
        }
        let mut changed = false;
        let found = visit(object, &parts, create, &mut |node: &mut Node| {
            growth.take(size, parts.len())?;
            let before = node.fingerprint();
            self.set(node, value, growth)?;
            changed |= node.fingerprint() != before;
            Ok(())
        })
        .within(|| self.not_found(path))?;
        if found == 0 {
            return Err(Error::new(self.not_found(path)));
        }
        Ok(changed)
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
fn write(node: &mut Node, value: &Node, text: &str) -> Result<(), Error> {
    if node.is_scalar() {
        return node.replace_text(text);
    }
    *node = value.clone();
    Ok(())
}

/// A tree that paths of replacements lead through.
pub(super) trait Tree: Sized {
    /// The items of a list.
    ///
    /// # Errors
    /// When this is something else.
    fn items(&mut self) -> Result<&mut Vec<Self>, Error>;

    /// The value of a field when this is a mapping that has it.
    fn field(&self, name: &str) -> Option<&Self>;

    /// The value of a field; `missing` is what to make when the mapping does not have it. None in null.
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

    /// The characters of a scalar that is not null.
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
            Node::Null { .. } => Ok(None),
            Node::Map(map) => {
                if let (false, Some(missing)) = (map.contains_key(name), missing) {
                    map.insert(name.to_owned(), missing.node());
                }
                Ok(map.get_mut(name))
            }
            other => Err(wrong_kind("MappingNode", other)),
        }
    }

    fn written(&self) -> Cow<'_, str> {
        match self {
            // Patterns see the quotes.
            Node::Text(text) if matches!(text.style, Style::Quoted(_)) => {
                Cow::Owned(structured::styled(self).to_string())
            }
            _ => self.text(),
        }
    }

    fn made(kind: Create) -> Self {
        kind.node()
    }

    fn untyped(text: &str) -> Self {
        Node::untyped(text)
    }

    fn scalar(&self) -> Option<Cow<'_, str>> {
        (self.is_scalar() && !self.is_null()).then(|| self.text())
    }
}

/// Calls `set` for every node a path leads to; `*` is every item, `[field=regex]` the matching ones. The result is how many.
/// What a path finds inside of a text that is YAML counts, but is not set: upstream does so to a copy.
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
    if let Ok(index) = first.parse::<usize>() {
        let items = node.items()?;
        if let (true, Some(after)) = (items.len() == index, after) {
            items.push(T::made(after));
        }
        let count = items.len();
        let item = items
            .get_mut(index)
            .ok_or_else(|| Error::new(format!("index {index} specified but only {count} elements found")))?;
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

/// [`visit`] for the items that match `field=regex`, or `=regex`.
fn visit_matching<T: Tree>(
    node: &mut T,
    condition: &str,
    rest: &[String],
    create: Option<Create>,
    set: &mut dyn FnMut(&mut T) -> Result<(), Error>,
) -> Result<usize, Error> {
    let (field, pattern) = condition
        .split_once('=')
        .ok_or_else(|| Error::new("list path element must contain fieldName=fieldValue for element to match"))?;
    let regex =
        regex::Regex::new(pattern).map_err(|error| Error::new(format!("error parsing regexp '{pattern}': {error}")))?;
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
            T::untyped(pattern)
        } else {
            let mut item = T::made(Create::Map);
            if let Some(value) = item.field_mut(field, Some(Create::Scalar))? {
                *value = T::untyped(pattern);
            }
            item
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        check("b", false, None);
        check("a.5.v", false, None);
        check("s.x", false, None);
    }
}
