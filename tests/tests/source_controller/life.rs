//! The life of an object: asked for, suspended, resumed, changed, deleted; and what observers see of it.

use anyhow::{Context, Result};
use api::source::GitRepository;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tests::controllers::Controller;
use tests::git_server::Fault;
use tests::namespace::condition;

use crate::stage::{artifact, builder, conditions, get, source, stored};

#[tokio::test]
async fn a_first_artifact_is_told_once_with_revision_and_digest() -> Result<()> {
    let s = builder("first").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("a subject\n\nand a body", &[("a", "1")])?;
    let artifact = stored(&s, "app", repo.url(), json!({})).await?;
    let object: GitRepository = s.namespace.get("app").await?;
    assert_eq!(
        object.metadata.finalizers.as_deref(),
        Some(&["finalizers.fluxcd.io".to_owned()][..])
    );
    assert_eq!(
        object.status.as_ref().and_then(|status| status.observed_generation),
        Some(1)
    );
    let event = s.namespace.wait_event::<GitRepository>("app", "NewArtifact").await?;
    assert_eq!(event.message.as_deref(), Some("stored artifact for commit 'a subject'"));
    let annotations = event.metadata.annotations.context("no annotations")?;
    assert_eq!(annotations["source.toolkit.fluxcd.io/revision"], artifact.revision);
    assert_eq!(annotations["source.toolkit.fluxcd.io/digest"], artifact.digest);
    let metrics = s.controllers.metrics(Controller::Source).await?;
    assert!(
        metrics.contains("gotk_reconcile_duration_seconds_count{kind=\"GitRepository\",name=\"app\""),
        "{metrics}"
    );
    Ok(())
}

