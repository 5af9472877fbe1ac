//! Drift and work that is not done, on a real control plane: what others change is put right at once and told, what is
//! theirs is left to them, and what has not changed costs nothing. A file per subject.
//!
//! Kustomizations have an interval of an hour unless a test is about intervals, so that nothing but a watch can be the
//! reason why something is put right. [`scene`] is the controller with its namespace, [`object`] an applied object and
//! what others do to it, [`requests`] what the controller asks the API server.

mod contest;
mod fair;
mod fields;
mod heal;
mod inputs;
mod left_alone;
mod manifests;
mod object;
mod quiet;
mod refused;
mod requests;
mod runs;
mod scene;
mod survive;
