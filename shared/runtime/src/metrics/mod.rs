//! Prometheus metrics under the names that Flux's dashboards read.
//!
//! Counters get their `_total` from the encoder. Series of a deleted object are removed with it.

mod under_way;
mod vitals;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use under_way::{Run, UnderWay};
use vitals::Vitals;

/// The labels of a series about one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ObjectLabels {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconcileResult {
    /// Nothing more to do until something happens.
    Success,
    /// It wants to run again at a time it named.
    RequeueAfter,
    /// It failed and is retried with backoff.
    Error,
    /// It panicked.
    Panic,
}

impl ReconcileResult {
    /// controller-runtime's word.
    fn as_str(self) -> &'static str {
        match self {
            ReconcileResult::Success => "success",
            ReconcileResult::RequeueAfter => "requeue_after",
            ReconcileResult::Error => "error",
            ReconcileResult::Panic => "panic",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkQueue {
    controller: &'static str,
    name: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lead {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    code: String,
    host: String,
    method: String,
}

/// Builds histograms with the given buckets, in seconds.
#[derive(Clone, Debug)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// Flux's buckets of `gotk_reconcile_duration_seconds`.
const DURATION: Buckets = Buckets(&[
    0.01, 0.0384, 0.1472, 0.5646, 2.1661, 8.3099, 31.8798, 122.3022, 469.195, 1800.0,
]);
/// controller-runtime's buckets, thinned.
const TIME: Buckets = Buckets(&[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
]);

/// The metrics of a process; a handle that can be cloned.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    duration: Family<ObjectLabels, Histogram, Buckets>,
    runs: Family<Ended, Counter>,
    errors: Family<Named, Counter>,
    panics: Family<Named, Counter>,
    times: Family<Named, Histogram, Buckets>,
    active: Family<Named, Gauge>,
    concurrency: Family<Named, Gauge>,
    requests: Family<Request, Counter>,
    leader: Family<Lead, Gauge>,
    depth: Family<WorkQueue, Gauge>,
    added: Family<WorkQueue, Counter>,
    waited: Family<WorkQueue, Histogram, Buckets>,
    worked: Family<WorkQueue, Histogram, Buckets>,
    retried: Family<WorkQueue, Counter>,
    under_way: UnderWay,
}

/// The metrics of what waits for a place in one controller.
#[derive(Clone)]
pub(crate) struct Waiting {
    depth: Gauge,
    added: Counter,
    waited: Histogram,
}

impl Waiting {
    /// So many wait now, and so many have come since the last call.
    pub(crate) fn changed(&self, depth: usize, added: u64) {
        self.depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
        self.added.inc_by(added);
    }

    /// One that waited so long has begun.
    pub(crate) fn began(&self, waited: Duration) {
        self.waited.observe(waited.as_secs_f64());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Metrics {
            registry: Arc::default(),
            duration: Family::new_with_constructor(DURATION),
            runs: Family::default(),
            errors: Family::default(),
            panics: Family::default(),
            times: Family::new_with_constructor(TIME),
            active: Family::default(),
            concurrency: Family::default(),
            requests: Family::default(),
            leader: Family::default(),
            depth: Family::default(),
            added: Family::default(),
            waited: Family::new_with_constructor(TIME),
            worked: Family::new_with_constructor(TIME),
            retried: Family::default(),
            under_way: UnderWay::default(),
        };
        metrics.register(
            "gotk_reconcile_duration_seconds",
            "Duration of a reconcile by object",
            metrics.duration.clone(),
        );
        metrics.register(
            "controller_runtime_reconcile",
            "Reconciles by result",
            metrics.runs.clone(),
        );
        metrics.register(
            "controller_runtime_reconcile_errors",
            "Reconciles that failed",
            metrics.errors.clone(),
        );
        metrics.register(
            "controller_runtime_reconcile_panics",
            "Reconciles that panicked",
            metrics.panics.clone(),
        );
        metrics.register(
            "controller_runtime_reconcile_time_seconds",
            "Duration of a run",
            metrics.times.clone(),
        );
        metrics.register(
            "controller_runtime_active_workers",
            "Runs at this moment",
            metrics.active.clone(),
        );
        metrics.register(
            "controller_runtime_max_concurrent_reconciles",
            "Most runs at a time",
            metrics.concurrency.clone(),
        );
        metrics.register(
            "rest_client_requests",
            "Requests to the API server",
            metrics.requests.clone(),
        );
        metrics.register(
            "leader_election_master_status",
            "1 while this process leads",
            metrics.leader.clone(),
        );
        metrics.register(
            "workqueue_depth",
            "Objects that wait for a place",
            metrics.depth.clone(),
        );
        metrics.register(
            "workqueue_adds",
            "Objects that began to wait for a place",
            metrics.added.clone(),
        );
        metrics.register(
            "workqueue_queue_duration_seconds",
            "How long objects waited for a place",
            metrics.waited.clone(),
        );
        metrics.register(
            "workqueue_work_duration_seconds",
            "Duration of a run",
            metrics.worked.clone(),
        );
        metrics.register(
            "workqueue_retries",
            "Runs that failed and are repeated with a pause",
            metrics.retried.clone(),
        );
        let mut registry = crate::lock(&metrics.registry);
        registry.register_collector(Box::new(metrics.under_way.clone()));
        registry.register_collector(Box::new(Vitals));
        drop(registry);
        metrics
    }
}

impl Metrics {
    /// Adds a metric; counters get the suffix `_total`.
    pub fn register(&self, name: &str, help: &str, metric: impl prometheus_client::registry::Metric) {
        crate::lock(&self.registry).register(name, help, metric);
    }

    /// All metrics in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &crate::lock(&self.registry));
        text
    }

    /// The duration of a whole reconcile of an object.
    pub fn reconciled(&self, labels: &ObjectLabels, duration: Duration) {
        self.duration.get_or_create(labels).observe(duration.as_secs_f64());
    }

    /// The object is gone: so are its series.
    pub fn forget(&self, labels: &ObjectLabels) {
        self.duration.remove(labels);
    }

    /// A request to the API server was answered.
    pub fn requested(&self, code: &str, host: &str, method: &str) {
        let labels = Request {
            code: code.to_owned(),
            host: host.to_owned(),
            method: method.to_owned(),
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// Whether this process holds the lease of that name.
    pub fn leading(&self, lease: &str, leads: bool) {
        let lead = Lead { name: lease.to_owned() };
        self.leader.get_or_create(&lead).set(i64::from(leads));
    }

    pub(crate) fn concurrency(&self, controller: &'static str, most: u16) {
        self.concurrency
            .get_or_create(&Named { controller })
            .set(i64::from(most));
    }

    pub(crate) fn waiting(&self, controller: &'static str) -> Waiting {
        let labels = WorkQueue {
            controller,
            name: controller,
        };
        self.under_way.announce(controller);
        Waiting {
            depth: self.depth.get_or_create(&labels).clone(),
            added: self.added.get_or_create(&labels).clone(),
            waited: self.waited.get_or_create(&labels).clone(),
        }
    }

    pub(crate) fn started(&self, controller: &'static str) -> Run {
        self.active.get_or_create(&Named { controller }).inc();
        self.under_way.begin(controller, Instant::now())
    }

    pub(crate) fn finished(&self, run: &Run, result: ReconcileResult) {
        let (controller, seconds) = (run.controller, run.since.elapsed().as_secs_f64());
        self.under_way.end(run);
        let named = Named { controller };
        let queue = WorkQueue {
            controller,
            name: controller,
        };
        self.active.get_or_create(&named).dec();
        self.runs
            .get_or_create(&Ended {
                controller,
                result: result.as_str(),
            })
            .inc();
        self.times.get_or_create(&named).observe(seconds);
        self.worked.get_or_create(&queue).observe(seconds);
        match result {
            ReconcileResult::Success | ReconcileResult::RequeueAfter => return,
            ReconcileResult::Error => self.errors.get_or_create(&named).inc(),
            ReconcileResult::Panic => self.panics.get_or_create(&named).inc(),
        };
        self.retried.get_or_create(&queue).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_dashboards_and_series_go_with_their_object() {
        let metrics = Metrics::default();
        let labels = ObjectLabels {
            kind: "GitRepository".into(),
            name: "a".into(),
            namespace: "b".into(),
        };
        metrics.reconciled(&labels, Duration::from_millis(20));
        metrics.leading("source-controller-leader-election", true);
        let run = metrics.started("gitrepository");
        metrics.finished(&run, ReconcileResult::Success);
        let run = metrics.started("gitrepository");
        metrics.finished(&run, ReconcileResult::Error);
        let waiting = metrics.waiting("gitrepository");
        waiting.changed(2, 3);
        waiting.began(Duration::from_millis(20));
        let text = metrics.encode();
        for line in [
            r#"workqueue_depth{controller="gitrepository",name="gitrepository"} 2"#,
            r#"workqueue_adds_total{controller="gitrepository",name="gitrepository"} 3"#,
            r#"workqueue_queue_duration_seconds_count{controller="gitrepository",name="gitrepository"} 1"#,
            r#"workqueue_work_duration_seconds_count{controller="gitrepository",name="gitrepository"} 2"#,
            r#"workqueue_retries_total{controller="gitrepository",name="gitrepository"} 1"#,
            r#"workqueue_unfinished_work_seconds{controller="gitrepository",name="gitrepository"} 0.0"#,
            r#"workqueue_longest_running_processor_seconds{controller="gitrepository",name="gitrepository"} 0.0"#,
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
            "process_start_time_seconds ",
            "process_open_fds ",
            r#"gotk_reconcile_duration_seconds_count{kind="GitRepository",name="a",namespace="b"} 1"#,
            r#"controller_runtime_reconcile_total{controller="gitrepository",result="success"} 1"#,
            r#"leader_election_master_status{name="source-controller-leader-election"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        metrics.forget(&labels);
        assert!(!metrics.encode().contains(r#"name="a""#));
    }
}
