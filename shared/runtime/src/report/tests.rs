use super::*;
use api::meta::condition::READY;
use api::source::{GitRepository, GitRepositoryStatus};
use http::{Request, Response};
use kube::client::Body;

/// A ledger before an API server that keeps the patches and answers with rising versions from 10.
fn ledger() -> (Arc<Ledger<GitRepository>>, Arc<Mutex<Vec<Value>>>) {
    let patches = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&patches);
    let server = tower::service_fn(move |request: Request<Body>| {
        let kept = Arc::clone(&kept);
        async move {
            let bytes = request.into_body().collect_bytes().await?;
            let patch: Value = serde_json::from_slice(&bytes)?;
            let mut kept = crate::lock(&kept);
            let answer = serde_json::to_vec(&object(10 + kept.len() as u64, None))?;
            kept.push(patch);
            Ok::<_, tower::BoxError>(Response::new(Body::from(answer)))
        }
    });
    (
        Ledger::new(Client::new(server, "default"), "test", |_, _| None),
        patches,
    )
}

fn object(version: u64, handled: Option<&str>) -> GitRepository {
    let mut object = GitRepository::new("a", Default::default());
    object.metadata.namespace = Some("n".into());
    object.metadata.uid = Some("u".into());
    object.metadata.generation = Some(i64::try_from(version).unwrap());
    object.metadata.resource_version = Some(version.to_string());
    object.status = handled.map(|handled| GitRepositoryStatus {
        last_handled_reconcile_at: Some(handled.into()),
        ..GitRepositoryStatus::default()
    });
    object
}

fn handle(report: &mut Report<GitRepository>, value: &str) {
    report.status_mut().last_handled_reconcile_at = Some(value.into());
}

fn patch(version: u64, handled: &str) -> Value {
    let metadata = json!({ "uid": "u", "resourceVersion": version.to_string() });
    json!({ "metadata": metadata, "status": { "lastHandledReconcileAt": handled } })
}

fn handled(status: &GitRepositoryStatus) -> Option<&str> {
    status.last_handled_reconcile_at.as_deref()
}

#[tokio::test]
async fn what_was_written_counts_until_the_watch_has_delivered_it() {
    let (ledger, _) = ledger();
    let old = object(5, Some("old"));
    let mut report = ledger.begin(&old);
    handle(&mut report, "ours");
    report.write().await.unwrap();
    assert_eq!(handled(&ledger.status(&old)), Some("ours"));
    assert_eq!(handled(ledger.begin(&old).status()), Some("ours"));
    ledger.seen(&old);
    assert_eq!(crate::lock(&ledger.written).len(), 1);
    assert_eq!(
        handled(&ledger.status(&object(10, Some("delivered")))),
        Some("delivered")
    );
    assert!(crate::lock(&ledger.written).is_empty());
}

#[tokio::test]
async fn a_run_that_begins_with_an_older_object_knows_what_was_delivered_meanwhile() {
    let delivered = Arc::new(Mutex::new(None));
    let (mut ledger, _) = ledger();
    let store = Arc::clone(&delivered);
    Arc::get_mut(&mut ledger).unwrap().store = Box::new(move |_, _| crate::lock(&store).clone());
    let old = object(5, Some("old"));
    let mut report = ledger.begin(&old);
    handle(&mut report, "ours");
    report.write().await.unwrap();
    drop(report);
    let ours = object(10, Some("ours"));
    *crate::lock(&delivered) = Some(Arc::new(ours.clone()));
    ledger.seen(&ours);
    assert!(crate::lock(&ledger.written).is_empty());
    assert_eq!(handled(ledger.begin(&old).status()), Some("ours"));
    assert_eq!(handled(&ledger.status(&old)), Some("ours"));
}

#[tokio::test]
async fn after_a_write_without_an_answer_the_api_server_is_asked_what_it_has() {
    let server = tower::service_fn(|request: Request<Body>| async move {
        if request.method() == http::Method::PATCH {
            return Err(tower::BoxError::from("cut off"));
        }
        let answer = serde_json::to_vec(&object(12, Some("ours"))).unwrap();
        Ok(Response::new(Body::from(answer)))
    });
    let ledger = Ledger::new(Client::new(server, "default"), "test", |_, _| None);
    let old = object(5, Some("old"));
    ledger.ascertain(&old).await.unwrap();
    assert_eq!(handled(&ledger.status(&old)), Some("old"));
    let mut report = ledger.begin(&old);
    handle(&mut report, "ours");
    assert!(report.write().await.is_err());
    ledger.ascertain(&old).await.unwrap();
    assert_eq!(handled(&ledger.status(&old)), Some("ours"));
    assert!(crate::lock(&ledger.uncertain).is_empty());
}

#[tokio::test]
async fn only_differences_are_written() {
    let (ledger, patches) = ledger();
    let mut report = ledger.begin(&object(5, Some("old")));
    report.write().await.unwrap();
    report.remove(READY);
    handle(&mut report, "old");
    report.write().await.unwrap();
    handle(&mut report, "ours");
    report.write().await.unwrap();
    report.write().await.unwrap();
    assert_eq!(*crate::lock(&patches), [patch(5, "ours")]);
    handle(&mut report, "newer");
    report.write().await.unwrap();
    assert_eq!(crate::lock(&patches).last(), Some(&patch(10, "newer")));
}

#[tokio::test]
async fn facts_that_were_not_written_survive_until_the_next_run() {
    let (ledger, patches) = ledger();
    let mut report = ledger.begin(&object(5, Some("old")));
    handle(&mut report, "ours");
    assert!(report.rebase(&object(6, Some("old"))));
    assert_eq!(report.generation(), 6);
    report.write().await.unwrap();
    assert_eq!(*crate::lock(&patches), [patch(6, "ours")]);
}

#[tokio::test]
async fn a_report_whose_status_somebody_else_has_written_begins_anew() {
    let (ledger, patches) = ledger();
    let mut report = ledger.begin(&object(5, None));
    handle(&mut report, "ours");
    report.write().await.unwrap();
    // Older than our own write: a delayed watch, nobody else.
    assert!(report.rebase(&object(7, None)));
    report.write().await.unwrap();
    assert_eq!((crate::lock(&patches).len(), report.generation()), (1, 7));
    // Newer, with the same status: somebody changed something else.
    assert!(report.rebase(&object(11, Some("ours"))));
    handle(&mut report, "newer");
    assert!(!report.rebase(&object(12, Some("theirs"))));
    report.write().await.unwrap();
    assert_eq!(
        (handled(report.status()), crate::lock(&patches).len()),
        (Some("theirs"), 1)
    );
}

#[tokio::test]
async fn a_write_without_an_answer_that_was_done_is_nobody_elses() {
    let (ledger, _) = ledger();
    let mut report = ledger.begin(&object(5, None));
    handle(&mut report, "ours");
    assert!(report.rebase(&object(6, Some("ours"))));
    assert_eq!(handled(report.status()), Some("ours"));
}

#[tokio::test]
async fn a_report_on_an_object_that_was_made_anew_begins_anew() {
    let (ledger, _) = ledger();
    let mut report = ledger.begin(&object(5, Some("old")));
    handle(&mut report, "ours");
    let mut other = object(9, None);
    other.metadata.uid = Some("v".into());
    assert!(!report.rebase(&other));
    assert_eq!((handled(report.status()), report.generation()), (None, 9));
}

#[test]
fn a_report_can_wait_anywhere() {
    fn kept<T: Send + Sync + 'static>() {}
    kept::<Report<GitRepository>>();
}
