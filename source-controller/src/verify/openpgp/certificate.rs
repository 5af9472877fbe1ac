//! OpenPGP keys as they are exported: a primary key with its user ids and subkeys, and the signatures that bind them together.
//!
//! A key may sign if everything that its owner says about it says so now:
//!
//! - the primary key is not revoked, for whatever reason and whenever: who revokes a key because it is superseded may do so
//!   because he has lost it;
//! - it has a user id that its owner has signed and not revoked, or, in version 6, the owner's signature on the key itself;
//! - neither that signature nor the key has expired. A signature that was made before does not outlive its key: its time is
//!   what the signer says it is, and who has got hold of an expired key can say what he likes;
//! - the key has the flag for signing in the newest of these signatures;
//! - a subkey is bound by the primary key, is not revoked and has not expired itself, has the flag for signing in the newest
//!   binding, and has signed in return that it belongs to the primary key: else anybody could bind the subkey of another to his
//!   own key, and what the other signs would be taken for his.
//!
//! Signatures by other keys do not count, nor do pictures. SHA-1 is allowed in what an owner signs about his own key, for many
//! keys that are in use are that old and their owner is in the Secret already; MD5 and RIPEMD-160 are not.

use jiff::Timestamp;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{
    PublicKey, PublicSubkey, SecretKey, SecretSubkey, Signature, SignatureType, SignatureVersion, UserId,
};
use pgp::ser::Serialize as _;
use pgp::types::{
    EddsaLegacyPublicParams, Fingerprint, KeyDetails, KeyId, KeyVersion, PublicParams, RsaPublicParams, Tag,
};

use super::curves::{Complete, is_supported};
use super::effort::Effort;
use super::packets::{self, Malformed, Packet};
use super::{has_unknown_critical, hex, is_expired, is_over, is_strong, made, timestamp};

/// Bits of the smallest RSA key that GnuPG makes and Flux takes. Smaller ones have been broken.
const MIN_RSA: u16 = 1024;

/// Why a key must not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Its owner has revoked it or the primary key that it belongs to.
    #[error("is revoked")]
    Revoked,
    /// It has a revocation that is not by its own primary key, or a signature that cannot be read and may be one.
    #[error("has a revocation that cannot be checked")]
    UnclearRevocation,
    /// Nothing says that it is what it seems to be.
    #[error("is not bound: there is no valid signature of its owner on it")]
    Unbound,
    /// It may be for encryption only.
    #[error("is not for signing")]
    NotForSigning,
    /// It, its primary key or the signature that binds it has expired.
    #[error("has expired")]
    Expired,
    /// It, or the signature that binds it, is from the future.
    #[error("is not valid yet")]
    NotYet,
    /// Its kind is not known.
    #[error("is of an algorithm or on a curve that is not supported")]
    Algorithm,
    /// Others than its owner can sign with it.
    #[error("is an RSA key of less than {MIN_RSA} bits, which is too weak")]
    Small,
}

/// A primary key with what belongs to it.
#[derive(Debug)]
pub struct Certificate {
    primary: PublicKey,
    name: Name,
    /// On the primary key itself.
    direct: Vec<Signature>,
    /// Revocations of the primary key.
    revocations: Vec<Signature>,
    users: Vec<(UserId, Vec<Signature>)>,
    subkeys: Vec<Subkey>,
    /// There is a signature that may be a revocation and cannot be read, or stands where none belongs.
    unclear: bool,
}

/// A subkey with the signatures on it.
#[derive(Debug)]
pub struct Subkey {
    key: PublicSubkey,
    name: Name,
    signatures: Vec<Signature>,
    /// As in [`Certificate`].
    unclear: bool,
}

/// What signatures call a key. It is a hash over the key, so it is found once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    id: KeyId,
    fingerprint: Fingerprint,
}

