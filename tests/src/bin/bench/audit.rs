//! API requests by user, verb and resource, from the API server's own audit log. Every program under measurement has a
//! user of its own, so nothing depends on how it names itself. Watches are counted when they open, and apart.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ::tests::kubeconfig;
use ::tests::wait;
use anyhow::{Context, Result};
use jiff::Timestamp;
use kube::Client;
use serde::Deserialize;
use serde_json::json;

/// The user of the requests that say up to where the log is complete.
pub const MARKER: &str = "bench-marker";

/// What the programs under measurement asked of the API server in a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// How many, watches left out.
    pub counts: BTreeMap<Request, u64>,
    /// How many of them were refused, by HTTP status.
    pub refused: BTreeMap<u16, u64>,
    /// How many watches were opened.
    pub watches: u64,
}

/// What a request does, as the audit log has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// `get`, `list`, `create`, `apply` (a forced server-side apply), `patch`, `apply (dry-run)`, ….
    pub verb: String,
    /// `deployments`, `kustomizations/status`, …; `(discovery)` for what is no resource.
    pub resource: String,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Kustomizations and sources, with their status.
    Toolkit,
    /// Events.
    Events,
    /// What the API server serves: groups, schemas, its own state.
    Discovery,
    /// Anything else: the objects that are applied.
    Objects,
}

impl Request {
    /// What it is about.
    pub fn about(&self) -> About {
        match self.resource.split('/').next().unwrap_or_default() {
            "kustomizations" | "gitrepositories" => About::Toolkit,
            "events" => About::Events,
            DISCOVERY | "customresourcedefinitions" => About::Discovery,
            _ => About::Objects,
        }
    }
}

impl Requests {
    /// All of them, watches left out.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Those about one thing.
    pub fn about(&self, about: About) -> u64 {
        let matching = self.counts.iter().filter(|(request, _)| request.about() == about);
        matching.map(|(_, count)| count).sum()
    }

    fn add(&mut self, event: &Event) {
        if event.verb == "watch" {
            if event.stage == "ResponseStarted" {
                self.watches += 1;
            }
            return;
        }
        if event.stage == "ResponseStarted" {
            return;
        }
        *self.counts.entry(event.request()).or_default() += 1;
        if let Some(status) = event.response_status.as_ref().and_then(|status| status.code)
            && status >= 400
        {
            *self.refused.entry(status).or_default() += 1;
        }
    }
}

const DISCOVERY: &str = "(discovery)";

/// The flags that make the API server write its audit log into the directory. Batches keep the cost of writing away
/// from the requests.
pub fn flags(dir: &Path, users: &[&str]) -> Result<Vec<String>> {
    let users = [users, &[MARKER]].concat();
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{ "level": "Metadata", "users": users }, { "level": "None" }],
    });
    let file = dir.join("audit-policy.yaml");
    fs::write(&file, policy.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(vec![
        format!("--audit-policy-file={}", file.display()),
        format!("--audit-log-path={}", log(dir).display()),
        "--audit-log-mode=batch".to_owned(),
        "--audit-log-batch-buffer-size=200000".to_owned(),
        "--audit-log-batch-max-size=500".to_owned(),
        "--audit-log-batch-max-wait=300ms".to_owned(),
        // One file, however long.
        "--audit-log-maxsize=100000".to_owned(),
    ])
}

/// Reads the log of one API server.
pub struct Audit {
    log: PathBuf,
    marker: Client,
    offset: u64,
    marks: u64,
}

impl Audit {
    /// For the API server that was given [`flags`] of this directory; the kubeconfig is that of the user [`MARKER`].
    pub async fn open(dir: &Path, marker: &Path) -> Result<Self> {
        Ok(Self {
            log: log(dir),
            marker: kubeconfig::client(marker, None).await?,
            offset: 0,
            marks: 0,
        })
    }

    /// What was asked in the span, which is over. What was asked before the last call's end is not looked at again.
    pub async fn requests(&mut self, from: Timestamp, to: Timestamp) -> Result<Requests> {
        let mark = format!("/version?mark={}", self.marks);
        self.marks += 1;
        let request = axum::http::Request::get(&mark).body(Vec::new())?;
        self.marker.request_text(request).await?;
        let (mut requests, mut offset) = (Requests::default(), self.offset);
        let log = self.log.clone();
        wait::until("the audit log to be complete", async || {
            let (log, mark, mut so_far, mut at) = (log.clone(), mark.clone(), requests.clone(), offset);
            let (so_far, at, complete) = tokio::task::spawn_blocking(move || {
                let complete = read(&log, &mut at, |event| {
                    if event.uri == mark {
                        return true;
                    }
                    if event.user.username != MARKER && event.received >= from && event.received <= to {
                        so_far.add(event);
                    }
                    false
                })?;
                anyhow::Ok((so_far, at, complete))
            })
            .await??;
            (requests, offset) = (so_far, at);
            Ok(complete.then_some(()))
        })
        .await?;
        self.offset = offset;
        Ok(requests)
    }
}

