//! A proxy that somebody names for the remotes of theirs, and who asks it.

use artifact::Redacted;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use url::Url;

use crate::url::{decode, fault, names_no_host, shown};

/// No address is longer, in bytes.
pub const MAX_ADDRESS: usize = 2048;
/// No user name and no password is longer in the protocol of socks5, in bytes.
const MAX_SOCKS_WORD: usize = 255;
const SOCKS_PORT: u16 = 1080;

/// A proxy and who asks it. It stands above what the environment of the process says. Printed, it shows its address alone.
///
/// Names are resolved by the proxy, in every kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    kind: Kind,
    /// Without user information.
    url: Url,
    username: Redacted<String>,
    password: Redacted<String>,
}

/// What is spoken with the proxy itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    Https,
    Socks5,
}

/// Why there is no proxy. No credentials are in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address is empty.
    #[error("proxy address is empty")]
    Empty,
    /// The address is longer than [`MAX_ADDRESS`].
    #[error("proxy URL exceeds maximum length of {MAX_ADDRESS} characters")]
    Long,
    /// It is not a URL with a host.
    #[error("failed to parse proxy address '{shown}': {detail}")]
    Address {
        /// The address without its credentials.
        shown: String,
        /// What is wrong with it.
        detail: String,
    },
    /// It is of another kind.
    #[error("proxy URL must use one of the supported schemes (http, https, socks5), got '{0}'")]
    Scheme(String),
    /// They are longer than the protocol allows.
    #[error("the user name and the password for a socks5 proxy have at most 255 bytes each")]
    Credentials,
}

impl Proxy {
    /// Reads the address of a proxy (`http://host:port`, `https://host:port` or `socks5://host:port`). An empty user name and
    /// an empty password leave what the address says of them.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(address: &str, username: &str, password: &str) -> Result<Self, Error> {
        if address.is_empty() {
            return Err(Error::Empty);
        }
        if address.len() > MAX_ADDRESS {
            return Err(Error::Long);
        }
        let refuse = |detail: String| Error::Address {
            shown: shown(address),
            detail,
        };
        if let Some(fault) = fault(address) {
            return Err(refuse(fault.to_owned()));
        }
        if address.trim() != address {
            return Err(refuse("it begins or ends with a blank".to_owned()));
        }
        let mut url = Url::parse(address).map_err(|error| refuse(error.to_string()))?;
        let kind = match url.scheme() {
            "http" => Kind::Http,
            "https" => Kind::Https,
            "socks5" => Kind::Socks5,
            other => return Err(Error::Scheme(other.to_owned())),
        };
        if names_no_host(address) || url.host_str().is_none_or(str::is_empty) {
            return Err(refuse("it names no host".to_owned()));
        }
        let in_address = (decode(url.username()), decode(url.password().unwrap_or_default()));
        let (username, password) = match (username, password) {
            ("", "") => in_address,
            (username, password) => (username.to_owned(), password.to_owned()),
        };
        if kind == Kind::Socks5 && (username.len() > MAX_SOCKS_WORD || password.len() > MAX_SOCKS_WORD) {
            return Err(Error::Credentials);
        }
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return Err(refuse("its user information cannot be read".to_owned()));
        }
        Ok(Self {
            kind,
            url,
            username: Redacted::new(username),
            password: Redacted::new(password),
        })
    }

    /// Where it is, without user information.
    pub fn address(&self) -> &str {
        self.url.as_str()
    }

    /// What is spoken with it.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The user name and the password it is to be told, if it is to be told any.
    pub fn login(&self) -> Option<(&str, &str)> {
        let (username, password) = (self.username.expose().as_str(), self.password.expose().as_str());
        let is_nobody = username.is_empty() && password.is_empty();
        (!is_nobody).then_some((username, password))
    }

    /// Its host, an IPv6 address without brackets, and its port.
    pub(crate) fn place(&self) -> (&str, u16) {
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default().unwrap_or(SOCKS_PORT);
        (host.trim_start_matches('[').trim_end_matches(']'), port)
    }

    /// What an HTTP client takes.
    ///
    /// # Errors
    /// The client does not take the address.
    pub(crate) fn for_http(&self) -> reqwest::Result<reqwest::Proxy> {
        let mut url = self.url.clone();
        match self.kind {
            Kind::Http | Kind::Https => {
                let proxy = reqwest::Proxy::all(url)?;
                let Some((username, password)) = self.login() else {
                    return Ok(proxy);
                };
                // Base64 is always fit for a header.
                let text = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
                Ok(match HeaderValue::from_str(&text) {
                    Ok(mut value) => {
                        value.set_sensitive(true);
                        proxy.custom_http_auth(value)
                    }
                    Err(_) => proxy,
                })
            }
            Kind::Socks5 => {
                if let Some((username, password)) = self.login() {
                    // Neither fails for a URL that has a host.
                    let _ = url.set_username(&encode(username));
                    let _ = url.set_password(Some(&encode(password)));
                }
                // This word is the one with which the client leaves names to the proxy.
                reqwest::Proxy::all(url.as_str().replacen("socks5://", "socks5h://", 1))
            }
        }
    }
}

