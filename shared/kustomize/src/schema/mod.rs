//! What strategic merge knows about types: which field leads to which type, which lists merge, and by which keys.
//!
//! The built-in description is that of the Kubernetes types embedded in kustomize (made by `hack/schema-merge`, which
//! documents the format); a kustomization may bring its own OpenAPI document. A schema is a value handed down the build.

mod openapi;

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::ops::Deref;
use std::sync::OnceLock;

/// A description of types. The built-in one is unpacked when it is first asked, which many builds never do.
#[derive(Debug)]
pub(crate) struct Schema {
    types: OnceLock<Types>,
}

/// What becomes of the built-in types when a kustomization brings its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Builtin {
    /// They are gone.
    #[default]
    Gone,
    /// They stay where the kustomization does not bring the same.
    Below,
    /// They stay, and the kustomization adds to them.
    Above,
}

/// The types themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Types {
    types: Vec<Type>,
    /// Numbers of types by the names of their definitions.
    by_name: HashMap<String, usize>,
    by_kind: HashMap<(String, String), usize>,
    /// Types that have no namespace, by `apiVersion` and kind.
    cluster_scoped: HashSet<(String, String)>,
}

/// The fields of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Type {
    fields: HashMap<String, Shape>,
    /// The shape of fields without a name of their own.
    rest: Option<Box<Shape>>,
}

impl Type {
    fn field(&self, name: &str) -> Option<&Shape> {
        self.fields.get(name).or(self.rest.as_deref())
    }
}

/// The shape of a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// Something without known fields.
    Opaque,
    /// An object of a type.
    Object(usize),
    /// An object whose type has no name.
    Inline(Box<Type>),
    /// A mapping from any key.
    MapOf(Box<Shape>),
    /// A list.
    ListOf {
        /// Whether items are matched and merged; otherwise the list is replaced as a whole.
        merges: bool,
        /// The fields items are matched by; none when they are scalars.
        keys: Vec<String>,
        /// The shape of an item.
        item: Box<Shape>,
    },
}

/// What the names of definitions start with that the compact format leaves out.
const BUILTIN_PREFIX: &str = "io.k8s.";

/// The types built into kustomize. A constant: parsed once per process and never changed.
static BUILTIN: Schema = Schema { types: OnceLock::new() };

impl Schema {
    /// The types built into kustomize.
    pub fn builtin() -> &'static Schema {
        &BUILTIN
    }

    /// Whether the document this was read from says that objects of a kind have no namespace. The built-in one says so of
    /// nothing, so it is not unpacked for this.
    pub fn is_cluster_scoped(&self, api_version: &str, kind: &str) -> bool {
        self.types.get().is_some_and(|types| {
            !types.cluster_scoped.is_empty()
                && types
                    .cluster_scoped
                    .contains(&(api_version.to_owned(), kind.to_owned()))
        })
    }
}

impl From<Types> for Schema {
    fn from(types: Types) -> Self {
        Self { types: types.into() }
    }
}

impl Deref for Schema {
    type Target = Types;

    fn deref(&self) -> &Types {
        self.types.get_or_init(Types::builtin)
    }
}

impl Types {
    fn builtin() -> Self {
        let mut text = String::new();
        // The file is part of the program; a broken one is caught by the test below.
        if flate2::read::GzDecoder::new(include_bytes!("builtin.txt.gz").as_slice())
            .read_to_string(&mut text)
            .is_err()
        {
            text.clear();
        }
        Self::parse(&text)
    }

    /// Reads the compact format.
    fn parse(text: &str) -> Self {
        let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("type ")).collect();
        let numbers: HashMap<&str, usize> = names.iter().enumerate().map(|(number, name)| (*name, number)).collect();
        let mut schema = Self {
            types: Vec::with_capacity(names.len()),
            ..Self::default()
        };
        for line in text.lines() {
            if line.starts_with("type ") {
                schema.types.push(Type::default());
            } else if let Some((version, kind)) = line.strip_prefix("kind ").and_then(|rest| rest.split_once(' ')) {
                let number = schema.types.len().saturating_sub(1);
                schema.by_kind.insert((version.to_owned(), kind.to_owned()), number);
            } else if let Some((field, shape)) = line.strip_prefix('.').and_then(|rest| rest.split_once(' '))
                && let Some(last) = schema.types.last_mut()
            {
                let shape = parse_shape(shape, &numbers);
                if field == "*" {
                    last.rest = Some(Box::new(shape));
                } else {
                    last.fields.insert(field.to_owned(), shape);
                }
            }
        }
        schema.by_name = numbers
            .into_iter()
            .map(|(name, number)| (format!("{BUILTIN_PREFIX}{name}"), number))
            .collect();
        schema
    }

    /// The shape of objects of a kind.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<Shape> {
        self.by_kind
            .get(&(api_version.to_owned(), kind.to_owned()))
            .map(|number| Shape::Object(*number))
    }

    /// The shape of a field of a value of this shape.
    pub fn field<'a>(&'a self, shape: &'a Shape, name: &str) -> Option<&'a Shape> {
        match shape {
            Shape::Object(number) => self.types.get(*number)?.field(name),
            Shape::Inline(known) => known.field(name),
            Shape::MapOf(value) => Some(value),
            Shape::Opaque | Shape::ListOf { .. } => None,
        }
    }
}

fn parse_shape(text: &str, numbers: &HashMap<&str, usize>) -> Shape {
    if let Some(value) = text.strip_prefix("{} ") {
        return Shape::MapOf(Box::new(parse_shape(value, numbers)));
    }
    if let Some((merging, item)) = text.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        let (strategy, keys) = merging.split_once(';').unwrap_or((merging, ""));
        return Shape::ListOf {
            merges: strategy.split(',').any(|part| part == "merge"),
            keys: keys
                .split(',')
                .filter(|key| !key.is_empty())
                .map(str::to_owned)
                .collect(),
            item: Box::new(parse_shape(item, numbers)),
        };
    }
    numbers.get(text).map_or(Shape::Opaque, |number| Shape::Object(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: &str, kind: &str, path: &[&str], expected: Option<&[&str]>) {
        let schema = Schema::builtin();
        let mut shape = schema.of_kind(version, kind);
        for field in path {
            shape = shape.and_then(|shape| match (&shape, *field) {
                (Shape::ListOf { item, .. }, "[]") => Some((**item).clone()),
                (shape, field) => schema.field(shape, field).cloned(),
            });
        }
        let keys = match shape {
            Some(Shape::ListOf { merges: true, keys, .. }) => Some(keys),
            _ => None,
        };
        assert_eq!(
            keys.as_deref(),
            expected
                .map(|keys| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>())
                .as_deref(),
            "{path:?}"
        );
    }

    #[test]
    fn merge_keys_are_those_of_kubernetes() {
        let pod = ["spec", "template", "spec"];
        check(
            "apps/v1",
            "Deployment",
            &[&pod[..], &["containers"]].concat(),
            Some(&["name"]),
        );
        check(
            "apps/v1",
            "Deployment",
            &[&pod[..], &["containers", "[]", "ports"]].concat(),
            Some(&["containerPort", "protocol"]),
        );
        check("apps/v1", "Deployment", &[&pod[..], &["tolerations"]].concat(), None);
        check("v1", "ConfigMap", &["metadata", "finalizers"], Some(&[]));
        check("example.com/v1", "Thing", &["spec"], None);
    }
}
