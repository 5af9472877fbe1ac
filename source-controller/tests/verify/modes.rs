//! Which objects are verified, with which entries of the Secret, and what is said.

use api::source::GitVerificationMode::{self, Head, HeadLegacy, Tag, TagAndHead};
use jiff::Timestamp;
use source_controller::verify::Error;

use crate::workshop::{Object, Workshop, by_gpg, by_ssh, id, public, secret, slices, verify};

/// A commit and its tag, signed with keys of each kind, and one of each kind that has signed nothing.
struct Release {
    shop: Workshop,
    /// The id, the settings and the public key of the OpenPGP key, and the same of the SSH key.
    pgp: Signer,
    ssh: Signer,
    stranger: Vec<u8>,
    ssh_stranger: Vec<u8>,
}

struct Signer {
    id: String,
    settings: Vec<String>,
    public: Vec<u8>,
}

impl Release {
    fn new(format: &str) -> Self {
        let shop = Workshop::with_format(format);
        let alice = shop.gpg_key("alice", "ed25519");
        let bob = shop.gpg_key("bob", "ed25519");
        let file = shop.ssh_key("alice", &["ed25519"]);
        let other = shop.ssh_key("bob", &["ed25519"]);
        Self {
            pgp: Signer {
                id: id(&alice).to_owned(),
                settings: by_gpg(&alice),
                public: shop.gpg_export(&[&alice]),
            },
            ssh: Signer {
                id: shop.ssh_fingerprint(&file),
                settings: by_ssh(&file),
                public: public(&file),
            },
            stranger: shop.gpg_export(&[&bob]),
            ssh_stranger: public(&other),
            shop,
        }
    }

