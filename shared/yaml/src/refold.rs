//! What kustomize does to folded text (`>`): it writes the tree out once more and reads that, and its writer gets the
//! line breaks of some folded texts wrong. `>+` text that ends in several line breaks gains one.

use libyaml_safer::{EventData, Parser};

use crate::{emit, style};

/// A `>` text after kustomize's writer has written it in folded style and its reader has read it again.
pub fn refold(text: &str) -> String {
    // Single breaks between words and one at the end survive; so does what the writer does not write folded at all.
    let suspicious = text.starts_with(|c| c == ' ' || style::is_break(c))
        || text.contains("\n\n")
        || text.contains("\n ")
        || text.contains("\n\t")
        || text.chars().any(|c| style::is_break(c) && c != '\n');
    if !suspicious || !style::fits_block(text) {
        return text.to_owned();
    }
    reread(&write(text)).unwrap_or_else(|| text.to_owned())
}

fn write(text: &str) -> String {
    let mut writer = emit::Writer::new(usize::MAX);
    writer.block_start('>', text);
    writer.line_break('\n');
    writer.folded_lines(text, 2);
    if !text.ends_with(style::is_break) {
        // The hints strip it again; the reader cannot do without.
        writer.line_break('\n');
    }
    writer.out
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
