//! The kustomize controller on a real control plane: a file per field or subject of a Kustomization.
//!
//! One program, so that it is linked once. [`scene`] and [`edges`] are what the files share: the controller as a process,
//! and its library alone.

mod apply;
mod build_errors;
mod deletion_policy;
mod depends_on;
mod edges;
mod names;
mod post_build;
mod prune;
mod remote_bases;
mod scene;
mod service_account;
mod source;
mod status;
mod undecodable;
mod unsupported;
mod wait;
mod watch;
mod webhook;
