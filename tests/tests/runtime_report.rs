//! Who writes a status, and from what: two leaders, one of which has not seen what the other wrote, on a real API server.

use anyhow::{Context, Result, ensure};
use api::kustomize::{Kustomization, KustomizationStatus};
use api::meta::FINALIZER;
use kube::api::DeleteParams;
use runtime::finalizer;
use runtime::report::{Ledger, Report};
use serde_json::json;
use std::sync::Arc;
use tests::cluster::Cluster;
use tests::namespace::Namespace;

const NAME: &str = "app";
const OTHER: &str = "example.com/other";
const KUSTOMIZATION: &str = "\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: app
spec:
  interval: 1h
  prune: true
  sourceRef: { kind: GitRepository, name: app }
";

/// A namespace with a Kustomization that nobody reconciles.
async fn stage(name: &str) -> Result<(Namespace, Kustomization)> {
    let ns = Cluster::shared().await?.namespace(name).await?;
    ns.apply_yaml(KUSTOMIZATION).await?;
    let object = ns.get::<Kustomization>(NAME).await?;
    Ok((ns, object))
}

/// What one leader knows; its watch delivers nothing.
fn leader(ns: &Namespace) -> Arc<Ledger<Kustomization>> {
    Ledger::new(ns.cluster().client(), "test", |_, _| None)
}

fn applied(report: &mut Report<Kustomization>, revision: &str) {
    report.status_mut().last_applied_revision = Some(revision.to_owned());
}

fn revision(status: &KustomizationStatus) -> Option<&str> {
    status.last_applied_revision.as_deref()
}

async fn live(ns: &Namespace) -> Result<Option<String>> {
    let object = ns.get::<Kustomization>(NAME).await?;
    Ok(object.status.as_ref().and_then(revision).map(str::to_owned))
}

#[tokio::test]
async fn what_another_leader_wrote_last_is_not_overwritten() -> Result<()> {
    let (ns, object) = stage("overtaken").await?;
    let (old, new) = (leader(&ns), leader(&ns));
    let mut last = old.begin(&object);
    applied(&mut last, "old");
    last.write().await?;

    let mut first = new.begin(&object);
    applied(&mut first, "new");
    ensure!(first.write().await.is_err() && first.is_overtaken());
    // Not even when it is tried again, with what is known of the object by now.
    ensure!(first.write().await.is_err() && first.release().await.is_err() && first.check().is_err());
    assert_eq!(live(&ns).await?.as_deref(), Some("old"));

    let mut next = new.begin(&object);
    assert_eq!(revision(next.status()), Some("old"));
    applied(&mut next, "new");
    next.write().await?;
    assert_eq!(live(&ns).await?.as_deref(), Some("new"));
    Ok(())
}

#[tokio::test]
async fn a_change_of_something_else_does_not_keep_a_status_from_being_written() -> Result<()> {
    let (ns, object) = stage("elsewhere").await?;
    let mut report = leader(&ns).begin(&object);
    for number in ["one", "two"] {
        let note = json!({ "metadata": { "annotations": { "test": number } } });
        ns.patch::<Kustomization>(NAME, note).await?;
        applied(&mut report, number);
        report.write().await?;
        assert_eq!(live(&ns).await?.as_deref(), Some(number));
    }
    Ok(())
}

#[tokio::test]
async fn an_object_is_let_go_with_the_status_that_was_read_and_no_other() -> Result<()> {
    let (ns, object) = stage("let-go").await?;
    let client = ns.cluster().client();
    let object = finalizer::add(&client, "test", &object).await?.context("it is gone")?;
    let now = ns.get::<Kustomization>(NAME).await?;
    assert_eq!(object.metadata.resource_version, now.metadata.resource_version);
    assert_eq!(object.metadata.finalizers, now.metadata.finalizers);
    let (old, new) = (leader(&ns), leader(&ns));
    let mut last = old.begin(&object);
    applied(&mut last, "old");
    last.write().await?;

    let mut stale = new.begin(&object);
    ensure!(stale.release().await.is_err() && stale.is_overtaken());
    let mut report = new.begin(&object);
    // Somebody else's finalizer that came in between stays.
    let names = json!({ "metadata": { "finalizers": [FINALIZER, OTHER] } });
    ns.patch::<Kustomization>(NAME, names).await?;
    report.release().await?;
    let finalizers = ns.get::<Kustomization>(NAME).await?.metadata.finalizers;
    assert_eq!(finalizers.as_deref(), Some(&[OTHER.to_owned()][..]));
    report.release().await?;
    Ok(())
}

#[tokio::test]
async fn an_object_that_is_gone_or_made_anew_is_left_alone() -> Result<()> {
    let (ns, object) = stage("made-anew").await?;
    let ledger = leader(&ns);
    let (mut gone, mut anew) = (ledger.begin(&object), ledger.begin(&object));
    ns.api::<Kustomization>().delete(NAME, &DeleteParams::default()).await?;
    ns.wait_gone::<Kustomization>(NAME).await?;
    applied(&mut gone, "gone");
    gone.write().await?;

    ns.apply_yaml(KUSTOMIZATION).await?;
    applied(&mut anew, "gone");
    anew.write().await?;
    assert_eq!(live(&ns).await?, None);
    Ok(())
}
