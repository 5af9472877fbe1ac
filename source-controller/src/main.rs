//! Starts the source controller.

use clap::Parser;
use runtime::process::{Standby, run};
use source_controller::args::{Args, GATES};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    runtime::telemetry::start(&args.process);
    runtime::args::feature_gates(&args.process.feature_gates, &GATES).map_err(anyhow::Error::msg)?;
    let (process, shard) = (args.process.clone(), args.interval.watch_label_selector.clone());
    run("source-controller", &shard, &process, Standby::NotReady, |process| {
        source_controller::run(args, process)
    })
    .await
}
