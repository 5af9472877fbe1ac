//! The account of a run: every step and every violation with its time, in a file, and the numbers of the last line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// What a run comes to.
#[derive(Debug)]
pub struct Account {
    seed: u64,
    begun: Instant,
    step: AtomicU64,
    path: PathBuf,
    log: Mutex<File>,
    violations: Mutex<Vec<Violation>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

/// An invariant that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which one.
    pub invariant: &'static str,
    /// During or after which step.
    pub step: u64,
    /// Seconds since the beginning.
    pub seconds: f64,
    /// What was seen.
    pub what: String,
}

impl Account {
    /// Opens `steps.log` in the directory.
    pub fn open(dir: &Path, seed: u64) -> Result<Self> {
        let path = dir.join("steps.log");
        let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            seed,
            begun: Instant::now(),
            step: AtomicU64::new(0),
            path,
            log: Mutex::new(log),
            violations: Mutex::default(),
            counts: Mutex::default(),
        })
    }

    /// Where the steps are written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins the next step.
    pub fn step(&self, what: &str) {
        let number = self.step.fetch_add(1, Ordering::Relaxed) + 1;
        self.write(&format!("step {number}: {what}"));
    }

    /// Writes a line about the present step.
    pub fn note(&self, what: &str) {
        self.write(&format!("  {what}"));
    }

    /// Counts something.
    pub fn count(&self, what: &'static str, number: u64) {
        *lock(&self.counts).entry(what).or_default() += number;
    }

    /// What was counted.
    pub fn counted(&self, what: &str) -> u64 {
        lock(&self.counts).get(what).copied().unwrap_or_default()
    }

    /// An invariant does not hold; the same observation is told once.
    pub fn violate(&self, invariant: &'static str, what: &str) {
        let violation = Violation {
            invariant,
            step: self.step.load(Ordering::Relaxed),
            seconds: self.seconds(),
            what: what.to_owned(),
        };
        let mut violations = lock(&self.violations);
        if violations.iter().any(|known| known.what == what) {
            return;
        }
        let line = format!(
            "VIOLATION of {invariant:?} (seed {}, step {}): {what}",
            self.seed, violation.step
        );
        violations.push(violation);
        drop(violations);
        self.write(&line);
        eprintln!("chaos: {line}");
    }

    /// The violations so far.
    pub fn violations(&self) -> Vec<Violation> {
        lock(&self.violations).clone()
    }

    /// The last line.
    pub fn summary(&self) -> String {
        format!(
            "seed {}: {} kills, {} commits, {} drifts, {} transitions, {} violations",
            self.seed,
            self.counted("kills"),
            self.counted("commits"),
            self.counted("drifts"),
            self.counted("transitions"),
            self.violations().len()
        )
    }

    /// Everything as JSON.
    pub fn json(&self) -> Value {
        let violations = self
            .violations()
            .into_iter()
            .map(|it| json!({ "invariant": it.invariant, "step": it.step, "seconds": it.seconds, "what": it.what }));
        json!({
            "seed": self.seed, "steps": self.step.load(Ordering::Relaxed), "seconds": self.seconds(),
            "counts": *lock(&self.counts), "violations": violations.collect::<Vec<_>>(),
        })
    }

    /// Seconds since the beginning.
    pub fn seconds(&self) -> f64 {
        (self.begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
    }

    fn write(&self, line: &str) {
        let time = jiff::Timestamp::now().strftime("%H:%M:%S%.3f").to_string();
        // A run goes on without its log.
        let _ = writeln!(lock(&self.log), "{time} {:9.3} {line}", self.seconds());
    }
}

/// The lock, also after a panic of another thread.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
