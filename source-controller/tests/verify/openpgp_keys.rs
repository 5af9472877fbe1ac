//! OpenPGP keys: which of them may sign, and from what they are read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::civil::date;

use crate::openpgp::{signed_by, verdict};
use crate::workshop::{Object, Workshop, id};

const FAKED: &str = "faked-system-time";

fn year(year: i16) -> Timestamp {
    date(year, 7, 1).at(0, 0, 0, 0).in_tz("UTC").unwrap().timestamp()
}

fn check(commit: &Object, ring: &[u8], now: Timestamp, expected: Result<&str, &str>) {
    let expected = expected.map(str::to_owned).map_err(str::to_owned);
    assert_eq!(verdict(commit, ring, now), expected);
}

pub fn refused(key: &str, why: &str) -> String {
    format!("key '{}' {why}", id(key))
}

/// A workshop where it is the first of January of a year.
fn shop_in(year: i16) -> Workshop {
    let shop = Workshop::new();
    go_to(&shop, year);
    shop
}

fn go_to(shop: &Workshop, year: i16) {
    shop.gpg_settings(&format!("{FAKED} {year}0101T000000\n"));
}

#[test]
fn an_expired_key_takes_its_signatures_with_it() {
    let shop = shop_in(2020);
    let key = shop.gpg_key_for("alice", "ed25519", "cert,sign", "2y");
    let commit = signed_by(&shop, &key);
    let ring = shop.gpg_export(&[&key]);
    check(&commit, &ring, year(2020), Ok(id(&key)));
    check(&commit, &ring, year(2021), Ok(id(&key)));
    // Git says so too: `Y` is a good signature by an expired key, which `git verify-commit` refuses.
    check(&commit, &ring, year(2022), Err(&refused(&key, "has expired")));
    shop.gpg_settings("");
    assert_eq!(shop.judgement(&commit), "Y");

    // Who makes it last longer signs that anew, and the newest counts.
    go_to(&shop, 2021);
    shop.gpg(&["--quick-set-expire", &key, "5y"]);
    let longer = shop.gpg_export(&[&key]);
    check(&commit, &longer, year(2022), Ok(id(&key)));
    check(&commit, &longer, year(2026), Err(&refused(&key, "has expired")));
    // And who makes it end sooner, too.
    shop.gpg_settings(&format!("{FAKED} 20210201T000000\n"));
    shop.gpg(&["--quick-set-expire", &key, "1d"]);
    check(
        &commit,
        &shop.gpg_export(&[&key]),
        year(2021),
        Err(&refused(&key, "has expired")),
    );
}

#[test]
fn a_key_from_the_future_is_not_valid_yet() {
    let shop = shop_in(2020);
    let old = shop.gpg_key("alice", "ed25519");
    let commit = signed_by(&shop, &old);
    // The same key, described anew in 2024.
    go_to(&shop, 2024);
    shop.gpg(&["--quick-set-expire", &old, "5y"]);
    check(
        &commit,
        &shop.gpg_export(&[&old]),
        year(2021),
        Err(&refused(&old, "is not valid yet")),
    );
    check(&commit, &shop.gpg_export(&[&old]), year(2024), Ok(id(&old)));
}

#[test]
fn a_revoked_key_has_never_signed() {
    let shop = Workshop::new();
    let key = shop.gpg_key("alice", "ed25519");
    let commit = signed_by(&shop, &key);
    check(&commit, &shop.gpg_export(&[&key]), Timestamp::now(), Ok(id(&key)));
    revoke(&shop, &key);
    assert_eq!(shop.judgement(&commit), "R");
    check(
        &commit,
        &shop.gpg_export(&[&key]),
        Timestamp::now(),
        Err(&refused(&key, "is revoked")),
    );
}

/// With the revocation that gpg makes for each key in advance; a colon keeps it from being used by mistake.
pub fn revoke(shop: &Workshop, key: &str) {
    let file = shop.path("gnupg").join("openpgp-revocs.d").join(format!("{key}.rev"));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(":-----BEGIN", "-----BEGIN")).unwrap();
    shop.gpg(&["--import", file.to_str().unwrap()]);
}

