//! Watches that are back within seconds of the API server's return.
//!
//! The library resumes a watch where it broke off, and starts over where that is too long ago; how long it pauses after
//! an error is decided here. Its own schedule grows to a minute between two attempts, and shrinks only when something
//! happens to the kind: an outage soon after another one, however short, would leave a controller blind for that long.
//! Pauses are spread by chance: a controller has a watch for every kind that it applies, and all of them end at once.
//!
//! What this module does not do: tell about errors.

use crate::client::is_outage;
use futures::{Stream, StreamExt};
use kube::Resource;
use kube::api::Api;
use kube::core::Status;
use kube::runtime::watcher;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// The first pause.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause while the API server is away or has no time.
const LONGEST_AWAY: Duration = Duration::from_secs(4);
/// The longest pause while it refuses: rights and definitions change rarely.
const LONGEST_REFUSED: Duration = Duration::from_secs(30);
/// An error so long after the end of the last pause has nothing to do with the one before.
const CALM: Duration = Duration::from_secs(60);

/// Watches a kind as the library does, with pauses after errors that are short while the API server is away.
pub fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let start = (Box::pin(watcher(api, config)), Pauses::default(), None);
    futures::stream::unfold(start, |(mut events, mut pauses, pause)| async move {
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        let event = events.next().await?;
        let failed = event.as_ref().err().map(Trouble::of);
        let now = tokio::time::Instant::now().into_std();
        let pause = failed.map(|trouble| spread(pauses.after(trouble, now)));
        Some((event, (events, pauses, pause)))
    })
}

/// Why a watch fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The API server is away or has no time: it will be back.
    Away,
    /// It is back, and does not know any more what happened since: everything has to be listed.
    Expired,
    /// It refuses, or does not serve the kind.
    Refused,
}

impl Trouble {
    /// What an error of a watch means.
    pub fn of(error: &watcher::Error) -> Self {
        match (error, answer(error)) {
            // Also of a list: it takes too long to read all its pages.
            (_, Some(status)) if status.code == 410 => Trouble::Expired,
            // Otherwise a watch that was accepted ends because the API server does.
            (watcher::Error::WatchError(status), _) if !matches!(status.code, 401 | 403) => Trouble::Away,
            (
                watcher::Error::InitialListFailed(error)
                | watcher::Error::WatchStartFailed(error)
                | watcher::Error::WatchFailed(error),
                _,
            ) if is_outage(error) => Trouble::Away,
            _ => Trouble::Refused,
        }
    }
}

/// What the API server answered, where it did.
pub fn answer(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::WatchError(status)
        | watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => None,
    }
}

