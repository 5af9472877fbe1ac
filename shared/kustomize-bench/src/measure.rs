//! One program, run once by a process that runs nothing else: what the kernel then says about that process's children is
//! about this program alone. (The peak of a child starts with what its parent holds, which is next to nothing here.)

#![expect(clippy::disallowed_types, reason = "measures programs")]

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The most seconds it may take
    pub cap: u64,
    /// Where its standard output goes
    pub output: PathBuf,
    /// Where its standard error goes
    pub errors: PathBuf,
    /// The program with its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// What a program cost.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// From start to end, in seconds.
    pub wall: f64,
    /// Of the user and of the system, in seconds.
    pub cpu: f64,
    /// The most memory that was resident, in bytes.
    pub peak: u64,
    /// How it ended.
    pub end: End,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Well.
    Success,
    /// With an error.
    Failure,
    /// It took too long and was killed.
    Capped,
}

/// Runs the program and prints its [`Cost`].
pub fn run(args: &Args) -> Result<()> {
    let file = |path: &PathBuf| File::create(path).with_context(|| format!("cannot write {}", path.display()));
    let (program, rest) = args.command.split_first().context("no program")?;
    let mut command = Command::new(program);
    command
        .args(rest)
        .stdin(Stdio::null())
        .stdout(file(&args.output)?)
        .stderr(file(&args.errors)?);
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let (ended, end) = channel();
    let waiter = std::thread::spawn(move || {
        let status = child.wait();
        // That nobody waits any more cannot be: the receiver lives until this thread has ended.
        let _ = ended.send(start.elapsed());
        status
    });
    let mut capped = false;
    let wall = match end.recv_timeout(Duration::from_secs(args.cap)) {
        Ok(wall) => wall,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            capped = true;
            kill(pid, Signal::SIGKILL)?;
            end.recv()?
        }
    };
    let status = waiter
        .join()
        .map_err(|_| anyhow::anyhow!("the wait was interrupted"))??;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.num_microseconds() as f64 / 1e6;
    let cost = Cost {
        wall: wall.as_secs_f64(),
        cpu: seconds(usage.user_time()) + seconds(usage.system_time()),
        peak: u64::try_from(usage.max_rss())? * 1024,
        end: match status {
            status if status.success() => End::Success,
            status if capped && status.signal() == Some(Signal::SIGKILL as i32) => End::Capped,
            _ => End::Failure,
        },
    };
    println!("{}", serde_json::to_string(&cost)?);
    Ok(())
}
