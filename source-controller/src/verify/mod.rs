//! Whether a revision is signed by a key that is trusted.
//!
//! [`verify`] gets the bytes of a commit and of the tag that led to it, and the keys of `verify.secretRef`. It cuts the
//! signature out of the object ([`payload`]), sees what kind it is ([`armor`]), and has it checked ([`openpgp`], [`ssh`]).
//! What is said in the condition is in [`Verified::message`] and [`Error`], so all of it is in one place. When a revision that
//! was verified has to be verified again is in [`needs`].
//!
//! Nothing here reads the cluster, a clock or a repository. No key is fetched from anywhere and no web of trust is followed: a
//! key is trusted if it is in the Secret. Names and mail addresses in keys, commits and tags play no part.

pub mod armor;
mod entry;
pub mod needs;
pub mod openpgp;
pub mod payload;
pub mod ssh;

use std::collections::BTreeMap;

use api::meta::reason;
use api::source::GitVerificationMode;
use jiff::Timestamp;

use armor::Kind;
pub use entry::Entry;
use payload::{Parts, Unreadable};

/// What the name of a Secret's entry with SSH keys ends in; every other entry holds OpenPGP keys.
const SSH_SUFFIX: &str = ".sshpub";

/// A commit or a tag as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The object's id in hex: 40 digits in a SHA-1 repository, 64 in a SHA-256 one.
    pub id: &'a str,
    /// The object's content, byte for byte, without the header that Git hashes with it.
    pub raw: &'a [u8],
}

/// The tag that the reference led through.
#[derive(Clone, Copy, Debug)]
pub struct TagOf<'a> {
    /// Its name without `refs/tags/`.
    pub name: &'a str,
    /// The tag object; a lightweight tag has none.
    pub object: Option<Signed<'a>>,
}

/// An object whose signature was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Accepted {
    /// The commit's id, or name and id of the tag.
    object: String,
    /// Which key has signed.
    key: String,
}

/// What was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    tag: Option<Accepted>,
    commit: Option<Accepted>,
}

impl Verified {
    /// What the condition and the event say, in Flux's words: each object and the key that has signed it. A key is the key id
    /// of an OpenPGP primary key in 16 hex digits, or the SHA-256 fingerprint of an SSH key.
    pub fn message(&self) -> String {
        let line = |what: &str, accepted: &Option<Accepted>| match accepted {
            Some(Accepted { object, key }) => format!("\n\t- {what} '{object}' with key '{key}'"),
            None => String::new(),
        };
        let (tag, commit) = (line("tag", &self.tag), line("commit", &self.commit));
        format!("verified signature of{tag}{commit}")
    }
}

/// Why a signature was not accepted. The words before the colon are Flux's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a kind of signature that is supported: none at all, X.509 (gitsign), or nothing known.
    #[error("unsupported signature type: {0}")]
    Type(Kind),
    /// The Secret has no key of the signature's kind.
    #[error("{kind} signature detected but no {kind} public keys found in secret (keys with {suffix} suffix)")]
    NoKeys {
        /// `PGP` or `SSH`.
        kind: &'static str,
        /// What the names of such entries end in.
        suffix: &'static str,
    },
    /// The object does not have the form of a commit or tag.
    #[error(transparent)]
    Object(#[from] Unreadable),
    /// An OpenPGP signature.
    #[error("unable to verify Git {object}: {cause}")]
    OpenPgp {
        /// `commit` or `tag`.
        object: &'static str,
        /// Why not.
        cause: openpgp::Error,
    },
    /// An SSH signature.
    #[error("unable to verify Git {object} SSH signature: {cause}")]
    Ssh {
        /// `commit` or `tag`.
        object: &'static str,
        /// Why not.
        cause: ssh::Error,
    },
}

/// Why a revision is not verified. The texts are those that Flux puts into the condition `SourceVerified`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The Secret with the keys cannot be read; the text says which and why.
    #[error("public keys secret error: {0}")]
    Secret(String),
    /// A tag is to be verified, and `spec.ref` leads through none.
    #[error("cannot verify tag object's signature if a tag reference is not specified")]
    NoTagReference,
    /// The tag carries no signature; a lightweight one cannot.
    #[error("cannot verify signature of tag '{0}' since it is not signed")]
    UnsignedTag(String),
    /// The tag's signature was not accepted.
    #[error("signature verification of tag '{tag}' failed: {cause}")]
    Tag {
        /// Name and id.
        tag: String,
        /// Why not.
        cause: Refusal,
    },
    /// The commit's signature was not accepted, or it has none.
    #[error("signature verification of commit '{commit}' failed: {cause}")]
    Commit {
        /// Its id.
        commit: String,
        /// Why not.
        cause: Refusal,
    },
}

