//! What is counted besides what every controller counts: fetches, and artifacts that cannot be renewed.
//!
//! The names are our own; series of a deleted object are removed with it.

use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use runtime::metrics::{Metrics, ObjectLabels};

/// Buckets of fetch times, in seconds.
const SECONDS: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Counts what is fetched.
#[derive(Clone, Debug)]
pub struct Fetches {
    bytes: Family<ObjectLabels, Counter>,
    seconds: Histogram,
    stale: Family<ObjectLabels, Gauge>,
}

impl Fetches {
    /// Counters among the metrics of the process.
    pub fn new(metrics: &Metrics) -> Self {
        let fetches = Self {
            bytes: Family::default(),
            seconds: Histogram::new(SECONDS),
            stale: Family::default(),
        };
        let bytes = "Bytes received from Git servers to fetch commits, by object, whether it succeeded or not";
        metrics.register("sluice_git_fetch_bytes", bytes, fetches.bytes.clone());
        let seconds = "Time to fetch a commit from a Git server, or until that was given up";
        metrics.register("sluice_git_fetch_seconds", seconds, fetches.seconds.clone());
        let stale = "Since when an artifact is served that cannot be renewed, in seconds since the epoch";
        metrics.register("sluice_artifact_stale_since_seconds", stale, fetches.stale.clone());
        fetches
    }

    /// A commit was fetched for an object, or the attempt was given up.
    pub fn fetched(&self, object: &ObjectLabels, bytes: u64, took: Duration) {
        self.bytes.get_or_create(object).inc_by(bytes);
        self.seconds.observe(took.as_secs_f64());
    }

    /// Since when an object's artifact cannot be renewed, if it cannot.
    pub fn stale(&self, object: &ObjectLabels, since: Option<Timestamp>) {
        match since {
            Some(since) => {
                self.stale.get_or_create(object).set(since.as_second());
            }
            None => {
                self.stale.remove(object);
            }
        }
    }

    /// An object is gone.
    pub fn forget(&self, object: &ObjectLabels) {
        self.bytes.remove(object);
        self.stale.remove(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_go_with_their_object_or_their_reason() {
        let metrics = Metrics::default();
        let fetches = Fetches::new(&metrics);
        let object = ObjectLabels {
            kind: "GitRepository".into(),
            name: "app".into(),
            namespace: "ns".into(),
        };
        fetches.fetched(&object, 1000, Duration::from_millis(300));
        fetches.fetched(&object, 24, Duration::from_millis(300));
        fetches.stale(&object, Some(Timestamp::UNIX_EPOCH));
        let labels = r#"{kind="GitRepository",name="app",namespace="ns"}"#;
        let lines = [
            format!("sluice_git_fetch_bytes_total{labels} 1024"),
            format!("sluice_artifact_stale_since_seconds{labels} 0"),
        ];
        let text = metrics.encode();
        for line in lines
            .iter()
            .map(String::as_str)
            .chain(["sluice_git_fetch_seconds_bucket{le=\"0.5\"} 2"])
        {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        fetches.stale(&object, None);
        assert!(!metrics.encode().contains(&lines[1]));
        fetches.forget(&object);
        assert!(!metrics.encode().contains("name=\"app\""));
    }
}
