//! Smart HTTP for gix, over an asynchronous client, with one deadline over everything.
//!
//! gix's own backend hides the body of an error answer, cannot be interrupted while a server is silent, and hands credentials
//! to a helper program's protocol. This one waits for each read only until the deadline, keeps what a server said when it
//! refused (see [`Trouble`]), and stops reading at a size limit.
//!
//! Redirects are followed as git does by default: those of the first request only, at most ten, never from https to http. From
//! where one leads to another host, scheme or port, neither the `Authorization` header nor the client certificate goes along.
//!
//! A question whose connection ends before its answer begins is put once more, as git and Go do: the server may have closed a
//! connection that was kept, in the very moment in which it is used again. Every question may be put twice, those that are sent
//! as POST too: they hold all that they are about, and change nothing. (Where nothing was sent yet, the library asks again over
//! another connection by itself.) One that seems to be lost in silence is put once more too, unless
//! the server is known to speak HTTP/1, where none is lost (see [`silence`]).
//!
//! The conversation itself, which is blocking, runs on a thread for blocking work; [`Stop::wait`] joins the two worlds.

mod cause;
mod client;
mod silence;

use std::any::Any;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use gix::protocol::transport::client::blocking_io::http::{GetResponse, Http, PostBodyDataKind, PostResponse};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Method, StatusCode, Url, Version};

use crate::announcement::Announcement;
use crate::credentials::Credentials;
use crate::policy::Policy;
use crate::proxies::Proxies;
use crate::stop::{Ended, Stop};
use crate::trouble::{Allowance, FirstTrouble, Prelude, Trouble, legible};
pub use cause::causes;
use cause::{is_unanswered, is_unsent};
pub use client::client;

const MAX_REDIRECTS: usize = 10;
/// How often a question is put again when a new connection was closed before it was asked. A server that turns a client away
/// after the handshake says why, but what it says is read only if there is still time.
const MORE_TRIES: usize = 2;
/// How much of a refusal is kept for the message.
const MAX_REFUSAL: usize = 4 * 1024;

/// The HTTP half of a Git conversation.
pub struct Backend {
    link: Link,
    /// The base URL after a redirect.
    moved: Option<String>,
}

impl Backend {
    /// A backend that gives up when told to and takes no more than what is allowed from the server. `client` is one for the
    /// credentials, see [`client`].
    pub fn new(
        client: Client,
        policy: Arc<Policy>,
        proxies: Arc<Proxies>,
        credentials: &Credentials,
        stop: Stop,
        allowance: Allowance,
        trouble: FirstTrouble,
    ) -> Self {
        let link = Link {
            client,
            policy,
            proxies,
            credentials: Arc::new(credentials.clone()),
            is_http1: Arc::default(),
            stop,
            allowance,
            trouble,
        };
        Self { link, moved: None }
    }
}

/// What it takes to ask; shared by the parts of an exchange.
#[derive(Clone)]
struct Link {
    client: Client,
    policy: Arc<Policy>,
    proxies: Arc<Proxies>,
    credentials: Arc<Credentials>,
    /// Whether the last answer came over HTTP/1.
    is_http1: Arc<AtomicBool>,
    stop: Stop,
    allowance: Allowance,
    trouble: FirstTrouble,
}

impl Link {
    /// One request and its answer's head, success or not.
    fn send(&self, method: Method, url: &Url, mut headers: HeaderMap, body: Vec<u8>) -> io::Result<reqwest::Response> {
        let verb = verb(&method);
        let allowed = self.policy.check_url(url);
        allowed.map_err(|refusal| self.trouble.set(Trouble::NotAllowed(refusal)))?;
        let authorization = self.credentials.authorization.as_ref();
        if let Some(Ok(mut value)) = authorization.map(|value| HeaderValue::from_str(value.expose())) {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let put = || {
            let request = self.client.request(method.clone(), url.clone());
            request.headers(headers.clone()).body(body.clone()).send()
        };
        let (mut unsent, mut unanswered) = (0, 0);
        loop {
            // Once: a question that was put again for another reason is not put a third time.
            let is_losable = url.scheme() == "https" && !self.is_http1.load(Ordering::Relaxed) && unanswered == 0;
            let asked = self.stop.wait(async {
                match is_losable {
                    true => silence::ask(put, is_setback).await,
                    false => put().await,
                }
            });
            match asked {
                Ok(Ok(response)) => {
                    let is_http1 = response.version() < Version::HTTP_2;
                    self.is_http1.store(is_http1, Ordering::Relaxed);
                    return Ok(response);
                }
                Ok(Err(error)) if unsent < MORE_TRIES && is_unsent(&error) => unsent += 1,
                Ok(Err(error)) if unanswered == 0 && is_unanswered(&error) => unanswered += 1,
                Ok(Err(error)) => {
                    let detail = causes(&error) + self.wanting(&method, url, &error);
                    return Err(self.broken(verb, url.as_str(), detail));
                }
                Err(ended) => return Err(self.ended(verb, url.as_str(), ended)),
            }
        }
    }

    /// What may be the matter with a server that has never said anything and hung up.
    fn wanting(&self, method: &Method, url: &Url, error: &reqwest::Error) -> &'static str {
        if *method != Method::GET || url.scheme() != "https" || !is_unsent(error) {
            return "";
        }
        match self.credentials.certificate {
            None => ": the server may want a client certificate",
            Some(_) => ": the server may not accept the client certificate",
        }
    }

