//! OpenPGP keys of RFC 9580, which GnuPG does not make: of version 6, and of Ed25519 and Ed448 in their new form; and RSA keys
//! that are too small for it. They are made by the library that also reads them; Flux reads such keys, too, the small ones
//! excepted.

use api::source::GitVerificationMode::Head;
use jiff::Timestamp;
use pgp::composed::{
    DetachedSignature, KeyType, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{
    KeyFlags, PubKeyInner, PublicKey, SecretKey, SignatureConfig, SignatureType, Subpacket, SubpacketData, UserId,
};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, KeyVersion, Password, SigningKey, Tag};

use crate::openpgp::verdict;
use crate::openpgp_keys::{Packet, Ring, SIGNATURE, USER};
use crate::workshop::{Object, secret, verify};

const UNSIGNED: &str = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@example.com> 1 +0000\n\nsubject\n";

fn key(version: KeyVersion, kind: KeyType, signs: bool) -> SignedSecretKey {
    let subkey = SubkeyParamsBuilder::default()
        .version(version)
        .key_type(kind.clone())
        .can_sign(true)
        .build()
        .unwrap();
    SecretKeyParamsBuilder::default()
        .version(version)
        .key_type(kind)
        .can_certify(true)
        .can_sign(signs)
        .primary_user_id("Alice <alice@example.com>".into())
        .subkey(subkey)
        .build()
        .unwrap()
        .generate(rand::thread_rng())
        .unwrap()
}

fn public(key: &SignedSecretKey) -> Vec<u8> {
    let public = SignedPublicKey::from(key.clone());
    public.to_armored_bytes(Default::default()).unwrap()
}

fn signed_by(key: &impl SigningKey) -> Object {
    let (rng, password) = (rand::thread_rng(), Password::empty());
    let signature =
        DetachedSignature::sign_binary_data(rng, key, &password, HashAlgorithm::Sha512, UNSIGNED.as_bytes()).unwrap();
    let armor = signature.to_armored_string(Default::default()).unwrap();
    let header = armor.trim_end().replace('\n', "\n ");
    Object {
        id: "0".repeat(40),
        raw: UNSIGNED
            .replacen("\n\n", &format!("\ngpgsig {header}\n\n"), 1)
            .into_bytes(),
    }
}

#[test]
fn primary_keys_and_subkeys_of_both_versions_sign() {
    for version in [KeyVersion::V4, KeyVersion::V6] {
        for kind in [KeyType::Ed25519, KeyType::Ed448] {
            let key = key(version, kind.clone(), true);
            let bytes = key.legacy_key_id().as_ref().try_into().unwrap();
            let id = format!("{:016X}", u64::from_be_bytes(bytes));
            for commit in [signed_by(&key.primary_key), signed_by(&key.secret_subkeys[0].key)] {
                let found = verdict(&commit, &public(&key), Timestamp::now());
                assert_eq!(found, Ok(id.clone()), "{version:?} {kind:?}");
                let tampered = commit.with("subject", "Subject");
                let error = verify(
                    Head,
                    &secret(&[("a.asc", &public(&key))]),
                    &tampered,
                    None,
                    Timestamp::now(),
                );
                let error = error.unwrap_err().to_string();
                assert!(error.ends_with("does not fit the object"), "{error}");
            }
        }
    }
}

#[test]
fn what_a_key_is_for_stands_in_its_own_signature() {
    for version in [KeyVersion::V4, KeyVersion::V6] {
        let key = key(version, KeyType::Ed25519, false);
        let refused = verdict(&signed_by(&key.primary_key), &public(&key), Timestamp::now()).unwrap_err();
        assert!(refused.ends_with("is not for signing"), "{refused}");
        assert!(verdict(&signed_by(&key.secret_subkeys[0].key), &public(&key), Timestamp::now()).is_ok());
    }
    // Without it a key of version 6 says nothing of itself: its user ids do not count.
    let mut key = key(KeyVersion::V6, KeyType::Ed25519, true);
    let commit = signed_by(&key.primary_key);
    key.details.direct_signatures.clear();
    let refused = verdict(&commit, &public(&key), Timestamp::now()).unwrap_err();
    assert!(
        refused.ends_with("is not bound: there is no valid signature of its owner on it"),
        "{refused}"
    );
}

