//! The proxies that the environment of a process names, for remotes whose owners name none.
//!
//! `HTTPS_PROXY` counts for https and `HTTP_PROXY` for http; `ALL_PROXY` for either where it has none of its own and, when it is
//! a socks5 proxy, for ssh. What `NO_PROXY` lists (hosts with those below them, addresses, networks; `*` for everything) is
//! reached without, and so is this machine itself. Each name may be written in lower case, too.
//!
//! Variables that name no proxy are passed over, as by most programs.

use std::fmt;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{ClientBuilder, NoProxy};

use crate::credentials::Proxy;

/// Nobody reaches this machine through a proxy.
const HERE: &str = "localhost,127.0.0.0/8,::1";

/// What the environment says about proxies; the default is that there are none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    https: String,
    http: String,
    all: String,
    no: String,
}

impl fmt::Debug for Proxies {
    // There may be passwords in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").finish_non_exhaustive()
    }
}

impl Proxies {
    /// What the environment of this process says now.
    pub fn of_environment() -> Self {
        Self::named(|name| std::env::var(name).ok())
    }

    /// What these variables say.
    pub fn named(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            let value = variable(name).or_else(|| variable(&name.to_ascii_lowercase()));
            value.map(|value| value.trim().to_owned()).unwrap_or_default()
        };
        Self {
            https: either("HTTPS_PROXY"),
            http: either("HTTP_PROXY"),
            all: either("ALL_PROXY"),
            no: format!("{HERE},{}", either("NO_PROXY")),
        }
    }

    /// Makes an HTTP client use them, and none that it finds itself.
    pub(crate) fn apply(&self, builder: ClientBuilder) -> ClientBuilder {
        type Make = fn(String) -> reqwest::Result<reqwest::Proxy>;
        let named: [(Make, &str); 3] = [
            (reqwest::Proxy::https, &self.https),
            (reqwest::Proxy::http, &self.http),
            (reqwest::Proxy::all, &self.all),
        ];
        let mut builder = builder.no_proxy();
        for (make, address) in named.into_iter().filter(|(_, address)| !address.is_empty()) {
            // With this word the client leaves names to the proxy, as all others do with the other one.
            let address = address.replacen("socks5://", "socks5h://", 1);
            if let Ok(proxy) = make(address) {
                builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&self.no)));
            }
        }
        builder
    }

    /// The one for ssh to a host.
    pub(crate) fn for_ssh(&self, host: &str, port: u16) -> Option<Proxy> {
        let matcher = Matcher::builder().all(self.all.clone()).no(self.no.clone()).build();
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        // The matcher knows the schemes of http alone; ALL_PROXY counts for each of them.
        let intercept = matcher.intercept(&format!("https://{host}:{port}/").parse().ok()?)?;
        let (username, password) = intercept.raw_auth().unwrap_or_default();
        // The second word is for programs that resolve names themselves with the first one.
        let address = intercept.uri().to_string().replacen("socks5h://", "socks5://", 1);
        let is_socks = address.starts_with("socks5://");
        is_socks
            .then(|| Proxy::new(&address, username, password).ok())
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proxy for ssh to a host, and who asks it.
    fn check(variables: &[(&str, &str)], host: &str, expected: Option<(&str, Option<(&str, &str)>)>) {
        let proxies = Proxies::named(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        let found = proxies.for_ssh(host, 22);
        let found = found.as_ref().map(|proxy| (proxy.address(), proxy.login()));
        assert_eq!(found, expected, "{variables:?} {host}");
    }

    #[test]
    fn ssh_goes_through_the_socks_proxy_for_everything() {
        let all = ("ALL_PROXY", "socks5://me:s3cret@proxy:1080");
        let through = Some(("socks5://proxy:1080/", Some(("me", "s3cret"))));
        check(&[], "git.test", None);
        check(&[all], "git.test", through);
        check(&[("all_proxy", all.1)], "git.test", through);
        check(&[all], "2001:db8::1", through);
        check(&[("ALL_PROXY", "http://proxy:3128")], "git.test", None);
        check(&[("HTTPS_PROXY", all.1)], "git.test", None);
        check(&[("ALL_PROXY", "no proxy")], "git.test", None);
    }

    #[test]
    fn what_is_excepted_is_reached_without() {
        let all = ("ALL_PROXY", "socks5h://proxy:1080");
        let through = Some(("socks5://proxy:1080/", None));
        let no = ("NO_PROXY", "example.com, 10.0.0.0/8,[2001:db8::1]");
        check(&[all, no], "git.test", through);
        check(&[all, no], "example.com", None);
        check(&[all, no], "git.example.com", None);
        check(&[all, no], "notexample.com", through);
        check(&[all, no], "10.1.2.3", None);
        check(&[all, ("no_proxy", "*")], "git.test", None);
        for here in ["localhost", "127.0.0.1", "::1"] {
            check(&[all], here, None);
        }
    }

    #[test]
    fn what_the_environment_says_is_not_printed() {
        let proxies = Proxies::named(|_| Some("http://me:s3cret@proxy".to_owned()));
        assert!(!format!("{proxies:?}").contains("s3cret"));
    }
}
