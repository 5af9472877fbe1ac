//! The words for what goes wrong: those of Flux, because people search for them.

use crate::client::Error;
use crate::stop::Stop;
use crate::trouble::FirstTrouble;
use crate::url::RemoteUrl;

/// In which step something failed; Flux's texts tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Asking what there is.
    List,
    /// Fetching it.
    Clone,
}

/// The words for a failure: what HTTP said, else that time was up, else what the library says. An answer that is cut short is
/// called as Go calls it.
pub fn failure(
    remote: &RemoteUrl,
    step: Step,
    trouble: &FirstTrouble,
    stop: &Stop,
    error: &dyn std::error::Error,
) -> Error {
    let text = match trouble.get() {
        Some(trouble) => trouble.to_string(),
        None if stop.has_ended() => "context deadline exceeded".to_owned(),
        None => chain(error).replace("failed to fill whole buffer", "unexpected EOF"),
    };
    Error::Failed(match step {
        Step::List => format!("unable to list remote for '{remote}': {text}"),
        Step::Clone => format!("unable to clone '{remote}': {text}"),
    })
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Whether the text is the full name of an object.
pub fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a server says that it does not have what was asked for, or does not hand it out.
pub fn is_refusal(error: &Error) -> bool {
    error.to_string().contains("not our ref")
}

/// How this client calls itself in the protocol.
pub fn agent() -> (&'static str, Option<String>) {
    (
        "agent",
        Some(concat!("git/sluice-", env!("CARGO_PKG_VERSION")).to_owned()),
    )
}
