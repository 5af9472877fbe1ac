//! Git servers that fail, lie, hang or ask for a password, and repositories that hold what they should not: the last
//! good state stays, the answer is clear and without secrets, and everything goes on as soon as it can.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::kustomize::Kustomization;
use api::meta::key::STALE_SINCE;
use api::source::GitRepository;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};
use tests::controllers::Controller::{Kustomize, Source};
use tests::git_server::{Access, Fault};
use tests::namespace::condition;
use tests::port;
use tests::scenario::Scenario;

use crate::stage::{Stage, maps};

#[tokio::test]
async fn the_last_good_state_stays_while_a_git_server_misbehaves() -> Result<()> {
    let s = Stage::start("git-faults").await?;
    let faults = [
        ("unauthorized", Fault::Status(401), "authentication required"),
        ("missing", Fault::Status(404), "repository not found"),
        ("broken", Fault::Status(500), "status code: 500"),
        // The object's own timeout is what ends these two.
        (
            "slow",
            Fault::Slow(Duration::from_secs(600)),
            "context deadline exceeded",
        ),
        ("hanging", Fault::Hang, "context deadline exceeded"),
        ("garbage", Fault::Garbage, "unable to list remote for "),
        ("login", Fault::Html, "unable to list remote for "),
    ];
    let mut repos = Vec::new();
    for (name, fault, text) in &faults {
        let repo = s.git.create(name)?;
        let first = repo.commit_files("first", &[("deploy/a.yaml", &maps(name, 0..1, "1"))])?;
        s.source(name, repo.url(), json!({ "timeout": "2s" })).await?;
        let fields = json!({ "sourceRef": { "kind": "GitRepository", "name": name } });
        s.kustomization(name, "./deploy", fields).await?;
        repos.push((*name, fault, *text, repo, first));
    }
    let mut artifacts = Vec::new();
    for (name, fault, _, repo, first) in &repos {
        s.applied(name, first).await?;
        artifacts.push(s.stored(name, first).await?);
        s.git.set_fault(name, (*fault).clone());
        repo.commit_files("second", &[("deploy/a.yaml", &maps(name, 0..1, "2"))])?;
        s.namespace.request_reconcile::<GitRepository>(name).await?;
    }
    for ((name, _, text, _, first), before) in repos.iter().zip(&artifacts) {
        let object = s
            .namespace
            .wait_failed::<GitRepository>(name, "GitOperationFailed")
            .await?;
        let status = object.status.as_ref().context("no status")?;
        let mut artifact = status.artifact.clone().context("no artifact")?;
        // That it is stale is all that has changed.
        let since = artifact.metadata.remove(STALE_SINCE);
        assert!(since.is_some(), "{name}");
        assert_eq!(artifact, *before, "{name}");
        let answer = reqwest::Client::builder()
            .no_proxy()
            .build()?
            .get(&before.url)
            .send()
            .await?;
        assert_eq!(answer.status(), 200, "{name}");
        let said = condition(&object, "Ready").context("no condition")?.message;
        let told = s.told(&format!("GitRepository/{name}"), text).await?;
        assert_eq!((told.severity.as_str(), told.text), ("error", said));
        // What is applied is still looked after, with the artifact that is there.
        s.namespace.delete::<ConfigMap>(&format!("{name}-000")).await?;
        let object = s.namespace.reconcile::<Kustomization>(name).await?;
        assert!(
            condition(&object, "Ready").is_some_and(|ready| ready.status == "True"),
            "{name}"
        );
        assert_eq!(s.maps_of(name).await?[&format!("{name}-000")], json!({ "k": "1" }));
        s.applied(name, first).await?;
    }
    for (name, ..) in &repos {
        s.git.set_fault(name, None);
    }
    // Everyone goes on by itself.
    for (name, _, _, repo, first) in &repos {
        let second = repo.head()?;
        s.applied(name, &second).await?;
        s.equals_git(name, repo, "deploy").await?;
        s.told(&format!("GitRepository/{name}"), "stored artifact for commit 'second'")
            .await?;
        let messages: Vec<_> = s
            .messages()?
            .into_iter()
            .filter(|it| it.object.ends_with(&format!("/{name}")))
            .collect();
        crate::stage::in_order(&messages, &[first.clone(), second])?;
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_never_shown() -> Result<()> {
    let s = Stage::of(Scenario::builder("git-secrets").flag(Source, "--log-level=trace")).await?;
    let repo = s.git.create("app")?;
    let first = repo.commit_files("first", &[("a.yaml", &maps("a", 0..1, "1"))])?;
    s.git.set_access("app", Access::basic("ada", "opensesame"));
    let secret = json!({ "secretRef": { "name": "login" } });
    s.namespace
        .secret("login", &[("username", "ada"), ("password", "Wr0ng-Pa55word")])
        .await?;
    s.source("app", repo.url(), secret).await?;
    s.kustomization("app", "./", json!({})).await?;
    let in_url = repo.url().replacen("://", "://ada:In-The-Ur1@", 1);
    s.source("in-url", &in_url, json!({})).await?;
    s.namespace.secret("bearer", &[("bearerToken", "Be4rer-T0ken")]).await?;
    s.source("bearer", repo.url(), json!({ "secretRef": { "name": "bearer" } }))
        .await?;
    for name in ["app", "in-url", "bearer"] {
        let object = s
            .namespace
            .wait_failed::<GitRepository>(name, "GitOperationFailed")
            .await?;
        let said = condition(&object, "Ready").context("no condition")?.message;
        s.told(&format!("GitRepository/{name}"), &said).await?;
        s.namespace
            .wait_event::<GitRepository>(name, "GitOperationFailed")
            .await?;
    }
    let sent = s.git.seen("app").iter().filter(|request| request.authorized).count();
    ensure!(sent >= 3, "credentials were sent {sent} times");
    let encode = |text: &str| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    for secret in ["Wr0ng-Pa55word", "Be4rer-T0ken", "In-The-Ur1"] {
        s.nowhere(secret).await?;
        s.nowhere(&encode(&format!("ada:{secret}"))).await?;
    }

    s.namespace
        .patch::<Secret>("login", json!({ "stringData": { "password": "opensesame" } }))
        .await?;
    s.pushed("app", "app", &first).await?;
    s.nowhere("opensesame").await
}

#[tokio::test]
async fn what_is_not_there_yet_is_waited_for() -> Result<()> {
    let s = Stage::start("git-later").await?;
    let away = format!("http://127.0.0.1:{}/app.git", port::free()?);
    let empty = s.git.create("empty")?;
    let branch = s.git.create("branch")?;
    branch.commit_files("first", &[("a.yaml", &maps("branch", 0..1, "1"))])?;
    let other = json!({ "ref": { "branch": "later" } });
    for (name, url, fields, reason) in [
        ("away", away.as_str(), json!({}), "GitOperationFailed"),
        ("empty", empty.url(), json!({}), "EmptyGitRepository"),
        ("branch", branch.url(), other, "GitOperationFailed"),
    ] {
        s.source(name, url, fields).await?;
        let fields = json!({ "sourceRef": { "kind": "GitRepository", "name": name } });
        s.kustomization(name, "./", fields).await?;
        let object = s.namespace.wait_failed::<GitRepository>(name, reason).await?;
        let said = condition(&object, "Ready").context("no condition")?.message;
        let expected = match name {
            "away" => "127.0.0.1",
            "empty" => "git repository is empty",
            _ => "later",
        };
        assert!(said.contains(expected), "{name}: {said}");
        assert_eq!(s.told(&format!("GitRepository/{name}"), &said).await?.severity, "error");
        let waiting = s.namespace.wait_failed::<Kustomization>(name, "ArtifactFailed").await?;
        let said = condition(&waiting, "Ready").context("no condition")?.message;
        assert!(said.starts_with("Source artifact not found, retrying in "), "{said}");
    }
    let commit = empty.commit_files("first", &[("a.yaml", &maps("empty", 0..1, "1"))])?;
    s.applied("empty", &commit).await?;
    branch.branch("later")?;
    let status = |object: &Kustomization| {
        object
            .status
            .as_ref()
            .and_then(|status| status.last_applied_revision.clone())
            .unwrap_or_default()
    };
    let later = |object: &Kustomization| status(object).starts_with("later@sha1:");
    s.namespace
        .wait::<Kustomization>("branch", "apply the new branch", later)
        .await?;
    s.source("away", empty.url(), json!({})).await?;
    s.applied("away", &commit).await?;
    let refused = s.source("file", "file:///etc", json!({})).await;
    let refused = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
    assert!(refused.contains("spec.url"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_repository_cannot_reach_out_of_its_tree_nor_fill_the_memory() -> Result<()> {
    let s = Stage::of(Scenario::builder("git-hostile").flag(Source, "--git-max-file-size=100000")).await?;
    let repo = s.git.create("app")?;
    let first = repo.commit_files(
        "first",
        &[
            ("deploy/kustomization.yaml", "resources: [a.yaml]\n"),
            ("deploy/a.yaml", &maps("a", 0..1, "1")),
        ],
    )?;
    s.source("app", repo.url(), json!({})).await?;
    s.kustomization("app", "./deploy", json!({})).await?;
    s.applied("app", &first).await?;

    let outside = s.dir.path().join("outside.yaml");
    std::fs::write(&outside, maps("outside-secret", 0..1, "1"))?;
    let generator = "resources: [a.yaml, link.yaml]\nconfigMapGenerator: [{name: leak, files: [link.yaml]}]\n";
    repo.write("deploy/kustomization.yaml", generator)?;
    repo.symlink("deploy/link.yaml", &outside.display().to_string())?;
    repo.symlink("up", "../../../../..")?;
    let second = repo.commit("second")?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    s.stored("app", &second).await?;
    let said = build_failure(&s).await?;
    assert!(said.contains("link.yaml"), "{said}");
    s.nowhere("outside-secret-000").await?;

    repo.remove("deploy/link.yaml")?;
    repo.write(
        "deploy/kustomization.yaml",
        "resources: [a.yaml, ../../../../../../etc/passwd]\n",
    )?;
    let third = repo.commit("third")?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    s.stored("app", &third).await?;
    let about = |object: &Kustomization| {
        condition(object, "Ready").is_some_and(|ready| ready.status == "False" && ready.message.contains("passwd"))
    };
    s.namespace
        .wait::<Kustomization>("app", "name what is outside", about)
        .await?;
    s.nowhere("root:x:0:0").await?;
    assert_eq!(s.maps_of("app").await?.len(), 1);

    repo.write("deploy/kustomization.yaml", "resources: [a.yaml]\n")?;
    repo.write("large", "x".repeat(100_001))?;
    repo.write("deploy/a.yaml", maps("a", 0..1, "4"))?;
    repo.commit("fourth")?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    let object = s
        .namespace
        .wait_failed::<GitRepository>("app", "ArchiveOperationFailed")
        .await?;
    let artifact = object
        .status
        .and_then(|status| status.artifact)
        .context("no artifact")?;
    assert!(artifact.revision.ends_with(&third));
    s.told("GitRepository/app", "file 'large' has 100001 bytes").await?;
    assert_eq!(s.maps_of("app").await?["a-000"], json!({ "k": "1" }));
    repo.remove("large")?;
    let fifth = repo.commit("fifth")?;
    s.pushed("app", "app", &fifth).await?;
    assert_eq!(s.maps_of("app").await?["a-000"], json!({ "k": "4" }));
    ensure!(!s.controllers.ended(Kustomize)? && !s.controllers.ended(Source)?);
    Ok(())
}

async fn build_failure(s: &Stage) -> Result<String> {
    let failed = s.namespace.wait_failed::<Kustomization>("app", "BuildFailed").await?;
    Ok(condition(&failed, "Ready").context("no condition")?.message)
}

#[tokio::test]
async fn a_git_server_that_goes_away_and_moves_back_in_time_is_followed() -> Result<()> {
    let s = Stage::start("git-away").await?;
    let repo = s.git.create("app")?;
    let first = repo.commit_files("first", &[("a.yaml", &maps("a", 0..1, "1"))])?;
    s.source("app", repo.url(), json!({ "interval": "2s" })).await?;
    s.kustomization("app", "./", json!({})).await?;
    s.applied("app", &first).await?;
    s.git.down();
    let second = repo.commit_files("second", &[("a.yaml", &maps("a", 0..2, "2"))])?;
    // Nobody asks: the interval does.
    s.namespace
        .wait_failed::<GitRepository>("app", "GitOperationFailed")
        .await?;
    s.git.up()?;
    s.applied("app", &second).await?;
    // A force push back to an older state, with other content under the same parent.
    repo.git(&["reset", "--quiet", "--hard", &first])?;
    repo.write("a.yaml", maps("a", 0..1, "1"))?;
    let again = repo.amend("first, again")?;
    s.applied("app", &again).await?;
    let live: Vec<(String, Value)> = s.maps_of("app").await?.into_iter().collect();
    assert_eq!(live, [("a-000".to_owned(), json!({ "k": "1" }))]);
    s.told("Kustomization/app", "a-001 deleted").await?;
    s.in_order(&[first, second, again])
}
