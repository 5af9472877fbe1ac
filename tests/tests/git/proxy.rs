//! Proxies: those that a remote's owner names, those of the environment, and what they get to see. Against proxies that write
//! down what they are asked; the names they are given exist nowhere else.

use anyhow::{Result, anyhow};
use git::credentials::Proxy as Through;
use git::ssh::{Algorithms, Identity};
use git::{Credentials, Policy, Proxies, Request};
use tests::git_server::GitServer;
use tests::pki::Authority;
use tests::proxy::{Asked, Proxy};
use tests::ssh_server::SshServer;
use tests::web::Front;

use crate::stage::{Stage, over_ssh, request};

/// The same address under a name that only proxies know.
fn named(url: &str) -> String {
    url.replace("127.0.0.1", "git.test")
}

/// Asks for HEAD through a proxy.
fn through(url: &str, proxy: &Proxy, login: (&str, &str)) -> Result<Request> {
    let mut request = request(url)?;
    request.credentials.proxy = Some(Through::new(proxy.address(), login.0, login.1)?);
    Ok(request)
}

/// What a proxy has to have written down: always the same, and something.
#[track_caller]
fn assert_asked(proxy: &Proxy, how: &[&str], target: &str, login: &str) {
    let asked = proxy.asked();
    let is_expected =
        |asked: &Asked| how.contains(&asked.how.as_str()) && asked.target == target && asked.login == login;
    assert!(!asked.is_empty() && asked.iter().all(is_expected), "{asked:?}");
}

fn place(url: &str) -> String {
    let rest = url.split("://").nth(1).unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}

#[test]
fn every_kind_of_proxy_leads_to_http_and_https() -> Result<()> {
    let stage = Stage::new()?;
    let authority = Authority::new("servers")?;
    let front = Front {
        protocols: &["h2", "http/1.1"],
        ..Front::of(&authority)
    };
    let (plain, secure) = (GitServer::start()?, GitServer::start_front(&front)?);
    let login = Some("me:p@ss%41 wörd");
    type Start<'a> = &'a dyn Fn() -> Result<Proxy>;
    let proxies: [(&str, Start); 3] = [
        ("http", &|| Proxy::http(login)),
        ("https", &|| Proxy::https(&Front::of(&authority), login)),
        ("socks5", &|| Proxy::socks5(login)),
    ];
    for (kind, start) in proxies {
        for (server, tunnelled) in [
            (&plain, &["GET", "POST", "socks5"][..]),
            (&secure, &["CONNECT", "socks5"]),
        ] {
            let repo = server.create(kind)?;
            let id = repo.commit_files("one", &[("a", kind)])?;
            let url = named(repo.url());
            let proxy = start()?;
            let mut request = through(&url, &proxy, ("me", "p@ss%41 wörd"))?;
            request.credentials.authorities = Some(authority.certificate().as_bytes().to_vec());
            assert_eq!(stage.id(&request, None), Ok(id), "{kind} {url}");
            assert_asked(&proxy, tunnelled, &place(&url), "me:p@ss%41 wörd");
            let is_secure = url.starts_with("https");
            assert!(server.seen(kind).iter().all(|seen| seen.http2 == is_secure), "{kind}");
            // Somebody else does not get through, and no password is told.
            let mut stranger = through(&url, &proxy, ("me", "s3cret"))?;
            stranger.credentials.authorities = request.credentials.authorities;
            let found = stage.id(&stranger, None).unwrap_err();
            assert!(!found.contains("s3cret"), "{found}");
            let texts = ["407", "Proxy Authentication Required", "credentials not accepted"];
            assert!(texts.iter().any(|text| found.contains(text)), "{found}");
        }
    }
    Ok(())
}

