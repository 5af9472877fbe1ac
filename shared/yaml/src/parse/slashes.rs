//! `\/` in double quotes, which the parser reads and Go's libraries refuse.

use libyaml_safer::Mark;

/// Line and column, from 0, of every backslash that is not escaped itself and stands before a slash.
pub(super) struct EscapedSlashes(Vec<(u64, u64)>);

impl EscapedSlashes {
    /// Those of a text.
    pub(super) fn of(text: &str) -> Self {
        let mut places = Vec::new();
        // Nearly no text has any.
        if !text.contains("\\/") {
            return Self(places);
        }
        for (number, line) in text.trim_start_matches('\u{FEFF}').split('\n').enumerate() {
            let mut escaped = false;
            for (column, c) in line.chars().enumerate() {
                if escaped && c == '/' {
                    places.push((number as u64, column as u64));
                }
                escaped = c == '\\' && !escaped;
            }
        }
        Self(places)
    }

    /// Whether there is one between two marks.
    pub(super) fn any_in(&self, start: Mark, end: Mark) -> bool {
        let at = self.0.partition_point(|place| *place < (start.line, start.column));
        self.0.get(at).is_some_and(|place| *place < (end.line, end.column))
    }
}
