//! Starts the notification controller.

use clap::Parser;
use notification_controller::args::Args;
use runtime::process::{Standby, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    runtime::telemetry::start(&args.process);
    let gates = args.gates().map_err(anyhow::Error::msg)?;
    let process = args.process.clone();
    // Flux's Deployment rolls: a new replica that waited for the old one's lease to be ready would wait for ever.
    run("notification-controller", "", &process, Standby::Ready, |process| {
        notification_controller::run(args, gates, process)
    })
    .await
}
