//! What kustomize does to folded text (`>`): it writes the tree out once more and reads that, and its writer gets the
//! line breaks of some folded texts wrong. `>+` text that ends in several line breaks gains one.

use libyaml_safer::{EventData, Parser};

use crate::emit;

/// `text` after kustomize's writer has written it in folded style and its reader has read it again.
pub(crate) fn refold(text: &str) -> String {
    // Single breaks between words and one at the end survive; so does what the writer does not write folded at all.
    let suspicious = text.starts_with(|c| c == ' ' || emit::is_break(c))
        || text.contains("\n\n")
        || text.contains("\n ")
        || text.chars().any(|c| emit::is_break(c) && c != '\n');
    if !suspicious || !emit::fits_block(text) {
        return text.to_owned();
    }
    reread(&write(text)).unwrap_or_else(|| text.to_owned())
}

fn write(text: &str) -> String {
    // The writer looks for the first character that is no break from the start of the text, not from where it stands,
    // so what it decides at a break depends on that character alone.
    let first = text.chars().find(|c| !emit::is_break(*c));
    let doubles = first.is_some_and(|c| !matches!(c, ' ' | '\t' | '\0'));
    let mut out = format!(">{}\n", emit::block_hints(text));
    let (mut breaks, mut leading_space) = (true, true);
    for c in text.chars() {
        if emit::is_break(c) {
            if !breaks && !leading_space && c == '\n' && doubles {
                out.push('\n');
            }
            out.push(c);
            breaks = true;
        } else {
            if breaks {
                out.push_str("  ");
                leading_space = c == ' ' || c == '\t';
            }
            out.push(c);
            breaks = false;
        }
    }
    if !breaks {
        // The hints strip it again; the reader cannot do without.
        out.push('\n');
    }
    out
}

fn reread(text: &str) -> Option<String> {
    let mut parser = Parser::new();
    parser.set_input(text.as_bytes());
    parser.find_map(|event| match event.ok()?.data {
        EventData::Scalar { value, .. } => Some(value),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    fn check(text: &str, expected: &str) {
        assert_eq!(super::refold(text), expected, "{text:?}");
    }

    #[test]
    fn ordinary_folded_text_survives() {
        check("a b c\n", "a b c\n");
        check("a\nb", "a\nb");
        check("x y\n\nz\n", "x y\n\nz\n");
    }

    #[test]
    fn several_line_breaks_at_the_end_become_one_more() {
        check("x\n\n", "x\n\n\n");
    }
}
