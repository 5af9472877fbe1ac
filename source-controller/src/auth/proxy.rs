//! From the Secret that `spec.proxySecretRef` names to the proxy on the way.
//!
//! Pure. What a proxy may be like, [`git::credentials::proxy`] knows.

use git::credentials::{Proxy, proxy};

use super::{Data, text};

/// Why there is no proxy. `secret` is the namespace and the name of the Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such Secret.
    #[error("secret '{secret}' not found")]
    NotFound {
        /// Which one.
        secret: String,
    },
    /// It cannot be read.
    #[error("failed to get secret '{secret}': {detail}")]
    Unreadable {
        /// Which one.
        secret: String,
        /// What the API server says.
        detail: String,
    },
    /// It does not say where the proxy is.
    #[error("secret '{secret}': key '{ADDRESS}' not found")]
    NoAddress {
        /// Which one.
        secret: String,
    },
    /// What it says is no proxy.
    #[error("secret '{secret}': {detail}")]
    Address {
        /// Which one.
        secret: String,
        /// What is wrong with it.
        detail: proxy::Error,
    },
}

const ADDRESS: &str = "address";

/// The proxy that a Secret describes; `name` is its namespace and name, for messages. A password without a user name is
/// passed over, as Flux does.
pub fn proxy(secret: &Data, name: &str) -> Result<Proxy, Error> {
    if !secret.contains_key(ADDRESS) {
        return Err(Error::NoAddress {
            secret: name.to_owned(),
        });
    }
    let username = text(secret, "username");
    let password = if username.is_empty() {
        String::new()
    } else {
        text(secret, "password")
    };
    Proxy::new(&text(secret, ADDRESS), &username, &password).map_err(|detail| Error::Address {
        secret: name.to_owned(),
        detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::data;

    type Described<'a> = (&'a str, Option<(&'a str, &'a str)>);

    /// Where it is and who asks; or the message.
    fn check(secret: &[(&str, &str)], expected: Result<Described, &str>) {
        let found = proxy(&data(secret), "ns/way");
        let found = found.as_ref().map(|proxy| (proxy.address(), proxy.login()));
        assert_eq!(
            found.map_err(ToString::to_string),
            expected.map_err(str::to_owned),
            "{secret:?}"
        );
    }

    #[test]
    fn an_address_is_all_it_takes() {
        check(&[("address", "http://proxy:3128")], Ok(("http://proxy:3128/", None)));
        check(
            &[
                ("address", "socks5://proxy:1080"),
                ("username", "me"),
                ("password", "s3cret"),
            ],
            Ok(("socks5://proxy:1080", Some(("me", "s3cret")))),
        );
        check(
            &[("address", "https://u:p@proxy"), ("password", "s3cret")],
            Ok(("https://proxy/", Some(("u", "p")))),
        );
    }

    #[test]
    fn what_is_wrong_names_the_secret() {
        check(&[("username", "me")], Err("secret 'ns/way': key 'address' not found"));
        check(&[("address", "")], Err("secret 'ns/way': proxy address is empty"));
        check(
            &[("address", "ssh://proxy")],
            Err("secret 'ns/way': proxy URL must use one of the supported schemes (http, https, socks5), got 'ssh'"),
        );
    }
}
