//! `bench-kustomize` (started by `hack/bench kustomize`, which builds what it needs): what `kustomize-build` costs, beside
//! other programs that build kustomizations, on the inputs of this crate.
//!
//! All contestants build the same files in one run and take turns, so that what else happens on the machine happens to
//! all. It prints a table, writes JSON on request, and judges nothing: an aim that is missed is marked, and is no failure.
//! A build of ours that fails or prints other bytes than a peer is one.

mod contest;
mod measure;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use kustomize_bench::{INPUTS, Input};
use serde_json::json;

use contest::{Contest, Contestant};

/// Measures kustomize-build, beside other programs that build kustomizations
#[derive(Debug, Parser)]
#[command(name = "hack/bench kustomize")]
struct Args {
    #[command(subcommand)]
    inner: Option<Inner>,
    /// Our binary
    #[arg(long, value_name = "PATH", default_value = "kustomize-build")]
    ours: PathBuf,
    /// A kustomize to compare with; can be repeated
    #[arg(long, value_name = "PATH")]
    kustomize: Vec<PathBuf>,
    /// A kubectl to compare with; can be repeated
    #[arg(long, value_name = "PATH")]
    kubectl: Vec<PathBuf>,
    /// Only these inputs (see --list)
    #[arg(long, value_name = "INPUT,..", value_delimiter = ',')]
    only: Vec<String>,
    /// How often each contestant builds each input, unless the builds take longer than --patience together
    #[arg(long, value_name = "N", default_value_t = 9)]
    runs: usize,
    /// After so many seconds of building an input, a contestant is not asked again
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    patience: u64,
    /// A build that takes longer is ended
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    cap: u64,
    /// Keep the inputs in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the names of the inputs
    #[arg(long)]
    list: bool,
}

#[derive(Debug, Subcommand)]
enum Inner {
    /// Runs a program, and prints what it cost as JSON
    #[command(hide = true)]
    Measure(measure::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.inner {
        Some(Inner::Measure(args)) => measure::run(args).map(|()| ExitCode::SUCCESS),
        None => run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        for input in &INPUTS {
            println!("{:12} {:6} objects: {}", input.name, input.objects, input.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let inputs = wanted(&args.only)?;
    let contestants = contestants(args)?;
    let scratch = tempfile::tempdir().context("cannot make a directory for the inputs")?;
    let contest = Contest {
        contestants: &contestants,
        root: args.keep.as_deref().unwrap_or(scratch.path()),
        runs: args.runs.max(1),
        patience: args.patience as f64,
        cap: args.cap,
    };
    let mut rows = Vec::new();
    println!("{}", report::head());
    for input in inputs {
        let new = contest.run(input)?;
        print!("{}", report::block(&new));
        rows.extend(new);
        // A long run that is cut short has not been in vain.
        if let Some(file) = &args.json {
            let about = json!({
                "cores": std::thread::available_parallelism().map_or(0, usize::from),
                "contestants": contestants.iter().map(Contestant::about).collect::<Vec<_>>(),
                "cap": args.cap,
            });
            let text = serde_json::to_string_pretty(&report::json(&rows, &about))?;
            std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    print!("{}", report::growth(&rows));
    Ok(if rows.iter().all(report::Row::is_sound) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn wanted(names: &[String]) -> Result<Vec<&'static Input>> {
    if names.is_empty() {
        return Ok(INPUTS.iter().collect());
    }
    names
        .iter()
        .map(|name| match Input::named(name) {
            Some(input) => Ok(input),
            None => bail!("there is no input {name}; --list shows all"),
        })
        .collect()
}

fn contestants(args: &Args) -> Result<Vec<Contestant>> {
    let mut all = vec![Contestant::new("ours", &args.ours, None)?];
    for (kind, paths, command) in [
        ("kustomize", &args.kustomize, "build"),
        ("kubectl", &args.kubectl, "kustomize"),
    ] {
        for (at, path) in paths.iter().enumerate() {
            let name = if at == 0 {
                kind.to_owned()
            } else {
                format!("{kind}-{}", at + 1)
            };
            all.push(Contestant::new(&name, path, Some(command))?);
        }
    }
    Ok(all)
}
