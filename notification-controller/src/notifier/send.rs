//! One attempt to deliver a request, and what its failure means.
//!
//! Redirects are not followed: a redirected POST may become a GET that succeeds and delivers nothing. Texts of errors
//! carry what the service said, cut, and nothing that is secret.

use super::{Accept, Request};
use crate::outbox::{Blame, Fate};
use crate::provider::{Settings, Tls};
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity, StatusCode};
use serde::Deserialize;
use std::error::Error as _;
use std::time::Duration;

/// The most bytes of an answer that are looked at.
const MAX_ANSWER: usize = 64 * 1024;
/// The most bytes of an answer that an error quotes.
const MAX_QUOTE: usize = 512;

/// A delivery that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// What happened, without secrets.
    pub text: String,
    /// Who is to blame.
    pub blame: Blame,
    /// How long the service wants to be left alone.
    pub wish: Option<Duration>,
}

impl Failure {
    /// A failure that concerns everything for this Provider.
    pub fn of_provider(text: impl Into<String>) -> Self {
        Failure {
            text: text.into(),
            blame: Blame::Provider,
            wish: None,
        }
    }

    /// What the outbox makes of it.
    pub fn fate(&self) -> Fate {
        Fate::Failed {
            blame: self.blame,
            wish: self.wish,
        }
    }
}

/// The client for Providers without certificates and proxies of their own.
///
/// # Errors
/// When the system's certificates cannot be read.
pub fn client() -> Result<Client, reqwest::Error> {
    // An idle connection that the service closes meanwhile costs an attempt; deliveries are rare enough to do without.
    Client::builder()
        .redirect(Policy::none())
        .pool_idle_timeout(Duration::from_secs(5))
        .build()
}

/// Sends a request once, within the timeout of the Provider.
///
/// # Errors
/// Anything but success.
pub async fn send(shared: &Client, request: &Request, settings: &Settings) -> Result<(), Failure> {
    let client = match settings.tls.is_none() && settings.proxy.is_none() {
        true => shared.clone(),
        false => own_client(settings)?,
    };
    let attempt = attempt(&client, request, settings);
    match tokio::time::timeout(settings.timeout, attempt).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::of_provider(format!(
            "no answer within {}",
            api::Duration::from(settings.timeout)
        ))),
    }
}

async fn attempt(client: &Client, request: &Request, settings: &Settings) -> Result<(), Failure> {
    let headers = headers(request)?;
    let sent = client
        .post(request.url.expose().clone())
        .headers(headers)
        .body(request.body.clone())
        .send()
        .await;
    let mut answer = sent.map_err(|error| unreachable(error, settings))?;
    let (status, wish) = (answer.status(), wish(answer.headers(), Timestamp::now()));
    let mut body = Vec::new();
    while body.len() < MAX_ANSWER {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            // The status has come: what is lost is a part of its explanation.
            Err(_) => break,
        }
    }
    let failure = judge(status, &body, request.accept, wish);
    failure.map_or(Ok(()), |failure| {
        Err(Failure {
            text: settings.mask(&failure.text),
            ..failure
        })
    })
}

/// What an answer means; nothing when the message was delivered.
fn judge(status: StatusCode, body: &[u8], accept: Accept, wish: Option<Duration>) -> Option<Failure> {
    if !status.is_success() {
        let text = quote(body);
        let text = match text.is_empty() {
            true => format!("request failed with status code {}", status.as_u16()),
            false => format!("request failed with status code {}: {text}", status.as_u16()),
        };
        let blame = match status {
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Blame::Message
            }
            _ => Blame::Provider,
        };
        return Some(Failure { text, blame, wish });
    }
    match accept {
        Accept::Status => None,
        Accept::SlackOk => slack_refusal(body),
    }
}

fn slack_refusal(body: &[u8]) -> Option<Failure> {
    #[derive(Deserialize)]
    struct Answer {
        ok: bool,
        #[serde(default)]
        error: String,
    }
    match serde_json::from_slice::<Answer>(body) {
        Ok(Answer { ok: true, .. }) => None,
        Ok(Answer { error, .. }) => {
            let is_about_message = matches!(
                error.as_str(),
                "msg_too_long" | "invalid_blocks" | "invalid_attachments" | "too_many_attachments" | "no_text"
            );
            let text = format!("Slack responded with error: {error}");
            let blame = if is_about_message {
                Blame::Message
            } else {
                Blame::Provider
            };
            Some(Failure {
                text,
                blame,
                wish: None,
            })
        }
        Err(_) => Some(Failure::of_provider(format!(
            "Slack answered something else than JSON: {}",
            quote(body)
        ))),
    }
}

