//! SSH signatures: keys, namespaces, hashes.

use api::source::GitVerificationMode::Head;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use source_controller::verify::Entry;
use source_controller::verify::ssh;

use crate::workshop::{Object, Workshop, by_ssh, public, secret, slices, verify};

/// What is said of a signature by somebody who has these keys: the fingerprint, or what is wrong.
fn check(signature: &[u8], payload: &[u8], keys: &[u8], expected: Result<&str, &str>) {
    let entry = Entry {
        name: "keys.sshpub",
        content: keys,
    };
    let found = ssh::verify(signature, payload, &[entry]).map_err(|error| error.to_string());
    assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned));
}

fn refused(why: &str) -> String {
    format!("unable to verify payload with any of the given authorized keys: {why}")
}

#[test]
fn keys_of_every_kind_sign_commits() {
    let shop = Workshop::new();
    let kinds: [&[&str]; 7] = [
        &["ed25519"],
        &["ecdsa", "-b", "256"],
        &["ecdsa", "-b", "384"],
        &["ecdsa", "-b", "521"],
        &["rsa", "-b", "2048"],
        &["rsa", "-b", "3072"],
        &["rsa", "-b", "4096"],
    ];
    for kind in kinds {
        let file = shop.ssh_key(&kind.join(""), kind);
        let commit = shop.commit(&slices(&by_ssh(&file)));
        assert_eq!(judgement(&shop, &commit, &file), "G", "{kind:?}");
        let keys = secret(&[("keys.sshpub", &public(&file))]);
        let message = verify(Head, &keys, &commit, None, Timestamp::now()).unwrap();
        let key = shop.ssh_fingerprint(&file);
        assert_eq!(
            message,
            format!("verified signature of\n\t- commit '{}' with key '{key}'", commit.id)
        );
        let error = verify(Head, &keys, &commit.with("body", "Body"), None, Timestamp::now()).unwrap_err();
        let text = format!("the signature by key '{key}' does not fit the object");
        assert!(error.to_string().ends_with(&text), "{error}");
    }
}

/// What Git says of a commit, given whom the key belongs to.
pub fn judgement(shop: &Workshop, commit: &Object, file: &str) -> String {
    let signers = shop.path("signers");
    let key = String::from_utf8(public(file)).unwrap();
    std::fs::write(&signers, format!("alice@example.com {key}")).unwrap();
    let setting = format!("gpg.ssh.allowedSignersFile={}", signers.display());
    shop.git(&["-c", &setting, "log", "-1", "--format=%G?", &commit.id])
}

#[test]
fn a_signature_is_for_git_and_for_nothing_else() {
    let shop = Workshop::new();
    let file = shop.ssh_key("alice", &["ed25519"]);
    let (keys, key) = (public(&file), shop.ssh_fingerprint(&file));
    let payload = b"tree\n";
    check(&shop.ssh_sign(&file, payload, &["-n", "git"]), payload, &keys, Ok(&key));
    let other = refused("no matching key: namespace does not match: the signature is not one for 'git'");
    for namespace in ["file", "Git", "git "] {
        check(
            &shop.ssh_sign(&file, payload, &["-n", namespace]),
            payload,
            &keys,
            Err(&other),
        );
    }
}

#[test]
fn both_hashes_of_ssh_signatures_are_taken() {
    let shop = Workshop::new();
    let payload = b"tree\n";
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let file = shop.ssh_key(kind, &[kind]);
        for hash in ["hashalg=sha256", "hashalg=sha512"] {
            let signature = shop.ssh_sign(&file, payload, &["-n", "git", "-O", hash]);
            check(&signature, payload, &public(&file), Ok(&shop.ssh_fingerprint(&file)));
        }
    }
}