/// One of the keys of a certificate.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// The primary key.
    Primary(&'a Certificate),
    /// A subkey.
    Sub(&'a Subkey),
}

/// What the packets that follow belong to.
#[derive(Clone, Copy, Debug)]
enum Place {
    Primary,
    User,
    Subkey,
    /// Something that is not looked at.
    Elsewhere,
}

/// The keys of a block. One that is older than version 4, or that the library cannot read, is passed over with all that
/// belongs to it.
///
/// # Errors
/// It is not a row of packets, or a very long one.
pub fn read(content: &[u8]) -> Result<Vec<Certificate>, Malformed> {
    let mut read = Vec::new();
    let mut current: Option<(Certificate, Place)> = None;
    for packet in packets::packets(content) {
        let packet = packet?;
        if let Tag::PublicKey | Tag::SecretKey = packet.tag() {
            read.extend(current.take().map(|(certificate, _)| certificate));
            current = primary(&packet).map(|key| (Certificate::new(key), Place::Primary));
        } else if let Some((certificate, place)) = &mut current {
            *place = certificate.add(&packet, *place);
        }
    }
    read.extend(current.map(|(certificate, _)| certificate));
    Ok(read)
}

fn primary(packet: &Packet<'_>) -> Option<PublicKey> {
    let key = match packet.tag() {
        Tag::SecretKey => packet.parse(SecretKey::try_from_reader)?.public_key().clone(),
        _ => packet.parse(PublicKey::try_from_reader)?,
    };
    matches!(key.version(), KeyVersion::V4 | KeyVersion::V6).then_some(key)
}

fn subkey(packet: &Packet<'_>) -> Option<PublicSubkey> {
    match packet.tag() {
        Tag::SecretSubkey => Some(packet.parse(SecretSubkey::try_from_reader)?.public_key().clone()),
        _ => packet.parse(PublicSubkey::try_from_reader),
    }
}

impl Certificate {
    fn new(primary: PublicKey) -> Self {
        Self {
            name: Name::of(&primary),
            primary,
            direct: Vec::new(),
            revocations: Vec::new(),
            users: Vec::new(),
            subkeys: Vec::new(),
            unclear: false,
        }
    }

    /// Takes in the next packet, and tells what those after it belong to.
    fn add(&mut self, packet: &Packet<'_>, place: Place) -> Place {
        match packet.tag() {
            Tag::Signature => {
                self.sign(packet.parse(Signature::try_from_reader), place);
                place
            }
            // What gpg notes for itself, and filling.
            Tag::Trust | Tag::Marker | Tag::Padding => place,
            Tag::UserId => match packet.parse(UserId::try_from_reader) {
                Some(user) => {
                    self.users.push((user, Vec::new()));
                    Place::User
                }
                None => Place::Elsewhere,
            },
            Tag::PublicSubkey | Tag::SecretSubkey => match subkey(packet) {
                Some(key) => {
                    self.subkeys.push(Subkey {
                        name: Name::of(&key),
                        key,
                        signatures: Vec::new(),
                        unclear: false,
                    });
                    Place::Subkey
                }
                None => Place::Elsewhere,
            },
            _ => Place::Elsewhere,
        }
    }

    /// Puts a signature where it belongs. One that is not understood or stands in the wrong place does no harm, unless it may
    /// be a revocation.
    fn sign(&mut self, signature: Option<Signature>, place: Place) {
        use SignatureType::{CertRevocation, Key, KeyRevocation, SubkeyBinding, SubkeyRevocation};
        let kind = signature.as_ref().and_then(Signature::typ);
        let (Some(signature), Some(kind)) = (signature, kind) else {
            match (place, self.subkeys.last_mut()) {
                (Place::Primary, _) => self.unclear = true,
                (Place::Subkey, Some(subkey)) => subkey.unclear = true,
                _ => {}
            }
            return;
        };
        match (kind, place) {
            (KeyRevocation, _) => self.revocations.push(signature),
            (Key, Place::Primary) => self.direct.push(signature),
            (CertRevocation, Place::Primary) if self.name.is_in(&signature) => self.unclear = true,
            (SubkeyBinding | SubkeyRevocation, Place::Subkey) => {
                if let Some(subkey) = self.subkeys.last_mut() {
                    subkey.signatures.push(signature);
                }
            }
            (SubkeyRevocation, Place::Primary | Place::User) => self.unclear = true,
            (_, Place::User) => {
                if let Some((_, signatures)) = self.users.last_mut() {
                    signatures.push(signature);
                }
            }
            _ => {}
        }
    }

    /// The keys that the signature says may have made it, with the certificate itself.
    pub fn issuers(&self, signature: &Signature) -> impl Iterator<Item = (&Self, Key<'_>)> {
        let primary = self.name.is_in(signature).then_some(Key::Primary(self));
        let subkeys = self.subkeys.iter().filter(|subkey| subkey.name.is_in(signature));
        primary
            .into_iter()
            .chain(subkeys.map(Key::Sub))
            .map(move |key| (self, key))
    }

    fn primary(&self) -> Complete<'_, PublicKey> {
        Complete(&self.primary)
    }

    /// The id of the primary key in 16 hex digits in upper case.
    pub fn id(&self) -> String {
        hex(self.name.id.as_ref())
    }

    /// Checks that the key may sign now.
    ///
    /// # Errors
    /// What forbids it.
    pub fn check(&self, key: Key<'_>, now: Timestamp, effort: &Effort) -> Result<(), Unusable> {
        let own = self.check_primary(now, effort)?;
        match key {
            Key::Primary(_) if own.key_flags().sign() => Ok(()),
            Key::Primary(_) => Err(Unusable::NotForSigning),
            Key::Sub(subkey) => self.check_subkey(subkey, now, effort),
        }
    }

    /// Checks what every key of the certificate stands on. Returns the signature with which the owner describes the primary key.
    fn check_primary(&self, now: Timestamp, effort: &Effort) -> Result<&Signature, Unusable> {
        check_algorithm(&self.primary)?;
        if self.is_revoked(effort) {
            return Err(Unusable::Revoked);
        }
        if self.unclear || !self.revocations.is_empty() {
            return Err(Unusable::UnclearRevocation);
        }
        let direct = self.direct.iter().filter(|own| self.name.is_in(own));
        let direct = newest(direct, |own| effort.passes(0, || own.verify_key(&self.primary())));
        let own = match self.primary.version() {
            KeyVersion::V6 => direct.ok_or(Unusable::Unbound)?,
            _ => self.identity(effort)?,
        };
        for signature in [Some(own), direct].into_iter().flatten() {
            check_time(&self.primary, signature, now)?;
        }
        Ok(own)
    }

    /// Whether its owner has revoked the primary key.
    fn is_revoked(&self, effort: &Effort) -> bool {
        let is_own = |revocation: &Signature| effort.passes(0, || revocation.verify_key(&self.primary()));
        self.revocations.iter().any(is_own)
    }

    /// Whether this is the other certificate or a copy of it, and in it the owner has revoked the key or the primary key. A
    /// certificate may also hold a subkey twice, and only once with its revocation.
    pub fn revokes(&self, other: &Self, key: Key<'_>, effort: &Effort) -> bool {
        let is_this = |subkey: &&Subkey| matches!(key, Key::Sub(key) if key.name == subkey.name);
        let mut these = self.subkeys.iter().filter(is_this);
        self.name == other.name && (self.is_revoked(effort) || these.any(|subkey| self.has_revoked(subkey, effort)))
    }

    /// Whether its owner has revoked a subkey.
    fn has_revoked(&self, subkey: &Subkey, effort: &Effort) -> bool {
        let mut revocations = subkey.of_type(SignatureType::SubkeyRevocation);
        revocations.any(|revocation| self.has_bound(subkey, revocation, effort))
    }

    /// Whether the owner has made a signature that says something about a subkey.
    fn has_bound(&self, subkey: &Subkey, signature: &Signature, effort: &Effort) -> bool {
        effort.passes(0, || signature.verify_subkey_binding(&self.primary(), &subkey.key))
    }

    /// The newest signature of the owner on the user id that stands for the key: the one marked as primary, or the newest.
    fn identity(&self, effort: &Effort) -> Result<&Signature, Unusable> {
        let mut none = Unusable::Unbound;
        let own = self.users.iter().filter_map(|(user, signatures)| {
            let own = signatures.iter().filter(|signature| self.name.is_in(signature));
            let mut kinds = own.clone().map(Signature::typ);
            if kinds.any(|kind| kind == Some(SignatureType::CertRevocation)) {
                none = Unusable::Revoked;
                return None;
            }
            newest(own, |own| {
                effort.passes(0, || own.verify_certification(&self.primary(), Tag::UserId, user))
            })
        });
        let own = own.max_by_key(|signature| (signature.is_primary(), made(signature)));
        own.ok_or(none)
    }

    fn check_subkey(&self, subkey: &Subkey, now: Timestamp, effort: &Effort) -> Result<(), Unusable> {
        check_algorithm(&subkey.key)?;
        if self.has_revoked(subkey, effort) {
            return Err(Unusable::Revoked);
        }
        if subkey.unclear || subkey.of_type(SignatureType::SubkeyRevocation).next().is_some() {
            return Err(Unusable::UnclearRevocation);
        }
        let bindings = subkey.of_type(SignatureType::SubkeyBinding);
        let binding = newest(bindings, |binding| self.has_bound(subkey, binding, effort)).ok_or(Unusable::Unbound)?;
        if !binding.key_flags().sign() {
            return Err(Unusable::NotForSigning);
        }
        let back = binding.embedded_signature().filter(|back| is_acceptable(back));
        let back = back.filter(|back| {
            effort.passes(0, || {
                back.verify_primary_key_binding(&Complete(&subkey.key), &self.primary)
            })
        });
        let back = back.ok_or(Unusable::Unbound)?;
        check_time(&subkey.key, binding, now)?;
        check_time(&subkey.key, back, now)
    }
}

