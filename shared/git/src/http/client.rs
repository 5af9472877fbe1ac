//! The HTTP client for a remote: whom it trusts, what it shows of itself, and by which way it goes.
//!
//! It speaks HTTP/2 where the server does (agreed upon by ALPN) and HTTP/1.1 elsewhere, keeps to a [`Policy`], and follows no
//! redirect by itself.

use std::time::Duration;

use reqwest::Client;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::cause::causes;
use crate::credentials::Credentials;
use crate::policy::Policy;
use crate::proxies::Proxies;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection is kept that nobody uses. A conversation takes no longer between two requests, the next one often comes
/// much later, and each connection takes memory.
const KEPT: Duration = Duration::from_secs(10);
/// How long a server may be silent over HTTP/2 while something is asked before it is asked for a sign of life, and how long it
/// has to give one. A connection that leads nowhere any more would be kept for as long as there is always somebody who asks over
/// it: giving up a question ends its stream, not the connection.
const PULSE: Duration = Duration::from_secs(5);
const PULSE_WITHIN: Duration = Duration::from_secs(10);

/// A client for these credentials. It trusts the system's authorities and those of the credentials, shows their certificate and
/// goes through their proxy, else through one that the environment names. It does not send what logs in over HTTP: that is
/// decided request by request.
///
/// # Errors
/// In words: the policy does not allow the proxy, or the client cannot be set up.
pub fn client(policy: &Policy, proxies: &Proxies, credentials: &Credentials) -> Result<Client, String> {
    let mut builder = Client::builder()
        .user_agent(concat!("git/2.0 (sluice ", env!("CARGO_PKG_VERSION"), ")"))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(KEPT)
        .http2_keep_alive_interval(PULSE)
        .http2_keep_alive_timeout(PULSE_WITHIN)
        .tls_certs_merge(authorities(credentials.authorities.as_deref().unwrap_or_default()));
    if let Some(certificate) = &credentials.certificate {
        builder = builder.identity(certificate.identity());
    }
    builder = match &credentials.proxy {
        None => proxies.apply(builder),
        Some(proxy) => {
            policy.check_proxy(proxy).map_err(|refusal| refusal.to_string())?;
            let proxy = proxy.for_http().map_err(|error| causes(&error))?;
            builder.no_proxy().proxy(proxy)
        }
    };
    policy.apply(builder).build().map_err(|error| causes(&error))
}

/// The certificates in PEM that can be trusted. The rest is passed over, one by one: whoever needed it is told of an unknown
/// authority.
fn authorities(pem: &[u8]) -> Vec<reqwest::Certificate> {
    let mut trusted = RootCertStore::empty();
    let usable = CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .filter(|certificate| trusted.add(certificate.clone()).is_ok());
    usable
        .filter_map(|certificate| reqwest::Certificate::from_der(&certificate).ok())
        .collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "asks the real openssl")]
mod tests {
    use super::*;
    use crate::credentials::Proxy;
    use std::process::Command;

    fn authority() -> String {
        let arguments =
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=ca -days 2";
        let output = Command::new("openssl").args(arguments.split(' ')).output();
        let output = output.expect("openssl is not installed; install your system's package openssl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn check(pem: &str, expected: usize) {
        assert_eq!(authorities(pem.as_bytes()).len(), expected, "{pem}");
    }

    #[test]
    fn authorities_that_cannot_be_read_do_not_spoil_the_others() {
        let (one, other) = (authority(), authority());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check("", 0);
        check("no PEM at all", 0);
        check(broken, 0);
        check(&format!("{one}{other}"), 2);
        check(&format!("# a comment\n{one}{broken}{other}"), 2);
        check(
            &format!("{one}-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n{other}"),
            2,
        );
    }

    #[test]
    fn a_policy_about_addresses_allows_no_proxy() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let credentials = Credentials {
            proxy: Some(Proxy::new("http://me:s3cret@proxy:3128", "", "").unwrap()),
            ..Credentials::default()
        };
        let made = |policy: &Policy| client(policy, &Proxies::default(), &credentials).map(drop);
        assert_eq!(made(&Policy::default()), Ok(()));
        let text = "the proxy 'http://proxy:3128/' cannot be used: only public addresses are allowed, and what a proxy dials \
                    cannot be seen";
        assert_eq!(made(&Policy::public()), Err(text.to_owned()));
    }
}
