//! A file behind an http or https URL.
//!
//! Redirects are followed here, not by the HTTP client: every hop is checked as the first one was, credentials stay with the
//! host they were for, and https never becomes http. A text about a URL leaves out its user information and its query, in
//! which secrets travel.

use std::error::Error as _;

use artifact::Redacted;
use git::{Credentials, RemoteUrl};
use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{Client, Response, Url};
use tokio::time::{Instant, timeout_at};

use crate::policy::{Policy, refusal};

/// What it takes to get a file.
pub(crate) struct Errand<'a> {
    /// Dials no address that the policy does not admit, and follows no redirects.
    pub client: &'a Client,
    /// Whom to ask.
    pub policy: &'a Policy,
    /// The most bytes.
    pub limit: u64,
    /// When it is over.
    pub deadline: Instant,
}

impl Errand<'_> {
    /// The content behind a URL.
    ///
    /// # Errors
    /// A text without credentials.
    pub(crate) async fn run(&self, text: &str) -> Result<Vec<u8>, String> {
        let remote = RemoteUrl::parse(text).map_err(|error| error.to_string())?;
        let mut authorization = Credentials::of_url(&remote).authorization;
        let mut url = Url::parse(text).map_err(|error| error.to_string())?;
        let bare = url.set_username("").is_ok() && url.set_password(None).is_ok();
        if !bare {
            return Err("the user information of the URL cannot be read".to_owned());
        }
        for _ in 0..=self.policy.limits.redirects {
            self.policy.admit(&url)?;
            let response = self.send(&url, authorization.as_ref()).await?;
            let Some(next) = redirected(&url, &response)? else {
                return self.content(&url, response).await;
            };
            if !is_same_origin(&url, &next) {
                authorization = None;
            }
            url = next;
        }
        let most = self.policy.limits.redirects;
        Err(format!("{}: stopped after {most} redirects", shown(&url)))
    }

    async fn send(&self, url: &Url, authorization: Option<&Redacted<String>>) -> Result<Response, String> {
        let mut request = self.client.get(url.clone());
        if let Some(Ok(mut value)) = authorization.map(|value| HeaderValue::from_str(value.expose())) {
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        match timeout_at(self.deadline, request.send()).await {
            Ok(answer) => answer.map_err(|error| self.broken(url, &error)),
            Err(_) => Err(late(url)),
        }
    }

    async fn content(&self, url: &Url, mut response: Response) -> Result<Vec<u8>, String> {
        if !response.status().is_success() {
            return Err(format!("{}: the server answered {}", shown(url), response.status()));
        }
        let too_large = || format!("{}: larger than {} bytes", shown(url), self.limit);
        if response.content_length().is_some_and(|length| length > self.limit) {
            return Err(too_large());
        }
        let mut content = Vec::new();
        loop {
            let chunk = timeout_at(self.deadline, response.chunk())
                .await
                .map_err(|_| late(url))?
                .map_err(|error| self.broken(url, &error))?;
            let Some(chunk) = chunk else { return Ok(content) };
            if (content.len() + chunk.len()) as u64 > self.limit {
                return Err(too_large());
            }
            content.extend_from_slice(&chunk);
        }
    }

    /// Why there is no answer: the refusal of an address where that is the reason, else the words at the end of the chain.
    fn broken(&self, url: &Url, error: &reqwest::Error) -> String {
        if let Some(refusal) = refusal(error) {
            return self.policy.refused(refusal);
        }
        let mut reasons: Vec<String> = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some layers repeat the text of the layer below.
            if reasons.last().is_none_or(|last| !last.ends_with(&text)) {
                reasons.push(text);
            }
            source = cause.source();
        }
        format!("{}: {}", shown(url), reasons.join(": "))
    }
}

