//! Starts the notification controller.

use notification_controller::args::Args;
use notification_controller::{NAME, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::process::start(NAME, |args: &Args| &args.process, run)
}
