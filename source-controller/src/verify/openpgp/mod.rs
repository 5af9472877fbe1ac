//! OpenPGP signatures.
//!
//! The library does the arithmetic: it parses packets, hashes and checks one signature against one key. Everything that makes
//! a key one that may sign is left to its caller and is decided here, by the rules of Flux (go-crypto) and of GnuPG where they
//! are stricter:
//!
//! - the signature is one over a document, names who made it, was made after its key and not in the future, has not expired,
//!   has no critical part that is unknown here, and is not made with MD5, SHA-1 or RIPEMD-160;
//! - the key that made it, and the primary key that this one belongs to, may be used now and for signing ([`certificate`]).
//!
//! Of several signatures in one block one that is valid is enough, and it may be by any key of any entry.

mod certificate;
mod curves;
mod effort;
mod packets;

use jiff::Timestamp;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SignatureVersion, SubpacketData};
use pgp::types::Tag;

use super::Entry;
use super::armor::{self, PGP_SIGNATURE};
use certificate::{Certificate, Key, Unusable};
use effort::{Effort, MAX_CHECKS};
use packets::Malformed;

/// The most signatures of one block that are looked at.
const MAX_SIGNATURES: usize = 16;
/// The largest entry of the Secret that is read. A Secret holds 1 MiB in all.
const MAX_KEY_RING: usize = 1 << 20;
/// The labels of blocks with keys. What is secret in the second kind is not used.
const KEY_BLOCKS: [&str; 2] = ["PGP PUBLIC KEY BLOCK", "PGP PRIVATE KEY BLOCK"];

/// Why an OpenPGP signature was not accepted. What comes before the colon are Flux's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No entry of the Secret could be read; this is the first.
    #[error("unable to read armored key ring: entry '{entry}' of the secret: {cause}")]
    KeyRing {
        /// The name of the entry.
        entry: String,
        /// What is wrong with it.
        cause: Unreadable,
    },
    /// The signature could not be read.
    #[error("unable to read the signature: {0}")]
    Signature(Unreadable),
    /// No key has made it, or none that may.
    #[error("unable to verify payload with any of the given key rings: {0}")]
    NotVerified(Why),
}

/// Why text with packets could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Its armor.
    #[error(transparent)]
    Armor(#[from] armor::Error),
    /// What is inside.
    #[error(transparent)]
    Packets(#[from] Malformed),
    /// It has no block with keys.
    #[error("no armored data found: it needs a block that begins with '-----BEGIN PGP PUBLIC KEY BLOCK-----'")]
    NoKeyBlock,
    /// It has no key, or none of a version that is read.
    #[error("it holds no key of version 4 or 6")]
    NoKey,
    /// It has something beside signatures, or no signature.
    #[error("it holds something other than signatures")]
    NoSignature,
    /// It has more signatures than are looked at.
    #[error("it holds more than {MAX_SIGNATURES} signatures")]
    ManySignatures,
}

/// Why a signature that can be read does not count. Keys are named by their ids, which are in the signature for everybody to
/// see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// None of the keys has made it.
    #[error("no matching key: it is signed by key '{0}'")]
    NoMatchingKey(String),
    /// It does not say who made it.
    #[error("the signature does not name its key")]
    NoIssuer,
    /// Not a version that is known.
    #[error("the signature is of a version that is not supported")]
    Version,
    /// It was made for something else than a document.
    #[error("the signature is not one of a document")]
    NotADocument,
    /// It rests on a hash for which another document can be made.
    #[error("the signature uses {0}, which is too weak")]
    WeakHash(String),
    /// It has no time, which it must.
    #[error("the signature has no time")]
    NoTime,
    /// It was made later than now.
    #[error("the signature is from the future: it was made at {0}")]
    Future(Timestamp),
    /// It was made before its key.
    #[error("the signature was made at {0}, before its key '{1}'")]
    BeforeItsKey(Timestamp, String),
    /// Its time is over.
    #[error("the signature has expired")]
    Expired,
    /// It says that it must not be accepted by who does not know a certain part of it.
    #[error("the signature has a critical part that is not known")]
    Critical,
    /// It does not fit the object and the key: one of them is not what was signed.
    #[error("the signature by key '{0}' does not fit the object")]
    Bad(String),
    /// The key must not be used.
    #[error("key '{key}' {cause}")]
    Key {
        /// The id of the key that made the signature.
        key: String,
        /// Why it must not.
        cause: Unusable,
    },
    /// The keys that the signature names, or what is signed about them, are too many to check.
    #[error(
        "to find out takes more than {MAX_CHECKS} checks of signatures: the keys hold copies, subkeys or signatures in masses"
    )]
    TooMuch,
}

