//! Armor: binary data as lines of text between `-----BEGIN …-----` and `-----END …-----`.
//!
//! OpenPGP and SSH use the same form, the former with headers and a checksum at the end. The checksum is not looked at, as RFC
//! 9580 has it: whoever changes the data can change it as well. Whether a block is well formed is decided here and not in the
//! libraries that read its content, so that both kinds are refused for the same faults and with the same words.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// The label of an OpenPGP signature.
pub const PGP_SIGNATURE: &str = "PGP SIGNATURE";
/// The label of an SSH signature.
pub const SSH_SIGNATURE: &str = "SSH SIGNATURE";

/// The largest signature that is read, armor included. Those of gpg and ssh-keygen have up to about 3 kB.
pub const MAX_SIGNATURE: usize = 64 << 10;

/// Padding may be left out, as some writers do; everything else is to be as it should.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What kind of signature a text is. The words are Flux's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An OpenPGP signature.
    OpenPgp,
    /// An SSH signature.
    Ssh,
    /// An X.509 (S/MIME) signature, as gpgsm and gitsign make.
    X509,
    /// No signature.
    Empty,
    /// Something else.
    Unknown,
}

impl Kind {
    /// By the line that a signature begins with.
    pub fn of(signature: &[u8]) -> Self {
        let text = signature.trim_ascii_start();
        let begins = |label: &str| {
            let rest = text.strip_prefix(BEGIN.as_bytes());
            let rest = rest.and_then(|rest| rest.strip_prefix(label.as_bytes()));
            rest.is_some_and(|rest| rest.starts_with(DASHES.as_bytes()))
        };
        match signature {
            [] => Self::Empty,
            _ if begins(PGP_SIGNATURE) => Self::OpenPgp,
            _ if begins(SSH_SIGNATURE) => Self::Ssh,
            _ if begins("SIGNED MESSAGE") => Self::X509,
            _ => Self::Unknown,
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OpenPgp => "openpgp",
            Self::Ssh => "ssh",
            Self::X509 => "x509",
            Self::Empty => "empty",
            Self::Unknown => "unknown",
        })
    }
}

/// Armor that is not well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No line begins a block.
    #[error("no '-----BEGIN' line")]
    NoBegin,
    /// The block has no end.
    #[error("no '-----END' line")]
    NoEnd,
    /// The last line does not belong to the first.
    #[error("the '-----END' line names another kind of block than the '-----BEGIN' line")]
    OtherEnd,
    /// Text before or after the only block that may be there: it would be covered by nothing.
    #[error("there is text beside the signature")]
    TextBeside,
    /// It is not base64.
    #[error("the text between '-----BEGIN' and '-----END' is not base64")]
    NotBase64,
    /// It is larger than what is read.
    #[error("it has {size} bytes, and no more than {limit} are read")]
    TooLarge {
        /// Bytes that are there.
        size: usize,
        /// Bytes that may be.
        limit: usize,
    },
}

/// A block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// What stands after `BEGIN`.
    pub label: &'a str,
    /// What is inside.
    pub content: Vec<u8>,
}

/// What a signature holds: one block with this label, and nothing but white space around it.
///
/// # Errors
/// Anything else.
pub fn signature(text: &[u8], label: &str) -> Result<Vec<u8>, Error> {
    if text.len() > MAX_SIGNATURE {
        return Err(Error::TooLarge {
            size: text.len(),
            limit: MAX_SIGNATURE,
        });
    }
    let text = text.trim_ascii();
    // What stands before a block is passed over where there may be several; here the block has to begin at once.
    if Lines(text).next().and_then(|line| marker(line, BEGIN)) != Some(label) {
        return Err(Error::NoBegin);
    }
    let mut lines = Lines(text);
    let block = next(&mut lines).ok_or(Error::NoBegin)??;
    if !lines.0.trim_ascii().is_empty() {
        return Err(Error::TextBeside);
    }
    Ok(block.content)
}

/// The blocks in a text, in order; what stands between them is passed over. After a block without an end there is nothing.
pub fn blocks(text: &[u8]) -> impl Iterator<Item = Result<Block<'_>, Error>> {
    let mut lines = Lines(text);
    std::iter::from_fn(move || next(&mut lines))
}

/// The block that begins next, and the lines move on to behind it.
fn next<'a>(lines: &mut Lines<'a>) -> Option<Result<Block<'a>, Error>> {
    let label = lines.find_map(|line| marker(line, BEGIN))?;
    let mut text = Vec::new();
    let mut body = false;
    for line in lines {
        if let Some(end) = marker(line, END) {
            let decoded = BASE64.decode(&text).map_err(|_| Error::NotBase64);
            return Some(match decoded {
                _ if end != label => Err(Error::OtherEnd),
                Ok(content) => Ok(Block { label, content }),
                Err(error) => Err(error),
            });
        }
        match line {
            // An empty line ends the headers.
            [] => body = true,
            _ if !body && is_header(line) => {}
            [b'=', checksum @ ..] if checksum.len() == 4 => {}
            data => {
                body = true;
                text.extend_from_slice(data);
            }
        }
    }
    Some(Err(Error::NoEnd))
}

/// What a line says between `-----BEGIN ` or `-----END ` and the dashes.
fn marker<'a>(line: &'a [u8], start: &str) -> Option<&'a str> {
    let label = line.strip_prefix(start.as_bytes())?.strip_suffix(DASHES.as_bytes())?;
    std::str::from_utf8(label).ok()
}

