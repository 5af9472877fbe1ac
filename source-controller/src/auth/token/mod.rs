//! What providers gave, kept as long as it is good.
//!
//! Tokens are used for four fifths of the time they are good for, and never longer than a limit. Who asks for the same
//! at the same time waits for one answer, a refusal included; refusals are not kept, nor are requests nobody waits for.
//! When there are too many, those go that were not asked for the longest; so do, with the last object that used them,
//! those nobody uses any more.
//!
//! In this process only: nothing is written anywhere.

mod counts;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use api::source::GitRepository;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use jiff::Timestamp;
use kube::ResourceExt;
use runtime::lock;
use runtime::metrics::Metrics;
use sha2::{Digest, Sha256};

use super::provider::{Error, Grant, Login};
use counts::{Counts, HIT, MISS};

/// No token is kept for longer, whatever the flag says.
pub const MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// What makes a token another one than others: everything it is asked for with. A hash, so that it can be kept.
#[derive(Clone)]
pub struct Key(Sha256);

/// The end of a [`Key`].
type Id = [u8; 32];

impl Key {
    /// For a provider.
    pub fn of(provider: &str) -> Self {
        let mut key = Self(Sha256::new());
        key.add(provider);
        key
    }

    /// One thing more that it depends on.
    pub fn add(&mut self, part: impl AsRef<[u8]>) {
        let part = part.as_ref();
        self.0
            .update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.0.update(part);
    }

    /// In one text, which gives away nothing of what it is made of.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.clone().finish())
    }

    fn finish(self) -> Id {
        self.0.finalize().into()
    }
}

/// The object that asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asker {
    namespace: String,
    name: String,
}

impl Asker {
    /// The object of that name.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The object.
    pub fn of(object: &GitRepository) -> Self {
        Self::new(&object.namespace().unwrap_or_default(), &object.name_any())
    }
}

/// How much is kept, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many tokens; none turns the keeping off.
    pub entries: usize,
    /// How long at most; [`MAX_AGE`] counts too.
    pub age: Duration,
}

/// Keeps tokens.
pub struct Tokens {
    limits: Limits,
    kept: Mutex<Kept>,
    /// Nothing when nothing is kept.
    counts: Option<Counts>,
}

/// A token on its way.
type Pending = Shared<Fetch>;
type Fetch = BoxFuture<'static, Result<Arc<Grant>, Error>>;

#[derive(Default)]
struct Kept {
    slots: HashMap<Id, Slot>,
    /// Counts what is asked, so that the oldest can be told.
    clock: u64,
}

struct Slot {
    state: State,
    asked: u64,
    users: HashSet<Asker>,
}

enum State {
    /// It is held by those who wait for it: what nobody drives any more is not taken up again where it was left.
    Pending(WeakShared<Fetch>),
    Given(Login, Deadline),
}

/// Until when a token is used, by both clocks: one stands still while the machine sleeps, the other can be set.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    steady: Instant,
    wall: SystemTime,
}

impl Deadline {
    fn after(used: Duration) -> Self {
        Self {
            steady: Instant::now() + used,
            wall: SystemTime::now() + used,
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.steady || SystemTime::now() >= self.wall
    }
}

impl Tokens {
    /// Keeps nothing yet.
    pub fn new(limits: Limits, metrics: &Metrics) -> Self {
        Self {
            limits,
            kept: Mutex::default(),
            counts: (limits.entries > 0).then(|| Counts::register(metrics)),
        }
    }

    /// What was given for the key, or what `fetch` brings.
    ///
    /// # Errors
    /// What `fetch` says.
    pub async fn get(
        &self,
        key: Key,
        asker: &Asker,
        fetch: impl Future<Output = Result<Grant, Error>> + Send + 'static,
    ) -> Result<Login, Error> {
        let Some(counts) = &self.counts else {
            return Ok(fetch.await?.login);
        };
        let key = key.finish();
        let (pending, event) = match self.look(key, asker, fetch) {
            Look::Given(login) => {
                counts.asked(asker, HIT, true);
                return Ok(login);
            }
            Look::Joined(pending) => (pending, HIT),
            Look::Begun(pending) => (pending, MISS),
        };
        let result = pending.clone().await;
        self.settle(key, &pending, &result);
        counts.asked(asker, event, result.is_ok());
        result.map(|grant| grant.login.clone())
    }

