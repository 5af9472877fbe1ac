//! Each controller is killed (-9) in the middle of its work and started again: the work is finished, once and for all,
//! and told.

use anyhow::{Context, Result, ensure};
use api::kustomize::Kustomization;
use api::source::GitRepository;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::time::Duration;
use tests::artifact_server::{ArtifactServer, Content, digest, tar_gz};
use tests::controllers::Controller::{Kustomize, Notification, Source};
use tests::git_server::Fault;
use tests::receiver::Answer;
use tests::scenario::Scenario;
use tests::wait;

use crate::stage::{Message, Stage, lines, maps, names, revision};

/// Enough objects to be caught in the middle of them.
const MANY: usize = 150;

/// Applies one object at a time, so that there is a middle.
async fn slowly(name: &str) -> Result<Stage> {
    Stage::of(Scenario::builder(name).flag(Kustomize, "--concurrent-ssa=1")).await
}

#[tokio::test]
async fn the_source_controller_is_killed_while_it_fetches_and_while_it_stores() -> Result<()> {
    let s = Stage::start("kill-source").await?;
    let repo = s.git.create("app")?;
    let first = repo.commit_files("first", &[("deploy/a.yaml", &maps("a", 0..2, "1"))])?;
    s.source("app", repo.url(), json!({})).await?;
    s.kustomization("app", "./deploy", json!({})).await?;
    s.applied("app", &first).await?;

    let second = repo.commit_files("second", &[("deploy/a.yaml", &maps("a", 0..2, "2"))])?;
    s.git.set_fault("app", Fault::Slow(Duration::from_secs(1)));
    let before = posts(&s);
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    // The first request lists the references, the second one asks for the objects.
    wait::until("the fetch to begin", async || {
        Ok((posts(&s) >= before + 2).then_some(()))
    })
    .await?;
    s.controllers.kill(Source)?;
    s.git.set_fault("app", None);
    s.controllers.start_again(Source).await?;
    s.applied("app", &second).await?;
    s.equals_git("app", &repo, "deploy").await?;

    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(6 << 20).collect();
    repo.write("noise", noise)?;
    let third = repo.commit_files("third", &[("deploy/a.yaml", &maps("a", 1..3, "3"))])?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    let start = std::time::Instant::now();
    while temporary_files(&s)?.is_empty() {
        ensure!(start.elapsed() < wait::patience(), "nothing is being stored");
        tokio::task::yield_now().await;
    }
    s.controllers.kill(Source)?;
    let left = temporary_files(&s)?;
    assert_eq!(left.len(), 1, "killed too late: {left:?}");
    let artifact = s
        .namespace
        .get::<GitRepository>("app")
        .await?
        .status
        .and_then(|status| status.artifact);
    assert_eq!(artifact.context("no artifact")?.revision, revision(&second));
    s.controllers.start_again(Source).await?;
    s.applied("app", &third).await?;
    s.equals_git("app", &repo, "deploy").await?;
    for commit in ["first", "second", "third"] {
        s.told("GitRepository/app", &format!("stored artifact for commit '{commit}'"))
            .await?;
    }
    s.told_changes("app", &lines("a", 2..3, "created")).await?;
    s.told_changes("app", &lines("a", 0..1, "deleted")).await?;
    s.in_order(&[first, second, third])
}

fn posts(s: &Stage) -> usize {
    s.git.seen("app").iter().filter(|request| request.is_fetch()).count()
}

/// What is being written into the storage.
fn temporary_files(s: &Stage) -> Result<Vec<String>> {
    let directory = s.controllers.storage().join("gitrepository").join(s.ns()).join("app");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| name.starts_with(".tmp-"));
    Ok(names)
}

#[tokio::test]
async fn the_kustomize_controller_is_killed_while_it_fetches() -> Result<()> {
    let s = Stage::of(Scenario::builder("kill-fetch").only(&[Kustomize, Notification])).await?;
    let server = ArtifactServer::start()?;
    s.source("app", "http://127.0.0.1:9/app.git", json!({})).await?;
    let offer = async |number: &str, slow: bool| -> Result<()> {
        let bytes = tar_gz(&[("a.yaml", maps("a", 0..2, number).as_bytes())])?;
        let (path, digest) = (format!("/{number}.tar.gz"), digest(&bytes));
        let content = match slow {
            true => Content::Slow(bytes, Duration::from_secs(20)),
            false => Content::Bytes(bytes),
        };
        server.serve(&path, content);
        let artifact = json!({
            "url": server.url(&path), "path": path, "revision": revision(number), "digest": digest,
            "lastUpdateTime": "2026-01-01T00:00:00Z",
        });
        let patch = Patch::Merge(json!({ "status": { "artifact": artifact } }));
        let sources = s.namespace.api::<GitRepository>();
        sources.patch_status("app", &PatchParams::default(), &patch).await?;
        Ok(())
    };
    offer("1", false).await?;
    s.kustomization("app", "./", json!({})).await?;
    s.applied("app", "1").await?;
    offer("2", true).await?;
    let asked = async || Ok(server.asked().contains(&"/2.tar.gz".to_owned()).then_some(()));
    wait::until("the download to begin", asked).await?;
    s.controllers.kill(Kustomize)?;
    assert_eq!(s.maps_of("app").await?["a-000"], json!({ "k": "1" }));
    offer("2", false).await?;
    s.controllers.start_again(Kustomize).await?;
    s.applied("app", "2").await?;
    assert_eq!(s.maps_of("app").await?["a-001"], json!({ "k": "2" }));
    s.told_changes("app", &lines("a", 0..2, "created")).await?;
    s.told_changes("app", &lines("a", 0..2, "configured")).await?;
    s.in_order(&["1".to_owned(), "2".to_owned()])
}

