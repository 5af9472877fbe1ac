//! Git as the controllers and kustomize need it: which revision a remote has, and that revision's tree, without a checkout.
//!
//! [`client`] is the way in: a [`Request`] names a remote ([`url`]), who asks ([`credentials`]) and what is wanted
//! ([`reference`]); a [`Commit`] with its [`Tree`] comes out. Where the way may lead is a [`Policy`]; how long it may take and
//! how much may come along it are part of the request. Everything runs in process.
//!
//! What this crate does not do: push, write a working tree, run a `git` or `ssh` program, read anybody's Git configuration,
//! apply filters of `.gitattributes`, or fetch from `file://` and `git://`. It knows no cluster: turning a Secret into
//! credentials and an error into a condition is the caller's part.

pub mod client;
mod conversation;
pub mod credentials;
mod http;
mod objects;
pub mod policy;
pub mod reference;
pub mod semver;
pub mod ssh;
mod stop;
mod submodules;
pub mod tree;
mod trouble;
pub mod url;

pub use client::{Client, Commit, Config, Error, Found, Limits, Request};
pub use credentials::Credentials;
pub use policy::Policy;
pub use reference::Reference;
pub use tree::Tree;
pub use url::RemoteUrl;