/// `Name: value`; base64 has no colon.
fn is_header(line: &[u8]) -> bool {
    line.contains(&b':')
}

/// The lines of a text without white space at their ends; what is left of the text is always known.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().position(|byte| *byte == b'\n');
        let (line, rest) = match end {
            Some(end) => self.0.split_at(end + 1),
            None => (self.0, [].as_slice()),
        };
        self.0 = rest;
        Some(line.trim_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, Error>) {
        let expected = expected.map(|content| content.as_bytes().to_vec());
        assert_eq!(signature(text.as_bytes(), PGP_SIGNATURE), expected, "{text:?}");
    }

    #[test]
    fn a_signature_is_what_stands_between_begin_and_end() {
        let (begin, end) = ("-----BEGIN PGP SIGNATURE-----\n", "-----END PGP SIGNATURE-----\n");
        check(&format!("{begin}\naGVsbG8=\n=abcd\n{end}"), Ok("hello"));
        check(
            &format!("{begin}Version: x\nComment: y\n\naGVs\nbG8=\n{end}"),
            Ok("hello"),
        );
        check(&format!("{begin}aGVsbG8=\n{end}"), Ok("hello"));
        check(&format!("\n  {begin}\n aGVsbG8 \n\n{}\n\n", end.trim()), Ok("hello"));
        check(&format!("{begin}\n\n{end}").replace('\n', "\r\n"), Ok(""));
    }

    #[test]
    fn malformed_armor_is_refused_with_what_is_wrong() {
        let (begin, end) = ("-----BEGIN PGP SIGNATURE-----\n", "-----END PGP SIGNATURE-----\n");
        check("", Err(Error::NoBegin));
        check("aGVsbG8=", Err(Error::NoBegin));
        check("-----BEGIN PGP SIGNATURE\n\naGVsbG8=\n", Err(Error::NoBegin));
        check(begin, Err(Error::NoEnd));
        check(&format!("{begin}\naGVsbG8=\n"), Err(Error::NoEnd));
        check(&format!("{begin}\naGVsbG8=\n-----END PGP SIGNATURE"), Err(Error::NoEnd));
        check(
            &format!("{begin}\naGVsbG8=\n-----END SSH SIGNATURE-----"),
            Err(Error::OtherEnd),
        );
        check(&format!("{begin}\nnot base64!\n{end}"), Err(Error::NotBase64));
        check(&format!("{begin}\naGVsbG8\nComment: x\n{end}"), Err(Error::NotBase64));
        check(&format!("{begin}\naGV=bG8=\n{end}"), Err(Error::NotBase64));
        check(&format!("text\n{begin}\naGVsbG8=\n{end}"), Err(Error::NoBegin));
        let almost = "-----BEGIN PGP SIGNATURE\n";
        check(&format!("{almost}{begin}\naGVsbG8=\n{end}"), Err(Error::NoBegin));
        check(&format!("{begin}\naGVsbG8=\n{end}text"), Err(Error::TextBeside));
        check(
            &format!("{begin}\naGVsbG8=\n{end}{begin}\naGVsbG8=\n{end}"),
            Err(Error::TextBeside),
        );
        let other = "-----BEGIN SSH SIGNATURE-----\naGVsbG8=\n-----END SSH SIGNATURE-----\n";
        check(other, Err(Error::NoBegin));
        let large = format!("{begin}\n{}\n{end}", "A".repeat(MAX_SIGNATURE));
        let (size, limit) = (large.len(), MAX_SIGNATURE);
        check(&large, Err(Error::TooLarge { size, limit }));
    }

    #[test]
    fn the_first_line_says_what_kind_of_signature_it_is() {
        for (text, kind, word) in [
            ("-----BEGIN PGP SIGNATURE-----\n", Kind::OpenPgp, "openpgp"),
            ("  \n-----BEGIN SSH SIGNATURE-----", Kind::Ssh, "ssh"),
            ("-----BEGIN SIGNED MESSAGE-----\n", Kind::X509, "x509"),
            ("", Kind::Empty, "empty"),
            ("\n", Kind::Unknown, "unknown"),
            ("-----BEGIN PGP MESSAGE-----\n", Kind::Unknown, "unknown"),
            ("-----BEGIN PGP SIGNATURE", Kind::Unknown, "unknown"),
            ("signed", Kind::Unknown, "unknown"),
        ] {
            assert_eq!(Kind::of(text.as_bytes()), kind, "{text:?}");
            assert_eq!(kind.to_string(), word);
        }
    }

    #[test]
    fn a_file_may_hold_many_blocks_and_text_between_them() {
        let block = |label: &str, text: &str| format!("-----BEGIN {label}-----\n\n{text}\n-----END {label}-----\n");
        let text = format!(
            "# alice\n{}\n# bob\n{}-----BEGIN C-----\nYQ==",
            block("A", "YQ"),
            block("B", "Yg==")
        );
        let found: Vec<_> = blocks(text.as_bytes()).collect();
        let expected = |label, content: &str| {
            let content = content.as_bytes().to_vec();
            Ok(Block { label, content })
        };
        assert_eq!(found, [expected("A", "a"), expected("B", "b"), Err(Error::NoEnd)]);
        assert_eq!(blocks(b"nothing here").count(), 0);
    }
}
