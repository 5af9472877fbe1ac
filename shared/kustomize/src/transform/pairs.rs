//! What labels and annotations have in common: texts behind keys, in all mappings that are to have them.

use std::collections::BTreeMap;

use crate::Error;
use crate::error::Within;
use crate::fields::{FieldSpec, Target, apply_all};
use crate::node::{Node, Style, Text, check_key, wrong_kind};
use crate::resource::Resource;

/// Keys and texts.
pub(super) struct Pairs<'a>(Vec<Pair<'a>>);

struct Pair<'a> {
    key: &'a str,
    value: &'a str,
    /// How the text is written where it is new.
    style: Style,
}

impl<'a> Pairs<'a> {
    /// These keys and texts.
    pub fn of(pairs: &'a BTreeMap<String, String>) -> Self {
        let pairs = pairs.iter().map(|(key, value)| Pair {
            key,
            value,
            style: Style::by_setter(value),
        });
        Self(pairs.collect())
    }

    /// Sets all of them in all these fields of an object. Whether that changed it.
    ///
    /// # Errors
    /// When one of the fields is no mapping, or a key does not do; then with `what` they are.
    pub fn set_in(&self, resource: &mut Resource, fields: &[FieldSpec], what: &str) -> Result<bool, Error> {
        let mut changed = false;
        for pair in &self.0 {
            // A text added in several places is one value upstream: a later change of one place changes all.
            let cell = resource.new_cell(pair.value);
            let mut replaced = false;
            changed |= apply_all(&mut resource.node, fields, Target::Map, &mut |node| {
                pair.set_in(node, cell, &mut replaced).within(|| what)
            })?;
            if replaced {
                resource.settle_cells();
            }
        }
        Ok(changed)
    }
}

impl Pair<'_> {
    /// Sets the text in a mapping; `replaced` where there was another one. Whether that changed it.
    fn set_in(&self, node: &mut Node, cell: u32, replaced: &mut bool) -> Result<bool, Error> {
        if self.key.is_empty() {
            return Err(Error::new("an empty text is no key"));
        }
        let map = match node {
            Node::Map(map) => map,
            // Upstream puts the pair where no null shows it.
            Node::Null(_) => return Ok(false),
            other => return Err(wrong_kind("MappingNode", other)),
        };
        if let Some(old) = map.get_mut(self.key) {
            *replaced |= old.assign_string(self.value);
            return Ok(*replaced);
        }
        check_key(self.key)?;
        let text = Text {
            text: self.value.into(),
            style: self.style,
            cell,
        };
        map.insert(self.key, Node::Text(text));
        Ok(true)
    }
}
