//! Where a client may go: which hosts, and whether addresses that the internet does not route are among them.
//!
//! Who writes a URL is often not who runs the process, and the process stands where the writer does not: beside cloud metadata
//! services, cluster-internal APIs and localhost. Hosts are judged by their name before anything is sent; addresses after the
//! name was resolved and in the same step as they are dialled, so that a name cannot mean one address when it is judged and
//! another when it is used. Redirects are judged like first requests.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use crate::credentials::Proxy;

/// Where a client may go. The default is everywhere.
///
/// Hosts are written `example.com` (that host), `*.example.com` (every host below it), or either with `:PORT`; addresses as
/// they are in URLs (`192.0.2.1`, `[2001:db8::1]:8443`). Case and a trailing dot do not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The hosts that may be talked to; every host when absent.
    pub hosts: Option<Vec<String>>,
    /// Whether addresses may be dialled that are not public: loopback, private, link-local, shared, documentation, multicast
    /// and the like, also inside of IPv6 forms. Where they may not, proxies that the environment names are not used either:
    /// what a proxy dials cannot be seen from here.
    pub private_addresses: bool,
    /// Hosts that may have such addresses all the same.
    pub trusted_hosts: Vec<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            hosts: None,
            private_addresses: true,
            trusted_hosts: Vec::new(),
        }
    }
}

/// Somewhere the policy does not allow to go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The host is not in the list.
    #[error("host '{0}' is not among the allowed hosts")]
    Host(String),
    /// An address the internet does not route.
    #[error("host '{host}' has the address {address}, which is not public: only public addresses are allowed")]
    Address {
        /// The host as it was written.
        host: String,
        /// Its address.
        address: IpAddr,
    },
    /// A way on which the address cannot be seen.
    #[error("the proxy '{0}' cannot be used: only public addresses are allowed, and what a proxy dials cannot be seen")]
    Proxy(String),
}

impl Policy {
    /// Public addresses only, of any host.
    pub fn public() -> Self {
        Self {
            private_addresses: false,
            ..Self::default()
        }
    }

    /// Judges the host of a URL, and its address where it is written as one.
    ///
    /// # Errors
    /// The URL leads to where it may not.
    pub fn check_url(&self, url: &Url) -> Result<(), Refusal> {
        let host = url.host_str().unwrap_or_default();
        self.check_host(host, url.port_or_known_default().unwrap_or_default())?;
        match literal(host) {
            Some(address) => self.check_address(host, address),
            None => Ok(()),
        }
    }

    /// Judges a host by its name.
    ///
    /// # Errors
    /// It is not in the list.
    pub fn check_host(&self, host: &str, port: u16) -> Result<(), Refusal> {
        match &self.hosts {
            Some(hosts) if !is_among(hosts, host, Some(port)) => Err(Refusal::Host(host.to_owned())),
            _ => Ok(()),
        }
    }

    /// Judges an address of a host.
    ///
    /// # Errors
    /// It is not public, and has to be.
    pub fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Refusal> {
        if self.private_addresses || is_public(address) || is_among(&self.trusted_hosts, host, None) {
            return Ok(());
        }
        let host = host.to_owned();
        Err(Refusal::Address { host, address })
    }

    /// Judges the use of a proxy.
    ///
    /// # Errors
    /// Addresses count, and behind a proxy nobody knows them.
    pub fn check_proxy(&self, proxy: &Proxy) -> Result<(), Refusal> {
        if self.private_addresses {
            return Ok(());
        }
        Err(Refusal::Proxy(proxy.address().to_owned()))
    }

    /// The addresses of a host that may be dialled, at least one.
    ///
    /// # Errors
    /// The name cannot be resolved, or leads to where it may not ([`Refusal`] inside, of kind `PermissionDenied`).
    pub async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let (mut allowed, mut refused) = (Vec::new(), None);
        for address in tokio::net::lookup_host((name, port)).await? {
            match self.check_address(host, address.ip()) {
                Ok(()) => allowed.push(address),
                Err(refusal) => refused = Some(refusal),
            }
        }
        match refused {
            _ if !allowed.is_empty() => Ok(allowed),
            Some(refusal) => Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal)),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
        }
    }

    /// Makes an HTTP client dial allowed addresses only. The client must not follow redirects by itself, and each URL has to
    /// pass [`Policy::check_url`] before it is asked: addresses that are written in a URL are not resolved.
    pub fn apply(&self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        if self.private_addresses {
            return builder;
        }
        builder.no_proxy().dns_resolver(Resolver(Arc::new(self.clone())))
    }
}