    /// Goes on at another host, which gets to see nothing of who asks.
    fn leave(&mut self) -> Result<(), String> {
        let had_certificate = self.credentials.certificate.is_some();
        self.credentials = Arc::new(self.credentials.for_other_hosts());
        self.is_http1 = Arc::default();
        if had_certificate {
            self.client = client(&self.policy, &self.proxies, &self.credentials)?;
        }
        Ok(())
    }

    fn ended(&self, verb: &'static str, url: &str, ended: Ended) -> io::Error {
        self.trouble.set(match ended {
            Ended::Cancelled => Trouble::Cancelled,
            Ended::Deadline => Trouble::Deadline {
                verb,
                url: url.to_owned(),
            },
        })
    }

    fn broken(&self, verb: &'static str, url: &str, detail: String) -> io::Error {
        self.trouble.set(Trouble::Broken {
            verb,
            url: url.to_owned(),
            detail,
        })
    }

    /// A redirect that is not followed.
    fn lost(&self, url: &Url, why: &str) -> io::Error {
        self.trouble.set(Trouble::Broken {
            verb: "Get",
            url: url.to_string(),
            detail: format!("http redirect: {why}"),
        })
    }

    /// Turns an answer that is not success into the trouble it is.
    fn refused(&self, response: reqwest::Response) -> io::Error {
        let (url, status) = (response.url().to_string(), response.status());
        let body = self.stop.wait(beginning(response)).unwrap_or_default();
        self.trouble.set(Trouble::Refused { url, status, body })
    }

    fn answer(&self, verb: &'static str, response: reqwest::Response) -> (Cursor<Vec<u8>>, Body) {
        let mut head = Vec::new();
        for (name, value) in response.headers() {
            head.extend_from_slice(name.as_str().as_bytes());
            head.push(b':');
            head.extend_from_slice(value.as_bytes());
            head.push(b'\n');
        }
        let url = response.url().to_string();
        (
            Cursor::new(head),
            Body {
                link: self.clone(),
                verb,
                url,
                response,
                prelude: Prelude::default(),
                chunk: Cursor::default(),
            },
        )
    }
}

/// Whether somebody else may still do better: an error, and what busy servers say.
fn is_setback(answer: &reqwest::Result<reqwest::Response>) -> bool {
    answer.as_ref().map_or(true, |response| {
        let status = response.status();
        status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
    })
}

fn verb(method: &Method) -> &'static str {
    if *method == Method::POST { "Post" } else { "Get" }
}

async fn beginning(mut response: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= MAX_REFUSAL {
            bytes.truncate(MAX_REFUSAL);
            break;
        }
    }
    legible(&bytes)
}

/// The body of an answer, read as it arrives.
pub struct Body {
    link: Link,
    verb: &'static str,
    url: String,
    response: reqwest::Response,
    prelude: Prelude,
    chunk: Cursor<Vec<u8>>,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.chunk.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            let link = &self.link;
            match link.stop.wait(self.response.chunk()) {
                Ok(Ok(None)) => return Ok(0),
                Ok(Ok(Some(chunk))) => {
                    let allowed = link.allowance.take(chunk.len());
                    let allowed = allowed.and_then(|()| self.prelude.take(&chunk));
                    allowed.map_err(|trouble| link.trouble.set(trouble))?;
                    self.chunk = Cursor::new(chunk.to_vec());
                }
                Ok(Err(error)) => return Err(link.broken(self.verb, &self.url, causes(&error))),
                Err(ended) => return Err(link.ended(self.verb, &self.url, ended)),
            }
        }
    }
}

