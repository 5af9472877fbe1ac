//! `takeover` (started by `hack/takeover`, which builds what it needs): hands one storage directory and its
//! GitRepositories back and forth between Flux's source controller and this project's, kills and pauses both in the
//! middle of it, and checks what each makes of what the other one has left. It prints every check; one that fails makes
//! the exit code 1.

mod checks;
mod stage;
mod story;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tests::program;

use stage::Stage;
use table::Table;

/// Hands one storage back and forth between Flux's source controller and ours, and checks what each makes of it
#[derive(Debug, Parser)]
#[command(name = "hack/takeover")]
struct Args {
    /// Flux's source controller
    #[arg(long, value_name = "PATH")]
    flux_source: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    program::run("takeover", run(&args), ExitCode::from)
}

async fn run(args: &Args) -> Result<ExitCode> {
    let stage = Stage::set(&args.flux_source).await?;
    let mut table = Table::default();
    let played = story::play(&stage, &mut table).await;
    table.close();
    played?;
    Ok(if table.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
