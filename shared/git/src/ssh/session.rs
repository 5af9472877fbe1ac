//! One ssh session with `git-upload-pack` at its other end, as a blocking reader and writer.
//!
//! Each step on the way (dial, handshake, authentication, the command) has a time of its own within the time of the whole
//! operation, because a server that stalls says nothing about why. What the command says beside the protocol is kept for the
//! message, up to a limit. The session ends when reader and writer are dropped.

use std::future::Future;
use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::Transport;
use gix::protocol::transport::client::git::ConnectMode;
use gix::protocol::transport::client::git::blocking_io::Connection;
use russh::client::{self, AuthResult, Handle, Msg};
use russh::keys::PublicKeyOrCertificate;
use russh::keys::{HashAlg, PrivateKeyWithHashAlg};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, MethodKind, MethodSet};
use tokio::net::TcpStream;

use super::line::{Hold, Line};
use super::{Identity, KnownHosts, socks};
use crate::announcement::Announcement;
use crate::client::Means;
use crate::credentials::proxy::Kind;
use crate::credentials::{Credentials, Proxy};
use crate::policy::Refusal;
use crate::stop::{Ended, Stop};
use crate::trouble::{Allowance, FirstTrouble, Prelude, Trouble, legible};
use crate::url::SshTarget;

/// Time for each step.
const STEP: Duration = Duration::from_secs(30);
/// How much of what the command complains about is kept.
const MAX_COMPLAINT: usize = 4 * 1024;
/// Who logs in when the URL does not say.
const DEFAULT_USER: &str = "git";

/// Opens a session with the repository's `git-upload-pack`. The server's protocol may be older than what is asked for.
pub fn open(
    target: &SshTarget,
    credentials: &Credentials,
    means: &Means,
    stop: &Stop,
    allowance: Allowance,
    trouble: &FirstTrouble,
) -> io::Result<Box<dyn Transport>> {
    let opening = Opening { target, means, stop };
    let session = opening.session(credentials);
    let (session, read, write) = session.map_err(|found| trouble.set(found))?;
    let session = Arc::new(session);
    let reader = Reader {
        session: Arc::clone(&session),
        channel: read,
        stop: stop.clone(),
        allowance,
        prelude: Prelude::default(),
        trouble: trouble.clone(),
        chunk: io::Cursor::default(),
        complaint: Vec::new(),
        status: None,
    };
    let writer = Writer {
        _session: session,
        channel: write,
        stop: stop.clone(),
        trouble: trouble.clone(),
        pending: Vec::new(),
    };
    let (path, host) = (target.path.as_str(), None::<(&str, Option<u16>)>);
    let reader = Announcement::new(reader);
    let connection = Connection::new(reader, writer, Protocol::V2, path, host, ConnectMode::Process, false);
    Ok(Box::new(connection))
}

/// A session, for as long as it is wanted.
struct Session {
    handle: Handle<Check>,
    _hold: Hold,
}

type Parts = (Session, ChannelReadHalf, ChannelWriteHalf<Msg>);

struct Opening<'a> {
    target: &'a SshTarget,
    means: &'a Means,
    stop: &'a Stop,
}

