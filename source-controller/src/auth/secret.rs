//! From the Secret that `spec.secretRef` names (and the user information of the URL) to what the transport sends.
//!
//! Pure: the Secret's data comes in, credentials or the reason why there are none come out. What is secret is kept in a
//! type that cannot be printed. What a cloud or GitHub gives for other keys of the Secret is not known here.

use git::Credentials;
use git::credentials::{Certificate, certificate};
use git::ssh::{self, Identity};
use git::url::{RemoteUrl, Scheme};
use runtime::redact::Redacted;

use super::provider::is_sendable;
use super::{Data, text};

/// Why there are no credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A password, but whose?
    #[error("invalid '{0}' auth option: 'password' requires 'username' to be set")]
    PasswordAlone(&'static str),
    /// Two ways to authenticate at once.
    #[error("basic auth and bearer token cannot be set at the same time")]
    BasicAndBearer,
    /// SSH without something it always needs.
    #[error("invalid 'ssh' auth option: '{0}' is required")]
    SshKeyMissing(&'static str),
    /// SSH with a key or known hosts that cannot be read.
    #[error("unable to construct auth method with options: {0}")]
    SshKey(#[from] ssh::Error),
    /// A key whose value cannot be sent in a header.
    #[error("invalid '{0}' auth option: '{1}' holds characters that cannot be sent")]
    Unsendable(&'static str, &'static str),
    /// `tls.crt` and `tls.key` are no certificate with its key.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
}

/// The credentials for `url` from the Secret's data, empty when there is no Secret.
pub fn credentials(url: &RemoteUrl, secret: &Data) -> Result<Credentials, Error> {
    match url.scheme() {
        Scheme::Ssh => over_ssh(secret),
        Scheme::Http => {
            let credentials = over_http(url, secret)?;
            // Nobody is shown it; Flux fails all the same where it cannot be read.
            certificate(secret)?;
            Ok(credentials)
        }
        Scheme::Https => {
            let credentials = over_http(url, secret)?;
            Ok(Credentials {
                authorities: authorities(secret),
                certificate: certificate(secret)?,
                ..credentials
            })
        }
    }
}

/// The certificates that are trusted beside the system's. An empty `ca.crt` is none.
pub fn authorities(secret: &Data) -> Option<Vec<u8>> {
    ["ca.crt", "caFile"].iter().find_map(|key| filled(secret, key)).cloned()
}

/// The certificate to show to servers that ask for one. Half a pair is none, as for Flux.
pub fn certificate(secret: &Data) -> Result<Option<Certificate>, certificate::Error> {
    match (filled(secret, "tls.crt"), filled(secret, "tls.key")) {
        (Some(chain), Some(key)) => Certificate::new(chain, key).map(Some),
        _ => Ok(None),
    }
}

fn filled<'a>(secret: &'a Data, key: &str) -> Option<&'a Vec<u8>> {
    secret.get(key).filter(|value| !value.is_empty())
}

/// The user's name comes from the URL alone, and the public key is that of the private one.
fn over_ssh(secret: &Data) -> Result<Credentials, Error> {
    let required = |key: &'static str| match text(secret, key) {
        value if value.is_empty() => Err(Error::SshKeyMissing(key)),
        value => Ok(value),
    };
    let (identity, known_hosts) = (required("identity")?, required("known_hosts")?);
    let passphrase = text(secret, "password");
    Ok(Credentials {
        ssh: Some(Identity::new(&identity, Some(&passphrase), &known_hosts)?),
        ..Credentials::default()
    })
}

