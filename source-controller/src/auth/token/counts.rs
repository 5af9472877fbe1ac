//! The metrics of the tokens that are kept, under the names that Flux gives them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use runtime::metrics::Metrics;

use super::Asker;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Event {
    event_type: &'static str,
    kind: &'static str,
    name: String,
    namespace: String,
    operation: &'static str,
}

/// A token was kept, or on its way already.
pub(super) const HIT: &str = "cache_hit";
/// It had to be asked for.
pub(super) const MISS: &str = "cache_miss";

impl Event {
    fn of(event_type: &'static str, asker: &Asker) -> Self {
        Self {
            event_type,
            kind: "GitRepository",
            name: asker.name.clone(),
            namespace: asker.namespace.clone(),
            operation: "reconcile",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: &'static str,
}

/// A handle that can be cloned.
#[derive(Clone, Default)]
pub(super) struct Counts {
    events: Family<Event, Counter>,
    items: Gauge,
    requests: Family<Status, Counter>,
    evictions: Counter,
}

impl Counts {
    /// The metrics, registered.
    pub(super) fn register(metrics: &Metrics) -> Self {
        let counts = Self::default();
        metrics.register(
            "gotk_token_cache_events",
            "How often an object found its token kept, or did not",
            counts.events.clone(),
        );
        metrics.register("gotk_token_cached_items", "Tokens that are kept", counts.items.clone());
        metrics.register(
            "gotk_token_cache_requests",
            "How often a token was asked for, by success",
            counts.requests.clone(),
        );
        metrics.register(
            "gotk_token_cache_evictions",
            "Tokens that went because there were too many",
            counts.evictions.clone(),
        );
        counts
    }

    /// An object has asked for a token: how it was found, and whether it was given in the end.
    pub(super) fn asked(&self, asker: &Asker, event: &'static str, is_given: bool) {
        let status = if is_given { "success" } else { "failure" };
        self.requests.get_or_create(&Status { status }).inc();
        self.events.get_or_create(&Event::of(event, asker)).inc();
    }

    /// So many tokens are kept.
    pub(super) fn kept(&self, items: usize) {
        self.items.set(i64::try_from(items).unwrap_or(i64::MAX));
    }

    /// A token went because there were too many.
    pub(super) fn evicted(&self) {
        self.evictions.inc();
    }

    /// An object is gone, and its series with it.
    pub(super) fn forget(&self, asker: &Asker) {
        for event in [HIT, MISS] {
            self.events.remove(&Event::of(event, asker));
        }
    }
}