impl Subkey {
    fn of_type(&self, kind: SignatureType) -> impl Iterator<Item = &Signature> {
        let signatures = self.signatures.iter();
        signatures.filter(move |signature| signature.typ() == Some(kind))
    }
}

impl Key<'_> {
    /// Its id in 16 hex digits in upper case.
    pub fn id(&self) -> String {
        let name = match self {
            Self::Primary(certificate) => &certificate.name,
            Self::Sub(subkey) => &subkey.name,
        };
        hex(name.id.as_ref())
    }

    /// When it was made.
    pub fn created(&self) -> Timestamp {
        match self {
            Self::Primary(certificate) => created(&certificate.primary),
            Self::Sub(subkey) => created(&subkey.key),
        }
    }

    /// Whether it has made the signature over the payload.
    pub fn has_made(&self, signature: &Signature, payload: &[u8], effort: &Effort) -> bool {
        effort.passes(payload.len(), || match self {
            Self::Primary(certificate) => signature.verify(&certificate.primary(), payload),
            Self::Sub(subkey) => signature.verify(&Complete(&subkey.key), payload),
        })
    }
}

impl Name {
    fn of(key: &impl KeyDetails) -> Self {
        Self {
            id: key.legacy_key_id(),
            fingerprint: key.fingerprint(),
        }
    }

