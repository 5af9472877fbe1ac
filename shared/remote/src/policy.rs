//! What may be fetched, from where, and how much of it: a value that somebody in charge chooses.

use std::io;
use std::time::Duration;

use git::policy::Refusal;
use reqwest::Url;

/// Where remote bases may come from, and what they may cost.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The hosts that may be asked, and whether those that are not public are among them.
    pub reach: Reach,
    /// How much is too much.
    pub limits: Limits,
    /// What whoever is refused can do about it.
    pub switches: Switches,
}

pub use git::Policy as Reach;

/// Bounds of the fetches of one build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes received by one build, of all its remote bases together.
    pub bytes: u64,
    /// The longest that one fetch may take, whatever its URL asks for.
    pub fetch_time: Duration,
    /// The longest that all fetches of one build may take together.
    pub build_time: Duration,
    /// Redirects that are followed on the way to a file.
    pub redirects: usize,
    /// Fetches of one build.
    pub fetches: usize,
}

impl Default for Limits {
    /// 512 MiB, 2 minutes, 5 minutes, 10 redirects, 1000 fetches.
    fn default() -> Self {
        Self {
            bytes: 512 << 20,
            fetch_time: Duration::from_secs(120),
            build_time: Duration::from_secs(300),
            redirects: 10,
            fetches: 1000,
        }
    }
}

/// The names of the switches that lift a refusal, for its text.
#[derive(Clone, Copy, Debug)]
pub struct Switches {
    /// The one that admits a host.
    pub host: &'static str,
    /// The one that admits addresses that are not public.
    pub private_addresses: &'static str,
}

impl Policy {
    /// Whether a URL may be asked over HTTP, as far as its host's name or literal address tells. A name is judged again by what
    /// it resolves to, when it is dialled.
    ///
    /// # Errors
    /// Why not, and what to do about it.
    pub(crate) fn admit(&self, url: &Url) -> Result<(), String> {
        match url.scheme() {
            "http" | "https" => self.reach.check_url(url).map_err(|refusal| self.refused(&refusal)),
            scheme => Err(format!("scheme '{scheme}' is not http or https")),
        }
    }

    /// The words for a refusal. They do not say to which address a name leads: who may not ask it need not know.
    pub(crate) fn refused(&self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::Host(host) => format!(
                "host '{host}' is not among those that may be asked: {} adds it",
                self.switches.host
            ),
            Refusal::Address { host, .. } => format!(
                "host '{host}' has an address that is not public, which may not be asked: {} allows it",
                self.switches.private_addresses
            ),
            Refusal::Proxy(_) => refusal.to_string(),
        }
    }
}

/// The refusal that is the cause of an error, if one is.
pub(crate) fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Refusal> {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner
        .and_then(|inner| inner.downcast_ref())
        .or_else(|| error.downcast_ref())
        .or_else(|| error.source().and_then(refusal))
}

/// Checks an entry for [`Reach::hosts`] or [`Reach::trusted_hosts`]: `example.com`, `*.example.com`, an address, each with
/// `:PORT` or without.
///
/// # Errors
/// It is none of these: a URL, for one.
pub fn host(text: &str) -> Result<String, String> {
    let expected = "a host's name, '*.' and a domain, or an address is expected, with ':PORT' or without";
    // As the host of a URL it has to be what it was.
    let name = text.strip_prefix("*.").unwrap_or(text);
    let url = Url::parse(&format!("https://{name}/")).map_err(|error| format!("{error}: {expected}"))?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = format!("{}{port}", url.host_str().unwrap_or_default());
    match host.eq_ignore_ascii_case(name.trim_end_matches(":443")) {
        true => Ok(text.to_owned()),
        false => Err(expected.to_owned()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A policy with an allow-list, unless that is empty.
    pub(crate) fn policy(hosts: &[&str], private_addresses: bool) -> Policy {
        Policy {
            reach: Reach {
                hosts: (!hosts.is_empty()).then(|| hosts.iter().map(|host| (*host).to_owned()).collect()),
                private_addresses,
                trusted_hosts: Vec::new(),
            },
            limits: Limits::default(),
            switches: Switches {
                host: "--host",
                private_addresses: "--private",
            },
        }
    }

    #[track_caller]
    fn check(entry: &str, expected: bool) {
        assert_eq!(host(entry).is_ok_and(|same| same == entry), expected, "{entry}");
    }

    #[test]
    fn what_is_no_host_is_no_entry() {
        for entry in [
            "github.com",
            "GitHub.com",
            "*.example.com",
            "git.test:8443",
            "a:443",
            "1.2.3.4",
            "[::1]",
            "[::1]:22",
        ] {
            check(entry, true);
        }
        for entry in [
            "",
            "*.",
            "https://github.com",
            "github.com/a",
            "u@h",
            "a:b",
            "a b",
            "h?x",
            "::1",
        ] {
            check(entry, false);
        }
    }
}
