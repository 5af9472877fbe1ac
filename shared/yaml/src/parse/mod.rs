//! From text to trees: documents, aliases, merge keys, duplicate keys, and the bounds that hostile input runs into.
//!
//! Guarantees: the work is bounded by the size of the text plus the two bounds on alias expansion; nesting is bounded
//! by [`MAX_DEPTH`], so every later recursion over a tree is bounded too; no input panics.

mod anchors;
mod chunks;
mod reader;
mod slashes;

use std::borrow::Cow;

use crate::{Dialect, Error, Flaw, Node, Position, block, quotes};

use chunks::Chunk;
use reader::Reader;

/// The longest text that is read, in bytes.
pub const MAX_TEXT_BYTES: usize = 64 << 20;
/// How deep lists and mappings may nest. (The API server and real manifests stay far below; Go allows 10,000.)
pub const MAX_DEPTH: usize = 256;
/// How many values the aliases of one document may expand to.
pub const MAX_EXPANDED_NODES: usize = 1_000_000;
/// How many bytes of text the aliases of one document may expand to.
pub const MAX_EXPANDED_BYTES: usize = 64 << 20;

/// Reads the documents of `text`: in [`Dialect::V3`] all that kustomize sees, in [`Dialect::V2`] the first and only the
/// first, whatever follows. Empty documents (nothing, a comment, `null`) are left out.
///
/// # Errors
/// See [`ErrorKind`](crate::ErrorKind). The first error ends the reading; no partial result is returned.
pub fn parse(text: &str, dialect: Dialect) -> Result<Vec<Node>, Error> {
    check_length(text)?;
    match dialect {
        Dialect::V3 => Documents::strict(text)?.map(|read| Ok(read?.0)).collect(),
        Dialect::V2 => first(text, None),
    }
}

/// Reads as [`parse`] does and lists the keys that are wrong for a stricter reader: in [`Dialect::V3`] those that kustomize
/// minds only when it writes, which are no error then (what is no text stays as spelled, and of a key given twice all
/// values stay in the mapping); in [`Dialect::V2`] those given twice. They are told apart by their positions. Folded text (`>`)
/// stays as it is: [`refold`](crate::refold) does to it what [`parse`] does. Nothing in brackets (`{a: }`) is null, which
/// [`parse`] takes for an empty text in [`Dialect::V3`].
///
/// # Errors
/// As [`parse`].
pub fn parse_tolerant(text: &str, dialect: Dialect) -> Result<(Vec<Node>, Vec<Flaw>), Error> {
    let (mut documents, mut flaws) = (Vec::new(), Vec::new());
    match dialect {
        Dialect::V3 => {
            for read in Documents::tolerant(text)? {
                let (document, its_flaws) = read?;
                documents.push(document);
                flaws.extend(its_flaws);
            }
        }
        Dialect::V2 => {
            check_length(text)?;
            documents = first(text, Some(&mut flaws))?;
        }
    }
    Ok((documents, flaws))
}

/// The first document.
fn first(text: &str, flaws: Option<&mut Vec<Flaw>>) -> Result<Vec<Node>, Error> {
    let (text, quotes) = quotes::mark(text);
    let first = Reader::new(&text, 0, Dialect::V2, quotes, flaws).next_document()?;
    Ok(first.into_iter().filter(|document| !document.is_null()).collect())
}

/// All documents of a text that kustomize sees, in [`Dialect::V3`], read one after the other, so that never more than one of
/// them takes room. Empty ones are left out; after an error comes none.
pub struct Documents<'a> {
    text: Cow<'a, str>,
    quotes: quotes::Mark,
    chunks: std::vec::IntoIter<Chunk>,
    is_cut: bool,
    is_tolerant: bool,
}

impl<'a> Documents<'a> {
    /// The documents of `text`, each with the keys that a stricter reader minds, as [`parse_tolerant`] lists them.
    ///
    /// # Errors
    /// When the text is too long, or something else than a comment stands behind a `---`.
    pub fn tolerant(text: &'a str) -> Result<Self, Error> {
        Self::of(text, true)
    }

    fn strict(text: &'a str) -> Result<Self, Error> {
        Self::of(text, false)
    }