#[tokio::test]
async fn the_kustomize_controller_is_killed_while_it_applies() -> Result<()> {
    let s = slowly("kill-apply").await?;
    let strangers = s.strangers("many").await?;
    let repo = s.git.create("app")?;
    let commit = repo.commit_files(
        "many",
        &[
            ("deploy/many.yaml", &maps("many", 0..MANY, "1")),
            ("other/a.yaml", &maps("other", 0..2, "1")),
        ],
    )?;
    s.source("app", repo.url(), json!({})).await?;
    s.kustomization("other", "./other", json!({})).await?;
    s.applied("other", &commit).await?;
    s.kustomization("app", "./deploy", json!({})).await?;
    s.kill_in_the_middle("app", 0, MANY).await?;
    s.controllers.start_again(Kustomize).await?;
    s.applied("app", &commit).await?;
    s.equals_git("app", &repo, "deploy").await?;
    s.equals_git("other", &repo, "other").await?;
    s.untouched(&strangers).await?;
    s.told_changes("app", &lines("many", 0..MANY, "created")).await?;
    s.in_order(&[commit])
}

#[tokio::test]
async fn what_a_killed_apply_has_made_goes_when_the_next_commit_is_without_it() -> Result<()> {
    let s = slowly("kill-orphans").await?;
    let repo = s.git.create("app")?;
    let first = repo.commit_files("first", &[("deploy/keep.yaml", &maps("keep", 0..2, "1"))])?;
    s.source("app", repo.url(), json!({})).await?;
    s.kustomization("app", "./deploy", json!({})).await?;
    s.applied("app", &first).await?;
    let second = repo.commit_files("second", &[("deploy/many.yaml", &maps("many", 0..MANY, "1"))])?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    s.kill_in_the_middle("app", 2, MANY + 2).await?;
    repo.remove("deploy/many.yaml")?;
    let third = repo.commit("third")?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    s.stored("app", &third).await?;
    s.controllers.start_again(Kustomize).await?;
    s.applied("app", &third).await?;
    s.equals_git("app", &repo, "deploy").await?;
    s.in_order(&[first, second, third])
}

#[tokio::test]
async fn the_kustomize_controller_is_killed_while_it_prunes() -> Result<()> {
    let s = slowly("kill-prune").await?;
    let strangers = s.strangers("many").await?;
    let repo = s.git.create("app")?;
    let first = repo.commit_files(
        "first",
        &[
            ("deploy/many.yaml", &maps("many", 0..MANY, "1")),
            ("deploy/keep.yaml", &maps("keep", 0..2, "1")),
            ("other/a.yaml", &maps("many-other", 0..2, "1")),
        ],
    )?;
    s.source("app", repo.url(), json!({})).await?;
    s.kustomization("other", "./other", json!({})).await?;
    s.kustomization("app", "./deploy", json!({})).await?;
    s.applied("other", &first).await?;
    s.applied("app", &first).await?;
    repo.remove("deploy/many.yaml")?;
    let second = repo.commit("second")?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    s.kill_in_the_middle("app", 2, MANY + 2).await?;
    s.controllers.start_again(Kustomize).await?;
    s.applied("app", &second).await?;
    s.applied("other", &second).await?;
    s.equals_git("app", &repo, "deploy").await?;
    s.equals_git("other", &repo, "other").await?;
    s.untouched(&strangers).await?;
    s.told_changes("app", &lines("many", 0..MANY, "deleted")).await?;
    s.in_order(&[first, second])
}

