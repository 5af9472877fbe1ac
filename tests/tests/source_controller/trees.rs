//! What goes into an artifact besides the commit as it is: `spec.include` and `spec.sparseCheckout`.

use std::time::Duration;

use anyhow::{Context, Result};
use api::source::{Artifact, GitRepository};
use serde_json::json;
use tests::controllers::Controller;
use tests::git_server::Fault;
use tests::namespace::condition;

use crate::stage::{artifact, builder, conditions, content, failed, message, source, stored};

#[tokio::test]
async fn what_is_included_is_waited_for_and_followed() -> Result<()> {
    let s = builder("include")
        .flag(Controller::Source, "--requeue-dependency=1h")
        .start()
        .await?;
    let (app, lib) = (s.git.create("app")?, s.git.create("lib")?);
    app.commit_files("one", &[("a.yaml", "a"), ("z.yaml", "z")])?;
    lib.commit_files("one", &[("base/x.yaml", "x1"), ("docs/readme", "r"), ("run", "r")])?;
    let include = json!({"include": [
        {"repository": {"name": "lib"}, "fromPath": "base", "toPath": "deploy/base"},
        {"repository": {"name": "lib"}},
    ], "ignore": "readme"});
    let said = failed(&s, "app", app.url(), include, "NotFound").await?;
    assert_eq!(
        said,
        "could not get resource for include 'lib': GitRepository.source.toolkit.fluxcd.io \"lib\" not found"
    );
    let object: GitRepository = s.namespace.get("app").await?;
    assert_eq!(
        conditions(&object),
        [
            "Reconciling=True ProgressingWithRetry",
            "Ready=False NotFound",
            "IncludeUnavailable=True NotFound"
        ]
    );
    let event = s.namespace.wait_event::<GitRepository>("app", "NotFound").await?;
    assert_eq!(event.type_.as_deref(), Some("Normal"));
    // Nobody looks again within the hour: the artifact itself wakes who waits for it.
    s.git.set_fault("app", Fault::Slow(Duration::from_secs(1)));
    let goes_on =
        |object: &GitRepository| conditions(object) == ["Reconciling=True Progressing", "Ready=Unknown Progressing"];
    let (going_on, library) = tokio::join!(
        s.namespace.wait("app", "say that it goes on", goes_on),
        stored(&s, "lib", lib.url(), json!({}))
    );
    let (going_on, library) = (going_on?, library?);
    let text = "building artifact: included artifacts differ from last observed includes";
    assert_eq!(message(&going_on)?, text);
    let object: GitRepository = s.namespace.wait_ready("app").await?;
    let first = artifact(&object)?;
    assert_eq!(included(&object), [library.digest.as_str(); 2]);
    let expected = [
        "./",
        "a.yaml a",
        "deploy/",
        "deploy/base/",
        "deploy/base/x.yaml x1",
        "lib/",
        "lib/base/",
        "lib/base/x.yaml x1",
        "lib/docs/",
        "lib/run r",
        "z.yaml z",
    ];
    assert_eq!(content(&first).await?, expected);
    // So does a new one, and while the repository is asked what it has, the artifact is known to be outdated.
    lib.commit_files("two", &[("base/x.yaml", "x2")])?;
    s.git.set_fault("app", Fault::Slow(Duration::from_secs(1)));
    let text = "included artifacts differ from last observed includes";
    let is_outdated = |object: &GitRepository| {
        let outdated = condition(object, "ArtifactOutdated");
        outdated.is_some_and(|outdated| outdated.reason == "IncludeChange" && outdated.message == text)
    };
    let (outdated, library) = tokio::join!(
        s.namespace.wait("app", "say that it is outdated", is_outdated),
        s.namespace.reconcile::<GitRepository>("lib")
    );
    let (outdated, library) = (outdated?, artifact(&library?)?);
    assert_eq!(
        conditions(&outdated),
        [
            "Reconciling=True Progressing",
            "Ready=Unknown Progressing",
            "ArtifactInStorage=True Succeeded",
            "ArtifactOutdated=True IncludeChange"
        ]
    );
    assert_eq!(message(&outdated)?, format!("building artifact: {text}"));
    s.git.set_fault("app", None);
    let is_new = |object: &GitRepository| included(object) == [library.digest.as_str(); 2];
    let object: GitRepository = s.namespace.wait("app", "include the new artifact", is_new).await?;
    let second = artifact(&object)?;
    assert_eq!((&first.url, &first.revision), (&second.url, &second.revision));
    let names = content(&second).await?;
    assert!(names.contains(&"deploy/base/x.yaml x2".to_owned()), "{names:?}");
    assert_eq!(
        conditions(&object),
        ["Ready=True Succeeded", "ArtifactInStorage=True Succeeded"]
    );
    // And what is not included any more is gone.
    let without = json!({"spec": {"include": null}});
    s.namespace.patch::<GitRepository>("app", without).await?;
    let object: GitRepository = s
        .namespace
        .wait("app", "include nothing", |o| included(o).is_empty())
        .await?;
    assert_eq!(content(&artifact(&object)?).await?, ["./", "a.yaml a", "z.yaml z"]);
    Ok(())
}

