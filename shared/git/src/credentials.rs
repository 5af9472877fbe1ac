//! Who asks: what the transports send to be let in. What is secret is kept in a type that cannot be printed.

use artifact::Redacted;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::ssh::Identity;
use crate::url::{RemoteUrl, Scheme};

/// What a transport needs to be let in; the default is to ask as nobody.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The value of the `Authorization` header over http and https. It is sent to the remote's host and to no other.
    pub authorization: Option<Redacted<String>>,
    /// Certificates (PEM) trusted beside the system's, for https.
    pub authorities: Option<Vec<u8>>,
    /// The key that logs in over ssh.
    pub ssh: Option<Identity>,
}

impl Credentials {
    /// A user name and a password, over http and https.
    pub fn basic(username: &str, password: &str) -> Self {
        let header = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
        Self {
            authorization: Some(Redacted::new(header)),
            ..Self::default()
        }
    }

    /// A token, over http and https. It must hold visible ASCII characters only, else the server sees no token.
    pub fn bearer(token: &str) -> Self {
        Self {
            authorization: Some(Redacted::new(format!("Bearer {token}"))),
            ..Self::default()
        }
    }

    /// The user information in an http or https URL; nobody where there is none.
    pub fn of_url(url: &RemoteUrl) -> Self {
        let (username, password) = (url.username().expose(), url.password().expose());
        if url.scheme() == Scheme::Ssh || (username.is_empty() && password.is_empty()) {
            return Self::default();
        }
        Self::basic(username, password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Option<&str>) {
        let credentials = Credentials::of_url(&RemoteUrl::parse(url).unwrap());
        let sent = credentials.authorization.as_ref().map(|value| value.expose().as_str());
        assert_eq!(sent, expected, "{url}");
        assert!(!format!("{credentials:?}").contains("Basic"), "{credentials:?}");
    }

    #[test]
    fn the_user_information_of_a_url_is_basic_authentication() {
        check("https://host/r", None);
        check("https://u:w@host/r", Some("Basic dTp3"));
        check("https://token@host/r", Some("Basic dG9rZW46"));
        check("ssh://git@host/r", None);
    }
}