    fn of(text: &'a str, is_tolerant: bool) -> Result<Self, Error> {
        check_length(text)?;
        let (mut text, quotes) = quotes::mark(text);
        if text.contains("\r\n") {
            text = Cow::Owned(text.replace("\r\n", "\n"));
        }
        let chunks = chunks::split(&text)?;
        Ok(Self {
            is_cut: chunks.len() > 1,
            chunks: chunks.into_iter(),
            text,
            quotes,
            is_tolerant,
        })
    }

    /// Whether a `---` cuts the text, even if nothing is before or behind it.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<(Node, Vec<Flaw>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Chunk { range, first_line } = self.chunks.next()?;
            let text = &self.text[range];
            let mut flaws = Vec::new();
            let read = match block::read(text, first_line) {
                Some(document) => Ok(Some(document)),
                None => long_way(text, first_line, self.quotes, self.is_tolerant.then_some(&mut flaws)),
            };
            match read {
                Ok(Some(document)) if !document.is_null() => return Some(Ok((document, flaws))),
                Ok(_) => {}
                Err(error) => {
                    self.chunks = Vec::new().into_iter();
                    return Some(Err(error));
                }
            }
        }
    }
}

fn check_length(text: &str) -> Result<(), Error> {
    if text.len() > MAX_TEXT_BYTES {
        let start = Position { line: 1, column: 1 };
        return Err(Error::limit(
            start,
            format_args!("text is longer than {MAX_TEXT_BYTES} bytes"),
        ));
    }
    Ok(())
}

/// A document read by the whole grammar, in [`Dialect::V3`].
pub(crate) fn long_way(
    text: &str,
    first_line: usize,
    quotes: quotes::Mark,
    flaws: Option<&mut Vec<Flaw>>,
) -> Result<Option<Node>, Error> {
    Reader::new(text, first_line, Dialect::V3, quotes, flaws).next_document()
}

