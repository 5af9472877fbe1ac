//! What goes wrong on the other side, and what people ask for that cannot be: each has its condition and a clear text.

use anyhow::Result;
use api::source::GitRepository;
use serde_json::json;
use std::time::Duration;
use tests::controllers::Controller;
use tests::git_server::Fault;
use tests::namespace::condition;

use crate::stage::{builder, conditions, content, failed, kept, message, source, stored};

#[tokio::test]
async fn servers_that_fail_lie_or_hang_are_told_apart() -> Result<()> {
    let s = builder("bad-servers").start().await?;
    let mut repos = Vec::new();
    for (name, fault, text) in [
        ("401", Fault::Status(401), "authentication required: "),
        ("403", Fault::Status(403), "authorization failed: "),
        ("404", Fault::Status(404), "repository not found: "),
        ("500", Fault::Status(500), "status code: 500"),
        (
            "slow",
            Fault::Slow(Duration::from_secs(30)),
            "context deadline exceeded",
        ),
        ("silent", Fault::Hang, "context deadline exceeded"),
        ("garbage", Fault::Garbage, "unable to clone"),
        ("login", Fault::Html, "unable to clone"),
        ("broken", Fault::Truncate(20), "unable to clone"),
    ] {
        let repo = s.git.create(name)?;
        repo.commit_files("one", &[("a", "1")])?;
        s.git.set_fault(name, fault);
        source(&s, name, repo.url(), json!({"timeout": "1s"})).await?;
        repos.push((name, text, repo));
    }
    for (name, text, _) in &repos {
        let object: GitRepository = s.namespace.wait_failed(name, "GitOperationFailed").await?;
        let said = message(&object)?;
        let introduction = "failed to checkout and determine revision: unable to clone '";
        assert!(said.starts_with(introduction) && said.contains(text), "{name}: {said}");
        assert_eq!(
            conditions(&object),
            [
                "Reconciling=True ProgressingWithRetry",
                "Ready=False GitOperationFailed",
                "FetchFailed=True GitOperationFailed"
            ]
        );
        s.namespace
            .wait_event::<GitRepository>(name, "GitOperationFailed")
            .await?;
    }
    for (name, _, _) in &repos {
        s.git.set_fault(name, None);
        s.namespace.request_reconcile::<GitRepository>(name).await?;
    }
    for (name, _, _) in &repos {
        s.namespace.wait_ready::<GitRepository>(name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_empty_repository_is_waited_for() -> Result<()> {
    let s = builder("empty").start().await?;
    let repo = s.git.create("app")?;
    let said = failed(&s, "branch", repo.url(), json!({}), "EmptyGitRepository").await?;
    assert_eq!(said, "git repository is empty");
    let said = failed(
        &s,
        "tag",
        repo.url(),
        json!({"ref": {"tag": "v1"}}),
        "GitOperationFailed",
    )
    .await?;
    let text = format!(
        "unable to clone: remote repository is empty: git repository: '{}'",
        repo.url()
    );
    assert_eq!(said, format!("failed to checkout and determine revision: {text}"));
    repo.commit_files("one", &[("a", "1")])?;
    s.namespace.wait_ready::<GitRepository>("branch").await?;
    Ok(())
}

#[tokio::test]
async fn a_file_url_is_refused_at_the_door() -> Result<()> {
    let s = builder("file-url").start().await?;
    let error = source(&s, "app", "file:///etc", json!({}))
        .await
        .err()
        .map(|error| format!("{error:#}"));
    assert!(
        error.as_deref().is_some_and(|text| text.contains("spec.url")),
        "{error:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_file_over_the_limit_is_named_and_the_artifact_before_stays() -> Result<()> {
    let s = builder("large")
        .flag(Controller::Source, "--git-max-file-size=1000")
        .start()
        .await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let before = stored(&s, "app", repo.url(), json!({})).await?;
    repo.commit_files("two", &[("data/large.bin", &"x".repeat(1001))])?;
    let object: GitRepository = s.namespace.reconcile("app").await?;
    let text = "file 'data/large.bin' has 1001 bytes, more than the limit of 1000 bytes: \
                remove it or raise --git-max-file-size";
    assert_eq!(
        message(&object)?,
        format!("unable to archive artifact to storage: {text}")
    );
    kept(&object, &before).await?;
    let ignored = json!({"spec": {"ignore": "*.bin"}});
    s.namespace.patch::<GitRepository>("app", ignored).await?;
    s.namespace.wait_ready::<GitRepository>("app").await?;
    Ok(())
}

#[tokio::test]
async fn links_never_reach_an_artifact() -> Result<()> {
    let s = builder("links").start().await?;
    let repo = s.git.create("app")?;
    repo.write("a", "1")?;
    repo.symlink("passwd", "/etc/passwd")?;
    repo.symlink("dir/up", "../../..")?;
    repo.symlink(".sourceignore", "a")?;
    repo.commit("links")?;
    let artifact = stored(&s, "app", repo.url(), json!({})).await?;
    assert_eq!(content(&artifact).await?, ["./", "a 1", "dir/"]);
    Ok(())
}

#[tokio::test]
async fn an_object_that_cannot_be_decoded_does_not_stop_the_others() -> Result<()> {
    let s = builder("undecodable").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    // The schema lets it through; no duration is that long.
    source(&s, "bad", repo.url(), json!({"interval": "99999999h"})).await?;
    s.namespace.wait_event::<GitRepository>("bad", "InvalidObject").await?;
    stored(&s, "good", repo.url(), json!({})).await?;
    s.namespace
        .patch::<GitRepository>("bad", json!({"spec": {"interval": "1h"}}))
        .await?;
    s.namespace.wait_ready::<GitRepository>("bad").await?;
    Ok(())
}

#[tokio::test]
async fn whatever_objects_say_each_is_answered() -> Result<()> {
    let s = builder("whatever").start().await?;
    let repo = s.git.create("app")?;
    let commit = repo.commit_files("one", &[("a", "1")])?;
    let base = s.git.url();
    let choices = [
        (
            "url",
            vec![
                json!(repo.url()),
                json!(repo.url()),
                json!(format!("{base}/no.git")),
                json!("http://"),
                json!("ssh://a@:b/c"),
            ],
        ),
        (
            "url",
            vec![
                json!(repo.url()),
                json!("https://[::1"),
                json!("http://127.0.0.1:1/\u{e9} ?#%zz"),
                json!("ssh://127.0.0.1:99999/x"),
            ],
        ),
        ("interval", vec![json!("10m"), json!("1h0m0s"), json!("0s")]),
        ("timeout", vec![json!("1s"), json!("10s"), json!("0.5s")]),
        (
            "ref",
            vec![
                json!({}),
                json!({"branch": "main"}),
                json!({"branch": "\u{0}"}),
                json!({"branch": "../x"}),
            ],
        ),
        (
            "ref",
            vec![
                json!({"branch": "main"}),
                json!({"tag": "v\n1"}),
                json!({"semver": "||"}),
                json!({"commit": commit}),
            ],
        ),
        (
            "ref",
            vec![
                json!({"branch": "main"}),
                json!({"commit": "\u{e9}"}),
                json!({"name": "refs"}),
                json!({"name": "/"}),
            ],
        ),
        (
            "ignore",
            vec![
                json!(""),
                json!("["),
                json!("!"),
                json!("**/\\"),
                json!("/*\r\n!a\u{0}"),
            ],
        ),
        (
            "sparseCheckout",
            vec![
                json!([]),
                json!([""]),
                json!(["/"]),
                json!(["../.."]),
                json!(["a", "a"]),
            ],
        ),
        (
            "include",
            vec![
                json!([]),
                json!([{"repository": {"name": "x/y"}, "fromPath": "..", "toPath": "\u{0}"}]),
            ],
        ),
        (
            "verify",
            vec![
                json!({"mode": "TagAndHEAD", "secretRef": {"name": "none"}}),
                json!({"secretRef": {"name": ""}}),
            ],
        ),
        (
            "secretRef",
            vec![json!({"name": "none"}), json!({"name": "a/b"}), json!({"name": ""})],
        ),
        ("proxySecretRef", vec![json!({"name": "none"}), json!({"name": ".."})]),
        ("provider", vec![json!("generic"), json!("aws"), json!("github")]),
        ("recurseSubmodules", vec![json!(true), json!(false)]),
    ];
    let mut random = fastrand::Rng::with_seed(1);
    let mut accepted = Vec::new();
    for n in 0..80 {
        let mut fields = serde_json::Map::new();
        for (field, values) in &choices {
            if random.u8(..3) == 0 {
                fields.insert((*field).to_owned(), values[random.usize(..values.len())].clone());
            }
        }
        let (name, fields) = (format!("object-{n}"), serde_json::Value::Object(fields));
        if source(&s, &name, repo.url(), fields.clone()).await.is_ok() {
            accepted.push((name, fields));
        }
    }
    assert!(accepted.len() > 40, "the API server refuses most: {}", accepted.len());
    let mut reasons = std::collections::BTreeSet::new();
    for (name, fields) in &accepted {
        let is_answered =
            |object: &GitRepository| condition(object, "Ready").is_some_and(|ready| ready.status != "Unknown");
        let object: GitRepository = s
            .namespace
            .wait(name, &format!("be answered: {fields}"), is_answered)
            .await?;
        reasons.extend(condition(&object, "Ready").map(|ready| ready.reason));
    }
    assert!(reasons.len() > 5, "{reasons:?}");
    let metrics = s.controllers.metrics(Controller::Source).await?;
    let is_panic = |line: &str| line.starts_with("controller_runtime_reconcile_panics_total") && !line.ends_with(" 0");
    assert!(!metrics.lines().any(is_panic), "{metrics}");
    stored(&s, "good", repo.url(), json!({})).await?;
    Ok(())
}