    /// Whether the signature says that the key may have made it.
    fn is_in(&self, signature: &Signature) -> bool {
        signature.issuer_key_id().contains(&&self.id) || signature.issuer_fingerprint().contains(&&self.fingerprint)
    }
}

/// Whether what an owner signs about his own key counts, if it is his.
fn is_acceptable(signature: &Signature) -> bool {
    let version = matches!(signature.version(), SignatureVersion::V4 | SignatureVersion::V6);
    let hash = signature
        .hash_alg()
        .is_some_and(|hash| is_strong(hash) || hash == HashAlgorithm::Sha1);
    version && hash && !has_unknown_critical(signature)
}

/// The newest of the signatures that count and are valid; of two of the same second the later one. None is checked that is older.
fn newest<'a>(
    signatures: impl Iterator<Item = &'a Signature>,
    is_valid: impl Fn(&Signature) -> bool,
) -> Option<&'a Signature> {
    let mut signatures: Vec<_> = signatures.filter(|signature| is_acceptable(signature)).collect();
    signatures.sort_by_key(|signature| made(signature));
    signatures.into_iter().rev().find(|signature| is_valid(signature))
}

/// Checks that a key, and the signature that says for how long it may be used, are valid now.
fn check_time(key: &impl KeyDetails, signature: &Signature, now: Timestamp) -> Result<(), Unusable> {
    let created = created(key);
    let lifetime = signature.key_expiration_time().map_or(0, |lifetime| lifetime.as_secs());
    if created > now || made(signature).is_none_or(|made| made > now) {
        return Err(Unusable::NotYet);
    }
    if is_expired(signature, now) || is_over(created, lifetime, now) {
        return Err(Unusable::Expired);
    }
    Ok(())
}

/// A time that cannot be told is later than any.
fn created(key: &impl KeyDetails) -> Timestamp {
    timestamp(key.created_at()).unwrap_or(Timestamp::MAX)
}

fn check_algorithm(key: &impl KeyDetails) -> Result<(), Unusable> {
    use PublicParams::{DSA, ECDSA, Ed448, Ed25519, EdDSALegacy, RSA, Unknown};
    match key.public_params() {
        _ if key.algorithm() == PublicKeyAlgorithm::RSAEncrypt => Err(Unusable::NotForSigning),
        RSA(params) if bits(params) < MIN_RSA => Err(Unusable::Small),
        ECDSA(params) if !is_supported(params) => Err(Unusable::Algorithm),
        EdDSALegacy(EddsaLegacyPublicParams::Unsupported { .. }) | Unknown { .. } => Err(Unusable::Algorithm),
        RSA(_) | DSA(_) | ECDSA(_) | EdDSALegacy(_) | Ed25519(_) | Ed448(_) => Ok(()),
        _ => Err(Unusable::NotForSigning),
    }
}

/// The bits of a modulus, which stand before it.
fn bits(params: &RsaPublicParams) -> u16 {
    let mut written = Vec::with_capacity(params.write_len());
    match (params.to_writer(&mut written), written.first_chunk()) {
        (Ok(()), Some(bits)) => u16::from_be_bytes(*bits),
        _ => 0,
    }
}
