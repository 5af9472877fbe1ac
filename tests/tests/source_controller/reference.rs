//! `spec.ref`: which revision is taken and how it is written, and that a remote that did not move is only asked.

use std::fs;

use anyhow::{Context, Result};
use api::source::GitRepository;
use serde_json::{Value, json};
use tests::controllers::Controller;
use tests::git_server::Dialect;
use tests::repo::Repo;
use tests::scenario::Scenario;

use crate::stage::{artifact, builder, content, failed, stored};

async fn check(s: &Scenario, repo: &Repo, name: &str, reference: Value, revision: &str, version: &str) -> Result<()> {
    let artifact = stored(s, name, repo.url(), json!({ "ref": reference })).await?;
    assert_eq!(artifact.revision, revision, "{reference}");
    assert_eq!(
        content(&artifact).await?,
        ["./".to_owned(), format!("version {version}")],
        "{reference}"
    );
    Ok(())
}

#[tokio::test]
async fn every_kind_of_reference_leads_to_its_commit() -> Result<()> {
    let s = builder("references").start().await?;
    let repo = s.git.create("app")?;
    let one = repo.commit_files("one", &[("version", "1")])?;
    repo.annotated_tag("v1.0.0", "one")?;
    let two = repo.commit_files("two", &[("version", "2")])?;
    repo.tag("v1.5.0")?;
    repo.tag("junk")?;
    let three = repo.commit_files("three", &[("version", "3")])?;
    repo.tag("v2.0.0-rc.1")?;
    repo.branch("feature/x")?;
    let four = repo.commit_files("four", &[("version", "4")])?;
    repo.set_ref("refs/heads/master")?;
    // A commit that no branch contains, as of a request from a fork.
    repo.checkout("main")?;
    repo.git(&["checkout", "--quiet", "--detach"])?;
    repo.write("version", "5")?;
    repo.git(&["commit", "--quiet", "--all", "--message", "five"])?;
    repo.set_ref("refs/pull/1/head")?;
    let five = repo.head()?;
    for (name, reference, revision, version) in [
        ("nothing", json!({}), format!("master@sha1:{four}"), "4"),
        ("branch", json!({"branch": "main"}), format!("main@sha1:{three}"), "3"),
        (
            "slash",
            json!({"branch": "feature/x"}),
            format!("feature/x@sha1:{four}"),
            "4",
        ),
        ("tag", json!({"tag": "v1.0.0"}), format!("v1.0.0@sha1:{one}"), "1"),
        (
            "tag-wins",
            json!({"tag": "v1.0.0", "semver": "*"}),
            format!("v1.0.0@sha1:{one}"),
            "1",
        ),
        (
            "semver",
            json!({"semver": ">=1.0.0 <3.0.0"}),
            format!("v1.5.0@sha1:{two}"),
            "2",
        ),
        ("any-version", json!({"semver": "*"}), format!("v1.5.0@sha1:{two}"), "2"),
        ("below", json!({"semver": "<v1.5.0"}), format!("v1.0.0@sha1:{one}"), "1"),
        (
            "between",
            json!({"semver": ">=1.0.0-0 <1.1.0-0"}),
            format!("v1.0.0@sha1:{one}"),
            "1",
        ),
        (
            "prerelease",
            json!({"semver": ">=1.0.0-0"}),
            format!("v2.0.0-rc.1@sha1:{three}"),
            "3",
        ),
        (
            "name",
            json!({"name": "refs/heads/main", "branch": "x"}),
            format!("refs/heads/main@sha1:{three}"),
            "3",
        ),
        (
            "peeled",
            json!({"name": "refs/tags/v1.0.0^{}"}),
            format!("refs/tags/v1.0.0^{{}}@sha1:{one}"),
            "1",
        ),
        (
            "pull",
            json!({"name": "refs/pull/1/head"}),
            format!("refs/pull/1/head@sha1:{five}"),
            "5",
        ),
        ("commit", json!({"commit": two}), format!("sha1:{two}"), "2"),
        (
            "commit-and-more",
            json!({"commit": format!("{one}0 whatever")}),
            format!("sha1:{one}"),
            "1",
        ),
        (
            "commit-branch",
            json!({"commit": one, "branch": "main"}),
            format!("main@sha1:{one}"),
            "1",
        ),
    ] {
        check(&s, &repo, name, reference, &revision, version).await?;
    }
    Ok(())
}

#[tokio::test]
async fn versions_that_differ_in_build_metadata_only_are_told_apart_by_time() -> Result<()> {
    let s = builder("build-metadata").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("new", &[("version", "new")])?;
    repo.tag("1.0.0+z")?;
    let newest = repo.commit_files("newest", &[("version", "newest")])?;
    repo.tag("1.0.0+a")?;
    check(
        &s,
        &repo,
        "app",
        json!({"semver": "1.x"}),
        &format!("1.0.0+a@sha1:{newest}"),
        "newest",
    )
    .await
}

