//! The source controller against a real API server and real Git servers, good and bad.

mod access;
mod artifact;
mod bad_input;
mod life;
mod providers;
mod reference;
mod stage;
mod storage;
mod trees;
mod verification;
mod way;
