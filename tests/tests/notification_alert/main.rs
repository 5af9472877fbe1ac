//! The notification controller on a real control plane: what is told, to whom, and that nothing is lost on the way.
//!
//! Statuses are patched onto the objects by the tests: the status is the interface between the controllers.

mod choosing;
mod delivery;
mod endpoint;
mod faults;
mod lead;
mod providers;
mod stage;
mod start;