    fn signed(&self, commit: &Signer, tag: &Signer) -> (Object, Object) {
        let commit = self.shop.commit(&slices(&commit.settings));
        let name = format!("v{}", &commit.id[..7]);
        (commit, self.shop.tag(&name, &slices(&tag.settings)))
    }
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn check(found: Result<String, Error>, expected: Result<String, (&str, String)>) {
    let found = found.map_err(|error| (error.reason(), error.to_string()));
    assert_eq!(found, expected);
}

#[test]
fn each_mode_verifies_what_it_names() {
    let release = Release::new("sha1");
    for (signer, entry) in [(&release.pgp, "alice.asc"), (&release.ssh, "alice.sshpub")] {
        let (commit, tag) = release.signed(signer, signer);
        let keys = secret(&[(entry, &signer.public)]);
        let message =
            |mode: GitVerificationMode| verify(mode, &keys, &commit, Some(("v1", Some(&tag))), now()).unwrap();
        let of_commit = format!("\n\t- commit '{}' with key '{}'", commit.id, signer.id);
        let of_tag = format!("\n\t- tag 'v1@{}' with key '{}'", tag.id, signer.id);
        assert_eq!(message(Head), format!("verified signature of{of_commit}"));
        assert_eq!(message(HeadLegacy), format!("verified signature of{of_commit}"));
        assert_eq!(message(Tag), format!("verified signature of{of_tag}"));
        assert_eq!(message(TagAndHead), format!("verified signature of{of_tag}{of_commit}"));
        let without_tag = verify(Head, &keys, &commit, None, now()).unwrap();
        assert_eq!(without_tag, format!("verified signature of{of_commit}"));
    }
}

#[test]
fn a_tag_and_its_commit_may_be_signed_with_different_kinds_of_keys() {
    let release = Release::new("sha1");
    let keys = secret(&[
        ("alice.asc", &release.pgp.public),
        ("alice.sshpub", &release.ssh.public),
    ]);
    for (commit_by, tag_by) in [(&release.pgp, &release.ssh), (&release.ssh, &release.pgp)] {
        let (commit, tag) = release.signed(commit_by, tag_by);
        let message = verify(TagAndHead, &keys, &commit, Some(("v1", Some(&tag))), now()).unwrap();
        let expected = format!(
            "verified signature of\n\t- tag 'v1@{}' with key '{}'\n\t- commit '{}' with key '{}'",
            tag.id, tag_by.id, commit.id, commit_by.id
        );
        assert_eq!(message, expected);
    }
}

#[test]
fn a_tag_can_only_be_verified_where_one_is_referred_to() {
    let release = Release::new("sha1");
    let keys = secret(&[("alice.asc", &release.pgp.public)]);
    let commit = release.shop.commit(&slices(&release.pgp.settings));
    for mode in [Tag, TagAndHead] {
        let error = verify(mode, &keys, &commit, None, now()).unwrap_err();
        assert!(error.is_stalling());
        let text = "cannot verify tag object's signature if a tag reference is not specified".to_owned();
        check(Err(error), Err(("InvalidVerificationMode", text)));
    }
}

#[test]
fn what_is_not_signed_is_refused() {
    let release = Release::new("sha1");
    let keys = secret(&[("alice.asc", &release.pgp.public)]);
    let commit = release.shop.commit(&[]);
    let tag = release.shop.tag("v1", &[]);
    let unsigned = |label: &str| format!("cannot verify signature of tag '{label}' since it is not signed");
    for mode in [Tag, TagAndHead] {
        let annotated = verify(mode, &keys, &commit, Some(("v1", Some(&tag))), now());
        check(
            annotated,
            Err(("InvalidGitObject", unsigned(&format!("v1@{}", tag.id)))),
        );
        let lightweight = verify(mode, &keys, &commit, Some(("v2", None)), now());
        check(lightweight, Err(("InvalidGitObject", unsigned("v2"))));
    }
    let text = format!(
        "signature verification of commit '{}' failed: unsupported signature type: empty",
        commit.id
    );
    check(
        verify(Head, &keys, &commit, None, now()),
        Err(("InvalidCommitSignature", text)),
    );
}

#[test]
fn both_have_to_be_signed_if_both_are_asked_for() {
    let release = Release::new("sha1");
    let keys = secret(&[("alice.asc", &release.pgp.public)]);
    let unsigned = release.shop.commit(&[]);
    let tag = release.shop.tag("v1", &slices(&release.pgp.settings));
    let text = format!(
        "signature verification of commit '{}' failed: unsupported signature type: empty",
        unsigned.id
    );
    let found = verify(TagAndHead, &keys, &unsigned, Some(("v1", Some(&tag))), now());
    check(found, Err(("InvalidCommitSignature", text)));
    assert!(verify(Tag, &keys, &unsigned, Some(("v1", Some(&tag))), now()).is_ok());

    let strangers = secret(&[("bob.asc", &release.stranger)]);
    let found = verify(TagAndHead, &strangers, &unsigned, Some(("v1", Some(&tag))), now());
    let text = format!(
        "signature verification of tag 'v1@{}' failed: unable to verify Git tag: unable to verify payload with any of \
         the given key rings: no matching key: it is signed by key '{}'",
        tag.id, release.pgp.id
    );
    check(found, Err(("InvalidTagSignature", text)));
}

#[test]
fn a_secret_without_keys_of_the_kind_is_told_apart_from_one_without_the_key() {
    let release = Release::new("sha1");
    let (pgp, pgp_tag) = release.signed(&release.pgp, &release.pgp);
    let (ssh, ssh_tag) = release.signed(&release.ssh, &release.ssh);
    let commit = |keys: &[(&str, &[u8])], object: &Object, text: &str| {
        let text = format!("signature verification of commit '{}' failed: {text}", object.id);
        let found = verify(Head, &secret(keys), object, None, now());
        check(found, Err(("InvalidCommitSignature", text)));
    };
    let tag = |keys: &[(&str, &[u8])], target: &Object, object: &Object, text: &str| {
        let text = format!("signature verification of tag 'v1@{}' failed: {text}", object.id);
        let found = verify(Tag, &secret(keys), target, Some(("v1", Some(object))), now());
        check(found, Err(("InvalidTagSignature", text)));
    };
    let no_pgp = "PGP signature detected but no PGP public keys found in secret (keys with .asc suffix)";
    let no_ssh = "SSH signature detected but no SSH public keys found in secret (keys with .sshpub suffix)";
    commit(&[], &pgp, no_pgp);
    commit(&[], &ssh, no_ssh);
    commit(&[("a.sshpub", &release.ssh.public)], &pgp, no_pgp);
    commit(&[("a.asc", &release.pgp.public)], &ssh, no_ssh);
    tag(&[("a.sshpub", &release.ssh.public)], &pgp, &pgp_tag, no_pgp);
    tag(&[("a.asc", &release.pgp.public)], &ssh, &ssh_tag, no_ssh);
    let other = format!(
        "unable to verify Git commit: unable to verify payload with any of the given key rings: no matching key: it is \
         signed by key '{}'",
        release.pgp.id
    );
    commit(&[("b.asc", &release.stranger)], &pgp, &other);
    let other = format!(
        "unable to verify Git commit SSH signature: unable to verify payload with any of the given authorized keys: no \
         matching key: it is signed by key '{}'",
        release.ssh.id
    );
    commit(&[("b.sshpub", &release.ssh_stranger)], &ssh, &other);
    tag(
        &[("b.sshpub", &release.ssh_stranger)],
        &ssh,
        &ssh_tag,
        &other.replace("commit", "tag"),
    );
}

#[test]
fn an_entry_that_cannot_be_read_is_named() {
    let release = Release::new("sha1");
    let (pgp, _) = release.signed(&release.pgp, &release.pgp);
    let (ssh, _) = release.signed(&release.ssh, &release.ssh);
    let refused = |keys: &[(&str, &[u8])], object: &Object, text: &str| {
        let text = format!("signature verification of commit '{}' failed: {text}", object.id);
        let found = verify(Head, &secret(keys), object, None, now());
        check(found, Err(("InvalidCommitSignature", text)));
    };
    let bad: &[u8] = b"no key";
    refused(
        &[("a.asc", bad), ("b.asc", bad)],
        &pgp,
        "unable to verify Git commit: unable to read armored key ring: entry 'a.asc' of the secret: no armored data \
         found: it needs a block that begins with '-----BEGIN PGP PUBLIC KEY BLOCK-----'",
    );
    refused(
        &[("a.sshpub", bad)],
        &ssh,
        "unable to verify Git commit SSH signature: unable to parse authorized keys: entry 'a.sshpub' of the secret: \
         unable to parse authorized key: line 1: it needs a key as in '<name>.pub', such as 'ssh-ed25519 AAAA…'",
    );
    // One entry that can be read is enough.
    let keys = secret(&[
        ("a.asc", bad),
        ("b.asc", &release.pgp.public),
        ("a.sshpub", bad),
        ("b.sshpub", &release.ssh.public),
    ]);
    assert!(verify(Head, &keys, &pgp, None, now()).is_ok());
    assert!(verify(Head, &keys, &ssh, None, now()).is_ok());
}

#[test]
fn the_name_of_an_entry_says_what_kind_its_keys_are() {
    let release = Release::new("sha1");
    let (pgp, _) = release.signed(&release.pgp, &release.pgp);
    let (ssh, _) = release.signed(&release.ssh, &release.ssh);
    for name in ["alice.asc", "alice", "alice.pub", "alice.gpg", "sshpub"] {
        assert!(
            verify(Head, &secret(&[(name, &release.pgp.public)]), &pgp, None, now()).is_ok(),
            "{name}"
        );
    }
    for (name, accepted) in [
        ("alice.sshpub", true),
        (".sshpub", true),
        ("sshpub", false),
        ("alice.pub", false),
    ] {
        let found = verify(Head, &secret(&[(name, &release.ssh.public)]), &ssh, None, now());
        assert_eq!(found.is_ok(), accepted, "{name}");
    }
}

#[test]
fn other_kinds_of_signatures_are_named() {
    let release = Release::new("sha1");
    let keys = secret(&[("alice.asc", &release.pgp.public)]);
    let (commit, tag) = release.signed(&release.pgp, &release.pgp);
    let pgp = "-----BEGIN PGP SIGNATURE-----";
    for (begin, kind) in [
        ("-----BEGIN SIGNED MESSAGE-----", "x509"),
        ("-----BEGIN PGP MESSAGE-----", "unknown"),
    ] {
        let commit = commit.with(pgp, begin);
        let text = format!(
            "signature verification of commit '{}' failed: unsupported signature type: {kind}",
            commit.id
        );
        check(
            verify(Head, &keys, &commit, None, now()),
            Err(("InvalidCommitSignature", text)),
        );
        let tag = tag.with(pgp, begin);
        let text = format!(
            "signature verification of tag 'v1@{}' failed: unsupported signature type: {kind}",
            tag.id
        );
        let found = verify(Tag, &keys, &commit, Some(("v1", Some(&tag))), now());
        check(found, Err(("InvalidTagSignature", text)));
    }
}

#[test]
fn a_changed_object_is_refused() {
    let release = Release::new("sha1");
    let keys = secret(&[
        ("alice.asc", &release.pgp.public),
        ("alice.sshpub", &release.ssh.public),
    ]);
    for signer in [&release.pgp, &release.ssh] {
        let (commit, tag) = release.signed(signer, signer);
        let bad = format!("the signature by key '{}' does not fit the object", signer.id);
        for (from, to) in [
            ("subject", "Subject"),
            ("body\n", "body"),
            ("\nauthor Alice", "\nauthor Mallory"),
            ("tree ", "tree  "),
            ("\n\nsubject", "\nencoding latin1\n\nsubject"),
            ("\ngpgsig ", "\nx-gpgsig x\ngpgsig "),
        ] {
            let error = verify(Head, &keys, &commit.with(from, to), None, now()).unwrap_err();
            assert!(error.to_string().ends_with(&bad), "{from:?}: {error}");
        }
        for (from, to) in [
            ("release", "Release"),
            ("tagger Alice", "tagger Mallory"),
            ("\ntag v", "\ntag V"),
        ] {
            let error = verify(Tag, &keys, &commit, Some(("v1", Some(&tag.with(from, to)))), now()).unwrap_err();
            assert!(error.to_string().ends_with(&bad), "{from:?}: {error}");
        }
        let other = release.shop.commit(&[]);
        let error = verify(Tag, &keys, &other, Some(("v1", Some(&tag))), now()).unwrap_err();
        let text = format!(
            "it is a tag of '{}', which is not the commit that was fetched",
            commit.id
        );
        assert!(error.to_string().ends_with(&text), "{error}");
    }
}

#[test]
fn what_stands_beside_the_signature_is_refused() {
    let release = Release::new("sha1");
    let keys = secret(&[("alice.asc", &release.pgp.public)]);
    let (commit, tag) = release.signed(&release.pgp, &release.pgp);
    let end = "-----END PGP SIGNATURE-----\n";
    let text = "unable to read the signature: there is text beside the signature";
    let changed = commit.with(end, &format!("{end} this is not covered\n"));
    let error = verify(Head, &keys, &changed, None, now()).unwrap_err();
    assert!(error.to_string().ends_with(text), "{error}");
    let changed = tag.with(end, &format!("{end}this is not covered\n"));
    let error = verify(Tag, &keys, &commit, Some(("v1", Some(&changed))), now()).unwrap_err();
    assert!(error.to_string().ends_with(text), "{error}");
    let header = commit.with("\n\nsubject", "\ngpgsig x\n\nsubject");
    let error = verify(Head, &keys, &header, None, now()).unwrap_err();
    assert!(
        error.to_string().ends_with("it has more than one 'gpgsig' header"),
        "{error}"
    );
}

#[test]
fn repositories_with_sha256_have_a_signature_header_of_their_own() {
    let release = Release::new("sha256");
    let keys = secret(&[
        ("alice.asc", &release.pgp.public),
        ("alice.sshpub", &release.ssh.public),
    ]);
    for signer in [&release.pgp, &release.ssh] {
        let (commit, tag) = release.signed(signer, signer);
        assert_eq!(commit.id.len(), 64);
        assert!(String::from_utf8_lossy(&commit.raw).contains("\ngpgsig-sha256 -----BEGIN"));
        let message = verify(TagAndHead, &keys, &commit, Some(("v1", Some(&tag))), now()).unwrap();
        assert!(
            message.contains(&format!("commit '{}' with key '{}'", commit.id, signer.id)),
            "{message}"
        );
        // The signature of the other hash is neither looked at nor signed.
        let both = commit.with("\ngpgsig-sha256 ", "\ngpgsig other\n signature\ngpgsig-sha256 ");
        assert!(verify(Head, &keys, &both, None, now()).is_ok());
        let moved = commit.with("\ngpgsig-sha256 ", "\ngpgsig ");
        let error = verify(Head, &keys, &moved, None, now()).unwrap_err();
        assert!(
            error.to_string().ends_with("unsupported signature type: empty"),
            "{error}"
        );
    }
}

#[test]
fn every_refusal_has_a_reason_and_one_of_them_stalls() {
    let missing = Error::Secret("secrets \"keys\" not found".to_owned());
    assert!(!missing.is_stalling());
    let text = "public keys secret error: secrets \"keys\" not found".to_owned();
    check(Err(missing), Err(("VerificationError", text)));
    assert!(Error::NoTagReference.is_stalling());
    assert!(!Error::UnsignedTag("v1".to_owned()).is_stalling());
}