/// The id of the primary key whose owner has signed `payload`: 16 hex digits in upper case.
///
/// # Errors
/// No signature of the block is a valid one by a key of `rings` that may sign.
pub fn verify(signature: &[u8], payload: &[u8], rings: &[Entry<'_>], now: Timestamp) -> Result<String, Error> {
    let signatures = read_signatures(signature).map_err(Error::Signature)?;
    let certificates = read_rings(rings)?;
    let effort = Effort::new();
    let mut why: Option<Why> = None;
    for signature in &signatures {
        let found = signer(signature, payload, &certificates, now, &effort);
        // What could not be checked any more may be a revocation.
        if effort.is_over() {
            return Err(Error::NotVerified(Why::TooMuch));
        }
        match found {
            Ok(id) => return Ok(id),
            // A key that is there but must not be used tells more than that another one is not there.
            Err(error) if matches!(why, None | Some(Why::NoMatchingKey(_))) => why = Some(error),
            Err(_) => {}
        }
    }
    Err(Error::NotVerified(why.unwrap_or(Why::NoIssuer)))
}

fn read_signatures(text: &[u8]) -> Result<Vec<Signature>, Unreadable> {
    let content = armor::signature(text, PGP_SIGNATURE)?;
    let mut signatures = Vec::new();
    for packet in packets::packets(&content) {
        let packet = packet?;
        match packet.tag() {
            Tag::Marker | Tag::Padding => {}
            Tag::Signature if signatures.len() == MAX_SIGNATURES => return Err(Unreadable::ManySignatures),
            Tag::Signature => signatures.push(packet.parse(Signature::try_from_reader).ok_or(Malformed::Packet)?),
            _ => return Err(Unreadable::NoSignature),
        }
    }
    if signatures.is_empty() {
        return Err(Unreadable::NoSignature);
    }
    Ok(signatures)
}

/// The keys of every entry that can be read; one that cannot is no reason to refuse what the others allow.
fn read_rings(rings: &[Entry<'_>]) -> Result<Vec<Certificate>, Error> {
    let mut certificates = Vec::new();
    let mut unreadable = None;
    for ring in rings {
        match read_ring(ring.content) {
            Ok(read) => certificates.extend(read),
            Err(cause) => unreadable = unreadable.or(Some((ring.name, cause))),
        }
    }
    match unreadable {
        Some((entry, cause)) if certificates.is_empty() => Err(Error::KeyRing {
            entry: entry.to_owned(),
            cause,
        }),
        _ => Ok(certificates),
    }
}

fn read_ring(text: &[u8]) -> Result<Vec<Certificate>, Unreadable> {
    if text.len() > MAX_KEY_RING {
        let (size, limit) = (text.len(), MAX_KEY_RING);
        return Err(armor::Error::TooLarge { size, limit }.into());
    }
    let mut blocks = 0;
    let mut certificates = Vec::new();
    for block in armor::blocks(text) {
        let block = block?;
        if KEY_BLOCKS.contains(&block.label) {
            blocks += 1;
            certificates.extend(certificate::read(&block.content)?);
        }
    }
    match (blocks, certificates.is_empty()) {
        (0, _) => Err(Unreadable::NoKeyBlock),
        (_, true) => Err(Unreadable::NoKey),
        (_, false) => Ok(certificates),
    }
}

/// Who has made the signature.
fn signer(
    signature: &Signature,
    payload: &[u8],
    certificates: &[Certificate],
    now: Timestamp,
    effort: &Effort,
) -> Result<String, Why> {
    let made = check_signature(signature, now)?;
    let is_revoked = |certificate: &Certificate, key: Key<'_>| {
        let mut copies = certificates.iter();
        copies.any(|copy| copy.revokes(certificate, key, effort))
    };
    let check = |certificate: &Certificate, key: Key<'_>| {
        let id = key.id();
        match certificate.check(key, now, effort) {
            Err(cause) => Err(Why::Key { key: id, cause }),
            Ok(()) if made < key.created() => Err(Why::BeforeItsKey(made, id)),
            Ok(()) if !key.has_made(signature, payload, effort) => Err(Why::Bad(id)),
            // A revocation counts wherever it is: the copy without it is older, or was made to be without it.
            Ok(()) if is_revoked(certificate, key) => Err(Why::Key {
                key: id,
                cause: Unusable::Revoked,
            }),
            Ok(()) => Ok(certificate.id()),
        }
    };
    let mut why = None;
    for (certificate, key) in certificates
        .iter()
        .flat_map(|certificate| certificate.issuers(signature))
    {
        match check(certificate, key) {
            Ok(id) => return Ok(id),
            Err(error) => why = why.or(Some(error)),
        }
    }
    Err(why.unwrap_or_else(|| Why::NoMatchingKey(issuer(signature))))
}

