//! Entries of a Secret of any form, for signatures that are valid: who is told as their signer has made them. The same key
//! beside an entry that cannot be read is still found.

use source_controller::verify::{Entry, openpgp, ssh};

use super::fixed::{PAYLOAD, PGP_ID, PGP_KEY, PGP_SIGNATURE, SSH_ID, SSH_KEY, SSH_SIGNATURE, now};

/// An entry.
pub fn check(content: &[u8]) {
    let entry = |content| Entry { name: "key", content };
    let by_pgp = |entries: &[Entry<'_>]| openpgp::verify(PGP_SIGNATURE, PAYLOAD, entries, now());
    let by_ssh = |entries: &[Entry<'_>]| ssh::verify(SSH_SIGNATURE, PAYLOAD, entries);
    if let Ok(id) = by_pgp(&[entry(content)]) {
        assert_eq!(id, PGP_ID);
    }
    if let Ok(id) = by_ssh(&[entry(content)]) {
        assert_eq!(id, SSH_ID);
    }
    let found = by_pgp(&[entry(content), entry(PGP_KEY)]);
    assert_eq!(found.as_deref(), Ok(PGP_ID));
    let found = by_ssh(&[entry(content), entry(SSH_KEY)]);
    assert_eq!(found.as_deref(), Ok(SSH_ID));
}
