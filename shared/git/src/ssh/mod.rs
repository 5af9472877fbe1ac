//! Git over ssh, in process: no `ssh` program, no agent, nobody's configuration.
//!
//! An [`Identity`] is a private key and the servers it may be used with. Keys are the only way to authenticate; a server whose
//! key is not in `known_hosts` is refused. [`Algorithms`] narrows what is agreed upon. A socks5 proxy may stand on the way;
//! others cannot.

mod known_hosts;
mod legacy;
mod line;
mod session;
mod socks;

use std::fmt;
use std::sync::Arc;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey, decode_secret_key};
use russh::{Preferred, kex};
use sha2::{Digest, Sha256};

pub use known_hosts::{KnownHosts, Malformed, Stranger};
pub(crate) use session::open;

/// A private key and the servers it may be used with.
#[derive(Clone)]
pub struct Identity {
    key: Arc<PrivateKey>,
    known_hosts: Arc<KnownHosts>,
    /// A hash of both.
    mark: [u8; 32],
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Why there is no identity. Nothing of the key is in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key is encrypted and there is no passphrase.
    #[error("the private key is encrypted and no passphrase is given")]
    Encrypted,
    /// It is encrypted with a cipher that is not supported.
    #[error(
        "the private key is encrypted with {0}, which is not supported: 'ssh-keygen -p -o -f FILE' rewrites it in a format \
         that is"
    )]
    Cipher(String),
    /// The passphrase does not open it.
    #[error(
        "the private key cannot be decrypted: the passphrase is wrong, or its cipher is not supported ('ssh-keygen -p -o -f \
         FILE' rewrites it in a format that is)"
    )]
    Passphrase,
    /// It is not a private key.
    #[error("the private key cannot be read: {0}")]
    Key(String),
    /// The known hosts cannot be read.
    #[error(transparent)]
    KnownHosts(#[from] Malformed),
}

impl Identity {
    /// Reads a private key (OpenSSH, PKCS#1, PKCS#8 or SEC1 in PEM) and known hosts. An empty passphrase is none; one for a key
    /// that is not encrypted is not looked at. Keys in the older formats may be encrypted with AES or triple DES.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(key: &str, passphrase: Option<&str>, known_hosts: &str) -> Result<Self, Error> {
        let key = private_key(key, passphrase.filter(|text| !text.is_empty()))?;
        let mut mark = Sha256::new();
        // The public half tells keys apart.
        mark.update(key.public_key().fingerprint(HashAlg::Sha256).as_bytes());
        mark.update(known_hosts);
        Ok(Self {
            key: Arc::new(key),
            known_hosts: Arc::new(KnownHosts::parse(known_hosts)?),
            mark: mark.finalize().into(),
        })
    }

    /// What tells it apart from another one: which key, and which servers are trusted.
    pub(crate) fn mark(&self) -> &[u8] {
        &self.mark
    }
}

fn private_key(text: &str, passphrase: Option<&str>) -> Result<PrivateKey, Error> {
    use russh::keys::Error as Keys;
    // Secrets are often made with other line ends, or none at the end.
    let text = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    if has_encrypted_frame(&text) {
        let passphrase = passphrase.ok_or(Error::Encrypted)?;
        let opened = match legacy::decrypt(&text, passphrase)? {
            Some(plain) => decode_secret_key(&plain, None),
            None => decode_secret_key(&text, Some(passphrase)),
        };
        return opened.map_err(|_| Error::Passphrase);
    }
    match (decode_secret_key(&text, None), passphrase) {
        (Ok(key), _) => Ok(key),
        (Err(Keys::KeyIsEncrypted), None) => Err(Error::Encrypted),
        (Err(Keys::KeyIsEncrypted), Some(_)) => decode_secret_key(&text, passphrase).map_err(|_| Error::Passphrase),
        (Err(error), _) => Err(Error::Key(error.to_string())),
    }
}

/// Whether PEM says of itself that it is encrypted, as the older formats do.
fn has_encrypted_frame(text: &str) -> bool {
    text.contains("Proc-Type: 4,ENCRYPTED") || text.contains("BEGIN ENCRYPTED PRIVATE KEY")
}

/// The algorithms that may be agreed upon; empty lists mean the usual ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Algorithms {
    kex: Vec<kex::Name>,
    host_keys: Vec<Algorithm>,
    /// Kinds of keys that may stand in certificates, where they were named.
    certificates: Vec<Algorithm>,
}

