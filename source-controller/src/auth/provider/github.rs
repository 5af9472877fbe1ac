//! Tokens of a GitHub App's installation.
//!
//! The App says who it is with a token that it signs itself; GitHub gives one for the installation, which lasts an
//! hour. An installation is named by its id or by whom it belongs to, an organization or a user.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{ACCEPT, HeaderName};
use runtime::redact::Redacted;
use serde::{Deserialize, Serialize};
use url::Url;

use super::jwt;
use super::web::{self, Call, Web};
use super::{Grant, Login};
use crate::auth::text;

/// The key of a Secret that says it is meant for a GitHub App.
pub const APP_ID: &str = "githubAppID";
const PRIVATE_KEY: &str = "githubAppPrivateKey";
const INSTALLATION_ID: &str = "githubAppInstallationID";
const INSTALLATION_OWNER: &str = "githubAppInstallationOwner";
const BASE_URL: &str = "githubAppBaseURL";

const PUBLIC: &str = "https://api.github.com/";
/// What stands before every path in a GitHub of one's own.
const ENTERPRISE: &str = "api/v3/";
const API_VERSION: HeaderName = HeaderName::from_static("x-github-api-version");
/// Clocks differ.
const DRIFT: SignedDuration = SignedDuration::from_secs(30);
const LIFETIME: SignedDuration = SignedDuration::from_mins(2);

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not clear which installation is meant.
    #[error("secret '{0}' must contain exactly one of '{INSTALLATION_OWNER}' or '{INSTALLATION_ID}'")]
    WhichInstallation(String),
    /// Numbers that are none.
    #[error("app ID must be provided to use github app authentication")]
    AppId,
    /// Numbers that are none.
    #[error("app installation owner or ID must be provided to use github app authentication")]
    InstallationId,
    /// It is empty.
    #[error("private key must be provided to use github app authentication")]
    NoPrivateKey,
    /// It cannot sign.
    #[error("could not parse private key: {0}")]
    PrivateKey(#[from] jwt::Error),
    /// It leads nowhere.
    #[error("invalid API URL: '{BASE_URL}' is no URL with http or https: {0}")]
    BaseUrl(String),
    /// The owner is unknown, or has not installed the App.
    #[error("failed to find organization installation: {organization}; failed to find user installation: {user}")]
    Owner {
        /// What GitHub says about an organization of that name.
        organization: Box<web::Error>,
        /// What GitHub says about a user of that name.
        user: Box<web::Error>,
    },
    /// GitHub gives none.
    #[error(transparent)]
    Web(#[from] web::Error),
}

/// Which installation is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Installation {
    Id(u64),
    Owner(String),
}

/// A GitHub App and one of its installations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    id: u64,
    installation: Installation,
    key: Redacted<Vec<u8>>,
    /// Where the API is, with a slash at its end.
    base: String,
    /// Where it may be instead.
    enterprise: Option<String>,
}

impl App {
    /// The App that a Secret describes, or nothing when it describes none; `name` is its namespace and name, for
    /// messages.
    ///
    /// # Errors
    /// What it says cannot be.
    pub fn of(secret: &BTreeMap<String, Vec<u8>>, name: &str) -> Result<Option<Self>, Error> {
        if !(secret.contains_key(APP_ID) && secret.contains_key(PRIVATE_KEY)) {
            return Ok(None);
        }
        let has = |key| secret.contains_key(key);
        if has(INSTALLATION_OWNER) == has(INSTALLATION_ID) {
            return Err(Error::WhichInstallation(name.to_owned()));
        }
        let number = |key| text(secret, key).parse().ok().filter(|number| *number != 0);
        let installation = match text(secret, INSTALLATION_OWNER) {
            owner if !owner.is_empty() => Installation::Owner(owner),
            _ => Installation::Id(number(INSTALLATION_ID).ok_or(Error::InstallationId)?),
        };
        let key = secret.get(PRIVATE_KEY).filter(|key| !key.is_empty());
        let (base, enterprise) = bases(&text(secret, BASE_URL))?;
        Ok(Some(Self {
            id: number(APP_ID).ok_or(Error::AppId)?,
            installation,
            key: Redacted::new(key.ok_or(Error::NoPrivateKey)?.clone()),
            base,
            enterprise,
        }))
    }

    /// What makes its token another one than others.
    pub fn parts(&self) -> [Vec<u8>; 4] {
        let installation = match &self.installation {
            Installation::Id(id) => format!("id {id}"),
            Installation::Owner(owner) => format!("owner {owner}"),
        };
        [
            self.id.to_string().into_bytes(),
            installation.into_bytes(),
            self.base.clone().into_bytes(),
            self.key.expose().clone(),
        ]
    }