#[tokio::test]
async fn an_interval_without_news_writes_nothing() -> Result<()> {
    let s = builder("quiet").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    stored(&s, "app", repo.url(), json!({"interval": "1s"})).await?;
    let before: GitRepository = s.namespace.get("app").await?;
    s.namespace
        .wait_event::<GitRepository>("app", "GitOperationSucceeded")
        .await?;
    let after: GitRepository = s.namespace.get("app").await?;
    assert_eq!(before.metadata.resource_version, after.metadata.resource_version);
    let commit = repo.commit_files("two", &[("a", "2")])?;
    let revision = format!("main@sha1:{commit}");
    s.namespace
        .wait("app", "find the news by itself", |object| {
            artifact(object).is_ok_and(|a| a.revision == revision)
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_suspended_object_rests_and_keeps_its_artifact() -> Result<()> {
    let s = builder("suspended").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let before = stored(&s, "app", repo.url(), json!({})).await?;
    s.namespace.suspend::<GitRepository>("app", true).await?;
    let commit = repo.commit_files("two", &[("a", "2")])?;
    let token = s.namespace.request_reconcile::<GitRepository>("app").await?;
    let handled = |object: &GitRepository| {
        object
            .status
            .as_ref()
            .is_some_and(|status| status.last_handled_reconcile_at.as_ref() == Some(&token))
    };
    let object = s.namespace.wait("app", "have seen the request", handled).await?;
    assert_eq!(artifact(&object)?, before);
    assert_eq!(get(&before.url).await?.status(), 200);
    s.namespace.suspend::<GitRepository>("app", false).await?;
    let revision = format!("main@sha1:{commit}");
    s.namespace
        .wait("app", "go on", |object| {
            artifact(object).is_ok_and(|a| a.revision == revision)
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn work_in_progress_shows() -> Result<()> {
    let s = builder("progress").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    s.git.set_fault("app", Fault::Hang);
    source(&s, "app", repo.url(), json!({})).await?;
    let object: GitRepository = s
        .namespace
        .wait_condition("app", "Reconciling", "True", Some("Progressing"))
        .await?;
    assert_eq!(
        conditions(&object),
        ["Reconciling=True Progressing", "Ready=Unknown Progressing"]
    );
    assert_eq!(
        condition(&object, "Ready").map(|ready| ready.message).as_deref(),
        Some("building artifact")
    );
    Ok(())
}

#[tokio::test]
async fn conditions_that_were_taken_away_come_back_after_a_closer_look() -> Result<()> {
    let s = builder("no-conditions").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let before = stored(&s, "app", repo.url(), json!({})).await?;
    let none = Patch::Merge(json!({"status": {"conditions": null}}));
    s.namespace
        .api::<GitRepository>()
        .patch_status("app", &PatchParams::default(), &none)
        .await?;
    let object: GitRepository = s.namespace.reconcile("app").await?;
    assert_eq!(artifact(&object)?, before);
    assert_eq!(
        conditions(&object),
        ["Ready=True Succeeded", "ArtifactInStorage=True Succeeded"]
    );
    let event = s
        .namespace
        .wait_event::<GitRepository>("app", "ArtifactUpToDate")
        .await?;
    let said = format!("artifact up-to-date with remote revision: '{}'", before.revision);
    assert_eq!(event.message, Some(said));
    Ok(())
}

#[tokio::test]
async fn a_deleted_object_takes_its_files_along() -> Result<()> {
    let s = builder("deleted").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    for (name, suspended) in [("active", false), ("suspended", true)] {
        let artifact = stored(&s, name, repo.url(), json!({})).await?;
        if suspended {
            s.namespace.suspend::<GitRepository>(name, true).await?;
        }
        s.namespace.delete::<GitRepository>(name).await?;
        s.namespace.wait_gone::<GitRepository>(name).await?;
        assert_eq!(get(&artifact.url).await?.status(), 404, "{name}");
        assert!(
            !s.controllers
                .storage()
                .join("gitrepository")
                .join(s.ns())
                .join(name)
                .exists()
        );
    }
    source(&s, "never", &s.git.repository_url("nothing"), json!({})).await?;
    s.namespace
        .wait_failed::<GitRepository>("never", "GitOperationFailed")
        .await?;
    s.namespace.delete::<GitRepository>("never").await?;
    s.namespace.wait_gone::<GitRepository>("never").await
}

#[tokio::test]
async fn an_object_that_others_hold_while_it_is_deleted_is_left_alone() -> Result<()> {
    let s = builder("held").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    // It is deleted before the controller has ever seen it.
    s.controllers.stop(Controller::Source).await?;
    let held = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": { "name": "held", "finalizers": ["example.test/hold"] },
        "spec": { "url": repo.url(), "interval": "1s" },
    });
    s.namespace.apply_yaml(&held.to_string()).await?;
    s.namespace.delete::<GitRepository>("held").await?;
    let before: GitRepository = s.namespace.get("held").await?;
    assert!(before.metadata.deletion_timestamp.is_some());
    s.controllers.start_again(Controller::Source).await?;
    // Those that come behind it are dealt with.
    stored(&s, "app", repo.url(), json!({})).await?;
    let after: GitRepository = s.namespace.get("held").await?;
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    assert!(s.namespace.events::<GitRepository>("held").await?.is_empty());
    let release = json!({"metadata": {"finalizers": null}});
    s.namespace.patch::<GitRepository>("held", release).await?;
    s.namespace.wait_gone::<GitRepository>("held").await
}

#[tokio::test]
async fn an_object_that_others_hold_after_its_files_are_gone_says_so() -> Result<()> {
    let s = builder("held-later").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let artifact = stored(&s, "app", repo.url(), json!({})).await?;
    let object: GitRepository = s.namespace.get("app").await?;
    let finalizers = [
        object.metadata.finalizers.unwrap_or_default(),
        vec!["example.test/hold".to_owned()],
    ]
    .concat();
    let hold = json!({"metadata": {"finalizers": finalizers}});
    s.namespace.patch::<GitRepository>("app", hold).await?;
    s.namespace.delete::<GitRepository>("app").await?;
    let held = |object: &GitRepository| object.metadata.finalizers == Some(vec!["example.test/hold".to_owned()]);
    let object: GitRepository = s.namespace.wait("app", "let go", held).await?;
    assert_eq!(get(&artifact.url).await?.status(), 404);
    let status = object.status.context("no status")?;
    assert!(status.artifact.is_none(), "{status:?}");
    assert_eq!(status.observed_generation, object.metadata.generation);
    let asked = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}});
    s.namespace.patch::<GitRepository>("app", asked).await?;
    let handled = |object: &GitRepository| {
        let status = object.status.as_ref();
        status.and_then(|status| status.last_handled_reconcile_at.as_deref()) == Some("now")
    };
    s.namespace.wait("app", "the request to be handled", handled).await?;
    let release = json!({"metadata": {"finalizers": null}});
    s.namespace.patch::<GitRepository>("app", release).await?;
    s.namespace.wait_gone::<GitRepository>("app").await
}