impl Error {
    /// The reason in the condition and the event.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Secret(_) => reason::VERIFICATION_ERROR,
            Self::NoTagReference => reason::INVALID_VERIFICATION_MODE,
            Self::UnsignedTag(_) => reason::INVALID_GIT_OBJECT,
            Self::Tag { .. } => reason::INVALID_TAG_SIGNATURE,
            Self::Commit { .. } => reason::INVALID_COMMIT_SIGNATURE,
        }
    }

    /// Whether trying again is no use until the spec changes. Everything else can get better by itself: tags move, commits
    /// follow, Secrets change.
    pub fn is_stalling(&self) -> bool {
        matches!(self, Self::NoTagReference)
    }
}

/// Checks what `mode` asks for: the tag first, then the commit. `keys` is what the Secret holds, `now` says which keys and
/// signatures have expired.
///
/// The caller vouches for the objects: that `commit.raw` is what `commit.id` names, and that the tag leads to the commit
/// (a tag that names another commit is refused all the same).
///
/// # Errors
/// Everything short of a valid signature by a trusted key on each object that `mode` names.
pub fn verify(
    mode: GitVerificationMode,
    keys: &BTreeMap<String, Vec<u8>>,
    commit: Signed<'_>,
    tag: Option<TagOf<'_>>,
    now: Timestamp,
) -> Result<Verified, Error> {
    use GitVerificationMode::{Head, HeadLegacy, Tag, TagAndHead};
    let trusted = Trusted::of(keys);
    let tag = match mode {
        Tag | TagAndHead => Some(verify_tag(&trusted, tag, commit.id, now)?),
        Head | HeadLegacy => None,
    };
    let commit = match mode {
        Head | HeadLegacy | TagAndHead => Some(verify_commit(&trusted, commit, now)?),
        Tag => None,
    };
    Ok(Verified { tag, commit })
}

fn verify_tag(trusted: &Trusted<'_>, tag: Option<TagOf<'_>>, commit: &str, now: Timestamp) -> Result<Accepted, Error> {
    let tag = tag.ok_or(Error::NoTagReference)?;
    let Some(object) = tag.object else {
        return Err(Error::UnsignedTag(tag.name.to_owned()));
    };
    let label = format!("{}@{}", tag.name, object.id);
    let refused = |cause| Error::Tag {
        tag: label.clone(),
        cause,
    };
    let Some(parts) = payload::tag(object.raw) else {
        return Err(Error::UnsignedTag(label));
    };
    payload::leads_to(object.raw, commit).map_err(|cause| refused(cause.into()))?;
    let key = trusted.signer("tag", &parts, now).map_err(refused)?;
    Ok(Accepted { object: label, key })
}

fn verify_commit(trusted: &Trusted<'_>, commit: Signed<'_>, now: Timestamp) -> Result<Accepted, Error> {
    let refused = |cause| Error::Commit {
        commit: commit.id.to_owned(),
        cause,
    };
    let parts = payload::commit(commit.raw, commit.id).map_err(|cause| refused(cause.into()))?;
    let key = trusted.signer("commit", &parts, now).map_err(refused)?;
    Ok(Accepted {
        object: commit.id.to_owned(),
        key,
    })
}

/// The entries of the Secret, by kind.
struct Trusted<'a> {
    openpgp: Vec<Entry<'a>>,
    ssh: Vec<Entry<'a>>,
}

impl<'a> Trusted<'a> {
    fn of(keys: &'a BTreeMap<String, Vec<u8>>) -> Self {
        let entries = keys.iter().map(|(name, content)| Entry { name, content });
        let (ssh, openpgp) = entries.partition(|entry| entry.name.ends_with(SSH_SUFFIX));
        Self { openpgp, ssh }
    }

    /// The key that has signed.
    fn signer(&self, object: &'static str, parts: &Parts<'_>, now: Timestamp) -> Result<String, Refusal> {
        let (signature, signed) = (parts.signature.as_ref(), parts.signed.as_ref());
        let missing = |kind, suffix| Err(Refusal::NoKeys { kind, suffix });
        match Kind::of(signature) {
            Kind::OpenPgp if self.openpgp.is_empty() => missing("PGP", ".asc"),
            Kind::OpenPgp => openpgp::verify(signature, signed, &self.openpgp, now)
                .map_err(|cause| Refusal::OpenPgp { object, cause }),
            Kind::Ssh if self.ssh.is_empty() => missing("SSH", SSH_SUFFIX),
            Kind::Ssh => ssh::verify(signature, signed, &self.ssh).map_err(|cause| Refusal::Ssh { object, cause }),
            other => Err(Refusal::Type(other)),
        }
    }
}
