//! Asking the services that give tokens: one small request, one small answer.
//!
//! An answer has ten seconds and a mebibyte. Redirects of questions are followed, within the host alone. What is sent
//! never shows up in an error, even where the service repeats it, as it is or as it stands in a form.

use std::time::Duration;

use git::{Credentials, Policy, Proxies};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use reqwest::{Client, Method, Response};
use runtime::redact::Redacted;
use serde::de::DeserializeOwned;
use url::Url;

const PATIENCE: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 1 << 20;
/// How much of what a service says about a refusal is kept, in characters.
const MAX_QUOTE: usize = 512;
const MAX_REDIRECTS: usize = 5;

/// A request that brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no client.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
    /// What is to be sent does not fit into a request.
    #[error("{verb} \"{url}\": {what} holds characters that cannot be sent")]
    Unsendable {
        /// The method.
        verb: Method,
        /// What was to be asked.
        url: String,
        /// The name of the part.
        what: String,
    },
    /// The service was not reached, or the connection broke.
    #[error("{verb} \"{url}\": {detail}")]
    Broken {
        /// The method.
        verb: Method,
        /// What was asked.
        url: String,
        /// What happened.
        detail: String,
    },
    /// The service does not give it.
    #[error("{verb} {url}: {status} {said}")]
    Refused {
        /// The method.
        verb: Method,
        /// What was asked.
        url: String,
        /// The status of the answer.
        status: u16,
        /// What the service says about it.
        said: String,
    },
    /// The service gives something else.
    #[error("{verb} {url}: the answer is not understood: {detail}")]
    Answer {
        /// The method.
        verb: Method,
        /// What was asked.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl Error {
    /// Whether what answered may be another service than the one that was meant: it knows nothing of what was asked
    /// for, or gives something else.
    pub fn is_strange(&self) -> bool {
        match self {
            Self::Refused { status, .. } => !matches!(status, 401 | 403 | 429 | 500..),
            Self::Answer { .. } => true,
            Self::Client(_) | Self::Unsendable { .. } | Self::Broken { .. } => false,
        }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Call {
    verb: Method,
    url: String,
    headers: Vec<(HeaderName, Redacted<String>)>,
    form: Vec<(&'static str, Redacted<String>)>,
    /// What is in the body instead of a form.
    document: Option<Redacted<String>>,
    /// What of it may not be repeated.
    secrets: Vec<Redacted<String>>,
}

impl Call {
    /// Asks for what is there.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url.into())
    }

    /// Asks for something new.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new(Method::POST, url.into())
    }

    /// Asks for something new by its name.
    pub fn put(url: impl Into<String>) -> Self {
        Self::new(Method::PUT, url.into())
    }

    fn new(verb: Method, url: String) -> Self {
        Self {
            verb,
            url,
            headers: Vec::new(),
            form: Vec::new(),
            document: None,
            secrets: Vec::new(),
        }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, Redacted::new(value.into())));
        self
    }

    /// With one more field of a form in the body.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.form.push((name, Redacted::new(value.into())));
        self
    }

    /// With this JSON as the body, whatever fields there are.
    #[must_use]
    pub fn json(mut self, document: &serde_json::Value) -> Self {
        self.document = Some(Redacted::new(document.to_string()));
        self
    }

    /// With one more header that is a secret.
    #[must_use]
    pub fn secret_header(mut self, name: HeaderName, value: &Redacted<String>) -> Self {
        self.secrets.push(value.clone());
        self.header(name, value.expose())
    }

    /// With a token in the header for it.
    #[must_use]
    pub fn bearer(mut self, token: &Redacted<String>) -> Self {
        self.secrets.push(token.clone());
        self.header(AUTHORIZATION, format!("Bearer {}", token.expose()))
    }

    /// With one more field that is a secret.
    #[must_use]
    pub fn secret_field(mut self, name: &'static str, value: &Redacted<String>) -> Self {
        self.secrets.push(value.clone());
        self.field(name, value.expose())
    }

    fn header_map(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("sluice/", env!("CARGO_PKG_VERSION"))),
        );
        for (name, value) in &self.headers {
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| Error::Unsendable {
                verb: self.verb.clone(),
                url: self.url.clone(),
                what: name.to_string(),
            })?;
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
        Ok(headers)
    }

    /// Where a redirect leads: on the same host, and for questions only.
    fn leads_to(&self, url: &str, response: &Response) -> Option<String> {
        if self.verb != Method::GET || !response.status().is_redirection() {
            return None;
        }
        let place = response.headers().get(LOCATION)?.to_str().ok()?;
        let here = Url::parse(url).ok()?;
        let there = here.join(place).ok()?;
        (there.origin() == here.origin()).then(|| there.into())
    }

    /// The type of the body, and the body.
    fn body(&self) -> Option<(&'static str, String)> {
        if let Some(document) = &self.document {
            return Some(("application/json", document.expose().clone()));
        }
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.form {
            form.append_pair(name, value.expose());
        }
        (!self.form.is_empty()).then(|| ("application/x-www-form-urlencoded", form.finish()))
    }

    /// A text of the service, short, on one line and without the secrets that were sent.
    fn quote(&self, said: &str) -> String {
        let secrets = self.secrets.iter().map(Redacted::expose);
        let said = secrets
            .filter(|secret| !secret.is_empty())
            .fold(said.to_owned(), |said, secret| {
                let in_form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
                said.replace(&in_form, "***").replace(secret.as_str(), "***")
            });
        let quoted: String = said.trim().chars().take(MAX_QUOTE).collect();
        quoted.replace(|c: char| c.is_control(), " ")
    }

    fn broken(&self, error: &reqwest::Error) -> Error {
        let detail = if error.is_timeout() {
            format!("no answer within {}s", PATIENCE.as_secs())
        } else {
            git::causes(error)
        };
        Error::Broken {
            verb: self.verb.clone(),
            url: self.url.clone(),
            detail: self.quote(&detail),
        }
    }

    /// A refusal, in what `said` finds in the body or else in the body's own words.
    pub fn refused(&self, answer: &Answer, said: impl Fn(&[u8]) -> Option<String>) -> Error {
        let said = said(&answer.body).unwrap_or_else(|| String::from_utf8_lossy(&answer.body).into_owned());
        Error::Refused {
            verb: self.verb.clone(),
            url: self.url.clone(),
            status: answer.status,
            said: self.quote(&said),
        }
    }

    /// An answer that is something else than what was asked for, in words that repeat nothing of it.
    pub fn misunderstood(&self, detail: impl ToString) -> Error {
        Error::Answer {
            verb: self.verb.clone(),
            url: self.url.clone(),
            detail: detail.to_string(),
        }
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    /// Whether it is what was asked for.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// Asks.
#[derive(Clone, Debug)]
pub struct Web {
    client: Client,
}

impl Web {
    /// Asks with the authorities, the certificate and the proxy in the credentials, and with nothing else of them;
    /// where they have no proxy, through those of the environment.
    ///
    /// # Errors
    /// No client can be made of them.
    pub fn along(way: &Credentials, proxies: &Proxies) -> Result<Self, Error> {
        let client = git::http_client(&Policy::default(), proxies, way).map_err(Error::Client)?;
        Ok(Self { client })
    }

    /// Asks the services of the machine it runs on. No proxy reaches them, and none may hear what they say.
    ///
    /// # Errors
    /// No client can be made.
    pub fn directly() -> Result<Self, Error> {
        Self::along(&Credentials::default(), &Proxies::default())
    }

    /// Asks, and takes every answer.
    ///
    /// # Errors
    /// There is no answer, or too much of it.
    pub async fn ask(&self, call: &Call) -> Result<Answer, Error> {
        let mut url = call.url.clone();
        let mut response = self.send(call, &url).await?;
        for _ in 0..MAX_REDIRECTS {
            match call.leads_to(&url, &response) {
                Some(next) => url = next,
                None => break,
            }
            response = self.send(call, &url).await?;
        }
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| call.broken(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(call.misunderstood(format!("it is larger than {MAX_ANSWER} bytes")));
            }
        }
        Ok(Answer { status, body })
    }

    async fn send(&self, call: &Call, url: &str) -> Result<Response, Error> {
        let mut request = self
            .client
            .request(call.verb.clone(), url)
            .timeout(PATIENCE)
            .headers(call.header_map()?);
        if let Some((kind, body)) = call.body() {
            request = request.header(CONTENT_TYPE, kind).body(body);
        }
        request.send().await.map_err(|error| call.broken(&error))
    }

    /// Asks for JSON; what a refusal says is found by `said`.
    ///
    /// # Errors
    /// There is no answer, a refusal, or something else than what was asked for.
    pub async fn json<T: DeserializeOwned>(
        &self,
        call: &Call,
        said: impl Fn(&[u8]) -> Option<String>,
    ) -> Result<T, Error> {
        let answer = self.ask(call).await?;
        if !answer.is_success() {
            return Err(call.refused(&answer, said));
        }
        serde_json::from_slice(&answer.body).map_err(|error| call.misunderstood(place(&error)))
    }
}

