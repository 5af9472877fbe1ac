//! The custom resources Sluice serves, as types: what users write (`spec`), what controllers answer (`status`), and the
//! schema the API server checks both against.
//!
//! One module per API group: [`source`] (GitRepository), [`kustomize`] (Kustomization) and [`notification`] (Provider,
//! Alert, Receiver). [`meta`] holds what they share: references, condition types, reasons, annotation and label keys.
//! [`event`] is the payload of the event endpoint and of generic webhooks, [`crd`] the CustomResourceDefinitions.
//!
//! The names on the wire are those of Flux. Nothing here talks to a cluster, reads a clock or waits; the crate has no
//! client and no async runtime, and no type decides anything about its values.

#[macro_use]
mod choices;
pub mod crd;
pub mod duration;
pub mod event;
pub mod kustomize;
pub mod meta;
pub mod notification;
pub mod source;

pub use duration::Duration;