    /// A token of the installation.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn token(&self, web: &Web, now: Timestamp) -> Result<Grant, Error> {
        let proof = jwt::sign(&Claims::of(self.id, now), self.key.expose())?;
        let answer = self.token_from(web, &self.base, &proof).await;
        match (&answer, &self.enterprise) {
            (Err(error), Some(enterprise)) if error.is_no_api() => {
                let second = self.token_from(web, enterprise, &proof).await;
                // Where both know nothing of it, the place that was named is told.
                if second.as_ref().is_err_and(Error::is_no_api) {
                    answer
                } else {
                    second
                }
            }
            _ => answer,
        }
    }

    async fn token_from(&self, web: &Web, base: &str, proof: &Redacted<String>) -> Result<Grant, Error> {
        let authorized = |call: Call| {
            call.header(ACCEPT, "application/vnd.github+json")
                .header(API_VERSION, "2022-11-28")
                .bearer(proof)
        };
        let id = match &self.installation {
            Installation::Id(id) => *id,
            Installation::Owner(owner) => {
                let find = async |whose: &str| {
                    let call = authorized(Call::get(format!("{base}{whose}/{}/installation", escape(owner))));
                    let found = web.json::<Found>(&call, said).await;
                    found.map(|found| found.id).map_err(Box::new)
                };
                match find("orgs").await {
                    Ok(id) => id,
                    Err(organization) => {
                        let user = find("users").await;
                        user.map_err(|user| Error::Owner { organization, user })?
                    }
                }
            }
        };
        let call = authorized(Call::post(format!("{base}app/installations/{id}/access_tokens")));
        let given: Given = web.json(&call, said).await?;
        if given.token.is_empty() {
            return Err(call.misunderstood("it holds no token").into());
        }
        Ok(Grant {
            login: Login::Installation(Redacted::new(given.token)),
            expires: given.expires_at,
        })
    }
}

impl Error {
    /// Whether what answered may not be GitHub's API at all.
    fn is_no_api(&self) -> bool {
        match self {
            Self::Web(error) => error.is_strange(),
            Self::Owner { organization, user } => organization.is_strange() && user.is_strange(),
            _ => false,
        }
    }
}

/// Who the App is, for two minutes.
#[derive(Serialize)]
struct Claims {
    iss: String,
    exp: i64,
    iat: i64,
}

impl Claims {
    fn of(app: u64, now: Timestamp) -> Self {
        let issued = now.saturating_sub(DRIFT).unwrap_or(now);
        Self {
            iss: app.to_string(),
            exp: issued.saturating_add(LIFETIME).unwrap_or(now).as_second(),
            iat: issued.as_second(),
        }
    }
}

#[derive(Deserialize)]
struct Found {
    id: u64,
}

#[derive(Deserialize)]
struct Given {
    token: String,
    expires_at: Timestamp,
}

