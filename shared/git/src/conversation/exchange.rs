//! One round of fetching: everything wanted and everything known is said at once, and a pack comes back.
//!
//! gix would refuse servers of the old protocol that know `multi_ack` but not `multi_ack_detailed`, as Azure DevOps does. As
//! there is one round only, their answer is no harder to read: it is over where the pack begins.

use std::io::{self, BufRead};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use gix::ObjectId;
use gix::hash::Kind;
use gix::protocol::fetch::{Arguments, Response};
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::ExtendedBufRead;

use super::words::agent;
use super::{Conversation, lacks};
use crate::cache::Root;
use crate::client::Error;
use crate::pack;
use crate::trouble::Trouble;

/// How much of what a server says is kept for a message.
const MAX_WORDS: usize = 4 * 1024;

/// What is said to a server.
pub struct Ask<'a> {
    /// What is to come.
    pub wanted: &'a [ObjectId],
    /// What is there already.
    pub known: &'a [Root],
    /// Whether commits come without their history.
    pub alone: bool,
}

impl Conversation<'_> {
    /// Whether the server leaves out history if it is asked to.
    pub fn can_be_shallow(&self) -> bool {
        let capabilities = &self.handshake.capabilities;
        let can = match self.handshake.server_protocol_version {
            Protocol::V2 => capabilities
                .capability("fetch")
                .and_then(|fetch| fetch.supports("shallow"))
                .unwrap_or_default(),
            Protocol::V0 | Protocol::V1 => capabilities.contains("shallow"),
        };
        if !can {
            lacks(self.request, "shallow", "the history is fetched");
        }
        can
    }

    /// Asks, and hands the pack over to `take`. Beside what that returns, whether history is missing from what came.
    pub fn exchange<T>(
        &mut self,
        ask: &Ask<'_>,
        take: impl FnOnce(&mut dyn BufRead, &AtomicBool) -> Result<T, pack::Error>,
    ) -> Result<(T, bool), Error> {
        let version = self.handshake.server_protocol_version;
        let mut arguments = self.arguments()?;
        for root in ask.known.iter().filter(|root| root.shallow) {
            arguments.shallow(root.commit);
        }
        if ask.alone {
            arguments.deepen(1);
        }
        ask.wanted.iter().for_each(|id| arguments.want(id));
        ask.known.iter().for_each(|root| arguments.have(root.commit));
        let said: Arc<Mutex<Vec<u8>>> = Arc::default();
        let result = 'asked: {
            let mut reader = match arguments.send(&mut self.transport, true) {
                Ok(reader) => reader,
                Err(error) => break 'asked Err(Failure::Protocol(error.into())),
            };
            let cut = match version {
                Protocol::V2 => match Response::from_line_reader(version, &mut reader, true, false) {
                    Ok(response) => Ok((response.has_pack(), !response.shallow_updates().is_empty())),
                    Err(error) => Err(error),
                },
                Protocol::V0 | Protocol::V1 => acknowledgements(&mut reader),
            };
            let is_cut = match cut {
                Ok((true, is_cut)) => is_cut,
                Ok((false, _)) => break 'asked Err(Failure::Io(io::Error::other("the server sent no pack"))),
                Err(error) => break 'asked Err(Failure::Protocol(error)),
            };
            let heard = Arc::clone(&said);
            reader.set_progress_handler(Some(Box::new(move |is_error, text| {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                if is_error && heard.len() < MAX_WORDS {
                    heard.extend_from_slice(text);
                }
                std::ops::ControlFlow::Continue(())
            })));
            let taken = take(&mut reader, self.stop.flag());
            if taken.is_ok() && reader.stopped_at().is_none() {
                // What ends the answer; the pack is whole without it.
                let _ = io::copy(&mut reader, &mut io::sink());
            }
            taken.map(|taken| (taken, is_cut)).map_err(Failure::Pack)
        };
        let is_cut_before = self
            .handshake
            .v1_shallow_updates
            .as_ref()
            .is_some_and(|cut| !cut.is_empty());
        match result {
            Ok((taken, is_cut)) => Ok((taken, is_cut || is_cut_before || ask.alone)),
            Err(failure) => {
                let said = said.lock().unwrap_or_else(PoisonError::into_inner);
                Err(self.not_taken(failure, String::from_utf8_lossy(&said).trim()))
            }
        }
    }

    /// The words for a fetch that failed; `said` is what the server had to say.
    fn not_taken(&self, failure: Failure, said: &str) -> Error {
        match failure {
            Failure::Pack(pack::Error::TooLarge { .. }) => Error::FileTooLarge {
                remote: self.request.remote.to_string(),
                limit: self.request.limits.object,
            },
            Failure::Pack(pack::Error::Memory(limit)) => {
                // To ask again in another way would take as much.
                let error = self.trouble.set(Trouble::Memory(limit));
                self.failed(&error)
            }
            Failure::Pack(pack::Error::Stream(_) | pack::Error::Damaged(_)) if !said.is_empty() => {
                self.failed(&io::Error::other(format!("remote: {said}")))
            }
            Failure::Pack(error) => {
                if let (pack::Error::Disk(error), Some(cache)) = (&error, &self.means.cache)
                    && error.kind() == io::ErrorKind::StorageFull
                {
                    cache.make_room();
                }
                self.failed(&error)
            }
            Failure::Io(error) => self.failed(&error),
            Failure::Protocol(error) => self.failed(&error),
        }
    }

    /// What every fetch begins with.
    fn arguments(&self) -> Result<Arguments, Error> {
        let capabilities = &self.handshake.capabilities;
        let version = self.handshake.server_protocol_version;
        let mut features = Vec::new();
        if self.kind == Kind::Sha256 {
            features.push(("object-format", Some("sha256".to_owned())));
        }
        let can_be_quiet = match version {
            Protocol::V2 => {
                features.push(agent());
                let fetch = capabilities.capability("fetch");
                if fetch.and_then(|fetch| fetch.supports("shallow")).unwrap_or_default() {
                    features.push(("shallow", None));
                }
                true
            }
            Protocol::V0 | Protocol::V1 => {
                let mut first = |names: &[&'static str]| {
                    let name = names.iter().find(|name| capabilities.contains(name));
                    features.extend(name.map(|name| (*name, None)));
                    name.is_some()
                };
                if !first(&["multi_ack_detailed", "multi_ack"]) {
                    lacks(self.request, "multi_ack", "it is asked for one commit");
                }
                if !first(&["side-band-64k", "side-band"]) {
                    let error = io::Error::other("the server lacks side-band, and cannot be understood without");
                    return Err(self.failed(&error));
                }
                for name in ["thin-pack", "ofs-delta", "shallow"] {
                    first(&[name]);
                }
                if capabilities.contains("agent") {
                    features.push(agent());
                }
                capabilities.contains("no-progress")
            }
        };
        let mut arguments = Arguments::new(version, features, false);
        if can_be_quiet {
            arguments.add_feature("no-progress");
        }
        Ok(arguments)
    }
}

