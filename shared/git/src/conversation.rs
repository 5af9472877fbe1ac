//! One conversation with a remote, from handshake to pack. Blocking.
//!
//! Which references are listed, what counts as found and what is fetched depends on the kind of reference. Listing and fetching
//! share a connection, and a fetch is shallow wherever the server allows it.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use artifact::Revision;
use gix::hash::Kind;
use gix::objs::Find;
use gix::protocol::fetch::negotiate::{Action, Round, one_round};
use gix::protocol::fetch::{Arguments, Context, Negotiate, Options, Response, Shallow, Tags};
use gix::protocol::handshake::Ref;
use gix::protocol::ls_refs::RefPrefixes;
use gix::protocol::transport::client::TransportWithoutIO;
use gix::protocol::transport::client::blocking_io::{Transport, http};
use gix::protocol::transport::{Protocol, Service};
use gix::protocol::{Handshake, LsRefsCommand};
use gix::{ObjectId, odb};

use crate::client::{Commit, Error, Found, Means, Request};
use crate::http::Backend;
use crate::objects::{CommitFacts, Objects, commit_facts};
use crate::reference::Reference;
use crate::semver::{Range, Version};
use crate::ssh;
use crate::stop::Stop;
use crate::tree::Tree;
use crate::trouble::{Allowance, FirstTrouble};
use crate::url::RemoteUrl;

/// A reference as the remote lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listed {
    /// What it points to: a commit or an annotated tag.
    target: ObjectId,
    /// The commit behind an annotated tag.
    peeled: Option<ObjectId>,
}

impl Listed {
    fn commit(self) -> ObjectId {
        self.peeled.unwrap_or(self.target)
    }
}

type Listing = BTreeMap<String, Listed>;

/// In which step something failed; Flux's texts tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    List,
    Clone,
}

/// A conversation under way.
pub struct Conversation<'a> {
    request: &'a Request,
    means: &'a Means,
    stop: &'a Stop,
    allowance: &'a Allowance,
    trouble: FirstTrouble,
    transport: Box<dyn Transport>,
    handshake: Handshake,
    /// How the remote names its objects.
    kind: Kind,
    step: Step,
}

impl<'a> Conversation<'a> {
    /// Holds the conversation for a request, until `stop` says that it is over.
    pub fn hold(
        request: &'a Request,
        means: &'a Means,
        stop: &'a Stop,
        allowance: &'a Allowance,
    ) -> Result<Found, Error> {
        let range = match &request.reference {
            Reference::SemVer(range) => {
                Some(Range::parse(range).map_err(|error| Error::Failed(format!("semver parse error: {error}")))?)
            }
            Reference::Name(name) if name.starts_with('/') || name.ends_with('/') => {
                let message = format!("ref {name} is invalid; Git refs cannot begin or end with a slash '/'");
                return Err(Error::Failed(message));
            }
            _ => None,
        };
        let mut conversation = Self::open(request, means, stop, allowance)?;
        match (&request.reference, range) {
            (Reference::SemVer(text), Some(range)) => conversation.by_version(text, &range),
            (Reference::Commit { id, branch, .. }, _) => conversation.by_hash(id, branch.as_deref()),
            (Reference::Any(id), _) if is_hash(id) => conversation.by_hash(id, None),
            _ => conversation.by_name(),
        }
    }

    fn open(request: &'a Request, means: &'a Means, stop: &'a Stop, allowance: &'a Allowance) -> Result<Self, Error> {
        let step = match request.reference {
            Reference::Name(_) => Step::List,
            Reference::Branch(_) | Reference::Tag(_) if request.observed.is_some() => Step::List,
            _ => Step::Clone,
        };
        let trouble = FirstTrouble::default();
        let failed = |error: &dyn std::error::Error| failure(&request.remote, step, &trouble, stop, error);
        let mut transport = match request.remote.ssh_target() {
            Some(target) => {
                let (identity, policy) = (request.credentials.ssh.as_ref(), &means.policy);
                ssh::open(target, identity, &means.ssh, policy, stop, allowance.clone(), &trouble)
                    .map_err(|error| failed(&error))?
            }
            None => {
                let backend = Backend::new(
                    means.http(&request.credentials)?,
                    means.policy.clone(),
                    &request.credentials,
                    stop.clone(),
                    allowance.clone(),
                    trouble.clone(),
                );
                let url = gix::url::parse(request.remote.bare().as_str()).map_err(|error| failed(&error))?;
                Box::new(http::Transport::new_http(backend, url, Protocol::V2, false)) as Box<dyn Transport>
            }
        };
        let nobody = |_| Ok(None);
        let mut progress = gix::progress::Discard;
        let handshake =
            gix::protocol::handshake(&mut transport, Service::UploadPack, nobody, Vec::new(), &mut progress)
                .map_err(|error| failed(&error))?;
        let format = handshake.capabilities.capability("object-format");
        let format = format.and_then(|format| format.value().map(|value| value.to_string()));
        let kind = match format.as_deref() {
            None | Some("sha1") => Kind::Sha1,
            Some("sha256") => Kind::Sha256,
            Some(other) => {
                let message = format!("object names of the kind {other:?} are not supported");
                return Err(Error::Failed(format!(
                    "unable to clone '{}': {message}",
                    request.remote
                )));
            }
        };
        Ok(Self {
            request,
            means,
            stop,
            allowance,
            trouble,
            transport,
            handshake,
            kind,
            step,
        })
    }

