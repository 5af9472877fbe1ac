//! What goes into an artifact besides the commit as it is: `spec.include` and `spec.sparseCheckout`.

use anyhow::{Context, Result};
use api::source::{Artifact, GitRepository};
use serde_json::json;
use tests::controllers::Controller;
use tests::repo::Repo;

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
    let library = stored(&s, "lib", lib.url(), json!({})).await?;
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
    // So does a new one.
    lib.commit_files("two", &[("base/x.yaml", "x2")])?;
    let library = artifact(&s.namespace.reconcile::<GitRepository>("lib").await?)?;
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
        let tree = make_tree(&repo, "100644", &name.replace("\\r", "\r"), &blob)?;
        let root = make_tree(&repo, "40000", "dir", &tree)?;
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

/// Makes a tree with one entry, which git would not make by itself.
fn make_tree(repo: &Repo, mode: &str, name: &str, id: &str) -> Result<String> {
    let mut content = format!("{mode} {name}\0").into_bytes();
    for at in (0..id.len()).step_by(2) {
        content.push(u8::from_str_radix(&id[at..at + 2], 16)?);
    }
    std::fs::write(repo.work().join(".git/hostile-tree"), content)?;
    repo.git(&["hash-object", "--literally", "-t", "tree", "-w", ".git/hostile-tree"])
}
