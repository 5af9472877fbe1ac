//! What a request to an API server can end in, worded as client-go words it, so that messages match Flux's.
//!
//! Nothing of a request's body gets into an error here. What the API server itself quotes is masked by whoever knows
//! the object ([`crate::apply`]).

use kube::core::Status;
use runtime::client::answers_outage;
use runtime::path::Unfit;
use thiserror::Error;

/// Why a request to an API server came to nothing.
#[derive(Clone, Debug, Error)]
pub enum ApiError {
    /// The API server refused; its message.
    #[error("{}", .0.message)]
    Status(Box<Status>),
    /// The API server does not serve the kind in that version.
    #[error("no matches for kind \"{kind}\" in version \"{api_version}\"")]
    NoMatch {
        /// The kind.
        kind: String,
        /// Group and version, `v1` for the core group.
        api_version: String,
    },
    /// The API server does not serve the kind in any version.
    #[error("no matches for kind \"{kind}\" in group \"{group}\"")]
    NoMatchInGroup {
        /// The kind.
        kind: String,
        /// The group; empty for the core group.
        group: String,
    },
    /// An aggregated API server behind the API server is away, so nobody knows what that group and version serve.
    #[error("unable to retrieve the complete list of server APIs: {0}: stale GroupVersion discovery: {0}")]
    Stale(String),
    /// No answer: the network, TLS, a timeout.
    #[error("{0}")]
    Unreachable(String),
    /// An answer that is not understood: of something else in the place of an API server, or of one that is too old.
    #[error("{0}")]
    Odd(String),
    /// Not sent, because it could not have meant what was written, for example a name with a slash.
    #[error("{0}")]
    Refused(String),
}

/// It is not sent.
impl From<Unfit> for ApiError {
    fn from(error: Unfit) -> Self {
        ApiError::Refused(error.to_string())
    }
}

impl ApiError {
    /// The API server's reason, for example `Invalid`; empty where it gave none.
    ///
    /// A conflict about field ownership counts as `FieldManagerConflict`, as in Flux.
    pub fn reason(&self) -> &str {
        let ApiError::Status(status) = self else { return "" };
        let causes = status
            .details
            .as_ref()
            .map(|details| details.causes.as_slice())
            .unwrap_or_default();
        match causes.iter().any(|cause| cause.reason == FIELD_MANAGER_CONFLICT) {
            true => FIELD_MANAGER_CONFLICT,
            false => &status.reason,
        }
    }

