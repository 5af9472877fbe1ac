//! A revision as bytes.
//!
//! An *artifact* is what a source controller produces for one revision of a source and what every consumer downloads: a
//! gzip-compressed tar, named by the digest of its bytes. This crate holds both ends of that trade and nothing else:
//!
//! - [`Digest`] and [`Revision`] own the grammar of the strings that travel in `status.artifact`;
//! - [`archive`] writes the tar deterministically: the same tree gives the same bytes, today and after a restart;
//! - [`mod@unpack`] reads one back into a confined directory, bounded in bytes, entries and depth;
//! - [`mod@fetch`] downloads one over HTTP and checks its digest while it streams;
//! - [`Scratch`] is where a process keeps such files while it works on them;
//! - [`Redacted`] holds what it takes to get one and must not be seen.
//!
//! It knows no cluster and no retry policy: a caller decides when to try again.

pub mod archive;
pub mod digest;
pub mod fetch;
mod gzip;
pub mod redact;
pub mod revision;
pub mod scratch;
pub mod unpack;

pub use archive::{Archive, Written};
pub use digest::{Algorithm, Digest, Hasher};
pub use fetch::{Fetched, fetch};
pub use redact::Redacted;
pub use revision::Revision;
pub use scratch::Scratch;
pub use unpack::{Limits, Unpacked, unpack};
