//! Private keys that are encrypted in the way of early PEM (`Proc-Type: 4,ENCRYPTED`), as `openssl` and old versions of
//! `ssh-keygen` write them. The key comes out of one round of MD5, so that a passphrase guards little; what is decrypted here is
//! read like any other key.

use aes::{Aes128, Aes192, Aes256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use des::TdesEde3;

use super::Error;

/// What the first half of the vector is used for besides.
const SALT: usize = 8;

/// The same key in PEM without encryption; nothing if it is not encrypted in this way.
///
/// # Errors
/// The cipher is not supported, or the passphrase does not open it.
pub fn decrypt(pem: &str, passphrase: &str) -> Result<Option<String>, Error> {
    let Some(sealed) = Sealed::parse(pem)? else {
        return Ok(None);
    };
    let der = sealed.open(passphrase.as_bytes())?;
    let (label, body) = (sealed.label, STANDARD.encode(der));
    Ok(Some(format!(
        "-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"
    )))
}

struct Sealed<'a> {
    label: &'a str,
    cipher: &'a str,
    vector: Vec<u8>,
    content: Vec<u8>,
}

impl<'a> Sealed<'a> {
    fn parse(pem: &'a str) -> Result<Option<Self>, Error> {
        let framed = pem
            .lines()
            .map(str::trim)
            .skip_while(|line| !line.ends_with(" PRIVATE KEY-----"));
        let mut lines = framed.take_while(|line| !line.starts_with("-----END "));
        let label = lines.next().and_then(|line| line.strip_prefix("-----BEGIN "));
        let Some(label) = label.and_then(|line| line.strip_suffix("-----")) else {
            return Ok(None);
        };
        let (mut is_encrypted, mut dek, mut body) = (false, None, String::new());
        for line in lines {
            match line.split_once(':') {
                Some(("Proc-Type", kind)) => is_encrypted = kind.trim() == "4,ENCRYPTED",
                Some(("DEK-Info", info)) => dek = info.trim().split_once(','),
                Some(_) => {}
                None => body.push_str(line),
            }
        }
        if !is_encrypted {
            return Ok(None);
        }
        let damaged = |what: &str| Error::Key(format!("its {what} cannot be read"));
        let (cipher, vector) = dek.ok_or_else(|| damaged("DEK-Info"))?;
        Ok(Some(Self {
            label,
            cipher,
            vector: unhex(vector).ok_or_else(|| damaged("DEK-Info"))?,
            content: STANDARD.decode(body).map_err(|_| damaged("content"))?,
        }))
    }

    fn open(&self, passphrase: &[u8]) -> Result<Vec<u8>, Error> {
        match self.cipher {
            "AES-128-CBC" => self.open_with::<Decryptor<Aes128>>(passphrase, 16),
            "AES-192-CBC" => self.open_with::<Decryptor<Aes192>>(passphrase, 24),
            "AES-256-CBC" => self.open_with::<Decryptor<Aes256>>(passphrase, 32),
            "DES-EDE3-CBC" => self.open_with::<Decryptor<TdesEde3>>(passphrase, 24),
            other => Err(Error::Cipher(other.to_owned())),
        }
    }

    fn open_with<C: KeyIvInit + BlockModeDecrypt>(&self, passphrase: &[u8], length: usize) -> Result<Vec<u8>, Error> {
        let salt = self.vector.get(..SALT).ok_or(Error::Passphrase)?;
        let key = key(passphrase, salt, length);
        let cipher = C::new_from_slices(&key, &self.vector).map_err(|_| Error::Passphrase)?;
        let mut content = self.content.clone();
        let opened = cipher.decrypt_padded::<Pkcs7>(&mut content);
        opened.map(<[u8]>::to_vec).map_err(|_| Error::Passphrase)
    }
}