/// The policy as the resolver of an HTTP client.
struct Resolver(Arc<Policy>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.0);
        Box::pin(async move {
            // Port 0: the client fills in that of the URL.
            let addresses = policy.resolve(name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The address a host is written as, if it is.
fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether a host is in a list. Without a port, entries that name one count for the host as a whole.
fn is_among(list: &[String], host: &str, port: Option<u16>) -> bool {
    let host = normal(host);
    list.iter().any(|entry| {
        let (name, entry_port) = match entry.rsplit_once(':') {
            Some((name, digits)) if !name.contains(':') || name.ends_with(']') => (name, digits.parse::<u16>().ok()),
            _ => (entry.as_str(), None),
        };
        let name = normal(name);
        let is_named = match name.strip_prefix("*.") {
            Some(parent) => host
                .strip_suffix(parent)
                .is_some_and(|below| below.len() > 1 && below.ends_with('.')),
            None => host == name,
        };
        is_named && port.is_none_or(|port| entry_port.is_none_or(|entry_port| entry_port == port))
    })
}

fn normal(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Whether the internet routes the address.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let special = match (a, b, c) {
        // This network, multicast, reserved and broadcast.
        (0 | 224.., _, _) => true,
        // Addresses shared between a provider and its customers.
        (100, 64..=127, _) => true,
        // Where a cloud tells its machines their secrets, on a public address.
        (168, 63, 129) => d == 16,
        // Protocol assignments, the former relays of 6to4, benchmarks.
        (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _) => true,
        _ => false,
    };
    !(special || address.is_loopback() || address.is_private() || address.is_link_local() || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // An IPv4 address as such, behind a translator, and in 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Protocol assignments (Teredo among them) and documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &Policy, url: &str, expected: Result<(), &str>) {
        let found = policy.check_url(&Url::parse(url).unwrap());
        assert_eq!(
            found.map_err(|e| e.to_string()),
            expected.map_err(str::to_owned),
            "{url}"
        );
    }

    #[test]
    fn everything_goes_by_default() {
        for url in ["http://127.0.0.1/", "https://anywhere/", "ssh://[::1]/x"] {
            check(&Policy::default(), url, Ok(()));
        }
    }

    #[test]
    fn hosts_are_those_of_the_list() {
        let policy = Policy {
            hosts: Some(
                ["example.com", "*.Example.org", "git.test:8443", "[::1]:22"]
                    .map(str::to_owned)
                    .to_vec(),
            ),
            ..Policy::default()
        };
        check(&policy, "https://example.com/x", Ok(()));
        check(&policy, "https://EXAMPLE.com.:444/x", Ok(()));
        check(&policy, "https://a.b.example.org/", Ok(()));
        check(&policy, "https://git.test:8443/", Ok(()));
        check(&policy, "ssh://[::1]:22/", Ok(()));
        let refused = |url: &str, host: &str| {
            check(
                &policy,
                url,
                Err(&format!("host '{host}' is not among the allowed hosts")),
            );
        };
        refused("https://www.example.com/", "www.example.com");
        refused("https://example.org/", "example.org");
        refused("https://evilexample.org/", "evilexample.org");
        refused("https://git.test/", "git.test");
        refused("ssh://[::1]:23/", "[::1]");
    }

    #[test]
    fn addresses_that_are_not_public_are_told_from_those_that_are() {
        let private = "0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 127.9.9.9 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8 \
                       168.63.129.16 192.0.2.1 192.168.1.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 240.0.0.1 255.255.255.255 \
                       :: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 fe80::1 fc00::1 fd12::1 ff02::1 2001:db8::1 \
                       2001::1 2002:7f00:1:: 2002:a00:1:: 64:ff9b::a00:1 64:ff9b:1::1 3fff::1 fec0::1";
        for text in private.split_whitespace() {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        let public = "1.1.1.1 8.8.8.8 100.63.0.1 100.128.0.1 172.15.0.1 172.32.0.1 192.0.1.1 198.17.0.1 223.255.255.1 \
                      168.63.129.15 2606:4700::1111 2a00:1450::1 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1 2001:200::1";
        for text in public.split_whitespace() {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn an_address_in_a_url_is_judged_however_it_is_written() {
        let policy = Policy::public();
        let refused = |url: &str, host: &str, address: &str| {
            let rest = "which is not public: only public addresses are allowed";
            check(
                &policy,
                url,
                Err(&format!("host '{host}' has the address {address}, {rest}")),
            );
        };
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
        ] {
            refused(url, "127.0.0.1", "127.0.0.1");
        }
        refused("http://[::ffff:7f00:1]/", "[::ffff:7f00:1]", "::ffff:127.0.0.1");
        check(&policy, "http://1.1.1.1/", Ok(()));
        let trusting = Policy {
            trusted_hosts: vec!["127.0.0.1:99".to_owned()],
            ..policy.clone()
        };
        check(&trusting, "http://127.0.0.1/", Ok(()));
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_resolves_to() {
        let error = Policy::public().resolve("localhost", 80).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("which is not public"), "{error}");
        // What getaddrinfo takes for an address, too.
        assert!(Policy::public().resolve("127.1", 80).await.is_err());
        let trusting = Policy {
            trusted_hosts: vec!["localhost".to_owned()],
            ..Policy::public()
        };
        assert!(!trusting.resolve("localhost", 80).await.unwrap().is_empty());
        assert!(!Policy::default().resolve("[::1]", 80).await.unwrap().is_empty());
    }
}
