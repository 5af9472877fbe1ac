//! Signatures of any form. None is accepted for a text that the keys have not signed; one for the text that they have signed
//! is by the key that is told. Armor that can be read is read the same after it was written anew.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use source_controller::verify::armor::{self, Kind, MAX_SIGNATURE, PGP_SIGNATURE, SSH_SIGNATURE};
use source_controller::verify::{Entry, openpgp, ssh};

use super::fixed::{PAYLOAD, PGP_ID, PGP_KEY, SSH_ID, SSH_KEY, now};

/// A signature in its armor.
pub fn check(text: &[u8]) {
    let entry = |content| [Entry { name: "key", content }];
    let by_pgp = |payload: &[u8]| openpgp::verify(text, payload, &entry(PGP_KEY), now());
    let by_ssh = |payload: &[u8]| ssh::verify(text, payload, &entry(SSH_KEY));
    assert!(by_pgp(b"something else").is_err());
    assert!(by_ssh(b"something else").is_err());
    if let Ok(id) = by_pgp(PAYLOAD) {
        assert_eq!(id, PGP_ID);
    }
    if let Ok(id) = by_ssh(PAYLOAD) {
        assert_eq!(id, SSH_ID);
    }
    for (label, kind) in [(PGP_SIGNATURE, Kind::OpenPgp), (SSH_SIGNATURE, Kind::Ssh)] {
        let Ok(content) = armor::signature(text, label) else {
            continue;
        };
        assert_eq!(Kind::of(text), kind);
        // Written anew it may be longer.
        if text.len() > MAX_SIGNATURE / 2 {
            continue;
        }
        for end in ["\n", "\r\n"] {
            let written = written(label, &content, end);
            assert_eq!(armor::signature(&written, label).as_deref(), Ok(&content[..]));
            assert_eq!(Kind::of(&written), kind);
        }
    }
    // A file with this in it is cut into the same blocks wherever it stands.
    let blocks: Vec<_> = armor::blocks(text).collect();
    let behind = [b"text\n", text].concat();
    assert_eq!(armor::blocks(&behind).collect::<Vec<_>>(), blocks);
}

fn written(label: &str, content: &[u8], end: &str) -> Vec<u8> {
    let lines = content.chunks(48).map(|line| STANDARD.encode(line) + end);
    let body: String = lines.collect();
    format!("-----BEGIN {label}-----{end}{end}{body}-----END {label}-----{end}").into_bytes()
}
