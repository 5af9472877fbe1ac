//! Signatures that the real `git`, `gpg` and `ssh-keygen` make, and whether they are accepted.
//!
//! What each test of a signature by Git expects is what Git itself says of it (`git verify-commit`), unless the test says why
//! not. Which test covers which case of a signed revision:
//!
//! | case | test |
//! |---|---|
//! | OpenPGP and SSH × `HEAD`, `head`, `Tag`, `TagAndHEAD` | `modes::each_mode_verifies_what_it_names` |
//! | tag of one kind, commit of the other | `modes::a_tag_and_its_commit_may_be_signed_with_different_kinds_of_keys` |
//! | no tag reference | `modes::a_tag_can_only_be_verified_where_one_is_referred_to` |
//! | unsigned and lightweight tags, unsigned commits | `modes::what_is_not_signed_is_refused` |
//! | signed tag, unsigned or badly signed commit | `modes::both_have_to_be_signed_if_both_are_asked_for` |
//! | no keys, keys of the other kind | `modes::a_secret_without_keys_of_the_kind_is_told_apart_from_one_without_the_key` |
//! | entries that are no keys | `modes::an_entry_that_cannot_be_read_is_named` |
//! | suffixes `.asc`, `.sshpub` and any other | `modes::the_name_of_an_entry_says_what_kind_its_keys_are` |
//! | X.509, unknown kinds | `modes::other_kinds_of_signatures_are_named` |
//! | tampered commits and tags, a tag of another commit | `modes::a_changed_object_is_refused` |
//! | SHA-256 repositories | `modes::repositories_with_sha256_have_a_signature_header_of_their_own` |
//! | OpenPGP algorithms | `openpgp::algorithms` |
//! | hashes | `openpgp::hashes_that_are_too_weak_are_refused` |
//! | revoked, expired, unbound keys, key flags | `openpgp_keys::*` |
//! | several copies of a key, keys and signatures in masses | `openpgp_copies::*` |
//! | keys of RFC 9580 (version 6, Ed25519, Ed448), stolen subkeys | `openpgp_rfc9580::*` |
//! | SSH keys, namespaces, hashes | `ssh::*` |
//! | SSH keys of hardware tokens | `ssh_tokens::*` |
//! | RSA keys of 8192 bits and above, and of 1024 and below | `rsa_sizes::*`, `openpgp_rfc9580::*` |
//! | the Secret is missing | `modes::every_refusal_has_a_reason_and_one_of_them_stalls` |
//! | mode upgrades, changed Secrets | `source_controller::verify::needs` (unit tests) |

#![cfg(test)]

mod modes;
mod openpgp;
mod openpgp_copies;
mod openpgp_keys;
mod openpgp_rfc9580;
mod rsa_sizes;
mod ssh;
mod ssh_tokens;
mod workshop;
