//! Cutting a file into documents the way kustomize does it: by lines, before any YAML is read.

use std::ops::Range;

use crate::{Error, ErrorKind, Position};

/// One document of a file as kustomize cuts it, before any YAML is read.
pub(super) struct Chunk {
    /// Where its text is, without the separators.
    pub(super) range: Range<usize>,
    /// Lines before this chunk.
    pub(super) first_line: usize,
}

/// kustomize cuts at every line that starts with `---` and is neither the first nor the last of the text; within a
/// chunk only the first document counts.
///
/// # Errors
/// When something else than a comment follows the `---`.
pub(super) fn split(text: &str) -> Result<Vec<Chunk>, Error> {
    let mut chunks = Vec::new();
    let (mut start, mut first_line) = (0, 0);
    let mut at = 0;
    for (line, content) in text.split_inclusive('\n').enumerate() {
        let end = at + content.len();
        if at > start && content.starts_with("---") && content.ends_with('\n') {
            let trailer = content[3..].trim();
            if !trailer.is_empty() && !trailer.starts_with('#') {
                let position = Position {
                    line: line + 1,
                    column: 1,
                };
                let text = format!("invalid document separator: {}", content.trim());
                return Err(Error::new(ErrorKind::Separator, position, text));
            }
            chunks.push(Chunk {
                range: start..at,
                first_line,
            });
            (start, first_line) = (end, line + 1);
        }
        at = end;
    }
    chunks.push(Chunk {
        range: start..text.len(),
        first_line,
    });
    Ok(chunks)
}