/// Gives the whole lines behind the offset to `each`, moving the offset, until that says that it has seen enough.
fn read(log: &Path, offset: &mut u64, mut each: impl FnMut(&Event) -> bool) -> Result<bool> {
    let mut file = File::open(log).with_context(|| format!("cannot read {}", log.display()))?;
    file.seek(SeekFrom::Start(*offset))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.by_ref().read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(false);
        }
        *offset += length as u64;
        let event = serde_json::from_slice(&line).context("the audit log cannot be understood")?;
        if each(&event) {
            return Ok(true);
        }
    }
}

/// A line of the log.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    #[serde(rename = "requestURI")]
    uri: String,
    verb: String,
    user: User,
    object_ref: Option<Reference>,
    response_status: Option<Status>,
    #[serde(rename = "requestReceivedTimestamp")]
    received: Timestamp,
}

#[derive(Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Debug, Deserialize)]
struct Reference {
    resource: Option<String>,
    subresource: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Status {
    code: Option<u16>,
}

impl Event {
    fn request(&self) -> Request {
        let query = self.uri.split_once('?').map_or("", |(_, query)| query);
        let has = |pair: &str| query.split('&').any(|one| one == pair);
        let verb = match self.verb.as_str() {
            "patch" if has("force=true") => "apply",
            verb => verb,
        };
        let dry_run = if has("dryRun=All") { " (dry-run)" } else { "" };
        let reference = self.object_ref.as_ref();
        let resource = match reference.and_then(|reference| reference.resource.as_deref()) {
            None => DISCOVERY.to_owned(),
            Some(resource) => match reference.and_then(|reference| reference.subresource.as_deref()) {
                None => resource.to_owned(),
                Some(subresource) => format!("{resource}/{subresource}"),
            },
        };
        Request {
            verb: format!("{verb}{dry_run}"),
            resource,
        }
    }
}

fn log(dir: &Path) -> PathBuf {
    dir.join("audit.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verb: &str, uri: &str, reference: serde_json::Value, expected: (&str, &str), about: About) -> Result<()> {
        let event: Event = serde_json::from_value(json!({
            "stage": "ResponseComplete", "requestURI": uri, "verb": verb, "user": { "username": "someone" },
            "objectRef": reference, "responseStatus": { "code": 200 },
            "requestReceivedTimestamp": "2026-01-01T00:00:00.000001Z",
        }))?;
        let request = event.request();
        assert_eq!((request.verb.as_str(), request.resource.as_str()), expected, "{uri}");
        assert_eq!(request.about(), about, "{uri}");
        Ok(())
    }

    #[test]
    fn an_apply_and_its_dry_run_are_told_from_other_patches() -> Result<()> {
        let services = json!({ "resource": "services", "namespace": "a", "name": "b" });
        let path = "/api/v1/namespaces/a/services/b";
        check(
            "patch",
            &format!("{path}?force=true&fieldManager=x"),
            services.clone(),
            ("apply", "services"),
            About::Objects,
        )?;
        check(
            "patch",
            &format!("{path}?dryRun=All&force=true"),
            services.clone(),
            ("apply (dry-run)", "services"),
            About::Objects,
        )?;
        check("patch", path, services, ("patch", "services"), About::Objects)
    }

    #[test]
    fn status_belongs_to_its_object() -> Result<()> {
        check(
            "patch",
            "/apis/x/v1/namespaces/a/kustomizations/b/status",
            json!({ "resource": "kustomizations", "subresource": "status" }),
            ("patch", "kustomizations/status"),
            About::Toolkit,
        )
    }

    #[test]
    fn what_is_no_resource_is_discovery() -> Result<()> {
        check(
            "get",
            "/apis?timeout=32s",
            json!(null),
            ("get", DISCOVERY),
            About::Discovery,
        )
    }

    #[test]
    fn an_unfinished_line_is_read_later() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let line = r#"{"stage":"ResponseComplete","requestURI":"/version?mark=0","verb":"get","user":{"username":"m"},"requestReceivedTimestamp":"2026-01-01T00:00:00Z"}"#;
        fs::write(log(dir.path()), &line[..40])?;
        let mut offset = 0;
        assert!(!read(&log(dir.path()), &mut offset, |_| true)?);
        assert_eq!(offset, 0);
        fs::write(log(dir.path()), format!("{line}\n"))?;
        assert!(read(&log(dir.path()), &mut offset, |event| event.uri == "/version?mark=0")?);
        assert_eq!(offset, line.len() as u64 + 1);
        Ok(())
    }
}
