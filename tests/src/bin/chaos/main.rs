//! `chaos [--seed N] [--kills N] [--minutes M] [--full]`: storms of faults, commits and drifts over the controllers, and
//! after each storm a calm in which everything has to come right. See `docs/chaos.md`.
//!
//! The last line of its output is `seed S: K kills, C commits, D drifts, T transitions, V violations`. It ends with
//! status 1 when an invariant did not hold.

mod account;
mod artifacts;
mod calm;
mod leaders;
mod observe;
mod plan;
mod replicas;
mod stage;
mod storm;
mod told;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use fastrand::Rng;
use serde_json::json;
use tests::checkout;

use account::Account;
use stage::{Settings, Stage};
use storm::Storm;

/// Storms of faults over the controllers, and whether everything comes right after each
#[derive(Clone, Debug, Parser)]
struct Args {
    /// What everything random follows from; chosen and printed when it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// How many processes are killed; 100, or 1,000 with --full
    #[arg(long)]
    kills: Option<u32>,
    /// No storm goes on after so many minutes; 15, or 60 with --full
    #[arg(long)]
    minutes: Option<u64>,
    /// The long form
    #[arg(long)]
    full: bool,
    /// Kills in a storm
    #[arg(long, default_value_t = 40)]
    storm: u32,
    /// The usual pause between two steps in milliseconds
    #[arg(long, default_value_t = 450)]
    gap: u64,
    /// Interval of Kustomizations and GitRepositories in seconds
    #[arg(long, default_value_t = 10)]
    interval: u64,
    /// How many seconds the cluster may take to come right
    #[arg(long, default_value_t = 90)]
    deadline: u64,
    /// How many seconds a drift may last while nothing else goes wrong; 20 more than the interval if not given
    #[arg(long)]
    heal: Option<f64>,
    /// The most resident memory of a controller in MiB
    #[arg(long, default_value_t = 200)]
    memory: u64,
    /// Go on after a violation
    #[arg(long)]
    go_on: bool,
    /// Print the plan and do nothing
    #[arg(long)]
    plan: bool,
    /// Directory of logs and results; .sluice/chaos/seed-N otherwise
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(args).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(args: Args) -> Result<bool> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let kills = args.kills.unwrap_or(if args.full { 1000 } else { 100 });
    let minutes = args.minutes.unwrap_or(if args.full { 60 } else { 15 });
    let mut rng = Rng::with_seed(seed);
    let mut left = kills;
    let mut storms = Vec::new();
    while left > 0 {
        let some = left.min(args.storm.max(1));
        storms.push(plan::storm(&mut rng, some, Duration::from_millis(args.gap)));
        left -= some;
    }
    if args.plan {
        storms
            .iter()
            .flatten()
            .for_each(|step| println!("{:5} ms {:?}", step.after.as_millis(), step.action));
        return Ok(true);
    }
    let dir = args
        .dir
        .clone()
        .unwrap_or_else(|| checkout::root().join(".sluice/chaos").join(format!("seed-{seed}")));
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let account = Arc::new(Account::open(&dir, seed)?);
    println!(
        "seed {seed}: {kills} kills in {} storms; steps are written to {}",
        storms.len(),
        account.path().display()
    );
    let settings = Settings {
        seed,
        interval: args.interval,
        deadline: Duration::from_secs(args.deadline),
        heal: args
            .heal
            .map_or(Duration::from_secs(args.interval + 20), Duration::from_secs_f64),
        memory: args.memory,
    };
    account.step("the stage is set");
    let stage = Arc::new(Stage::set(settings, &dir, Arc::clone(&account)).await?);
    let until = Instant::now() + Duration::from_secs(minutes * 60);
    {
        let (observer, tended) = (Arc::clone(&stage.observer), Arc::clone(&stage));
        tokio::select! {
            result = storms_and_calms(&stage, storms, until, args.go_on) => result?,
            () = observer.watch() => {}
            () = tended.replicas.tend(&account) => {}
            () = Arc::clone(&stage).watch_memory() => {}
        }
    }
    account.count("transitions", stage.observer.transitions());
    account.count("API requests", stage.book.requests());
    account.count("deletions to be told", stage.deletions_to_be_told());
    let clean = account.violations().is_empty();
    if !clean {
        println!("{}", stage.replicas.tails(15));
    }
    let mut result = account.json();
    result["kills asked for"] = json!(kills);
    result["faults injected"] = json!(stage.book.injected());
    result["peak memory in MiB"] = stage.peak_memory();
    result["drift in calms in ms"] = stage.heal_times();
    let path = dir.join("result.json");
    std::fs::write(&path, format!("{result:#}\n")).with_context(|| format!("cannot write {}", path.display()))?;
    if let Some(stage) = Arc::into_inner(stage) {
        stage.strike().await?;
    }
    println!("{}", account.summary());
    Ok(clean)
}

async fn storms_and_calms(stage: &Arc<Stage>, storms: Vec<Vec<plan::Step>>, until: Instant, go_on: bool) -> Result<()> {
    stage.calm().await.context("at the beginning")?;
    let all = storms.len();
    for (number, steps) in storms.into_iter().enumerate() {
        if Instant::now() > until || (!go_on && !stage.account.violations().is_empty()) {
            break;
        }
        Storm::new(Arc::clone(stage)).rage(steps, until).await?;
        stage.calm().await?;
        let (account, number) = (&stage.account, number + 1);
        println!(
            "storm {number} of {all}: {:.0} s, {} kills, {} commits, {} drifts, {} transitions, {} violations",
            account.seconds(),
            account.counted("kills"),
            account.counted("commits"),
            account.counted("drifts"),
            stage.observer.transitions(),
            account.violations().len()
        );
    }
    Ok(())
}
