//! Commits and tags. What is cut out as the signature and what is left are the object and nothing but the object, and a
//! signature that is put into an object comes out of it.

use source_controller::verify::armor::Kind;
use source_controller::verify::payload::{self, Parts};

use super::fixed::PGP_SIGNATURE;

/// An object of any form.
pub fn check(raw: &[u8]) {
    for (id, own, other) in [
        ("0".repeat(40), &b"gpgsig"[..], &b"gpgsig-sha256"[..]),
        ("0".repeat(64), b"gpgsig-sha256", b"gpgsig"),
    ] {
        let unsigned = without(raw, &[own, other]);
        if let Ok(Parts { signature, signed }) = payload::commit(raw, &id) {
            assert_eq!(signed, unsigned, "all lines but those of signatures are signed");
            assert!(signature.len() + signed.len() <= raw.len());
            let again = payload::commit(&signed, &id).expect("no signature is left");
            assert!(again.signature.is_empty() && again.signed == signed);
        }
        comes_out(&unsigned, &id, own);
    }
    if let Some(Parts { signature, signed }) = payload::tag(raw) {
        let (before, end) = raw.split_at(raw.len() - signature.len());
        assert_eq!(end, &signature[..], "the signature is the end of the tag");
        assert_eq!(signed, without(before, &[b"gpgsig", b"gpgsig-sha256"]));
        assert_ne!(Kind::of(&signature), Kind::Empty);
    }
    let leads = |commit: &str| payload::leads_to(raw, commit).is_ok();
    let (one, other) = ("0".repeat(40), "1".repeat(40));
    // A tag of a tag leads anywhere, even to what no line can name; a tag of a commit to one commit at most.
    assert_eq!(leads(" "), leads(&one) && leads(&other));
}

/// The lines of an object without the headers with these names and the lines that continue them.
fn without(raw: &[u8], names: &[&[u8]]) -> Vec<u8> {
    let (mut is_header, mut is_left_out) = (true, false);
    let mut kept = Vec::new();
    for (number, line) in raw.split_inclusive(|byte| *byte == b'\n').enumerate() {
        is_header &= line != b"\n";
        // The first line continues nothing.
        let continues = number > 0 && line.starts_with(b" ");
        if is_header && !continues {
            let name = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            is_left_out = name.len() < line.len() && names.contains(&name);
        }
        if !(is_header && is_left_out) {
            kept.extend(line);
        }
    }
    kept
}

fn comes_out(unsigned: &[u8], id: &str, name: &[u8]) {
    let Some(end) = unsigned.windows(2).position(|pair| pair == b"\n\n") else {
        return;
    };
    if unsigned.starts_with(b"\n") {
        return;
    }
    let (headers, body) = unsigned.split_at(end + 1);
    let lines = PGP_SIGNATURE.split_inclusive(|byte| *byte == b'\n');
    let folded: Vec<u8> = lines.flat_map(|line| [b" ", line].concat()).collect();
    let signed = [headers, name, &folded, body].concat();
    let parts = payload::commit(&signed, id).expect("one signature");
    assert_eq!((&parts.signed[..], &parts.signature[..]), (unsigned, PGP_SIGNATURE));
}