/// What can be said of a signature without its key. Returns when it was made.
fn check_signature(signature: &Signature, now: Timestamp) -> Result<Timestamp, Why> {
    if !matches!(signature.version(), SignatureVersion::V4 | SignatureVersion::V6) {
        return Err(Why::Version);
    }
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(Why::NotADocument);
    }
    let hash = signature.hash_alg().unwrap_or(HashAlgorithm::None);
    if !is_strong(hash) {
        return Err(Why::WeakHash(hash.to_string()));
    }
    if has_unknown_critical(signature) {
        return Err(Why::Critical);
    }
    if signature.issuer_key_id().is_empty() && signature.issuer_fingerprint().is_empty() {
        return Err(Why::NoIssuer);
    }
    let made = made(signature).ok_or(Why::NoTime)?;
    if made > now {
        return Err(Why::Future(made));
    }
    if is_expired(signature, now) {
        return Err(Why::Expired);
    }
    Ok(made)
}

/// The hashes that nobody can make two documents for.
fn is_strong(hash: HashAlgorithm) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha224, Sha256, Sha384, Sha512};
    matches!(hash, Sha224 | Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512)
}

/// Whether the signature says that who does not know a part of it must not accept it, and the part is not known here. Notes
/// that anybody can define are among these: none of them is known.
fn has_unknown_critical(signature: &Signature) -> bool {
    use SubpacketData::{Experimental, Notation, Other};
    let config = signature.config().into_iter();
    let mut parts = config.flat_map(|config| config.hashed_subpackets().chain(config.unhashed_subpackets()));
    parts.any(|part| part.is_critical && matches!(part.data, Notation(_) | Experimental(..) | Other(..)))
}

fn made(signature: &Signature) -> Option<Timestamp> {
    signature.created().and_then(timestamp)
}

/// Whether a signature has an end that is over. No end and an end of zero seconds mean forever.
fn is_expired(signature: &Signature, now: Timestamp) -> bool {
    let seconds = signature
        .signature_expiration_time()
        .map_or(0, |lifetime| lifetime.as_secs());
    made(signature).is_none_or(|made| is_over(made, seconds, now))
}

/// Whether `seconds` after `start` are over; zero seconds never are.
fn is_over(start: Timestamp, seconds: u32, now: Timestamp) -> bool {
    seconds != 0 && now.as_second() > start.as_second().saturating_add(i64::from(seconds))
}

fn timestamp(time: pgp::types::Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(i64::from(time.as_secs())).ok()
}

/// Who the signature says has made it.
fn issuer(signature: &Signature) -> String {
    let by_id = signature.issuer_key_id().first().map(|id| hex(id.as_ref()));
    let by_fingerprint = || {
        signature
            .issuer_fingerprint()
            .first()
            .map(|fingerprint| hex(fingerprint.as_bytes()))
    };
    by_id.or_else(by_fingerprint).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
