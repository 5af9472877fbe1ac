//! The metrics of this controller: Flux's names for the two HTTP servers, and what Flux does not count: deliveries.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use runtime::metrics::Metrics;
use std::time::Duration;

/// What became of an attempt or a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// The message was delivered.
    Delivered,
    /// An attempt failed; there will be another one.
    Failed,
    /// The message was given up.
    GivenUp,
    /// The message cannot be sent to this type of Provider yet.
    Unsupported,
    /// The message was dropped because too many wait.
    Overflowed,
}

impl Result {
    fn label(self) -> &'static str {
        match self {
            Result::Delivered => "delivered",
            Result::Failed => "failed",
            Result::GivenUp => "given_up",
            Result::Unsupported => "unsupported",
            Result::Overflowed => "overflowed",
        }
    }
}

const RESULTS: [Result; 5] = [
    Result::Delivered,
    Result::Failed,
    Result::GivenUp,
    Result::Unsupported,
    Result::Overflowed,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    namespace: String,
    alert: String,
    result: &'static str,
}

/// Counts deliveries.
#[derive(Clone, Debug, Default)]
pub struct Deliveries {
    attempts: Family<Attempt, Counter>,
    pending: Gauge,
}

impl Deliveries {
    /// Registers the metrics.
    pub fn register(metrics: &Metrics) -> Self {
        let deliveries = Deliveries::default();
        metrics.register(
            "notification_deliveries",
            "Deliveries by Alert and result: attempts that succeeded or failed, messages that were given up",
            deliveries.attempts.clone(),
        );
        metrics.register(
            "notification_pending_deliveries",
            "Messages that wait to be delivered",
            deliveries.pending.clone(),
        );
        deliveries
    }

    /// Counts one for an Alert.
    pub fn count(&self, namespace: &str, alert: &str, result: Result) {
        let labels = Attempt {
            namespace: namespace.to_owned(),
            alert: alert.to_owned(),
            result: result.label(),
        };
        self.attempts.get_or_create(&labels).inc();
    }

    /// How many messages wait.
    pub fn pending(&self, count: usize) {
        self.pending.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The Alert is gone: so are its series.
    pub fn forget(&self, namespace: &str, alert: &str) {
        for result in RESULTS {
            self.attempts.remove(&Attempt {
                namespace: namespace.to_owned(),
                alert: alert.to_owned(),
                result: result.label(),
            });
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handled {
    service: String,
    handler: String,
    method: String,
    code: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handling {
    service: String,
    handler: String,
}

#[derive(Clone, Debug)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

const SECONDS: Buckets = Buckets(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
const BYTES: Buckets = Buckets(&[100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9]);

/// Counts the requests to one of the HTTP servers.
#[derive(Clone, Debug)]
pub struct Requests {
    duration: Family<Handled, Histogram, Buckets>,
    size: Family<Handled, Histogram, Buckets>,
    inflight: Family<Handling, Gauge>,
    with_path: bool,
}

impl Requests {
    /// Registers the metrics under a prefix; `with_path` gives every path a series of its own.
    pub fn register(metrics: &Metrics, prefix: &str, with_path: bool) -> Self {
        let requests = Requests {
            duration: Family::new_with_constructor(SECONDS),
            size: Family::new_with_constructor(BYTES),
            inflight: Family::default(),
            with_path,
        };
        let named = |name: &str| format!("{prefix}_http_{name}");
        metrics.register(
            &named("request_duration_seconds"),
            "Duration of requests",
            requests.duration.clone(),
        );
        metrics.register(&named("response_size_bytes"), "Size of answers", requests.size.clone());
        metrics.register(
            &named("requests_inflight"),
            "Requests at this moment",
            requests.inflight.clone(),
        );
        requests
    }

    /// A request has come.
    pub fn begin(&self) {
        self.inflight.get_or_create(&Handling::default()).inc();
    }

    /// A request was answered.
    pub fn end(&self, path: &str, method: &str, code: u16, size: u64, took: Duration) {
        self.inflight.get_or_create(&Handling::default()).dec();
        let handler = if self.with_path { path.to_owned() } else { String::new() };
        // Anybody can invent methods: only those that exist get a series.
        let method = if METHODS.contains(&method) { method } else { "OTHER" };
        let labels = Handled {
            service: String::new(),
            handler,
            method: method.to_owned(),
            code: code.to_string(),
        };
        self.duration.get_or_create(&labels).observe(took.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "sizes of answers are small")]
        self.size.get_or_create(&labels).observe(size as f64);
    }
}

const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_the_names_of_flux_and_go_with_their_alert() {
        let metrics = Metrics::default();
        let deliveries = Deliveries::register(&metrics);
        let requests = Requests::register(&metrics, "gotk_event", false);
        deliveries.count("d", "a", Result::GivenUp);
        requests.begin();
        requests.end("/", "POST", 429, 0, Duration::from_millis(3));
        let text = metrics.encode();
        for line in [
            r#"notification_deliveries_total{namespace="d",alert="a",result="given_up"} 1"#,
            r#"gotk_event_http_request_duration_seconds_count{service="",handler="",method="POST",code="429"} 1"#,
            r#"gotk_event_http_requests_inflight{service="",handler=""} 0"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        deliveries.forget("d", "a");
        assert!(!metrics.encode().contains(r#"alert="a""#));
    }
}
