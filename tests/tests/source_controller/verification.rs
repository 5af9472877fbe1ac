//! `spec.verify`: only what is signed by a trusted key is published, whenever the keys or the commits change.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use api::source::{GitRepository, GitVerificationMode};
use serde_json::json;
use tests::namespace::condition;
use tests::repo::Repo;
use tests::ssh_server::new_key;

use crate::stage::{artifact, builder, conditions, content, failed, message, stored};

/// A key to sign commits with; the public part.
fn signer(repo: &Repo) -> Result<String> {
    let (private, public) = new_key("ed25519", "", &[])?;
    let file = repo.work().join(".git/signing-key");
    fs::write(&file, private)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    repo.git(&["config", "gpg.format", "ssh"])?;
    repo.git(&["config", "user.signingkey", &file.display().to_string()])?;
    Ok(public)
}

/// Commits and pushes, signed or not.
fn commit(repo: &Repo, content: &str, is_signed: bool) -> Result<String> {
    repo.write("a", content)?;
    repo.git(&["add", "--all"])?;
    let sign = if is_signed { "--gpg-sign" } else { "--no-gpg-sign" };
    repo.git(&["commit", "--quiet", sign, "--message", content])?;
    repo.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"])?;
    repo.head()
}

/// What the condition says.
fn verdict(object: &GitRepository) -> Option<String> {
    condition(object, "SourceVerified").map(|c| format!("{} {}: {}", c.status, c.reason, c.message))
}

#[tokio::test]
async fn only_what_a_trusted_key_has_signed_is_published() -> Result<()> {
    let s = builder("verify").start().await?;
    let repo = s.git.create("app")?;
    let public = signer(&repo)?;
    let first = commit(&repo, "1", true)?;
    s.namespace.secret("keys", &[("ada.sshpub", &public)]).await?;
    let verify = json!({"verify": {"mode": "head", "secretRef": {"name": "keys"}}});
    let before = stored(&s, "app", repo.url(), verify).await?;
    let object: GitRepository = s.namespace.get("app").await?;
    let verified = format!("True Succeeded: verified signature of\n\t- commit '{first}' with key 'SHA256:");
    assert!(
        verdict(&object).is_some_and(|text| text.starts_with(&verified)),
        "{object:?}"
    );
    let status = object.status.context("no status")?;
    assert_eq!(status.source_verification_mode, Some(GitVerificationMode::Head));
    let event = s.namespace.wait_event::<GitRepository>("app", "Succeeded").await?;
    assert!(
        event
            .message
            .is_some_and(|text| text.starts_with("verified signature of"))
    );
    // The next commit is not signed: the artifact of the one before stays.
    let second = commit(&repo, "2", false)?;
    let object: GitRepository = s.namespace.reconcile("app").await?;
    let text = format!("signature verification of commit '{second}' failed: unsupported signature type: empty");
    assert_eq!(verdict(&object), Some(format!("False InvalidCommitSignature: {text}")));
    assert_eq!(message(&object)?, text);
    assert_eq!(
        conditions(&object),
        [
            "Reconciling=True ProgressingWithRetry",
            "Ready=False InvalidCommitSignature",
            "ArtifactInStorage=True Succeeded",
            "SourceVerified=False InvalidCommitSignature"
        ]
    );
    assert_eq!(artifact(&object)?.digest, before.digest);
    assert_eq!(content(&before).await?, ["./", "a 1"]);
    commit(&repo, "3", true)?;
    let object: GitRepository = s.namespace.reconcile("app").await?;
    assert_eq!(content(&artifact(&object)?).await?, ["./", "a 3"]);
    // Without `verify` what was said goes with the next revision.
    s.namespace
        .patch::<GitRepository>("app", json!({"spec": {"verify": null}}))
        .await?;
    s.namespace.wait_ready::<GitRepository>("app").await?;
    commit(&repo, "4", false)?;
    let object: GitRepository = s.namespace.reconcile("app").await?;
    assert_eq!(
        conditions(&object),
        ["Ready=True Succeeded", "ArtifactInStorage=True Succeeded"]
    );
    assert_eq!(object.status.context("no status")?.source_verification_mode, None);
    Ok(())
}

