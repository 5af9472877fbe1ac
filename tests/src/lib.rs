//! The harness that every test against a kube-apiserver, and the quickstart, is built on: a real control plane, real
//! Git over HTTP and ssh, receivers and artifact servers that can misbehave, and the three controllers as processes.
//!
//! Nothing here stands in for a part of the project: the controllers under test are the binaries that are shipped, the
//! API server, etcd and git are the real ones. The library never panics; it returns [`anyhow::Result`], so that it
//! also works outside of tests.
//!
//! # How a test looks
//! ```no_run
//! # async fn test() -> anyhow::Result<()> {
//! use tests::scenario::Scenario;
//!
//! let s = Scenario::start("artifact-stored").await?; // a fresh namespace, its own controllers and Git server
//! let repo = s.git.create("app")?;
//! repo.write("app.yaml", "…")?;
//! let commit = repo.commit("first")?;
//! s.namespace.apply_yaml(&format!("…url: {}…", repo.url())).await?;
//! # Ok(()) }
//! ```
//!
//! # What is shared
//! One control plane per run: [`control_plane::ControlPlane::shared`] uses the one that `SLUICE_CONTROL_PLANE` (its
//! working directory; `hack/test` sets it) points to, or starts one for this process. Tests keep apart by namespace.
//! Controllers are not shared: each [`scenario::Scenario`] starts its own with `--watch-all-namespaces=false` and its
//! namespace as `RUNTIME_NAMESPACE`, so a test may kill them, restart them and choose their flags without disturbing
//! others. A test that needs all namespaces, or wants to harm the control plane, takes
//! [`cluster::Cluster::own`].
//!
//! A [`kube::Client`] belongs to the async runtime it was made in, and every `#[tokio::test]` has its own: keep
//! clients in the test, never in a static.

pub mod api_proxy;
pub mod artifact_server;
pub mod checkout;
pub mod cluster;
pub mod control_plane;
pub mod controllers;
pub mod files;
pub mod flux;
pub mod git_client;
pub mod git_server;
pub mod http2_server;
pub mod kubeconfig;
pub mod namespace;
pub mod pack;
pub mod pki;
pub mod port;
pub mod proc;
pub mod process;
pub mod program;
pub mod proxy;
pub mod published;
pub mod raw_server;
pub mod receiver;
pub mod relay;
pub mod repo;
pub mod scenario;
pub mod ssh_server;
pub mod strace;
pub mod wait;
pub mod web;
pub mod widget;

/// Chooses ring as the process's TLS provider. Everything in this library that needs TLS calls it; calling it again
/// does nothing.
pub fn use_ring() {
    // An error means that a provider was installed before, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