    /// An object is gone: so are its series, and the tokens that only it used.
    pub fn forget(&self, asker: &Asker) {
        let Some(counts) = &self.counts else { return };
        counts.forget(asker);
        let mut kept = lock(&self.kept);
        kept.slots.retain(|_, slot| {
            let was_user = slot.users.remove(asker);
            !(was_user && slot.users.is_empty())
        });
        self.count(&kept);
    }

    /// What there is for a key; if there is nothing, it is on its way afterwards.
    fn look(&self, key: Id, asker: &Asker, fetch: impl Future<Output = Result<Grant, Error>> + Send + 'static) -> Look {
        let mut kept = lock(&self.kept);
        kept.clock += 1;
        let now = kept.clock;
        if let Some(slot) = kept.slots.get_mut(&key) {
            slot.asked = now;
            slot.users.insert(asker.clone());
            match &slot.state {
                State::Pending(pending) => {
                    if let Some(pending) = pending.upgrade() {
                        return Look::Joined(pending);
                    }
                }
                State::Given(login, deadline) if !deadline.is_over() => return Look::Given(login.clone()),
                State::Given(..) => {}
            }
        }
        let pending = fetch.map(|result| result.map(Arc::new)).boxed().shared();
        // It has not been asked for yet, so it has not ended.
        if let Some(weak) = pending.downgrade() {
            let users = kept.slots.remove(&key).map(|slot| slot.users);
            let mut users = users.unwrap_or_default();
            users.insert(asker.clone());
            let slot = Slot {
                state: State::Pending(weak),
                asked: now,
                users,
            };
            kept.slots.insert(key, slot);
        }
        self.count(&kept);
        Look::Begun(pending)
    }

    /// Keeps what came, if nobody has done so.
    fn settle(&self, key: Id, pending: &Pending, result: &Result<Arc<Grant>, Error>) {
        let mut kept = lock(&self.kept);
        let Some(slot) = kept.slots.get_mut(&key) else { return };
        let is_this = |other: &WeakShared<Fetch>| other.upgrade().is_some_and(|other| other.ptr_eq(pending));
        if !matches!(&slot.state, State::Pending(other) if is_this(other)) {
            return;
        }
        match result {
            Ok(grant) => {
                let used = used(grant.expires, Timestamp::now(), self.limits.age);
                slot.state = State::Given(grant.login.clone(), Deadline::after(used));
            }
            Err(_) => {
                kept.slots.remove(&key);
            }
        }
        self.evict(&mut kept);
        self.count(&kept);
    }

    fn evict(&self, kept: &mut Kept) {
        let is_left = |slot: &Slot| matches!(&slot.state, State::Pending(pending) if pending.upgrade().is_none());
        kept.slots.retain(|_, slot| !is_left(slot));
        while kept.given().count() > self.limits.entries {
            let oldest = kept.given().min_by_key(|(_, slot)| slot.asked).map(|(key, _)| *key);
            let Some(oldest) = oldest else { return };
            kept.slots.remove(&oldest);
            if let Some(counts) = &self.counts {
                counts.evicted();
            }
        }
    }

