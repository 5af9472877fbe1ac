//! What the programs of this crate that people start have in common: a runtime, an end at a signal that leaves nothing
//! behind, and errors as one line. Arguments are each program's own.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

/// Does the work of a program on a runtime of its own, until it is done or SIGINT, SIGTERM or SIGHUP comes. At a signal
/// the work is dropped, and so ends everything that it started; then `told` turns the usual exit code for the signal
/// (128 and its number) into the program's. An error is told as `name: error`, and the exit code is 1.
pub fn run(name: &str, work: impl Future<Output = Result<ExitCode>>, told: impl FnOnce(u8) -> ExitCode) -> ExitCode {
    finish(work, told).unwrap_or_else(|error| {
        eprintln!("{name}: {error:#}");
        ExitCode::FAILURE
    })
}

fn finish(work: impl Future<Output = Result<ExitCode>>, told: impl FnOnce(u8) -> ExitCode) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(until_signal(work, told));
    // Something may still be in the way of a worker (a build, for one); nobody needs it any more.
    runtime.shutdown_background();
    result
}

async fn until_signal(
    work: impl Future<Output = Result<ExitCode>>,
    told: impl FnOnce(u8) -> ExitCode,
) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let number = tokio::select! {
        result = work => return result,
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
        _ = hang_up.recv() => 1,
    };
    Ok(told(128 + number))
}

/// Prints a text and ends the line. That nobody reads it any more is no reason to end.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use rustix::process::{Signal, getpid, kill_process};

    #[test]
    fn work_that_ends_decides_the_exit_code() {
        assert_eq!(
            run("program", async { Ok(ExitCode::from(7)) }, ExitCode::from),
            ExitCode::from(7)
        );
        assert_eq!(
            run("program", async { bail!("no luck") }, ExitCode::from),
            ExitCode::FAILURE
        );
    }

    #[test]
    fn a_signal_ends_the_work_before_it_is_told() {
        struct Started<'a>(&'a std::cell::Cell<bool>);
        impl Drop for Started<'_> {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let ended = std::cell::Cell::new(false);
        let work = async {
            let _started = Started(&ended);
            kill_process(getpid(), Signal::HUP)?;
            std::future::pending().await
        };
        let code = run("program", work, |code| {
            assert!(ended.get());
            ExitCode::from(code)
        });
        assert_eq!(code, ExitCode::from(129));
    }
}
