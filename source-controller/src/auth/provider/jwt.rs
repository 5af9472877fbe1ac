//! JSON Web Tokens, signed with an RSA key (RS256).
//!
//! Nothing is verified here: these tokens are for others.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runtime::redact::Redacted;
use rustls::SignatureScheme;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;

/// Why there is no token. Nothing of the key is in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No key where one should be.
    #[error("invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key")]
    NoKey,
    /// A key of another kind, or one that is broken.
    #[error("key is not a valid RSA private key (2048 to 4096 bits, not encrypted)")]
    NotRsa,
}

/// A token that says these claims, in the order in which they are serialised.
///
/// # Errors
/// See [`Error`].
pub fn sign(claims: &impl Serialize, key_pem: &[u8]) -> Result<Redacted<String>, Error> {
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| Error::NoKey)?;
    let key = default_provider()
        .key_provider
        .load_private_key(key)
        .map_err(|_| Error::NotRsa)?;
    let signer = key
        .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
        .ok_or(Error::NotRsa)?;
    // Claims are plain values, which can always be written.
    let claims = serde_json::to_vec(claims).unwrap_or_default();
    let text = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(br#"{"alg":"RS256","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = signer.sign(text.as_bytes()).map_err(|_| Error::NotRsa)?;
    Ok(Redacted::new(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::provider::testing::{APP_KEY, APP_KEY_PKCS8, claims};

    #[derive(Serialize)]
    struct Claims {
        iss: &'static str,
        exp: i64,
        iat: i64,
    }

    const CLAIMS: Claims = Claims {
        iss: "7",
        exp: 1_700_000_090,
        iat: 1_699_999_970,
    };

    /// What openssl makes of the same claims with the same key.
    const TOKEN: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiI3IiwiZXhwIjoxNzAwMDAwMDkwLCJpYXQiOjE2OTk5OTk5NzB9.\
        MU7WQE6YZxAU54Owxa1QnBynQvhrIgRO_Dj5vtl2QCUY8FIXuwseW215Vr4ywZQqW3MPLQmWM21y3nmwrNOFPlEQ14jlKNxU0ES5VJmpGys7ZvRAlJaLUTMw\
        ZE6OPjlq4uPOl0s9WOLp1gnj4eADbDfJYKjpUgL6nZn5zLNNqDzMl4C47lFLMQMAZpQjrxo7NngPTNx8IJAMY_gvt37tPrG1Hz0K_JGbmuS8d5rEt593HQZp\
        pwnYE3Scm212GB2cWDUAb2qYvHWS7jILfemRwefUcncvbv4R-ypZRItA0updm5Vok-7-Ar_wS-jTfSN_i33BDnzcMZzQdB6JKonKOg";

    const EC_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgXXyayHwND1ug9K91
PlzjkG59uk02qO5x7z/aPQWOY6ahRANCAAQk+6gid8SD/sD6KMtnjCuokulwjxqV
vGcj/7O4flpIg3wnsjQIgaiyCDMnoi72c4KQmocvbWZSU3Ls1PXzUVuc
-----END PRIVATE KEY-----
";

    fn check(key: &str, expected: Result<&str, &str>) {
        let found = sign(&CLAIMS, key.as_bytes());
        let found = found
            .map(|token| token.expose().clone())
            .map_err(|error| error.to_string());
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn a_token_is_signed_as_openssl_signs_it() {
        check(APP_KEY, Ok(TOKEN));
        check(APP_KEY_PKCS8, Ok(TOKEN));
        assert_eq!(claims(TOKEN)["iss"], "7");
    }

    #[test]
    fn keys_that_cannot_sign_are_told_apart() {
        let no_key = "invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key";
        check("abc", Err(no_key));
        check("", Err(no_key));
        let other = "key is not a valid RSA private key (2048 to 4096 bits, not encrypted)";
        check(EC_KEY, Err(other));
        check(
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            Err(other),
        );
    }
}