    fn count(&self, kept: &Kept) {
        if let Some(counts) = &self.counts {
            counts.kept(kept.given().count());
        }
    }
}

impl Kept {
    fn given(&self) -> impl Iterator<Item = (&Id, &Slot)> {
        self.slots
            .iter()
            .filter(|(_, slot)| matches!(slot.state, State::Given(..)))
    }
}

enum Look {
    /// It is kept.
    Given(Login),
    /// Somebody has asked for it.
    Joined(Pending),
    /// Nobody has.
    Begun(Pending),
}

/// How long a token is used that is good until `expires`.
fn used(expires: Timestamp, now: Timestamp, most: Duration) -> Duration {
    let good = Duration::try_from(expires.duration_since(now)).unwrap_or_default();
    (good / 10 * 8).min(most).min(MAX_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::sync::Notify;

    use jiff::SignedDuration;
    use runtime::redact::Redacted;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn tokens(entries: usize) -> (Tokens, Metrics) {
        let metrics = Metrics::default();
        let limits = Limits { entries, age: MAX_AGE };
        (Tokens::new(limits, &metrics), metrics)
    }

    fn grant(text: &str, good: SignedDuration) -> Grant {
        Grant {
            login: Login::Bearer(Redacted::new(text.to_owned())),
            expires: Timestamp::now() + good,
        }
    }

    fn asker(name: &str) -> Asker {
        Asker::new("ns", name)
    }

    /// Asks for `key`; what is brought if it is not kept is named after the number of bringings so far.
    async fn ask(tokens: &Tokens, key: &str, who: &str, good: SignedDuration, brought: &AtomicU64) -> String {
        let number = brought.load(Ordering::SeqCst) + 1;
        let given = {
            let text = format!("{key}{number}");
            async move { Ok(grant(&text, good)) }
        };
        let login = tokens.get(Key::of(key), &asker(who), given).await.unwrap();
        let Login::Bearer(text) = login else {
            panic!("another login")
        };
        if *text.expose() == format!("{key}{number}") {
            brought.fetch_add(1, Ordering::SeqCst);
        }
        text.expose().clone()
    }

    #[test]
    fn tokens_are_used_for_four_fifths_of_their_time_and_an_hour_at_most() {
        let check = |good: i64, most: u64, expected: u64| {
            let now = Timestamp::from_second(1_700_000_000).unwrap();
            let expires = now + SignedDuration::from_secs(good);
            assert_eq!(
                used(expires, now, Duration::from_secs(most)).as_secs(),
                expected,
                "{good} {most}"
            );
        };
        check(3600, 3600, 2880);
        check(900, 3600, 720);
        check(86_400, 3600, 3600);
        check(86_400, 86_400, 3600);
        check(3600, 60, 60);
        check(0, 3600, 0);
        check(-5, 3600, 0);
    }

    #[test]
    fn keys_know_where_their_parts_end() {
        let key = |parts: &[&str]| {
            let mut key = Key::of("github");
            parts.iter().for_each(|part| key.add(part));
            key.finish()
        };
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        assert_ne!(key(&["a", "b"]), key(&["ab"]));
        assert_ne!(key(&["a", "b"]), key(&["ab", ""]));
        assert_ne!(key(&[]), Key::of("azure").finish());
    }

    #[tokio::test]
    async fn what_is_good_is_brought_once_and_what_is_over_again() {
        let ((tokens, metrics), brought) = (tokens(100), AtomicU64::new(0));
        assert_eq!(ask(&tokens, "a", "one", HOUR, &brought).await, "a1");
        assert_eq!(ask(&tokens, "a", "one", HOUR, &brought).await, "a1");
        assert_eq!(ask(&tokens, "a", "two", HOUR, &brought).await, "a1");
        assert_eq!(ask(&tokens, "b", "two", SignedDuration::ZERO, &brought).await, "b2");
        assert_eq!(ask(&tokens, "b", "two", SignedDuration::ZERO, &brought).await, "b3");
        let text = metrics.encode();
        let of = |event: &str, name: &str| {
            let labels = format!(
                r#"event_type="{event}",kind="GitRepository",name="{name}",namespace="ns",operation="reconcile""#
            );
            format!("gotk_token_cache_events_total{{{labels}}}")
        };
        for line in [
            format!("{} 1", of("cache_miss", "one")),
            format!("{} 1", of("cache_hit", "one")),
            format!("{} 2", of("cache_miss", "two")),
            format!("{} 1", of("cache_hit", "two")),
            "gotk_token_cached_items 2".to_owned(),
            r#"gotk_token_cache_requests_total{status="success"} 5"#.to_owned(),
            "gotk_token_cache_evictions_total 0".to_owned(),
        ] {
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
    }

    #[tokio::test]
    async fn who_asks_at_the_same_time_waits_for_one_answer() {
        let (tokens, metrics) = tokens(100);
        let (gate, begun) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
        let fetch = |result: Result<Grant, Error>| {
            let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                gate.notified().await;
                result
            }
        };
        let get = |who: &'static str, result: Result<Grant, Error>| {
            let (tokens, fetch) = (&tokens, fetch(result));
            async move { tokens.get(Key::of("a"), &asker(who), fetch).await }
        };
        let open = async {
            // The others have asked when this is polled: they stand before it.
            gate.notify_one();
        };
        let refusal = Err(Error::Unsendable);
        let (one, two, ()) = futures::join!(get("one", refusal.clone()), get("two", Ok(grant("x", HOUR))), open);
        assert_eq!((one, two), (Err(Error::Unsendable), Err(Error::Unsendable)));
        assert_eq!(begun.load(Ordering::SeqCst), 1, "a refusal is waited for together");
        let open = async { gate.notify_one() };
        let (one, two, ()) = futures::join!(get("one", Ok(grant("y", HOUR))), get("two", refusal), open);
        assert_eq!(one, two);
        assert!(one.is_ok());
        assert_eq!(begun.load(Ordering::SeqCst), 2, "a refusal is not kept");
        let text = metrics.encode();
        for line in [
            r#"gotk_token_cache_requests_total{status="failure"} 2"#,
            r#"gotk_token_cache_requests_total{status="success"} 2"#,
            "gotk_token_cached_items 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_the_first_to_ask_is_gone() {
        let (tokens, _metrics) = tokens(100);
        let gate = Arc::new(Notify::new());
        let fetch = {
            let gate = Arc::clone(&gate);
            async move {
                gate.notified().await;
                Ok(grant("x", HOUR))
            }
        };
        let (first, second) = (asker("first"), asker("second"));
        let mut first = Box::pin(tokens.get(Key::of("a"), &first, fetch));
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(tokens.get(Key::of("a"), &second, async { Err(Error::Unsendable) }));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        gate.notify_one();
        assert_eq!(second.await, Ok(grant("x", HOUR).login));
    }

    #[tokio::test]
    async fn a_request_that_everybody_has_left_is_made_anew() {
        let (tokens, _metrics) = tokens(100);
        let (gate, begun) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
        let fetch = |text: &'static str| {
            let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                gate.notified().await;
                Ok(grant(text, HOUR))
            }
        };
        let (first, second) = (asker("first"), asker("second"));
        let mut left = Box::pin(tokens.get(Key::of("a"), &first, fetch("old")));
        assert!(futures::poll!(&mut left).is_pending());
        drop(left);
        gate.notify_one();
        let given = tokens.get(Key::of("a"), &second, fetch("new")).await;
        assert_eq!(given, Ok(grant("new", HOUR).login));
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        // What is left and never asked for again goes with the next that comes.
        let mut left = Box::pin(tokens.get(Key::of("b"), &first, fetch("old")));
        assert!(futures::poll!(&mut left).is_pending());
        drop(left);
        gate.notify_one();
        tokens.get(Key::of("c"), &second, fetch("other")).await.unwrap();
        assert_eq!(lock(&tokens.kept).slots.len(), 2);
    }