    /// Starts over where the server has hung up after what it took for a mistake.
    fn renew(&mut self) -> Result<(), Error> {
        if self.transport.connection_persists_across_multiple_requests() {
            *self = Self::open(self.request, self.means, self.stop, self.allowance)?;
        }
        Ok(())
    }

    /// A branch, a tag or an absolute reference.
    fn by_name(&mut self) -> Result<Found, Error> {
        let reference = &self.request.reference;
        let names = reference.full_names();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let listing = self.list(&names)?;
        let found = names.iter().find_map(|name| listing.get(*name).copied());
        let Some(found) = found.filter(|found| !reference.wants_peeled() || found.peeled.is_some()) else {
            let name = match reference {
                Reference::Any(name) => name,
                _ => names.first().copied().unwrap_or_default(),
            };
            return Err(self.missing(name));
        };
        let revision = reference.revision(&found.commit().to_string(), None);
        if self.is_unmoved(&revision) {
            return Ok(Found::Unmoved(revision));
        }
        self.step = Step::Clone;
        let objects = self.fetch(&[found.target], None)?;
        self.commit(objects, found.target, revision)
    }

    /// The highest tag in a range.
    fn by_version(&mut self, text: &str, range: &Range) -> Result<Found, Error> {
        let listing = self.list(&["refs/tags/"])?;
        if listing.is_empty() && self.is_empty()? {
            return Err(self.empty());
        }
        let mut best: Vec<(&str, Listed, Version)> = Vec::new();
        for (name, listed) in &listing {
            let Some(tag) = name.strip_prefix("refs/tags/") else {
                continue;
            };
            let Some(version) = Version::of_tag(tag).filter(|version| range.contains(version)) else {
                continue;
            };
            match best.first().map(|(_, _, highest)| version.cmp_precedence(highest)) {
                Some(std::cmp::Ordering::Less) => continue,
                Some(std::cmp::Ordering::Greater) => best.clear(),
                Some(std::cmp::Ordering::Equal) | None => {}
            }
            best.push((tag, *listed, version));
        }
        let reference = &self.request.reference;
        let revision = |tag: &str, listed: Listed| reference.revision(&listed.commit().to_string(), Some(tag));
        match best[..] {
            [] => Err(Error::Failed(format!("no match found for semver: {text}"))),
            [(tag, listed, _)] => {
                let revision = revision(tag, listed);
                if self.is_unmoved(&revision) {
                    return Ok(Found::Unmoved(revision));
                }
                let objects = self.fetch(&[listed.target], None)?;
                self.commit(objects, listed.target, revision)
            }
            // Versions that differ in build metadata only: the newest commit wins.
            _ => {
                let wanted: Vec<_> = best.iter().map(|(_, listed, _)| listed.target).collect();
                let objects = self.fetch(&wanted, None)?;
                let handle = objects.open().map_err(|error| self.failed(&error))?;
                let mut newest = None;
                for (tag, listed, _) in &best {
                    let seconds = self.read(&handle, listed.target)?.committed;
                    if newest.is_none_or(|(latest, _, _)| seconds >= latest) {
                        newest = Some((seconds, *tag, *listed));
                    }
                }
                let Some((_, tag, listed)) = newest else {
                    return Err(self.empty());
                };
                let revision = revision(tag, listed);
                if self.is_unmoved(&revision) {
                    return Ok(Found::Unmoved(revision));
                }
                self.commit(objects, listed.target, revision)
            }
        }
    }

