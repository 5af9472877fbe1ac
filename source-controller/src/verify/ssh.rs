//! SSH signatures, as `ssh-keygen -Y sign` makes them for Git (`gpg.format=ssh`).
//!
//! A signature carries its public key, and counts if this key is in an entry of the Secret. It was made for Git (the namespace
//! `git`) with SHA-256 or SHA-512; RSA keys sign with these too, never with SHA-1 (`ssh-rsa`). Keys of hardware tokens (`sk-…`)
//! are taken, keys of DSA and certificates are not. What an entry says before the key, such as `namespaces="git"` or
//! `valid-before=…`, is passed over as in Flux: these are not files of allowed signers.

use ssh_key::{Algorithm, HashAlg, PublicKey, SshSig};

use super::Entry;
use super::armor::{self, SSH_SIGNATURE};

/// What Git's signatures are made for, so that one for a file or a login is not taken for one.
const NAMESPACE: &str = "git";
/// The largest entry of the Secret that is read. A Secret holds 1 MiB in all.
const MAX_KEYS: usize = 1 << 20;
/// Bits of the smallest RSA key that OpenSSH takes. Smaller ones have been broken.
const MIN_RSA: u32 = 1024;
/// Bits of the largest RSA key that the library checks signatures with.
const MAX_RSA: u32 = 8192;

/// Why an SSH signature was not accepted. What comes before the colon are Flux's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It could not be read.
    #[error("unable to unarmor SSH signature: {0}")]
    Signature(Unreadable),
    /// No entry of the Secret could be read; this is the first.
    #[error("unable to parse authorized keys: entry '{entry}' of the secret: {cause}")]
    Keys {
        /// The name of the entry.
        entry: String,
        /// What is wrong with it.
        cause: BadKeys,
    },
    /// No key has made it.
    #[error("unable to verify payload with any of the given authorized keys: {0}")]
    NotVerified(Why),
}

/// Why a signature could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Its armor.
    #[error(transparent)]
    Armor(#[from] armor::Error),
    /// What is inside.
    #[error("it is not an SSH signature by a kind of key that is supported")]
    Content,
}

/// Why an entry of the Secret could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    /// A line that is no key.
    #[error("unable to parse authorized key: line {0}: it needs a key as in '<name>.pub', such as 'ssh-ed25519 AAAA…'")]
    Line(usize),
    /// Not text.
    #[error("it is not text")]
    NotText,
    /// It is larger than what is read.
    #[error("it has {0} bytes, and no more than {MAX_KEYS} are read")]
    TooLarge(usize),
}

/// Why a signature that can be read does not count. Keys are named by their fingerprints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// None of the keys has made it.
    #[error("no matching key: it is signed by key '{0}'")]
    NoMatchingKey(String),
    /// It was made for something else than Git.
    #[error("no matching key: namespace does not match: the signature is not one for 'git'")]
    Namespace,
    /// It rests on SHA-1.
    #[error("the signature uses SHA-1 (ssh-rsa), which is too weak")]
    WeakHash,
    /// It was made by an RSA key that is larger than those that are supported.
    #[error("the key '{0}' has {1} bits, and RSA keys of more than {MAX_RSA} are not supported")]
    LargeKey(String, u32),
    /// It was made by an RSA key that others than its owner can sign with.
    #[error("the key '{0}' has {1} bits, and RSA keys of less than {MIN_RSA} are too weak")]
    SmallKey(String, u32),
    /// It does not fit the object and the key: one of them is not what was signed.
    #[error("the signature by key '{0}' does not fit the object")]
    Bad(String),
}

