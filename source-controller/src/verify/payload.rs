//! Which bytes of a commit or tag are the signature, and which were signed.
//!
//! A commit carries its signature in a header, `gpgsig` in SHA-1 repositories and `gpgsig-sha256` in SHA-256 ones; a tag
//! carries it at its end. What was signed is the object as stored, less its signature and less the headers that hold the
//! signature of the other hash. The bytes come from the object itself and never from a parsed form of it, so nothing that
//! a parser would drop or write differently can go unsigned.

use std::borrow::Cow;

/// The headers that hold a signature.
const HEADERS: [&[u8]; 2] = [b"gpgsig", b"gpgsig-sha256"];
/// What a line of a tag's message that begins the signature starts with. Flux takes all of these for one.
const STARTS: [&[u8]; 5] = [
    b"-----BEGIN PGP SIGNATURE-----",
    b"-----BEGIN SSH SIGNATURE-----",
    b"-----BEGIN SIGNED MESSAGE-----",
    b"-----BEGIN PGP MESSAGE-----",
    b"-----BEGIN CERTIFICATE-----",
];

/// An object, cut into what was signed and its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The signature in its armor; empty if there is none.
    pub signature: Cow<'a, [u8]>,
    /// What it covers.
    pub signed: Cow<'a, [u8]>,
}

/// An object that is not as Git makes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// More than one signature: which one counts is anybody's guess.
    #[error("it has more than one '{0}' header")]
    ManySignatures(&'static str),
    /// The tag is one of another commit.
    #[error("it is a tag of '{0}', which is not the commit that was fetched")]
    OtherTarget(String),
}

/// Cuts a commit; `id` tells the hash of its repository.
///
/// # Errors
/// More than one signature.
pub fn commit<'a>(raw: &'a [u8], id: &str) -> Result<Parts<'a>, Unreadable> {
    let (own, name) = if id.len() == 64 {
        (HEADERS[1], "gpgsig-sha256")
    } else {
        (HEADERS[0], "gpgsig")
    };
    let (headers, body) = split(raw);
    let mut signature: Option<Vec<u8>> = None;
    let mut signed = Vec::with_capacity(raw.len());
    for header in Headers(headers) {
        match header.key() {
            key if key == own && signature.is_some() => return Err(Unreadable::ManySignatures(name)),
            key if key == own => signature = Some(header.value()),
            key if HEADERS.contains(&key) => {}
            _ => signed.extend_from_slice(header.0),
        }
    }
    signed.extend_from_slice(body);
    Ok(Parts {
        signature: signature.unwrap_or_default().into(),
        signed: signed.into(),
    })
}

/// Cuts a tag; nothing if it is not signed. As in Git, the signature begins with the last line that can begin one.
pub fn tag(raw: &[u8]) -> Option<Parts<'_>> {
    let (headers, body) = split(raw);
    let mut start = None;
    let mut offset = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        if STARTS.iter().any(|begin| line.starts_with(begin)) {
            start = Some(offset);
        }
        offset += line.len();
    }
    let (message, signature) = body.split_at_checked(start?)?;
    let mut signed = Vec::with_capacity(raw.len());
    for header in Headers(headers).filter(|header| !HEADERS.contains(&header.key())) {
        signed.extend_from_slice(header.0);
    }
    signed.extend_from_slice(message);
    Some(Parts {
        signature: signature.into(),
        signed: signed.into(),
    })
}

/// Checks that a tag of a commit is one of this commit. A tag of a tag says nothing about the commit.
///
/// # Errors
/// It is a tag of another.
pub fn leads_to(raw: &[u8], commit: &str) -> Result<(), Unreadable> {
    let (headers, _) = split(raw);
    let (mut object, mut kind) = (None, None);
    for header in Headers(headers) {
        match header.key() {
            b"object" => object = object.or_else(|| Some(header.value())),
            b"type" => kind = kind.or_else(|| Some(header.value())),
            _ => {}
        }
    }
    let line = |value: Option<Vec<u8>>| value.unwrap_or_default().trim_ascii().to_vec();
    let (object, kind) = (line(object), line(kind));
    if kind == b"tag" || object == commit.as_bytes() {
        return Ok(());
    }
    let object: String = String::from_utf8_lossy(&object).escape_debug().take(64).collect();
    Err(Unreadable::OtherTarget(object))
}

/// The headers, and the body with the empty line before it. An object without an empty line is all headers.
fn split(raw: &[u8]) -> (&[u8], &[u8]) {
    if raw.first() == Some(&b'\n') {
        return raw.split_at(0);
    }
    let end = raw
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .map_or(raw.len(), |end| end + 1);
    raw.split_at_checked(end).unwrap_or((raw, &[]))
}

/// A header with the lines that continue it, the last line break included.
struct Header<'a>(&'a [u8]);

impl<'a> Header<'a> {
    /// What stands before the first blank; nothing if there is none.
    fn key(&self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| matches!(byte, b' ' | b'\n'));
        match end {
            Some(end) if self.0.get(end) == Some(&b' ') => self.0.get(..end).unwrap_or_default(),
            _ => &[],
        }
    }

    /// What stands after it, without the blank that begins each further line.
    fn value(&self) -> Vec<u8> {
        let value = self.0.get(self.key().len()..).unwrap_or_default();
        let lines = value.split_inclusive(|byte| *byte == b'\n');
        lines
            .flat_map(|line| line.strip_prefix(b" ").unwrap_or(line))
            .copied()
            .collect()
    }
}

