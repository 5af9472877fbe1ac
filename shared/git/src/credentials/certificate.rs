//! The certificate that a client shows to a server over TLS, and the key that proves it is its own.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};

/// A client certificate and its private key, for https. It cannot be printed.
#[derive(Clone)]
pub struct Certificate {
    chain: Vec<u8>,
    identity: reqwest::Identity,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

/// Why there is no certificate. Nothing of the key is in the text, which begins with the words that Go's TLS loader has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No certificate where one should be.
    #[error("tls: failed to find any PEM data in certificate input: a CERTIFICATE block is expected")]
    NoCertificate,
    /// What stands there is no certificate.
    #[error("tls: failed to parse certificate: x509: malformed certificate")]
    Certificate,
    /// No private key where one should be.
    #[error("tls: failed to find any PEM data in key input: a PRIVATE KEY block is expected")]
    NoKey,
    /// The key is encrypted, and nobody has a place for its passphrase.
    #[error("tls: failed to parse private key: it is encrypted; decrypt it with 'openssl pkey' first")]
    Encrypted,
    /// What stands there is no key, or one of a kind that TLS has no use for.
    #[error(
        "tls: failed to parse private key: it is neither an RSA, an ECDSA (P-256, P-384, P-521) nor an Ed25519 key"
    )]
    Key,
    /// They do not belong together.
    #[error("tls: private key does not match public key")]
    Mismatch,
}

impl Certificate {
    /// Reads a certificate, its issuers after it, and its private key (PKCS #8, PKCS #1 or SEC1), all in PEM. Blocks of other
    /// kinds are passed over.
    ///
    /// # Errors
    /// See [`Error`]: one of them is missing or cannot be read, or they do not belong together.
    pub fn new(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, Error> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem)
            .collect::<Result<_, _>>()
            .map_err(|_| Error::Certificate)?;
        if chain.is_empty() {
            return Err(Error::NoCertificate);
        }
        let key = private_key(key_pem)?;
        let signer = default_provider()
            .key_provider
            .load_private_key(key.clone_key())
            .map_err(|_| Error::Key)?;
        match CertifiedKey::new(chain.clone(), signer).keys_match() {
            // Where it cannot be told, the server will.
            Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(TlsError::InconsistentKeys(_)) => return Err(Error::Mismatch),
            Err(_) => return Err(Error::Certificate),
        }
        let identity = reqwest::Identity::from_pem(bundle(&chain, &key)?.as_bytes()).map_err(|_| Error::Certificate)?;
        Ok(Self {
            chain: chain.iter().flat_map(|der| der.iter().copied()).collect(),
            identity,
        })
    }

    /// The certificate and its issuers (DER, one after the other). Nothing in it is secret, and who has it has the key.
    pub fn chain(&self) -> &[u8] {
        &self.chain
    }

    /// What an HTTP client takes.
    pub(crate) fn identity(&self) -> reqwest::Identity {
        self.identity.clone()
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    let text = String::from_utf8_lossy(pem);
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(Error::Encrypted);
    }
    let is_there = text.contains("PRIVATE KEY-----");
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| if is_there { Error::Key } else { Error::NoKey })
}

/// Certificates and key in one, and nothing else.
fn bundle(chain: &[CertificateDer<'_>], key: &PrivateKeyDer<'_>) -> Result<String, Error> {
    let mut pem = String::new();
    let mut add = |label: &str, der: &[u8]| {
        pem.push_str(&format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            STANDARD.encode(der)
        ));
    };
    for certificate in chain {
        add("CERTIFICATE", certificate);
    }
    match key {
        PrivateKeyDer::Pkcs8(der) => add("PRIVATE KEY", der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => add("RSA PRIVATE KEY", der.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(der) => add("EC PRIVATE KEY", der.secret_sec1_der()),
        _ => return Err(Error::Key),
    }
    Ok(pem)
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "asks the real openssl")]
mod tests {
    use super::*;
    use std::process::Command;

    /// What openssl makes of these arguments.
    fn openssl(arguments: &str) -> Vec<u8> {
        let output = Command::new("openssl").args(arguments.split(' ')).output();
        let output = output.expect("openssl is not installed; install your system's package openssl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// A key of a kind, in two forms, and a certificate for it.
    fn pair(kind: &str) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key.pem");
        let key = openssl(&format!("genpkey {kind}"));
        std::fs::write(&file, &key).unwrap();
        let at = file.display();
        let older = match kind.contains("ED25519") {
            true => key.clone(),
            false => openssl(&format!("pkey -in {at} -traditional")),
        };
        let certificate = openssl(&format!("req -x509 -new -key {at} -subj /CN=client -days 2"));
        (certificate, key, older)
    }

    fn check(chain: &[u8], key: &[u8], expected: Result<(), Error>) {
        let found = Certificate::new(chain, key);
        if let Ok(certificate) = &found {
            assert_eq!(format!("{certificate:?}"), "Certificate");
        }
        assert_eq!(found.map(drop), expected);
    }

    const P256: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";

    #[test]
    fn keys_of_every_kind_and_form_are_read() {
        for kind in [
            "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
            P256,
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
            "-algorithm ED25519",
        ] {
            let (certificate, key, older) = pair(kind);
            check(&certificate, &key, Ok(()));
            check(&certificate, &older, Ok(()));
            // What openssl writes before some keys, and a chain.
            let with_more = [
                b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n",
                &key[..],
            ];
            check(&[&certificate[..], &certificate].concat(), &with_more.concat(), Ok(()));
        }
    }

    #[test]
    fn what_does_not_fit_is_told_apart() {
        let (certificate, key, _) = pair(P256);
        let (other, ..) = pair(P256);
        check(&other, &key, Err(Error::Mismatch));
        check(b"", &key, Err(Error::NoCertificate));
        check(&key, &key, Err(Error::NoCertificate));
        check(&certificate, b"invalid", Err(Error::NoKey));
        check(&certificate, &certificate, Err(Error::NoKey));
        let pem =
            |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n").into_bytes();
        check(&certificate, &pem("PRIVATE KEY", "AAAA"), Err(Error::Key));
        check(&certificate, &pem("PRIVATE KEY", "*"), Err(Error::Key));
        check(
            &certificate,
            &pem("ENCRYPTED PRIVATE KEY", "AAAA"),
            Err(Error::Encrypted),
        );
        check(&pem("CERTIFICATE", "AAAA"), &key, Err(Error::Certificate));
        check(&pem("CERTIFICATE", "*"), &key, Err(Error::Certificate));
        let text = Error::NoKey.to_string();
        assert!(
            text.starts_with("tls: failed to find any PEM data in key input"),
            "{text}"
        );
    }
}
