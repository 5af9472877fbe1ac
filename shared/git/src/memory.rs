//! A limit on the memory that receiving packs takes.
//!
//! What a pack takes is bounded by the number of its objects, each of which is remembered until the index is written, and by the
//! size of the largest, of which a few are at hand at a time. Both bounds are wide, for some repositories are large, and many packs
//! are received at a time. So who allocates looks now and then by how much the process has grown, and gives up when that is too
//! much. Where the system does not tell (it is Linux that does), nothing is limited. Lists of references are none of this: what a
//! server says before the first object is measured as it arrives.

/// How much the process may grow while a pack is received, in bytes.
const MAX_GROWTH: u64 = 512 << 20;
/// How much is allocated between two looks, in bytes.
const STRIDE: usize = 16 << 20;

/// Knows by how much the process has grown.
#[derive(Debug)]
pub struct Meter {
    before: Option<u64>,
    most: u64,
    stride: usize,
    /// What was allocated since the last look.
    taken: usize,
    memory: fn() -> Option<u64>,
}

impl Meter {
    /// Counts from now on.
    pub fn new() -> Self {
        Self::with(MAX_GROWTH, STRIDE, own_memory)
    }

    /// The process takes what `memory` says, may grow by `most` bytes, and is looked at after each `stride` of them.
    pub fn with(most: u64, stride: usize, memory: fn() -> Option<u64>) -> Self {
        Self {
            before: memory(),
            most,
            stride,
            taken: 0,
            memory,
        }
    }

    /// Notes that so many bytes were allocated.
    ///
    /// # Errors
    /// The process has grown by more than this.
    pub fn take(&mut self, bytes: usize) -> Result<(), u64> {
        self.taken = self.taken.saturating_add(bytes);
        if self.taken < self.stride {
            return Ok(());
        }
        self.taken = 0;
        match (self.before, (self.memory)()) {
            (Some(before), Some(now)) if now.saturating_sub(before) > self.most => Err(self.most),
            _ => Ok(()),
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

    #[test]
    fn growth_is_noticed_at_the_next_look() {
        static MEMORY: AtomicU64 = AtomicU64::new(100);
        let mut meter = Meter::with(50, 10, || Some(MEMORY.load(Ordering::Relaxed)));
        assert_eq!(meter.take(10), Ok(()));
        MEMORY.store(150, Ordering::Relaxed);
        assert_eq!(meter.take(usize::MAX), Ok(()));
        MEMORY.store(151, Ordering::Relaxed);
        assert_eq!(meter.take(9), Ok(()));
        assert_eq!(meter.take(1), Err(50));
    }

    #[test]
    fn nothing_is_limited_where_the_system_does_not_tell() {
        let mut meter = Meter::with(0, 1, || None);
        assert_eq!(meter.take(usize::MAX), Ok(()));
    }

    #[test]
    fn this_process_takes_memory() {
        assert!(own_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