#[test]
fn a_key_without_a_valid_user_id_is_refused() {
    let shop = Workshop::new();
    let key = shop.gpg_key("alice", "ed25519");
    let commit = signed_by(&shop, &key);
    shop.gpg(&["--quick-add-uid", &key, "Alice <alice@example.org>"]);
    shop.gpg(&["--quick-revoke-uid", &key, "alice <alice@example.com>"]);
    check(&commit, &shop.gpg_export(&[&key]), Timestamp::now(), Ok(id(&key)));
    let ring = Ring::of(&shop, &key);
    let revoked = ring.without(|packet| packet.is_user("Alice <alice@example.org>"), true);
    check(&commit, &revoked, Timestamp::now(), Err(&refused(&key, "is revoked")));
    let none = ring.without(|packet| packet.tag == USER, true);
    check(
        &commit,
        &none,
        Timestamp::now(),
        Err(&refused(
            &key,
            "is not bound: there is no valid signature of its owner on it",
        )),
    );
    let unsigned = ring.without(|packet| packet.tag == SIGNATURE, false);
    check(
        &commit,
        &unsigned,
        Timestamp::now(),
        Err(&refused(
            &key,
            "is not bound: there is no valid signature of its owner on it",
        )),
    );
}

#[test]
fn what_others_sign_about_a_key_does_not_count() {
    let shop = Workshop::new();
    let (alice, bob) = (shop.gpg_key("alice", "ed25519"), shop.gpg_key("bob", "ed25519"));
    let commit = signed_by(&shop, &alice);
    shop.gpg(&[&format!("--default-key={bob}"), "--quick-sign-key", &alice]);
    check(&commit, &shop.gpg_export(&[&alice]), Timestamp::now(), Ok(id(&alice)));
    // Bob's signature on Alice's user id alone binds nothing, nor does Alice's on the user id of another.
    let ring = Ring::of(&shop, &alice);
    let signatures = ring.0.iter().filter(|packet| packet.tag == SIGNATURE).count();
    assert_eq!(signatures, 2, "of Alice and of Bob");
    let unbound = refused(&alice, "is not bound: there is no valid signature of its owner on it");
    let of_alice = ring.0.iter().position(|packet| packet.tag == SIGNATURE).unwrap();
    let bobs = ring.changed(|at, packet| (at != of_alice).then_some(packet));
    check(&commit, &bobs, Timestamp::now(), Err(&unbound));
    let renamed = ring.changed(|_, mut packet| {
        if packet.tag == USER {
            packet.body[0] ^= 0x20;
        }
        Some(packet)
    });
    check(&commit, &renamed, Timestamp::now(), Err(&unbound));
}

#[test]
fn a_revocation_by_somebody_else_leaves_a_key_unusable() {
    let shop = Workshop::new();
    let (alice, bob) = (shop.gpg_key("alice", "ed25519"), shop.gpg_key("bob", "ed25519"));
    let commit = signed_by(&shop, &alice);
    revoke(&shop, &bob);
    let foreign = Ring::of(&shop, &bob).0.remove(1);
    assert_eq!((foreign.tag, foreign.body[1]), (SIGNATURE, 0x20));
    let ring = Ring::of(&shop, &alice);
    let clean = ring.changed(|_, packet| Some(packet));
    check(&commit, &clean, Timestamp::now(), Ok(id(&alice)));
    let mut ring = ring;
    ring.0.insert(1, foreign);
    let text = refused(&alice, "has a revocation that cannot be checked");
    check(&commit, &ring.armored(), Timestamp::now(), Err(&text));
    // One that cannot be read may be a revocation.
    ring.0[1].body = vec![4, 0x20, 22];
    check(&commit, &ring.armored(), Timestamp::now(), Err(&text));
}

