//! What else may stand between the controller and a Git server: a certificate to show, and a proxy to go through.

use anyhow::Result;
use api::source::GitRepository;
use axum::Router;
use axum::routing::post;
use serde_json::json;
use tests::controllers::Controller;
use tests::git_server::{Access, GitServer};
use tests::pki::Authority;
use tests::proxy::Proxy;
use tests::relay::{Cut, Relay};
use tests::web::{CODECOMMIT, Front, Server};

use crate::stage::{builder, failed, message, must_not_leak, stored};

const PASSWORD: &str = "pr0xy-battery";

#[tokio::test]
async fn a_client_certificate_opens_and_a_bad_one_is_explained() -> Result<()> {
    let s = builder("mtls").start().await?;
    let (servers, clients) = (Authority::new("servers")?, Authority::new("clients")?);
    let server = GitServer::start_front(&Front {
        clients: Some(&clients),
        ..Front::of(&servers)
    })?;
    let repo = server.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let known = clients.client("flux", None)?;
    let secret = |chain: &str, key: &str| {
        let pairs = [("ca.crt", servers.certificate()), ("tls.crt", chain), ("tls.key", key)];
        pairs.map(|(name, value)| (name, value.to_owned()))
    };
    let write = async |name: &str, data: [(&'static str, String); 3]| {
        let data: Vec<_> = data.iter().map(|(key, value)| (*key, value.as_str())).collect();
        s.namespace.secret(name, &data).await
    };
    let fields = |name: &str| json!({ "secretRef": { "name": name } });
    write("good", secret(&known.certificate, &known.key)).await?;
    stored(&s, "good", repo.url(), fields("good")).await?;
    // Half a pair is none, and the server wants one.
    write("half", secret(&known.certificate, "")).await?;
    let said = failed(&s, "half", repo.url(), fields("half"), "GitOperationFailed").await?;
    assert!(said.contains("certificate required"), "{said}");
    write("bad", secret(&known.certificate, "invalid")).await?;
    let said = failed(&s, "bad", repo.url(), fields("bad"), "GitOperationFailed").await?;
    let text = "tls: failed to find any PEM data in key input";
    let text = format!(
        "failed to checkout and determine revision: unable to clone '{}': {text}",
        repo.url()
    );
    assert!(said.starts_with(&text), "{said}");
    must_not_leak(&s, "good", known.key.lines().nth(1).unwrap_or_default()).await
}

#[tokio::test]
async fn a_proxy_leads_to_a_server_whose_name_only_it_knows() -> Result<()> {
    let s = builder("proxy").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let url = repo.url().replace("127.0.0.1", "git.test");
    let target = url
        .trim_start_matches("http://")
        .split('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    let login = format!("me:{PASSWORD}");
    for (name, proxy, how) in [
        ("http", Proxy::http(Some(&login))?, "GET"),
        ("socks", Proxy::socks5(Some(&login))?, "socks5"),
    ] {
        let secret = [("address", proxy.address()), ("username", "me"), ("password", PASSWORD)];
        s.namespace.secret(name, &secret).await?;
        let fields = json!({ "proxySecretRef": { "name": name } });
        stored(&s, name, &url, fields).await?;
        let asked = proxy.asked();
        assert!(asked.iter().any(|asked| asked.how == how), "{asked:?}");
        assert!(
            asked.iter().all(|asked| asked.target == target && asked.login == login),
            "{asked:?}"
        );
        must_not_leak(&s, name, PASSWORD).await?;
    }
    Ok(())
}

const STS: &str = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>
  <AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>sts-secret-access-key</SecretAccessKey>
  <SessionToken>sts-session-token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";

#[tokio::test]
async fn codecommit_is_reached_as_a_service_account_and_through_the_proxy() -> Result<()> {
    let sts = Server::start(Router::new().route("/", post(|| async { STS })))?;
    let elsewhere = sts.url().replace("127.0.0.1", "sts.test");
    let s = builder("codecommit")
        .flag(Controller::Source, "--feature-gates=ObjectLevelWorkloadIdentity=true")
        .variable(Controller::Source, "AWS_ENDPOINT_URL_STS", &elsewhere)
        .start()
        .await?;
    let authority = Authority::new("amazon")?;
    let server = GitServer::start_front(&Front::of(&authority))?;
    let repo = server.create("v1/repos/app")?;
    repo.commit_files("one", &[("a", "1")])?;
    server.set_access("v1/repos/app", Access::BasicUser("ASIA1%sts-session-token".into()));
    let proxy = Proxy::http(None)?;
    s.namespace.secret("way", &[("address", proxy.address())]).await?;
    s.namespace.secret("ca", &[("ca.crt", authority.certificate())]).await?;
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": "app", "annotations": { "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/app" } },
    });
    s.namespace.apply_yaml(&account.to_string()).await?;
    let url = repo.url().replace("127.0.0.1", CODECOMMIT);
    let fields = json!({
        "provider": "aws",
        "serviceAccountName": "app",
        "secretRef": { "name": "ca" },
        "proxySecretRef": { "name": "way" },
    });
    stored(&s, "app", &url, fields).await?;
    let asked = proxy.asked();
    let (tokens, git): (Vec<_>, Vec<_>) = asked.iter().partition(|asked| asked.target.starts_with("sts.test:"));
    assert_eq!(tokens.len(), 1, "{asked:?}");
    assert_eq!(tokens[0].how, "POST");
    assert!(
        git.iter()
            .all(|asked| asked.how == "CONNECT" && asked.target.starts_with(CODECOMMIT)),
        "{asked:?}"
    );
    for secret in ["sts-secret-access-key", "sts-session-token"] {
        must_not_leak(&s, "app", secret).await?;
    }
    // A refusal by the server is one of Git.
    server.set_access("v1/repos/app", Access::BasicUser("somebody else".into()));
    let object: GitRepository = s.namespace.reconcile("app").await?;
    assert!(message(&object)?.contains("authentication required"), "{object:?}");
    Ok(())
}

#[tokio::test]
async fn a_connection_over_http2_that_leads_nowhere_any_more_is_replaced() -> Result<()> {
    let authority = Authority::new("servers")?;
    let trusted = tempfile::NamedTempFile::new()?;
    std::fs::write(trusted.path(), authority.certificate())?;
    // Only connections that need nothing of their own are kept for the next time.
    let s = builder("dead-connection")
        .variable(Controller::Source, "SSL_CERT_FILE", &trusted.path().to_string_lossy())
        .start()
        .await?;
    let server = GitServer::start_front(&Front {
        protocols: &["h2"],
        ..Front::of(&authority)
    })?;
    let repo = server.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let address = server.url().replace("https://", "");
    let relay = Relay::start(&address)?;
    let url = repo.url().replace(&address, &relay.address());
    stored(&s, "app", &url, json!({ "timeout": "50s" })).await?;
    assert!(server.seen("app").iter().all(|seen| seen.http2));
    // What a record with something said in it begins with.
    relay.cut(Cut::Silence, "\x17", 0..1);
    let commit = repo.commit_files("two", &[("a", "2")])?;
    // Within the time of one run, and without a failure.
    let object: GitRepository = s.namespace.reconcile("app").await?;
    assert_eq!(relay.cuts(), 1);
    assert_eq!(
        message(&object)?,
        format!("stored artifact for revision 'main@sha1:{commit}'")
    );
    let events = s.namespace.events::<GitRepository>("app").await?;
    assert!(
        events.iter().all(|event| event.type_.as_deref() == Some("Normal")),
        "{events:?}"
    );
    Ok(())
}