/// Where an answer sends us; nothing if it does not.
fn redirected(url: &Url, response: &Response) -> Result<Option<Url>, String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.headers().get(LOCATION) else {
        return Ok(None);
    };
    let next = location.to_str().ok().and_then(|location| url.join(location).ok());
    let next = next.ok_or_else(|| format!("{}: redirects to what is no URL", shown(url)))?;
    if url.scheme() == "https" && next.scheme() != "https" {
        return Err(format!("{}: redirects from https to {}", shown(url), next.scheme()));
    }
    if !next.username().is_empty() || next.password().is_some() {
        return Err(format!("{}: redirects to a URL with credentials", shown(url)));
    }
    Ok(Some(next))
}

fn is_same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

fn late(url: &Url) -> String {
    format!("{}: took too long", shown(url))
}

/// A URL without what may be secret.
fn shown(url: &Url) -> String {
    format!(
        "{}://{}{}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        url.port().map(|port| format!(":{port}")).unwrap_or_default(),
        url.path()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::SocketAddr;
    use std::time::Duration;

    use ::tests::web::Server;
    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::extract::Path;
    use axum::http::{HeaderMap, StatusCode};
    use axum::response::Redirect;
    use axum::routing::get;
    use futures::StreamExt;

    use crate::policy::tests::policy;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[track_caller]
    fn check_origin(one: &str, other: &str, expected: bool) {
        assert_eq!(is_same_origin(&url(one), &url(other)), expected, "{one} {other}");
    }

    #[test]
    fn credentials_stay_where_scheme_host_and_port_are_the_same() {
        check_origin("https://a/x", "https://a:443/y?z", true);
        check_origin("https://a/x", "https://a:8443/x", false);
        check_origin("https://a/x", "https://b/x", false);
        check_origin("http://a/x", "https://a/x", false);
    }

    #[test]
    fn a_shown_url_keeps_its_secrets() {
        assert_eq!(shown(&url("https://u:p@h:81/a/b?token=t#f")), "https://h:81/a/b");
    }

    /// What a request showed of who sends it.
    async fn who(headers: HeaderMap) -> String {
        let header = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or("-")
                .to_owned()
        };
        format!("{} {}", header("authorization"), header("referer"))
    }

    /// Bytes without an end and without their number.
    fn endless(pause: Duration) -> Body {
        Body::from_stream(futures::stream::repeat(()).then(move |()| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b'a'; 100]))
        }))
    }

    fn server() -> Server {
        let router = Router::new()
            .route("/file", get(|| async { "content" }))
            .route("/who", get(who))
            .route("/secret", get(|| async { (StatusCode::FORBIDDEN, "hidden") }))
            .route("/silent", get(|| async { std::future::pending::<()>().await }))
            .route("/drip", get(|| async { endless(Duration::from_millis(1)) }))
            .route("/flood", get(|| async { endless(Duration::ZERO) }))
            .route(
                "/lost",
                get(|| async { (StatusCode::FOUND, [("location", "http://[")]) }),
            )
            .route("/nowhere", get(|| async { StatusCode::NOT_MODIFIED }))
            .route("/around", get(|| async { Redirect::temporary("/around") }))
            .route(
                "/to/{*url}",
                get(|Path(url): Path<String>| async move { Redirect::permanent(&url) }),
            );
        Server::start(router).unwrap()
    }

    /// Fetches at most 10,000 bytes within the time, under a policy by which `public.test` is a public host that is this
    /// server's in truth. `<public>` and `<private>` in texts are the server's origins, `<user>` and `<login>` the first one
    /// with user information.
    async fn check(policy: Policy, millis: u64, ask: &str, expected: Result<&str, &str>) {
        let server = server();
        let address: SocketAddr = server.address().parse().unwrap();
        let host = format!("public.test:{}", address.port());
        let fill = |text: &str| {
            text.replace("<public>", &format!("http://{host}"))
                .replace("<user>", &format!("http://u@{host}"))
                .replace("<login>", &format!("http://u:p%40@{host}"))
                .replace("<private>", &server.url())
        };
        let client = crate::client(&policy).resolve("public.test", address).build().unwrap();
        let errand = Errand {
            client: &client,
            policy: &policy,
            limit: 10_000,
            deadline: Instant::now() + Duration::from_millis(millis),
        };
        let found = errand
            .run(&fill(ask))
            .await
            .map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(found, expected.map(fill).map_err(fill), "{ask}");
    }

    const LONG: u64 = 60_000;
    const LOOPBACK: &str =
        "host '127.0.0.1' has an address that is not public, which may not be asked: --private allows it";

    #[tokio::test]
    async fn the_content_is_what_the_server_sends() {
        check(policy(&[], true), LONG, "<private>/file", Ok("content")).await;
        check(policy(&[], false), LONG, "<public>/file?a=b", Ok("content")).await;
        let text = "<public>/secret: the server answered 403 Forbidden";
        check(policy(&[], false), LONG, "<public>/secret", Err(text)).await;
        let text = "<public>/nowhere: the server answered 304 Not Modified";
        check(policy(&[], false), LONG, "<public>/nowhere", Err(text)).await;
        let text = "scheme 'ftp' is not http or https";
        check(policy(&[], false), LONG, "<public>/to/ftp://public.test/", Err(text)).await;
    }

    #[tokio::test]
    async fn an_address_that_is_not_public_is_not_asked_first_or_later() {
        check(policy(&[], false), LONG, "<private>/file", Err(LOOPBACK)).await;
        check(policy(&[], false), LONG, "<public>/to/<private>/file", Err(LOOPBACK)).await;
        let text = "host 'localhost' has an address that is not public, which may not be asked: --private allows it";
        check(policy(&[], false), LONG, "<public>/to/http://localhost:1/", Err(text)).await;
        check(policy(&[], false), LONG, "<public>/to/<public>/file", Ok("content")).await;
        check(policy(&[], true), LONG, "<public>/to/<private>/file", Ok("content")).await;
    }

    #[tokio::test]
    async fn a_host_that_is_not_on_the_list_is_not_asked_first_or_later() {
        let text = "host '127.0.0.1' is not among those that may be asked: --host adds it";
        check(policy(&["public.test"], true), LONG, "<private>/file", Err(text)).await;
        check(
            policy(&["public.test"], true),
            LONG,
            "<public>/to/<private>/file",
            Err(text),
        )
        .await;
        check(policy(&["*.test"], true), LONG, "<public>/file", Ok("content")).await;
    }

    #[tokio::test]
    async fn redirects_end() {
        let text = "<public>/around: stopped after 10 redirects";
        check(policy(&[], false), LONG, "<public>/around", Err(text)).await;
        let text = "<public>/lost: redirects to what is no URL";
        check(policy(&[], false), LONG, "<public>/lost", Err(text)).await;
        let text = "<public>/to/http://u:p@public.test/: redirects to a URL with credentials";
        check(
            policy(&[], false),
            LONG,
            "<public>/to/http://u:p@public.test/",
            Err(text),
        )
        .await;
    }

    #[tokio::test]
    async fn credentials_go_to_their_host_alone() {
        check(policy(&[], false), LONG, "<public>/who", Ok("- -")).await;
        check(policy(&[], false), LONG, "<user>/who", Ok("Basic dTo= -")).await;
        check(policy(&[], false), LONG, "<login>/who", Ok("Basic dTpwQA== -")).await;
        check(
            policy(&[], false),
            LONG,
            "<login>/to/<public>/who",
            Ok("Basic dTpwQA== -"),
        )
        .await;
        check(policy(&[], true), LONG, "<login>/to/<private>/who", Ok("- -")).await;
        let text = "<public>/secret: the server answered 403 Forbidden";
        check(policy(&[], false), LONG, "<login>/secret?key=k", Err(text)).await;
    }

    #[tokio::test]
    async fn more_than_the_limit_is_not_read() {
        check(
            policy(&[], false),
            LONG,
            "<public>/flood",
            Err("<public>/flood: larger than 10000 bytes"),
        )
        .await;
    }

    #[tokio::test]
    async fn a_server_that_takes_its_time_is_left() {
        check(
            policy(&[], false),
            100,
            "<public>/silent",
            Err("<public>/silent: took too long"),
        )
        .await;
        check(
            policy(&[], false),
            50,
            "<public>/drip",
            Err("<public>/drip: took too long"),
        )
        .await;
    }
}