/// Reads the documents of `text` as [`parse`] does, as JSON values, each with the place where it starts.
///
/// # Errors
/// As [`parse`], and for numbers that JSON cannot express.
pub fn parse_json(text: &str, dialect: Dialect) -> Result<Vec<(Position, serde_json::Value)>, Error> {
    parse(text, dialect)?
        .iter()
        .map(|node| Ok((node.position, node.to_json()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{ErrorKind, FlawKind};

    fn check(text: &str, dialect: Dialect, expected: Result<serde_json::Value, &str>) {
        let found = parse_json(text, dialect)
            .map(|documents| serde_json::Value::Array(documents.into_iter().map(|(_, value)| value).collect()));
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{text:?} in {dialect:?}");
    }

    fn both(text: &str, expected: serde_json::Value) {
        check(text, Dialect::V3, Ok(expected.clone()));
        check(text, Dialect::V2, Ok(expected));
    }

    #[test]
    fn documents_are_split_and_empty_ones_dropped() {
        check(
            "a: 1\n---\n# nothing\n---\nb: 2\n",
            Dialect::V3,
            Ok(json!([{"a": 1}, {"b": 2}])),
        );
        check("a: 1\n---\nb: [\n", Dialect::V2, Ok(json!([{"a": 1}])));
        both("---\na: 1\n", json!([{"a": 1}]));
        both("# only a comment\n", json!([]));
        both("", json!([]));
        both("null\n---\n~\n---\n", json!([]));
        check(
            "--- # comment\na: 1\n--- # comment\nb: 1\n",
            Dialect::V3,
            Ok(json!([{"a": 1}, {"b": 1}])),
        );
    }

    #[test]
    fn kustomize_splits_by_line_and_reads_one_document_per_chunk() {
        check(
            "a: 1\n--- x\nb: 1\n",
            Dialect::V3,
            Err("invalid document separator: --- x"),
        );
        check("a: 1\n...\nb: 2\n", Dialect::V3, Ok(json!([{"a": 1}])));
    }

    #[test]
    fn byte_order_mark_and_windows_line_ends_are_harmless() {
        both(
            "\u{FEFF}a: 1\r\nb: |\r\n  x\r\n  y\r\n",
            json!([{"a": 1, "b": "x\ny\n"}]),
        );
        check("a: 1\r\n---\r\nb: 2\r\n", Dialect::V3, Ok(json!([{"a": 1}, {"b": 2}])));
    }

    #[test]
    fn a_text_may_start_with_any_character() {
        both("\u{FF21}: 1\n", json!([{"\u{FF21}": 1}]));
        both("\u{F000}", json!(["\u{F000}"]));
    }

    #[test]
    fn nothing_in_brackets_is_an_empty_string_for_kustomize() {
        check("{x}", Dialect::V3, Ok(json!([{"x": ""}])));
        check("{x}", Dialect::V2, Ok(json!([{"x": null}])));
        both("x:\n", json!([{"x": null}]));
    }

    #[test]
    fn a_text_may_end_without_a_line_break() {
        both("a: |\n  x", json!([{"a": "x"}]));
        both("a: |+\n  x", json!([{"a": "x"}]));
        both("a: >-\n  x\n  y", json!([{"a": "x y"}]));
        both("a: 1", json!([{"a": 1}]));
        both("a: |\n  x\nb: z", json!([{"a": "x\n", "b": "z"}]));
        check(
            "\"a\\",
            Dialect::V3,
            Err("yaml: line 2: found unexpected end of stream"),
        );
    }

    #[test]
    fn a_gap_in_the_parser_is_an_error_not_a_panic() {
        check(
            "a: [!!str, x]\n",
            Dialect::V3,
            Err("yaml: cannot read on from line 1, column 5"),
        );
    }

    #[test]
    fn what_the_go_libraries_cannot_read_is_refused() {
        for dialect in [Dialect::V3, Dialect::V2] {
            check(
                "a: \"x\\/y\"\n",
                dialect,
                Err("yaml: line 1: found unknown escape character"),
            );
            check(
                "a: '\\/'\nb: \"/\\\\/\"\n",
                dialect,
                Ok(json!([{"a": "\\/", "b": "/\\/"}])),
            );
        }
        check(
            "a: |2\n  \tx\n",
            Dialect::V3,
            Err("yaml: line 1: found a tab character where an indentation space is expected"),
        );
        check("a: |2\n  \tx\n", Dialect::V2, Ok(json!([{"a": "\tx\n"}])));
    }

    #[test]
    fn aliases_are_expanded() {
        both(
            "a: &x {k: [1]}\nb: *x\nc: &x two\nd: *x\n",
            json!([{"a": {"k": [1]}, "b": {"k": [1]}, "c": "two", "d": "two"}]),
        );
        check("a: *x\n", Dialect::V3, Err("yaml: unknown anchor 'x' referenced"));
        check(
            "a: &x [*x]\n",
            Dialect::V3,
            Err("yaml: anchor 'x' value contains itself"),
        );
        check(
            "a: &x\n  b: *x\n",
            Dialect::V2,
            Err("yaml: anchor 'x' value contains itself"),
        );
        both("a: &x [&x 1, *x]\nb: *x\n", json!([{"a": [1, 1], "b": 1}]));
    }

    #[test]
    fn merge_keys_follow_each_dialects_precedence() {
        let text = "base: &b {k: base, l: base}\nmore: &m {k: more, p: more}\nuse:\n  k: own\n  <<: [*b, *m]\n";
        let common = json!({"k": "base", "l": "base"});
        let more = json!({"k": "more", "p": "more"});
        let v3 = json!({"k": "own", "l": "base", "p": "more"});
        check(
            text,
            Dialect::V3,
            Ok(json!([{"base": common, "more": more, "use": v3}])),
        );
        let v2 = json!({"k": "base", "l": "base", "p": "more"});
        check(
            text,
            Dialect::V2,
            Ok(json!([{"base": common, "more": more, "use": v2}])),
        );
        let wrong = "yaml: line 1: map merge requires map or sequence of maps as the value";
        check("<<: 1\n", Dialect::V3, Err(wrong));
        check("<<: [1]\n", Dialect::V2, Err(wrong));
    }

    #[test]
    fn kustomize_drops_the_first_key_that_looks_like_a_merge_key() {
        check("a: {\"<<\": {x: y}}\n", Dialect::V3, Ok(json!([{"a": {}}])));
        check("'<<': x\nb: c\n", Dialect::V3, Ok(json!([{"b": "c"}])));
        check(
            "'<<': x\nb: c\n'<<': d\n",
            Dialect::V3,
            Ok(json!([{"b": "c", "<<": "d"}])),
        );
        check(
            "a: &x {b: c}\nd: {<<: *x, \"<<\": \"y\"}\ne: {\"<<\": \"y\", <<: *x}\n",
            Dialect::V3,
            Ok(json!([{"a": {"b": "c"}, "d": {"b": "c", "<<": "y"}, "e": {"b": "c"}}])),
        );
        check("'<<': x\n", Dialect::V2, Ok(json!([{"<<": "x"}])));
    }

    #[test]
    fn a_key_given_twice_is_an_error_or_the_last_wins() {
        let text = "a: 1\nb: 2\na: 3\n";
        let error = "yaml: unmarshal errors:\n  line 3: mapping key \"a\" already defined at line 1";
        check(text, Dialect::V3, Err(error));
        check(text, Dialect::V2, Ok(json!([{"a": 3, "b": 2}])));
        assert_eq!(
            parse(text, Dialect::V3).unwrap_err().position(),
            Position { line: 3, column: 1 }
        );
    }

    #[test]
    fn keys_that_are_not_text() {
        check(
            "a:\n  1: x\n",
            Dialect::V3,
            Err("yaml: line 2: mapping key 1 is a number, keys must be strings"),
        );
        check(
            "a:\n  [x]: y\n",
            Dialect::V3,
            Err("yaml: line 2: mapping key is a list, keys must be strings"),
        );
        check("1: x\n", Dialect::V3, Ok(json!([{"1": "x"}])));
        check(
            "a: {1: x, y: z, 1.5: q}\n",
            Dialect::V2,
            Ok(json!([{"a": {"1": "x", "true": "z", "1.5": "q"}}])),
        );
        check(
            "~: x\n",
            Dialect::V2,
            Err("yaml: line 1: a null cannot be a mapping key"),
        );
    }

    #[test]
    fn a_tolerant_reader_keeps_keys_no_json_object_may_have() {
        let (documents, flaws) = parse_tolerant("a: {1: x, b: y, b: z}\n", Dialect::V3).unwrap();
        let keys: Vec<_> = documents[0]
            .get("a")
            .and_then(Node::as_map)
            .unwrap()
            .iter()
            .map(|(key, _)| key.as_str())
            .collect();
        assert_eq!(keys, [Some("1"), Some("b"), Some("b")]);
        let found: Vec<_> = flaws.iter().map(|flaw| (flaw.position.column, flaw.kind)).collect();
        assert_eq!(found, [(5, FlawKind::NotText), (17, FlawKind::Repeated)]);
        assert!(parse_tolerant("a: {[x]: y}\n", Dialect::V3).is_err());
        let (documents, flaws) = parse_tolerant("{a: , b: c}\n", Dialect::V3).unwrap();
        assert_eq!(
            documents[0].get("a").map(|value| &value.value),
            Some(&crate::Value::Null)
        );
        assert_eq!(flaws, []);
        let (_, flaws) = parse_tolerant("a: 1\nb: 2\na: 3\n", Dialect::V2).unwrap();
        assert_eq!(
            flaws[0].error.to_string(),
            "yaml: unmarshal errors:\n  line 3: key \"a\" already set in map"
        );
    }

    #[test]
    fn syntax_errors_are_worded_as_go_words_them_and_know_their_place() {
        let text = "a:\n  b: [1, 2\nc: 3\n";
        let error = parse(text, Dialect::V3).unwrap_err();
        assert_eq!(error.to_string(), "yaml: line 1: did not find expected ',' or ']'");
        assert_eq!((error.kind(), error.position().line), (ErrorKind::Syntax, 3));
        let error = parse("a: b: c\n", Dialect::V3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "yaml: mapping values are not allowed in this context"
        );
        let error = parse("x: 1\n---\ny: 1\nz: b: c\n", Dialect::V3).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.position().line),
            ("yaml: line 2: mapping values are not allowed in this context", 4)
        );
    }

    #[test]
    fn bounds_hold() {
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        check(&deep, Dialect::V3, Err("yaml: line 1: exceeded max depth of 256"));
        let fits = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
        assert!(parse(&fits, Dialect::V3).is_ok());
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            laughs += &format!("a{level}: &a{level} [{items}]\n");
        }
        check(&laughs, Dialect::V3, Err("yaml: document contains excessive aliasing"));
        check(&laughs, Dialect::V2, Err("yaml: document contains excessive aliasing"));
    }
}