/// The SHA-256 fingerprint of the key that has signed `payload`, as `ssh-keygen -l` shows it.
///
/// # Errors
/// The signature is not a valid one by a key of `entries`.
pub fn verify(signature: &[u8], payload: &[u8], entries: &[Entry<'_>]) -> Result<String, Error> {
    let signature = read_signature(signature).map_err(Error::Signature)?;
    let keys = read_entries(entries)?;
    let fingerprint = signature.public_key().fingerprint(HashAlg::Sha256).to_string();
    let refused = |why| Err(Error::NotVerified(why));
    let Some(key) = keys.iter().find(|key| key.key_data() == signature.public_key()) else {
        return refused(Why::NoMatchingKey(fingerprint));
    };
    if signature.namespace() != NAMESPACE {
        return refused(Why::Namespace);
    }
    if let Algorithm::Rsa { hash: None } = signature.algorithm() {
        return refused(Why::WeakHash);
    }
    match key.key_data().rsa().map(|key| key.key_size()) {
        Some(bits) if bits < MIN_RSA => return refused(Why::SmallKey(fingerprint, bits)),
        Some(bits) if bits > MAX_RSA => return refused(Why::LargeKey(fingerprint, bits)),
        _ => {}
    }
    match key.verify(NAMESPACE, payload, &signature) {
        Ok(()) => Ok(fingerprint),
        Err(_) => refused(Why::Bad(fingerprint)),
    }
}

fn read_signature(text: &[u8]) -> Result<SshSig, Unreadable> {
    use ssh_key::encoding::Decode as _;
    let content = armor::signature(text, SSH_SIGNATURE)?;
    let mut rest = content.as_slice();
    let signature = SshSig::decode(&mut rest).map_err(|_| Unreadable::Content)?;
    match signature.version() {
        SshSig::VERSION if rest.is_empty() => Ok(signature),
        _ => Err(Unreadable::Content),
    }
}

/// The keys of every entry that can be read; one that cannot is no reason to refuse what the others allow.
fn read_entries(entries: &[Entry<'_>]) -> Result<Vec<PublicKey>, Error> {
    let mut keys = Vec::new();
    let mut unreadable = None;
    let mut readable = false;
    for entry in entries {
        match read_keys(entry.content) {
            Ok(read) => {
                keys.extend(read);
                readable = true;
            }
            Err(cause) => unreadable = unreadable.or(Some((entry.name, cause))),
        }
    }
    match unreadable {
        Some((entry, cause)) if !readable => Err(Error::Keys {
            entry: entry.to_owned(),
            cause,
        }),
        _ => Ok(keys),
    }
}

/// The keys of an entry. One bad line spoils it: it may be the key that somebody relies on.
fn read_keys(content: &[u8]) -> Result<Vec<PublicKey>, BadKeys> {
    if content.len() > MAX_KEYS {
        return Err(BadKeys::TooLarge(content.len()));
    }
    let text = std::str::from_utf8(content).map_err(|_| BadKeys::NotText)?;
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let key = |(number, line)| read_key(line).ok_or(BadKeys::Line(number + 1));
    lines.map(key).collect()
}

/// A key, or options and a key; what follows is a comment.
fn read_key(line: &str) -> Option<PublicKey> {
    let key = |text: &str| {
        let mut words = text.split_ascii_whitespace();
        let (kind, data) = (words.next()?, words.next()?);
        PublicKey::from_openssh(&format!("{kind} {data}")).ok()
    };
    key(line).or_else(|| key(after_options(line)))
}

/// What follows the options of a line: these end at the first blank that is not in quotes.
fn after_options(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in line.char_indices() {
        match character {
            '"' if !escaped => quoted = !quoted,
            ' ' | '\t' if !quoted => return line.get(at..).unwrap_or_default(),
            _ => {}
        }
        escaped = character == '\\';
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKvbr2lnEhck6lgSSFA9VeVqyc2YTNrlHV2H/Myu35n4";
    const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBAAA";

    fn check(content: &str, expected: Result<usize, BadKeys>) {
        let found = read_keys(content.as_bytes()).map(|keys| keys.len());
        assert_eq!(found, expected, "{content:?}");
    }

    #[test]
    fn an_entry_holds_keys_comments_and_empty_lines() {
        check("", Ok(0));
        check("# nobody\n\n   \n", Ok(0));
        check(ED25519, Ok(1));
        check(
            &format!(
                "  {ED25519} alice at home\r\n# bob\n\t{}\n",
                ED25519.replace(' ', " \t ")
            ),
            Ok(2),
        );
    }

    #[test]
    fn options_before_a_key_are_passed_over() {
        check(&format!("namespaces=\"git\" {ED25519} alice"), Ok(1));
        check(&format!("cert-authority,from=\"a b\\\" c\"\t{ED25519}"), Ok(1));
        check(&format!("command=\"{ED25519}\""), Err(BadKeys::Line(1)));
        check(
            &format!("alice@example.com namespaces=\"git\" {ED25519}"),
            Err(BadKeys::Line(1)),
        );
    }

    #[test]
    fn one_bad_line_spoils_an_entry() {
        check(&format!("{ED25519}\n\nssh-ed25519 nonsense\n"), Err(BadKeys::Line(3)));
        check("ssh-ed25519", Err(BadKeys::Line(1)));
        check(ECDSA, Err(BadKeys::Line(1)));
        check(&ED25519.replace("ssh-ed25519", "ssh-rsa"), Err(BadKeys::Line(1)));
        check("-----BEGIN PGP PUBLIC KEY BLOCK-----", Err(BadKeys::Line(1)));
        assert_eq!(read_keys(&[0xff]), Err(BadKeys::NotText));
        assert_eq!(
            read_keys(&vec![b'\n'; MAX_KEYS + 1]),
            Err(BadKeys::TooLarge(MAX_KEYS + 1))
        );
    }
}