fn over_http(url: &RemoteUrl, secret: &Data) -> Result<Credentials, Error> {
    let scheme = url.scheme().as_str();
    // The key alone decides: an empty token still switches the Secret's user name off.
    let bearer = secret.contains_key("bearerToken").then(|| text(secret, "bearerToken"));
    let of_secret = |key| {
        if bearer.is_some() {
            String::new()
        } else {
            text(secret, key)
        }
    };
    let or = |own: String, of_url: &Redacted<String>| if own.is_empty() { of_url.expose().clone() } else { own };
    let username = or(of_secret("username"), url.username());
    let password = or(of_secret("password"), url.password());
    let bearer = bearer.filter(|token| !token.is_empty());
    match bearer {
        Some(_) if !(username.is_empty() && password.is_empty()) => Err(Error::BasicAndBearer),
        Some(token) if !is_sendable(&token) => Err(Error::Unsendable(scheme, "bearerToken")),
        Some(token) => Ok(Credentials::bearer(&token)),
        None if username.is_empty() && password.is_empty() => Ok(Credentials::default()),
        None if username.is_empty() => Err(Error::PasswordAlone(scheme)),
        None => Ok(Credentials::basic(&username, &password)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::data;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    /// The header sent and the CA trusted, or the message.
    fn check(url: &str, secret: &[(&str, &str)], expected: Result<(&str, &str), &str>) {
        let url = RemoteUrl::parse(url).unwrap();
        let found = credentials(&url, &data(secret));
        let found = found.map(|c| {
            let header = c.authorization.map(|value| value.expose().clone()).unwrap_or_default();
            let decoded = header
                .strip_prefix("Basic ")
                .and_then(|code| STANDARD.decode(code).ok());
            let header = decoded.map(|text| String::from_utf8(text).unwrap()).unwrap_or(header);
            (header, String::from_utf8(c.authorities.unwrap_or_default()).unwrap())
        });
        let expected = expected
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .map_err(str::to_owned);
        assert_eq!(found.map_err(|e| e.to_string()), expected, "{url} {secret:?}");
    }

    #[test]
    fn basic_auth_comes_from_the_secret_and_then_from_the_url() {
        check("https://h/r", &[], Ok(("", "")));
        check("https://h/r", &[("other", "x")], Ok(("", "")));
        check("https://h/r", &[("username", "a"), ("password", "p")], Ok(("a:p", "")));
        check("http://h/r", &[("username", "a"), ("password", "p")], Ok(("a:p", "")));
        check("https://u:w@h/r", &[], Ok(("u:w", "")));
        check("https://u:w@h/r", &[("username", "a")], Ok(("a:w", "")));
        check("https://h/r", &[("username", "a")], Ok(("a:", "")));
    }

    #[test]
    fn a_password_needs_a_user_name() {
        let message = |scheme| format!("invalid '{scheme}' auth option: 'password' requires 'username' to be set");
        check("http://h/r", &[("password", "p")], Err(&message("http")));
        check("https://h/r", &[("password", "p")], Err(&message("https")));
        check("https://u@h/r", &[("password", "p")], Ok(("u:p", "")));
    }

    #[test]
    fn a_bearer_token_replaces_basic_auth_but_not_that_of_the_url() {
        check("https://h/r", &[("bearerToken", "t")], Ok(("Bearer t", "")));
        check(
            "https://h/r",
            &[("bearerToken", "t"), ("username", "a"), ("password", "p")],
            Ok(("Bearer t", "")),
        );
        check(
            "https://h/r",
            &[("bearerToken", ""), ("username", "a"), ("password", "p")],
            Ok(("", "")),
        );
        let both = "basic auth and bearer token cannot be set at the same time";
        check("https://u:w@h/r", &[("bearerToken", "t")], Err(both));
        let control = "invalid 'https' auth option: 'bearerToken' holds characters that cannot be sent";
        check("https://h/r", &[("bearerToken", "t\n")], Err(control));
    }

    #[test]
    fn a_certificate_authority_counts_over_https_only() {
        check("https://h/r", &[("ca.crt", "new"), ("caFile", "old")], Ok(("", "new")));
        check("https://h/r", &[("caFile", "old")], Ok(("", "old")));
        check("https://h/r", &[("ca.crt", ""), ("caFile", "old")], Ok(("", "old")));
        check("http://h/r", &[("ca.crt", "new")], Ok(("", "")));
    }

    #[test]
    fn a_client_certificate_counts_with_its_key_only() {
        let (chain, key) = (("tls.crt", "no certificate"), ("tls.key", "no key"));
        for half in [&[chain][..], &[key], &[chain, ("tls.key", "")], &[("tls.crt", ""), key]] {
            check("https://h/r", half, Ok(("", "")));
        }
        let text = "tls: failed to find any PEM data in certificate input: a CERTIFICATE block is expected";
        check("https://h/r", &[chain, key], Err(text));
        check("http://h/r", &[chain, key], Err(text));
    }

    #[test]
    fn ssh_says_what_is_missing() {
        check(
            "ssh://h/r",
            &[],
            Err("invalid 'ssh' auth option: 'identity' is required"),
        );
        check(
            "ssh://h/r",
            &[("identity", "k")],
            Err("invalid 'ssh' auth option: 'known_hosts' is required"),
        );
        check(
            "ssh://h/r",
            &[("identity", "k"), ("known_hosts", "h")],
            Err("unable to construct auth method with options: the private key cannot be read: Could not read key"),
        );
    }

    #[test]
    fn credentials_do_not_print() {
        let url = RemoteUrl::parse("https://alice:hunter2@h/r").unwrap();
        let credentials = credentials(&url, &Data::new()).unwrap();
        let printed = format!("{url} {url:?} {credentials:?}");
        assert!(
            !printed.contains("hunter2") && !printed.contains("alice") && !printed.contains("aHVudGVyMg"),
            "{printed}"
        );
    }
}
