//! Leader election by a `coordination.k8s.io/v1` Lease, with Flux's names and timing.
//!
//! A candidate takes a lease that is free, released or has not been renewed for its duration, as seen by its own
//! clock since it last saw the lease change, so that clocks of different machines need not agree. Every write names
//! the resource version it is based on: of two candidates one wins. A leader that cannot renew within the deadline
//! says so, and the process ends: it must not work beside the next leader. One that could not even notice, because it
//! was stopped, is kept from writing by its [`Fence`], which closes when the deadline is over: what is on its way then
//! has the rest of the lease's duration to arrive before the next leader begins.
//!
//! What this module does not do: call back writes that have left the process when a lease is lost.

pub use crate::fence::{Closed, Fence};

use crate::fence::Moment;
use api::Duration as GoDuration;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The timing of an election.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long others wait for a lease that is not renewed.
    pub duration: Duration,
    /// How long a leader tries to renew.
    pub deadline: Duration,
    /// The pause between attempts.
    pub retry: Duration,
}

impl Timing {
    /// The timing given by flags.
    ///
    /// # Errors
    /// A leader that could go on beside the next one, or would have no time to renew: the retry period has to be
    /// shorter than the renew deadline, and that shorter than the lease duration.
    pub fn new(duration: GoDuration, deadline: GoDuration, retry: GoDuration) -> Result<Self, String> {
        if deadline >= duration {
            return Err(format!(
                "--leader-election-renew-deadline={deadline} must be shorter than --leader-election-lease-duration={duration}"
            ));
        }
        if retry >= deadline || retry.is_zero() {
            return Err(format!(
                "--leader-election-retry-period={retry} must be longer than nothing and shorter than --leader-election-renew-deadline={deadline}"
            ));
        }
        Ok(Timing {
            duration: duration.std(),
            deadline: deadline.std(),
            retry: retry.std(),
        })
    }
}

/// How long giving up a lease may take.
const RELEASE: Duration = Duration::from_secs(2);

/// A lease that was got; [`Candidate::hold`] keeps it.
#[derive(Debug)]
pub struct Held {
    /// When the last write that the API server took was begun: others count from no earlier moment.
    renewed: Instant,
}

/// What a process stands for in an election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elected {
    /// The name of the lease, in the namespace of the process.
    pub lease: String,
    /// What the lease names as its holder while this process leads: no other process ever has the same.
    pub identity: String,
}

/// A candidate for a lease.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
    fence: Fence,
}

/// What a candidate knows of the lease.
struct Seen {
    version: Option<String>,
    at: Instant,
}

impl Seen {
    fn nothing() -> Self {
        Seen {
            version: None,
            at: Instant::now(),
        }
    }
}

