//! Repositories of AWS CodeCommit, and what they take for a user name and a password.
//!
//! Pure.

use git::RemoteUrl;
use jiff::Timestamp;
use runtime::redact::Redacted;
use url::Url;

use super::sigv4;

/// A URL of which CodeCommit would know nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCodeCommit {
    /// The password is for TLS only.
    #[error("AWS CodeCommit authentication requires an HTTPS Git URL")]
    Scheme,
    /// Another host.
    #[error("invalid AWS CodeCommit Git URL: {0}")]
    Host(String),
}

/// A repository of CodeCommit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    host: String,
    path: String,
    region: String,
}

impl Repository {
    /// The repository behind a URL.
    ///
    /// # Errors
    /// It is none of CodeCommit.
    pub fn of(remote: &RemoteUrl) -> Result<Self, NotCodeCommit> {
        if remote.scheme() != git::url::Scheme::Https {
            return Err(NotCodeCommit::Scheme);
        }
        let other = || NotCodeCommit::Host(remote.to_string());
        let url = Url::parse(&remote.bare()).map_err(|_| other())?;
        let name = url.host_str().unwrap_or_default();
        let host = match url.port() {
            Some(port) => format!("{name}:{port}"),
            None => name.to_owned(),
        };
        let is_name = |part: &&str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !part.is_empty() && part.bytes().all(known)
        };
        let inner = name
            .strip_suffix(".amazonaws.com")
            .or_else(|| name.strip_suffix(".amazonaws.com.cn"));
        let region = inner
            .and_then(|inner| {
                inner
                    .strip_prefix("git-codecommit.")
                    .or_else(|| inner.strip_prefix("git-codecommit-fips."))
            })
            .and_then(|inner| inner.split('.').next())
            .filter(is_name);
        match region {
            Some(region) => Ok(Self {
                region: region.to_owned(),
                path: url.path().to_owned(),
                host,
            }),
            None => Err(NotCodeCommit::Host(host)),
        }
    }

    /// The region in its host name.
    pub fn region(&self) -> &str {
        &self.region
    }
}

/// Keys, which last a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    pub(super) id: String,
    pub(super) secret: Redacted<String>,
    /// Empty for keys that last for good.
    pub(super) session: Redacted<String>,
}

impl Keys {
    /// The user name and the password for a repository; the password is good for a quarter of an hour.
    pub fn login(&self, repository: &Repository, now: Timestamp) -> (String, String) {
        let username = match self.session.expose().as_str() {
            "" => self.id.clone(),
            session => format!("{}%{session}", self.id),
        };
        let Repository { host, path, region } = repository;
        let request = sigv4::Request { host, path, region };
        (username, sigv4::password(request, self.secret.expose(), now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Host, path and region; or the message.
    fn check_url(url: &str, expected: Result<[&str; 3], &str>) {
        let found = Repository::of(&RemoteUrl::parse(url).unwrap());
        let found = found.map(|Repository { host, path, region }| [host, path, region]);
        let expected = expected.map(|parts| parts.map(str::to_owned));
        assert_eq!(
            found.map_err(|e| e.to_string()),
            expected.map_err(str::to_owned),
            "{url}"
        );
    }

    #[test]
    fn the_region_stands_in_the_host_name() {
        let host = "git-codecommit.us-east-1.amazonaws.com";
        check_url(
            "https://git-codecommit.us-east-1.amazonaws.com/v1/repos/a/",
            Ok([host, "/v1/repos/a", "us-east-1"]),
        );
        let host = "git-codecommit-fips.us-gov-west-1.amazonaws.com";
        check_url(
            &format!("https://{host}/v1/repos/a"),
            Ok([host, "/v1/repos/a", "us-gov-west-1"]),
        );
        let host = "git-codecommit.cn-north-1.amazonaws.com.cn";
        check_url(
            &format!("https://{host}/v1/repos/a"),
            Ok([host, "/v1/repos/a", "cn-north-1"]),
        );
        let other = "invalid AWS CodeCommit Git URL: github.com";
        check_url("https://github.com/org/repo", Err(other));
        for host in [
            "git-codecommit.us-east-1.amazonaws.com.evil.example",
            "git-codecommit.amazonaws.com",
            "codecommit.us-east-1.amazonaws.com",
        ] {
            check_url(
                &format!("https://{host}/v1/repos/a"),
                Err(&format!("invalid AWS CodeCommit Git URL: {host}")),
            );
        }
        let plain = "AWS CodeCommit authentication requires an HTTPS Git URL";
        check_url("http://git-codecommit.us-east-1.amazonaws.com/v1/repos/a", Err(plain));
    }

    #[test]
    fn keys_that_last_for_good_have_no_session() {
        let keys = |session: &str| Keys {
            id: "AKID".into(),
            secret: Redacted::new("s".into()),
            session: Redacted::new(session.into()),
        };
        let url = RemoteUrl::parse("https://git-codecommit.us-east-1.amazonaws.com/v1/repos/a").unwrap();
        let repository = Repository::of(&url).unwrap();
        let login = |session| keys(session).login(&repository, Timestamp::UNIX_EPOCH).0;
        assert_eq!(login(""), "AKID");
        assert_eq!(login("SESSION"), "AKID%SESSION");
    }
}