#[test]
fn a_proxy_that_is_not_there_is_named() -> Result<()> {
    let (stage, server) = (Stage::new()?, GitServer::start()?);
    let repo = server.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    for kind in ["http", "socks5"] {
        let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut request = request(repo.url())?;
        request.credentials.proxy = Some(Through::new(&format!("{kind}://{closed}"), "", "")?);
        let found = stage.id(&request, None).unwrap_err();
        assert!(found.contains("refused") || found.contains("SOCKS error"), "{found}");
        assert_eq!(server.seen("app"), [], "{kind}");
    }
    // One that is there, for a server that is not.
    let proxy = Proxy::http(None)?;
    let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let found = stage.id(&through(&format!("https://{closed}/x"), &proxy, ("", ""))?, None);
    let found = found.unwrap_err();
    assert!(
        found.contains("proxyconnect tcp: the proxy refuses to connect"),
        "{found}"
    );
    Ok(())
}

#[test]
fn ssh_goes_through_socks5_only() -> Result<()> {
    let stage = Stage::new()?;
    let server = SshServer::start()?;
    let repo = server.create("app")?;
    let id = repo.commit_files("one", &[("a", "1")])?;
    let key = server.authorize("ed25519", "")?;
    let url = named(repo.url());
    let known_hosts = server.known_hosts()?.replace("127.0.0.1", "git.test");
    let credentials = |proxy: &Proxy, login: (&str, &str)| {
        anyhow::Ok(Credentials {
            ssh: Some(Identity::new(&key, None, &known_hosts)?),
            proxy: Some(Through::new(proxy.address(), login.0, login.1)?),
            ..Credentials::default()
        })
    };
    let mut request = request(&url)?;
    for login in [None, Some("me:pw")] {
        let proxy = Proxy::socks5(login)?;
        let words = login.and_then(|login| login.split_once(':')).unwrap_or_default();
        request.credentials = credentials(&proxy, words)?;
        assert_eq!(stage.id(&request, None), Ok(id.clone()));
        assert_asked(&proxy, &["socks5"], &place(&url), login.unwrap_or_default());
    }
    let proxy = Proxy::socks5(Some("me:pw"))?;
    request.credentials = credentials(&proxy, ("me", "s3cret"))?;
    let found = stage.id(&request, None).unwrap_err();
    assert!(found.contains("username/password authentication failed"), "{found}");
    assert!(!found.contains("s3cret"), "{found}");
    let proxy = Proxy::http(None)?;
    request.credentials = credentials(&proxy, ("", ""))?;
    let text = "proxy: unknown scheme: http: ssh remotes are reached through socks5 proxies only";
    assert_eq!(
        stage.id(&request, None),
        Err(format!("unable to clone '{url}': {text}"))
    );
    assert_eq!(proxy.asked(), []);
    Ok(())
}

