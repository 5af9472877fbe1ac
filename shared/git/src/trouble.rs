//! What goes wrong on the way to a server, in the words users of Flux know.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use reqwest::StatusCode;

use crate::policy::Refusal;

/// How much a server may say before the first object: lists of references are held in memory. It is room for half a million.
const MAX_PRELUDE: u64 = 64 << 20;
/// How the part of an answer begins that holds the objects, in the new protocol.
const PACKFILE: &[u8] = b"packfile";

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
    /// It sent more than is accepted before the first object.
    Prelude,
    /// With its objects the process has grown by more than this, in bytes.
    Memory(u64),
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
            Self::Prelude => write!(
                f,
                "the server lists references without end: more than {MAX_PRELUDE} bytes of them"
            ),
            Self::Memory(limit) => write!(f, "receiving its objects takes more than {limit} bytes of memory"),
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

/// Measures what a server says before the first object. It reads the frames of Git's protocol only as far as it takes to know
/// where objects begin; what has no frames is measured to its end.
#[derive(Clone, Debug, Default)]
pub struct Prelude {
    taken: u64,
    /// The beginning of the frame: four digits, then as much of the content as may have to be told apart.
    head: Vec<u8>,
    /// What is still to come of the frame's content.
    left: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Length,
    Content,
    /// There are no frames.
    Lost,
    /// The objects have begun.
    Over,
}

impl Prelude {
    /// Measures what has arrived.
    ///
    /// # Errors
    /// It was too much.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), Trouble> {
        let whole = bytes.len();
        while let [first, rest @ ..] = bytes {
            match self.state {
                State::Over => return Ok(()),
                State::Lost => break,
                State::Length => {
                    self.head.push(*first);
                    bytes = rest;
                    if self.head.len() == 4 {
                        self.enter();
                    }
                }
                State::Content => {
                    let here = bytes.len().min(self.left);
                    let wanted = PACKFILE.len().saturating_sub(self.head.len()).min(here);
                    let (known, after) = bytes.split_at(here);
                    self.head.extend(known.iter().take(wanted));
                    (self.left, bytes) = (self.left - here, after);
                    // Objects come in frames of their own, marked by their first byte.
                    if matches!(self.head.first(), Some(1..=3)) || self.head == PACKFILE {
                        self.state = State::Over;
                    } else if self.left == 0 {
                        self.head.clear();
                        self.state = State::Length;
                    }
                }
            }
        }
        self.taken += whole as u64;
        if self.taken > MAX_PRELUDE {
            return Err(Trouble::Prelude);
        }
        Ok(())
    }

    /// Goes on after the length of a frame.
    fn enter(&mut self) {
        let head = std::mem::take(&mut self.head);
        let digits = std::str::from_utf8(&head).ok();
        self.state = match digits.and_then(|digits| usize::from_str_radix(digits, 16).ok()) {
            // Frames without content.
            Some(0..=4) => State::Length,
            Some(length) => {
                self.left = length - 4;
                State::Content
            }
            None if head == b"PACK" => State::Over,
            None => State::Lost,
        };
    }
}

/// Text of a server that people will read: without what moves a terminal's cursor, and as far as it is text at all.
pub fn legible(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
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

    /// Whether objects have begun after these frames, in one piece and byte by byte.
    fn check_prelude(bytes: &[u8], expected: State) {
        let mut whole = Prelude::default();
        whole.take(bytes).unwrap();
        let mut piecewise = Prelude::default();
        bytes.iter().for_each(|byte| piecewise.take(&[*byte]).unwrap());
        assert_eq!([whole.state, piecewise.state], [expected; 2], "{:?}", legible(bytes));
    }

    #[test]
    fn the_beginning_of_objects_is_seen() {
        check_prelude(b"", State::Length);
        check_prelude(b"001e# service=git-upload-pack\n0000", State::Length);
        check_prelude(b"0011shallow-info\n", State::Length);
        check_prelude(b"0011shallow", State::Content);
        check_prelude(b"000dpackfile\n", State::Over);
        check_prelude(b"0001000dpackfile\n0006\x01P", State::Over);
        check_prelude(b"0008NAK\n0006\x02.", State::Over);
        check_prelude(b"0008NAK\nPACK", State::Over);
        check_prelude(b"<html>", State::Lost);
    }

    #[test]
    fn lists_without_end_are_refused_and_objects_are_not() {
        let line = format!("003d{} refs/heads/name\n", "0".repeat(40)).into_bytes();
        let lines = line.repeat(10_000);
        let taken = |start: &[u8], piece: &[u8]| {
            let mut prelude = Prelude::default();
            prelude.take(start).unwrap();
            let most = usize::try_from(MAX_PRELUDE).unwrap() / piece.len() + 2;
            (0..most).try_for_each(|_| prelude.take(piece))
        };
        assert_eq!(taken(b"", &lines), Err(Trouble::Prelude));
        assert_eq!(taken(b"<html>", &lines), Err(Trouble::Prelude));
        assert_eq!(taken(b"000dpackfile\n", &lines), Ok(()));
    }

    #[test]
    fn what_people_read_has_no_control_characters() {
        assert_eq!(legible(b"a\x1b[31mb\r\n\tc\x00\xff"), "a[31mb\n\tc\u{fffd}");
    }
}