    /// A commit by its hash.
    fn by_hash(&mut self, text: &str, branch: Option<&str>) -> Result<Found, Error> {
        let unknown = || {
            Error::Failed(format!(
                "unable to resolve commit object for '{text}': object not found"
            ))
        };
        if let Some(branch) = branch {
            let name = format!("refs/heads/{branch}");
            if !self.list(&[&name])?.contains_key(&name) {
                return Err(self.missing(&name));
            }
        }
        let id = ObjectId::from_hex(text.as_bytes()).ok();
        let Some(id) = id.filter(|id| id.kind() == self.kind) else {
            return Err(unknown());
        };
        let revision = self.request.reference.revision(&id.to_string(), None);
        let known = self.is_unmoved(&revision).then_some(id);
        let objects = match self.fetch(&[id], known) {
            Ok(_) if known.is_some() => return Ok(Found::Unmoved(revision)),
            Ok(objects) => objects,
            Err(error) if self.trouble.get().is_some() || self.stop.has_ended() => return Err(error),
            Err(error) => {
                self.renew()?;
                if self.is_empty()? {
                    return Err(self.empty());
                }
                // The new protocol hands out every commit there is.
                if self.is_unknown_to_git(&error) {
                    return Err(unknown());
                }
                // A server that knows the commit and does not hand it out by its hash still hands out what it is part of.
                self.history(branch)?
            }
        };
        let handle = objects.open().map_err(|error| self.failed(&error))?;
        let mut buffer = Vec::new();
        let is_there = handle
            .try_find(&id, &mut buffer)
            .map_err(|error| self.failed(&error))?
            .is_some();
        if is_there {
            self.commit(objects, id, revision)
        } else {
            Err(unknown())
        }
    }

    fn is_unknown_to_git(&self, error: &Error) -> bool {
        self.handshake.server_protocol_version == Protocol::V2 && error.to_string().contains("not our ref")
    }

    fn is_unmoved(&self, revision: &Revision) -> bool {
        self.request.may_skip && self.request.observed.as_ref() == Some(revision)
    }

