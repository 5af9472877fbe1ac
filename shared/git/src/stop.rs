//! When to give up: one deadline and one cancellation over everything that an operation waits for or works on.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// Why something was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The time was up.
    Deadline,
    /// Nobody wants the result any more.
    Cancelled,
}

/// The end of an operation; clones share it. The operation blocks, what it waits for is asynchronous: this joins the two.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runtime: Handle,
    deadline: Instant,
    token: CancellationToken,
    flag: Arc<AtomicBool>,
    watch: AbortHandle,
}

impl Stop {
    /// Ends after `timeout` or as soon as `token` is cancelled.
    pub fn new(runtime: Handle, timeout: Duration, token: CancellationToken) -> Self {
        let deadline = Instant::now() + timeout;
        let flag = Arc::new(AtomicBool::new(false));
        let watched = (token.clone(), Arc::clone(&flag));
        let watch = runtime.spawn(async move {
            let (token, flag) = watched;
            let _ = timeout_at(deadline, token.cancelled()).await;
            flag.store(true, Ordering::Relaxed);
        });
        Self(Arc::new(Inner {
            runtime,
            deadline,
            token,
            flag,
            watch: watch.abort_handle(),
        }))
    }

    /// Set once the operation is over; for work that looks at it from time to time.
    pub fn flag(&self) -> &AtomicBool {
        &self.0.flag
    }

    /// Whether the operation is over.
    pub fn has_ended(&self) -> bool {
        self.0.flag.load(Ordering::Relaxed)
    }

    /// Waits for something, at most until the end. Must not be called from a task: it blocks the thread.
    pub fn wait<T>(&self, awaited: impl Future<Output = T>) -> Result<T, Ended> {
        self.0.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.0.token.cancelled() => Err(Ended::Cancelled),
                result = timeout_at(self.0.deadline, awaited) => result.map_err(|_| Ended::Deadline),
            }
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
