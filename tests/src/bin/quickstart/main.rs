//! `quickstart` (started by `hack/quickstart`, which builds what it needs): a control plane, the three controllers, a
//! Git repository and a receiver of messages, all on this machine, kept until Ctrl-C.
//!
//! It prints what happens and lines to paste; with `--check` it plays those itself and looks at each result. It works
//! in `.sluice/quickstart` of the checkout, which it empties when it starts. What it starts ends with it, however it
//! ends. It never deletes anything in a cluster it did not start, except what `--check` made there itself.

mod account;
mod advice;
mod clone;
mod install;
mod sample;
mod stage;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Parser;
use tests::program::{self, say};

use account::Account;
use stage::Stage;

/// Starts a control plane and the controllers, bootstraps them from a Git repository, and shows what happens
#[derive(Debug, Parser)]
#[command(name = "hack/quickstart")]
struct Args {
    /// Play the whole story by itself, look at each result, and end
    #[arg(long)]
    check: bool,
    /// Use the cluster of this kubeconfig instead of starting one; the controllers run here, as its user
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; its current one otherwise
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    context: Option<String>,
    /// Bootstrap from this repository (http or https, readable by everyone) instead of the sample
    #[arg(long, value_name = "URL", requires = "path")]
    repo: Option<String>,
    /// The directory of the repository to apply
    #[arg(long, value_name = "DIR", requires = "repo")]
    path: Option<String>,
    /// The branch of the repository; its default one otherwise
    #[arg(long, value_name = "NAME", requires = "repo")]
    branch: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    program::run("quickstart", run(&args), |code| {
        say("");
        say("ended: no process is left");
        // Ctrl-C is how a visit ends; a check that is cut short has not succeeded.
        if args.check {
            ExitCode::from(code)
        } else {
            ExitCode::SUCCESS
        }
    })
}

async fn run(args: &Args) -> Result<ExitCode> {
    let account = Account::start();
    let stage = Stage::set(args, &account).await?;
    let logs = stage.logs().display().to_string();
    let told = tokio::spawn(account.clone().follow(
        stage.namespace.api(),
        stage.namespace.api(),
        stage.receiver.clone(),
    ));
    let result = play(args, &stage, &account).await;
    told.abort();
    result
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| anyhow!("{error:#}\nThe logs are in {logs}."))
}

async fn play(args: &Args, stage: &Stage, account: &Account) -> Result<()> {
    if args.check {
        story::play(stage, account).await?;
        account.caught_up(&stage.receiver).await;
        say("");
        account.line("check", "everything happened as it should");
        return Ok(());
    }
    if let Err(error) = stage.bootstrapped().await {
        // That is for the visitor to look at, with everything running.
        let text = format!("{error:#}");
        account.line("attention", text.lines().next().unwrap_or_default());
    }
    account.caught_up(&stage.receiver).await;
    say("");
    for line in advice::lines(stage) {
        say(&line);
    }
    say("");
    stage.while_running().await
}