#[test]
fn the_key_may_be_any_of_many() {
    let shop = Workshop::new();
    let files: Vec<String> = ["a", "b", "c"]
        .iter()
        .map(|name| shop.ssh_key(name, &["ed25519"]))
        .collect();
    let all = [
        b"# ours\n".to_vec(),
        files.iter().flat_map(|file| public(file)).collect(),
    ]
    .concat();
    for file in &files {
        let signature = shop.ssh_sign(file, b"x", &["-n", "git"]);
        check(&signature, b"x", &all, Ok(&shop.ssh_fingerprint(file)));
    }
    let stranger = shop.ssh_key("d", &["ed25519"]);
    let text = refused(&format!(
        "no matching key: it is signed by key '{}'",
        shop.ssh_fingerprint(&stranger)
    ));
    check(&shop.ssh_sign(&stranger, b"x", &["-n", "git"]), b"x", &all, Err(&text));
    check(
        &shop.ssh_sign(&stranger, b"x", &["-n", "git"]),
        b"x",
        b"# nobody\n",
        Err(&text),
    );
}

/// A signature with other bytes inside.
fn changed(signature: &[u8], change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let (begin, end) = ("-----BEGIN SSH SIGNATURE-----\n", "-----END SSH SIGNATURE-----\n");
    let text = String::from_utf8(signature.to_vec()).unwrap();
    let text = text.strip_prefix(begin).unwrap().strip_suffix(end).unwrap();
    let mut data = STANDARD.decode(text.replace('\n', "")).unwrap();
    change(&mut data);
    format!("{begin}{}\n{end}", STANDARD.encode(data)).into_bytes()
}

#[test]
fn malformed_signatures_are_refused() {
    let shop = Workshop::new();
    let file = shop.ssh_key("alice", &["ed25519"]);
    let (keys, key) = (public(&file), shop.ssh_fingerprint(&file));
    let signature = shop.ssh_sign(&file, b"x", &["-n", "git"]);
    check(&changed(&signature, |_| {}), b"x", &keys, Ok(&key));
    let content = "unable to unarmor SSH signature: it is not an SSH signature by a kind of key that is supported";
    check(&changed(&signature, Vec::clear), b"x", &keys, Err(content));
    check(&changed(&signature, |data| data[0] = b'X'), b"x", &keys, Err(content));
    check(&changed(&signature, |data| data[9] = 2), b"x", &keys, Err(content));
    check(&changed(&signature, |data| data[9] = 0), b"x", &keys, Err(content));
    check(&changed(&signature, |data| data.push(0)), b"x", &keys, Err(content));
    check(
        &changed(&signature, |data| data.truncate(data.len() - 1)),
        b"x",
        &keys,
        Err(content),
    );
    let bad = refused(&format!("the signature by key '{key}' does not fit the object"));
    let flip = |data: &mut Vec<u8>| {
        let last = data.len() - 1;
        data[last] ^= 1;
    };
    check(&changed(&signature, flip), b"x", &keys, Err(&bad));
    check(&signature, b"y", &keys, Err(&bad));
    check(&signature, b"", &keys, Err(&bad));
    let text = String::from_utf8(signature).unwrap();
    for (signature, why) in [
        (text.replace("-----END SSH SIGNATURE-----\n", ""), "no '-----END' line"),
        (
            text.replace("U1NIU0", "U1N*U0"),
            "the text between '-----BEGIN' and '-----END' is not base64",
        ),
        (text.clone() + "x", "there is text beside the signature"),
        (text.replace("SSH SIGNATURE", "PGP SIGNATURE"), "no '-----BEGIN' line"),
    ] {
        check(
            signature.as_bytes(),
            b"x",
            &keys,
            Err(&format!("unable to unarmor SSH signature: {why}")),
        );
    }
}

#[test]
fn rsa_with_sha1_is_refused() {
    let shop = Workshop::new();
    let file = shop.ssh_key("alice", &["rsa", "-b", "2048"]);
    let signature = shop.ssh_sign(&file, b"x", &["-n", "git"]);
    // `rsa-sha2-512` becomes `ssh-rsa`, with the lengths of the strings around it.
    let old = changed(&signature, |data| {
        let name = b"rsa-sha2-512";
        let at = data.windows(name.len()).position(|window| window == name).unwrap();
        data.splice(at..at + name.len(), *b"ssh-rsa");
        data[at - 1] = 7;
        let outer = u32::from_be_bytes(data[at - 8..at - 4].try_into().unwrap()) - 5;
        data.splice(at - 8..at - 4, outer.to_be_bytes());
    });
    check(
        &old,
        b"x",
        &public(&file),
        Err(&refused("the signature uses SHA-1 (ssh-rsa), which is too weak")),
    );
}
