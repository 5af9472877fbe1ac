//! When a revision has to be verified although it is not new.
//!
//! Flux does so when `verify` has come or asks for more than was verified. A Secret that changed is not noticed there until the
//! next revision, so a key that was withdrawn stays good; here the keys count too. What they were is remembered in memory, for
//! the CRD has no field for it: after a restart everything is verified once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use api::source::GitVerificationMode;
use sha2::{Digest as _, Sha256};

/// What tells one set of keys from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of everything in the Secret, names included: the suffix of a name says what kind its keys are.
    pub fn of(keys: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut digest = Sha256::new();
        let mut add = |bytes: &[u8]| {
            // With its length before each part no two sets read the same.
            digest.update(bytes.len().to_be_bytes());
            digest.update(bytes);
        };
        for (name, content) in keys {
            add(name.as_bytes());
            add(content);
        }
        Self(digest.finalize().into())
    }
}

/// Whether what was verified, `status.sourceVerificationMode`, is less than what `spec.verify.mode` wants. This is Flux's rule:
/// from `TagAndHEAD` down to one of them nothing is left to verify.
pub fn by_mode(wanted: GitVerificationMode, verified: Option<GitVerificationMode>) -> bool {
    use GitVerificationMode::{Head, HeadLegacy, Tag, TagAndHead};
    match (verified, wanted) {
        (None, _) => true,
        (Some(Tag), Head | HeadLegacy | TagAndHead) | (Some(Head | HeadLegacy), Tag | TagAndHead) => true,
        (Some(Tag), Tag) | (Some(Head | HeadLegacy), Head | HeadLegacy) | (Some(TagAndHead), _) => false,
    }
}

/// The mode as it is recorded in the status: `head` is an older spelling of `HEAD`.
pub fn recorded(mode: GitVerificationMode) -> GitVerificationMode {
    match mode {
        GitVerificationMode::HeadLegacy => GitVerificationMode::Head,
        other => other,
    }
}

/// Which revision of each object was verified with which keys, for as long as the process runs.
#[derive(Debug, Default)]
pub struct Memory {
    /// By the object's uid.
    verified: Mutex<HashMap<String, (String, Fingerprint)>>,
}

impl Memory {
    /// Whether it is not this revision of the object `uid`, or not these keys, that was verified last, or nothing since the
    /// start. A revision that was verified and could not be stored says nothing about the one that is stored still.
    pub fn by_keys(&self, uid: &str, revision: &str, keys: Fingerprint) -> bool {
        let locked = self.locked();
        let last = locked.get(uid);
        last.is_none_or(|(verified, with)| verified != revision || *with != keys)
    }

    /// A revision of the object was verified with these keys.
    pub fn verified(&self, uid: &str, revision: &str, keys: Fingerprint) {
        self.locked().insert(uid.to_owned(), (revision.to_owned(), keys));
    }

    /// Forgets an object: it is gone, has no `verify` any more, or its revision was refused.
    pub fn forget(&self, uid: &str) {
        self.locked().remove(uid);
    }

    /// Every change is one insert or remove, so what a panic elsewhere leaves behind is whole.
    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<String, (String, Fingerprint)>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use GitVerificationMode::{Head, HeadLegacy, Tag, TagAndHead};

    fn check(verified: Option<GitVerificationMode>, wanted: [(GitVerificationMode, bool); 4]) {
        for (wanted, expected) in wanted {
            assert_eq!(by_mode(wanted, verified), expected, "{verified:?} -> {wanted:?}");
        }
    }

    #[test]
    fn a_mode_that_asks_for_more_than_was_verified_needs_a_verification() {
        check(
            None,
            [(HeadLegacy, true), (Head, true), (Tag, true), (TagAndHead, true)],
        );
        check(
            Some(Head),
            [(HeadLegacy, false), (Head, false), (Tag, true), (TagAndHead, true)],
        );
        check(
            Some(HeadLegacy),
            [(HeadLegacy, false), (Head, false), (Tag, true), (TagAndHead, true)],
        );
        check(
            Some(Tag),
            [(HeadLegacy, true), (Head, true), (Tag, false), (TagAndHead, true)],
        );
        check(
            Some(TagAndHead),
            [(HeadLegacy, false), (Head, false), (Tag, false), (TagAndHead, false)],
        );
    }

    #[test]
    fn the_status_knows_one_spelling_of_head() {
        assert_eq!(recorded(HeadLegacy), Head);
        for mode in [Head, Tag, TagAndHead] {
            assert_eq!(recorded(mode), mode);
        }
    }

    fn keys(entries: &[(&str, &str)]) -> Fingerprint {
        let entries = entries
            .iter()
            .map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec()));
        Fingerprint::of(&entries.collect())
    }

    #[test]
    fn keys_that_differ_in_name_content_or_number_have_another_fingerprint() {
        let one = keys(&[("a.asc", "x"), ("b.asc", "y")]);
        assert_eq!(one, keys(&[("b.asc", "y"), ("a.asc", "x")]));
        let others: [&[(&str, &str)]; 6] = [
            &[],
            &[("a.asc", "x")],
            &[("a.asc", "y"), ("b.asc", "x")],
            &[("a.sshpub", "x"), ("b.asc", "y")],
            &[("a.asc", "xb.asc"), ("", "y")],
            &[("a.asc", "x"), ("b.asc", "y"), ("c.asc", "")],
        ];
        for other in others {
            assert_ne!(one, keys(other), "{other:?}");
        }
    }

    #[test]
    fn other_keys_a_start_and_a_forgotten_object_need_a_verification() {
        let (memory, old, new) = (Memory::default(), keys(&[("a.asc", "x")]), keys(&[("a.asc", "y")]));
        assert!(memory.by_keys("1", "main@sha1:a", old));
        memory.verified("1", "main@sha1:a", old);
        assert!(!memory.by_keys("1", "main@sha1:a", old));
        assert!(memory.by_keys("1", "main@sha1:a", new), "a key was exchanged");
        assert!(memory.by_keys("2", "main@sha1:a", old), "another object");
        memory.verified("1", "main@sha1:a", new);
        assert!(!memory.by_keys("1", "main@sha1:a", new));
        memory.forget("1");
        assert!(memory.by_keys("1", "main@sha1:a", new));
    }

    #[test]
    fn a_revision_that_was_verified_and_never_stored_says_nothing_about_the_one_before() {
        let (memory, old, new) = (Memory::default(), keys(&[("a.asc", "x")]), keys(&[("a.asc", "y")]));
        memory.verified("1", "main@sha1:a", old);
        memory.verified("1", "main@sha1:b", new);
        assert!(memory.by_keys("1", "main@sha1:a", new));
        assert!(!memory.by_keys("1", "main@sha1:b", new));
    }
}