impl Opening<'_> {
    fn session(&self, credentials: &Credentials) -> Result<Parts, Trouble> {
        let SshTarget { user, host, port, .. } = self.target;
        let Some(identity) = &credentials.ssh else {
            let text = "ssh: there is no private key for this host: ssh remotes need one, and known_hosts";
            return Err(Trouble::Ssh(text.to_owned()));
        };
        self.means.policy.check_host(host, *port).map_err(Trouble::NotAllowed)?;
        let proxy = self.proxy(credentials)?;
        let stream = self.step("dial", self.dial(proxy.as_ref()))??;
        let (handler, verdict) = Check::new(&identity.known_hosts, host, *port);
        let known = identity.known_hosts.algorithms(host, *port);
        let config = client::Config {
            preferred: self
                .means
                .ssh
                .preferred(&known, identity.known_hosts.has_authority(host, *port)),
            nodelay: true,
            ..client::Config::default()
        };
        let (line, hold) = Line::new(stream);
        let handshake = client::connect_stream(Arc::new(config), line, handler);
        let mut handle = self
            .step("handshake", handshake)?
            .map_err(|error| match verdict.get() {
                Some(refusal) => failed(refusal),
                None => failed(&reason(&error)),
            })?;
        let user = user.as_deref().unwrap_or(DEFAULT_USER);
        self.step("authentication", authenticate(&mut handle, user, identity))??;
        let (read, write) = self.step("git-upload-pack", self.command(&handle))??;
        Ok((Session { handle, _hold: hold }, read, write))
    }

    /// Does one step within its time.
    fn step<T>(&self, name: &str, step: impl Future<Output = T>) -> Result<T, Trouble> {
        match self.stop.wait(async { tokio::time::timeout(STEP, step).await }) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) => Err(Trouble::Ssh(format!(
                "ssh: {name}: no answer within {} seconds",
                STEP.as_secs()
            ))),
            Err(Ended::Cancelled) => Err(Trouble::Cancelled),
            Err(Ended::Deadline) => Err(Trouble::Ssh(format!("ssh: {name}: context deadline exceeded"))),
        }
    }

    /// The proxy on the way: that of the credentials, else that of the environment, where it may be used.
    fn proxy(&self, credentials: &Credentials) -> Result<Option<Proxy>, Trouble> {
        let Means { policy, proxies, .. } = self.means;
        let Some(proxy) = &credentials.proxy else {
            let SshTarget { host, port, .. } = self.target;
            let named = || proxies.for_ssh(host, *port);
            return Ok(policy.private_addresses.then(named).flatten());
        };
        policy.check_proxy(proxy).map_err(Trouble::NotAllowed)?;
        match proxy.kind() {
            Kind::Socks5 => Ok(Some(proxy.clone())),
            Kind::Http | Kind::Https => {
                let scheme = proxy.address().split(':').next().unwrap_or_default();
                Err(Trouble::Ssh(format!(
                    "proxy: unknown scheme: {scheme}: ssh remotes are reached through socks5 proxies only"
                )))
            }
        }
    }

    async fn dial(&self, proxy: Option<&Proxy>) -> Result<TcpStream, Trouble> {
        let SshTarget { host, port, .. } = self.target;
        if let Some(proxy) = proxy {
            return socks::connect(proxy, host, *port).await.map_err(Trouble::Ssh);
        }
        let failed = |error: io::Error| match refusal(&error) {
            Some(refusal) => Trouble::NotAllowed(refusal),
            None => Trouble::Ssh(format!("dial tcp {host}:{port}: {error}")),
        };
        let addresses = self.means.policy.resolve(host, *port).await.map_err(failed)?;
        TcpStream::connect(addresses.as_slice()).await.map_err(failed)
    }

    async fn command(&self, session: &Handle<Check>) -> Result<(ChannelReadHalf, ChannelWriteHalf<Msg>), Trouble> {
        let failed = |error: russh::Error| Trouble::Ssh(format!("ssh: {}", reason(&error)));
        let channel = session.channel_open_session().await.map_err(failed)?;
        // Many servers do not take it; they then speak the oldest protocol.
        channel
            .set_env(false, "GIT_PROTOCOL", "version=2")
            .await
            .map_err(failed)?;
        let command = format!("git-upload-pack {}", quote(&self.target.path));
        channel.exec(true, command).await.map_err(failed)?;
        Ok(channel.split())
    }
}

fn refusal(error: &io::Error) -> Option<Refusal> {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Refusal>())
        .cloned()
}

fn failed(detail: &str) -> Trouble {
    Trouble::Ssh(format!("ssh: handshake failed: {detail}"))
}

/// The library's words, where there are none that say more.
fn reason(error: &russh::Error) -> String {
    match error {
        russh::Error::NoCommonAlgo { kind, ours, theirs } => format!(
            "no common algorithm for {kind:?}: offered {}, and the server has {}",
            ours.join(", "),
            theirs.join(", ")
        ),
        russh::Error::Disconnect | russh::Error::HUP => "the server closed the connection".to_owned(),
        other => other.to_string(),
    }
}

/// Logs in with the key.
async fn authenticate(session: &mut Handle<Check>, user: &str, identity: &Identity) -> Result<(), Trouble> {
    let broken = |error: russh::Error| failed(&reason(&error));
    let offered = match session.authenticate_none(user).await.map_err(broken)? {
        AuthResult::Success => return Ok(()),
        AuthResult::Failure { remaining_methods, .. } => remaining_methods,
    };
    if session.is_closed() {
        return Err(failed("the server closed the connection during authentication"));
    }
    if !offered.contains(&MethodKind::PublicKey) {
        let offers = words(&offered);
        return Err(failed(&format!(
            "ssh: unable to authenticate, attempted methods [none], no supported methods remain: the server offers {offers} \
             only, and a key is the only way to authenticate"
        )));
    }
    for hash in hashes(session, identity).await.map_err(broken)? {
        let key = PrivateKeyWithHashAlg::new(Arc::clone(&identity.key), hash);
        match session.authenticate_publickey(user, key).await.map_err(broken)? {
            AuthResult::Success => return Ok(()),
            AuthResult::Failure {
                remaining_methods,
                partial_success: true,
            } => {
                let wanted = words(&remaining_methods);
                return Err(failed(&format!(
                    "ssh: the server takes the key and wants {wanted} besides"
                )));
            }
            AuthResult::Failure { .. } => {}
        }
    }
    let refused = "ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain";
    Err(failed(refused))
}

/// What the key may sign with, in the order in which it is tried. SHA-1 is not among it.
async fn hashes(session: &Handle<Check>, identity: &Identity) -> Result<Vec<Option<HashAlg>>, russh::Error> {
    if !identity.key.algorithm().is_rsa() {
        return Ok(vec![None]);
    }
    Ok(match session.best_supported_rsa_hash().await? {
        Some(Some(hash)) => vec![Some(hash)],
        Some(None) | None => vec![Some(HashAlg::Sha512), Some(HashAlg::Sha256)],
    })
}

