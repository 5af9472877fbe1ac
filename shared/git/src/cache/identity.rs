//! The names of entries: the same for the same address and the same credentials, and no help in finding out what these are.
//!
//! A name is a keyed hash (HMAC-SHA-256) with a secret of the directory. Everything counts that a request is told apart by: the
//! address without user information, what authenticates the client, and what the server is recognised by. Who asks with
//! credentials that change all the time (tokens that are valid for an hour) says in
//! [`Credentials::identity`] who is behind them, which then counts instead of the token.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::credentials::Credentials;
use crate::pack::hex;
use crate::url::RemoteUrl;

/// What else makes names; for another meaning of the same parts.
const PURPOSE: &str = "sluice git cache 1";

/// The name of the entry for a remote and who asks.
pub fn name(salt: &[u8], remote: &RemoteUrl, credentials: &Credentials) -> String {
    // Keys of every length are taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(salt) else {
        return String::new();
    };
    // Lengths keep the parts apart.
    let mut part = |label: &str, bytes: &[u8]| {
        for bytes in [label.as_bytes(), bytes] {
            mac.update(&(bytes.len() as u64).to_be_bytes());
            mac.update(bytes);
        }
    };
    part("purpose", PURPOSE.as_bytes());
    part("remote", remote.bare().as_bytes());
    credentials.distinguish(&mut part);
    hex(&mac.finalize().into_bytes())
}

/// Whether it is a name of this kind.
pub fn is_name(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Proxy;

    /// Whether two who ask share an entry.
    fn check(one: (&str, Credentials), other: (&str, Credentials), shared: bool) {
        let of = |(url, credentials): &(&str, Credentials)| {
            let remote = RemoteUrl::parse(url).unwrap();
            let name = name(b"salt", &remote, credentials);
            assert!(is_name(&name), "{name}");
            name
        };
        assert_eq!(of(&one) == of(&other), shared, "{one:?} {other:?}");
    }

    fn behind(identity: &str, token: &str) -> Credentials {
        Credentials {
            identity: Some(identity.to_owned()),
            ..Credentials::bearer(token)
        }
    }

    #[test]
    fn only_equal_credentials_for_the_same_address_share() {
        let nobody = Credentials::default;
        let alice = || Credentials::basic("alice", "pw");
        check(("https://h/r", nobody()), ("https://h/r", nobody()), true);
        check(("https://h/r", nobody()), ("https://h/s", nobody()), false);
        check(("https://h/r", nobody()), ("http://h/r", nobody()), false);
        check(("https://h/r", alice()), ("https://h/r", alice()), true);
        check(("https://h/r", alice()), ("https://h/r", nobody()), false);
        check(
            ("https://h/r", alice()),
            ("https://h/r", Credentials::basic("alice", "PW")),
            false,
        );
        check(
            ("https://h/r", alice()),
            ("https://h/r", Credentials::bearer("pw")),
            false,
        );
        let trusting = Credentials {
            authorities: Some(b"pem".to_vec()),
            ..nobody()
        };
        check(("https://h/r", trusting), ("https://h/r", nobody()), false);
        let through = |login: (&str, &str)| Credentials {
            proxy: Some(Proxy::new("http://proxy:3128", login.0, login.1).unwrap()),
            ..nobody()
        };
        let url = "https://h/r";
        check((url, through(("", ""))), (url, nobody()), false);
        check((url, through(("me", "a"))), (url, through(("me", "b"))), false);
        check((url, through(("me", "a"))), (url, through(("me", "a"))), true);
        // The user information is part of the credentials, not of the address.
        check(("https://alice:pw@h/r", alice()), ("https://h/r", alice()), true);
    }

    #[test]
    fn who_is_behind_a_token_counts_instead_of_the_token() {
        check(
            ("https://h/r", behind("app/1", "a")),
            ("https://h/r", behind("app/1", "b")),
            true,
        );
        check(
            ("https://h/r", behind("app/1", "a")),
            ("https://h/r", behind("app/2", "a")),
            false,
        );
        check(
            ("https://h/r", behind("Bearer a", "x")),
            ("https://h/r", Credentials::bearer("a")),
            false,
        );
    }

    #[test]
    fn another_directory_has_other_names() {
        let remote = RemoteUrl::parse("https://h/r").unwrap();
        let of = |salt: &[u8]| name(salt, &remote, &Credentials::bearer("t0ken"));
        assert_ne!(of(b"one"), of(b"two"));
    }
}