#[tokio::test]
async fn a_key_that_is_withdrawn_counts_with_the_next_look() -> Result<()> {
    let s = builder("verify-keys").start().await?;
    let repo = s.git.create("app")?;
    let public = signer(&repo)?;
    let other = new_key("ed25519", "", &[])?.1;
    commit(&repo, "1", true)?;
    let verify = json!({"verify": {"secretRef": {"name": "keys"}}});
    let said = failed(&s, "app", repo.url(), verify, "VerificationError").await?;
    assert_eq!(said, "public keys secret error: secrets \"keys\" not found");
    s.namespace.secret("keys", &[("ada.sshpub", &public)]).await?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    let object: GitRepository = s.namespace.wait_ready("app").await?;
    let before = artifact(&object)?;
    // The same revision, another key.
    s.namespace.secret("keys", &[("ada.sshpub", &other)]).await?;
    let object: GitRepository = s.namespace.reconcile("app").await?;
    assert!(
        verdict(&object).is_some_and(|text| text.starts_with("False InvalidCommitSignature: ")),
        "{object:?}"
    );
    assert_eq!(artifact(&object)?.digest, before.digest);
    content(&before).await?;
    // Back again: nothing is built for it.
    s.namespace.secret("keys", &[("ada.sshpub", &public)]).await?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    let object: GitRepository = s.namespace.wait_ready("app").await?;
    assert_eq!(artifact(&object)?, before);
    // And what was verified is verified once more after a restart, without being built.
    s.controllers.restart(tests::controllers::Controller::Source).await?;
    let object: GitRepository = s.namespace.reconcile("app").await?;
    assert_eq!(artifact(&object)?, before);
    assert_eq!(
        conditions(&object),
        [
            "Ready=True Succeeded",
            "ArtifactInStorage=True Succeeded",
            "SourceVerified=True Succeeded"
        ]
    );
    Ok(())
}

#[tokio::test]
async fn a_tag_that_is_to_be_verified_has_to_be_there_and_signed() -> Result<()> {
    let s = builder("verify-tag").start().await?;
    let repo = s.git.create("app")?;
    let public = signer(&repo)?;
    commit(&repo, "1", false)?;
    s.namespace.secret("keys", &[("ada.sshpub", &public)]).await?;
    let verify = |reference: serde_json::Value, mode: &str| json!({"ref": reference, "verify": {"mode": mode, "secretRef": {"name": "keys"}}});
    let said = failed(
        &s,
        "branch",
        repo.url(),
        verify(json!({"branch": "main"}), "Tag"),
        "InvalidVerificationMode",
    )
    .await?;
    assert_eq!(
        said,
        "cannot verify tag object's signature if a tag reference is not specified"
    );
    let object: GitRepository = s.namespace.get("branch").await?;
    assert_eq!(
        conditions(&object),
        [
            "Stalled=True InvalidVerificationMode",
            "Ready=False InvalidVerificationMode",
            "SourceVerified=False InvalidVerificationMode"
        ]
    );
    repo.tag("v1.0.0")?;
    let said = failed(
        &s,
        "light",
        repo.url(),
        verify(json!({"tag": "v1.0.0"}), "Tag"),
        "InvalidGitObject",
    )
    .await?;
    assert_eq!(said, "cannot verify signature of tag 'v1.0.0' since it is not signed");
    // A commit that is told by its hash leads through no tag, whatever name it goes by.
    let named = json!({"commit": repo.head()?, "name": "refs/tags/v1.0.0"});
    let said = failed(&s, "named", repo.url(), verify(named, "Tag"), "InvalidGitObject").await?;
    assert_eq!(said, "cannot verify signature of tag 'v1.0.0' since it is not signed");
    repo.git(&["tag", "--sign", "--message", "two", "v2.0.0"])?;
    repo.git(&["push", "--quiet", "origin", "refs/tags/v2.0.0"])?;
    stored(&s, "signed", repo.url(), verify(json!({"semver": ">=2"}), "Tag")).await?;
    let object: GitRepository = s.namespace.get("signed").await?;
    let tag = repo.id("v2.0.0")?;
    let verified = format!("True Succeeded: verified signature of\n\t- tag 'v2.0.0@{tag}' with key 'SHA256:");
    assert!(
        verdict(&object).is_some_and(|text| text.starts_with(&verified)),
        "{object:?}"
    );
    let said = failed(
        &s,
        "both",
        repo.url(),
        verify(json!({"tag": "v2.0.0"}), "TagAndHEAD"),
        "InvalidCommitSignature",
    )
    .await?;
    assert!(said.ends_with("unsupported signature type: empty"), "{said}");
    Ok(())
}
