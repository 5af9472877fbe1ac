//! Who asks: what the transports send to be let in. What is secret is kept in a type that cannot be printed.

pub mod certificate;
pub mod proxy;

use artifact::Redacted;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::ssh::Identity;
use crate::url::{RemoteUrl, Scheme};
pub use certificate::Certificate;
pub use proxy::Proxy;

/// What a transport needs to be let in; the default is to ask as nobody.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The value of the `Authorization` header over http and https. It is sent to the remote's host and to no other.
    pub authorization: Option<Redacted<String>>,
    /// Certificates (PEM) trusted beside the system's, for https. What is no certificate there is passed over: the handshake
    /// then fails for want of an authority.
    pub authorities: Option<Vec<u8>>,
    /// The certificate that is shown to a server which asks for one, for https. It is shown to the remote's host and to no
    /// other, but for an https proxy on the way that asks.
    pub certificate: Option<Certificate>,
    /// The key that logs in over ssh.
    pub ssh: Option<Identity>,
    /// Who is behind an authorization that changes all the time, such as `github-app/1234/installation/56`. Those with the same
    /// identity share what was fetched for them, whatever their tokens are. It is no secret.
    pub identity: Option<String>,
    /// The proxy on the way; without one what the environment of the process says counts.
    pub proxy: Option<Proxy>,
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

    /// What of it may be used where a server of somebody else's choosing is talked to: which authorities are trusted and which
    /// proxy leads out. Nothing tells who asks.
    pub fn for_other_hosts(&self) -> Self {
        Self {
            authorities: self.authorities.clone(),
            proxy: self.proxy.clone(),
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

    /// Hands over, part by part, what makes these credentials different from others.
    pub(crate) fn distinguish(&self, part: &mut dyn FnMut(&str, &[u8])) {
        match (&self.identity, &self.authorization) {
            (Some(identity), _) => part("identity", identity.as_bytes()),
            (None, Some(authorization)) => part("authorization", authorization.expose().as_bytes()),
            (None, None) => {}
        }
        if let Some(authorities) = &self.authorities {
            part("authorities", authorities);
        }
        if let Some(certificate) = &self.certificate {
            part("certificate", certificate.chain());
        }
        if let Some(ssh) = &self.ssh {
            part("ssh", ssh.mark());
        }
        // Behind another proxy the same address may be another server.
        if let Some(proxy) = &self.proxy {
            let (username, password) = proxy.login().unwrap_or_default();
            part("proxy", proxy.address().as_bytes());
            part("proxy user", username.as_bytes());
            part("proxy password", password.as_bytes());
        }
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