fn quote(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_QUOTE)]);
    text.trim().replace(|c: char| c.is_control(), " ")
}

/// The wish of a `Retry-After` header, in seconds or as a date.
fn wish(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(date.duration_since(now).max(SignedDuration::ZERO)).unwrap_or_default())
}

fn unreachable(error: reqwest::Error, settings: &Settings) -> Failure {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Causes often repeat each other word for word.
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    Failure::of_provider(settings.mask(&text))
}

fn headers(request: &Request) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("sluice/", env!("CARGO_PKG_VERSION"))),
    );
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in request.headers.expose() {
        let wrong = |what| Failure::of_provider(format!("header {name:?} has an invalid {what}"));
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("name"))?;
        let mut value = HeaderValue::from_str(value).map_err(|_| wrong("value"))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

fn own_client(settings: &Settings) -> Result<Client, Failure> {
    let wrong = |what: &str| {
        let text = format!("cannot use {what}");
        move |error: reqwest::Error| Failure::of_provider(format!("{text}: {}", error.without_url()))
    };
    let mut builder = Client::builder().redirect(Policy::none());
    if let Some(Tls { ca, identity }) = &settings.tls {
        if let Some(ca) = ca {
            let trusted = Certificate::from_pem_bundle(ca).map_err(wrong("ca.crt"))?;
            if trusted.is_empty() {
                return Err(Failure::of_provider("cannot use ca.crt: it holds no certificate"));
            }
            builder = builder.tls_certs_only(trusted);
        }
        if let Some(identity) = identity {
            builder = builder.identity(Identity::from_pem(identity.expose()).map_err(wrong("tls.crt and tls.key"))?);
        }
    }
    if let Some(proxy) = &settings.proxy {
        let mut through = reqwest::Proxy::all(proxy.address.expose().clone()).map_err(wrong("the proxy"))?;
        if let Some(credentials) = &proxy.credentials {
            let (name, password) = credentials.expose();
            through = through.basic_auth(name, password);
        }
        builder = builder.proxy(through);
    }
    builder.build().map_err(wrong("the certificates"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::testing::at;

    #[track_caller]
    fn check(status: u16, body: &str, accept: Accept, expected: Option<(&str, Blame)>) {
        let failure = judge(StatusCode::from_u16(status).unwrap(), body.as_bytes(), accept, None);
        assert_eq!(
            failure.as_ref().map(|failure| (failure.text.as_str(), failure.blame)),
            expected
        );
    }

    #[test]
    fn every_2xx_is_a_success_and_a_redirect_is_none() {
        check(200, "", Accept::Status, None);
        check(204, "", Accept::Status, None);
        check(
            302,
            "",
            Accept::Status,
            Some(("request failed with status code 302", Blame::Provider)),
        );
        check(
            503,
            "busy\n",
            Accept::Status,
            Some(("request failed with status code 503: busy", Blame::Provider)),
        );
        check(
            401,
            "",
            Accept::Status,
            Some(("request failed with status code 401", Blame::Provider)),
        );
        check(
            400,
            "bad",
            Accept::Status,
            Some(("request failed with status code 400: bad", Blame::Message)),
        );
    }

    #[test]
    fn slack_says_in_the_body_whether_it_worked() {
        check(200, r#"{"ok":true}"#, Accept::SlackOk, None);
        check(
            200,
            r#"{"ok":false,"error":"channel_not_found"}"#,
            Accept::SlackOk,
            Some(("Slack responded with error: channel_not_found", Blame::Provider)),
        );
        check(
            200,
            r#"{"ok":false,"error":"msg_too_long"}"#,
            Accept::SlackOk,
            Some(("Slack responded with error: msg_too_long", Blame::Message)),
        );
        check(
            200,
            "<html>",
            Accept::SlackOk,
            Some(("Slack answered something else than JSON: <html>", Blame::Provider)),
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let wished = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            wish(&headers, at(784_111_700)).map(|wish| wish.as_secs())
        };
        assert_eq!(wished("7"), Some(7));
        assert_eq!(wished("Sun, 06 Nov 1994 08:49:37 GMT"), Some(77));
        assert_eq!(wished("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(wished("soon"), None);
        assert_eq!(wish(&HeaderMap::new(), at(0)), None);
    }
}
