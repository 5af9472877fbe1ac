//! What was checked, as it is printed.

use anyhow::Result;
use tests::program::say;

/// The checks so far.
#[derive(Debug, Default)]
pub struct Table {
    passed: usize,
    failed: usize,
}

impl Table {
    /// The checks from here on belong to this step.
    pub fn step(&self, text: &str) {
        say(&format!("{text}:"));
    }

    /// One check and how it ended.
    pub fn check(&mut self, what: &str, result: Result<()>) {
        match result {
            Ok(()) => {
                self.passed += 1;
                say(&format!("  ok      {what}"));
            }
            Err(error) => {
                self.failed += 1;
                say(&format!("  FAILED  {what}: {error:#}"));
            }
        }
    }

    /// Prints the sum.
    pub fn close(&self) {
        say(&format!("{} passed, {} failed", self.passed, self.failed));
    }

    /// Whether nothing has failed.
    pub fn is_good(&self) -> bool {
        self.failed == 0
    }
}