#[tokio::test]
async fn the_kustomize_controller_is_killed_while_it_deletes_everything() -> Result<()> {
    let s = slowly("kill-delete").await?;
    let strangers = s.strangers("many").await?;
    let repo = s.git.create("app")?;
    let commit = repo.commit_files(
        "first",
        &[
            ("deploy/many.yaml", &maps("many", 0..MANY, "1")),
            ("other/a.yaml", &maps("other", 0..2, "1")),
        ],
    )?;
    s.source("app", repo.url(), json!({})).await?;
    s.kustomization("other", "./other", json!({})).await?;
    s.kustomization("app", "./deploy", json!({})).await?;
    s.applied("other", &commit).await?;
    s.applied("app", &commit).await?;
    s.namespace.delete::<Kustomization>("app").await?;
    s.kill_in_the_middle("app", 0, MANY).await?;
    s.controllers.start_again(Kustomize).await?;
    s.namespace.wait_gone::<Kustomization>("app").await?;
    assert!(s.maps_of("app").await?.is_empty());
    s.equals_git("other", &repo, "other").await?;
    s.untouched(&strangers).await?;
    s.told_changes("app", &lines("many", 0..MANY, "deleted")).await
}

#[tokio::test]
async fn the_notification_controller_is_killed_while_it_delivers() -> Result<()> {
    let s = Stage::start("kill-delivery").await?;
    let repo = s.git.create("app")?;
    let first = repo.commit_files("first", &[("deploy/a.yaml", &maps("a", 0..2, "1"))])?;
    // The receiver takes the messages and holds its answers for longer than the test lasts.
    s.receiver
        .answer_always(Answer::status(503).after(Duration::from_secs(600)));
    s.source("app", repo.url(), json!({})).await?;
    s.kustomization("app", "./deploy", json!({})).await?;
    s.applied("app", &first).await?;
    let held = s.receiver.wait_for_count(1).await?.remove(0);
    s.controllers.kill(Notification)?;
    // The world goes on meanwhile.
    repo.write("deploy/a.yaml", maps("a", 1..3, "2"))?;
    let second = repo.commit("second")?;
    s.pushed("app", "app", &second).await?;
    s.receiver.answer_always(Answer::status(200));
    s.controllers.start_again(Notification).await?;
    s.told_changes("app", &lines("a", 0..2, "created")).await?;
    s.told_changes("app", &lines("a", 1..2, "configured")).await?;
    s.told_changes("app", &lines("a", 2..3, "created")).await?;
    s.told_changes("app", &lines("a", 0..1, "deleted")).await?;
    s.told("GitRepository/app", "stored artifact for commit 'second'")
        .await?;
    let id = held.header("x-sluice-event-id").context("no id")?;
    let messages = s.messages()?;
    let again: Vec<_> = messages.iter().filter(|message| message.id == id).collect();
    assert_eq!(
        again.len(),
        1,
        "the message that was held has to come once more: {messages:#?}"
    );
    s.in_order(&[first, second])
}

#[tokio::test]
async fn whoever_is_killed_whenever_every_commit_arrives() -> Result<()> {
    let s = Stage::start("kill-all").await?;
    let strangers = s.strangers("a").await?;
    let repo = s.git.create("app")?;
    let mut commits = vec![repo.commit_files("0", &[("deploy/a.yaml", &maps("a", 0..10, "0"))])?];
    s.source("app", repo.url(), json!({})).await?;
    s.kustomization("app", "./deploy", json!({})).await?;
    s.applied("app", &commits[0]).await?;
    for (number, victims) in [
        vec![Kustomize],
        vec![Source],
        vec![Notification],
        vec![Source, Kustomize, Notification],
    ]
    .into_iter()
    .enumerate()
    {
        let number = number + 1;
        repo.write("deploy/a.yaml", maps("a", number..number + 10, &number.to_string()))?;
        let commit = repo.commit(&number.to_string())?;
        s.namespace.request_reconcile::<GitRepository>("app").await?;
        // As soon as anything of the commit shows.
        let name = names("a", number + 9..number + 10).remove(0);
        let shows = async || {
            let repository = s.namespace.get::<GitRepository>("app").await?;
            let artifact = repository
                .status
                .and_then(|status| status.artifact)
                .context("no artifact")?;
            let is_stored = artifact.revision == revision(&commit);
            let is_applied = s.maps_of("app").await?.contains_key(&name);
            Ok((is_stored || is_applied).then_some(()))
        };
        wait::until("anything to happen", shows).await?;
        for victim in &victims {
            s.controllers.kill(*victim)?;
        }
        for victim in &victims {
            s.controllers.start_again(*victim).await?;
        }
        s.applied("app", &commit).await?;
        s.equals_git("app", &repo, "deploy").await?;
        commits.push(commit);
    }
    for number in 1..=4 {
        s.told_changes("app", &lines("a", number + 9..number + 10, "created"))
            .await?;
        s.told_changes("app", &lines("a", number - 1..number, "deleted"))
            .await?;
        s.told("GitRepository/app", &format!("stored artifact for commit '{number}'"))
            .await?;
    }
    let ends = |message: &Message| message.reason == "ReconciliationSucceeded";
    assert!(s.messages()?.iter().any(ends));
    s.in_order(&commits)?;
    s.untouched(&strangers).await
}
