//! What is written is read back as the same value, in both dialects, for values made up from a fixed seed.

use serde_json::{Map, Value, json};
use yaml::Dialect;

/// A linear congruential generator: the same values on every machine and every run.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }

    fn text(&mut self) -> String {
        const PIECES: &[&str] = &[
            "a",
            "Z",
            "0",
            "9",
            " ",
            "  ",
            "\n",
            "\t",
            ":",
            "- ",
            "#",
            "'",
            "\"",
            "\\",
            "\r",
            "é",
            "\u{1F600}",
            "---",
            "{",
            "]",
            ",",
            "&",
            "*",
            "!",
            "|",
            ">",
            "%",
            "@",
            "?",
            "word ",
            "yes",
            "null",
            "1e3",
            "~",
            ".5",
            "2001-12-14",
            "${x}",
        ];
        let length = [0, 1, 2, 3, 8, 40][self.below(6)];
        (0..length).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth > 4 { 6 } else { 9 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.below(1 << 30) as i64 - (1 << 29)),
            3 => json!(self.below(1 << 20) as f64 / 16.0 + 0.03125),
            4 | 5 => json!(self.text()),
            6 => Value::Array((0..self.below(4)).map(|_| self.value(depth + 1)).collect()),
            _ => Value::Object(
                (0..self.below(5))
                    .map(|_| (self.text(), self.value(depth + 1)))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

#[test]
fn what_is_written_is_read_back() {
    let mut random = Lcg(20);
    for round in 0..4000 {
        let value = json!({ "key": random.value(0) });
        let text = yaml::to_string(&value);
        for dialect in [Dialect::V3, Dialect::V2] {
            let read = yaml::parse_json(&text, dialect);
            // A plain `<<` is a merge key to every reader, and the Go writer does not quote it either.
            let read: Vec<Value> = match read {
                Ok(documents) => documents.into_iter().map(|(_, value)| value).collect(),
                Err(error) => panic!("round {round}, {dialect:?}: {error}\n{text}"),
            };
            assert_eq!(read, std::slice::from_ref(&value), "round {round}, {dialect:?}\n{text}");
        }
    }
}

#[test]
fn no_text_makes_the_reader_panic_or_hang() {
    let mut random = Lcg(7);
    let mut read = 0;
    for _ in 0..4000 {
        let text: String = (0..random.below(12))
            .map(|_| random.text() + ["\n", " ", ": ", "\n  "][random.below(4)])
            .collect();
        for dialect in [Dialect::V3, Dialect::V2] {
            match yaml::parse(&text, dialect) {
                Ok(_) => read += 1,
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
    assert!(
        read > 100,
        "only {read} texts were readable: the generator no longer tests the reader"
    );
}
