//! The three kinds of this controller: Receivers get a path, Alerts and Providers are only watched. The finalizer that
//! Flux puts on all of them is taken off when they are deleted; none is added, since nothing has to be cleaned up.

pub mod alert;
pub mod provider;
pub mod receiver;

/// The name our writes go by.
pub const FIELD_MANAGER: &str = "notification-controller";