    #[tokio::test]
    async fn the_token_nobody_asked_for_the_longest_makes_room() {
        let ((tokens, metrics), brought) = (tokens(2), AtomicU64::new(0));
        for (key, expected) in [
            ("a", "a1"),
            ("b", "b2"),
            ("a", "a1"),
            ("c", "c3"),
            ("a", "a1"),
            ("b", "b4"),
        ] {
            assert_eq!(ask(&tokens, key, "one", HOUR, &brought).await, expected);
        }
        let text = metrics.encode();
        for line in ["gotk_token_cached_items 2", "gotk_token_cache_evictions_total 2"] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[tokio::test]
    async fn nothing_is_kept_where_no_room_is_given() {
        let ((tokens, metrics), brought) = (tokens(0), AtomicU64::new(0));
        assert_eq!(ask(&tokens, "a", "one", HOUR, &brought).await, "a1");
        assert_eq!(ask(&tokens, "a", "one", HOUR, &brought).await, "a2");
        tokens.forget(&asker("one"));
        assert!(!metrics.encode().contains("gotk_token"));
    }

    #[tokio::test]
    async fn tokens_go_with_the_last_object_that_used_them() {
        let ((tokens, metrics), brought) = (tokens(100), AtomicU64::new(0));
        ask(&tokens, "a", "one", HOUR, &brought).await;
        ask(&tokens, "a", "two", HOUR, &brought).await;
        ask(&tokens, "b", "two", HOUR, &brought).await;
        tokens.forget(&asker("two"));
        let text = metrics.encode();
        assert!(text.contains("gotk_token_cached_items 1"), "{text}");
        assert!(
            !text.contains(r#"name="two""#) && text.contains(r#"name="one""#),
            "{text}"
        );
        assert_eq!(ask(&tokens, "a", "one", HOUR, &brought).await, "a1");
        tokens.forget(&asker("one"));
        assert!(metrics.encode().contains("gotk_token_cached_items 0"));
    }
}
