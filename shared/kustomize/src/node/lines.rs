//! Finding a place of a text by line and column, wherever it is: a line may be all of a text.

use std::collections::HashMap;

use yaml::Position;

/// A line of at least as many bytes is looked through once, not for every place in it.
const LONG: usize = 256;

/// How many characters a look-up in a long line goes through at most.
const STEP: usize = 64;

/// The lines of a text.
pub(super) struct Lines<'a> {
    text: &'a str,
    /// Where they start.
    starts: Vec<u32>,
    /// Long lines, by number.
    long: HashMap<usize, Marks>,
}

/// Where the characters of a line are.
enum Marks {
    /// Every one is a byte.
    Ascii,
    /// Where every [`STEP`]th begins.
    Steps(Vec<u32>),
}

impl<'a> Lines<'a> {
    /// The lines of a text that YAML was read from, which is bounded.
    pub fn of(text: &'a str) -> Self {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let breaks = text.match_indices('\n').map(|(at, _)| offset(at + 1));
        let mut lines = Self {
            text,
            starts: std::iter::once(0).chain(breaks).collect(),
            long: HashMap::new(),
        };
        for number in 0..lines.starts.len() {
            let Some(line) = lines.get(number).filter(|line| line.len() >= LONG) else {
                continue;
            };
            let marks = if line.is_ascii() {
                Marks::Ascii
            } else {
                Marks::Steps(line.char_indices().step_by(STEP).map(|(at, _)| offset(at)).collect())
            };
            lines.long.insert(number, marks);
        }
        lines
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// A line without its end, counted from 0.
    pub fn get(&self, number: usize) -> Option<&'a str> {
        let start = *self.starts.get(number)? as usize;
        match self.starts.get(number + 1) {
            Some(next) => self.text.get(start..*next as usize - 1),
            None => self.text.get(start..),
        }
    }

    /// What is from a position on in its line.
    pub fn rest(&self, position: Position) -> Option<&'a str> {
        let number = position.line.checked_sub(1)?;
        let column = position.column.checked_sub(1)?;
        let line = self.get(number)?;
        match self.long.get(&number) {
            Some(Marks::Ascii) => line.get(column..),
            Some(Marks::Steps(steps)) => {
                let near = line.get(*steps.get(column / STEP)? as usize..)?;
                near.get(near.char_indices().nth(column % STEP)?.0..)
            }
            None if line.is_ascii() => line.get(column..),
            None => line.get(line.char_indices().nth(column)?.0..),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, line: usize, column: usize, expected: Option<&str>) {
        let lines = Lines::of(text);
        assert_eq!(lines.rest(Position { line, column }), expected, "{line}:{column}");
    }

    #[test]
    fn places_are_found_in_short_lines() {
        check("a b\nä c\n", 1, 3, Some("b"));
        check("a b\nä c\n", 2, 3, Some("c"));
        check("a b\nä c\n", 3, 1, Some(""));
        check("a b\nä c\n", 3, 2, None);
        check("a b\nä c\n", 4, 1, None);
        check("a b", 1, 5, None);
    }

    #[test]
    fn places_are_found_in_long_lines() {
        for word in ["abcdefg ", "äbcdéfg "] {
            let text = format!("x\n{}end", word.repeat(100));
            check(&text, 2, 801, Some("end"));
            check(&text, 2, 799, Some("g end"));
            check(&text, 2, 900, None);
        }
    }
}
