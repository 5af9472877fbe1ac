//! Arithmetic on the numbers of pods that workloads report.

use super::Status;

/// In progress as long as fewer pods than wanted are something (`ready`, `updated`).
pub(super) fn too_few(have: i64, want: i64, what: &str) -> Option<Status> {
    (have < want).then(|| Status::in_progress(format!("{have} of {want} pods are {what}")))
}

/// In progress as long as there are more pods than wanted.
pub(super) fn too_many(have: i64, want: i64) -> Option<Status> {
    let extra = have.saturating_sub(want);
    (have > want).then(|| Status::in_progress(format!("pods that have yet to go: {extra}")))
}
