//! A child process that cannot outlive its owner: started with a log file, signalled, awaited, and gone at the latest
//! when the owner is, even if the owner was killed with SIGKILL.
//!
//! Two ties see to that. The child's standard input is a pipe held open by us, for programs that end when it closes
//! (those of hack/control-plane do). And where the project's `lifeline` program is found beside the running one, the
//! child is started through it: it asks the kernel for SIGKILL at the death of its parent, which also reaches a child
//! that is stopped. The kernel means the parent *thread*, so all children are started by one thread that never ends.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use tokio::signal::unix::{SignalKind, signal};

use crate::checkout;

/// What to start.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The name used in errors.
    pub name: String,
    /// The program's file.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables added to the environment. Proxy settings and `RUST_BACKTRACE` are never passed on.
    pub env: Vec<(OsString, OsString)>,
    /// The directory it runs in.
    pub dir: PathBuf,
    /// The file that standard output and standard error are appended to.
    pub log: PathBuf,
}

/// A running (or ended) child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Mutex<Child>,
    _lifeline: Option<ChildStdin>,
}

impl Process {
    /// Starts the program.
    pub fn spawn(spec: &Spec) -> Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&spec.log)
            .with_context(|| format!("cannot open the log file {}", spec.log.display()))?;
        let mut command = match lifeline() {
            Some(program) => {
                let mut command = Command::new(program);
                command.arg(&spec.program);
                command
            }
            None => Command::new(&spec.program),
        };
        command
            .args(&spec.args)
            .envs(spec.env.iter().map(|(key, value)| (key, value)))
            .current_dir(&spec.dir);
        for variable in NOT_INHERITED {
            command.env_remove(variable);
        }
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        // A group of its own: Ctrl-C in a terminal reaches the owner alone, which ends its processes in good order.
        command.process_group(0);
        let mut child =
            spawn(command).with_context(|| format!("cannot start {} ({})", spec.name, spec.program.display()))?;
        let lifeline = child.stdin.take();
        Ok(Self {
            name: spec.name.clone(),
            log: spec.log.clone(),
            child: Mutex::new(child),
            _lifeline: lifeline,
        })
    }

    /// The name given in the [`Spec`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.lock().id()
    }

    /// The status if the process has ended.
    pub fn exited(&self) -> Result<Option<ExitStatus>> {
        Ok(self.lock().try_wait()?)
    }

    /// Sends SIGKILL and waits until the process is gone.
    pub fn kill(&self) -> Result<()> {
        let mut child = self.lock();
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends SIGSTOP and waits until every thread has stopped: the process keeps its connections and does nothing.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        // The kernel tells a parent of a stop when the last thread has stopped. Nothing is reaped, so that the end of a
        // process that was killed instead is still there for [`Process::exited`].
        let events = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid(&self.lock())?), events)?;
        Ok(())
    }

    /// Sends SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends SIGTERM (to a paused process as well), and SIGKILL if the process is still there after `grace`.
    pub async fn stop(&self, grace: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exited()? {
            return Ok(status);
        }
        // It may end between the look and the signals.
        let _ = self.terminate();
        let _ = self.resume();
        if let Ok(status) = self.wait(grace).await {
            return Ok(status);
        }
        let mut child = self.lock();
        child.kill()?;
        Ok(child.wait()?)
    }

    /// Waits until the process has ended, but not longer than the limit.
    pub async fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        match tokio::time::timeout(limit, self.end()).await {
            Ok(status) => status,
            Err(_) => bail!("{} still runs after {limit:?}", self.name),
        }
    }

    /// Waits until the process has ended, however long that takes.
    pub async fn end(&self) -> Result<ExitStatus> {
        // Before the first look, so that no end goes by unseen.
        let mut children = signal(SignalKind::child())?;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            children.recv().await;
        }
    }

    /// An error with the end of the log if the process has ended, which it should not have.
    pub fn must_run(&self) -> Result<()> {
        match self.exited()? {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended ({status}); the end of its log:\n{}",
                self.name,
                tail(&self.log, 30)
            ),
        }
    }

    /// The log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = self.lock();
        // Holding the lock, the id cannot have gone to another process: we have not reaped ours.
        if let Some(status) = child.try_wait()? {
            bail!("{} cannot be signalled: it has ended ({status})", self.name);
        }
        Ok(rustix::process::kill_process(pid(&child)?, signal)?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn pid(child: &Child) -> Result<Pid> {
    let number = i32::try_from(child.id())?;
    Pid::from_raw(number).ok_or_else(|| anyhow!("no process id"))
}

/// The last lines of a log file, or an empty text.
pub fn tail(log: &Path, lines: usize) -> String {
    const WINDOW: u64 = 64 * 1024;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(WINDOW)))?;
        let mut bytes = Vec::new();
        file.take(WINDOW).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// What children do not inherit: a proxy between parts on loopback, and backtraces that cost time and memory.
const NOT_INHERITED: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "RUST_BACKTRACE",
];

/// The `lifeline` program beside the running one.
fn lifeline() -> Option<PathBuf> {
    let program = checkout::bin_dir().ok()?.join("lifeline");
    program.is_file().then_some(program)
}

type Start = (Command, mpsc::Sender<std::io::Result<Child>>);

/// Starts the command from the thread that outlives every child.
fn spawn(command: Command) -> Result<Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Start>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Start>();
        std::thread::spawn(move || {
            for (mut command, answer) in receiver {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (sender, receiver) = mpsc::channel();
    spawner
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, sender))
        .map_err(|_| anyhow!("the thread that starts processes is gone"))?;
    Ok(receiver.recv().context("the thread that starts processes is gone")??)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, dir: &Path) -> Result<Process> {
        Process::spawn(&Spec {
            name: "a shell".into(),
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: Vec::new(),
            dir: dir.into(),
            log: dir.join("log"),
        })
    }

    #[tokio::test]
    async fn stop_ends_a_process_that_ignores_sigterm() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let process = shell(
            "trap '' TERM; echo ready; while :; do read line || sleep 1; done",
            dir.path(),
        )?;
        crate::wait::until("the shell to be ready", async || {
            Ok((tail(process.log(), 1) == "ready").then_some(()))
        })
        .await?;
        let status = process.stop(Duration::from_millis(100)).await?;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        Ok(())
    }

    #[tokio::test]
    async fn an_ended_process_is_told_with_its_log() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let process = shell("echo broken pipe dream; exit 7", dir.path())?;
        process.wait(Duration::from_secs(10)).await?;
        let error = process
            .must_run()
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            error.contains("exit status: 7") && error.contains("broken pipe dream"),
            "{error}"
        );
        Ok(())
    }

    #[tokio::test]
    async fn standard_input_closes_when_the_owner_lets_go() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut process = shell("cat; echo closed", dir.path())?;
        process._lifeline = None;
        process.wait(Duration::from_secs(10)).await?;
        assert_eq!(tail(process.log(), 1), "closed");
        Ok(())
    }
}
