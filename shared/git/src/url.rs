//! The URL of a remote: what may be fetched from, and how it is shown.
//!
//! Credentials in a URL work, but they are secrets: [`RemoteUrl`] takes them out when it parses, and its text form, which goes
//! into every condition, event and log line, has `***` in their place. A URL that cannot be parsed is shown the same way.
//! The name of an ssh user is no secret.

use std::fmt;

use artifact::Redacted;
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
    /// What is asked of whom over ssh.
    ssh: Option<SshTarget>,
}

/// The end of a way over ssh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshTarget {
    /// Who logs in, if the URL says so.
    pub user: Option<String>,
    /// The host, an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path as the server gets to see it; one without a slash at its beginning is relative to the home directory.
    pub path: String,
}

const SSH_PORT: u16 = 22;

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
        let shown = shown(text);
        let refuse = |detail: String| Error {
            shown: shown.clone(),
            detail,
        };
        if let Some(fault) = fault(text) {
            return Err(refuse(fault.to_owned()));
        }
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
        if names_no_host(text) || bare.host_str().is_none_or(str::is_empty) {
            return Err(refuse("it names no host".to_owned()));
        }
        let username = decode(bare.username());
        let password = decode(bare.password().unwrap_or_default());
        let cleared = bare.set_username("").is_ok() && bare.set_password(None).is_ok();
        if !cleared {
            return Err(refuse("its user information cannot be read".to_owned()));
        }
        let is_secret = !password.is_empty() || (scheme != Scheme::Ssh && !username.is_empty());
        let shown = if is_secret { hidden(&bare) } else { text.to_owned() };
        let ssh = match scheme {
            Scheme::Http | Scheme::Https => None,
            Scheme::Ssh => Some(SshTarget {
                user: Some(username.clone()).filter(|user| !user.is_empty()),
                host: decode(without_brackets(bare.host_str().unwrap_or_default())),
                port: bare.port().unwrap_or(SSH_PORT),
                path: home_or_root(&decode(bare.path())),
            }),
        };
        Ok(Self {
            scheme,
            shown,
            bare,
            username: Redacted::new(username),
            password: Redacted::new(password),
            ssh,
        })
    }

    /// Parses what git takes for a remote beside a URL, too: `user@host:path`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse_remote(text: &str) -> Result<Self, Error> {
        let is_url = text.contains("://") || text.find(':').is_none_or(|at| text[..at].contains('/'));
        if is_url {
            return Self::parse(text);
        }
        // An address in brackets has colons of its own. The user ends at the last `@` before the path, as for ssh.
        let colon = text.find(':').unwrap_or(text.len());
        let in_brackets = text.find('[').filter(|at| *at < colon).and_then(|_| text.find("]:"));
        let (authority, path) = text.split_at(in_brackets.map_or(colon, |at| at + 1));
        let path = path.strip_prefix(':').unwrap_or(path);
        let (user, host) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(user, host)| (Some(user), host));
        let host = without_brackets(host);
        let refuse = |detail: &str| Error {
            shown: text.to_owned(),
            detail: detail.to_owned(),
        };
        if host.is_empty() || path.is_empty() {
            return Err(refuse("it names no host or no path"));
        }
        let in_brackets = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let bare = Url::parse(&format!("ssh://{in_brackets}/")).map_err(|error| refuse(&error.to_string()))?;
        if bare.path() != "/" || bare.query().is_some() || bare.fragment().is_some() {
            return Err(refuse("its host cannot be one"));
        }
        Ok(Self {
            scheme: Scheme::Ssh,
            shown: text.to_owned(),
            bare,
            username: Redacted::new(user.unwrap_or_default().to_owned()),
            password: Redacted::default(),
            ssh: Some(SshTarget {
                user: user.filter(|user| !user.is_empty()).map(str::to_owned),
                host: host.to_owned(),
                port: SSH_PORT,
                path: path.to_owned(),
            }),
        })
    }

    /// The remote that a path relative to this one means, as in `.gitmodules`: `../other.git`.
    ///
    /// # Errors
    /// The path leads above the root of the server.
    pub fn join(&self, relative: &str) -> Result<Self, Error> {
        let path = |base: &str| {
            joined(base, relative).ok_or_else(|| Error {
                shown: self.shown.clone(),
                detail: format!("'{relative}' leads out of it"),
            })
        };
        let mut joined = self.clone();
        match &mut joined.ssh {
            Some(target) => {
                target.path = path(&target.path)?;
                let user = target.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                let host = if target.host.contains(':') {
                    format!("[{}]", target.host)
                } else {
                    target.host.clone()
                };
                joined.shown = match target.path.starts_with('/') {
                    true if target.port == SSH_PORT => format!("ssh://{user}{host}{}", target.path),
                    true => format!("ssh://{user}{host}:{}{}", target.port, target.path),
                    false => format!("{user}{host}:{}", target.path),
                };
            }
            None => {
                let path = path(joined.bare.path())?;
                joined.bare.set_path(&path);
                joined.bare.set_query(None);
                let is_secret = !(joined.username.expose().is_empty() && joined.password.expose().is_empty());
                joined.shown = if is_secret {
                    hidden(&joined.bare)
                } else {
                    joined.bare.to_string()
                };
            }
        }
        Ok(joined)
    }

    /// Whether credentials for this remote may be sent to the other one: same scheme, host and port.
    pub fn is_same_host(&self, other: &Self) -> bool {
        let place = |url: &Self| match &url.ssh {
            Some(target) => (target.host.to_ascii_lowercase(), Some(target.port)),
            None => (
                url.bare.host_str().unwrap_or_default().to_owned(),
                url.bare.port_or_known_default(),
            ),
        };
        self.scheme == other.scheme && place(self) == place(other)
    }

    /// What is asked of whom over ssh; nothing for http and https.
    pub fn ssh_target(&self) -> Option<&SshTarget> {
        self.ssh.as_ref()
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

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// `/~user/x` is `~user/x` for the server.
fn home_or_root(path: &str) -> String {
    let path = path.trim_end_matches('/');
    path.strip_prefix('/')
        .filter(|rest| rest.starts_with('~'))
        .unwrap_or(path)
        .to_owned()
}

/// A path and what is relative to it, `..` at its beginning taken away; none when there is more of it than of the path.
fn joined(base: &str, relative: &str) -> Option<String> {
    let is_rooted = base.starts_with('/');
    let (mut base, mut rest) = (base.trim_end_matches('/'), relative);
    loop {
        if let Some(next) = rest.strip_prefix("./") {
            rest = next;
        } else if let Some(next) = rest.strip_prefix("../") {
            base = match base.rfind('/') {
                Some(at) => &base[..at],
                None if !base.is_empty() => "",
                None => return None,
            };
            rest = next;
        } else {
            break;
        }
    }
    let rest = rest.trim_end_matches('/');
    let is_inside = !rest.is_empty() && rest.split('/').all(|part| !matches!(part, "" | "." | ".."));
    is_inside.then(|| match (base, is_rooted) {
        ("", false) => rest.to_owned(),
        (base, _) => format!("{base}/{rest}"),
    })
}

/// A URL whose user information was taken out, with a sign that there was some.
fn hidden(bare: &Url) -> String {
    bare.as_str().replacen("://", "://***@", 1)
}

/// Replaces what may be user information in a text that is perhaps no URL: everything between the scheme and the last `@` of
/// the authority, or, if there is none, the last `@` of all, for a `/` in a password ends the authority too early. Over ssh the
/// user's name stays, which is no secret.
pub fn redact(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once(':') else {
        return text.to_owned();
    };
    // Two slashes are usual, but URLs are understood with any number of them, of both kinds, and with breaks between them.
    let rest = rest.trim_start_matches(['/', '\\', '\t', '\n', '\r']);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some(at) = authority.rfind('@').or_else(|| rest.rfind('@')) else {
        return text.to_owned();
    };
    let (user, host) = rest.split_at(at);
    if scheme == "ssh" && !user.contains([':', '/']) {
        return text.to_owned();
    }
    format!("{}***{host}", &text[..text.len() - rest.len()])
}

/// A refused URL for its message: without user information, and with control characters escaped.
pub(crate) fn shown(text: &str) -> String {
    let written = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    redact(text).chars().map(written).collect()
}

/// What no address has, although a parser made for what people type into browsers makes something of it: perhaps another
/// address than the one that was meant. The text gives nothing of the URL away.
pub(crate) fn fault(text: &str) -> Option<&'static str> {
    let place = text.split(['?', '#']).next().unwrap_or_default();
    let mut escapes = place.split('%').skip(1);
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        Some("it holds a control character")
    } else if place.contains('\\') {
        Some("it holds a backslash")
    } else if !escapes.all(is_escape) {
        Some("it holds a '%' that two hexadecimal digits do not follow")
    } else {
        None
    }
}