/// Where the API is: where the Secret says, to the letter; and if nothing there knows of it, below the path that a
/// GitHub of one's own has for it. Hosts for the API alone have no such path.
fn bases(text: &str) -> Result<(String, Option<String>), Error> {
    if text.is_empty() {
        return Ok((PUBLIC.to_owned(), None));
    }
    let url = Url::parse(text).map_err(|error| Error::BaseUrl(error.to_string()))?;
    let host = url.host_str().unwrap_or_default();
    if !matches!(url.scheme(), "http" | "https") || host.is_empty() {
        return Err(Error::BaseUrl("it has another scheme or no host".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(Error::BaseUrl(
            "it has more than a scheme, a host and a path".to_owned(),
        ));
    }
    let base = format!("{}/", url.as_str().trim_end_matches('/'));
    let is_for_api = host.starts_with("api.") || host.contains(".api.") || base.ends_with(&format!("/{ENTERPRISE}"));
    let enterprise = (!is_for_api).then(|| format!("{base}{ENTERPRISE}"));
    Ok((base, enterprise))
}

/// A name as one part of a path.
fn escape(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// What GitHub says about a refusal.
fn said(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    serde_json::from_slice::<Refusal>(body)
        .ok()
        .map(|refusal| refusal.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::data;
    use crate::auth::provider::testing::{APP_KEY, Service, claims};

    /// What is described, in short, or the message.
    fn check(secret: &[(&str, &str)], expected: Result<Option<(u64, &str)>, &str>) {
        let found = App::of(&data(secret), "ns/app");
        let found = found.map(|app| {
            app.map(|app| match app.installation {
                Installation::Id(id) => (app.id, format!("id {id}")),
                Installation::Owner(owner) => (app.id, format!("owner {owner}")),
            })
        });
        let expected = expected
            .map(|app| app.map(|(id, of)| (id, of.to_owned())))
            .map_err(str::to_owned);
        assert_eq!(found.map_err(|error| error.to_string()), expected, "{secret:?}");
    }

    #[test]
    fn a_secret_describes_an_app_and_one_installation() {
        let (id, key) = ((APP_ID, "7"), (PRIVATE_KEY, "k"));
        let (number, owner) = ((INSTALLATION_ID, "42"), (INSTALLATION_OWNER, "org"));
        check(&[id, key, number], Ok(Some((7, "id 42"))));
        check(&[id, key, owner], Ok(Some((7, "owner org"))));
        for nothing in [&[][..], &[id, number], &[key, number], &[("username", "x")]] {
            check(nothing, Ok(None));
        }
        let text =
            "secret 'ns/app' must contain exactly one of 'githubAppInstallationOwner' or 'githubAppInstallationID'";
        check(&[id, key], Err(text));
        check(&[id, key, number, owner], Err(text));
        let text = "app ID must be provided to use github app authentication";
        check(&[(APP_ID, "seven"), key, number], Err(text));
        let text = "app installation owner or ID must be provided to use github app authentication";
        check(&[id, key, (INSTALLATION_ID, "0")], Err(text));
        let text = "private key must be provided to use github app authentication";
        check(&[id, (PRIVATE_KEY, ""), number], Err(text));
    }

    /// Where the API is and where it may be instead; or the message.
    fn check_base(text: &str, expected: Result<(&str, Option<&str>), &str>) {
        let expected = expected.map(|(base, other)| (base.to_owned(), other.map(str::to_owned)));
        assert_eq!(
            bases(text).map_err(|error| error.to_string()),
            expected.map_err(str::to_owned),
            "{text}"
        );
    }

    #[test]
    fn the_api_is_where_the_secret_says() {
        check_base("", Ok(("https://api.github.com/", None)));
        check_base("https://api.ghe.example", Ok(("https://api.ghe.example/", None)));
        check_base("https://x.api.ghe.example/", Ok(("https://x.api.ghe.example/", None)));
        check_base("https://ghe.example/api/v3", Ok(("https://ghe.example/api/v3/", None)));
        check_base(
            "https://ghe.example/p/api/v3/",
            Ok(("https://ghe.example/p/api/v3/", None)),
        );
        check_base(
            "https://ghe.example",
            Ok(("https://ghe.example/", Some("https://ghe.example/api/v3/"))),
        );
        let text = "invalid API URL: 'githubAppBaseURL' is no URL with http or https";
        check_base("ghe.example", Err(&format!("{text}: relative URL without a base")));
        check_base(
            "ssh://ghe.example",
            Err(&format!("{text}: it has another scheme or no host")),
        );
        let more = format!("{text}: it has more than a scheme, a host and a path");
        check_base("https://u:p@ghe.example", Err(&more));
        check_base("https://ghe.example?x=1", Err(&more));
    }

    #[test]
    fn an_app_is_itself_for_two_minutes() {
        let claims = Claims::of(7, Timestamp::from_second(1_700_000_000).unwrap());
        let text = r#"{"iss":"7","exp":1700000090,"iat":1699999970}"#;
        assert_eq!(serde_json::to_string(&claims).unwrap(), text);
    }

    #[test]
    fn owners_are_one_part_of_a_path() {
        assert_eq!(escape("my-org"), "my-org");
        assert_eq!(escape("a/../b c?d"), "a%2F..%2Fb%20c%3Fd");
    }

    const ORG_KEYS: [(&str, &str); 3] = [(APP_ID, "7"), (INSTALLATION_OWNER, "my-org"), (PRIVATE_KEY, APP_KEY)];
    const KEYS: [(&str, &str); 3] = [(APP_ID, "7"), (INSTALLATION_ID, "42"), (PRIVATE_KEY, APP_KEY)];
    const GIVEN: &str = r#"{"token":"ghs_x","expires_at":"2030-01-01T00:00:00Z","permissions":{}}"#;
    const BAD: &str = r#"{"message":"Bad credentials","documentation_url":"https://docs.github.com/rest"}"#;

    /// The token that a service gives to an App, and the requests it takes; or the message, with `URL` for the service.
    async fn ask(
        keys: &[(&str, &str)],
        path: &str,
        answers: &[(&str, u16, &str)],
    ) -> (Result<String, String>, Vec<String>) {
        let service = Service::start(answers).await;
        let base = format!("{}{path}", service.url);
        let secret = [keys, &[(BASE_URL, &base)]].concat();
        let app = App::of(&data(&secret), "ns/app").unwrap().unwrap();
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let given = app.token(&Web::directly().unwrap(), now).await;
        let mut lines = Vec::new();
        for seen in service.seen() {
            assert_eq!(seen.header("accept"), "application/vnd.github+json");
            assert_eq!(seen.header("x-github-api-version"), "2022-11-28");
            assert_eq!(seen.body, "");
            let token = seen.header("authorization").strip_prefix("Bearer ").unwrap();
            let expected = serde_json::json!({"iss": "7", "exp": 1_700_000_090, "iat": 1_699_999_970});
            assert_eq!(claims(token), expected);
            lines.push(seen.line);
        }
        let given = given.map(|grant| {
            assert_eq!(grant.expires.to_string(), "2030-01-01T00:00:00Z");
            format!(
                "{:?} {}",
                grant.login,
                match &grant.login {
                    Login::Installation(token) => token.expose(),
                    Login::Bearer(_) | Login::Keys(_) | Login::Google(..) => "another login",
                }
            )
        });
        (
            given.map_err(|error| error.to_string().replace(&service.url, "URL")),
            lines,
        )
    }

    #[tokio::test]
    async fn an_installation_is_asked_for_by_its_id() {
        let answers = [("POST /api/v3/app/installations/42/access_tokens", 201, GIVEN)];
        let (given, lines) = ask(&KEYS, "/api/v3", &answers).await;
        assert_eq!(given.unwrap(), "Installation(<redacted>) ghs_x");
        assert_eq!(lines, ["POST /api/v3/app/installations/42/access_tokens"]);
    }

    #[tokio::test]
    async fn an_owner_is_an_organization_or_else_a_user() {
        let token = ("POST /api/v3/app/installations/42/access_tokens", 201, GIVEN);
        let organization = ("GET /api/v3/orgs/my-org/installation", 200, r#"{"id":42}"#);
        let user = ("GET /api/v3/users/my-org/installation", 200, r#"{"id":42}"#);
        let (given, lines) = ask(&ORG_KEYS, "/api/v3/", &[token, organization]).await;
        assert!(given.is_ok(), "{given:?}");
        assert_eq!(
            lines,
            [
                "GET /api/v3/orgs/my-org/installation",
                "POST /api/v3/app/installations/42/access_tokens"
            ]
        );
        let (given, lines) = ask(&ORG_KEYS, "/api/v3/", &[token, user]).await;
        assert!(given.is_ok(), "{given:?}");
        assert_eq!(lines.len(), 3, "{lines:?}");
        let (given, _) = ask(&ORG_KEYS, "/api/v3/", &[token]).await;
        let text = "failed to find organization installation: GET URL/api/v3/orgs/my-org/installation: 404 Not Found; \
                    failed to find user installation: GET URL/api/v3/users/my-org/installation: 404 Not Found";
        assert_eq!(given.unwrap_err(), text);
    }

    #[tokio::test]
    async fn a_github_of_ones_own_is_found_by_its_host() {
        let exact = ("POST /app/installations/42/access_tokens", 201, GIVEN);
        let below = ("POST /api/v3/app/installations/42/access_tokens", 201, GIVEN);
        let page = ("POST /app/installations/42/access_tokens", 200, "<html>");
        for (answers, requests) in [(&[exact, below][..], 1), (&[below], 2), (&[page, below], 2)] {
            let (given, lines) = ask(&KEYS, "", answers).await;
            assert!(given.is_ok(), "{given:?} {lines:?}");
            assert_eq!(lines.len(), requests, "{lines:?}");
        }
        let refused = ("POST /api/v3/app/installations/42/access_tokens", 401, BAD);
        let (given, _) = ask(&KEYS, "", &[refused]).await;
        let text = "POST URL/api/v3/app/installations/42/access_tokens: 401 Bad credentials";
        assert_eq!(given.unwrap_err(), text);
        let (given, _) = ask(&KEYS, "", &[]).await;
        assert_eq!(
            given.unwrap_err(),
            "POST URL/app/installations/42/access_tokens: 404 Not Found"
        );
    }

    #[tokio::test]
    async fn what_is_no_token_is_told() {
        let line = "POST /api/v3/app/installations/42/access_tokens";
        let said = async |status, body| ask(&KEYS, "/api/v3", &[(line, status, body)]).await.0.unwrap_err();
        let of = "POST URL/api/v3/app/installations/42/access_tokens";
        assert_eq!(said(401, BAD).await, format!("{of}: 401 Bad credentials"));
        assert_eq!(said(502, "bad\ngateway").await, format!("{of}: 502 bad gateway"));
        let misunderstood = format!("{of}: the answer is not understood: ");
        assert_eq!(
            said(200, "<html>").await,
            format!("{misunderstood}line 1 column 1: Syntax")
        );
        let empty = r#"{"token":"","expires_at":"2030-01-01T00:00:00Z"}"#;
        assert_eq!(said(201, empty).await, format!("{misunderstood}it holds no token"));
        let secret = [(APP_ID, "7"), (INSTALLATION_ID, "42"), (PRIVATE_KEY, "abc")];
        let (given, lines) = ask(&secret, "", &[]).await;
        let text = "could not parse private key: invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key";
        assert_eq!((given.unwrap_err().as_str(), lines.len()), (text, 0));
    }
}
