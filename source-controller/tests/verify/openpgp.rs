//! OpenPGP signatures: algorithms, hashes, times, and several in one.

use api::source::GitVerificationMode::Head;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};

use crate::workshop::{Object, Workshop, by_gpg, id, secret, slices, verify};

/// What is said of a commit by somebody who has this key ring: the id of the key, or what comes after Flux's words.
pub fn verdict(commit: &Object, ring: &[u8], now: Timestamp) -> Result<String, String> {
    let found = verify(Head, &secret(&[("ring.asc", ring)]), commit, None, now);
    let words = "unable to verify Git commit: ";
    let ring = "unable to verify payload with any of the given key rings: ";
    match found {
        Ok(message) => Ok(message.rsplit('\'').nth(1).unwrap().to_owned()),
        Err(error) => {
            let text = error.to_string();
            let text = text.split_once(words).expect("Flux's words").1;
            Err(text.strip_prefix(ring).unwrap_or(text).to_owned())
        }
    }
}

pub fn signed_by(shop: &Workshop, key: &str) -> Object {
    shop.commit(&slices(&by_gpg(key)))
}

fn check(commit: &Object, ring: &[u8], expected: Result<&str, &str>) {
    let expected = expected.map(str::to_owned).map_err(str::to_owned);
    assert_eq!(verdict(commit, ring, Timestamp::now()), expected);
}

#[test]
fn algorithms() {
    let shop = Workshop::new();
    let known = [
        "rsa2048",
        "rsa3072",
        "dsa2048",
        "ed25519",
        "nistp256",
        "nistp384",
        "nistp521",
        "secp256k1",
        "brainpoolP256r1",
        "brainpoolP384r1",
    ];
    for algorithm in known {
        let key = shop.gpg_key(algorithm, algorithm);
        let commit = signed_by(&shop, &key);
        assert_eq!(shop.judgement(&commit), "G", "{algorithm}");
        check(&commit, &shop.gpg_export(&[&key]), Ok(id(&key)));
        let tampered = commit.with("subject", "Subject");
        let bad = format!("the signature by key '{}' does not fit the object", id(&key));
        check(&tampered, &shop.gpg_export(&[&key]), Err(&bad));
    }
    let key = shop.gpg_key("alice", "brainpoolP512r1");
    let text = format!(
        "key '{}' is of an algorithm or on a curve that is not supported",
        id(&key)
    );
    check(&signed_by(&shop, &key), &shop.gpg_export(&[&key]), Err(&text));
}

#[test]
fn every_signature_on_secp256k1_counts() {
    let shop = Workshop::new();
    let key = shop.gpg_key("alice", "secp256k1");
    let ring = shop.gpg_export(&[&key]);
    // Each has one of two forms by chance: all of sixteen have the same once in thirty thousand runs.
    for _ in 0..16 {
        check(&signed_by(&shop, &key), &ring, Ok(id(&key)));
    }
    // The signature with which a subkey says whose it is has these forms, too.
    let primary = shop.gpg_key_for("bob", "secp256k1", "cert", "never");
    for _ in 0..8 {
        let subkey = shop.gpg_subkey(&primary, "secp256k1/ecdsa", "sign", "never");
        check(
            &signed_by(&shop, &subkey),
            &shop.gpg_export(&[&primary]),
            Ok(id(&primary)),
        );
    }
}

#[test]
fn hashes_that_are_too_weak_are_refused() {
    let shop = Workshop::new();
    let key = shop.gpg_key("alice", "rsa2048");
    let ring = shop.gpg_export(&[&key]);
    for hash in ["SHA224", "SHA256", "SHA384", "SHA512"] {
        shop.gpg_settings(&format!("digest-algo {hash}\n"));
        let commit = signed_by(&shop, &key);
        assert_eq!(shop.judgement(&commit), "G", "{hash}");
        check(&commit, &ring, Ok(id(&key)));
    }
    // gpg takes these two; so does Flux the first of them.
    for hash in ["SHA1", "RIPEMD160"] {
        shop.gpg_settings(&format!("digest-algo {hash}\n"));
        let commit = signed_by(&shop, &key);
        let text = format!("the signature uses {hash}, which is too weak");
        check(&commit, &ring, Err(&text));
    }
    shop.gpg_settings("digest-algo MD5\nallow-weak-digest-algos\n");
    check(
        &signed_by(&shop, &key),
        &ring,
        Err("the signature uses MD5, which is too weak"),
    );
}