/// The digests of what is included.
fn included(object: &GitRepository) -> Vec<&str> {
    let all = object.status.iter().flat_map(|status| &status.included_artifacts);
    all.map(|artifact: &Artifact| artifact.digest.as_str()).collect()
}

#[tokio::test]
async fn an_include_that_cannot_be_copied_says_why() -> Result<()> {
    let s = builder("include-bad").start().await?;
    let (app, lib) = (s.git.create("app")?, s.git.create("lib")?);
    app.commit_files("one", &[("deploy/a.yaml", "a")])?;
    lib.commit_files("one", &[("x.yaml", "x")])?;
    source(&s, "empty", &s.git.repository_url("nothing"), json!({})).await?;
    s.namespace
        .wait_failed::<GitRepository>("empty", "GitOperationFailed")
        .await?;
    let artifact = stored(&s, "lib", lib.url(), json!({})).await?;
    let include = |name: &str, from: &str, to: &str| json!({"include": [{"repository": {"name": name}, "fromPath": from, "toPath": to}]});
    let said = failed(&s, "waits", app.url(), include("empty", "", ""), "NoArtifact").await?;
    assert_eq!(said, "no artifact available for include 'empty'");
    for (name, from, to, reason, text) in [
        (
            "exists",
            "",
            "deploy",
            "CopyFailure",
            "failed to copy 'lib' include from  to deploy: link error: cannot rename unpack to deploy: \
             rename unpack deploy: file exists",
        ),
        (
            "nothing",
            "../../../path",
            "lib",
            "CopyFailure",
            "failed to copy 'lib' include from ../../../path to lib: cannot stat unpack/path: stat unpack/path: \
             no such file or directory",
        ),
        (
            "git",
            "",
            "lib/.git/hooks",
            "IllegalPath",
            "path calculation for include 'lib' failed: 'lib/.git/hooks' is refused: some file systems take it for '.git'",
        ),
    ] {
        assert_eq!(
            failed(&s, name, app.url(), include("lib", from, to), reason).await?,
            text
        );
        let object: GitRepository = s.namespace.get(name).await?;
        assert_eq!(
            conditions(&object),
            [
                "Reconciling=True ProgressingWithRetry",
                &format!("Ready=False {reason}"),
                &format!("StorageOperationFailed=True {reason}")
            ]
        );
    }
    // The file of the included artifact is lost, and nothing of it is made up.
    std::fs::write(s.controllers.storage().join(&artifact.path), "tampered")?;
    let said = failed(&s, "damaged", app.url(), include("lib", "", "lib"), "CopyFailure").await?;
    assert!(said.contains("computed digest"), "{said}");
    s.namespace.reconcile::<GitRepository>("lib").await?;
    s.namespace.request_reconcile::<GitRepository>("damaged").await?;
    s.namespace.wait_ready::<GitRepository>("damaged").await?;
    Ok(())
}

