//! Where a replacement puts its value.

use super::source::Value;
use super::tree::visit;
use super::{DEFAULT_PATH, Options, ids, structured};
use crate::Error;
use crate::error::{Problems, Within};
use crate::node::{Create, Growth, Node, Size, check_length, split_bracketed};
use crate::resource::{Id, Resource, Resources, is_memory};
use crate::select::{Matcher, Selector};
use crate::transform::Pass;

/// Where a value is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    /// The objects.
    pub select: Option<Selector>,
    /// Those among them that are left out.
    pub reject: Vec<Selector>,
    /// The fields.
    pub paths: Vec<String>,
    /// Which part of them, and whether they are made.
    pub options: Options,
}

/// The objects of a target.
struct Chosen {
    select: Matcher,
    rejects: Vec<Reject>,
}

/// Objects that are left out: those that fit in either way, where there is anything to fit.
struct Reject {
    matcher: Matcher,
    by_id: bool,
    by_meta: bool,
}

impl Chosen {
    fn includes(&self, resource: &Resource, ids: &[Id]) -> bool {
        let rejected = |reject: &Reject| {
            (reject.by_meta && reject.matcher.fits_meta(resource))
                || (reject.by_id && ids.iter().any(|id| reject.matcher.fits_id(id)))
        };
        self.select.fits_meta(resource)
            && !self.rejects.iter().any(rejected)
            && ids.iter().any(|id| self.select.fits_id(id))
    }
}

impl Target {
    /// Writes the value to every field of every object that is meant. The value changes where it is one of these fields.
    ///
    /// # Errors
    /// When no object is said, a selector does not do, or a field is not there; the latter for every object.
    pub fn write(
        &self,
        resources: &mut Resources,
        value: &mut Value,
        pass: &Pass<'_>,
        growth: &mut Growth,
    ) -> Result<(), Error> {
        let mut problems = Problems::default();
        let chosen = self.chosen()?;
        let default = [DEFAULT_PATH.to_owned()];
        let paths = if self.paths.is_empty() {
            &default[..]
        } else {
            &self.paths
        };
        for at in 0..resources.len() {
            let Some(resource) = resources.get(at) else { continue };
            let ids = ids(resource);
            if !chosen.includes(resource, &ids) {
                continue;
            }
            let Some(resource) = resources.get_mut(at) else {
                continue;
            };
            let changed = pass.on(resource, |resource| {
                let mut changed = false;
                for path in paths {
                    changed |= self
                        .copy(resource, at, value, path, growth)
                        .within(|| format!("replacing in {}", ids.first().cloned().unwrap_or_default()))?;
                }
                resource.settle_cells();
                Ok(changed)
            });
            problems.note(changed)?;
        }
        problems.finish()
    }

    fn chosen(&self) -> Result<Chosen, Error> {
        let select = self.select.as_ref();
        let select = select.ok_or_else(|| Error::new("target must specify resources to select"))?;
        let compile = |selector: &Selector| selector.compile().within(|| "error creating target selector");
        Ok(Chosen {
            select: compile(select)?,
            rejects: (self.reject.iter())
                .map(|reject| {
                    Ok(Reject {
                        matcher: compile(reject)?,
                        by_id: reject.id != Id::default(),
                        by_meta: !(reject.annotations.is_empty() && reject.labels.is_empty()),
                    })
                })
                .collect::<Result<_, Error>>()?,
        })
    }

    /// Copies the value into a field of the object at a position. Whether anything is another one now.
    fn copy(
        &self,
        resource: &mut Resource,
        at: usize,
        value: &mut Value,
        path: &str,
        growth: &mut Growth,
    ) -> Result<bool, Error> {
        let parts = split_bracketed(path, '.');
        check_length(&parts)?;
        // What upstream remembers about an object is in the annotations, and goes or comes with them.
        let with_memory = is_memory(&parts);
        if with_memory {
            resource.write_memory()?;
        }
        let create = self.options.create.then_some(match value.node {
            Node::Map(_) => Create::Map,
            Node::List(_) => Create::List,
            _ => Create::Scalar,
        });
        let changed = structured::replace(&mut resource.node, &parts, value, create, growth)?
            || self.copy_to(resource, at, value, (path, &parts), create, growth)?;
        if with_memory {
            resource.read_memory()?;
        }
        value.follow(at, resource, parts.len())?;
        Ok(changed)
    }

    /// Copies the value to where a path leads in the object itself.
    fn copy_to(
        &self,
        resource: &mut Resource,
        at: usize,
        value: &mut Value,
        (path, parts): (&str, &[String]),
        create: Option<Create>,
        growth: &mut Growth,
    ) -> Result<bool, Error> {
        let mut changed = false;
        if create.is_some() && value.is_in(at) {
            // What is made inside of the value's own field is part of the value already.
            let before = resource.node.fingerprint();
            visit(&mut resource.node, parts, create, &mut |_: &mut Node| Ok(())).within(|| self.not_found(path))?;
            value.follow(at, resource, parts.len())?;
            changed |= resource.node.fingerprint() != before;
        }
        let source = value.node_in(at, &resource.node);
        let found = visit(&mut resource.node, parts, create, &mut |node: &mut Node| {
            growth.take(Size::of(&value.node), parts.len())?;
            let before = node.fingerprint();
            self.set(node, value, growth)?;
            changed |= node.fingerprint() != before;
            if source.is_some_and(|source| std::ptr::eq(source, node)) {
                value.become_of(node);
            }
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

    /// Puts the value in place of a node: a scalar gets its characters and keeps its type.
    fn set(&self, node: &mut Node, value: &Value, growth: &mut Growth) -> Result<(), Error> {
        let Options { delimiter, index, .. } = &self.options;
        if delimiter.is_empty() {
            return write(node, &value.node, &value.text);
        }
        if !node.is_scalar() {
            return Err(Error::new("delimiter option can only be used with scalar nodes"));
        }
        let old = node.text().into_owned();
        let mut parts: Vec<&str> = old.split(delimiter).collect();
        match usize::try_from(*index) {
            Err(_) => parts.insert(0, &value.text),
            Ok(index) => match parts.get_mut(index) {
                Some(part) => *part = &value.text,
                None => parts.push(&value.text),
            },
        }
        let text = parts.join(delimiter);
        let weight = text.len();
        growth.take(Size { weight, depth: 1 }, 0)?;
        write(node, &value.node, &text)
    }
}

fn write(node: &mut Node, value: &Node, text: &str) -> Result<(), Error> {
    if node.is_scalar() {
        return node.replace_text(text);
    }
    *node = value.clone();
    Ok(())
}
