//! The metrics of the process itself under Prometheus's usual names, read from `/proc` when somebody asks. What cannot be read
//! is left out.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Units of the times in `/proc/self/stat` per second: Linux shows them in hundredths on every platform.
const TICKS: f64 = 100.0;

/// Reads these metrics whenever they are asked for.
#[derive(Debug)]
pub(super) struct Vitals;

impl Collector for Vitals {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (stat, status) = (read("/proc/self/stat"), read("/proc/self/status"));
        let started = ticks(&stat, &[22]).zip(seconds_of_boot(&read("/proc/stat")));
        let started = started.map(|(after, boot)| boot + after);
        let memory = |name: &str| kilobytes(&status, name).map(|kilobytes| kilobytes * 1024.0);
        let files = fs::read_dir("/proc/self/fd").map(|files| files.count() as f64).ok();
        let most = most_files(&read("/proc/self/limits"));
        let gauges = [
            (
                "process_start_time_seconds",
                "Start time of the process since the epoch, in seconds.",
                started,
            ),
            (
                "process_resident_memory_bytes",
                "Resident memory, in bytes.",
                memory("VmRSS:"),
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory, in bytes.",
                memory("VmSize:"),
            ),
            ("process_open_fds", "Open file descriptors.", files),
            ("process_max_fds", "Most file descriptors that may be open.", most),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                let described = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                ConstGauge::new(value).encode(described)?;
            }
        }
        if let Some(used) = ticks(&stat, &[14, 15]) {
            let help = "Processor time of the user and the system, in seconds.";
            let described = encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
            ConstCounter::new(used).encode(described)?;
        }
        Ok(())
    }
}

/// The sum of fields of `/proc/self/stat`, by their numbers in proc(5), in seconds. The second field may hold anything.
fn ticks(stat: &str, fields: &[usize]) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let field = |number: usize| rest.split_whitespace().nth(number.checked_sub(3)?)?.parse::<f64>().ok();
    let sum = fields.iter().map(|number| field(*number)).sum::<Option<f64>>()?;
    Some(sum / TICKS)
}

fn seconds_of_boot(stat: &str) -> Option<f64> {
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

fn kilobytes(status: &str, name: &str) -> Option<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn most_files(limits: &str) -> Option<f64> {
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    limit.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_tells_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 12345 1000 200 184";
        assert_eq!(ticks(stat, &[14, 15]), Some(3.0));
        assert_eq!(ticks(stat, &[22]), Some(123.45));
        assert_eq!(ticks("", &[22]), None);
        assert_eq!(seconds_of_boot("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000.0));
        assert_eq!(kilobytes("VmSize:\t  20 kB\nVmRSS:\t  10 kB\n", "VmRSS:"), Some(10.0));
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n";
        assert_eq!(most_files(limits), Some(1024.0));
        assert_eq!(
            most_files("Max open files            unlimited            unlimited            files"),
            None
        );
    }
}
