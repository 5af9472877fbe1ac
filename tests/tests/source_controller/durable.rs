//! What is on the disk when an artifact is announced, seen from below: the system calls of the real controller in
//! their order. A crash of the machine at any moment then leaves the artifact before or the new one, never half of it.

use anyhow::{Context, Result};
use api::source::GitRepository;
use serde_json::json;
use tests::controllers::{Controller, Controllers, Options};
use tests::scenario::Scenario;
use tests::strace::{self, Call};

use crate::stage::{artifact, builder, content, kept, message, source, stored};

/// A source controller under `strace` in place of the one of the scenario, over the same storage.
async fn traced(s: &Scenario, rules: &[&str]) -> Result<Controllers> {
    s.controllers.stop(Controller::Source).await?;
    let mut options = Options::new(s.cluster.kubeconfig(), s.dir.path(), s.ns());
    options.controllers = vec![Controller::Source];
    let name = Controller::Source.to_string();
    options.bin_dir = Some(strace::wrap(&tests::checkout::bin_dir()?, &name, s.dir.path(), rules)?);
    Controllers::start(options).await
}

/// What happens below a folder, one word and path after the other, and what repeats itself once.
fn story(calls: &[Call], root: &str) -> Vec<String> {
    let mut story: Vec<String> = Vec::new();
    for call in calls.iter().filter(|call| call.arguments.contains(root)) {
        let word = match call.name.as_str() {
            "fsync" | "fdatasync" => "flush",
            "rename" | "renameat" | "renameat2" => "rename",
            "mkdir" | "mkdirat" => "make",
            // Whatever else is traced changes what is in a file.
            _ => "write",
        };
        // Names that are made or given come in quotes, relative to a descriptor or not.
        let names: Vec<&str> = call
            .arguments
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|name| !name.is_empty())
            .collect();
        let at = call.path().unwrap_or_default().strip_prefix(root).unwrap_or_default();
        let mut line = format!("{word} {at}");
        if word == "rename" || word == "make" {
            line = format!("{line} {}", names.join(" "));
        }
        if call.result.starts_with('-') {
            line = format!("{line}: {}", call.result);
        }
        if story.last() != Some(&line) {
            story.push(line);
        }
    }
    story
}

#[tokio::test]
async fn an_artifact_is_on_the_disk_before_it_has_its_name_and_then_so_is_the_name() -> Result<()> {
    let s = builder("durable").start().await?;
    let repo = s.git.create("app")?;
    let first = repo.commit_files("one", &[("a", "1")])?;
    let controllers = traced(&s, &[]).await?;
    source(&s, "app", repo.url(), json!({})).await?;
    content(&artifact(&s.namespace.wait_ready(name()).await?)?).await?;
    // More than one buffer: it is written in several steps.
    repo.write(
        "large",
        (0..300_000_u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
            .collect::<Vec<_>>(),
    )?;
    let second = repo.commit("two")?;
    s.namespace.reconcile::<GitRepository>(name()).await?;
    controllers.stop_all().await?;

    let root = s.controllers.storage().display().to_string();
    let (kind, namespace) = ("/gitrepository", s.ns());
    let place = format!("{kind}/{namespace}/app");
    let publication = |commit: &str| {
        let (half, whole) = (format!(".tmp-{commit}.tar.gz"), format!("{commit}.tar.gz"));
        vec![
            format!("write {place}/{half}"),
            format!("flush {place}/{half}"),
            format!("rename {place} {half} {whole}"),
            format!("flush {place}"),
        ]
    };
    let mut expected = vec![
        "make  gitrepository".to_owned(),
        "flush ".to_owned(),
        format!("make {kind} {namespace}"),
        format!("flush {kind}"),
        format!("make {kind}/{namespace} app"),
        format!("flush {kind}/{namespace}"),
    ];
    expected.extend(publication(&first));
    let threads = strace::calls(s.dir.path())?;
    let of = |commit: &str| {
        let story = threads.iter().map(|calls| story(calls, &root));
        let mut story = story.filter(|story| story.iter().any(|line| line.contains(commit)));
        story.next().context("nobody has written it")
    };
    let (one, two) = (of(&first)?, of(&second)?);
    assert!(one.starts_with(&expected), "{one:#?}");
    let publication = publication(&second);
    assert!(
        two.windows(publication.len()).any(|part| part == publication),
        "{two:#?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_disk_that_does_not_take_what_is_written_keeps_the_last_good_artifact() -> Result<()> {
    let s = builder("durable-not").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    stored(&s, name(), repo.url(), json!({})).await?;
    let controllers = traced(&s, &["--inject=fsync,fdatasync:error=EIO"]).await?;
    // It is found at another address now.
    let before = artifact(&s.namespace.reconcile(name()).await?)?;
    repo.commit_files("two", &[("a", "2")])?;
    let object: GitRepository = s.namespace.reconcile(name()).await?;
    let said = message(&object)?;
    assert!(
        said.starts_with("unable to archive artifact to storage: Input/output error"),
        "{said}"
    );
    kept(&object, &before).await?;
    controllers.stop_all().await
}

/// The name of the GitRepository.
fn name() -> &'static str {
    "app"
}
