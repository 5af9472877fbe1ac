//! RSA keys as large and as small as they may be, and larger and smaller ones. To make a large one takes long, and nothing but
//! `openssl genrsa` makes small ones, so they are kept in `rsa_sizes`, and with them what they have signed:
//! `ssh-keygen -t rsa -b BITS`, `ssh-keygen -Y sign -n git`, `openssl dgst -sha512 -sign`,
//! `gpg --batch --enable-large-rsa --generate-key`, `gpg --armor --detach-sign`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use source_controller::verify::{Entry, openpgp, ssh};

/// What was signed.
const PAYLOAD: &[u8] = b"tree\n";

/// What is said of a signature by somebody who has this SSH key.
fn verdict(key: &[u8], signature: &[u8], payload: &[u8]) -> Result<String, String> {
    let entry = Entry {
        name: "a.sshpub",
        content: key,
    };
    ssh::verify(signature, payload, &[entry]).map_err(|error| error.to_string())
}

fn refused(why: &str) -> String {
    format!("unable to verify payload with any of the given authorized keys: {why}")
}

#[test]
fn ssh_keys_of_rsa_have_1024_bits_at_least() {
    let (key, signature) = (
        include_bytes!("rsa_sizes/ssh-1024.pub"),
        include_bytes!("rsa_sizes/ssh-1024.sig"),
    );
    let id = "SHA256:D1r5Hy19k3w9tt7B8m9qe2CfWnwJntA/9GD8D7cY4Sk";
    assert_eq!(verdict(key, signature, PAYLOAD), Ok(id.to_owned()));
    let (key, signature) = (
        include_bytes!("rsa_sizes/ssh-1008.pub"),
        include_bytes!("rsa_sizes/ssh-1008.sig"),
    );
    // ssh-keygen says: Invalid key length.
    let small = "the key 'SHA256:SOjCxMC3qWnLQsfI6znXaEOQG+ZYZdb0uqwz3p0t9hg' has 1008 bits, and RSA keys of less than 1024 are too weak";
    assert_eq!(verdict(key, signature, PAYLOAD), Err(refused(small)));
}

#[test]
fn ssh_keys_of_rsa_have_8192_bits_at_most() {
    let (key, signature) = (
        include_bytes!("rsa_sizes/ssh-8192.pub"),
        include_bytes!("rsa_sizes/ssh-8192.sig"),
    );
    let id = "SHA256:+wl/e8K3uHaD47c/EXV4xCv9BpOZvbMOXUKFwqMKg4Q";
    assert_eq!(verdict(key, signature, PAYLOAD), Ok(id.to_owned()));
    let bad = format!("the signature by key '{id}' does not fit the object");
    assert_eq!(verdict(key, signature, b"other\n"), Err(refused(&bad)));
    let (key, signature) = (
        include_bytes!("rsa_sizes/ssh-8704.pub"),
        include_bytes!("rsa_sizes/ssh-8704.sig"),
    );
    let large = "the key 'SHA256:rcf9xwP5NkM5G4sOf1ErU7pwFsBO+8QjipkKUAtAHTA' has 8704 bits, and RSA keys of more than 8192 are not supported";
    assert_eq!(verdict(key, signature, PAYLOAD), Err(refused(large)));
}

#[test]
fn openpgp_keys_of_rsa_have_8192_bits_at_most() {
    let signature = include_bytes!("rsa_sizes/pgp-8192.sig");
    let verdict = |ring: &[u8], payload: &[u8]| {
        let entry = Entry {
            name: "a.asc",
            content: ring,
        };
        openpgp::verify(signature, payload, &[entry], Timestamp::now()).map_err(|error| error.to_string())
    };
    let (ring, id) = (include_bytes!("rsa_sizes/pgp-8192.asc"), "9F37689BA5940ED2");
    assert_eq!(verdict(ring, PAYLOAD), Ok(id.to_owned()));
    let bad = format!(
        "unable to verify payload with any of the given key rings: the signature by key '{id}' does not fit the object"
    );
    assert_eq!(verdict(ring, b"other\n"), Err(bad));
    let unreadable = "unable to read armored key ring: entry 'a.asc' of the secret: it holds no key of version 4 or 6";
    assert_eq!(verdict(&by_hand(8200), PAYLOAD), Err(unreadable.to_owned()));
    assert_ne!(verdict(&by_hand(8192), PAYLOAD), Err(unreadable.to_owned()));
}

/// A public key of RSA with so many bits, which nobody has the private part of.
fn by_hand(bits: u16) -> Vec<u8> {
    let mut body = vec![4, 0x65, 0, 0, 0, 1];
    body.extend(bits.to_be_bytes());
    body.extend(vec![0xff; usize::from(bits / 8)]);
    body.extend([0, 17, 1, 0, 1]);
    let length = u16::try_from(body.len()).unwrap();
    let packet = [&[0x99], &length.to_be_bytes()[..], &body].concat();
    let armor = STANDARD.encode(packet);
    format!("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{armor}\n-----END PGP PUBLIC KEY BLOCK-----\n").into_bytes()
}
