//! What the kernel knows about a process: the CPU time it has used and the memory it holds and has held. Only Linux has the
//! files this reads.

use std::fs;

use anyhow::{Context, Result, anyhow};

/// Units of the times in `/proc/PID/stat` per second: Linux shows them in hundredths on every platform.
const TICKS: f64 = 100.0;

/// The CPU seconds, of the user and of the system, that the process has used since its start.
///
/// # Errors
/// There is no such process any more.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    cpu_in(&text).ok_or_else(|| anyhow!("{path} cannot be understood"))
}

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Its peak since the start or since [`reset_peak`].
    pub peak: u64,
    /// What it is now.
    pub now: u64,
}

/// The resident memory of the process.
///
/// # Errors
/// There is no such process any more.
pub fn resident(pid: u32) -> Result<Resident> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    resident_in(&text).ok_or_else(|| anyhow!("{path} has no VmHWM or VmRSS"))
}

/// Lets the peak count from now on. Where that is not permitted, it goes on counting from the start.
pub fn reset_peak(pid: u32) {
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

fn cpu_in(stat: &str) -> Option<f64> {
    // The name of the program is in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS)
}

fn resident_in(status: &str) -> Option<Resident> {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib * 1024)
    };
    Some(Resident {
        peak: bytes("VmHWM:")?,
        now: bytes("VmRSS:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stat: &str, expected: Option<f64>) {
        assert_eq!(cpu_in(stat), expected, "{stat}");
    }

    #[test]
    fn cpu_time_is_that_of_the_user_and_of_the_system() {
        check(
            "42 (a) b) S 1 42 42 0 -1 4194560 900 0 0 0 123 27 0 0 20 0 9 0 1000 1 1",
            Some(1.5),
        );
        check("42 (short) S 1", None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(
            resident_in("VmPeak:\t  100 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"),
            Some(Resident {
                peak: 2 << 20,
                now: 1024
            })
        );
        assert_eq!(resident_in("VmRSS:\t 1 kB\n"), None);
    }
}