#[test]
fn a_subkey_bound_to_the_key_of_another_does_not_sign_for_him() {
    let (alice, mut mallory) = (
        key(KeyVersion::V4, KeyType::Ed25519, true),
        key(KeyVersion::V4, KeyType::Ed25519, true),
    );
    let commit = signed_by(&alice.secret_subkeys[0].key);
    mallory.secret_subkeys = alice.secret_subkeys.clone();
    let refused = verdict(&commit, &public(&mallory), Timestamp::now()).unwrap_err();
    assert!(
        refused.ends_with("is not bound: there is no valid signature of its owner on it"),
        "{refused}"
    );

    // Bound by Mallory, who has not the private key to sign back with.
    let subkey = alice.secret_subkeys[0].key.public_key();
    let flags = alice.secret_subkeys[0].signatures[0].key_flags();
    let (rng, password) = (rand::thread_rng(), Password::empty());
    let public_key = mallory.primary_key.public_key().clone();
    let binding = subkey
        .sign(rng, &mallory.primary_key, &public_key, &password, flags, None)
        .unwrap();
    mallory.secret_subkeys[0].signatures = vec![binding];
    let refused = verdict(&commit, &public(&mallory), Timestamp::now()).unwrap_err();
    assert!(
        refused.ends_with("is not bound: there is no valid signature of its owner on it"),
        "{refused}"
    );
}

/// An RSA key of any size for signing, and as it is exported; the builder above makes none that are small.
fn rsa(bits: u32) -> (SecretKey, Vec<u8>) {
    let (mut rng, now) = (rand::thread_rng(), pgp::types::Timestamp::now());
    let (public, secret) = KeyType::Rsa(bits).generate(&mut rng).unwrap();
    let inner = PubKeyInner::new(KeyVersion::V4, PublicKeyAlgorithm::RSA, now, None, public).unwrap();
    let public = PublicKey::from_inner(inner).unwrap();
    let key = SecretKey::new(public.clone(), secret).unwrap();
    let user = UserId::from_str(Default::default(), "alice").unwrap();
    let mut flags = KeyFlags::default();
    flags.set_sign(true);
    let mut binding = SignatureConfig::v4(
        SignatureType::CertPositive,
        PublicKeyAlgorithm::RSA,
        HashAlgorithm::Sha256,
    );
    binding.hashed_subpackets = [
        SubpacketData::SignatureCreationTime(now),
        SubpacketData::KeyFlags(flags),
        SubpacketData::IssuerFingerprint(public.fingerprint()),
    ]
    .map(|data| Subpacket::regular(data).unwrap())
    .to_vec();
    let binding = binding
        .sign_certification(&key, &public, &Password::empty(), Tag::UserId, &user)
        .unwrap();
    let packet = |tag, body: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = Packet { tag, body: Vec::new() };
        body(&mut packet.body);
        packet
    };
    let ring = Ring(vec![
        packet(6, &|body| public.to_writer(body).unwrap()),
        packet(USER, &|body| user.to_writer(body).unwrap()),
        packet(SIGNATURE, &|body| binding.to_writer(body).unwrap()),
    ]);
    (key, ring.armored())
}

#[test]
fn rsa_keys_have_1024_bits_at_least() {
    let (key, ring) = rsa(1024);
    let found = verdict(&signed_by(&key), &ring, Timestamp::now());
    assert!(found.is_ok(), "{found:?}");
    let (key, ring) = rsa(1016);
    let found = verdict(&signed_by(&key), &ring, Timestamp::now()).unwrap_err();
    let text = "is an RSA key of less than 1024 bits, which is too weak";
    assert!(found.ends_with(text), "{found}");
}
