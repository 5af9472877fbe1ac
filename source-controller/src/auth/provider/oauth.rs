//! Services that speak OAuth 2: what they answer when they give a token, and when they give none.

use jiff::{SignedDuration, Timestamp};
use runtime::redact::Redacted;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::web::{self, Call, Web};

#[derive(Deserialize)]
struct Given {
    access_token: String,
    /// Seconds, as a number or, from machines, as a text.
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<i64>,
    /// Seconds of the epoch, which is all that some endpoints tell.
    #[serde(default, deserialize_with = "seconds")]
    expires_on: Option<i64>,
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Is(i64),
        Reads(String),
    }
    match Option::<Number>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Number::Is(number)) => Ok(Some(number)),
        Some(Number::Reads(text)) => text.parse().map(Some).map_err(D::Error::custom),
    }
}

/// The token that is given for a call, and until when it is good; what a refusal says is found by `said`.
///
/// # Errors
/// There is no answer, a refusal, or no token in the answer.
pub async fn token(
    web: &Web,
    call: &Call,
    said: impl Fn(&[u8]) -> Option<String>,
    now: Timestamp,
) -> Result<(Redacted<String>, Timestamp), web::Error> {
    let given: Given = web.json(call, said).await?;
    if given.access_token.is_empty() {
        return Err(call.misunderstood("it holds no access_token"));
    }
    let after = |seconds| now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    let at = |seconds| Timestamp::from_second(seconds).unwrap_or(now);
    // Without a word about it a token is used once.
    let expires = given.expires_in.map(after).or(given.expires_on.map(at)).unwrap_or(now);
    Ok((Redacted::new(given.access_token), expires))
}

/// What such a service says about a refusal.
pub fn said(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        #[serde(default)]
        error_description: String,
    }
    let Refusal {
        error,
        error_description,
    } = serde_json::from_slice(body).ok()?;
    Some(format!("{error}: {error_description}"))
}