#[test]
fn a_subkey_signs_for_its_primary_key() {
    let shop = Workshop::new();
    let key = shop.gpg_key_for("alice", "ed25519", "cert", "never");
    let subkey = shop.gpg_subkey(&key, "ed25519", "sign", "never");
    let commit = signed_by(&shop, &subkey);
    assert_eq!(shop.judgement(&commit), "G");
    let ring = shop.gpg_export(&[&key]);
    check(&commit, &ring, Timestamp::now(), Ok(id(&key)));

    let ring = Ring::of(&shop, &key);
    let subkey_at = ring.0.iter().position(|packet| packet.tag == SUBKEY).unwrap();
    let unbound = refused(&subkey, "is not bound: there is no valid signature of its owner on it");
    let without_binding = ring.changed(|at, packet| (at != subkey_at + 1).then_some(packet));
    check(&commit, &without_binding, Timestamp::now(), Err(&unbound));
    // Who binds the subkey of another cannot sign back with it. gpg keeps that signature where it can be taken away.
    let without_back_signature = ring.changed(|at, mut packet| {
        if at == subkey_at + 1 {
            packet.clear_unhashed();
        }
        Some(packet)
    });
    check(&commit, &without_back_signature, Timestamp::now(), Err(&unbound));
    let bad_binding = ring.changed(|at, mut packet| {
        if at == subkey_at + 1 {
            let last = packet.body.len() - 1;
            packet.body[last] ^= 1;
        }
        Some(packet)
    });
    check(&commit, &bad_binding, Timestamp::now(), Err(&unbound));
}

#[test]
fn a_revoked_subkey_or_primary_key_has_never_signed() {
    let shop = Workshop::new();
    let key = shop.gpg_key_for("alice", "ed25519", "cert", "never");
    let subkey = shop.gpg_subkey(&key, "ed25519", "sign", "never");
    let commit = signed_by(&shop, &subkey);
    let before = shop.gpg_export(&[&key]);
    shop.edit_key(&key, "key 1\nrevkey\ny\n1\n\ny\nsave\n");
    check(&commit, &before, Timestamp::now(), Ok(id(&key)));
    check(
        &commit,
        &shop.gpg_export(&[&key]),
        Timestamp::now(),
        Err(&refused(&subkey, "is revoked")),
    );

    // A revocation of another subkey cannot be told from one of this.
    let revoked = Ring::of(&shop, &key);
    let mut foreign = revoked
        .0
        .iter()
        .filter(|packet| packet.tag == SIGNATURE && packet.body[1] == 0x28);
    let mut foreign = foreign.next().unwrap().body.clone();
    let last = foreign.len() - 1;
    foreign[last] ^= 1;
    let unclear = revoked.changed(|_, mut packet| {
        if packet.tag == SIGNATURE && packet.body[1] == 0x28 {
            packet.body = foreign.clone();
        }
        Some(packet)
    });
    check(
        &commit,
        &unclear,
        Timestamp::now(),
        Err(&refused(&subkey, "has a revocation that cannot be checked")),
    );

    let shop = Workshop::new();
    let key = shop.gpg_key_for("alice", "ed25519", "cert", "never");
    let subkey = shop.gpg_subkey(&key, "ed25519", "sign", "never");
    let commit = signed_by(&shop, &subkey);
    revoke(&shop, &key);
    check(
        &commit,
        &shop.gpg_export(&[&key]),
        Timestamp::now(),
        Err(&refused(&subkey, "is revoked")),
    );
}

#[test]
fn a_subkey_expires_alone_or_with_its_primary_key() {
    let shop = shop_in(2020);
    let key = shop.gpg_key_for("alice", "ed25519", "cert", "4y");
    let short = shop.gpg_subkey(&key, "ed25519", "sign", "2y");
    let long = shop.gpg_subkey(&key, "ed25519", "sign", "never");
    let ring = shop.gpg_export(&[&key]);
    let commit = signed_by(&shop, &short);
    check(&commit, &ring, year(2021), Ok(id(&key)));
    check(&commit, &ring, year(2022), Err(&refused(&short, "has expired")));
    let commit = signed_by(&shop, &long);
    check(&commit, &ring, year(2022), Ok(id(&key)));
    check(&commit, &ring, year(2024), Err(&refused(&long, "has expired")));
}

