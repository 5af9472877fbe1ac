//! Asking once more where there is silence.
//!
//! A question over HTTP/2 may be lost without a word: hyper hands it to the task of its connection through a channel of tokio's,
//! and what is sent while the other end is being dropped is neither received nor dropped as long as there is a sender: here the
//! one who waits for the answer (reqwest's issue 1323 is about such silences). Only the clock tells that from a server that
//! thinks. What is to be done about errors is not decided here.

use std::pin::pin;
use std::time::Duration;

use reqwest::{Response, Url};

/// How long a server may be silent before it is asked once more.
const SILENCE: Duration = Duration::from_secs(10);

/// Puts a question to this address, and puts it once more after a silence. Whichever is answered first counts. Where there is no
/// TLS there is no HTTP/2, and nothing is put twice.
pub async fn ask<F>(url: &Url, put: impl Fn() -> F) -> reqwest::Result<Response>
where
    F: Future<Output = reqwest::Result<Response>>,
{
    if url.scheme() != "https" {
        return put().await;
    }
    let mut first = pin!(put());
    if let Ok(answer) = tokio::time::timeout(SILENCE, &mut first).await {
        return answer;
    }
    tracing::debug!(host = url.host_str(), "no answer yet: asking once more");
    tokio::select! {
        answer = first => answer,
        answer = put() => answer,
    }
}
