//! Git as this controller needs it: which revision a remote has, and that revision's tree, over HTTP and without a checkout.
//!
//! [`url`], [`reference`], [`semver`] and [`auth`] are pure: they turn spec and Secret into what to ask for. [`http`] is the
//! transport, [`client`] the way in, [`objects`] what comes out. Nothing is pushed, no working tree is written, no `git` program is run.

pub mod auth;
pub mod client;
mod conversation;
pub mod http;
pub mod objects;
pub mod reference;
pub mod semver;
pub mod url;
