//! The present state of all objects of a kind in a namespace, kept by one watch, and waiting for something to hold for
//! many of them. Each object is looked at when it changes, so that waiting for ten thousand costs no more than their
//! changes do.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::tests::namespace::Object;
use anyhow::{Result, anyhow, bail};
use futures::{StreamExt, TryStreamExt};
use kube::Api;
use kube::runtime::watcher::{self, Event};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The watch and what it has seen.
pub struct Board<K> {
    state: Arc<Mutex<State<K>>>,
    watch: JoinHandle<()>,
}

struct State<K> {
    objects: HashMap<String, K>,
    /// The objects of a list that is under way.
    listed: HashSet<String>,
    waits: Vec<Wait<K>>,
    /// Who waits for the first list.
    begun: Option<oneshot::Sender<()>>,
    /// What the watch ended with.
    error: Option<String>,
}

/// How long nothing may happen before a wait is given up: longer than any back-off or timer of the contestants.
const STALLED: Duration = Duration::from_secs(180);

type Condition<K> = Box<dyn Fn(Option<&K>) -> bool + Send>;

struct Wait<K> {
    pending: HashSet<String>,
    holds: Condition<K>,
    times: Vec<(String, Instant)>,
    done: Option<oneshot::Sender<Vec<(String, Instant)>>>,
}

impl<K: Object> Board<K> {
    /// Starts the watch and waits for its first list.
    pub async fn start(api: Api<K>) -> Result<Self> {
        let (begun, first_list) = oneshot::channel();
        let state = Arc::new(Mutex::new(State {
            objects: HashMap::new(),
            listed: HashSet::new(),
            waits: Vec::new(),
            begun: Some(begun),
            error: None,
        }));
        let watch = tokio::spawn(follow(api, state.clone()));
        let board = Self { state, watch };
        first_list
            .await
            .map_err(|_| anyhow!("the watch ended before its first list"))?;
        Ok(board)
    }

    /// Begins to wait until something holds for each of the objects; `None` is an object that does not exist. What
    /// happens from now on is seen, also before [`Awaited::within`] is called.
    pub fn expect(
        &self,
        names: impl IntoIterator<Item = String>,
        holds: impl Fn(Option<&K>) -> bool + Send + 'static,
    ) -> Awaited<K> {
        let (done, times) = oneshot::channel();
        let mut wait = Wait {
            pending: names.into_iter().collect(),
            holds: Box::new(holds),
            times: Vec::new(),
            done: Some(done),
        };
        let mut state = lock(&self.state);
        for name in wait.pending.clone() {
            wait.look(&name, state.objects.get(&name));
        }
        wait.tell();
        state.waits.push(wait);
        Awaited {
            state: self.state.clone(),
            times,
        }
    }
}

impl<K> Drop for Board<K> {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Something that is waited for.
pub struct Awaited<K> {
    state: Arc<Mutex<State<K>>>,
    times: oneshot::Receiver<Vec<(String, Instant)>>,
}

impl<K: Object> Awaited<K> {
    /// When it came to hold for each object, in this order. At the deadline, or when it has come to hold for no further
    /// object for [`STALLED`], an error that shows one of those for which it does not.
    pub async fn within(mut self, limit: Duration, what: &str) -> Result<Vec<(String, Instant)>> {
        let start = Instant::now();
        let (mut held, mut last) = (0, start);
        while start.elapsed() < limit && last.elapsed() < STALLED {
            match tokio::time::timeout(Duration::from_secs(1), &mut self.times).await {
                Ok(Ok(times)) => return Ok(times),
                Ok(Err(_)) => {
                    let error = lock(&self.state).error.clone().unwrap_or_default();
                    bail!("the watch ended while waiting for {what}: {error}");
                }
                Err(_) => {}
            }
            let now = lock(&self.state).held();
            if now != held {
                (held, last) = (now, Instant::now());
            }
        }
        let waited = start.elapsed().as_secs();
        let state = lock(&self.state);
        let open = state
            .waits
            .iter()
            .find(|wait| wait.done.is_some() && !wait.pending.is_empty());
        let Some((wait, name)) = open.and_then(|wait| Some((wait, wait.pending.iter().min()?))) else {
            bail!("waited {waited} s in vain for {what}");
        };
        let instead = match state.objects.get(name) {
            Some(object) => ::tests::wait::yaml(object),
            None => "it does not exist".to_owned(),
        };
        bail!(
            "waited {waited} s in vain for {what}: {} are left of {}\n{name}: {instead}",
            wait.pending.len(),
            wait.pending.len() + wait.times.len()
        )
    }
}

impl<K> Wait<K> {
    fn look(&mut self, name: &str, object: Option<&K>) {
        if self.pending.contains(name) && (self.holds)(object) {
            self.pending.remove(name);
            self.times.push((name.to_owned(), Instant::now()));
        }
    }

