//! A process that is killed while it fetches into the cache: the next one gets the right tree, and nothing of the killed one
//! stays behind.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use tests::git_server::GitServer;

/// How often it is killed.
const KILLS: usize = 100;

/// The program that fetches and reads.
const PROGRAM: &str = env!("CARGO_BIN_EXE_fetch");

/// What the program says of the content.
fn content(url: &str, cache: Option<&Path>) -> Result<String> {
    let output = Command::new(PROGRAM).args([url, "HEAD"]).args(cache).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = said.lines().find_map(|line| line.strip_prefix("content "));
    line.map(str::to_owned).with_context(|| said.clone())
}

/// Kills the program after some time. Whether it was still at work.
fn killed(url: &str, cache: &Path, after: Duration) -> Result<bool> {
    let mut child = Command::new(PROGRAM)
        .args([url, "HEAD"])
        .arg(cache)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut said = child.stdout.take().context("no output")?;
    let (done, ended) = mpsc::channel::<()>();
    let reader = thread::spawn(move || {
        let _done = done;
        std::io::copy(&mut said, &mut std::io::sink())
    });
    let at_work = matches!(ended.recv_timeout(after), Err(mpsc::RecvTimeoutError::Timeout));
    child.kill()?;
    child.wait()?;
    reader.join().map_err(|_| anyhow!("panicked"))??;
    Ok(at_work)
}

#[test]
fn a_process_may_be_killed_at_any_moment() -> Result<()> {
    let (server, directory) = (GitServer::start()?, tempfile::tempdir()?);
    let cache = directory.path().join("cache");
    let repo = server.create("app")?;
    for n in 0..400 {
        repo.write(&format!("d{}/{n}", n % 20), format!("{n}\n").repeat(400))?;
    }
    repo.commit("files")?;
    let started = Instant::now();
    content(repo.url(), Some(&cache))?;
    let usual = started.elapsed();
    let mut at_work = 0;
    for n in 0..KILLS {
        if n % 10 == 0 {
            // A full fetch is worth being killed in, too.
            fs::remove_dir_all(&cache)?;
        }
        repo.commit_files("next", &[("d3/3", &format!("{n}\n"))])?;
        let after = usual.mul_f64(fastrand::f64());
        at_work += usize::from(killed(repo.url(), &cache, after)?);
        if n % 3 == 0 {
            // Killed once more, on top of what the first one left.
            killed(repo.url(), &cache, usual.mul_f64(fastrand::f64()))?;
        }
        let kept = content(repo.url(), Some(&cache))?;
        assert_eq!(kept, content(repo.url(), None)?, "{n}");
        let left = entry_files(&cache)?;
        ensure!(!left.iter().any(|name| name.starts_with("incoming")), "{n}: {left:?}");
    }
    ensure!(at_work * 3 > KILLS, "only {at_work} of {KILLS} were at work");
    Ok(())
}

/// The names of the files in all entries.
fn entry_files(cache: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(cache)? {
        let entry = entry?.path();
        if entry.is_dir() {
            let files = fs::read_dir(entry)?.flatten();
            names.extend(files.map(|file| file.file_name().to_string_lossy().into_owned()));
        }
    }
    Ok(names)
}
