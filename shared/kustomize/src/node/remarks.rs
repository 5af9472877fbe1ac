//! Schemas in comments: a comment that is a JSON object, at a key or in the line above it, describes the key's value to
//! strategic merges. This is as upstream has it from its setters; a comment of theirs that means something else
//! (`# {"$openapi":"name"}`) is taken for a schema that says nothing.

use std::collections::HashMap;

use serde_json::Value;

use super::lines::Lines;

/// The schemas in the comments of a text.
pub(super) struct Remarks(HashMap<usize, Remark>);

struct Remark {
    /// Where the comment starts, counted in characters from 1.
    column: usize,
    /// Whether nothing else is in its line.
    alone: bool,
    /// The column of the first key or value of its line.
    first: usize,
    schema: Value,
}

impl Remarks {
    /// Looks through the lines of a text.
    pub fn of(lines: &Lines<'_>) -> Self {
        let mut remarks = HashMap::new();
        for at in 0..lines.len() {
            let Some(line) = lines.get(at) else { continue };
            let Some((start, schema)) = comment(line) else { continue };
            let before = line.get(..start).unwrap_or_default();
            let alone = before.trim().is_empty();
            // Several lines of comment are one text, and no JSON.
            let more = |other: Option<usize>| {
                other
                    .and_then(|at| lines.get(at))
                    .is_some_and(|line| line.trim_start().starts_with('#'))
            };
            if alone && (more(at.checked_sub(1)) || more(at.checked_add(1))) {
                continue;
            }
            let column = before.chars().count() + 1;
            let first = before
                .chars()
                .take_while(|c| matches!(c, ' ' | '\t' | '-' | '?'))
                .count()
                + 1;
            remarks.insert(
                at + 1,
                Remark {
                    column,
                    alone,
                    first,
                    schema,
                },
            );
        }
        Self(remarks)
    }

    /// The schema for the value of the key at this position.
    pub fn at(&self, key: yaml::Position) -> Option<&Value> {
        if self.0.is_empty() {
            return None;
        }
        let behind = self.0.get(&key.line).filter(|remark| remark.first == key.column);
        let above = || {
            self.0
                .get(&(key.line - 1))
                .filter(|remark| remark.alone && remark.column == key.column)
        };
        behind.or_else(above).map(|remark| &remark.schema)
    }
}

/// The JSON object in the comment of a line, and where the comment starts.
fn comment(line: &str) -> Option<(usize, Value)> {
    // Few lines get past this.
    if !line.contains('#') || !line.trim_end().ends_with('}') {
        return None;
    }
    let starts = line.match_indices('#').map(|(at, _)| at);
    let start = starts.into_iter().find(|at| {
        line.get(..*at)
            .is_some_and(|before| before.is_empty() || before.ends_with([' ', '\t']))
    })?;
    let text = line.get(start..)?.trim_start_matches('#');
    let schema: Value = serde_json::from_str(text).ok()?;
    schema.as_object().filter(|fields| !fields.is_empty())?;
    Some((start, schema))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, line: usize, column: usize, expected: Option<&str>) {
        let remarks = Remarks::of(&Lines::of(text));
        let found = remarks.at(yaml::Position { line, column }).map(Value::to_string);
        assert_eq!(found.as_deref(), expected, "{text}");
    }

    #[test]
    fn a_comment_that_is_a_json_object_belongs_to_the_key_in_front_or_below() {
        check("a: # {\"x\": 1}\n- b", 1, 1, Some("{\"x\":1}"));
        check("## {\"x\": 1}\na:\n- b", 2, 1, Some("{\"x\":1}"));
        check("- a: {b: c} # {\"x\": 1}", 1, 3, Some("{\"x\":1}"));
        check("- a: {b: c} # {\"x\": 1}", 1, 7, None);
        check("a: b#{\"x\": 1}", 1, 1, None);
        check("# {\"x\": 1}\n\na:\n- b", 3, 1, None);
        check("# and\n# {\"x\": 1}\na:\n- b", 3, 1, None);
        check("a: # {}\n- b", 1, 1, None);
        check("a: # text\n- b", 1, 1, None);
    }
}