struct Headers<'a>(&'a [u8]);

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let mut end = 0;
        for line in self.0.split_inclusive(|byte| *byte == b'\n') {
            if end > 0 && !line.starts_with(b" ") {
                break;
            }
            end += line.len();
        }
        let (header, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some(Header(header))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA1: &str = "0123456789012345678901234567890123456789";
    const SHA256: &str = "0123456789012345678901234567890123456789012345678901234567890123";

    fn check(raw: &str, id: &str, signature: &str, signed: &str) {
        let parts = commit(raw.as_bytes(), id).unwrap();
        assert_eq!(String::from_utf8_lossy(&parts.signature), signature, "{raw:?}");
        assert_eq!(String::from_utf8_lossy(&parts.signed), signed, "{raw:?}");
    }

    #[test]
    fn the_header_of_the_repositorys_hash_is_the_signature_and_both_are_unsigned() {
        let raw = "tree t\ngpgsig A\n B\n \n C\ngpgsig-sha256 X\n Y\nauthor a\n\nsubject\n\ngpgsig Z\n";
        let signed = "tree t\nauthor a\n\nsubject\n\ngpgsig Z\n";
        check(raw, SHA1, "A\nB\n\nC\n", signed);
        check(raw, SHA256, "X\nY\n", signed);
        check("tree t\n\nsubject", SHA1, "", "tree t\n\nsubject");
        check("tree t\ngpgsig A\n\n", SHA256, "", "tree t\n\n");
    }

    #[test]
    fn hostile_commits_lose_nothing_but_their_signature() {
        check("", SHA1, "", "");
        check("\n", SHA1, "", "\n");
        check("\n\ngpgsig A\n", SHA1, "", "\n\ngpgsig A\n");
        check("gpgsig A", SHA1, "A", "");
        check("gpgsig\nx y\n\n", SHA1, "", "gpgsig\nx y\n\n");
        check("gpgsigx A\n\n", SHA1, "", "gpgsigx A\n\n");
        check("gpgsig-other A\n B\n\n", SHA1, "", "gpgsig-other A\n B\n\n");
        check(" gpgsig A\nt\n\n", SHA1, "", " gpgsig A\nt\n\n");
        check("mergetag o\n gpgsig A\n\n", SHA1, "", "mergetag o\n gpgsig A\n\n");
        check("tree t\r\ngpgsig A\r\n B\r\n\n", SHA1, "A\r\nB\r\n", "tree t\r\n\n");
        check("t\0\ngpgsig A\n\n\0", SHA1, "A\n", "t\0\n\n\0");
        let twice = commit(b"gpgsig A\nx y\ngpgsig B\n\n", SHA1);
        assert_eq!(twice, Err(Unreadable::ManySignatures("gpgsig")));
        assert_eq!(twice.unwrap_err().to_string(), "it has more than one 'gpgsig' header");
    }

    fn check_tag(raw: &str, expected: Option<(&str, &str)>) {
        let parts = tag(raw.as_bytes());
        let parts = parts.map(|parts| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (text(&parts.signature), text(&parts.signed))
        });
        let expected = expected.map(|(signature, signed)| (signature.to_owned(), signed.to_owned()));
        assert_eq!(parts, expected, "{raw:?}");
    }

    #[test]
    fn the_last_block_of_a_tags_message_is_its_signature() {
        let block = "-----BEGIN PGP SIGNATURE-----\nx\n-----END PGP SIGNATURE-----\n";
        check_tag(
            &format!("object o\n\nmessage\n{block}"),
            Some((block, "object o\n\nmessage\n")),
        );
        check_tag(&format!("object o\n\n{block}"), Some((block, "object o\n\n")));
        let twice = format!("object o\n\n{block}{block}after");
        check_tag(
            &twice,
            Some((&format!("{block}after"), &format!("object o\n\n{block}"))),
        );
        let other = format!("object o\ngpgsig-sha256 X\n Y\ntag t\ngpgsig Z\n\n{block}");
        check_tag(&other, Some((block, "object o\ntag t\n\n")));
        let ssh = "-----BEGIN SSH SIGNATURE-----";
        check_tag(&format!("object o\n\nm\n{ssh}"), Some((ssh, "object o\n\nm\n")));
    }

    #[test]
    fn a_tag_without_a_block_in_its_message_is_not_signed() {
        let begin = "-----BEGIN PGP SIGNATURE-----\n";
        check_tag("", None);
        check_tag("object o\n\nmessage\n", None);
        check_tag(&format!("object o\n\n {begin}"), None);
        check_tag(&format!("object o\n{begin}"), None);
        check_tag("object o\n\n-----BEGIN PGP SIGNATURE\n", None);
    }

    #[test]
    fn a_tag_of_another_commit_is_refused() {
        let check = |raw: &str, expected: Result<(), &str>| {
            let expected = expected.map_err(|object| Unreadable::OtherTarget(object.to_owned()));
            assert_eq!(leads_to(raw.as_bytes(), SHA1), expected, "{raw:?}");
        };
        check(&format!("object {SHA1}\ntype commit\ntag t\n\n"), Ok(()));
        check(&format!("object {SHA256}\ntype tag\ntag t\n\n"), Ok(()));
        check(&format!("object {SHA256}\ntype commit\ntag t\n\n"), Err(SHA256));
        check(
            &format!("object x\u{1b}\nobject {SHA1}\ntype commit\n\n"),
            Err("x\\u{1b}"),
        );
        check("", Err(""));
    }
}