#[test]
fn a_key_that_is_not_for_signing_is_refused() {
    let shop = Workshop::new();
    let key = shop.gpg_key("alice", "ed25519");
    let subkey = shop.gpg_subkey(&key, "ed25519", "sign,auth", "never");
    let (by_key, by_subkey) = (signed_by(&shop, &key), signed_by(&shop, &subkey));
    let before = shop.gpg_export(&[&key]);
    shop.edit_key(&key, "change-usage\ns\nq\nkey 1\nchange-usage\ns\nq\nsave\n");
    let after = shop.gpg_export(&[&key]);
    for (commit, signer) in [(by_key, &key), (by_subkey, &subkey)] {
        check(&commit, &before, Timestamp::now(), Ok(id(&key)));
        check(
            &commit,
            &after,
            Timestamp::now(),
            Err(&refused(signer, "is not for signing")),
        );
    }
}

#[test]
fn an_owner_may_describe_his_key_with_sha1() {
    let shop = Workshop::new();
    shop.gpg_settings("cert-digest-algo SHA1\n");
    let key = shop.gpg_key("alice", "rsa2048");
    shop.gpg_settings("");
    assert!(
        Ring::of(&shop, &key)
            .0
            .iter()
            .any(|packet| packet.tag == SIGNATURE && packet.body[3] == 2)
    );
    check(
        &signed_by(&shop, &key),
        &shop.gpg_export(&[&key]),
        Timestamp::now(),
        Ok(id(&key)),
    );
    shop.gpg_settings("cert-digest-algo RIPEMD160\n");
    let key = shop.gpg_key("bob", "rsa2048");
    shop.gpg_settings("");
    let text = refused(&key, "is not bound: there is no valid signature of its owner on it");
    check(
        &signed_by(&shop, &key),
        &shop.gpg_export(&[&key]),
        Timestamp::now(),
        Err(&text),
    );
}

#[test]
fn a_ring_holds_many_keys_in_one_block_or_in_many() {
    let shop = Workshop::new();
    let names = ["alice", "bob", "carol"];
    let keys: Vec<String> = names.iter().map(|name| shop.gpg_key(name, "ed25519")).collect();
    let one_block = shop.gpg_export(&[&keys[0], &keys[1], &keys[2]]);
    let blocks: Vec<Vec<u8>> = keys.iter().map(|key| shop.gpg_export(&[key])).collect();
    let many_blocks = [b"Our keys:\n".as_slice(), &blocks.join(b"\nand\n".as_slice())].concat();
    for key in &keys {
        let commit = signed_by(&shop, key);
        check(&commit, &one_block, Timestamp::now(), Ok(id(key)));
        check(&commit, &many_blocks, Timestamp::now(), Ok(id(key)));
    }
    // Windows' line ends, and blanks where an editor has left some.
    let crlf = String::from_utf8(one_block).unwrap().replace('\n', " \r\n");
    check(
        &signed_by(&shop, &keys[1]),
        crlf.as_bytes(),
        Timestamp::now(),
        Ok(id(&keys[1])),
    );
    // A private key says as much as its public half.
    let private = shop.gpg(&["--armor", "--export-secret-keys", &keys[0]]);
    check(
        &signed_by(&shop, &keys[0]),
        &private,
        Timestamp::now(),
        Ok(id(&keys[0])),
    );
}

#[test]
fn a_ring_that_cannot_be_read_is_told() {
    let shop = Workshop::new();
    let key = shop.gpg_key("alice", "ed25519");
    let commit = signed_by(&shop, &key);
    let armored = String::from_utf8(shop.gpg_export(&[&key])).unwrap();
    let unreadable = |ring: &[u8], why: &str| {
        let text = format!("unable to read armored key ring: entry 'ring.asc' of the secret: {why}");
        check(&commit, ring, Timestamp::now(), Err(&text));
    };
    let no_block = "no armored data found: it needs a block that begins with '-----BEGIN PGP PUBLIC KEY BLOCK-----'";
    unreadable(b"", no_block);
    unreadable(&shop.gpg(&["--export", &key]), no_block);
    unreadable(armored.replace("PUBLIC KEY BLOCK", "SIGNATURE").as_bytes(), no_block);
    unreadable(
        armored.rsplit_once("-----END").unwrap().0.as_bytes(),
        "no '-----END' line",
    );
    let ring = Ring::of(&shop, &key);
    unreadable(&ring.changed(|_, _| None), "it holds no key of version 4 or 6");
    let version3 = ring.changed(|_, mut packet| {
        packet.body[0] = 3;
        Some(packet)
    });
    unreadable(&version3, "it holds no key of version 4 or 6");
    let text = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDME\n-----END PGP PUBLIC KEY BLOCK-----\n";
    unreadable(text.as_bytes(), "it is not a row of OpenPGP packets");
    let large = "\n".repeat((1 << 20) + 1);
    unreadable(
        large.as_bytes(),
        "it has 1048577 bytes, and no more than 1048576 are read",
    );
}

