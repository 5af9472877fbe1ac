//! Starts the kustomize controller.

use clap::Parser;
use kustomize_controller::args::Args;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    runtime::telemetry::start(&args.process);
    match kustomize_controller::run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "kustomize-controller ends");
            ExitCode::FAILURE
        }
    }
}