#[test]
fn a_signature_of_text_is_one_of_a_document() {
    let shop = Workshop::new();
    let key = shop.gpg_key("alice", "ed25519");
    shop.gpg_settings("textmode\n");
    let commit = signed_by(&shop, &key);
    assert_eq!(shop.judgement(&commit), "G");
    check(&commit, &shop.gpg_export(&[&key]), Ok(id(&key)));
    check(
        &commit.with("subject", "Subject"),
        &shop.gpg_export(&[&key]),
        Err(&format!("the signature by key '{}' does not fit the object", id(&key))),
    );
}

#[test]
fn a_signature_has_its_time() {
    let shop = Workshop::new();
    let key = shop.gpg_key("alice", "ed25519");
    let ring = shop.gpg_export(&[&key]);
    shop.gpg_settings("default-sig-expire 1d\n");
    let commit = signed_by(&shop, &key);
    let now = Timestamp::now();
    let at = |hours: i64| verdict(&commit, &ring, now + SignedDuration::from_hours(hours));
    assert_eq!(at(1), Ok(id(&key).to_owned()));
    assert_eq!(at(25), Err("the signature has expired".to_owned()));
    let early = at(-1).unwrap_err();
    assert!(
        early.starts_with("the signature is from the future: it was made at 20"),
        "{early}"
    );
}

#[test]
fn a_signature_that_is_older_than_its_key_is_refused() {
    let shop = Workshop::new();
    let key = shop.gpg_key("alice", "ed25519");
    shop.gpg_settings("faked-system-time 20200101T000000\nignore-time-conflict\nignore-valid-from\n");
    let commit = signed_by(&shop, &key);
    shop.gpg_settings("");
    let text = format!(
        "the signature was made at 2020-01-01T00:00:00Z, before its key '{}'",
        id(&key)
    );
    check(&commit, &shop.gpg_export(&[&key]), Err(&text));
}

#[test]
fn notes_that_must_be_known_are_not() {
    let shop = Workshop::new();
    let key = shop.gpg_key("alice", "ed25519");
    let ring = shop.gpg_export(&[&key]);
    shop.gpg_settings("sig-notation ticket@example.com=1\n");
    check(&signed_by(&shop, &key), &ring, Ok(id(&key)));
    shop.gpg_settings("sig-notation !ticket@example.com=1\n");
    check(
        &signed_by(&shop, &key),
        &ring,
        Err("the signature has a critical part that is not known"),
    );
}

#[test]
fn one_valid_signature_of_several_is_enough() {
    let shop = Workshop::new();
    let (alice, bob) = (shop.gpg_key("alice", "ed25519"), shop.gpg_key("bob", "ed25519"));
    let carol = shop.gpg_key("carol", "ed25519");
    // Git names the first, the settings add the second.
    shop.gpg_settings(&format!("local-user {bob}\n"));
    let commit = signed_by(&shop, &alice);
    shop.gpg_settings("");
    let (both, neither) = (shop.gpg_export(&[&alice, &bob]), shop.gpg_export(&[&carol]));
    check(&commit, &shop.gpg_export(&[&alice]), Ok(id(&alice)));
    check(&commit, &shop.gpg_export(&[&bob]), Ok(id(&bob)));
    let found = verdict(&commit, &both, Timestamp::now()).unwrap();
    assert!([id(&alice), id(&bob)].contains(&found.as_str()), "{found}");
    let refused = verdict(&commit, &neither, Timestamp::now()).unwrap_err();
    assert!(
        refused.starts_with("no matching key: it is signed by key '"),
        "{refused}"
    );
    let tampered = verdict(&commit.with("subject", "Subject"), &both, Timestamp::now()).unwrap_err();
    assert!(tampered.ends_with("does not fit the object"), "{tampered}");
}