/// Stretches a passphrase to the length of a key: hash upon hash until there is enough.
fn key(passphrase: &[u8], salt: &[u8], length: usize) -> Vec<u8> {
    let (mut key, mut last): (Vec<u8>, Vec<u8>) = Default::default();
    while key.len() < length {
        last = md5::compute([&last[..], passphrase, salt].concat()).0.to_vec();
        key.extend_from_slice(&last);
    }
    key.truncate(length);
    key
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [_, _] => std::str::from_utf8(pair)
            .ok()
            .and_then(|pair| u8::from_str_radix(pair, 16).ok()),
        _ => None,
    };
    digits.map(byte).collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "asks the real openssl")]
mod tests {
    use super::*;
    use std::process::Command;

    /// A key that openssl encrypted with a cipher.
    fn sealed(kind: &str, cipher: &str) -> String {
        let openssl = |arguments: &[&str]| {
            let output = Command::new("openssl").args(arguments).output();
            let output = output.expect("openssl is not installed; install your system's package openssl");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key").display().to_string();
        let mut arguments = vec!["genpkey", "-out", &file];
        arguments.extend(kind.split(' '));
        openssl(&arguments);
        openssl(&[
            "pkey",
            "-in",
            &file,
            "-traditional",
            cipher,
            "-passout",
            "pass:open sesame",
        ])
    }

    fn check(pem: &str, passphrase: &str, expected: Result<bool, Error>) {
        let found = decrypt(pem, passphrase);
        let found = found.map(|key| key.is_some_and(|key| !key.contains("ENCRYPTED")));
        assert_eq!(found, expected, "{pem}");
    }

    const RSA: &str = "-algorithm RSA -pkeyopt rsa_keygen_bits:2048";
    const P256: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";

    #[test]
    fn keys_that_openssl_encrypted_are_opened() {
        for cipher in ["-aes128", "-aes192", "-aes256", "-des3"] {
            for kind in [RSA, P256] {
                let pem = sealed(kind, cipher);
                check(&pem, "open sesame", Ok(true));
                let identity = |passphrase| super::super::Identity::new(&pem, passphrase, "").map(drop);
                assert_eq!(identity(Some("open sesame")), Ok(()), "{cipher} {kind}");
                assert_eq!(identity(None), Err(Error::Encrypted), "{cipher} {kind}");
                assert_eq!(identity(Some("wrong")), Err(Error::Passphrase), "{cipher} {kind}");
            }
        }
        // One that is not among those that are read.
        let camellia = sealed(RSA, "-camellia128");
        check(
            &camellia,
            "open sesame",
            Err(Error::Cipher("CAMELLIA-128-CBC".to_owned())),
        );
    }

    #[test]
    fn what_is_not_encrypted_in_this_way_is_left_alone() {
        check("", "x", Ok(false));
        check(
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "x",
            Ok(false),
        );
        check(
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "x",
            Ok(false),
        );
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let pem = |dek: &str, body: &str| {
            let head = format!("Proc-Type: 4,ENCRYPTED\nDEK-Info: {dek}\n");
            format!("-----BEGIN RSA PRIVATE KEY-----\n{head}\n{body}\n-----END RSA PRIVATE KEY-----\n")
        };
        let damaged = |what: &str| Err(Error::Key(format!("its {what} cannot be read")));
        let vector = "00".repeat(16);
        check(&pem("AES-128-CBC", "AAAA"), "x", damaged("DEK-Info"));
        check(&pem("AES-128-CBC,0g", "AAAA"), "x", damaged("DEK-Info"));
        check(&pem(&format!("AES-128-CBC,{vector}"), "*"), "x", damaged("content"));
        check(
            &pem(&format!("AES-128-CBC,{vector}"), "AAAA"),
            "x",
            Err(Error::Passphrase),
        );
        check(&pem("AES-128-CBC,00", "AAAA"), "x", Err(Error::Passphrase));
        check(
            &pem(&format!("AES-128-CBC,{vector}00"), "AAAA"),
            "x",
            Err(Error::Passphrase),
        );
    }
}
