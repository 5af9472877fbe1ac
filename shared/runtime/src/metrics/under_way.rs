//! The metrics of runs that have not ended yet, worked out when somebody asks: how long they have been at it together, and the
//! longest of them, under controller-runtime's names.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::WorkQueue;

/// The runs that are under way; a handle that can be cloned.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay(Arc<Mutex<Runs>>);

#[derive(Debug, Default)]
struct Runs {
    next: u64,
    /// When they began, by controller.
    since: BTreeMap<&'static str, BTreeMap<u64, Instant>>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Run {
    pub(super) controller: &'static str,
    pub(super) since: Instant,
    number: u64,
}

impl UnderWay {
    /// A controller is there, which may never have anything to do.
    pub(super) fn announce(&self, controller: &'static str) {
        crate::lock(&self.0).since.entry(controller).or_default();
    }

    pub(super) fn begin(&self, controller: &'static str, since: Instant) -> Run {
        let mut runs = crate::lock(&self.0);
        let number = runs.next;
        runs.next += 1;
        runs.since.entry(controller).or_default().insert(number, since);
        Run {
            controller,
            since,
            number,
        }
    }

    pub(super) fn end(&self, run: &Run) {
        if let Some(runs) = crate::lock(&self.0).since.get_mut(run.controller) {
            runs.remove(&run.number);
        }
    }

    /// For each controller the seconds of all its runs together, and those of the longest.
    fn seconds(&self, now: Instant) -> Vec<(&'static str, f64, f64)> {
        let runs = crate::lock(&self.0);
        let each = runs.since.iter().map(|(controller, runs)| {
            let seconds = runs
                .values()
                .map(|since| now.saturating_duration_since(*since).as_secs_f64());
            (
                *controller,
                seconds.clone().fold(0.0, |sum, seconds| sum + seconds),
                seconds.fold(0.0, f64::max),
            )
        });
        each.collect()
    }
}

impl Collector for UnderWay {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let seconds = self.seconds(Instant::now());
        let sums = seconds.iter().map(|(controller, sum, _)| (*controller, *sum));
        let longest = seconds.iter().map(|(controller, _, longest)| (*controller, *longest));
        let (all, one) = (
            "Seconds of all runs under way.",
            "Seconds of the longest run under way.",
        );
        family(&mut encoder, "workqueue_unfinished_work_seconds", all, sums)?;
        family(
            &mut encoder,
            "workqueue_longest_running_processor_seconds",
            one,
            longest,
        )
    }
}

fn family(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (&'static str, f64)>,
) -> fmt::Result {
    let mut described = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (controller, value) in values {
        let labels = WorkQueue {
            controller,
            name: controller,
        };
        ConstGauge::new(value).encode(described.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_has_ended_does_not_count_any_more() {
        let (runs, start) = (UnderWay::default(), Instant::now());
        runs.announce("idle");
        let long = runs.begin("busy", start);
        let short = runs.begin("busy", start + Duration::from_secs(3));
        let now = start + Duration::from_secs(4);
        assert_eq!(runs.seconds(now), [("busy", 5.0, 4.0), ("idle", 0.0, 0.0)]);
        runs.end(&long);
        assert_eq!(runs.seconds(now), [("busy", 1.0, 1.0), ("idle", 0.0, 0.0)]);
        runs.end(&short);
        assert_eq!(runs.seconds(now), [("busy", 0.0, 0.0), ("idle", 0.0, 0.0)]);
    }
}
