//! What proxies saw: every request that may have changed something, who leads, and what went wrong by request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::http::Uri;
use serde_json::Value;

use super::lock;

/// A request that may have changed something, as a proxy saw it.
#[derive(Clone, Debug)]
pub struct Write {
    /// The proxy's name.
    pub proxy: String,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// Whether it was only a trial.
    pub dry_run: bool,
    /// When the proxy had the whole request.
    pub begun: Instant,
    /// When the API server answered; nothing if it did not.
    pub ended: Option<Instant>,
    /// The API server's answer; nothing if there was none or the proxy answered in its place.
    pub status: Option<u16>,
    /// For a Lease: the holder it was written with.
    pub holder: Option<String>,
}

/// Writes of a Lease that are further apart belong to two reigns: the shortest time for which anybody takes one.
const RENEWAL: Duration = Duration::from_secs(4);

/// From when to when one process wrote itself into a Lease again and again.
#[derive(Clone, Debug)]
pub struct Reign {
    /// Whom it named.
    pub holder: String,
    /// When it first did.
    pub from: Instant,
    /// When it last did.
    pub to: Instant,
}

/// What several proxies saw.
#[derive(Clone, Debug, Default)]
pub struct Book(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    writes: Vec<Write>,
    /// By the name of a Lease: the proxy whose client wrote itself into it last, and when that write was begun.
    leaders: BTreeMap<String, (String, Instant)>,
    /// By the name of a Lease, oldest first.
    reigns: BTreeMap<String, Vec<Reign>>,
    requests: u64,
    injected: BTreeMap<&'static str, u64>,
}

impl Book {
    /// Takes out the writes so far, in the order in which they were begun by each proxy.
    pub fn take_writes(&self) -> Vec<Write> {
        std::mem::take(&mut self.pages().writes)
    }

    /// The name of the proxy whose client wrote itself into the Lease last, and when it began to.
    pub fn leader(&self, lease: &str) -> Option<(String, Instant)> {
        self.pages().leaders.get(lease).cloned()
    }

    /// Who held a Lease when, oldest first.
    pub fn reigns(&self, lease: &str) -> Vec<Reign> {
        self.pages().reigns.get(lease).cloned().unwrap_or_default()
    }

    /// How many requests there were, watches included.
    pub fn requests(&self) -> u64 {
        self.pages().requests
    }

    /// How many requests went wrong, by the kind of fault.
    pub fn injected(&self) -> BTreeMap<&'static str, u64> {
        self.pages().injected.clone()
    }

    pub(super) fn requested_one(&self) {
        self.pages().requests += 1;
    }

    pub(super) fn injected_one(&self, what: &'static str) {
        *self.pages().injected.entry(what).or_default() += 1;
    }

    pub(super) fn record(&self, write: Write) {
        let mut pages = self.pages();
        if write.status.is_some_and(|status| status < 300)
            && let Some(holder) = write.holder.as_deref().filter(|holder| !holder.is_empty())
            && let Some(name) = lease(&write)
        {
            pages.leaders.insert(name.clone(), (write.proxy.clone(), write.begun));
            let reigns = pages.reigns.entry(name).or_default();
            match reigns.last_mut() {
                Some(last) if last.holder == holder && write.begun <= last.to + RENEWAL => last.to = write.begun,
                _ => reigns.push(Reign {
                    holder: holder.to_owned(),
                    from: write.begun,
                    to: write.begun,
                }),
            }
        }
        pages.writes.push(write);
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        lock(&self.0)
    }
}

/// The name of the Lease that a write is about. One that is made is named in the body, which is not kept: its name is
/// then appended to the path.
pub fn lease(write: &Write) -> Option<String> {
    let (_, name) = write.path.split_once("/leases/")?;
    Some(name.to_owned())
}

/// The path; for a Lease that is made, with its name from the body.
pub(super) fn path_of(uri: &Uri, body: &[u8]) -> String {
    let path = uri.path();
    if !path.ends_with("/leases") {
        return path.to_owned();
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default())
}

/// The holder that a Lease is written with.
pub(super) fn holder(uri: &Uri, body: &[u8]) -> Option<String> {
    if !uri.path().contains("/leases") {
        return None;
    }
    let body: Value = serde_json::from_slice(body).ok()?;
    body["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Result;

    fn write(path: &str, body: &str) -> Result<Write> {
        let uri: Uri = path.parse()?;
        Ok(Write {
            proxy: "one".into(),
            method: "PUT".into(),
            path: path_of(&uri, body.as_bytes()),
            dry_run: false,
            begun: Instant::now(),
            ended: None,
            status: Some(200),
            holder: holder(&uri, body.as_bytes()),
        })
    }

    #[test]
    fn the_book_knows_who_leads() -> Result<()> {
        let book = Book::default();
        let leases = "/apis/coordination.k8s.io/v1/namespaces/n/leases";
        book.record(write(
            leases,
            r#"{"metadata":{"name":"a"},"spec":{"holderIdentity":"x"}}"#,
        )?);
        let leader = || book.leader("a").map(|(name, _)| name);
        assert_eq!(leader().as_deref(), Some("one"));
        let mut other = write(&format!("{leases}/a"), r#"{"spec":{"holderIdentity":"y"}}"#)?;
        other.proxy = "two".into();
        other.status = Some(409);
        book.record(other.clone());
        assert_eq!(leader().as_deref(), Some("one"), "a refused write is none");
        other.status = Some(200);
        book.record(other);
        assert_eq!(leader().as_deref(), Some("two"));
        assert_eq!(book.take_writes().len(), 3);
        Ok(())
    }
}