/// A POST whose body is collected first: it is sent when its answer is first asked for.
struct Exchange {
    link: Link,
    url: Url,
    headers: HeaderMap,
    request: Vec<u8>,
    head: Option<Cursor<Vec<u8>>>,
    body: Option<Body>,
    sent: bool,
}

impl Exchange {
    fn send(&mut self) -> io::Result<()> {
        if self.sent {
            return Ok(());
        }
        self.sent = true;
        let (headers, request) = (std::mem::take(&mut self.headers), std::mem::take(&mut self.request));
        let response = self.link.send(Method::POST, &self.url, headers, request)?;
        if !response.status().is_success() {
            return Err(self.link.refused(response));
        }
        let (head, body) = self.link.answer("Post", response);
        (self.head, self.body) = (Some(head), Some(body));
        Ok(())
    }
}

type Shared = Arc<Mutex<Exchange>>;

fn held(exchange: &Shared) -> io::Result<MutexGuard<'_, Exchange>> {
    let broken = |_| io::Error::other("an earlier use of the connection failed");
    exchange.lock().map_err(broken)
}

/// Collects what is to be sent.
pub struct PostBody(Shared);

impl Write for PostBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        held(&self.0)?.request.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The head of an answer, a line per header.
pub enum Head {
    /// It is here.
    Known(Cursor<Vec<u8>>),
    /// Asking for it sends the request.
    Pending(PendingHead),
}

/// The head of an answer that was not asked for yet.
pub struct PendingHead(Shared);

impl Head {
    fn known(&mut self) -> io::Result<&mut Cursor<Vec<u8>>> {
        if let Self::Pending(PendingHead(exchange)) = self {
            let mut exchange = held(exchange)?;
            exchange.send()?;
            let head = exchange.head.take().unwrap_or_default();
            drop(exchange);
            *self = Self::Known(head);
        }
        match self {
            Self::Known(head) => Ok(head),
            Self::Pending(_) => Err(io::Error::other("the answer has no head")),
        }
    }
}

impl Read for Head {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.known()?.read(buffer)
    }
}

impl BufRead for Head {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.known()?.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Self::Known(head) = self {
            head.consume(amount);
        }
    }
}

/// The body of an answer, asked for or not.
pub enum Answer {
    /// The first one is arriving.
    First(Box<Announcement<Body>>),
    /// It is arriving.
    Known(Box<Body>),
    /// Reading it sends the request.
    Pending(PendingBody),
}

/// The body of an answer that was not asked for yet.
pub struct PendingBody(Shared);

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Self::Pending(PendingBody(exchange)) = self {
            let mut exchange = held(exchange)?;
            exchange.send()?;
            let Some(body) = exchange.body.take() else { return Ok(0) };
            drop(exchange);
            *self = Self::Known(Box::new(body));
        }
        match self {
            Self::First(body) => body.read(buffer),
            Self::Known(body) => body.read(buffer),
            Self::Pending(_) => Ok(0),
        }
    }
}

impl Http for Backend {
    type Headers = Head;
    type ResponseBody = BufReader<Answer>;
    type PostBody = PostBody;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<Self::Headers, Self::ResponseBody>> {
        let headers = header_map(headers);
        let tail = url.strip_prefix(base_url).unwrap_or_default();
        let mut target = parse(url)?;
        for _ in 0..=MAX_REDIRECTS {
            let response = failing(self.link.send(Method::GET, &target, headers.clone(), Vec::new()))?;
            if response.status().is_redirection()
                && let Some(location) = response.headers().get(LOCATION).and_then(|value| value.to_str().ok())
            {
                let next = failing(followed(&target, location, tail).map_err(|why| self.link.lost(&target, &why)))?;
                if !is_same_place(&target, &next) {
                    // For good: what follows goes to the other host too.
                    let left = self.link.leave();
                    failing(left.map_err(|why| self.link.lost(&next, &why)))?;
                }
                target = next;
                self.moved = target.as_str().strip_suffix(tail).map(str::to_owned);
                continue;
            }
            if !response.status().is_success() {
                return failing(Err(self.link.refused(response)));
            }
            let (head, body) = self.link.answer("Get", response);
            return Ok(GetResponse {
                headers: Head::Known(head),
                body: BufReader::new(Answer::First(Box::new(Announcement::new(body)))),
            });
        }
        failing(Err(self
            .link
            .lost(&target, &format!("too many redirects: more than {MAX_REDIRECTS}"))))
    }