impl Candidate {
    /// A candidate for the named lease in a namespace. Its client must not be behind its own [`fence`](Self::fence).
    pub fn new(client: Client, namespace: &str, name: String, timing: Timing) -> Self {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "localhost".to_owned());
        let identity = format!("{host}_{:016x}", fastrand::u64(..));
        Candidate {
            api: Api::namespaced(client, namespace),
            name,
            identity,
            timing,
            fence: Fence::closed(),
        }
    }

    /// What keeps this process from writing while it does not hold the lease.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// The lease, and the identity that tells this candidate from every other one.
    pub fn elected(&self) -> Elected {
        Elected {
            lease: self.name.clone(),
            identity: self.identity.clone(),
        }
    }

    /// Waits until the lease is ours, and opens the fence then; nothing when shutdown comes first.
    pub async fn acquire(&self, shutdown: &CancellationToken) -> Option<Held> {
        let mut seen = Seen::nothing();
        loop {
            let begun = Moment::now();
            let attempt = tokio::time::timeout(self.timing.deadline, self.attempt(&mut seen));
            let Some(answer) = shutdown.run_until_cancelled(attempt).await else {
                // The API server may have taken the write that nobody waits for any more.
                self.give_up().await;
                return None;
            };
            match answer {
                Ok(Ok(true)) => {
                    self.fence.renewed(begun, self.timing.deadline);
                    return Some(Held {
                        renewed: begun.monotonic,
                    });
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::info!(%error, lease = self.name, "cannot get the lease, will try again"),
                Err(_) => tracing::info!(lease = self.name, "no answer about the lease, will try again"),
            }
            shutdown
                .run_until_cancelled(tokio::time::sleep(self.timing.retry))
                .await?;
        }
    }

    /// Renews the lease until it is lost. Never returns before.
    ///
    /// It is lost when somebody else holds it, or could not be renewed within the deadline. The fence moves with every
    /// renewal and is closed for good in the end.
    pub async fn hold(&self, held: Held) {
        self.renew(held).await;
        self.fence.lost();
    }

    async fn renew(&self, held: Held) {
        let mut seen = Seen::nothing();
        let mut renewed = held.renewed;
        loop {
            let left = self.timing.deadline.saturating_sub(renewed.elapsed());
            tokio::time::sleep(self.timing.retry.min(left)).await;
            let begun = Moment::now();
            let left = self.timing.deadline.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left, self.attempt(&mut seen)).await {
                Ok(Ok(true)) => {
                    renewed = begun.monotonic;
                    self.fence.renewed(begun, self.timing.deadline);
                }
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::info!(%error, lease = self.name, "cannot renew the lease, will try again"),
                Err(_) => {}
            }
            if renewed.elapsed() >= self.timing.deadline {
                return;
            }
        }
    }

    /// Gives the lease up if it is ours, so that others need not wait for its duration. Takes two seconds at most.
    pub async fn give_up(&self) {
        let error = match tokio::time::timeout(RELEASE, self.release()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::info!(
            error,
            lease = self.name,
            "cannot release the lease: others wait for its duration"
        );
    }

    /// Takes or renews the lease if that is possible now; false when somebody else holds it. A write that meets
    /// another one is an error: who holds the lease then shows at the next attempt.
    async fn attempt(&self, seen: &mut Seen) -> Result<bool, kube::Error> {
        let now = MicroTime(Timestamp::now());
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let spec = LeaseSpec {
                acquire_time: Some(now),
                lease_transitions: Some(0),
                ..LeaseSpec::default()
            };
            let metadata = ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            };
            let lease = Lease {
                metadata,
                spec: Some(self.stamped(spec)),
            };
            return self.api.create(&PostParams::default(), &lease).await.map(|_| true);
        };
        if lease.metadata.resource_version != seen.version {
            *seen = Seen {
                version: lease.metadata.resource_version.clone(),
                at: Instant::now(),
            };
        }
        let mut spec = lease.spec.take().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let theirs = Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(1)).unwrap_or(1));
        if holder != self.identity {
            if !holder.is_empty() && seen.at.elapsed() < theirs {
                return Ok(false);
            }
            spec.acquire_time = Some(now);
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0) + 1);
        }
        lease.spec = Some(self.stamped(spec));
        let written = self.api.replace(&self.name, &PostParams::default(), &lease).await;
        written.map(|_| true)
    }

    fn stamped(&self, spec: LeaseSpec) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            renew_time: Some(MicroTime(Timestamp::now())),
            lease_duration_seconds: Some(whole_seconds(self.timing.duration)),
            ..spec
        }
    }

    async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            return Ok(());
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return Ok(());
        }
        // An empty holder and a duration of a second: what client-go writes, and takes for free.
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        self.api
            .replace(&self.name, &PostParams::default(), &lease)
            .await
            .map(drop)
    }
}

