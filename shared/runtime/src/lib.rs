//! What every controller does around its work: report, retry, elect, measure, log, end.
//!
//! A controller's `main` parses [`args`], starts [`telemetry`] and calls [`process::run`] with its work: a
//! [`controller::Controller`] for each kind it reconciles and a [`follow`] for each kind it reads. Inside a reconcile a
//! [`report::Report`] is the only writer of status, and [`events::Recorder`] tells people.
//!
//! What this crate does not do: know what any controller reconciles.

mod allowance;
pub mod args;
pub mod backoff;
pub mod client;
pub mod conditions;
pub mod controller;
pub mod events;
mod fence;
pub mod finalizer;
pub mod follow;
pub mod health;
pub mod lease;
pub mod merge;
pub mod metrics;
pub mod objects;
pub mod path;
pub mod process;
mod queue;
pub mod report;
mod seen;
pub mod telemetry;
pub mod watching;
mod workers;

pub use artifact::redact;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex; a panic elsewhere while it was held does not spread.
///
/// Our critical sections leave their data whole at every step.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
