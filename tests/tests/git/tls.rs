//! https: which servers are trusted, which clients are, HTTP/2, and what redirects lead to.

use anyhow::Result;
use git::credentials::{Certificate, certificate};
use git::{Credentials, Request};
use tests::git_server::{Access, Fault, GitServer};
use tests::pki::Authority;
use tests::web::Front;

use crate::stage::{Stage, request};

/// What a request for HEAD leads to when authorities and a certificate go with it.
fn with(url: &str, authorities: &str, certificate: Option<&Certificate>) -> Result<Request> {
    let mut request = request(url)?;
    request.credentials = Credentials {
        authorities: Some(authorities.as_bytes().to_vec()),
        certificate: certificate.cloned(),
        ..Credentials::default()
    };
    Ok(request)
}

#[track_caller]
fn assert_fails(found: Result<impl std::fmt::Debug, String>, url: &str, text: &str) {
    let found = match found {
        Ok(found) => format!("no error: {found:?}"),
        Err(error) => error,
    };
    let get = format!("unable to clone '{url}': Get \"{url}/info/refs?service=git-upload-pack\": ");
    assert!(
        found.starts_with(&format!("{get}{text}")),
        "{found}\ninstead of\n{get}{text}"
    );
}

#[test]
fn only_servers_of_trusted_authorities_are_talked_to() -> Result<()> {
    let (stage, server) = (Stage::new()?, GitServer::start_tls()?);
    let repo = server.create("app")?;
    let id = repo.commit_files("one", &[("a", "1")])?;
    let trusted = server.ca().unwrap_or_default();
    let url = repo.url();
    assert_eq!(stage.id(&with(url, trusted, None)?, None), Ok(id.clone()));
    let other = Authority::new("another authority")?;
    let both = format!(
        "{}\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{trusted}",
        other.certificate()
    );
    assert_eq!(stage.id(&with(url, &both, None)?, None), Ok(id));
    let unknown = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert_fails(stage.get(&request(url)?), url, unknown);
    assert_fails(stage.get(&with(url, other.certificate(), None)?), url, unknown);
    assert_fails(stage.get(&with(url, "no certificate", None)?), url, unknown);
    // Vouched for, but not under this name.
    let elsewhere = url.replace("127.0.0.1", "127.0.0.2");
    let found = stage.get(&with(&elsewhere, trusted, None)?);
    // Nobody listens there on some systems.
    let text = found.err().unwrap_or_default();
    assert!(text.contains("x509: ") || text.contains("refused"), "{text}");
    let plain = url.replace("https://", "http://");
    let found = stage.get(&request(&plain)?);
    assert!(found.is_err(), "{found:?}");
    Ok(())
}

#[test]
fn a_client_certificate_opens_the_door_over_both_versions_of_http() -> Result<()> {
    let stage = Stage::new()?;
    let (servers, clients) = (Authority::new("servers")?, Authority::new("clients")?);
    for (protocols, http2) in [(&["h2", "http/1.1"][..], true), (&["http/1.1"], false), (&[], false)] {
        let server = GitServer::start_front(&Front {
            authority: &servers,
            clients: Some(&clients),
            protocols,
        })?;
        let repo = server.create("app")?;
        let id = repo.commit_files("one", &[("a", "1")])?;
        let (url, trusted) = (repo.url(), servers.certificate());
        let known = clients.client("flux", None)?;
        let certificate = Certificate::new(known.certificate.as_bytes(), known.key.as_bytes())?;
        assert_eq!(stage.id(&with(url, trusted, Some(&certificate))?, None), Ok(id));
        let seen = server.seen("app");
        assert!(
            seen.len() >= 2 && seen.iter().all(|seen| seen.http2 == http2),
            "{seen:?}"
        );
        // Together with a login.
        server.set_access("app", Access::basic("me", "pw"));
        let mut both = with(url, trusted, Some(&certificate))?;
        both.credentials.authorization = Credentials::basic("me", "pw").authorization;
        assert!(stage.get(&both).is_ok());
        server.set_access("app", Access::Anonymous);
        // What the server says of it arrives while the question is on its way, and is not always read.
        let refused = |request: Request, texts: [&str; 2]| {
            let found = stage.get(&request).err().unwrap_or_default();
            assert!(texts.iter().any(|text| found.contains(text)), "{found}");
        };
        let texts = [
            "remote error: tls: certificate required",
            "the server may want a client certificate",
        ];
        refused(with(url, trusted, None)?, texts);
        let stranger = Authority::new("strangers")?.client("flux", None)?;
        let stranger = Certificate::new(stranger.certificate.as_bytes(), stranger.key.as_bytes())?;
        let texts = [
            "remote error: tls: ",
            "the server may not accept the client certificate",
        ];
        refused(with(url, trusted, Some(&stranger))?, texts);
        // A server that asks for none is not bothered by one.
        let open = GitServer::start_front(&Front {
            protocols,
            ..Front::of(&servers)
        })?;
        let repo = open.create("app")?;
        let id = repo.commit_files("one", &[("a", "1")])?;
        assert_eq!(stage.id(&with(repo.url(), trusted, Some(&certificate))?, None), Ok(id));
    }
    Ok(())
}

