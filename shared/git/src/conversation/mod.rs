//! One conversation with a remote, from handshake to objects. Blocking.
//!
//! Which references are listed, what counts as found and what is fetched depends on the kind of reference. Listing
//! ([`listing`]) and fetching ([`obtain`], [`exchange`]) share a connection, and a fetch is shallow wherever the server allows
//! it. What a server lacks is said in the debug log, with the way around it.

mod exchange;
mod listing;
mod obtain;
mod words;

use gix::ObjectId;
use gix::hash::Kind;
use gix::protocol::Handshake;
use gix::protocol::transport::client::TransportWithoutIO;
use gix::protocol::transport::client::blocking_io::{Transport, http};
use gix::protocol::transport::{Protocol, Service};

use artifact::Revision;

use crate::client::{Commit, Error, Found, Means, Request, Tag};
use crate::http::Backend;
use crate::objects::{CommitFacts, Objects, commit_facts};
use crate::pack::Reader;
use crate::reference::Reference;
use crate::semver::{Range, Version};
use crate::ssh;
use crate::stop::Stop;
use crate::tree::Tree;
use crate::trouble::{Allowance, FirstTrouble};
pub use listing::{Listed, listed};
use words::{Step, failure};

const TAGS: &str = "refs/tags/";

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
        let found = match (&request.reference, range) {
            (Reference::SemVer(text), Some(range)) => conversation.by_version(text, &range),
            (Reference::Commit { id, branch, .. }, _) => {
                // What follows a whole hash counts for nothing with Flux.
                let whole = id.get(..conversation.kind.len_in_hex()).unwrap_or(id);
                conversation.by_hash(whole, branch.as_deref())
            }
            (Reference::Any(word), _) if words::is_hash(word) => conversation.by_hash(word, None),
            _ => conversation.by_name(),
        };
        if let (Ok(Found::Unmoved(_)), Some(cache)) = (&found, &means.cache) {
            // Looking it up says that it is of use.
            cache.entry(&request.remote, &request.credentials);
        }
        found
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
            Some(target) => ssh::open(target, &request.credentials, means, stop, allowance.clone(), &trouble)
                .map_err(|error| failed(&error))?,
            None => {
                let backend = Backend::new(
                    means.http(&request.credentials)?,
                    means.policy.clone(),
                    means.proxies.clone(),
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
        if handshake.server_protocol_version != Protocol::V2 {
            lacks(request, "version 2 of the protocol", "all references come at once");
        }
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
        let is_old = self.handshake.server_protocol_version != Protocol::V2;
        // The old protocol's reader holds on to what it has seen of a refusal.
        if is_old || self.transport.connection_persists_across_multiple_requests() {
            self.reopen()?;
        }
        Ok(())
    }

    /// Starts over.
    fn reopen(&mut self) -> Result<(), Error> {
        let step = self.step;
        *self = Self::open(self.request, self.means, self.stop, self.allowance)?;
        self.step = step;
        Ok(())
    }

    /// A branch, a tag or an absolute reference.
    fn by_name(&mut self) -> Result<Found, Error> {
        let reference = &self.request.reference;
        let names = reference.full_names();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let listing = self.list(&names)?;
        let found = names.iter().find_map(|name| Some((*name, *listing.get(*name)?)));
        let found = found.filter(|(_, found)| !reference.wants_peeled() || found.peeled.is_some());
        let Some((name, found)) = found else {
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
        let objects = self.obtain(&[found.target])?;
        self.commit(objects, found.target, name.strip_prefix(TAGS).unwrap_or(name), revision)
    }

    /// The highest tag in a range.
    fn by_version(&mut self, text: &str, range: &Range) -> Result<Found, Error> {
        let listing = self.list(&[TAGS])?;
        if listing.is_empty() && self.is_empty()? {
            return Err(self.empty());
        }
        let mut best: Vec<(&str, Listed, Version)> = Vec::new();
        for (name, listed) in &listing {
            let Some(tag) = name.strip_prefix(TAGS) else {
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
                let objects = self.obtain(&[listed.target])?;
                self.commit(objects, listed.target, tag, revision)
            }
            // Versions that differ in build metadata only: the newest commit wins.
            _ => {
                let wanted: Vec<_> = best.iter().map(|(_, listed, _)| listed.target).collect();
                let objects = self.obtain(&wanted)?;
                let mut reader = objects.reader();
                let mut newest = None;
                for (tag, listed, _) in &best {
                    let seconds = self.read(&mut reader, listed.target)?.committed;
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
                self.commit(objects, listed.target, tag, revision)
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
        let is_known = self.is_unmoved(&revision);
        let alone = if self.hands_out(&id) {
            Some(self.obtain_by_hash(id, is_known))
        } else {
            lacks(self.request, "commits by their hash", "the history is fetched");
            None
        };
        let objects = match alone {
            Some(Ok(Some(objects))) => objects,
            Some(Ok(None)) => return Ok(Found::Unmoved(revision)),
            Some(Err(error)) if self.is_final(&error) => return Err(error),
            refused => {
                if refused.is_some() {
                    self.renew()?;
                }
                if self.is_empty()? {
                    return Err(self.empty());
                }
                // The new protocol hands out every commit there is.
                if let Some(Err(error)) = refused {
                    if self.is_unknown_to_git(&error) {
                        return Err(unknown());
                    }
                    tracing::debug!(remote = %self.request.remote, %error, "the server does not hand out the commit by its hash: the history is fetched");
                }
                // A server that knows the commit still hands out what it is part of.
                let objects = self.history(branch, id)?.ok_or_else(unknown)?;
                if is_known {
                    return Ok(Found::Unmoved(revision));
                }
                objects
            }
        };
        // The hash of a tag is not that of its commit, and the revision would name what is no commit.
        match commit_facts(&mut objects.reader(), id) {
            Ok(Some(facts)) if facts.id == id => self.commit(objects, id, "", revision),
            Ok(_) => Err(unknown()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn is_unknown_to_git(&self, error: &Error) -> bool {
        self.handshake.server_protocol_version == Protocol::V2 && words::is_refusal(error)
    }

    fn is_unmoved(&self, revision: &Revision) -> bool {
        self.request.may_skip && self.request.observed.as_ref() == Some(revision)
    }

    /// Whether it would be the same if it was tried in another way.
    fn is_final(&self, error: &Error) -> bool {
        self.trouble.get().is_some() || self.stop.has_ended() || !matches!(error, Error::Failed(_))
    }

    /// The commit that was fetched for `id`, which `name` stands for.
    fn commit(&self, objects: Objects, id: ObjectId, name: &str, revision: Revision) -> Result<Found, Error> {
        let CommitFacts {
            id,
            tree,
            subject,
            author,
            committed,
            raw,
            tag,
        } = self.read(&mut objects.reader(), id)?;
        let tag = tag.map(|tag| Tag {
            name: if name.is_empty() { tag.name } else { name.to_owned() },
            id: tag.id,
            raw: tag.raw,
        });
        Ok(Found::Commit(Box::new(Commit {
            revision,
            subject,
            author,
            committed,
            tree: Tree::new(objects, tree),
            id,
            raw,
            tag,
        })))
    }

    fn read(&self, reader: &mut Reader, id: ObjectId) -> Result<CommitFacts, Error> {
        match commit_facts(reader, id) {
            Ok(Some(facts)) => Ok(facts),
            Ok(None) => Err(self.not_a_commit()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn not_a_commit(&self) -> Error {
        let message = "the reference does not lead to a commit";
        Error::Failed(format!("unable to clone '{}': {message}", self.request.remote))
    }

    fn failed(&self, error: &dyn std::error::Error) -> Error {
        failure(&self.request.remote, self.step, &self.trouble, self.stop, error)
    }
}

/// Says what a server cannot do and what is done instead.
fn lacks(request: &Request, capability: &str, instead: &str) {
    tracing::debug!(remote = %request.remote, missing = capability, "the server lacks {capability}: {instead}");
}
