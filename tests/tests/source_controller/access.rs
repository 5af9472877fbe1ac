//! `spec.secretRef` and transport security: who is let in, what is said when one is not, and that no secret leaks.

use anyhow::Result;
use api::source::GitRepository;
use serde_json::json;
use tests::git_server::{Access, Fault, GitServer};
use tests::ssh_server::{SshServer, hashed};

use crate::stage::{builder, conditions, content, failed, message, must_not_leak, source, stored};

const PASSWORD: &str = "c0rrect-horse";
const MODULES: &str = "[submodule \"lib\"]\n\tpath = lib\n\turl = ../lib.git\n";

#[tokio::test]
async fn a_password_opens_and_a_wrong_one_is_never_shown() -> Result<()> {
    let s = builder("basic").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    s.git.set_access("app", Access::basic("alice", PASSWORD));
    let refused = format!(
        "unable to clone '{}': authentication required: who are you?\n",
        repo.url()
    );
    let refused = format!("failed to checkout and determine revision: {refused}");
    assert_eq!(
        failed(&s, "none", repo.url(), json!({}), "GitOperationFailed").await?,
        refused
    );
    s.namespace
        .secret("wrong", &[("username", "alice"), ("password", "wr0ng-battery")])
        .await?;
    let wrong = json!({"secretRef": {"name": "wrong"}});
    assert_eq!(
        failed(&s, "wrong", repo.url(), wrong, "GitOperationFailed").await?,
        refused
    );
    must_not_leak(&s, "wrong", "wr0ng-battery").await?;
    s.namespace
        .secret("right", &[("username", "alice"), ("password", PASSWORD)])
        .await?;
    stored(&s, "right", repo.url(), json!({"secretRef": {"name": "right"}})).await?;
    // Credentials in the URL work too, and are not shown when they do not.
    let with = |password: &str| repo.url().replace("http://", &format!("http://alice:{password}@"));
    stored(&s, "url-right", &with(PASSWORD), json!({})).await?;
    let said = failed(&s, "url-wrong", &with("wr0ng-staple"), json!({}), "GitOperationFailed").await?;
    assert!(said.contains("'http://***@127.0.0.1"), "{said}");
    must_not_leak(&s, "url-wrong", "wr0ng-staple").await?;
    must_not_leak(&s, "url-right", PASSWORD).await
}

#[tokio::test]
async fn a_bearer_token_opens() -> Result<()> {
    let s = builder("bearer").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    s.git.set_access("app", Access::Bearer("t0ken".into()));
    s.namespace.secret("token", &[("bearerToken", "t0ken")]).await?;
    stored(&s, "app", repo.url(), json!({"secretRef": {"name": "token"}})).await?;
    assert!(s.git.seen("app").iter().all(|request| request.authorized));
    let twice = repo.url().replace("http://", "http://alice:x@");
    let said = failed(
        &s,
        "twice",
        &twice,
        json!({"secretRef": {"name": "token"}}),
        "GitOperationFailed",
    )
    .await?;
    let text = "basic auth and bearer token cannot be set at the same time";
    assert_eq!(said, format!("failed to checkout and determine revision: {text}"));
    Ok(())
}

