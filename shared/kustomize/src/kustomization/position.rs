//! Where a field of a kustomization file stands in it.

use yaml::{Node, Position, Value};

/// The places of fields in the text of a kustomization file, for who builds with a file made from another one and is to say
/// where something stands in that.
///
/// ```
/// let positions = kustomize::Positions::read(b"namePrefix: a-\nresources:\n- app.yaml\n").unwrap();
/// assert_eq!(positions.of("resources[0]"), Some((3, 3)));
/// assert_eq!(positions.of("images[0]"), None);
/// ```
pub struct Positions(Node);

impl Positions {
    /// Reads a kustomization file; none when it is empty or no YAML.
    pub fn read(content: &[u8]) -> Option<Self> {
        super::document(content).ok().flatten().map(Self)
    }

    /// Line and column, counted from 1, of a field as [`Problem::field`](crate::Problem::field) names it, or of the closest
    /// thing around it: of `patches[2]` where `patches[2].target` is not there. None when not even `patches` is.
    pub fn of(&self, field: &str) -> Option<(usize, usize)> {
        let name = field.split(['.', '[']).next().unwrap_or_default();
        let is_named = |key: &Node| key.as_str().is_some_and(|key| key.eq_ignore_ascii_case(name));
        let found = self.0.as_map()?.iter().any(|(key, _)| is_named(key));
        let position = found.then(|| position(&self.0, field))?;
        Some((position.line, position.column))
    }
}

/// The place of a field given as in error messages: `patches[2].target`. As far as it is there: the place of the closest
/// thing around it otherwise.
pub(crate) fn position(document: &Node, field: &str) -> Position {
    let mut at = document;
    let mut position = document.position;
    for part in field.split('.') {
        let (name, indexes) = part.split_at(part.find('[').unwrap_or(part.len()));
        let Value::Map(entries) = &at.value else { break };
        let is_named = |key: &Node| key.as_str().is_some_and(|key| key.eq_ignore_ascii_case(name));
        let Some((key, value)) = entries.iter().rev().find(|(key, _)| is_named(key)) else {
            break;
        };
        (position, at) = (key.position, value);
        for index in indexes
            .split(['[', ']'])
            .filter_map(|index| index.parse::<usize>().ok())
        {
            let Some(item) = at.as_seq().and_then(|items| items.get(index)) else {
                return position;
            };
            (position, at) = (item.position, item);
        }
    }
    position
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(field: &str, expected: (usize, usize)) {
        let text = "resources:\n- a\n- b\npatches:\n  - path: x\n    target: {kind: Pod}\nnamePrefix: p-\n";
        let document = crate::kustomization::document(text.as_bytes()).unwrap().unwrap();
        let found = position(&document, field);
        assert_eq!((found.line, found.column), expected, "{field}");
    }

    #[test]
    fn fields_are_found_by_their_paths() {
        check("resources", (1, 1));
        check("resources[1]", (3, 3));
        check("resources[7]", (1, 1));
        check("patches[0].target.kind", (6, 14));
        check("patches[0].gone", (5, 5));
        check("NamePrefix", (7, 1));
        check("", (1, 1));
    }
}