#[tokio::test]
async fn a_sparse_checkout_takes_its_directories_and_nothing_else() -> Result<()> {
    let s = builder("sparse").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files(
        "one",
        &[
            ("apps/a.txt", "a"),
            ("apps-old/b.txt", "b"),
            ("other/c.txt", "c"),
            ("root.txt", "r"),
        ],
    )?;
    let said = failed(
        &s,
        "app",
        repo.url(),
        json!({"sparseCheckout": ["apps/", "nope"]}),
        "GitOperationFailed",
    )
    .await?;
    assert_eq!(
        said,
        "failed to sparse checkout directories : sparse checkout dir 'nope' does not exist in repository: \
         lstat nope: no such file or directory"
    );
    let object: GitRepository = s.namespace.get("app").await?;
    assert_eq!(
        conditions(&object),
        [
            "Reconciling=True ProgressingWithRetry",
            "Ready=False GitOperationFailed",
            "FetchFailed=True GitOperationFailed"
        ]
    );
    let fewer = json!({"spec": {"sparseCheckout": ["./apps"]}});
    s.namespace.patch::<GitRepository>("app", fewer).await?;
    let object: GitRepository = s.namespace.wait_ready("app").await?;
    let first = artifact(&object)?;
    let expected = ["./", "apps/", "apps/a.txt a", "apps-old/", "apps-old/b.txt b"];
    assert_eq!(content(&first).await?, expected);
    assert_eq!(object.status.context("no status")?.observed_sparse_checkout, ["./apps"]);
    let other = json!({"spec": {"sparseCheckout": ["other", "root.txt"]}});
    s.namespace.patch::<GitRepository>("app", other).await?;
    let object: GitRepository = s.namespace.wait_ready("app").await?;
    assert_eq!(
        content(&artifact(&object)?).await?,
        ["./", "other/", "other/c.txt c", "root.txt r"]
    );
    Ok(())
}

#[tokio::test]
async fn every_kind_of_reference_leads_to_a_part_of_a_tree() -> Result<()> {
    let s = builder("sparse-references").start().await?;
    let repo = s.git.create("app")?;
    let commit = repo.commit_files("one", &[("apps/a", "1"), ("other/b", "2"), ("c", "3")])?;
    repo.annotated_tag("v1.0.0", "one")?;
    repo.set_ref("refs/pull/1/head")?;
    for (name, reference) in [
        ("branch", json!({"branch": "main"})),
        ("tag", json!({"tag": "v1.0.0"})),
        ("semver", json!({"semver": "1.x"})),
        ("name", json!({"name": "refs/pull/1/head"})),
        ("commit", json!({"commit": commit})),
        ("commit-of-branch", json!({"commit": commit, "branch": "main"})),
    ] {
        let fields = json!({"ref": reference, "sparseCheckout": ["apps"]});
        let artifact = stored(&s, name, repo.url(), fields).await?;
        assert_eq!(content(&artifact).await?, ["./", "apps/", "apps/a 1"], "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn names_that_would_do_harm_are_refused_with_their_path() -> Result<()> {
    let s = builder("names").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("good", "1")])?;
    let before = stored(&s, "app", repo.url(), json!({})).await?;
    let blob = repo.git(&["rev-parse", "HEAD:good"])?;
    for (name, shown, why) in [
        (".GIT", ".GIT", "some file systems take it for '.git'"),
        (
            "icon\\r",
            "icon\\r",
            "it holds a control character; rename it or leave it out with spec.ignore",
        ),
    ] {
        let name = name.replace("\\r", "\r");
        let tree = repo.tree(&[("100644", name.as_bytes(), blob.clone())])?;
        let root = repo.tree(&[("40000", b"dir", tree)])?;
        let commit = repo.git(&["commit-tree", "-m", "hostile", &root])?;
        repo.git(&["push", "--quiet", "origin", &format!("+{commit}:refs/heads/main")])?;
        let object: GitRepository = s.namespace.reconcile("app").await?;
        assert_eq!(
            message(&object)?,
            format!("failed to checkout and determine revision: tree contains refused name 'dir/{shown}': {why}")
        );
        assert_eq!(artifact(&object)?.digest, before.digest);
    }
    let ignored = json!({"spec": {"ignore": "icon*"}});
    s.namespace.patch::<GitRepository>("app", ignored).await?;
    s.namespace.wait_ready::<GitRepository>("app").await?;
    Ok(())
}