#[tokio::test]
async fn secrets_that_do_not_fit_are_explained() -> Result<()> {
    let s = builder("bad-secrets").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let secret = |name: &str| json!({"secretRef": {"name": name}});
    let said = failed(&s, "missing", repo.url(), secret("later"), "AuthenticationFailed").await?;
    let of = format!("failed to get secret '{}/later'", s.ns());
    assert_eq!(said, format!("{of}: {of}: secrets \"later\" not found"));
    s.namespace.secret("alone", &[("password", PASSWORD)]).await?;
    let said = failed(&s, "alone", repo.url(), secret("alone"), "AuthenticationFailed").await?;
    let text = "invalid 'http' auth option: 'password' requires 'username' to be set";
    assert_eq!(said, format!("failed to configure authentication options: {text}"));
    s.namespace.secret("github", &[("githubAppID", "1")]).await?;
    let said = failed(
        &s,
        "github",
        repo.url(),
        secret("github"),
        "InvalidProviderConfiguration",
    )
    .await?;
    assert!(
        said.ends_with("has github app data but provider is not set to github"),
        "{said}"
    );
    // Nobody watches Secrets, but a failure is retried.
    s.namespace.secret("later", &[("username", "x")]).await?;
    s.namespace.wait_ready::<GitRepository>("missing").await?;
    Ok(())
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_the_secret_names_it() -> Result<()> {
    let s = builder("tls").start().await?;
    let server = GitServer::start_tls()?;
    let repo = server.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let said = failed(&s, "unknown", repo.url(), json!({}), "GitOperationFailed").await?;
    assert!(said.contains("certificate"), "{said}");
    let ca = server.ca().unwrap_or_default().to_owned();
    for (name, key) in [("new", "ca.crt"), ("old", "caFile")] {
        s.namespace.secret(name, &[(key, &ca)]).await?;
        stored(&s, name, repo.url(), json!({"secretRef": {"name": name}})).await?;
    }
    s.namespace.secret("junk", &[("ca.crt", "no certificate")]).await?;
    let said = failed(
        &s,
        "junk",
        repo.url(),
        json!({"secretRef": {"name": "junk"}}),
        "GitOperationFailed",
    )
    .await?;
    assert!(said.contains("certificate"), "{said}");
    Ok(())
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() -> Result<()> {
    let s = builder("redirect").start().await?;
    let (here, there) = (s.git.create("app")?, GitServer::start()?);
    here.commit_files("here", &[("a", "here")])?;
    let moved = there.create("app")?;
    moved.commit_files("there", &[("a", "there")])?;
    s.git.set_fault("app", Fault::Redirect(there.url()));
    s.namespace
        .secret("creds", &[("username", "alice"), ("password", PASSWORD)])
        .await?;
    let artifact = stored(&s, "app", here.url(), json!({"secretRef": {"name": "creds"}})).await?;
    assert_eq!(content(&artifact).await?, ["./", "a there"]);
    assert!(s.git.seen("app").iter().all(|request| request.authorized));
    assert!(
        there.seen("app").iter().all(|request| !request.authorized),
        "{:?}",
        there.seen("app")
    );
    there.set_access("app", Access::basic("alice", PASSWORD));
    let object: GitRepository = s.namespace.reconcile("app").await?;
    assert!(
        message(&object)?.contains("authentication required"),
        "{:?}",
        conditions(&object)
    );
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() -> Result<()> {
    let s = builder("away").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    s.git.down();
    source(&s, "app", repo.url(), json!({})).await?;
    let object: GitRepository = s.namespace.wait_failed("app", "GitOperationFailed").await?;
    let said = message(&object)?;
    assert!(said.contains("unable to clone") && said.contains("refused"), "{said}");
    s.git.up()?;
    s.namespace.wait_ready::<GitRepository>("app").await?;
    Ok(())
}

#[tokio::test]
async fn a_key_opens_over_ssh_and_submodules_come_along() -> Result<()> {
    let s = builder("ssh").start().await?;
    let server = SshServer::start()?;
    let (app, lib) = (server.create("app")?, server.create("lib")?);
    let pinned = lib.commit_files("one", &[("l", "lib")])?;
    app.write_all(&[("a", "1"), (".gitmodules", MODULES)])?;
    app.git(&["add", "--all"])?;
    app.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{pinned},lib")])?;
    app.git(&["commit", "--quiet", "--message", "pin"])?;
    app.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"])?;
    let (hosts, key) = (server.known_hosts()?, server.authorize("ed25519", "")?);
    s.namespace
        .secret("key", &[("identity", &key), ("known_hosts", &hashed(&hosts)?)])
        .await?;
    let artifact = stored(&s, "plain", app.url(), json!({"secretRef": {"name": "key"}})).await?;
    assert_eq!(content(&artifact).await?, ["./", "a 1", "lib/"]);
    let fields = json!({"secretRef": {"name": "key"}, "recurseSubmodules": true});
    let artifact = stored(&s, "submodules", app.url(), fields).await?;
    assert_eq!(content(&artifact).await?, ["./", "a 1", "lib/", "lib/l lib"]);
    // Encrypted keys need their passphrase.
    let locked = server.authorize("rsa-2048", PASSWORD)?;
    let secret = [("identity", locked.as_str()), ("known_hosts", hosts.as_str())];
    s.namespace.secret("locked", &secret).await?;
    let said = failed(
        &s,
        "locked",
        app.url(),
        json!({"secretRef": {"name": "locked"}}),
        "AuthenticationFailed",
    )
    .await?;
    let text = "SSH identity key is encrypted but no 'password' field was provided in the secret";
    assert_eq!(said, format!("{text} '{}/locked'", s.ns()));
    let secret = [&secret[..], &[("password", PASSWORD)]].concat();
    s.namespace.secret("opened", &secret).await?;
    stored(&s, "opened", app.url(), json!({"secretRef": {"name": "opened"}})).await?;
    must_not_leak(&s, "opened", PASSWORD).await?;
    // A server that known_hosts does not name is not talked to.
    let other = format!("elsewhere {}\n", server.host_key("ed25519")?);
    s.namespace
        .secret("stranger", &[("identity", &key), ("known_hosts", &other)])
        .await?;
    let said = failed(
        &s,
        "stranger",
        app.url(),
        json!({"secretRef": {"name": "stranger"}}),
        "GitOperationFailed",
    )
    .await?;
    assert!(
        said.contains("ssh: handshake failed: knownhosts: key is unknown: "),
        "{said}"
    );
    // What cannot be read shows where it would be used.
    s.namespace
        .secret("junk", &[("identity", "junk"), ("known_hosts", hosts.as_str())])
        .await?;
    let said = failed(
        &s,
        "junk",
        app.url(),
        json!({"secretRef": {"name": "junk"}}),
        "GitOperationFailed",
    )
    .await?;
    let text = "failed to checkout and determine revision: unable to construct auth method with options: ";
    assert!(said.starts_with(text), "{said}");
    let said = failed(&s, "nobody", app.url(), json!({}), "AuthenticationFailed").await?;
    let text = "invalid 'ssh' auth option: 'identity' is required";
    assert_eq!(said, format!("failed to configure authentication options: {text}"));
    Ok(())
}