/// The pause that is made: between half of it and all of it, by chance.
pub fn spread(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// The pauses of one watch: half a second, doubling up to a limit as long as the same trouble goes on. No clock: the
/// caller brings the time.
#[derive(Debug, Default)]
pub struct Pauses {
    last: Option<Pause>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    trouble: Trouble,
    length: Duration,
    end: Instant,
}

impl Pauses {
    /// The pause after an error.
    pub fn after(&mut self, trouble: Trouble, now: Instant) -> Duration {
        let longest = match trouble {
            Trouble::Away | Trouble::Expired => LONGEST_AWAY,
            Trouble::Refused => LONGEST_REFUSED,
        };
        let same = |last: &Pause| last.trouble == trouble && now.saturating_duration_since(last.end) < CALM;
        let length = match self.last.filter(same) {
            Some(last) => last.length.saturating_mul(2).min(longest),
            None => FIRST,
        };
        self.last = Some(Pause {
            trouble,
            length,
            end: now + length,
        });
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Trouble::{Away, Expired, Refused};
    use api::source::GitRepository;
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    /// Errors, each so many seconds after the end of the pause before it, and the pauses they lead to in milliseconds.
    #[track_caller]
    fn check(errors: &[(u64, Trouble)], expected: &[u128]) {
        let (mut pauses, mut now) = (Pauses::default(), Instant::now());
        let pauses = errors.iter().map(|(seconds, trouble)| {
            now += Duration::from_secs(*seconds);
            let pause = pauses.after(*trouble, now);
            now += pause;
            pause.as_millis()
        });
        assert_eq!(pauses.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn pauses_double_and_are_never_long_while_the_api_server_is_away() {
        check(&[(0, Away); 7], &[500, 1000, 2000, 4000, 4000, 4000, 4000]);
        check(&[(0, Refused); 8], &[500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
    }

    #[test]
    fn other_trouble_and_trouble_after_a_calm_minute_begin_anew() {
        check(
            &[
                (0, Away),
                (0, Away),
                (0, Expired),
                (0, Refused),
                (0, Refused),
                (0, Away),
            ],
            &[500, 1000, 500, 500, 1000, 500],
        );
        check(&[(0, Away), (59, Away), (60, Away)], &[500, 1000, 500]);
    }

    #[test]
    fn an_error_means_an_outage_a_gap_or_a_refusal() {
        let told = |code: u16| Status::failure("no", "Because").with_code(code).boxed();
        let check = |error: watcher::Error, expected| assert_eq!(Trouble::of(&error), expected, "{error}");
        for (code, expected) in [
            (401, Refused),
            (403, Refused),
            (404, Refused),
            (405, Refused),
            (410, Expired),
            (429, Away),
            (500, Refused),
            (503, Away),
        ] {
            check(
                watcher::Error::InitialListFailed(kube::Error::Api(told(code))),
                expected,
            );
        }
        check(watcher::Error::WatchError(told(410)), Expired);
        check(watcher::Error::WatchError(told(500)), Away);
        check(watcher::Error::WatchError(told(403)), Refused);
        check(watcher::Error::WatchError(told(401)), Refused);
        check(watcher::Error::WatchStartFailed(kube::Error::Api(told(410))), Expired);
        check(watcher::Error::NoResourceVersion, Refused);
        let cut = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        check(watcher::Error::WatchFailed(kube::Error::ReadEvents(cut)), Away);
    }

    #[test]
    fn pauses_differ_by_chance_and_are_never_longer_or_less_than_half() {
        let pauses: Vec<_> = (0..100).map(|_| spread(LONGEST_AWAY)).collect();
        assert!(
            pauses
                .iter()
                .all(|pause| (LONGEST_AWAY / 2..=LONGEST_AWAY).contains(pause)),
            "{pauses:?}"
        );
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
    }

    /// A client of an API server that lists nothing, refuses connections until an hour has passed after the list, and
    /// has one event to tell from then on.
    fn away_for_an_hour() -> (kube::Client, tokio::time::Instant) {
        let back = tokio::time::Instant::now() + Duration::from_secs(3600);
        let server = tower::service_fn(move |request: Request<Body>| async move {
            let metadata = json!({ "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "2" });
            let answer = match request.uri().query() {
                Some(query) if !query.contains("watch=true") => {
                    json!({ "kind": "GitRepositoryList", "metadata": { "resourceVersion": "1" }, "items": [] })
                }
                _ if tokio::time::Instant::now() < back => return Err(tower::BoxError::from("connection refused")),
                _ => json!({ "type": "ADDED", "object": {
                    "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": metadata,
                    "spec": { "url": "https://host/r", "interval": "1m" },
                } }),
            };
            Ok(Response::new(Body::from(format!("{answer}\n").into_bytes())))
        });
        (kube::Client::new(server, "default"), back)
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_is_back_seconds_after_an_hour_without_an_api_server() {
        let (client, back) = away_for_an_hour();
        let mut events = Box::pin(watch(Api::<GitRepository>::all(client), watcher::Config::default()));
        let mut failures = 0;
        loop {
            match events.next().await.unwrap() {
                Err(_) => failures += 1,
                Ok(watcher::Event::Apply(_)) => break,
                Ok(_) => {}
            }
        }
        let late = tokio::time::Instant::now() - back;
        assert!(late <= LONGEST_AWAY, "{late:?} after {failures} failures");
        assert!(failures > 800, "{failures}");
    }
}
