//! SSH keys of hardware tokens (`sk-…`). There is no token here: what one does with its key is done by hand, as OpenSSH's
//! PROTOCOL.u2f has it, and whether it is done right is for ssh-keygen and Git to say.

use api::source::GitVerificationMode::Head;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use ssh_key::public::{EcdsaPublicKey, KeyData, SkEcdsaSha2NistP256, SkEd25519};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, Signature, SigningKey, SshSig};

use crate::ssh::judgement;
use crate::workshop::{Object, Workshop, public, secret, verify};

/// What its keys are for, as ssh-keygen writes it into them.
const APPLICATION: &str = "ssh:";
/// The token has noticed somebody.
const TOUCHED: u8 = 1;

/// A token with its key.
struct Token {
    key: PrivateKey,
    public: PublicKey,
}

impl Token {
    /// With a key of this kind; the file `{file}.pub` becomes that of the token.
    fn new(shop: &Workshop, kind: &[&str]) -> (Self, String) {
        let file = shop.ssh_key(&kind.join(""), kind);
        let key = PrivateKey::from_openssh(std::fs::read(&file).unwrap()).unwrap();
        let data: KeyData = match key.public_key().key_data() {
            KeyData::Ed25519(point) => SkEd25519::new(*point, APPLICATION).into(),
            KeyData::Ecdsa(EcdsaPublicKey::NistP256(point)) => SkEcdsaSha2NistP256::new(*point, APPLICATION).into(),
            other => panic!("tokens have no keys of the kind {}", other.algorithm()),
        };
        let public = PublicKey::new(data, "token");
        std::fs::write(format!("{file}.pub"), public.to_openssh().unwrap()).unwrap();
        (Self { key, public }, file)
    }

    /// The signature of a text, armored.
    fn sign(&self, text: &[u8], namespace: &str, said: &Said<'_>) -> String {
        let message = SshSig::signed_data(namespace, HashAlg::Sha512, text).unwrap();
        let trailer = |flags: u8, count: u32| [&[flags][..], &count.to_be_bytes()].concat();
        let (application, message) = (Sha256::digest(said.application), Sha256::digest(message));
        let signed = [&application[..], &trailer(said.flags, said.count), &message[..]].concat();
        let data = [raw(&self.key, &signed), trailer(said.told.0, said.told.1)].concat();
        let signature = Signature::new(self.public.algorithm(), data).unwrap();
        let public = self.public.key_data().clone();
        let signature = SshSig::new(public, namespace, HashAlg::Sha512, signature).unwrap();
        signature.to_pem(LineEnding::LF).unwrap()
    }
}

/// What the signature says beside the text.
struct Said<'a> {
    application: &'a str,
    flags: u8,
    count: u32,
    /// Flags and count as they stand beside the signature.
    told: (u8, u32),
}

impl Said<'_> {
    fn with(flags: u8, count: u32) -> Self {
        Self {
            application: APPLICATION,
            flags,
            count,
            told: (flags, count),
        }
    }
}

fn raw(key: &impl SigningKey, data: &[u8]) -> Vec<u8> {
    key.try_sign(data).unwrap().as_bytes().to_vec()
}

/// A commit in the repository with this signature of what it would be without.
fn commit(shop: &Workshop, sign: impl Fn(&[u8]) -> String) -> Object {
    let unsigned = shop.commit(&[]).raw;
    let header = sign(&unsigned).trim_end().replace('\n', "\n ");
    let text = String::from_utf8(unsigned).unwrap();
    shop.store("commit", &text.replacen("\n\n", &format!("\ngpgsig {header}\n\n"), 1))
}

/// What is said of a commit: the fingerprint of the key, or what is wrong.
fn verdict(commit: &Object, keys: &[u8]) -> Result<String, String> {
    let found = verify(Head, &secret(&[("keys.sshpub", keys)]), commit, None, Timestamp::now());
    let words = "unable to verify payload with any of the given authorized keys: ";
    match found {
        Ok(message) => Ok(message.rsplit('\'').nth(1).unwrap().to_owned()),
        Err(error) => Err(error.to_string().split_once(words).expect("Flux's words").1.to_owned()),
    }
}

const KINDS: [&[&str]; 2] = [&["ed25519"], &["ecdsa", "-b", "256"]];

#[test]
fn keys_of_hardware_tokens_sign_commits() {
    let shop = Workshop::new();
    for kind in KINDS {
        let (token, file) = Token::new(&shop, kind);
        let kinds = [Algorithm::SkEd25519, Algorithm::SkEcdsaSha2NistP256];
        assert!(kinds.contains(&token.public.algorithm()));
        // Whoever was or was not there, and however often the token has signed: Git says the same of all of them.
        for said in [
            Said::with(TOUCHED, 7),
            Said::with(0, 0),
            Said::with(TOUCHED | 4, u32::MAX),
        ] {
            let commit = commit(&shop, |text| token.sign(text, "git", &said));
            assert_eq!(judgement(&shop, &commit, &file), "G", "{kind:?} {}", said.flags);
            let key = shop.ssh_fingerprint(&file);
            assert_eq!(
                verdict(&commit, &public(&file)),
                Ok(key.clone()),
                "{kind:?} {}",
                said.flags
            );
            let bad = format!("the signature by key '{key}' does not fit the object");
            assert_eq!(verdict(&commit.with("body", "Body"), &public(&file)), Err(bad));
        }
    }
}

#[test]
fn what_a_token_says_beside_the_text_is_signed_too() {
    let shop = Workshop::new();
    for kind in KINDS {
        let (token, file) = Token::new(&shop, kind);
        let bad = format!(
            "the signature by key '{}' does not fit the object",
            shop.ssh_fingerprint(&file)
        );
        let said = || Said::with(0, 7);
        for said in [
            Said {
                told: (TOUCHED, 7),
                ..said()
            },
            Said { told: (0, 8), ..said() },
            Said {
                application: "ssh:other",
                ..said()
            },
        ] {
            let commit = commit(&shop, |text| token.sign(text, "git", &said));
            assert_eq!(judgement(&shop, &commit, &file), "B", "{kind:?}");
            assert_eq!(verdict(&commit, &public(&file)), Err(bad.clone()), "{kind:?}");
        }
        let other = commit(&shop, |text| token.sign(text, "file", &said()));
        let text = "no matching key: namespace does not match: the signature is not one for 'git'";
        assert_eq!(verdict(&other, &public(&file)), Err(text.to_owned()), "{kind:?}");
    }
}

#[test]
fn a_key_and_a_tokens_key_with_the_same_numbers_are_two() {
    let shop = Workshop::new();
    let (token, file) = Token::new(&shop, &["ed25519"]);
    let commit = commit(&shop, |text| token.sign(text, "git", &Said::with(TOUCHED, 1)));
    let plain = token.key.public_key().to_openssh().unwrap();
    let stranger = format!("no matching key: it is signed by key '{}'", shop.ssh_fingerprint(&file));
    assert_eq!(verdict(&commit, plain.as_bytes()), Err(stranger));
}