#[test]
fn the_environment_counts_where_nobody_names_a_proxy() -> Result<()> {
    let authority = Authority::new("servers")?;
    let (plain, secure) = (GitServer::start()?, GitServer::start_front(&Front::of(&authority))?);
    let shell = SshServer::start()?;
    let [for_http, for_https, for_all, own] = [
        Proxy::http(Some("h:1"))?,
        Proxy::http(Some("s:2"))?,
        Proxy::socks5(Some("a:3"))?,
        Proxy::http(None)?,
    ];
    let with_login = |proxy: &Proxy, login: &str| proxy.address().replace("://", &format!("://{login}@"));
    let variables = [
        ("HTTP_PROXY", with_login(&for_http, "h:1")),
        ("https_proxy", with_login(&for_https, "s:2")),
        ("ALL_PROXY", with_login(&for_all, "a:3")),
        ("NO_PROXY", "direct.test".to_owned()),
    ];
    let proxies = Proxies::named(|name| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| value.clone())
    });
    let stage = Stage::among(proxies.clone(), Policy::default(), Algorithms::default())?;

    let repo = plain.create("app")?;
    let id = repo.commit_files("one", &[("a", "1")])?;
    let url = named(repo.url());
    assert_eq!(stage.id(&request(&url)?, None), Ok(id.clone()));
    assert_asked(&for_http, &["GET", "POST"], &place(&url), "h:1");

    // What the request says comes first, and this machine is reached without any.
    let before = for_http.asked().len();
    assert_eq!(stage.id(&through(&url, &own, ("", ""))?, None), Ok(id.clone()));
    assert_asked(&own, &["GET", "POST"], &place(&url), "");
    assert_eq!(stage.id(&request(repo.url())?, None), Ok(id));
    let direct = repo.url().replace("127.0.0.1", "direct.test");
    assert!(stage.id(&request(&direct)?, None).is_err());
    assert_eq!(for_http.asked().len(), before);

    let repo = secure.create("app")?;
    let id = repo.commit_files("one", &[("a", "2")])?;
    let url = named(repo.url());
    let mut trusting = request(&url)?;
    trusting.credentials.authorities = Some(authority.certificate().as_bytes().to_vec());
    assert_eq!(stage.id(&trusting, None), Ok(id));
    assert_asked(&for_https, &["CONNECT"], &place(&url), "s:2");

    let repo = shell.create("app")?;
    let id = repo.commit_files("one", &[("a", "3")])?;
    let url = named(repo.url());
    let known_hosts = shell.known_hosts()?.replace("127.0.0.1", "git.test");
    let mut over = over_ssh(&shell, &url, &shell.authorize("ed25519", "")?)?;
    over.credentials.ssh = Some(Identity::new(&shell.authorize("ed25519", "")?, None, &known_hosts)?);
    assert_eq!(stage.id(&over, None), Ok(id));
    assert_asked(&for_all, &["socks5"], &place(&url), "a:3");

    // A policy about addresses lets nobody out through a proxy that might dial any.
    let asked = [&for_http, &for_https, &for_all, &own].map(|proxy| proxy.asked().len());
    let restricted = Stage::among(proxies, Policy::public(), Algorithms::default())?;
    for url in [
        named(&plain.repository_url("app")),
        named(&secure.repository_url("app")),
    ] {
        assert!(restricted.id(&request(&url)?, None).is_err());
        let found = restricted.id(&through(&url, &own, ("", ""))?, None).unwrap_err();
        assert!(found.contains("only public addresses are allowed"), "{found}");
    }
    assert!(restricted.id(&over, None).is_err());
    over.credentials.proxy = Some(Through::new(for_all.address(), "a", "3").map_err(|e| anyhow!(e))?);
    let found = restricted.id(&over, None).unwrap_err();
    assert!(found.contains("only public addresses are allowed"), "{found}");
    assert_eq!(
        [&for_http, &for_https, &for_all, &own].map(|proxy| proxy.asked().len()),
        asked
    );
    Ok(())
}

#[test]
fn submodules_go_through_the_proxy_of_their_repository() -> Result<()> {
    let (stage, server) = (Stage::new()?, GitServer::start()?);
    let other = GitServer::start()?;
    let proxy = Proxy::http(Some("me:pw"))?;
    let (app, own, foreign) = (server.create("app")?, server.create("own")?, other.create("foreign")?);
    let pins = [
        (own.commit_files("own", &[("a", "1")])?, "own", "../own.git".to_owned()),
        (
            foreign.commit_files("foreign", &[("a", "2")])?,
            "foreign",
            named(foreign.url()),
        ),
    ];
    let mut modules = String::new();
    for (id, path, url) in &pins {
        modules.push_str(&format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n"));
        app.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{id},{path}")])?;
    }
    app.write(".gitmodules", &modules)?;
    app.git(&["add", ".gitmodules"])?;
    app.git(&["commit", "--quiet", "-m", "modules"])?;
    app.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"])?;
    let mut request = through(&named(app.url()), &proxy, ("me", "pw"))?;
    request.submodules = true;
    let authorization = Credentials::basic("u", "w").authorization;
    request.credentials.authorization = authorization;
    let commit = stage.get(&request).map_err(anyhow::Error::msg)?;
    assert_eq!(commit.tree.read("own/a", 9)?, b"1");
    assert_eq!(commit.tree.read("foreign/a", 9)?, b"2");
    assert!(proxy.asked().iter().all(|asked| asked.login == "me:pw"));
    assert!(
        proxy
            .asked()
            .iter()
            .any(|asked| asked.target == place(&named(foreign.url())))
    );
    assert!(server.seen("own").iter().all(|seen| seen.authorized));
    assert!(!other.seen("foreign").is_empty() && other.seen("foreign").iter().all(|seen| !seen.authorized));
    Ok(())
}
