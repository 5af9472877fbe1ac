//! From `git push` to applied, pruned and announced, and what suspend, dependencies and drift do to it.

use anyhow::{Context, Result};
use api::kustomize::Kustomization;
use api::notification::Receiver;
use api::source::GitRepository;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::json;
use tests::namespace::condition;

use crate::stage::{Stage, maps, revision};

#[tokio::test]
async fn a_push_is_applied_pruned_and_announced() -> Result<()> {
    let s = Stage::start("push").await?;
    let strangers = s.strangers("a").await?;
    let repo = s.git.create("app")?;
    let first = repo.commit_files(
        "first commit",
        &[
            ("deploy/a.yaml", &maps("a", 0..2, "1")),
            ("deploy/b.yaml", &maps("b", 0..1, "1")),
        ],
    )?;
    s.source("app", repo.url(), json!({})).await?;
    s.kustomization("app", "./deploy", json!({ "wait": true })).await?;
    let object = s.applied("app", &first).await?;
    s.equals_git("app", &repo, "deploy").await?;
    let ready = condition(&object, "Ready").context("not ready")?;
    assert_eq!(ready.message, format!("Applied revision: {}", revision(&first)));

    let stored = s.told("GitRepository/app", "stored artifact").await?;
    assert_eq!(
        (stored.reason.as_str(), stored.severity.as_str(), stored.text.as_str()),
        ("NewArtifact", "info", "stored artifact for commit 'first commit'")
    );
    assert_eq!(stored.revision, Some(revision(&first)));
    let ns = s.ns();
    let list = ["a-000", "a-001", "b-000"]
        .map(|name| format!("ConfigMap/{ns}/{name} created"))
        .join("\n");
    s.told("Kustomization/app", "Reconciliation finished in ").await?;
    let messages = s.messages()?;
    let about: Vec<_> = messages
        .iter()
        .filter(|message| message.object == "Kustomization/app")
        .collect();
    let reasons: Vec<_> = about.iter().map(|message| message.reason.as_str()).collect();
    assert_eq!(
        reasons,
        ["Progressing", "Progressing", "ReconciliationSucceeded"],
        "{about:#?}"
    );
    assert_eq!(about[0].text, list);
    assert!(
        about[1].text.starts_with("Health check passed in "),
        "{}",
        about[1].text
    );
    assert!(about.iter().all(|message| message.revision == Some(revision(&first))));

    // The first message, whole.
    let received = s.receiver.received();
    let request = received
        .iter()
        .find(|request| request.json().is_ok_and(|body| body["message"] == list.as_str()))
        .context("the change list")?;
    assert_eq!(request.header("gotk-component"), Some("kustomize-controller"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    let mut body = request.json()?;
    let timestamp = body["timestamp"].take();
    let timestamp: jiff::Timestamp = timestamp.as_str().context("no time")?.parse()?;
    assert!(
        timestamp
            .duration_since(object.creation_timestamp().context("no time")?.0)
            .as_secs()
            >= 0
    );
    let version = body["involvedObject"]["resourceVersion"].take();
    assert!(version.as_str().is_some_and(|version| version.parse::<u64>().is_ok()));
    assert_eq!(
        body,
        json!({
            "involvedObject": {
                "kind": "Kustomization", "namespace": ns, "name": "app", "uid": object.uid(),
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "resourceVersion": null,
            },
            "severity": "info", "timestamp": null, "message": list, "reason": "Progressing",
            "metadata": { "revision": revision(&first) },
            "reportingController": "kustomize-controller",
        })
    );

    repo.write("deploy/a.yaml", maps("a", 1..3, "2"))?;
    repo.remove("deploy/b.yaml")?;
    let second = repo.commit("second commit\n\nwith a body")?;
    s.pushed("app", "app", &second).await?;
    s.equals_git("app", &repo, "deploy").await?;
    s.told("GitRepository/app", "stored artifact for commit 'second commit'")
        .await?;
    let applied = format!("ConfigMap/{ns}/a-001 configured\nConfigMap/{ns}/a-002 created");
    let pruned = format!("ConfigMap/{ns}/b-000 deleted\nConfigMap/{ns}/a-000 deleted");
    assert_eq!(s.told("Kustomization/app", "configured").await?.text, applied);
    assert_eq!(s.told("Kustomization/app", "deleted").await?.text, pruned);

    // Nothing new: nothing is changed and only the end of the reconcile is told.
    let before = s.messages()?.len();
    s.namespace.reconcile::<Kustomization>("app").await?;
    let third = repo.commit("an empty one")?;
    s.pushed("app", "app", &third).await?;
    let end = async || {
        let messages = s.messages()?;
        let has_ended = |message: &crate::stage::Message| {
            message.reason == "ReconciliationSucceeded" && message.revision == Some(revision(&third))
        };
        Ok(messages.iter().any(has_ended).then_some(messages))
    };
    let messages = tests::wait::until("the end of the third revision", end).await?;
    let news: Vec<_> = messages[before..]
        .iter()
        .filter(|message| message.object == "Kustomization/app")
        .collect();
    assert!(
        news.iter().all(|message| message.reason == "ReconciliationSucceeded"),
        "{news:#?}"
    );

    s.in_order(&[first, second, third])?;
    s.namespace.delete::<Kustomization>("app").await?;
    s.namespace.wait_gone::<Kustomization>("app").await?;
    assert!(s.maps_of("app").await?.is_empty());
    let deleted = format!("ConfigMap/{ns}/a-002 deleted\nConfigMap/{ns}/a-001 deleted");
    s.told("Kustomization/app", &deleted).await?;
    s.untouched(&strangers).await
}

#[tokio::test]
async fn a_webhook_after_a_push_is_enough() -> Result<()> {
    let s = Stage::start("webhook").await?;
    let repo = s.git.create("app")?;
    let first = repo.commit_files("first", &[("a.yaml", &maps("a", 0..1, "1"))])?;
    s.source("app", repo.url(), json!({})).await?;
    s.kustomization("app", "./", json!({})).await?;
    s.namespace.secret("hook", &[("token", "the-token")]).await?;
    let receiver = json!({
        "apiVersion": "notification.toolkit.fluxcd.io/v1", "kind": "Receiver", "metadata": { "name": "hook" },
        "spec": {
            "type": "generic", "secretRef": { "name": "hook" },
            "resources": [{ "kind": "GitRepository", "name": "app" }],
        },
    });
    s.namespace.apply_yaml(&receiver.to_string()).await?;
    let receiver = s.namespace.wait_ready::<Receiver>("hook").await?;
    let path = receiver
        .status
        .and_then(|status| status.webhook_path)
        .context("no path")?;
    let mut commits = vec![first];
    s.applied("app", &commits[0]).await?;
    for number in ["2", "3"] {
        let commit = repo.commit_files(number, &[("a.yaml", &maps("a", 0..1, number))])?;
        let url = format!("{}{path}", s.controllers.receivers_url()?);
        let answer = reqwest::Client::builder().no_proxy().build()?.post(url).send().await?;
        assert_eq!(answer.status(), 200);
        s.applied("app", &commit).await?;
        assert_eq!(s.maps_of("app").await?["a-000"], json!({ "k": number }));
        s.told("GitRepository/app", &format!("stored artifact for commit '{number}'"))
            .await?;
        commits.push(commit);
    }
    s.in_order(&commits)
}

#[tokio::test]
async fn what_is_suspended_rests_until_it_is_resumed() -> Result<()> {
    let s = Stage::start("suspend").await?;
    let repo = s.git.create("app")?;
    let first = repo.commit_files("first", &[("a.yaml", &maps("a", 0..1, "1"))])?;
    s.source("app", repo.url(), json!({})).await?;
    s.kustomization("app", "./", json!({})).await?;
    s.applied("app", &first).await?;
    s.namespace.suspend::<Kustomization>("app", true).await?;
    let second = repo.commit_files("second", &[("a.yaml", &maps("a", 0..1, "2"))])?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    s.stored("app", &second).await?;
    // A second, active Kustomization that has applied the commit shows that there was time for the first.
    s.kustomization("other", "./", json!({ "namePrefix": "other-" }))
        .await?;
    s.applied("other", &second).await?;
    let map = s.namespace.get::<ConfigMap>("a-000").await?;
    assert_eq!(map.data.unwrap_or_default()["k"], "1");
    s.namespace.delete::<ConfigMap>("a-000").await?;
    s.namespace.reconcile::<Kustomization>("other").await?;
    assert!(s.namespace.find::<ConfigMap>("a-000").await?.is_none());

    s.namespace.suspend::<Kustomization>("app", false).await?;
    s.applied("app", &second).await?;
    let map = s.namespace.get::<ConfigMap>("a-000").await?;
    assert_eq!(map.data.unwrap_or_default()["k"], "2");

    s.namespace.suspend::<GitRepository>("app", true).await?;
    let asked = s.git.seen("app").len();
    let third = repo.commit_files("third", &[("a.yaml", &maps("a", 0..1, "3"))])?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    s.source("second", repo.url(), json!({})).await?;
    s.stored("second", &third).await?;
    let object = s.namespace.get::<GitRepository>("app").await?;
    let artifact = object
        .status
        .and_then(|status| status.artifact)
        .context("no artifact")?;
    assert_eq!(artifact.revision, revision(&second));
    assert!(s.git.seen("app").len() > asked);
    s.namespace.suspend::<GitRepository>("app", false).await?;
    s.applied("app", &third).await?;
    s.in_order(&[first, second, third])
}

#[tokio::test]
async fn a_commit_goes_through_dependencies_in_their_order() -> Result<()> {
    let s = Stage::start("depends").await?;
    let repo = s.git.create("app")?;
    let first = repo.commit_files(
        "first",
        &[
            ("infra/a.yaml", &maps("infra", 0..1, "1")),
            ("apps/a.yaml", &maps("apps", 0..1, "1")),
        ],
    )?;
    s.source("app", repo.url(), json!({})).await?;
    s.kustomization("apps", "./apps", json!({ "dependsOn": [{ "name": "infra" }] }))
        .await?;
    let waiting = s
        .namespace
        .wait_failed::<Kustomization>("apps", "DependencyNotReady")
        .await?;
    assert!(condition(&waiting, "Ready").is_some_and(|ready| ready.message.contains("infra")));
    assert!(s.namespace.find::<ConfigMap>("apps-000").await?.is_none());
    s.kustomization("infra", "./infra", json!({ "wait": true })).await?;
    s.applied("apps", &first).await?;

    // A broken dependency holds up what depends on it; everything goes on with the next commit.
    repo.write("apps/a.yaml", maps("apps", 0..1, "2"))?;
    let second = repo.commit_files("second", &[("infra/a.yaml", "a: [\n")])?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    s.stored("app", &second).await?;
    let broken = s.namespace.wait_failed::<Kustomization>("infra", "BuildFailed").await?;
    let said = condition(&broken, "Ready").context("no condition")?.message;
    assert!(said.contains("a.yaml"), "{said}");
    assert_eq!(s.told("Kustomization/infra", "a.yaml").await?.severity, "error");
    s.namespace
        .wait_failed::<Kustomization>("apps", "DependencyNotReady")
        .await?;
    let map = s.namespace.get::<ConfigMap>("apps-000").await?;
    assert_eq!(map.data.unwrap_or_default()["k"], "1");
    assert!(
        s.namespace.find::<ConfigMap>("infra-000").await?.is_some(),
        "a failed build deletes nothing"
    );

    let third = repo.commit_files("third", &[("infra/a.yaml", &maps("infra", 0..1, "3"))])?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    s.applied("infra", &third).await?;
    s.applied("apps", &third).await?;
    let map = s.namespace.get::<ConfigMap>("apps-000").await?;
    assert_eq!(map.data.unwrap_or_default()["k"], "2");
    s.told("Kustomization/apps", "configured").await?;
    s.in_order(&[first, second, third])
}
