//! Setting scalars the way kyaml's setters do: what stood there before has a say in what comes out.

use super::read::{is_yaml11_other, plain};
use super::{Node, Style, Text};
use crate::Error;

/// Whether a number is written as one with a fraction or an exponent, whatever its value.
fn is_float(text: &str) -> bool {
    text.contains('.') || (text.contains(['e', 'E']) && !text.contains(['x', 'X']))
}

/// Whether upstream's setter of fields quotes a string: YAML 1.1 takes it for something else.
fn is_quoted_by_setter(text: &str) -> bool {
    !text.is_empty() && !text.contains('\n') && is_yaml11_other(text)
}

impl Style {
    /// How upstream's setter of fields writes a string that is new: what YAML 1.1 takes for something else is quoted.
    pub fn by_setter(text: &str) -> Self {
        if is_quoted_by_setter(text) {
            Style::Quoted(yaml::Quoting::Double)
        } else {
            Style::Plain
        }
    }
}

impl Node {
    /// A string as upstream's setter of fields puts it: what YAML 1.1 takes for something else than a string is quoted, text
    /// of several lines a block.
    pub fn set_string(text: impl Into<Box<str>>) -> Self {
        let text = text.into();
        let style = if text.contains('\n') {
            Style::Quoted(yaml::Quoting::Double)
        } else {
            Style::by_setter(&text)
        };
        Node::Text(Text { text, style, cell: 0 })
    }

    /// A string in quotes.
    pub fn quoted_string(text: impl Into<Box<str>>) -> Self {
        Node::Text(Text {
            text: text.into(),
            style: Style::Quoted(yaml::Quoting::Double),
            cell: 0,
        })
    }

    /// Puts a scalar of known type here. The quotes of what was here stay, and a quoted string stays a string. Whether it is another
    /// one now.
    pub fn assign(&mut self, mut new: Node) -> bool {
        let Node::Text(old) = &*self else {
            let changed = *self != new;
            if let Node::Text(text) = &mut new
                && self.is_scalar()
                && matches!(text.style, Style::Quoted(_))
            {
                text.style = Style::Plain;
            }
            *self = new;
            return changed;
        };
        let (style, cell) = (old.style, old.cell);
        let changed = *old.text != *new.text();
        *self = match new {
            Node::Text(text) => {
                let style = match (style, text.style) {
                    (Style::Quoted(_), _) => style,
                    // Only the quotes of what was here stay, not that it was a string.
                    (_, Style::Untyped) => Style::Untyped,
                    (Style::Plain | Style::Untyped, _) => Style::Plain,
                };
                Node::Text(Text {
                    text: text.text,
                    style,
                    cell,
                })
            }
            scalar if matches!(style, Style::Quoted(_)) && scalar.is_scalar() => Node::Text(Text {
                text: scalar.text().into(),
                style,
                cell,
            }),
            other => other,
        };
        changed
    }

    /// Puts a string here. Whether it is another one now.
    pub fn assign_string(&mut self, text: impl Into<Box<str>>) -> bool {
        self.assign(Node::string(text))
    }

    /// Puts a text without a type here: over a quoted string it is a string, otherwise what it looks like. Whether it
    /// differs from the text that was here.
    pub fn assign_untyped(&mut self, text: &str) -> bool {
        let changed = self.text() != text;
        match self {
            Node::Text(old) => {
                old.text = text.into();
                if old.style == Style::Plain {
                    old.style = Style::Untyped;
                }
            }
            _ => *self = Node::untyped(text),
        }
        changed
    }

    /// Quotes a text without a type that YAML 1.1 takes for something else than a string, as a merge does on its way.
    pub fn settle_type(&mut self) {
        if let Node::Text(text) = self
            && text.style == Style::Untyped
            && is_quoted_by_setter(&text.text)
        {
            text.style = Style::Quoted(yaml::Quoting::Double);
        }
    }

