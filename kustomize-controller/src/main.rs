//! Starts the kustomize controller.

use kustomize_controller::args::Args;
use kustomize_controller::{NAME, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::process::start(NAME, |args: &Args| &args.process, run)
}
