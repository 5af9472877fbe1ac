//! Git over ssh, in process: no `ssh` program, no agent, nobody's configuration.
//!
//! An [`Identity`] is a private key and the servers it may be used with. Keys are the only way to authenticate; a server whose
//! key is not in `known_hosts` is refused. [`Algorithms`] narrows what is agreed upon.

mod known_hosts;
mod line;
mod session;

use std::fmt;
use std::sync::Arc;

use russh::keys::{Algorithm, HashAlg, PrivateKey, decode_secret_key};
use russh::{Preferred, kex};

pub use known_hosts::{KnownHosts, Malformed, Stranger};
pub(crate) use session::open;

/// A private key and the servers it may be used with.
#[derive(Clone)]
pub struct Identity {
    key: Arc<PrivateKey>,
    known_hosts: Arc<KnownHosts>,
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
    /// The passphrase does not open it.
    #[error("the private key cannot be decrypted: the passphrase is wrong, or its cipher is not supported")]
    Passphrase,
    /// It is not a private key.
    #[error("the private key cannot be read: {0}")]
    Key(String),
    /// The known hosts cannot be read.
    #[error(transparent)]
    KnownHosts(#[from] Malformed),
}

impl Identity {
    /// Reads a private key (OpenSSH, PKCS#1, PKCS#8 or SEC1 in PEM) and known hosts. An empty passphrase is none.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(key: &str, passphrase: Option<&str>, known_hosts: &str) -> Result<Self, Error> {
        Ok(Self {
            key: Arc::new(private_key(key, passphrase.filter(|text| !text.is_empty()))?),
            known_hosts: Arc::new(KnownHosts::parse(known_hosts)?),
        })
    }
}

fn private_key(text: &str, passphrase: Option<&str>) -> Result<PrivateKey, Error> {
    use russh::keys::Error as Keys;
    // Secrets are often made with other line ends, or none at the end.
    let text = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    match decode_secret_key(&text, None) {
        Ok(key) => Ok(key),
        Err(error) if matches!(error, Keys::KeyIsEncrypted) || has_encrypted_frame(&text) => match passphrase {
            None => Err(Error::Encrypted),
            Some(_) => decode_secret_key(&text, passphrase).map_err(|_| Error::Passphrase),
        },
        Err(error) => Err(Error::Key(error.to_string())),
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
}

impl Algorithms {
    /// Reads the names of key exchanges and of host keys, most wanted first.
    ///
    /// # Errors
    /// The first name that is not known, and what is.
    pub fn new(kex: &[String], host_keys: &[String]) -> Result<Self, String> {
        let exchange = |name: &String| {
            kex::Name::try_from(name.as_str()).map_err(|()| format!("key exchange algorithm '{name}' is not supported"))
        };
        let host_key = |name: &String| match Algorithm::new(name) {
            Ok(Algorithm::Other(_)) | Err(_) => Err(format!("host key algorithm '{name}' is not supported")),
            Ok(algorithm) => Ok(algorithm),
        };
        Ok(Self {
            kex: kex.iter().map(exchange).collect::<Result<_, _>>()?,
            host_keys: host_keys.iter().map(host_key).collect::<Result<_, _>>()?,
        })
    }

    /// What is offered to a host: the kinds of keys it is known by come first, so that it proves itself with one of them.
    fn preferred(&self, known: &[Algorithm], has_authority: bool) -> Preferred {
        let mut preferred = Preferred::DEFAULT;
        if !self.kex.is_empty() {
            // What is not an exchange but tells what is understood stays.
            let extensions = preferred
                .kex
                .iter()
                .copied()
                .filter(|name| name.as_ref().contains("ext-info"));
            let strict = preferred
                .kex
                .iter()
                .copied()
                .filter(|name| name.as_ref().contains("kex-strict"));
            preferred.kex = self
                .kex
                .iter()
                .copied()
                .chain(extensions)
                .chain(strict)
                .collect::<Vec<_>>()
                .into();
        }
        let usual = preferred
            .key
            .iter()
            .filter(|key| !matches!(key, Algorithm::Rsa { hash: None }));
        let allowed: Vec<_> = match self.host_keys.is_empty() {
            true => usual.cloned().collect(),
            false => self.host_keys.clone(),
        };
        let is_known = |algorithm: &Algorithm| known.iter().any(|known| is_same_kind(known, algorithm));
        let (first, rest): (Vec<_>, Vec<_>) = allowed.into_iter().partition(is_known);
        let all: Vec<_> = first.into_iter().chain(rest).collect();
        if has_authority {
            preferred.host_key_certificates = all.clone().into();
        }
        preferred.key = all.into();
        preferred
    }
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
