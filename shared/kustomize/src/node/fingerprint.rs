//! Telling whether a tree is another one than before, without a copy of it. Good enough for remarks about who changed what,
//! no defence against trees made to look alike.

use super::{Absence, Node, Style};

/// What a tree comes to so far.
struct Mix(u64);

impl Mix {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        let last = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        self.add(last ^ (bytes.len() as u64) << 56);
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Null(written) => self.add(1 + u64::from(matches!(written, Absence::Word(_)))),
            Node::Bool(value) => self.add(3 + u64::from(value.value)),
            Node::Number(number) => {
                let number = &number.value;
                self.add(5);
                match (number.as_u64(), number.as_i64(), number.as_f64()) {
                    (Some(number), _, _) => self.add(number),
                    (_, Some(number), _) => self.add(number.cast_unsigned()),
                    (_, _, Some(number)) => self.add(number.to_bits() ^ 1),
                    _ => self.bytes(number.to_string().as_bytes()),
                }
            }
            // Of the ways to write a text only quotes show in the output.
            Node::Text(text) => {
                self.add(6 + u64::from(matches!(text.style, Style::Quoted(_))));
                self.bytes(text.text.as_bytes());
            }
            Node::List(items) => {
                self.add(8);
                self.add(items.len() as u64);
                items.iter().for_each(|item| self.node(item));
            }
            Node::Map(map) => {
                self.add(9);
                self.add(map.len() as u64);
                for (key, value) in map.iter() {
                    self.bytes(key.as_bytes());
                    self.node(value);
                }
            }
        }
    }
}

impl Node {
    /// A number that is another one after almost every change of the tree that shows.
    pub fn fingerprint(&self) -> u64 {
        let mut mix = Mix(0);
        mix.node(self);
        mix.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn trees_that_differ_anywhere_have_different_fingerprints() {
        let trees = [
            json!({"a": "b"}),
            json!({"a": "c"}),
            json!({"a": ["b"]}),
            json!({"a": {"b": null}}),
            json!({"ab": ""}),
            json!({"a": "123456789"}),
            json!({"a": "123456780"}),
            json!({"a": 123_456_789}),
            json!({"a": 1.5}),
            json!({"a": -1}),
            json!({"a": [], "b": []}),
            json!({"a": [[], []]}),
            json!({"a": true}),
        ];
        let mut all: Vec<u64> = trees
            .into_iter()
            .map(|tree| Node::from_json(tree).fingerprint())
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 13);
    }

    #[test]
    fn what_does_not_show_makes_no_difference() {
        assert_eq!(Node::string("a").fingerprint(), Node::untyped("a").fingerprint());
    }
}