    /// Replaces the characters of a scalar and keeps its type.
    ///
    /// # Errors
    /// When the text is no value of that type: a word for a number.
    pub fn replace_text(&mut self, new: &str) -> Result<(), Error> {
        let tag = match self {
            Node::Text(old) if old.style == Style::Untyped && yaml::is_timestamp(&old.text) => {
                // What is no timestamp cannot be printed as one.
                if !yaml::is_timestamp(new) {
                    return Err(Error::new("cannot decode a !!str as a !!timestamp"));
                }
                old.text = new.into();
                return Ok(());
            }
            Node::Text(old) => {
                old.text = new.into();
                return Ok(());
            }
            Node::Null(_) => "!!null",
            Node::Bool(_) => "!!bool",
            Node::Number(number) if number.value.is_f64() => "!!float",
            Node::Number(_) => "!!int",
            Node::List(_) | Node::Map(_) => return Ok(()),
        };
        let value = plain(new);
        let (fits, found) = match &value {
            Node::Null(_) => (tag == "!!null", "!!null"),
            Node::Bool(_) => (tag == "!!bool", "!!bool"),
            Node::Number(number) if number.value.is_f64() || is_float(new) => (tag == "!!float", "!!float"),
            Node::Number(_) => (tag == "!!int" || tag == "!!float", "!!int"),
            _ => (false, "!!str"),
        };
        if !fits {
            // The text itself may come out of a Secret.
            return Err(Error::new(format!("cannot decode a {found} as a {tag}")));
        }
        *self = value;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(old: Node, new: &str, expected: Option<serde_json::Value>) {
        let mut node = old.clone();
        let result = node.replace_text(new).ok().map(|()| node.to_json());
        assert_eq!(result, expected, "{old:?} <- {new}");
    }

    #[test]
    fn replaced_characters_keep_the_type() {
        check(Node::string("a"), "80", Some("80".into()));
        check(Node::Number(serde_json::Number::from(5).into()), "80", Some(80.into()));
        check(Node::Number(serde_json::Number::from(5).into()), "x", None);
        check(Node::Number(serde_json::Number::from(5).into()), "1e3", None);
        check(
            Node::Number(serde_json::Number::from(5).into()),
            "0x1e",
            Some(30.into()),
        );
        check(
            Node::Text(Text {
                text: Box::default(),
                style: Style::Untyped,
                cell: 0,
            }),
            "80",
            Some(80.into()),
        );
        check(Node::Bool(true.into()), "false", Some(false.into()));
        check(Node::untyped("2024-01-02"), "abc", None);
        check(
            Node::untyped("2024-01-02"),
            "2024-03-04",
            Some("2024-03-04T00:00:00Z".into()),
        );
    }

    #[test]
    fn a_number_over_a_quoted_string_is_a_string() {
        let mut quoted = Node::Text(Text {
            text: "80".into(),
            style: Style::Quoted(yaml::Quoting::Double),
            cell: 0,
        });
        quoted.assign(Node::Number(serde_json::Number::from(8080).into()));
        assert_eq!(quoted.to_json(), "8080");
        let mut bare = Node::string("http");
        bare.assign(Node::Number(serde_json::Number::from(8080).into()));
        assert_eq!(bare.to_json(), 8080);
        let mut date = Node::string("none");
        date.assign(Node::untyped("2024-01-02"));
        assert_eq!(date.to_json(), "2024-01-02T00:00:00Z");
        let mut number = Node::Number(serde_json::Number::from(1).into());
        number.assign(Node::quoted_string("80"));
        assert_eq!(number.to_json(), "80");
        number.assign(Node::Number(serde_json::Number::from(8080).into()));
        assert_eq!(number.to_json(), 8080);
    }

    #[test]
    fn an_untyped_text_is_what_it_looks_like() {
        let mut name = Node::string("a");
        name.assign_untyped("1e3");
        assert_eq!(name.to_json(), 1000);
        name.assign_untyped("true-x");
        assert_eq!(name.to_json(), "true-x");
    }
}
