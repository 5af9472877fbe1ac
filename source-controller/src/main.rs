//! Starts the source controller.

use clap::Parser;
use runtime::process::{Standby, run};
use source_controller::args::Args;
use source_controller::auth::provider::Environment;
use tikv_jemallocator::Jemalloc;

/// Gives back to the system what a burst of work took, while the process is idle.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    runtime::telemetry::start(&args.process);
    let gates = args.gates().map_err(anyhow::Error::msg)?;
    let environment = Environment::read(|name| std::env::var(name).ok());
    let (process, shard) = (args.process.clone(), args.interval.watch_label_selector.clone());
    run("source-controller", &shard, &process, Standby::NotReady, |process| {
        source_controller::run(args, gates, environment, process)
    })
    .await
}