    fn post(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _kind: PostBodyDataKind,
    ) -> gix::Result<PostResponse<Self::Headers, Self::ResponseBody, Self::PostBody>> {
        let exchange = Arc::new(Mutex::new(Exchange {
            link: self.link.clone(),
            url: parse(url)?,
            headers: header_map(headers),
            request: Vec::new(),
            head: None,
            body: None,
            sent: false,
        }));
        Ok(PostResponse {
            post_body: PostBody(Arc::clone(&exchange)),
            headers: Head::Pending(PendingHead(Arc::clone(&exchange))),
            body: BufReader::new(Answer::Pending(PendingBody(exchange))),
        })
    }

    fn configure(&mut self, _config: &dyn Any) -> gix::Result {
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.moved.clone()
    }
}

fn failing<T>(result: io::Result<T>) -> gix::Result<T> {
    result.map_err(gix::Error::from_error)
}

fn parse(url: &str) -> gix::Result<Url> {
    Url::parse(url).map_err(gix::Error::from_error)
}

/// gix hands headers over as lines.
fn header_map(lines: impl IntoIterator<Item = impl AsRef<str>>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in lines {
        let Some((name, value)) = line.as_ref().split_once(':') else {
            continue;
        };
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value.trim())) {
            map.append(name, value);
        }
    }
    map
}

/// Where a redirect leads, or why it is not followed: to http and https only, never from https to http, never with user
/// information of the server's choosing, and to the same question at another place.
fn followed(from: &Url, location: &str, tail: &str) -> Result<Url, String> {
    let to = from
        .join(location)
        .map_err(|error| format!("to an address that cannot be read: {error}"))?;
    match (from.scheme(), to.scheme()) {
        ("https", "http") => return Err("changes scheme from \"https\" to \"http\"".to_owned()),
        (_, "http" | "https") => {}
        (_, other) => return Err(format!("unsupported scheme {other:?}")),
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err("to an address with user information".to_owned());
    }
    if !to.as_str().ends_with(tail) {
        let path = tail.split('?').next().unwrap_or_default();
        return Err(format!("target {:?} does not end with {path}", to.path()));
    }
    Ok(to)
}

/// Whether both are of one host, scheme and port.
fn is_same_place(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    const TAIL: &str = "/info/refs?service=git-upload-pack";

    /// Where a redirect leads and whether with credentials; or why not.
    fn check(from: &str, location: &str, expected: Result<(&str, bool), &str>) {
        let (from, location) = (url(&format!("{from}{TAIL}")), location.replace("TAIL", TAIL));
        let found = followed(&from, &location, TAIL);
        let found = found.map(|to| (to.as_str().replace(TAIL, ""), is_same_place(&from, &to)));
        let expected = expected.map(|(to, same)| (to.to_owned(), same)).map_err(str::to_owned);
        assert_eq!(found, expected, "{from} {location}");
    }

    #[test]
    fn a_redirect_keeps_the_question_and_leaves_credentials_at_home() {
        check("https://a/x", "https://a/yTAIL", Ok(("https://a/y", true)));
        check("https://a/x", "/yTAIL", Ok(("https://a/y", true)));
        check("https://a/x", "https://b/xTAIL", Ok(("https://b/x", false)));
        check("https://a/x", "https://a:444/xTAIL", Ok(("https://a:444/x", false)));
        check("http://a/x", "https://a/xTAIL", Ok(("https://a/x", false)));
        check("http://a:80/x", "http://a/xTAIL", Ok(("http://a/x", true)));
        check(
            "http://a:8443/x",
            "https://a:8443/xTAIL",
            Ok(("https://a:8443/x", false)),
        );
    }

    #[test]
    fn redirects_that_lead_astray_are_not_followed() {
        let text = "changes scheme from \"https\" to \"http\"";
        check("https://a/x", "http://a/xTAIL", Err(text));
        check("http://a/x", "ftp://a/xTAIL", Err("unsupported scheme \"ftp\""));
        check("http://a/x", "file:///etc/TAIL", Err("unsupported scheme \"file\""));
        check(
            "http://a/x",
            "http://u:p@a/xTAIL",
            Err("to an address with user information"),
        );
        check(
            "http://a/x",
            "/login",
            Err("target \"/login\" does not end with /info/refs"),
        );
        check(
            "http://a/x",
            "/info/refs",
            Err("target \"/info/refs\" does not end with /info/refs"),
        );
        check(
            "http://a/x",
            "http://[",
            Err("to an address that cannot be read: invalid IPv6 address"),
        );
    }
}