/// Percent-encodes every byte that is not a letter or a digit: what is decoded at the other end is what was meant.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    type Shown<'a> = (&'a str, Option<(&'a str, &'a str)>);

    /// The address and who asks; or the message.
    fn check(address: &str, login: (&str, &str), expected: Result<Shown, &str>) {
        let found = Proxy::new(address, login.0, login.1);
        if let Ok(proxy) = &found {
            assert!(!format!("{proxy:?}").contains("s3cret"), "{proxy:?}");
            assert!(proxy.for_http().is_ok(), "{address}");
        }
        let found = found.as_ref().map(|proxy| (proxy.address(), proxy.login()));
        assert_eq!(
            found.map_err(ToString::to_string),
            expected.map_err(str::to_owned),
            "{address}"
        );
    }

    #[test]
    fn an_address_and_a_login_make_a_proxy() {
        check("http://proxy:3128", ("", ""), Ok(("http://proxy:3128/", None)));
        check(
            "https://proxy",
            ("me", "s3cret"),
            Ok(("https://proxy/", Some(("me", "s3cret")))),
        );
        check(
            "socks5://[::1]:1080",
            ("me", ""),
            Ok(("socks5://[::1]:1080", Some(("me", "")))),
        );
        check(
            "http://u:s3cret%40@proxy:1",
            ("", ""),
            Ok(("http://proxy:1/", Some(("u", "s3cret@")))),
        );
        check(
            "http://u:p@proxy:1",
            ("me", "s3cret"),
            Ok(("http://proxy:1/", Some(("me", "s3cret")))),
        );
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_its_password() {
        check("", ("", ""), Err("proxy address is empty"));
        let text = "proxy URL exceeds maximum length of 2048 characters";
        check(&format!("http://{}", "x".repeat(2042)), ("", ""), Err(text));
        let text = "proxy URL must use one of the supported schemes (http, https, socks5), got 'ftp'";
        check("ftp://u:s3cret@proxy", ("", ""), Err(text));
        let text = "failed to parse proxy address 'http://***@proxy:port': invalid port number";
        check("http://u:s3cret@proxy:port", ("", ""), Err(text));
        let text = "failed to parse proxy address 'proxy': relative URL without a base";
        check("proxy", ("", ""), Err(text));
        let text = "failed to parse proxy address 'socks5://': it names no host";
        check("socks5://", ("", ""), Err(text));
        let text = "failed to parse proxy address 'http:///proxy': it names no host";
        check("http:///proxy", ("", ""), Err(text));
        let text = "proxy URL must use one of the supported schemes (http, https, socks5), got 'socks5h'";
        check("socks5h://proxy:1080", ("", ""), Err(text));
        let text = "failed to parse proxy address ' http://***@proxy': it begins or ends with a blank";
        check(" http://u:s3cret@proxy", ("", ""), Err(text));
        let text = "failed to parse proxy address 'http://***@proxy\\n': it holds a control character";
        check("http://u:s3cret@proxy\n", ("", ""), Err(text));
        let text = "the user name and the password for a socks5 proxy have at most 255 bytes each";
        check("socks5://proxy", ("me", &"x".repeat(256)), Err(text));
    }

    #[test]
    fn the_places_of_proxies_have_their_usual_ports() {
        let place = |address| {
            let proxy = Proxy::new(address, "", "").unwrap();
            let (host, port) = proxy.place();
            format!("{host} {port}")
        };
        assert_eq!(place("socks5://proxy"), "proxy 1080");
        assert_eq!(place("socks5://[::1]:99"), "::1 99");
        assert_eq!(place("https://proxy"), "proxy 443");
    }

    #[test]
    fn what_is_encoded_means_the_same_when_decoded() {
        for text in ["plain", "a%41b", "p@ss:w/ö rd%"] {
            assert_eq!(decode(&encode(text)), text);
        }
    }
}
