//! Runs what a [`Queue`] says is next, until there is nobody any more who could wake anything.
//!
//! What waits costs its name only: a task is made for what runs, never for what waits.

use crate::metrics::Waiting;
use crate::queue::Queue;
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use std::future::Future;
use std::hash::Hash;
use std::pin::pin;
use std::time::{Duration, Instant};

/// Works until the triggers end and what runs has finished; no run starts before `ready`, or after the triggers' end.
///
/// `start` makes the run of an item, or says that there is nothing to run. A run ends with the time after which it
/// wants to be repeated.
pub(crate) async fn work<T, F>(
    mut queue: Queue<T>,
    triggers: impl Stream<Item = T>,
    ready: impl Future<Output = ()>,
    mut start: impl FnMut(&T) -> Option<F>,
    waiting: Waiting,
) where
    T: Clone + Eq + Hash,
    F: Future<Output = Option<Duration>>,
{
    let mut triggers = pin!(triggers);
    let mut ready = pin!(ready);
    let mut running = FuturesUnordered::new();
    let (mut is_ready, mut is_open) = (false, true);
    loop {
        if is_open && is_ready {
            let now = Instant::now();
            queue.pass(now);
            while let Some((item, waited)) = queue.take(now) {
                waiting.began(waited);
                match start(&item) {
                    Some(run) => running.push(async move { (item, run.await) }),
                    None => queue.finish(item, None, now),
                }
            }
        }
        waiting.changed(queue.depth(), queue.added());
        if !is_open && running.is_empty() {
            return;
        }
        let next = queue.next().filter(|_| is_open && is_ready);
        let time = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            trigger = triggers.next(), if is_open => match trigger {
                Some(item) => queue.wake(item, Instant::now()),
                None => is_open = false,
            },
            Some((item, after)) = running.next() => queue.finish(item, after, Instant::now()),
            () = ready.as_mut(), if !is_ready => is_ready = true,
            () = time => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use futures::FutureExt;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    /// Works on what the sender names; `long…` end with the gate, the others at once. Gives what has ended, and cancels
    /// `over` when the loop knows that the sender is gone.
    fn begin(
        places: usize,
        gate: &CancellationToken,
        over: &CancellationToken,
    ) -> (mpsc::UnboundedSender<String>, mpsc::UnboundedReceiver<String>) {
        let (wake, woken) = mpsc::unbounded_channel();
        let (ended, done) = mpsc::unbounded_channel();
        let (gate, over) = (gate.clone(), over.clone());
        let start = move |item: &String| {
            let (item, ended, gate) = (item.clone(), ended.clone(), gate.clone());
            Some(
                async move {
                    if item.starts_with("long") {
                        gate.cancelled().await;
                    }
                    let _ = ended.send(item);
                    None
                }
                .boxed(),
            )
        };
        let triggers = futures::stream::unfold((woken, over), |(mut woken, over)| async move {
            let Some(item): Option<String> = woken.recv().await else {
                over.cancel();
                return None;
            };
            Some((item, (woken, over)))
        });
        let queue = Queue::new(places, Duration::from_millis(5));
        let waiting = Metrics::default().waiting("test");
        tokio::spawn(work(queue, triggers, std::future::ready(()), start, waiting));
        (wake, done)
    }

    #[tokio::test]
    async fn long_runs_on_every_place_do_not_hold_up_short_ones() {
        let gate = CancellationToken::new();
        let (wake, mut done) = begin(2, &gate, &CancellationToken::new());
        for item in ["long1", "long2"] {
            wake.send(item.into()).unwrap();
        }
        for number in 0..100 {
            wake.send(format!("short{number}")).unwrap();
        }
        for _ in 0..100 {
            assert!(done.recv().await.unwrap().starts_with("short"));
        }
        gate.cancel();
        let mut long = [done.recv().await.unwrap(), done.recv().await.unwrap()];
        long.sort();
        assert_eq!(long, ["long1", "long2"]);
    }

    #[tokio::test]
    async fn what_runs_at_the_end_is_finished_and_what_waits_is_not_begun() {
        let (gate, over) = (CancellationToken::new(), CancellationToken::new());
        let (wake, mut done) = begin(1, &gate, &over);
        // As many long ones as there can be: the rest has no place.
        for item in ["short", "long1", "long2", "short2"] {
            wake.send(item.into()).unwrap();
        }
        assert_eq!(done.recv().await.unwrap(), "short");
        drop(wake);
        over.cancelled().await;
        gate.cancel();
        let mut rest = Vec::new();
        while let Some(item) = done.recv().await {
            rest.push(item);
        }
        assert!(rest.contains(&"long1".to_owned()), "{rest:?}");
        assert!(rest.iter().all(|item| item.starts_with("long")), "{rest:?}");
    }

    #[tokio::test]
    async fn nothing_runs_before_everything_is_known() {
        let (wake, woken) = futures::channel::mpsc::unbounded();
        let known = CancellationToken::new();
        let (ran, mut runs) = mpsc::unbounded_channel();
        let start = |_: &&str| {
            let _ = ran.send(known.is_cancelled());
            Some(std::future::ready(None))
        };
        let queue = Queue::new(1, Duration::from_secs(1));
        let working = work(
            queue,
            woken,
            known.clone().cancelled_owned(),
            start,
            Metrics::default().waiting("test"),
        );
        let waking = async {
            wake.unbounded_send("a").unwrap();
            tokio::task::yield_now().await;
            known.cancel();
            assert_eq!(runs.recv().await, Some(true));
            drop(wake);
        };
        futures::join!(working, waking);
    }
}