/// Whether nothing stands where a host should; the next word would be taken for one.
pub(crate) fn names_no_host(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.starts_with('/'))
}

/// Percent-decoded text.
pub(crate) fn decode(part: &str) -> String {
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
        check(
            "https:alice:s3cret@host/a",
            Ok(["https://host/a", "https://***@host/a", "alice", "s3cret"]),
        );
        // To a browser all of these would be the same.
        for (text, shown, fault) in [
            ("https:\\\\alice:s3cret@host\\a", "https:\\\\***@host\\a", "a backslash"),
            (
                "ht\ntps:/\t/alice:s3\rcret@host/a",
                "ht\\ntps:/\\t/***@host/a",
                "a control character",
            ),
            ("https://alice:s3cret@host\\a", "https://***@host\\a", "a backslash"),
            ("https://:s3cret@host\\a@other/x", "https://***@other/x", "a backslash"),
        ] {
            check(text, Err(&format!("failed to parse url '{shown}': it holds {fault}")));
        }
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
        check(
            "https://a:b/c@host/x",
            Err("failed to parse url 'https://***@host/x': invalid port number"),
        );
        check(
            "https:a:b@host:port",
            Err("failed to parse url 'https:***@host:port': invalid port number"),
        );
        for (text, fault) in [
            ("https://", "empty host"),
            ("https:///host/x", "it names no host"),
            ("ssh://", "it names no host"),
            ("https://host\\a/x", "it holds a backslash"),
            (
                "https://host/%zz",
                "it holds a '%' that two hexadecimal digits do not follow",
            ),
            (
                "https://host/x%4",
                "it holds a '%' that two hexadecimal digits do not follow",
            ),
        ] {
            check(text, Err(&format!("failed to parse url '{text}': {fault}")));
        }
        check(
            "https://ho\tst/x\n",
            Err("failed to parse url 'https://ho\\tst/x\\n': it holds a control character"),
        );
        check(
            "https://a:b%@host/x",
            Err("failed to parse url 'https://***@host/x': it holds a '%' that two hexadecimal digits do not follow"),
        );
        check(
            "git@host:x/y",
            Err("failed to parse url 'git@host:x/y': relative URL without a base"),
        );
    }

    /// Who is asked for what over ssh, as `user host port path`, or the message.
    fn check_ssh(text: &str, expected: Result<&str, &str>) {
        let found = RemoteUrl::parse_remote(text).map(|url| {
            let SshTarget { user, host, port, path } = url.ssh_target().unwrap();
            format!("{} {host} {port} {path}", user.as_deref().unwrap_or("-"))
        });
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(found.map_err(|e| e.to_string()), expected, "{text}");
    }

    #[test]
    fn both_forms_of_ssh_remotes_are_understood() {
        check_ssh("ssh://git@host/org/repo.git", Ok("git host 22 /org/repo.git"));
        check_ssh("ssh://host:2222/a%20b/", Ok("- host 2222 /a b"));
        check_ssh("ssh://[::1]:2222/x", Ok("- ::1 2222 /x"));
        check_ssh("ssh://host/~me/x", Ok("- host 22 ~me/x"));
        check_ssh("git@host:org/repo.git", Ok("git host 22 org/repo.git"));
        check_ssh("host:/srv/x", Ok("- host 22 /srv/x"));
        check_ssh("git@[::1]:x", Ok("git ::1 22 x"));
        check_ssh("host:a[b]:c@d", Ok("- host 22 a[b]:c@d"));
        check_ssh("me@there@host:x", Ok("me@there host 22 x"));
        check_ssh("h?st:x", Err("failed to parse url 'h?st:x': its host cannot be one"));
        check_ssh("host:", Err("failed to parse url 'host:': it names no host or no path"));
        check_ssh("./a:b", Err("failed to parse url './a:b': relative URL without a base"));
    }

    #[test]
    fn the_name_of_an_ssh_user_is_shown_and_a_password_is_not() {
        let shown = |text| RemoteUrl::parse(text).unwrap().to_string();
        assert_eq!(shown("ssh://git@host/x"), "ssh://git@host/x");
        assert_eq!(shown("ssh://git:pw@host/x"), "ssh://***@host/x");
    }

    /// The remote that a relative path means, or the message.
    fn check_join(base: &str, relative: &str, expected: Result<&str, &str>) {
        let found = RemoteUrl::parse_remote(base).unwrap().join(relative);
        let found = found.map(|url| url.to_string()).map_err(|error| error.detail);
        assert_eq!(
            found,
            expected.map(str::to_owned).map_err(str::to_owned),
            "{base} {relative}"
        );
    }

    #[test]
    fn relative_paths_are_taken_from_the_remote() {
        check_join("https://h/org/repo.git", "../other.git", Ok("https://h/org/other.git"));
        check_join("https://u:p@h/org/repo/?x=1", "./sub", Ok("https://***@h/org/repo/sub"));
        check_join("https://h/org/repo", "../../x", Ok("https://h/x"));
        check_join("https://h/org/repo", "../../../x", Err("'../../../x' leads out of it"));
        check_join(
            "https://h/org/repo",
            "../a/../../x",
            Err("'../a/../../x' leads out of it"),
        );
        check_join("https://h/org/repo", "../", Err("'../' leads out of it"));
        check_join("ssh://git@h:22/org/repo", "../x", Ok("ssh://git@h/org/x"));
        check_join("ssh://h:2222/repo", "../x", Ok("ssh://h:2222/x"));
        check_join("git@h:org/repo", "../x", Ok("git@h:org/x"));
        check_join("git@h:repo", "../x", Ok("git@h:x"));
        check_join("git@h:repo", "../../x", Err("'../../x' leads out of it"));
    }

    #[test]
    fn hosts_are_the_same_with_scheme_and_port() {
        let same = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|text| RemoteUrl::parse_remote(text).unwrap());
            one.is_same_host(&other)
        };
        assert!(same("https://h/a", "https://u@H:443/b"));
        assert!(same("ssh://h/a", "git@h:b"));
        for (one, other) in [
            ("https://h/a", "http://h/a"),
            ("https://h/a", "https://h:8443/a"),
            ("https://h/a", "https://h.evil/a"),
            ("ssh://h:2222/a", "git@h:a"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }
}
