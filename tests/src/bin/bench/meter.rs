//! What a span of time cost: its length, CPU time and peak memory of each process, and API requests.

use std::time::{Duration, Instant};

use ::tests::proc::{self, Resident};
use anyhow::Result;
use jiff::Timestamp;

use crate::audit::{Audit, Requests};

/// A process under measurement.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its name in the table.
    pub name: &'static str,
    /// Its process id.
    pub pid: u32,
}

/// What a process used in the span.
#[derive(Clone, Debug)]
pub struct Used {
    /// Its name in the table.
    pub name: &'static str,
    /// CPU seconds of the user and the system.
    pub cpu: f64,
    /// Its resident memory: the peak in the span, and what is left at the end.
    pub resident: Resident,
}

/// What a span cost.
#[derive(Clone, Debug)]
pub struct Cost {
    /// How long it was.
    pub wall: Duration,
    /// What each process used.
    pub processes: Vec<Used>,
    /// What was asked of the API server.
    pub requests: Requests,
}

/// A span that has begun.
#[derive(Debug)]
pub struct Span {
    from: Timestamp,
    start: Instant,
    processes: Vec<(Watched, f64)>,
}

impl Span {
    /// Begins a span.
    pub fn begin(processes: &[Watched]) -> Result<Self> {
        let mut before = Vec::new();
        for process in processes {
            proc::reset_peak(process.pid);
            before.push((process.clone(), proc::cpu_seconds(process.pid)?));
        }
        Ok(Self {
            from: Timestamp::now(),
            start: Instant::now(),
            processes: before,
        })
    }

    /// Ends it at this moment.
    pub async fn end(self, audit: &mut Audit) -> Result<Cost> {
        let (wall, to) = (self.start.elapsed(), Timestamp::now());
        let mut processes = Vec::new();
        for (process, before) in self.processes {
            processes.push(Used {
                name: process.name,
                cpu: proc::cpu_seconds(process.pid)? - before,
                resident: proc::resident(process.pid)?,
            });
        }
        let requests = audit.requests(self.from, to).await?;
        Ok(Cost {
            wall,
            processes,
            requests,
        })
    }
}