impl Algorithms {
    /// Reads the names of key exchanges and of host keys, most wanted first. Those of certificates
    /// (`ssh-ed25519-cert-v01@openssh.com`) are host keys, too; where none is named, any of the named kinds may stand in one.
    ///
    /// # Errors
    /// The first name that is not known, and what is.
    pub fn new(kex: &[String], host_keys: &[String]) -> Result<Self, String> {
        let mut algorithms = Self::default();
        for name in kex {
            let found = kex::ALL_KEX_ALGORITHMS.iter().find(|found| exchange(found) == name);
            let found = found.filter(|found| ***found != kex::NONE);
            algorithms.kex.push(
                **found
                    .ok_or_else(|| format!("key exchange algorithm '{name}' is not supported: use {}", exchanges()))?,
            );
        }
        for name in host_keys {
            match (Algorithm::new(name), Algorithm::new_certificate(name)) {
                (_, Ok(algorithm)) if is_usable(&algorithm) => algorithms.certificates.push(algorithm),
                (Ok(algorithm), _) if is_usable(&algorithm) => algorithms.host_keys.push(algorithm),
                _ => {
                    let known: Vec<_> = HOST_KEYS.iter().map(Algorithm::as_str).collect();
                    let known = known.join(", ");
                    return Err(format!("host key algorithm '{name}' is not supported: use {known}"));
                }
            }
        }
        Ok(algorithms)
    }

    /// What is offered to a host: the kinds of keys it is known by come first, so that it proves itself with one of them.
    fn preferred(&self, known: &[Algorithm], has_authority: bool) -> Preferred {
        let mut preferred = Preferred::DEFAULT;
        let usual = usual_exchanges();
        preferred.kex = match self.kex.as_slice() {
            [] => usual.into(),
            named => {
                // What is no exchange but tells what is understood stays.
                let is_exchange = |name: &kex::Name| kex::ALL_KEX_ALGORITHMS.contains(&name);
                let tells = usual.into_iter().filter(|name| !is_exchange(name));
                named.iter().copied().chain(tells).collect::<Vec<_>>().into()
            }
        };
        let allowed = match (self.host_keys.as_slice(), self.certificates.as_slice()) {
            // SHA-1 is for who asks for it by name.
            ([], []) => HOST_KEYS
                .iter()
                .filter(|key| !matches!(key, Algorithm::Rsa { hash: None }))
                .cloned()
                .collect(),
            (named, _) => named.to_vec(),
        };
        let is_known = |algorithm: &Algorithm| known.iter().any(|known| is_same_kind(known, algorithm));
        let (first, rest): (Vec<_>, Vec<_>) = allowed.into_iter().partition(is_known);
        let all: Vec<_> = first.into_iter().chain(rest).collect();
        if has_authority {
            preferred.host_key_certificates = match self.certificates.as_slice() {
                [] => all.clone().into(),
                named => named.to_vec().into(),
            };
        }
        preferred.key = all.into();
        preferred
    }
}

/// The key exchanges that are offered where none are named: those of the library, and those that servers under rules for
/// governments are limited to.
fn usual_exchanges() -> Vec<kex::Name> {
    let mut names = Preferred::DEFAULT.kex.to_vec();
    let after = names.iter().position(|name| *name == kex::CURVE25519_PRE_RFC_8731);
    let at = after.map_or(names.len(), |at| at + 1);
    let curves = [
        kex::ECDH_SHA2_NISTP256,
        kex::ECDH_SHA2_NISTP384,
        kex::ECDH_SHA2_NISTP521,
    ];
    names.splice(at..at, curves);
    names
}

/// The names of the key exchanges there are.
fn exchanges() -> String {
    let names = kex::ALL_KEX_ALGORITHMS.iter().filter(|name| ***name != kex::NONE);
    names.map(|name| exchange(name)).collect::<Vec<_>>().join(", ")
}

fn exchange(name: &kex::Name) -> &str {
    name.as_ref()
}

/// The kinds of keys that a server may have, most wanted first.
static HOST_KEYS: [Algorithm; 7] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
    Algorithm::Rsa { hash: None },
];

fn is_usable(algorithm: &Algorithm) -> bool {
    HOST_KEYS.contains(algorithm)
}

