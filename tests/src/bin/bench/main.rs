//! `bench` (started by `hack/bench`, which builds what it needs): what the controllers cost, and how long they take, on
//! a real control plane; beside Flux's where its binaries are given.
//!
//! Every group of cases gets a control plane of its own for each contestant, one after the other, so that none is
//! disturbed by what others left. It prints a table, writes JSON on request, and judges nothing: an aim that is missed is
//! marked, and is no failure. A case that cannot be finished is one.

mod audit;
mod board;
mod cases;
mod meter;
mod report;
mod sample;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::json;
use tests::program::{self, say};

use cases::{CASES, Sizes, Suite, Wanted};
use report::Row;
use stage::{BARE_CLIENT, Contestant, GIT};

/// Measures the controllers on a real control plane, beside Flux's where its binaries are given
#[derive(Debug, Parser)]
#[command(name = "hack/bench")]
struct Args {
    /// What to measure
    #[arg(long, value_enum, default_value_t = Suite::Kustomizations)]
    suite: Suite,
    /// Only these cases (see --list)
    #[arg(long, value_name = "CASE,..", value_delimiter = ',')]
    only: Vec<String>,
    /// How large the cases are
    #[arg(long, value_enum, default_value_t = Sizes::Small)]
    sizes: Sizes,
    /// Flux's source controller
    #[arg(long, value_name = "PATH")]
    flux_source: Option<PathBuf>,
    /// Flux's kustomize controller
    #[arg(long, value_name = "PATH", requires = "flux_source")]
    flux_kustomize: Option<PathBuf>,
    /// Leave our controllers out
    #[arg(long, requires = "flux_source")]
    flux_only: bool,
    /// One more flag for our kustomize controller; can be repeated
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    kustomize_flag: Vec<String>,
    /// Write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the names of the cases
    #[arg(long)]
    list: bool,
}

impl Args {
    fn contestants(&self) -> Result<Vec<Contestant>> {
        let mut contestants = Vec::new();
        if !self.flux_only {
            let flags = self.kustomize_flag.clone();
            contestants.push(Contestant::Ours { flags });
        }
        if let Some(source) = &self.flux_source {
            if self.suite == Suite::Kustomizations && self.flux_kustomize.is_none() {
                bail!("--flux-source alone is for --suite source; give --flux-kustomize, too");
            }
            contestants.push(Contestant::Flux {
                source: source.clone(),
                kustomize: self.flux_kustomize.clone(),
            });
        }
        Ok(contestants)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    program::run("bench", run(&args), ExitCode::from)
}

async fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        for case in CASES.iter().filter(|case| case.suite() == args.suite) {
            say(&format!("{:14} {}", case.name, case.title));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let is_known = |name: &str| cases::find(name).is_some_and(|case| case.suite() == args.suite);
    if let Some(unknown) = args.only.iter().find(|name| !is_known(name)) {
        bail!("there is no case {unknown}; --list shows all");
    }
    let wanted = Wanted::new(&args.only, args.suite, args.sizes);
    let contestants = args.contestants()?;
    let (mut rows, mut failed): (Vec<Row>, usize) = (Vec::new(), 0);
    for group in wanted.groups() {
        let first = rows.len();
        for contestant in &contestants {
            if let Err(error) = group.run(contestant, &wanted, &mut rows).await {
                failed += 1;
                let name = contestant.name();
                let measured = |case: &&str| rows.iter().any(|row| row.case == *case && row.contestant == name);
                let case = group.cases().find(|case| wanted.has(case) && !measured(case));
                eprintln!("bench: {name} {}: {error:#}", case.unwrap_or("between cases"));
                if let Some(case) = case {
                    let text = error.to_string();
                    rows.push(Row::new(case, name, 0).noting(text.lines().next().unwrap_or_default()));
                }
            }
            if group.is_limit() {
                break;
            }
        }
        say(&report::blocks(&rows[first..]));
        // A long run that is cut short has not been in vain.
        write_json(args, &rows)?;
    }
    let mut names: Vec<&str> = contestants.iter().map(Contestant::name).collect();
    for other in [BARE_CLIENT, GIT] {
        if rows.iter().any(|row| row.contestant == other) {
            names.push(other);
        }
    }
    say(&report::summary(&rows, &names));
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn write_json(args: &Args, rows: &[Row]) -> Result<()> {
    let Some(file) = &args.json else { return Ok(()) };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let about = json!({
        "time": jiff::Timestamp::now().to_string(),
        "cores": cores,
        "sizes": format!("{:?}", args.sizes).to_lowercase(),
        "binaries": ::tests::checkout::bin_dir()?.file_name().map(|name| name.to_string_lossy().into_owned()),
        "flags": args.kustomize_flag,
    });
    let text = serde_json::to_string_pretty(&report::json(rows, about))?;
    std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}