#[test]
fn a_key_that_cannot_be_read_does_not_hide_the_next() {
    let shop = Workshop::new();
    let (alice, bob) = (shop.gpg_key("alice", "ed25519"), shop.gpg_key("bob", "ed25519"));
    revoke(&shop, &alice);
    let mut ring = Ring::of(&shop, &alice);
    ring.0[0].body[0] = 5;
    ring.0.extend(Ring::of(&shop, &bob).0);
    let by_bob = signed_by(&shop, &bob);
    check(&by_bob, &ring.armored(), Timestamp::now(), Ok(id(&bob)));
    // What belongs to a key that is passed over does not become the property of the one before it.
    let mut ring = Ring::of(&shop, &bob);
    let mut old = Ring::of(&shop, &alice);
    old.0[0].body[0] = 5;
    ring.0.extend(old.0);
    check(&by_bob, &ring.armored(), Timestamp::now(), Ok(id(&bob)));
}

pub const SIGNATURE: u8 = 2;
pub const USER: u8 = 13;
pub const SUBKEY: u8 = 14;

/// A packet, cut apart by hand so that a key can be taken to pieces.
#[derive(Clone)]
pub struct Packet {
    pub tag: u8,
    pub body: Vec<u8>,
}

impl Packet {
    fn is_user(&self, name: &str) -> bool {
        self.tag == USER && self.body == name.as_bytes()
    }

    /// Takes away what a signature of version 4 says without signing it.
    pub fn clear_unhashed(&mut self) {
        let length = |at: usize, body: &[u8]| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
        let start = 6 + length(4, &self.body);
        let end = start + 2 + length(start, &self.body);
        assert!(end > start + 2, "there is something to take away");
        self.body.splice(start..end, [0, 0]);
    }
}

/// A key as a row of packets.
pub struct Ring(pub Vec<Packet>);

impl Ring {
    pub fn of(shop: &Workshop, key: &str) -> Self {
        let data = shop.gpg(&["--export", key]);
        let (mut packets, mut rest) = (Vec::new(), data.as_slice());
        while let [first, tail @ ..] = rest {
            // gpg writes old headers, with one, two or four bytes of length.
            let (tag, width) = ((first >> 2) & 15, 1 << (first & 3));
            let length = tail[..width]
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            let (body, next) = tail[width..].split_at(length);
            packets.push(Packet {
                tag,
                body: body.to_vec(),
            });
            rest = next;
        }
        Self(packets)
    }

    pub fn armored(&self) -> Vec<u8> {
        let mut data = Vec::new();
        for packet in &self.0 {
            let length = u32::try_from(packet.body.len()).unwrap().to_be_bytes();
            data.extend([[0xc0 | packet.tag, 0xff].as_slice(), &length, &packet.body].concat());
        }
        let (begin, end) = (
            "-----BEGIN PGP PUBLIC KEY BLOCK-----",
            "-----END PGP PUBLIC KEY BLOCK-----",
        );
        format!("{begin}\n\n{}\n{end}\n", STANDARD.encode(data)).into_bytes()
    }

    pub fn changed(&self, change: impl Fn(usize, Packet) -> Option<Packet>) -> Vec<u8> {
        let packets = self.0.iter().cloned().enumerate();
        Self(packets.filter_map(|(at, packet)| change(at, packet)).collect()).armored()
    }

    /// Without some packets, and if asked without the signatures on them.
    fn without(&self, drop: impl Fn(&Packet) -> bool, signatures: bool) -> Vec<u8> {
        let mut dropped = false;
        let mut kept = Vec::new();
        for packet in &self.0 {
            if packet.tag != SIGNATURE || !signatures {
                dropped = drop(packet);
            }
            if !dropped {
                kept.push(packet.clone());
            }
        }
        Self(kept).armored()
    }
}