    /// The references that start with one of the prefixes.
    fn list(&mut self, prefixes: &[&str]) -> Result<Listing, Error> {
        let refs = match &self.handshake.refs {
            // The old protocol lists everything in the handshake.
            Some(refs) => refs.clone(),
            None => {
                let mut asked = RefPrefixes::new();
                asked.extend(
                    prefixes
                        .iter()
                        .filter(|prefix| !prefix.is_empty())
                        .map(|prefix| (*prefix).into()),
                );
                LsRefsCommand::new(Some(asked), &self.handshake.capabilities, agent())
                    .invoke_blocking(&mut self.transport, &mut gix::progress::Discard, false)
                    .map_err(|error| failure(&self.request.remote, self.step, &self.trouble, self.stop, &error))?
            }
        };
        let listed = refs.into_iter().filter_map(|listed| match listed {
            Ref::Direct { full_ref_name, object } => Some((
                full_ref_name,
                Listed {
                    target: object,
                    peeled: None,
                },
            )),
            Ref::Peeled {
                full_ref_name,
                tag,
                object,
            } => Some((
                full_ref_name,
                Listed {
                    target: tag,
                    peeled: Some(object),
                },
            )),
            Ref::Symbolic {
                full_ref_name,
                tag,
                object,
                ..
            } => {
                let peeled = tag.map(|_| object);
                Some((
                    full_ref_name,
                    Listed {
                        target: tag.unwrap_or(object),
                        peeled,
                    },
                ))
            }
            Ref::Unborn { .. } => None,
        });
        Ok(listed
            .map(|(name, listed)| (name.to_string(), listed))
            .filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)))
            .collect())
    }

    fn is_empty(&mut self) -> Result<bool, Error> {
        Ok(self.list(&[""])?.is_empty())
    }

    /// What to say about a reference that is not listed.
    fn missing(&mut self, name: &str) -> Error {
        match self.is_empty() {
            Err(error) => error,
            Ok(true) => self.empty(),
            Ok(false) => Error::Failed(match &self.request.reference {
                Reference::Name(name) => format!("unable to resolve ref '{name}' to a specific commit"),
                _ => format!(
                    "unable to clone '{}': couldn't find remote ref {name:?}",
                    self.request.remote
                ),
            }),
        }
    }

    fn empty(&self) -> Error {
        let remote = &self.request.remote;
        match (&self.request.reference, self.step) {
            (_, Step::List) => Error::Failed(format!(
                "unable to list remote for '{remote}': remote repository is empty"
            )),
            (Reference::Branch(_) | Reference::Any(_), Step::Clone) => Error::EmptyRepository,
            _ => Error::Failed(format!(
                "unable to clone: remote repository is empty: git repository: '{remote}'"
            )),
        }
    }

    /// The full history of a branch, or of all.
    fn history(&mut self, branch: Option<&str>) -> Result<Objects, Error> {
        let prefix = branch.map_or_else(|| "refs/heads/".to_owned(), |branch| format!("refs/heads/{branch}"));
        let heads: Vec<_> = self
            .list(&[&prefix])?
            .into_values()
            .map(|listed| listed.target)
            .collect();
        self.receive(&heads, None, &Shallow::NoChange)
    }

    /// The wanted commits without their history. What is `known` need not be sent again: the answer only proves that it is
    /// still there.
    fn fetch(&mut self, wanted: &[ObjectId], known: Option<ObjectId>) -> Result<Objects, Error> {
        let capabilities = &self.handshake.capabilities;
        let can_be_shallow = match self.handshake.server_protocol_version {
            Protocol::V2 => capabilities
                .capability("fetch")
                .and_then(|fetch| fetch.supports("shallow"))
                .unwrap_or_default(),
            Protocol::V0 | Protocol::V1 => capabilities.contains("shallow"),
        };
        let shallow = if can_be_shallow && known.is_none() {
            Shallow::DepthAtRemote(NonZeroU32::MIN)
        } else {
            Shallow::NoChange
        };
        self.receive(wanted, known, &shallow)
    }

    fn receive(&mut self, wanted: &[ObjectId], known: Option<ObjectId>, shallow: &Shallow) -> Result<Objects, Error> {
        let limit = self.request.limits.object;
        let objects = Objects::new(&self.means.scratch, self.kind, limit).map_err(Error::WorkDirectory)?;
        let packs = objects.packs();
        let options = odb::pack::bundle::write::Options {
            alloc_limit_bytes: objects.alloc_limit(),
            ..Default::default()
        };
        let (step, kind) = (self.step, self.kind);
        let received = gix::protocol::fetch(
            &mut Wants { wanted, known },
            |pack, progress, interrupt| {
                let nothing = None::<gix::objs::find::Never>;
                odb::pack::Bundle::write_to_directory(pack, Some(&packs), progress, interrupt, nothing, kind, options)?;
                Ok(true)
            },
            gix::progress::Discard,
            self.stop.flag(),
            Context {
                handshake: &mut self.handshake,
                transport: &mut self.transport,
                user_agent: agent(),
                trace_packetlines: false,
            },
            Options {
                shallow_file: objects.directory().join("shallow"),
                shallow,
                tags: Tags::None,
                reject_shallow_remote: false,
            },
        );
        received.map(|_| objects).map_err(|error| {
            let error = failure(&self.request.remote, step, &self.trouble, self.stop, &error);
            if error.to_string().contains("too large to fit in memory") {
                let remote = self.request.remote.to_string();
                return Error::FileTooLarge { remote, limit };
            }
            error
        })
    }

    fn commit(&self, objects: Objects, id: ObjectId, revision: Revision) -> Result<Found, Error> {
        let handle = objects.open().map_err(|error| self.failed(&error))?;
        let CommitFacts { tree, subject, .. } = self.read(&handle, id)?;
        Ok(Found::Commit(Commit {
            revision,
            subject,
            received: self.allowance.taken(),
            tree: Tree::new(objects, handle, tree),
        }))
    }

    fn read(&self, handle: &odb::Handle, id: ObjectId) -> Result<CommitFacts, Error> {
        match commit_facts(handle, id) {
            Ok(Some(facts)) => Ok(facts),
            Ok(None) => {
                let message = "the reference does not lead to a commit";
                Err(Error::Failed(format!(
                    "unable to clone '{}': {message}",
                    self.request.remote
                )))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &dyn std::error::Error) -> Error {
        failure(&self.request.remote, self.step, &self.trouble, self.stop, error)
    }
}

/// The words for a failure: what HTTP said, else that time was up, else what the library says.
fn failure(
    remote: &RemoteUrl,
    step: Step,
    trouble: &FirstTrouble,
    stop: &Stop,
    error: &dyn std::error::Error,
) -> Error {
    let text = match trouble.get() {
        Some(trouble) => trouble.to_string(),
        None if stop.has_ended() => "context deadline exceeded".to_owned(),
        None => chain(error),
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
fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn agent() -> (&'static str, Option<String>) {
    (
        "agent",
        Some(concat!("git/sluice-", env!("CARGO_PKG_VERSION")).to_owned()),
    )
}

/// Asks for commits without offering any, but for one whose existence is all that is asked.
struct Wants<'a> {
    wanted: &'a [ObjectId],
    known: Option<ObjectId>,
}

impl fmt::Debug for Wants<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.wanted).finish()
    }
}

impl Negotiate for Wants<'_> {
    fn mark_complete_and_common_ref(&mut self) -> gix::Result<Action> {
        Ok(Action::MustNegotiate {
            remote_ref_target_known: Vec::new(),
        })
    }

    fn add_wants(&mut self, arguments: &mut Arguments, _known: &[bool]) -> bool {
        for id in self.wanted {
            arguments.want(id);
        }
        !self.wanted.is_empty()
    }

    fn one_round(
        &mut self,
        _state: &mut one_round::State,
        arguments: &mut Arguments,
        _previous: Option<&Response>,
    ) -> gix::Result<(Round, bool)> {
        if let Some(id) = self.known {
            arguments.have(id);
        }
        let haves = usize::from(self.known.is_some());
        let round = Round {
            haves_sent: haves,
            in_vain: 0,
            haves_to_send: haves,
            previous_response_had_at_least_one_in_common: false,
        };
        Ok((round, true))
    }
}
