//! A limit on the memory that unpacking takes.
//!
//! Objects in a pack are made of each other. Every one of them is held to a size, but how many have to be in memory at a time
//! is up to who made the pack, and a pack of a few kilobytes can be made so that it is all of them. The library that unpacks
//! has no limit for that; so a thread watches the process's own memory while it works, and ends the work when there is too
//! much of it. Where the system does not tell (it is Linux that does), nothing is watched.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::stop::Stop;
use crate::trouble::{FirstTrouble, Trouble};

/// How much the process may grow during one fetch, in bytes.
pub const MAX_GROWTH: u64 = 512 << 20;
/// How often it is looked at. Memory grows by some hundred megabytes in this time at most.
const PERIOD: Duration = Duration::from_millis(25);

/// Watches as long as it lives.
#[derive(Debug)]
pub struct Guard {
    watch: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Guard {
    /// Ends the operation, and says why, if the process grows by more than [`MAX_GROWTH`] from now on.
    pub fn new(stop: &Stop, trouble: &FirstTrouble) -> Self {
        Self::with(MAX_GROWTH, own_memory, stop, trouble)
    }

    fn with(most: u64, memory: fn() -> Option<u64>, stop: &Stop, trouble: &FirstTrouble) -> Self {
        let Some(before) = memory() else {
            return Self { watch: None };
        };
        let (stop, trouble) = (stop.clone(), trouble.clone());
        let (over, is_over) = mpsc::channel();
        let watch = std::thread::Builder::new()
            .name("unpack-memory".to_owned())
            .spawn(move || {
                while is_over.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                    let grown = memory().unwrap_or_default().saturating_sub(before);
                    if grown > most {
                        // What the operation fails with is this, which came first.
                        let _ = trouble.set(Trouble::Memory(most));
                        stop.end();
                        return;
                    }
                }
            });
        Self {
            watch: watch.ok().map(|thread| (over, thread)),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some((over, thread)) = self.watch.take() {
            drop(over);
            let _ = thread.join();
        }
    }
}

/// The memory of this process that belongs to no file, in bytes.
fn own_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::runtime::Handle;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn an_operation_ends_when_memory_has_grown_too_much() {
        static MEMORY: AtomicU64 = AtomicU64::new(100);
        let stop = Stop::new(Handle::current(), Duration::from_secs(60), CancellationToken::new());
        let trouble = FirstTrouble::default();
        let guard = Guard::with(50, || Some(MEMORY.load(Ordering::Relaxed)), &stop, &trouble);
        assert!(!stop.has_ended());
        MEMORY.store(151, Ordering::Relaxed);
        while !stop.has_ended() {
            tokio::task::yield_now().await;
        }
        drop(guard);
        assert_eq!(trouble.get(), Some(&Trouble::Memory(50)));
    }

    #[test]
    fn this_process_takes_memory() {
        assert!(own_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