    /// Whether the object (or the path of its kind) does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ApiError::Status(status) if status.is_not_found())
    }

    /// Whether it is not the object that does not exist, but the path of its kind.
    pub(crate) fn is_not_served(&self) -> bool {
        matches!(self, ApiError::Status(status) if status.is_not_found() && status.message.starts_with(NO_PATH))
    }

    /// Whether the definition of the kind is on its way out, so that no object of it can be created any more.
    pub(crate) fn is_about_terminating_definition(&self) -> bool {
        matches!(self, ApiError::Status(status) if status.is_forbidden() && status.message.contains(TERMINATING))
    }

    /// The answer to a path that nothing is served at.
    pub(crate) fn not_found(request: &str) -> Self {
        ApiError::Status(
            Status::failure(&format!("{NO_PATH} ({request})"), "NotFound")
                .with_code(404)
                .boxed(),
        )
    }

    /// Whether the API server does not serve the kind.
    pub fn is_no_match(&self) -> bool {
        matches!(self, ApiError::NoMatch { .. } | ApiError::NoMatchInGroup { .. })
    }

    /// Whether the identity lacks the right.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, ApiError::Status(status) if status.is_forbidden())
    }

    /// Whether somebody else was faster: another version of the object, or another object of that name.
    pub fn is_conflict(&self) -> bool {
        matches!(self, ApiError::Status(status) if status.is_conflict())
    }

    /// Whether a create failed only because the object is there already.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, ApiError::Status(status) if status.is_already_exists())
    }

    /// Whether the API server itself is away or has no time: worth another try soon, and no news about any object.
    ///
    /// Not where only the server behind an aggregated API is: that may last, and everything else goes on meanwhile.
    pub fn is_outage(&self) -> bool {
        match self {
            ApiError::Unreachable(_) => true,
            // Its own answers are a Status, those in the name of an aggregated API that is away are none.
            ApiError::Status(status) if status.code == 503 && status.message.starts_with(UNABLE) => false,
            ApiError::Status(status) => answers_outage(status),
            ApiError::Stale(_)
            | ApiError::NoMatch { .. }
            | ApiError::NoMatchInGroup { .. }
            | ApiError::Odd(_)
            | ApiError::Refused(_) => false,
        }
    }

    /// Whether a write that ended in this may have been carried out nevertheless.
    pub(crate) fn is_uncertain(&self) -> bool {
        match self {
            ApiError::Unreachable(_) | ApiError::Odd(_) => true,
            ApiError::Status(status) => status.code >= 500,
            ApiError::Stale(_) | ApiError::NoMatch { .. } | ApiError::NoMatchInGroup { .. } | ApiError::Refused(_) => {
                false
            }
        }
    }

    /// Whether the change is one that an existing object does not allow, as Flux and kubectl tell: any conflict, any
    /// invalid object, and texts of webhooks and CEL rules that say so.
    pub fn is_immutable(&self) -> bool {
        let ApiError::Status(status) = self else { return false };
        status.is_conflict() || status.is_invalid() || IMMUTABLE.iter().any(|text| status.message.contains(text))
    }

    /// Whether an error that [is immutable](Self::is_immutable) is so without doubt: it says that the change, not the
    /// object, is what is wrong.
    pub fn says_immutable(&self) -> bool {
        let ApiError::Status(status) = self else { return false };
        IMMUTABLE
            .iter()
            .chain(&UNCHANGEABLE)
            .any(|text| status.message.contains(text))
    }

    /// The same error with another text.
    pub(crate) fn with_message(self, message: String) -> Self {
        match self {
            ApiError::Status(mut status) => {
                status.message = message;
                // Causes repeat the message in parts.
                if let Some(details) = &mut status.details {
                    details.causes.iter_mut().for_each(|cause| cause.message.clear());
                }
                ApiError::Status(status)
            }
            other => other,
        }
    }
}

/// What webhooks and CEL rules say about an immutable field, by Flux's patterns.
const IMMUTABLE: [&str; 2] = ["is immutable", "immutable field"];
/// What the API server's own validation says about changes of Services, role bindings and StatefulSets.
const UNCHANGEABLE: [&str; 3] = ["may not change", "cannot change", "other than"];
/// What API servers say of objects whose definition is being deleted.
const TERMINATING: &str = "custom resource definition is terminating";
/// What client-go says about a path that nothing is served at.
const NO_PATH: &str = "the server could not find the requested resource";
/// What client-go says about a 503 whose body is no Status.
const UNABLE: &str = "the server is currently unable to handle the request";
const FIELD_MANAGER_CONFLICT: &str = "FieldManagerConflict";

/// The text of an error and of all that it comes from, joined by `: `, repeated texts left out.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let part = source.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        next = source.source();
    }
    text
}

