//! Git as the controllers and kustomize need it: which revision a remote has, and that revision's tree, without a checkout.
//!
//! [`client`] is the way in: a [`Request`] names a remote ([`url`]), who asks ([`credentials`]) and what is wanted
//! ([`reference`]); a [`Commit`] with its [`Tree`] comes out. Where the way may lead is a [`Policy`]; how long it may take and
//! how much may come along it are part of the request. What was fetched is kept for the next time where a [`cache`] is
//! configured. Everything runs in process.
//!
//! What it goes by:
//! - **Git's protocol** in version 2, and in versions 1 and 0 where a server speaks no other, with whatever capabilities it lacks.
//! - **https and http**: HTTP/1.1 and HTTP/2 (by ALPN), TLS 1.2 and 1.3; the system's authorities and others beside; client
//!   certificates; basic authentication and tokens; redirects as git follows them (of the first request, at most ten, not from
//!   https to http), without credentials to another host.
//! - **ssh**: keys (Ed25519, ECDSA, RSA with SHA-2; OpenSSH, PKCS#8 and the older formats, encrypted or not), `known_hosts` with
//!   patterns, ports, hashed hosts, `@cert-authority` and `@revoked`; what is agreed upon can be narrowed ([`ssh::Algorithms`]).
//!   Passwords and dialogues are not ways to log in.
//! - **Proxies**: http, https and socks5 with a login ([`credentials::Proxy`]), else those of the environment ([`Proxies`]); ssh
//!   goes through socks5 only. Where only public addresses are allowed, nothing goes through a proxy.
//! - **Limits**: one deadline over name resolution, dial, handshake and every read; bytes in all, bytes of references, bytes of
//!   an object, and memory while packs are received.
//!
//! What this crate does not do: push, write a working tree, run a `git` or `ssh` program, read anybody's Git configuration,
//! apply filters of `.gitattributes`, or fetch from `file://` and `git://`. It knows no cluster: turning a Secret into
//! credentials and an error into a condition is the caller's part.

mod announcement;
pub mod cache;
pub mod client;
mod conversation;
pub mod credentials;
mod http;
mod memory;
mod objects;
pub mod pack;
pub mod policy;
pub mod proxies;
pub mod reference;
pub mod semver;
pub mod ssh;
mod stop;
mod submodules;
pub mod tree;
mod trouble;
pub mod url;

pub use client::{Client, Commit, Config, Cost, Error, Found, Limits, Request, Tag};
pub use conversation::{Listed, listed};
pub use credentials::Credentials;
pub use http::{causes, client as http_client};
pub use policy::Policy;
pub use proxies::Proxies;
pub use reference::Reference;
pub use submodules::{Module, modules};
pub use tree::Tree;
pub use url::RemoteUrl;