#[test]
fn a_pair_that_does_not_fit_is_refused_before_anybody_is_asked() -> Result<()> {
    let clients = Authority::new("clients")?;
    let (one, other) = (clients.client("one", None)?, clients.client("other", None)?);
    let made = |certificate: &str, key: &str| Certificate::new(certificate.as_bytes(), key.as_bytes()).map(drop);
    assert_eq!(made(&one.certificate, &one.key), Ok(()));
    assert_eq!(made(&one.certificate, &other.key), Err(certificate::Error::Mismatch));
    assert_eq!(made(&one.certificate, "invalid"), Err(certificate::Error::NoKey));
    Ok(())
}

#[test]
fn redirects_take_no_credentials_to_another_host() -> Result<()> {
    let stage = Stage::new()?;
    let (servers, clients) = (Authority::new("servers")?, Authority::new("clients")?);
    let front = Front {
        authority: &servers,
        clients: Some(&clients),
        protocols: &["http/1.1"],
    };
    // The one that is asked, one like it, one for everybody, and one without TLS.
    let asked = GitServer::start_front(&front)?;
    let alike = GitServer::start_front(&front)?;
    let open = GitServer::start_front(&Front::of(&servers))?;
    let plain = GitServer::start()?;
    let url = asked.create("app")?.url().to_owned();
    let mut ids = Vec::new();
    for (content, server) in [("1", &alike), ("2", &open), ("3", &plain)] {
        ids.push(server.create("app")?.commit_files("one", &[("a", content)])?);
    }
    let known = clients.client("flux", None)?;
    let certificate = Certificate::new(known.certificate.as_bytes(), known.key.as_bytes())?;
    let mut request = with(&url, servers.certificate(), Some(&certificate))?;
    request.credentials.authorization = Credentials::basic("me", "pw").authorization;

    asked.set_fault("app", Fault::Redirect(open.url()));
    assert_eq!(stage.id(&request, None), Ok(ids[1].clone()));
    assert!(asked.seen("app").iter().all(|seen| seen.authorized));
    assert!(open.seen("app").len() >= 2 && open.seen("app").iter().all(|seen| !seen.authorized));
    // One that wants a certificate does not get to see it.
    asked.set_fault("app", Fault::Redirect(alike.url()));
    let found = stage.id(&request, None).unwrap_err();
    let texts = [
        "remote error: tls: certificate required",
        "the server may want a client certificate",
    ];
    assert!(texts.iter().any(|text| found.contains(text)), "{found}");
    assert_eq!(alike.seen("app"), []);
    // And nobody goes where everybody can listen.
    asked.set_fault("app", Fault::Redirect(plain.url()));
    let refused = "http redirect: changes scheme from \"https\" to \"http\"";
    assert_fails(stage.id(&request, None), &url, refused);
    assert_eq!(plain.seen("app"), []);
    // The other way round is an improvement.
    plain.set_fault("app", Fault::Redirect(open.url()));
    let mut upwards = request.clone();
    upwards.remote = git::RemoteUrl::parse(&format!("{}/app.git", plain.url()))?;
    assert_eq!(stage.id(&upwards, None), Ok(ids[1].clone()));
    assert!(open.seen("app").iter().all(|seen| !seen.authorized));
    Ok(())
}
