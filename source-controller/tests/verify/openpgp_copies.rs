//! OpenPGP keys that are there more than once, and more signatures than anybody needs.

use api::source::GitVerificationMode::Head;
use jiff::Timestamp;

use crate::openpgp::{signed_by, verdict};
use crate::openpgp_keys::{Packet, Ring, SIGNATURE, SUBKEY, refused, revoke};
use crate::workshop::{Object, Workshop, id, secret, verify};

fn check(commit: &Object, ring: &[u8], expected: Result<&str, &str>) {
    let expected = expected.map(str::to_owned).map_err(str::to_owned);
    assert_eq!(verdict(commit, ring, Timestamp::now()), expected);
}

const TOO_MUCH: &str = "to find out takes more than 512 checks of signatures: \
    the keys hold copies, subkeys or signatures in masses";

#[test]
fn a_revocation_counts_for_every_copy_of_the_key() {
    let shop = Workshop::new();
    let key = shop.gpg_key("alice", "ed25519");
    let commit = signed_by(&shop, &key);
    let before = shop.gpg_export(&[&key]);
    revoke(&shop, &key);
    let after = shop.gpg_export(&[&key]);
    let text = refused(&key, "is revoked");
    check(&commit, &[&before[..], &before].concat(), Ok(id(&key)));
    for both in [[&before[..], &after].concat(), [&after[..], &before].concat()] {
        check(&commit, &both, Err(&text));
    }
    let keys = secret(&[("alice.asc", &before), ("revoked.asc", &after)]);
    let error = verify(Head, &keys, &commit, None, Timestamp::now()).unwrap_err();
    assert!(error.to_string().ends_with(&text), "{error}");
}

#[test]
fn a_revocation_counts_for_every_copy_of_a_subkey() {
    let shop = Workshop::new();
    let key = shop.gpg_key_for("alice", "ed25519", "cert", "never");
    let subkey = shop.gpg_subkey(&key, "ed25519", "sign", "never");
    let other = shop.gpg_subkey(&key, "ed25519", "sign", "never");
    let (commit, by_other) = (signed_by(&shop, &subkey), signed_by(&shop, &other));
    let before = shop.gpg_export(&[&key]);
    shop.edit_key(&key, "key 1\nrevkey\ny\n1\n\ny\nsave\n");
    let after = shop.gpg_export(&[&key]);
    let both = [&before[..], &after].concat();
    check(&commit, &both, Err(&refused(&subkey, "is revoked")));
    check(&by_other, &both, Ok(id(&key)));
    // Within one certificate: the subkey follows once more, with its binding and without its revocation.
    let mut twice = Ring::of(&shop, &key);
    let at = twice.0.iter().position(|packet| packet.tag == SUBKEY).unwrap();
    let again = [twice.0[at].clone(), twice.0[at + 2].clone()];
    assert_eq!(again[1].body[1], 0x18, "a binding");
    twice.0.extend(again);
    check(&commit, &twice.armored(), Err(&refused(&subkey, "is revoked")));
    // A copy that says nothing of the subkey, but that the primary key is revoked.
    revoke(&shop, &key);
    let of_primary = Ring::of(&shop, &key).changed(|at, packet| (at < 2).then_some(packet));
    check(
        &by_other,
        &[&before[..], &of_primary].concat(),
        Err(&refused(&other, "is revoked")),
    );
}

#[test]
fn a_revocation_that_the_owner_did_not_make_spoils_no_other_copy() {
    let shop = Workshop::new();
    let (alice, bob) = (shop.gpg_key("alice", "ed25519"), shop.gpg_key("bob", "ed25519"));
    let commit = signed_by(&shop, &alice);
    let ring = shop.gpg_export(&[&alice]);
    let mut spoilt = Ring::of(&shop, &alice);
    revoke(&shop, &bob);
    spoilt.0.insert(1, Ring::of(&shop, &bob).0.remove(1));
    let text = refused(&alice, "has a revocation that cannot be checked");
    check(&commit, &spoilt.armored(), Err(&text));
    check(&commit, &[&spoilt.armored()[..], &ring].concat(), Ok(id(&alice)));
}

/// Somebody else's signature, or nobody's: it names its key, and does not fit.
fn misfit(packet: &Packet) -> Packet {
    let mut packet = packet.clone();
    *packet.body.last_mut().unwrap() ^= 1;
    packet
}

#[test]
fn a_key_with_signatures_in_masses_is_given_up() {
    let shop = Workshop::new();
    let key = shop.gpg_key("alice", "ed25519");
    let commit = signed_by(&shop, &key);
    let ring = Ring::of(&shop, &key);
    let own = ring.0.iter().find(|packet| packet.tag == SIGNATURE).unwrap();
    let with = |misfits: usize| {
        let more = std::iter::repeat_n(misfit(own), misfits);
        Ring(ring.0.iter().cloned().chain(more).collect()).armored()
    };
    check(&commit, &with(400), Ok(id(&key)));
    check(&commit, &with(600), Err(TOO_MUCH));
}

#[test]
fn subkeys_in_masses_are_given_up() {
    let shop = Workshop::new();
    let key = shop.gpg_key_for("alice", "ed25519", "cert", "never");
    let subkey = shop.gpg_subkey(&key, "ed25519", "sign", "never");
    let commit = signed_by(&shop, &subkey);
    let ring = Ring::of(&shop, &key);
    let at = ring.0.iter().position(|packet| packet.tag == SUBKEY).unwrap();
    let bad = [ring.0[at].clone(), misfit(&ring.0[at + 1])];
    let with = |copies: usize| {
        let (before, after) = ring.0.split_at(at);
        let copies = std::iter::repeat_n(bad.clone(), copies).flatten();
        Ring(before.iter().cloned().chain(copies).chain(after.to_vec()).collect()).armored()
    };
    // Each copy costs what the primary key costs, and what it costs itself.
    check(&commit, &with(100), Ok(id(&key)));
    check(&commit, &with(1000), Err(TOO_MUCH));
}
