//! Starts the source controller.

use source_controller::args::Args;
use source_controller::{NAME, run};
use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// Gives back to the system what a burst of work took, while the process is idle.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    runtime::process::start(NAME, |args: &Args| &args.process, run)
}