/// The duration as others read it: rounded up, so that they wait no shorter than this candidate counts on.
fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Request, Response};
    use kube::client::Body;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    #[track_caller]
    fn check(duration: &str, deadline: &str, retry: &str, expected: Result<i32, &str>) {
        let timing = Timing::new(
            duration.parse().unwrap(),
            deadline.parse().unwrap(),
            retry.parse().unwrap(),
        );
        let seconds = timing.map(|timing| whole_seconds(timing.duration));
        assert_eq!(
            seconds.as_ref().map_err(String::as_str),
            expected.as_ref().map_err(|text| *text)
        );
    }

    #[test]
    fn a_timing_leaves_room_to_renew_and_ends_before_others_begin() {
        check("35s", "30s", "5s", Ok(35));
        check("1500ms", "1s", "100ms", Ok(2));
        check(
            "30s",
            "30s",
            "5s",
            Err("--leader-election-renew-deadline=30s must be shorter than --leader-election-lease-duration=30s"),
        );
        check(
            "35s",
            "30s",
            "30s",
            Err(
                "--leader-election-retry-period=30s must be longer than nothing and shorter than --leader-election-renew-deadline=30s",
            ),
        );
        check(
            "35s",
            "30s",
            "0s",
            Err(
                "--leader-election-retry-period=0s must be longer than nothing and shorter than --leader-election-renew-deadline=30s",
            ),
        );
    }

    /// An API server with one lease that refuses the first so many writes because of a conflict.
    fn candidate(conflicts: u32, timing: Timing) -> (Candidate, Arc<Mutex<Option<Lease>>>, Arc<AtomicU32>) {
        let (lease, writes) = (Arc::<Mutex<Option<Lease>>>::default(), Arc::new(AtomicU32::new(0)));
        let (kept, counted) = (Arc::clone(&lease), Arc::clone(&writes));
        let server = tower::service_fn(move |request: Request<Body>| {
            let (kept, counted) = (Arc::clone(&kept), Arc::clone(&counted));
            async move {
                let (method, bytes) = (request.method().clone(), request.into_body().collect_bytes().await?);
                let refused = |code: u16, reason: &str| {
                    let status = serde_json::json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason });
                    Response::builder()
                        .status(code)
                        .body(Body::from(status.to_string().into_bytes()))
                };
                if method != Method::GET {
                    if counted.fetch_add(1, Ordering::SeqCst) < conflicts {
                        return Ok::<_, tower::BoxError>(refused(409, "Conflict")?);
                    }
                    *crate::lock(&kept) = Some(serde_json::from_slice(&bytes)?);
                }
                match &*crate::lock(&kept) {
                    Some(lease) => Ok(Response::new(Body::from(serde_json::to_vec(lease)?))),
                    None => Ok(refused(404, "NotFound")?),
                }
            }
        });
        let client = Client::new(server, "default");
        (Candidate::new(client, "default", "test".into(), timing), lease, writes)
    }

    const QUICK: Timing = Timing {
        duration: Duration::from_secs(120),
        deadline: Duration::from_secs(60),
        retry: Duration::from_millis(1),
    };

    fn held() -> Held {
        Held {
            renewed: Instant::now(),
        }
    }

    #[tokio::test]
    async fn a_conflict_is_tried_again_and_only_another_holder_ends_the_lead() {
        let (candidate, lease, writes) = candidate(3, QUICK);
        let mut hold = Box::pin(candidate.hold(held()));
        tokio::select! {
            () = &mut hold => panic!("lost"),
            () = async { while writes.load(Ordering::SeqCst) < 5 { tokio::task::yield_now().await } } => {}
        }
        let mut theirs = crate::lock(&lease).clone().unwrap();
        theirs.spec.get_or_insert_default().holder_identity = Some("somebody".into());
        // A renewal that is under way may still overwrite it, which the real API server refuses.
        tokio::select! {
            () = hold => {}
            () = async { loop { *crate::lock(&lease) = Some(theirs.clone()); tokio::task::yield_now().await } } => {}
        }
    }

    #[tokio::test]
    async fn conflicts_without_end_lose_the_lead_at_the_deadline() {
        let timing = Timing {
            deadline: Duration::from_millis(30),
            ..QUICK
        };
        let (candidate, _, writes) = candidate(u32::MAX, timing);
        let held = held();
        let begun = held.renewed;
        candidate.hold(held).await;
        assert!(begun.elapsed() >= timing.deadline);
        assert!(writes.load(Ordering::SeqCst) > 1);
        assert_eq!(candidate.fence().check(), Err(Closed::Lost));
    }

    #[tokio::test]
    async fn the_fence_opens_with_the_lease_moves_with_renewals_and_closes_with_the_loss() {
        let (candidate, lease, writes) = candidate(0, QUICK);
        let fence = candidate.fence();
        assert_eq!(fence.check(), Err(Closed::Awaited));
        let held = candidate.acquire(&CancellationToken::new()).await.unwrap();
        assert_eq!(fence.check(), Ok(()));
        // As if the process had been stopped since: the next renewal tells that it leads all the same.
        fence.renewed(Moment::ago(QUICK.duration), QUICK.deadline);
        assert!(matches!(fence.check(), Err(Closed::Passed { .. })));
        let mut hold = Box::pin(candidate.hold(held));
        let before = writes.load(Ordering::SeqCst);
        tokio::select! {
            () = &mut hold => panic!("lost"),
            () = async { while writes.load(Ordering::SeqCst) < before + 2 { tokio::task::yield_now().await } } => {}
        }
        assert_eq!(fence.check(), Ok(()));
        let mut theirs = crate::lock(&lease).clone().unwrap();
        theirs.spec.get_or_insert_default().holder_identity = Some("somebody".into());
        tokio::select! {
            () = hold => {}
            () = async { loop { *crate::lock(&lease) = Some(theirs.clone()); tokio::task::yield_now().await } } => {}
        }
        assert_eq!(fence.check(), Err(Closed::Lost));
    }

    #[tokio::test]
    async fn a_candidate_that_gets_no_answer_ends_at_shutdown() {
        let silent =
            tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, tower::BoxError>>());
        let candidate = Candidate::new(Client::new(silent, "default"), "default", "test".into(), QUICK);
        let shutdown = CancellationToken::new();
        let (acquired, ()) = tokio::join!(candidate.acquire(&shutdown), async { shutdown.cancel() });
        assert!(acquired.is_none());
    }
}
