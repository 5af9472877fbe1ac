//! The URL of a remote: what may be fetched from, and how it is shown.
//!
//! Credentials in a URL work, but they are secrets: [`RemoteUrl`] takes them out when it parses, and its text form, which goes
//! into every condition, event and log line, has `***` in their place. A URL that cannot be parsed is shown the same way.

use std::fmt;

use runtime::redact::Redacted;
use url::Url;

/// How a remote is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Smart HTTP without TLS.
    Http,
    /// Smart HTTP over TLS.
    Https,
    /// SSH.
    Ssh,
}

impl Scheme {
    /// The word in front of `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ssh => "ssh",
        }
    }
}

/// The URL of a repository, its credentials set apart.
#[derive(Clone)]
pub struct RemoteUrl {
    scheme: Scheme,
    shown: String,
    bare: Url,
    username: Redacted<String>,
    password: Redacted<String>,
}

/// A URL nothing can be fetched from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse url '{shown}': {detail}")]
pub struct Error {
    /// The URL without its credentials.
    pub shown: String,
    /// What is wrong with it.
    pub detail: String,
}

impl RemoteUrl {
    /// Parses `spec.url`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let shown = redact(text);
        let refuse = |detail: String| Error {
            shown: shown.clone(),
            detail,
        };
        let mut bare = Url::parse(text).map_err(|error| refuse(error.to_string()))?;
        let scheme = match bare.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "ssh" => Scheme::Ssh,
            other => {
                return Err(refuse(format!(
                    "scheme '{other}' is not supported: use http, https or ssh"
                )));
            }
        };
        if bare.host_str().is_none_or(str::is_empty) {
            return Err(refuse("it names no host".to_owned()));
        }
        let username = decode(bare.username());
        let password = decode(bare.password().unwrap_or_default());
        let cleared = bare.set_username("").is_ok() && bare.set_password(None).is_ok();
        if !cleared {
            return Err(refuse("its user information cannot be read".to_owned()));
        }
        let (username, password) = (Redacted::new(username), Redacted::new(password));
        Ok(Self {
            scheme,
            shown,
            bare,
            username,
            password,
        })
    }

    /// How the remote is talked to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The URL to ask, without user information, query kept, and without the trailing slashes of the path.
    pub fn bare(&self) -> String {
        self.bare.as_str().trim_end_matches('/').to_owned()
    }

    /// The user name in the URL; empty when there is none.
    pub fn username(&self) -> &Redacted<String> {
        &self.username
    }

    /// The password in the URL; empty when there is none.
    pub fn password(&self) -> &Redacted<String> {
        &self.password
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteUrl({})", self.shown)
    }
}

/// Replaces everything between `://` and the last `@` of the authority.
pub fn redact(text: &str) -> String {
    let Some(start) = text.find("://").map(|at| at + 3) else {
        return text.to_owned();
    };
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |at| start + at);
    match text[start..end].rfind('@') {
        Some(at) => format!("{}***{}", &text[..start], &text[start + at..]),
        None => text.to_owned(),
    }
}

fn decode(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked, what is shown and who asks; or the message.
    fn check(text: &str, expected: Result<[&str; 4], &str>) {
        let found = RemoteUrl::parse(text);
        let found = found.map(|u| {
            [
                u.bare(),
                u.to_string(),
                u.username.expose().clone(),
                u.password.expose().clone(),
            ]
        });
        assert_eq!(
            found.map_err(|e| e.to_string()),
            expected.map(|e| e.map(str::to_owned)).map_err(str::to_owned),
            "{text}"
        );
    }

    #[test]
    fn user_information_is_taken_out_and_never_shown() {
        check(
            "https://host/a.git",
            Ok(["https://host/a.git", "https://host/a.git", "", ""]),
        );
        check(
            "http://alice:s3%2Fcret@host:8080/a",
            Ok(["http://host:8080/a", "http://***@host:8080/a", "alice", "s3/cret"]),
        );
        check(
            "https://token@host/a/",
            Ok(["https://host/a", "https://***@host/a/", "token", ""]),
        );
        check(
            "https://host/a@b.git",
            Ok(["https://host/a@b.git", "https://host/a@b.git", "", ""]),
        );
    }

    #[test]
    fn what_cannot_be_fetched_from_is_refused_without_its_password() {
        check(
            "file:///etc",
            Err("failed to parse url 'file:///etc': scheme 'file' is not supported: use http, https or ssh"),
        );
        check(
            "https://a:b@host:port/x",
            Err("failed to parse url 'https://***@host:port/x': invalid port number"),
        );
        check("https://", Err("failed to parse url 'https://': empty host"));
        check(
            "git@host:x/y",
            Err("failed to parse url 'git@host:x/y': relative URL without a base"),
        );
    }
}