/// The commit with other bytes in its signature.
fn resigned(commit: &Object, change: impl Fn(Vec<u8>) -> Vec<u8>) -> Object {
    let text = String::from_utf8(commit.raw.clone()).unwrap();
    let (begin, end) = ("-----BEGIN PGP SIGNATURE-----\n \n ", "\n -----END PGP SIGNATURE-----");
    let (before, rest) = text.split_once(begin).unwrap();
    let (armor, after) = rest.split_once(end).unwrap();
    let (data, _checksum) = armor.rsplit_once("\n =").unwrap();
    let data = STANDARD.decode(data.replace("\n ", "")).unwrap();
    let armor = STANDARD.encode(change(data));
    Object {
        id: commit.id.clone(),
        raw: format!("{before}{begin}{armor}{end}{after}").into_bytes(),
    }
}

#[test]
fn what_is_no_row_of_signatures_is_refused() {
    let shop = Workshop::new();
    let key = shop.gpg_key("alice", "ed25519");
    let ring = shop.gpg_export(&[&key]);
    let commit = signed_by(&shop, &key);
    check(&resigned(&commit, |data| data), &ring, Ok(id(&key)));
    check(&resigned(&commit, |data| data.repeat(16)), &ring, Ok(id(&key)));
    let refused = |change: &dyn Fn(Vec<u8>) -> Vec<u8>, text: &str| {
        let text = format!("unable to read the signature: {text}");
        check(&resigned(&commit, change), &ring, Err(&text));
    };
    refused(&|data| data.repeat(17), "it holds more than 16 signatures");
    refused(&|_| Vec::new(), "it holds something other than signatures");
    refused(
        &|data| [data.as_slice(), &[0xcb, 0]].concat(),
        "it holds something other than signatures",
    );
    refused(
        &|data| data[..data.len() - 1].to_vec(),
        "it is not a row of OpenPGP packets",
    );
    refused(
        &|data| [data.as_slice(), b"text"].concat(),
        "it is not a row of OpenPGP packets",
    );
    refused(&|_| vec![0xc2, 1, 4], "it holds an OpenPGP packet that cannot be read");
    let version = |version: u8| {
        move |mut data: Vec<u8>| {
            data[2] = version;
            data
        }
    };
    check(
        &resigned(&commit, version(5)),
        &ring,
        Err("the signature is of a version that is not supported"),
    );
    let typed = |kind: u8| {
        move |mut data: Vec<u8>| {
            data[3] = kind;
            data
        }
    };
    check(
        &resigned(&commit, typed(0x10)),
        &ring,
        Err("the signature is not one of a document"),
    );
    check(
        &resigned(&commit, typed(0x02)),
        &ring,
        Err("the signature is not one of a document"),
    );
    let other = resigned(&commit, |mut data| {
        let last = data.len() - 1;
        data[last] ^= 1;
        data
    });
    check(
        &other,
        &ring,
        Err(&format!("the signature by key '{}' does not fit the object", id(&key))),
    );
}

#[test]
fn a_signature_that_does_not_name_its_key_is_refused() {
    let shop = Workshop::new();
    let key = shop.gpg_key("alice", "ed25519");
    let commit = signed_by(&shop, &key);
    // gpg writes the fingerprint (33) first of all and the id (16) last; both become something private (100), not critical.
    let nameless = resigned(&commit, |mut data| {
        for at in 0..data.len() - 2 {
            if data[at..].starts_with(&[0x16, 33, 4]) || data[at..].starts_with(&[9, 16]) {
                data[at + 1] = 100;
            }
        }
        data
    });
    check(
        &nameless,
        &shop.gpg_export(&[&key]),
        Err("the signature does not name its key"),
    );
}