fn words(methods: &MethodSet) -> String {
    let names: Vec<&'static str> = methods.iter().map(Into::into).collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

/// Quotes for the shell at the other end, as git does it.
fn quote(path: &str) -> String {
    let mut quoted = String::from("'");
    for character in path.chars() {
        match character {
            '\'' | '!' => {
                quoted.push_str("'\\");
                quoted.push(character);
                quoted.push('\'');
            }
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

/// Judges the server's key, and keeps the reason when it is refused.
struct Check {
    known_hosts: Arc<KnownHosts>,
    host: String,
    port: u16,
    verdict: Arc<OnceLock<String>>,
}

impl Check {
    fn new(known_hosts: &Arc<KnownHosts>, host: &str, port: u16) -> (Self, Arc<OnceLock<String>>) {
        let verdict = Arc::new(OnceLock::new());
        let check = Self {
            known_hosts: Arc::clone(known_hosts),
            host: host.to_owned(),
            port,
            verdict: Arc::clone(&verdict),
        };
        (check, verdict)
    }
}

impl client::Handler for Check {
    type Error = russh::Error;

    async fn check_server_key(&mut self, presented: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        match self.known_hosts.check(&self.host, self.port, presented) {
            Ok(()) => Ok(true),
            Err(stranger) => {
                let _ = self.verdict.set(stranger.to_string());
                Ok(false)
            }
        }
    }
}

/// What the command says.
struct Reader {
    session: Arc<Session>,
    channel: ChannelReadHalf,
    stop: Stop,
    allowance: Allowance,
    prelude: Prelude,
    trouble: FirstTrouble,
    chunk: io::Cursor<Vec<u8>>,
    /// What it says on its other output.
    complaint: Vec<u8>,
    /// How it ended.
    status: Option<u32>,
}

impl Reader {
    /// The end of the stream: as it should be, or because the command failed.
    fn end(&self) -> io::Result<usize> {
        let complaint = legible(&self.complaint);
        let complaint = complaint.trim();
        let text = match self.status {
            Some(0) => return Ok(0),
            _ if is_missing(complaint) => format!("repository not found: {complaint}"),
            _ if !complaint.is_empty() => complaint.to_owned(),
            Some(status) => format!("git-upload-pack ended with status {status}"),
            None if self.session.handle.is_closed() => "the server closed the connection".to_owned(),
            None => return Ok(0),
        };
        Err(self.trouble.set(Trouble::Ssh(text)))
    }
}

/// How git and the hosting services say that there is no such repository.
fn is_missing(complaint: &str) -> bool {
    let complaint = complaint.to_ascii_lowercase();
    [
        "not found",
        "does not exist",
        "does not appear to be a git repository",
        "no such repository",
    ]
    .iter()
    .any(|text| complaint.contains(text))
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.chunk.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            let message = match self.stop.wait(self.channel.wait()) {
                Ok(message) => message,
                Err(ended) => return Err(self.trouble.set(over(ended))),
            };
            match message {
                Some(ChannelMsg::Data { data }) => {
                    let allowed = self.allowance.take(data.len());
                    let allowed = allowed.and_then(|()| self.prelude.take(&data));
                    allowed.map_err(|trouble| self.trouble.set(trouble))?;
                    self.chunk = io::Cursor::new(data.to_vec());
                }
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    let room = MAX_COMPLAINT.saturating_sub(self.complaint.len());
                    self.complaint.extend(data.iter().take(room));
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => self.status = Some(exit_status),
                Some(ChannelMsg::Failure) => {
                    let text = "ssh: the server does not run git-upload-pack".to_owned();
                    return Err(self.trouble.set(Trouble::Ssh(text)));
                }
                Some(ChannelMsg::Close) | None => return self.end(),
                // How it ended follows the end of its output.
                Some(_) => {}
            }
        }
    }
}

/// What the command is told; sent when it is flushed.
struct Writer {
    _session: Arc<Session>,
    channel: ChannelWriteHalf<Msg>,
    stop: Stop,
    trouble: FirstTrouble,
    pending: Vec<u8>,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        match self.stop.wait(self.channel.data_bytes(pending)) {
            Ok(Ok(())) => Ok(()),
            // Why the other end is gone is in what it said before.
            Ok(Err(error)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, error)),
            Err(ended) => Err(self.trouble.set(over(ended))),
        }
    }
}

fn over(ended: Ended) -> Trouble {
    match ended {
        Ended::Cancelled => Trouble::Cancelled,
        Ended::Deadline => Trouble::Ssh("ssh: context deadline exceeded".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: &str) {
        assert_eq!(quote(path), expected);
    }

    #[test]
    fn a_path_cannot_leave_its_quotes() {
        check("/srv/a b.git", "'/srv/a b.git'");
        check("/x'; reboot #!", "'/x'\\''; reboot #'\\!''");
        check("$(id)`id`\\", "'$(id)`id`\\'");
    }
}
