//! `replacements`: a field of one object, or a part of it, copied into fields of others.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert(
//!     "kustomization.yaml",
//!     "replacements: [{source: {kind: Service}, targets: [{select: {kind: ConfigMap}, fieldPaths: [data.host]}]}]\n\
//!      resources: [app.yaml]\n",
//! )?;
//! files.insert(
//!     "app.yaml",
//!     "{apiVersion: v1, kind: Service, metadata: {name: db}}\n\
//!      ---\n\
//!      {apiVersion: v1, kind: ConfigMap, metadata: {name: app}, data: {host: none}}\n",
//! )?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[1].object["data"]["host"], "db");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod source;
mod structured;
mod target;
mod tree;

use super::{Pass, Transformer};
use crate::Error;
use crate::error::{Problems, Within};
use crate::files::Loaded;
use crate::kustomization::{Fields, document};
use crate::node::Growth;
use crate::resource::{Id, Resource, Resources};
use crate::select::Selector;

use source::{Source, Value};
use target::Target;

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
                Ok(Source {
                    object: Id::decode(fields)?,
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
            (None, value) => Ok(Value::written(value.as_deref().unwrap_or_default())),
        };
        let mut value = match value {
            Ok(value) => value,
            Err(error) => return note("", Err(error)),
        };
        for (at, target) in self.targets.iter().enumerate() {
            let written = target.write(resources, &mut value, pass, growth);
            note(&format!(".targets[{at}]"), written)?;
        }
        Ok(())
    }
}

/// The identities an object goes by: the present one, then the earlier ones.
fn ids(resource: &Resource) -> Vec<Id> {
    std::iter::once(resource.id()).chain(resource.previous_ids()).collect()
}

#[cfg(test)]
mod tests {
    use crate::trial::built;
    use serde_json::{Value, json};

    /// The data of the second object then, or a part of the error.
    fn check(entry: &str, expected: Result<Value, &str>) {
        let objects = "{apiVersion: v1, kind: Service, metadata: {name: db}, spec: {host: a.b}}\n---\n\
                       {apiVersion: v1, kind: ConfigMap, metadata: {name: app}, data: {x: old, y: c.d}}\n";
        let found = built(&format!("replacements: [{{{entry}}}]"), objects);
        match expected {
            Ok(data) => assert_eq!(found.unwrap()[1]["data"], data, "{entry}"),
            Err(part) => assert!(found.unwrap_err().contains(part), "{entry}"),
        }
    }

    #[test]
    fn a_field_or_a_part_of_it_goes_to_all_targets() {
        let to = |rest: &str| format!("targets: [{{select: {{kind: ConfigMap}}, {rest}}}]");
        let whole = to("fieldPaths: [data.x, data.y]");
        check(
            &format!("source: {{kind: Service}}, {whole}"),
            Ok(json!({"x": "db", "y": "db"})),
        );
        check(&format!("sourceValue: v, {whole}"), Ok(json!({"x": "v", "y": "v"})));
        let part = to("fieldPaths: [data.y], options: {delimiter: ., index: 1}");
        check(
            &format!("source: {{kind: Service, fieldPath: spec.host, options: {{delimiter: .}}}}, {part}"),
            Ok(json!({"x": "old", "y": "c.a"})),
        );
        let new = to("fieldPaths: [data.z], options: {create: true}");
        check(
            &format!("sourceValue: v, {new}"),
            Ok(json!({"x": "old", "y": "c.d", "z": "v"})),
        );
    }

    #[test]
    fn an_entry_has_one_source_and_targets() {
        let to = "targets: [{select: {kind: ConfigMap}, fieldPaths: [data.z]}]";
        check(to, Err("must specify a source and at least one target"));
        check(
            "source: {kind: Service}",
            Err("must specify a source and at least one target"),
        );
        check(
            &format!("source: {{kind: Service}}, sourceValue: v, {to}"),
            Err("mutually exclusive"),
        );
        check(&format!("sourceValue: v, {to}"), Err("unable to find field \"data.z\""));
        check(
            &format!("path: all.yaml, sourceValue: v, {to}"),
            Err("cannot specify both"),
        );
    }
}