/// Where JSON is wrong, without what stands there, which the error of the parser repeats.
pub fn place(error: &serde_json::Error) -> String {
    format!(
        "line {} column {}: {:?}",
        error.line(),
        error.column(),
        error.classify()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::provider::testing::Service;

    #[tokio::test]
    async fn redirects_lead_nowhere_but_within_the_host() {
        let elsewhere = Service::start(&[("GET /there", 200, "1"), ("POST /there", 200, "1")]).await;
        let out = format!("{}/there", elsewhere.url);
        let service = Service::start(&[
            ("GET /a", 301, "/b"),
            ("GET /b", 307, "there"),
            ("GET /there", 200, "1"),
            ("POST /a", 307, "/there"),
            ("POST /there", 200, "1"),
            ("GET /out", 302, &out),
            ("GET /round", 302, "/round"),
        ])
        .await;
        let web = Web::directly().unwrap();
        let ask = async |call: &Call| web.json::<u8>(call, |_| None).await;
        let at = |path: &str| format!("{}{path}", service.url);
        assert_eq!(ask(&Call::get(at("/a")).header(LOCATION, "kept")).await, Ok(1));
        let seen = service.seen();
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|seen| seen.header("location") == "kept"));
        for (call, status) in [
            (Call::post(at("/a")).field("a", "b"), 307),
            (Call::get(at("/out")), 302),
            (Call::get(at("/round")), 302),
        ] {
            let found = ask(&call).await;
            assert!(
                matches!(found, Err(Error::Refused { status: s, .. }) if s == status),
                "{found:?}"
            );
        }
        assert!(elsewhere.seen().is_empty());
        assert_eq!(service.seen().len(), 2 + MAX_REDIRECTS + 1);
    }

    #[tokio::test]
    async fn a_service_that_is_away_is_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        drop(listener);
        Service::start(&[]).await;
        let error = Web::directly().unwrap().ask(&Call::get(&url)).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("GET \"{url}\": ")) && text.contains("refused"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_service_that_repeats_what_it_was_sent_gives_nothing_away() {
        let secret = Redacted::new("x8Q~a b&c%.".to_owned());
        let call = |url: String| {
            Call::post(url)
                .field("client_id", "c")
                .secret_field("client_secret", &secret)
        };
        let (_, body) = call(String::new()).body().unwrap();
        assert_eq!(body, "client_id=c&client_secret=x8Q%7Ea+b%26c%25.");
        let body = format!("no such page; you sent: {body} ({})", secret.expose());
        let service = Service::start(&[("POST /", 404, &body)]).await;
        let call = call(format!("{}/", service.url));
        let error = Web::directly().unwrap().json::<u8>(&call, |_| None).await.unwrap_err();
        let text = format!(
            "POST {}/: 404 no such page; you sent: client_id=c&client_secret=*** (***)",
            service.url
        );
        assert_eq!(error.to_string(), text);
    }

    #[tokio::test]
    async fn what_fits_into_no_header_is_not_sent() {
        let call = Call::get("http://127.0.0.1:1/").header(LOCATION, "a\nb");
        let error = Web::directly().map(|web| async move { web.ask(&call).await });
        let error = error.unwrap().await.unwrap_err();
        let text = "GET \"http://127.0.0.1:1/\": location holds characters that cannot be sent";
        assert_eq!(error.to_string(), text);
    }
}
