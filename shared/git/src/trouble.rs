//! What goes wrong on the way to a server, in the words users of Flux know.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use reqwest::StatusCode;

use crate::policy::Refusal;

/// What went wrong between the client and the server, in the words users of Flux know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The server answered with a status that is not success.
    Refused {
        /// What was asked for.
        url: String,
        /// The status.
        status: StatusCode,
        /// The beginning of the body.
        body: String,
    },
    /// The deadline passed.
    Deadline {
        /// `Get` or `Post`.
        verb: &'static str,
        /// What was asked for.
        url: String,
    },
    /// No answer, or one that broke off.
    Broken {
        /// `Get` or `Post`.
        verb: &'static str,
        /// What was asked for.
        url: String,
        /// The reason.
        detail: String,
    },
    /// The server sent more than is accepted.
    TooLarge(u64),
    /// What went wrong over ssh, in full.
    Ssh(String),
    /// The policy does not allow to go there.
    NotAllowed(Refusal),
    /// Nobody wants the result any more.
    Cancelled,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused {
                status: StatusCode::UNAUTHORIZED,
                body,
                ..
            } => write!(f, "authentication required: {body}"),
            Self::Refused {
                status: StatusCode::FORBIDDEN,
                body,
                ..
            } => write!(f, "authorization failed: {body}"),
            Self::Refused {
                status: StatusCode::NOT_FOUND,
                body,
                ..
            } => write!(f, "repository not found: {body}"),
            Self::Refused { url, status, .. } => write!(
                f,
                "unexpected client error: unexpected requesting {url:?} status code: {}",
                status.as_u16()
            ),
            Self::Deadline { verb, url } => write!(f, "{verb} {url:?}: context deadline exceeded"),
            Self::Broken { verb, url, detail } => write!(f, "{verb} {url:?}: {detail}"),
            Self::TooLarge(limit) => write!(f, "the server sent more than {limit} bytes"),
            Self::Ssh(text) => f.write_str(text),
            Self::NotAllowed(refusal) => refusal.fmt(f),
            Self::Cancelled => f.write_str("the operation was cancelled"),
        }
    }
}

impl std::error::Error for Trouble {}

/// What broke first, readable while the transport that holds the other end is in use. What follows from it is noise.
#[derive(Clone, Debug, Default)]
pub struct FirstTrouble(Arc<OnceLock<Trouble>>);

impl FirstTrouble {
    /// The trouble, if there was any.
    pub fn get(&self) -> Option<&Trouble> {
        self.0.get()
    }

    /// Notes the trouble and makes it an error for the transport to pass on.
    pub fn set(&self, trouble: Trouble) -> io::Error {
        io::Error::other(self.0.get_or_init(|| trouble).clone())
    }
}

/// How many bytes a remote may still send, over all connections of an operation.
#[derive(Clone, Debug)]
pub struct Allowance {
    whole: u64,
    left: Arc<AtomicU64>,
}

impl Allowance {
    /// So many.
    pub fn new(whole: u64) -> Self {
        let left = Arc::new(AtomicU64::new(whole));
        Self { whole, left }
    }

    /// How much of it was taken.
    pub fn taken(&self) -> u64 {
        self.whole.saturating_sub(self.left.load(Ordering::Relaxed))
    }

    /// Takes some of it.
    pub fn take(&self, bytes: usize) -> Result<(), Trouble> {
        let taken = |left: u64| left.checked_sub(bytes as u64);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken) {
            Ok(_) => Ok(()),
            Err(_) => Err(Trouble::TooLarge(self.whole)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_speaks_as_flux_does() {
        let refused = |status, body: &str| Trouble::Refused {
            url: "http://h/r".into(),
            status,
            body: body.into(),
        };
        let deadline = Trouble::Deadline {
            verb: "Get",
            url: "http://h/r".into(),
        };
        let texts = [
            (
                refused(StatusCode::UNAUTHORIZED, "who?\n"),
                "authentication required: who?\n",
            ),
            (refused(StatusCode::FORBIDDEN, "no"), "authorization failed: no"),
            (refused(StatusCode::NOT_FOUND, "where?"), "repository not found: where?"),
            (
                refused(StatusCode::INTERNAL_SERVER_ERROR, "on fire"),
                "unexpected client error: unexpected requesting \"http://h/r\" status code: 500",
            ),
            (deadline, "Get \"http://h/r\": context deadline exceeded"),
        ];
        for (trouble, text) in texts {
            assert_eq!(trouble.to_string(), text);
        }
    }
}