#[tokio::test]
async fn references_that_are_not_there_are_named() -> Result<()> {
    let s = builder("missing-refs").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("version", "1")])?;
    repo.tag("v1.0.0")?;
    repo.annotated_tag("v2.0.0", "two")?;
    let (url, none) = (repo.url(), "0123456789012345678901234567890123456789");
    let (tag, tree) = (repo.id("v2.0.0")?, repo.id("HEAD^{tree}")?);
    for (name, reference, text) in [
        (
            "branch",
            json!({"branch": "no"}),
            format!("unable to clone '{url}': couldn't find remote ref \"refs/heads/no\""),
        ),
        (
            "tag",
            json!({"tag": "no"}),
            format!("unable to clone '{url}': couldn't find remote ref \"refs/tags/no\""),
        ),
        (
            "name",
            json!({"name": "refs/x/no"}),
            "unable to resolve ref 'refs/x/no' to a specific commit".into(),
        ),
        (
            "light",
            json!({"name": "refs/tags/v1.0.0^{}"}),
            "unable to resolve ref 'refs/tags/v1.0.0^{}' to a specific commit".into(),
        ),
        (
            "slash",
            json!({"name": "refs/heads/"}),
            "ref refs/heads/ is invalid; Git refs cannot begin or end with a slash '/'".into(),
        ),
        (
            "range",
            json!({"semver": ">=5"}),
            "no match found for semver: >=5".into(),
        ),
        (
            "no-range",
            json!({"semver": "no range"}),
            "semver parse error: improper constraint: \"no range\"".into(),
        ),
        (
            "commit",
            json!({"commit": none}),
            format!("unable to resolve commit object for '{none}': object not found"),
        ),
        (
            "short",
            json!({"commit": "abc"}),
            "unable to resolve commit object for 'abc': object not found".into(),
        ),
        (
            "hash-of-a-tag",
            json!({"commit": tag}),
            format!("unable to resolve commit object for '{tag}': object not found"),
        ),
        (
            "hash-of-a-tree",
            json!({"commit": tree, "branch": "main"}),
            format!("unable to resolve commit object for '{tree}': object not found"),
        ),
    ] {
        let message = failed(&s, name, url, json!({ "ref": reference }), "GitOperationFailed").await?;
        assert_eq!(message, format!("failed to checkout and determine revision: {text}"));
    }
    Ok(())
}

#[tokio::test]
async fn a_remote_that_did_not_move_is_only_listed() -> Result<()> {
    let s = builder("unmoved").start().await?;
    let repo = s.git.create("app")?;
    let commit = repo.commit_files("one", &[("version", "1")])?;
    let before = stored(&s, "app", repo.url(), json!({})).await?;
    let first = s.git.seen("app").len();
    let after = artifact(&s.namespace.reconcile::<GitRepository>("app").await?)?;
    assert_eq!(before, after, "not even the time of the artifact changes");
    assert_eq!(s.git.seen("app").len() - first, 2, "one handshake and one listing");
    assert_eq!(after.metadata["source.toolkit.fluxcd.io/commit-subject"], "one");
    // Force-pushed away and back: other commits are artifacts of their own.
    let amended = repo.amend("one, again")?;
    let moved = artifact(&s.namespace.reconcile::<GitRepository>("app").await?)?;
    assert_eq!(
        (moved.revision, moved.digest),
        (format!("main@sha1:{amended}"), before.digest)
    );
    assert_ne!(amended, commit);
    Ok(())
}

#[tokio::test]
async fn what_a_server_cannot_do_and_what_a_fetch_costs_is_in_the_log() -> Result<()> {
    let s = builder("log")
        .flag(Controller::Source, "--log-level=debug")
        .start()
        .await?;
    let repo = s.git.create("app")?;
    let commit = repo.commit_files("one", &[("a", "1")])?;
    let dialect = Dialect {
        version: Some(0),
        without: vec!["shallow"],
    };
    s.git.set_dialect("app", dialect);
    stored(&s, "app", repo.url(), json!({})).await?;
    let log = fs::read_to_string(s.controllers.log(Controller::Source))?;
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let line = |text: &str| lines.iter().find(|line| line["msg"] == text).context(text.to_owned());
    for text in [
        "the server lacks version 2 of the protocol: all references come at once",
        "the server lacks shallow: the history is fetched",
    ] {
        let line = line(text)?;
        assert_eq!((&line["level"], &line["remote"]), (&json!("debug"), &json!(repo.url())));
    }
    let fetched = line("fetched a commit")?;
    assert_eq!(fetched["revision"], json!(format!("main@sha1:{commit}")));
    assert!(fetched["bytes"].as_u64().is_some_and(|bytes| bytes > 100), "{fetched}");
    assert!(
        fetched["milliseconds"].is_u64() && fetched["name"] == "app",
        "{fetched}"
    );
    Ok(())
}