/// The API server's answer as an error: its own Status, or what client-go says where the body is none.
pub(crate) fn refusal(code: u16, body: &[u8], request: &str) -> ApiError {
    if let Ok(status) = serde_json::from_slice::<Status>(body)
        && !status.message.is_empty()
    {
        return ApiError::Status(status.with_code(code).boxed());
    }
    let text: String = String::from_utf8_lossy(body)
        .trim()
        .chars()
        .take(MAX_FOREIGN_TEXT)
        .collect();
    let (reason, message) = match code {
        400 => (
            "BadRequest",
            "the server rejected our request for an unknown reason".to_owned(),
        ),
        401 => (
            "Unauthorized",
            "the server has asked for the client to provide credentials".to_owned(),
        ),
        403 => ("Forbidden", text),
        404 => return ApiError::not_found(request),
        405 => (
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource".to_owned(),
        ),
        413 => ("RequestEntityTooLarge", "the request is too large".to_owned()),
        429 => (
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later".to_owned(),
        ),
        503 => ("ServiceUnavailable", UNABLE.to_owned()),
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted".to_owned(),
        ),
        500.. => (
            "InternalError",
            format!("an error on the server ({text:?}) has prevented the request from succeeding"),
        ),
        _ => (
            "",
            format!("the server responded with the status code {code} but did not return more information"),
        ),
    };
    ApiError::Status(
        Status::failure(&format!("{message} ({request})"), reason)
            .with_code(code)
            .boxed(),
    )
}

/// How much of an answer that is no Status, such as a proxy's page, is quoted, in characters.
const MAX_FOREIGN_TEXT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: u16, body: &str, reason: &str, text: &str) {
        let error = refusal(code, body.as_bytes(), "patch deployments.apps web");
        assert_eq!((error.reason(), error.to_string().as_str()), (reason, text));
    }

    #[test]
    fn the_api_servers_own_words_are_kept() {
        let body = r#"{"kind":"Status","message":"no","reason":"Invalid","code":422}"#;
        check(422, body, "Invalid", "no");
        check(500, r#"{"kind":"Status","message":"odd"}"#, "", "odd");
    }

    #[test]
    fn an_answer_that_is_no_status_reads_as_in_client_go() {
        let text = "the server could not find the requested resource (patch deployments.apps web)";
        check(404, "404 page not found", "NotFound", text);
        let text = "an error on the server (\"<html>\") has prevented the request from succeeding (patch deployments.apps web)";
        check(502, "<html>", "InternalError", text);
    }

    #[test]
    fn an_aggregated_api_that_is_away_is_no_outage_of_the_api_server() {
        let check = |error: ApiError, expected| assert_eq!(error.is_outage(), expected, "{error}");
        let answer = |code, body: &str| refusal(code, body.as_bytes(), "patch widgets.example.com web");
        check(ApiError::Unreachable("refused".into()), true);
        check(
            answer(
                503,
                r#"{"kind":"Status","message":"not ready","reason":"ServiceUnavailable"}"#,
            ),
            true,
        );
        check(
            answer(500, r#"{"kind":"Status","message":"etcdserver: leader changed"}"#),
            true,
        );
        check(answer(502, "<html>"), true);
        check(answer(503, "service unavailable"), false);
        check(answer(503, "dial tcp 10.0.0.1:443: connect: connection refused"), false);
        check(
            answer(
                500,
                r#"{"kind":"Status","message":"failed to create typed patch object (n/a)"}"#,
            ),
            false,
        );
        check(ApiError::Stale("example.com/v1".into()), false);
        check(ApiError::Odd("no JSON".into()), false);
    }

    #[test]
    fn field_conflicts_have_a_reason_of_their_own() {
        let body = r#"{"message":"m","reason":"Conflict","details":{"causes":[{"reason":"FieldManagerConflict","message":"x"}]}}"#;
        check(409, body, "FieldManagerConflict", "m");
    }

    #[test]
    fn conflicts_and_invalid_objects_and_clear_words_are_immutable() {
        let is = |code, body: &str| refusal(code, body.as_bytes(), "").is_immutable();
        assert!(is(409, r#"{"message":"m","reason":"Conflict"}"#));
        assert!(is(422, r#"{"message":"m","reason":"Invalid"}"#));
        assert!(is(400, r#"{"message":"field x is immutable","reason":"BadRequest"}"#));
        assert!(!is(409, r#"{"message":"m","reason":"AlreadyExists"}"#));
        assert!(!is(403, r#"{"message":"m","reason":"Forbidden"}"#));
    }
}