/// Where a fetch fails.
enum Failure {
    Protocol(gix::Error),
    Io(io::Error),
    Pack(pack::Error),
}

/// Reads what the old protocol says before the pack: where history was cut, and what the server knows. Whether a pack follows,
/// and whether history was cut.
fn acknowledgements<'a>(reader: &mut Box<dyn ExtendedBufRead<'a> + Unpin + 'a>) -> gix::Result<(bool, bool)> {
    let (mut is_cut, mut flushed) = (false, false);
    let failed = |error: io::Error| gix::Error::from_error(error);
    loop {
        match reader.peek_data_line() {
            // The first byte of what is multiplexed tells the channel.
            Some(Ok(Ok([1..=3, ..]))) => return Ok((true, is_cut)),
            Some(Ok(Ok(line))) => {
                if let Some(said) = line.strip_prefix(b"ERR ") {
                    let said = String::from_utf8_lossy(said).trim().to_owned();
                    return Err(failed(io::Error::other(said)));
                }
                let is_known = [&b"ACK "[..], b"NAK", b"shallow ", b"unshallow "];
                if !is_known.iter().any(|known| line.starts_with(known)) {
                    return Err(failed(io::Error::other("the server's answer cannot be understood")));
                }
                is_cut |= line.starts_with(b"shallow ");
                flushed = false;
            }
            Some(Ok(Err(error))) => return Err(gix::Error::from_error(error)),
            Some(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok((false, is_cut)),
            Some(Err(error)) => return Err(failed(error)),
            // The list of cuts ends with a flush; twice is the end.
            None if flushed => return Ok((false, is_cut)),
            None => {
                flushed = true;
                reader.readline_str(&mut String::new()).map_err(failed)?;
                reader.reset(Protocol::V1);
                continue;
            }
        }
        reader.readline_str(&mut String::new()).map_err(failed)?;
    }
}