    fn tell(&mut self) {
        if self.pending.is_empty()
            && let Some(done) = self.done.take()
        {
            let _ = done.send(std::mem::take(&mut self.times));
        }
    }
}

impl<K: Object> State<K> {
    /// For how many objects what is waited for holds, in all waits.
    fn held(&self) -> usize {
        self.waits.iter().map(|wait| wait.times.len()).sum()
    }

    fn take(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => {
                self.listed.insert(name_of(&object));
                self.put(object);
            }
            Event::InitDone => {
                let gone: Vec<String> = self
                    .objects
                    .keys()
                    .filter(|name| !self.listed.contains(*name))
                    .cloned()
                    .collect();
                for name in gone {
                    self.remove(&name);
                }
                if let Some(begun) = self.begun.take() {
                    let _ = begun.send(());
                }
            }
            Event::Apply(object) => self.put(object),
            Event::Delete(object) => self.remove(&name_of(&object)),
        }
        for wait in &mut self.waits {
            wait.tell();
        }
        // Who gave up has dropped the other end.
        self.waits
            .retain(|wait| wait.done.as_ref().is_some_and(|done| !done.is_closed()));
    }

    fn put(&mut self, object: K) {
        let name = name_of(&object);
        for wait in &mut self.waits {
            wait.look(&name, Some(&object));
        }
        self.objects.insert(name, object);
    }

    fn remove(&mut self, name: &str) {
        for wait in &mut self.waits {
            wait.look(name, None);
        }
        self.objects.remove(name);
    }
}

async fn follow<K: Object>(api: Api<K>, state: Arc<Mutex<State<K>>>) {
    let mut failures = 0;
    let mut events = watcher::watcher(api, watcher::Config::default()).boxed();
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                failures = 0;
                lock(&state).take(event);
            }
            Ok(None) => break,
            Err(error) => {
                failures += 1;
                if failures > 20 {
                    lock(&state).error = Some(error.to_string());
                    break;
                }
            }
        }
    }
    let mut state = lock(&state);
    state.begun = None;
    state.waits.clear();
}

fn name_of<K: Object>(object: &K) -> String {
    object.meta().name.clone().unwrap_or_default()
}

fn lock<K>(state: &Mutex<State<K>>) -> MutexGuard<'_, State<K>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn map(name: &str, ready: bool) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.to_owned());
        map.immutable = Some(ready);
        map
    }

    fn check(events: Vec<Event<ConfigMap>>, expected: Option<&[&str]>) {
        let (done, mut times) = oneshot::channel();
        let mut state = State {
            objects: HashMap::new(),
            listed: HashSet::new(),
            waits: vec![Wait {
                pending: ["a".to_owned(), "b".to_owned()].into(),
                holds: Box::new(|map: Option<&ConfigMap>| map.is_none_or(|map| map.immutable == Some(true))),
                times: Vec::new(),
                done: Some(done),
            }],
            begun: None,
            error: None,
        };
        for event in events {
            state.take(event);
        }
        let order = times.try_recv().ok();
        let order: Option<Vec<&str>> = order
            .as_ref()
            .map(|times| times.iter().map(|(name, _)| name.as_str()).collect());
        assert_eq!(order.as_deref(), expected);
        assert_eq!(state.waits.is_empty(), expected.is_some());
    }

    #[test]
    fn a_wait_ends_when_it_holds_for_every_object() {
        check(
            vec![
                Event::Apply(map("a", false)),
                Event::Apply(map("b", true)),
                Event::Apply(map("c", true)),
                Event::Apply(map("a", true)),
            ],
            Some(&["b", "a"]),
        );
    }

    #[test]
    fn one_object_is_not_all() {
        check(vec![Event::Apply(map("a", true)), Event::Apply(map("b", false))], None);
    }

    #[test]
    fn an_object_that_is_missing_in_a_new_list_is_gone() {
        check(
            vec![
                Event::Apply(map("a", false)),
                Event::Apply(map("b", true)),
                Event::Init,
                Event::InitApply(map("b", true)),
                Event::InitDone,
            ],
            Some(&["b", "a"]),
        );
    }
}