/// RSA keys are one kind, whatever they sign with.
fn is_same_kind(one: &Algorithm, other: &Algorithm) -> bool {
    let kind = |algorithm: &Algorithm| match algorithm {
        Algorithm::Rsa { .. } => Algorithm::Rsa {
            hash: Some(HashAlg::Sha512),
        },
        other => other.clone(),
    };
    kind(one) == kind(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// What is offered as exchanges, plain host keys and those in certificates, to a host that is known by these keys; or the
    /// message.
    fn check(kex: &str, host_keys: &str, known: &[Algorithm], has_authority: bool, expected: Result<[&str; 3], &str>) {
        let found = Algorithms::new(&names(kex), &names(host_keys)).map(|algorithms| {
            let preferred = algorithms.preferred(known, has_authority);
            let keys = |keys: &[Algorithm]| keys.iter().map(Algorithm::as_str).collect::<Vec<_>>().join(" ");
            let exchanges: Vec<_> = preferred.kex.iter().map(|name| name.as_ref()).collect();
            [
                exchanges.join(" "),
                keys(&preferred.key),
                keys(&preferred.host_key_certificates),
            ]
        });
        let expected = expected.map(|texts| texts.map(str::to_owned)).map_err(str::to_owned);
        assert_eq!(found, expected, "{kex} {host_keys}");
    }

    const TELLS: &str = "ext-info-c ext-info-s kex-strict-c-v00@openssh.com kex-strict-s-v00@openssh.com";
    const USUAL_KEYS: &str =
        "ssh-ed25519 ecdsa-sha2-nistp256 ecdsa-sha2-nistp384 ecdsa-sha2-nistp521 rsa-sha2-512 rsa-sha2-256";

    #[test]
    fn what_is_offered_is_what_is_named_or_what_is_usual() {
        let usual = "mlkem768x25519-sha256 curve25519-sha256 curve25519-sha256@libssh.org ecdh-sha2-nistp256 \
                     ecdh-sha2-nistp384 ecdh-sha2-nistp521 diffie-hellman-group-exchange-sha256 \
                     diffie-hellman-group18-sha512 diffie-hellman-group17-sha512 diffie-hellman-group16-sha512 \
                     diffie-hellman-group15-sha512 diffie-hellman-group14-sha256";
        let usual = format!("{usual} {TELLS}");
        check("", "", &[], false, Ok([&usual, USUAL_KEYS, ""]));
        let known = [Algorithm::Rsa { hash: None }];
        let rsa_first =
            "rsa-sha2-512 rsa-sha2-256 ssh-ed25519 ecdsa-sha2-nistp256 ecdsa-sha2-nistp384 ecdsa-sha2-nistp521";
        check("", "", &known, true, Ok([&usual, rsa_first, rsa_first]));
        let named = format!("diffie-hellman-group14-sha1 curve25519-sha256 {TELLS}");
        let exchanges = "diffie-hellman-group14-sha1 curve25519-sha256";
        check(exchanges, "ssh-rsa", &[], true, Ok([&named, "ssh-rsa", "ssh-rsa"]));
        let keys = "ssh-rsa ssh-ed25519-cert-v01@openssh.com ssh-ed25519";
        let first = [Algorithm::Ed25519];
        check(
            exchanges,
            keys,
            &first,
            true,
            Ok([&named, "ssh-ed25519 ssh-rsa", "ssh-ed25519"]),
        );
        check(exchanges, keys, &first, false, Ok([&named, "ssh-ed25519 ssh-rsa", ""]));
    }

    #[test]
    fn names_that_are_not_known_are_refused_with_those_that_are() {
        let exchanges = exchanges();
        for name in ["rot13", "none", "ext-info-c"] {
            let text = format!("key exchange algorithm '{name}' is not supported: use {exchanges}");
            check(name, "", &[], false, Err(&text));
        }
        assert!(
            exchanges.starts_with("mlkem768x25519-sha256, curve25519-sha256, "),
            "{exchanges}"
        );
        for name in ["ssh-rot13", "ssh-dss", "sk-ssh-ed25519@openssh.com"] {
            let known = format!("{}, ssh-rsa", USUAL_KEYS.replace(' ', ", "));
            let text = format!("host key algorithm '{name}' is not supported: use {known}");
            check("", name, &[], false, Err(&text));
        }
    }
}
