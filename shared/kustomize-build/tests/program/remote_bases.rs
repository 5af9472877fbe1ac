//! Builds of what is behind URLs: real Git servers and file servers on this machine.

use anyhow::Result;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::response::Redirect;
use axum::routing::get;
use tests::git_server::{Access, Fault, GitServer};
use tests::ssh_server::SshServer;
use tests::web::Server;

use crate::call::{Call, Folder};

/// The flag without which nothing on this machine is asked.
const PRIVATE: &str = "--allow-private-addresses";

fn manifest(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n")
}

/// A server with the repository `team/app`: at its root what is in `base`, an overlay in `over`, the tag `v1` before the last
/// commit.
fn git() -> Result<(GitServer, String)> {
    let server = GitServer::start()?;
    let repo = server.create("team/app")?;
    repo.write("kustomization.yaml", "resources: [base]\n")?;
    repo.write("base/kustomization.yaml", "resources: [a.yaml]\n")?;
    repo.write("base/a.yaml", manifest("first"))?;
    repo.commit("first")?;
    repo.tag("v1")?;
    repo.write("base/a.yaml", manifest("second"))?;
    repo.write("over/kustomization.yaml", "namePrefix: over-\nresources: [../base]\n")?;
    repo.commit("second")?;
    let url = repo.url().to_owned();
    Ok((server, url))
}

fn files() -> Result<Server> {
    let endless = || async {
        Body::from_stream(futures::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(Bytes::from_static(&[b'#'; 4096]))
        }))
    };
    let silent = || async {
        let first = futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"kind: ")) });
        Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending()))
    };
    let router = Router::new()
        .route("/a.yaml", get(|| async { manifest("from-file") }))
        .route("/endless.yaml", get(endless))
        .route("/silent.yaml", get(silent))
        .route("/around.yaml", get(|| async { Redirect::temporary("/around.yaml") }))
        .route(
            "/to/{*url}",
            get(|Path(url): Path<String>| async move { Redirect::temporary(&url) }),
        );
    Server::start(router)
}

/// Calls the program on a kustomization of one resource.
fn of_resource(resource: &str, flags: &[&str]) -> Result<Call> {
    let folder = Folder::new()?;
    folder.write(
        "kustomization.yaml",
        &format!("namePrefix: my-\nresources: ['{resource}']\n"),
    )?;
    folder.call(flags)
}

/// Asserts that it fails, says all of this on standard error, and prints nothing.
#[track_caller]
fn refused(call: &Call, parts: &[&str]) {
    assert_eq!((call.code, call.out.as_str()), (1, ""), "{}", call.err);
    for part in parts {
        assert!(call.err.contains(part), "{part:?} is not in: {}", call.err);
    }
}

#[test]
fn a_repository_is_built_from_its_url() -> Result<()> {
    let (_server, url) = git()?;
    let empty = Folder::new()?;
    empty.prints(&[PRIVATE, &url], &manifest("second"))?;
    empty.prints(&[PRIVATE, &format!("{url}?ref=v1")], &manifest("first"))?;
    empty.prints(&[PRIVATE, &format!("{url}//over?ref=main")], &manifest("over-second"))?;
    empty.prints(&[PRIVATE, &format!("{url}/over")], &manifest("over-second"))
}

#[test]
fn bases_and_files_behind_urls_are_resources() -> Result<()> {
    let (_server, url) = git()?;
    let files = files()?;
    of_resource(&format!("{url}?ref=v1"), &[PRIVATE])?.is(0, &manifest("my-first"), "");
    of_resource(&format!("{url}//over"), &[PRIVATE])?.is(0, &manifest("my-over-second"), "");
    of_resource(&format!("{}/a.yaml", files.url()), &[PRIVATE])?.is(0, &manifest("my-from-file"), "");
    of_resource(&format!("{}/to/{}/a.yaml", files.url(), files.url()), &[PRIVATE])?.is(
        0,
        &manifest("my-from-file"),
        "",
    );
    Ok(())
}

#[test]
fn what_is_fetched_is_told_without_its_secrets() -> Result<()> {
    let (server, url) = git()?;
    server.set_access("team/app", Access::basic("ada", "hunter2"));
    let login = url.replace("http://", "http://ada:hunter2@");
    let call = of_resource(&format!("{login}//over?ref=main"), &[PRIVATE, "--verbose"])?;
    assert_eq!((call.code, call.out), (0, manifest("my-over-second")));
    let shown = url.replace("http://", "http://***@");
    assert!(
        call.err.contains(&format!("fetched {shown}?ref=main: ")),
        "{}",
        call.err
    );
    let read = format!("read {shown}?ref=main: over/kustomization.yaml: 39 bytes\n");
    assert!(call.err.contains(&read), "{}", call.err);
    assert!(!call.err.contains("hunter2"), "{}", call.err);

    let wrong = url.replace("http://", "http://ada:hunter3@");
    let call = of_resource(&wrong, &[PRIVATE])?;
    refused(&call, &["authentication required"]);
    assert!(!call.err.contains("hunter3"), "{}", call.err);
    Ok(())
}

#[test]
fn nothing_on_this_machine_is_asked_unless_that_is_allowed() -> Result<()> {
    let (server, url) = git()?;
    let files = files()?;
    let text = "host '127.0.0.1' has an address that is not public, which may not be asked: --allow-private-addresses allows it";
    refused(&Folder::new()?.call(&[&url])?, &[text]);
    refused(&of_resource(&format!("{url}?ref=v1"), &[])?, &[text]);
    refused(&of_resource(&format!("{}/a.yaml", files.url()), &[])?, &[text]);
    let named = url.replace("127.0.0.1", "localhost");
    refused(&of_resource(&named, &[])?, &[&text.replace("127.0.0.1", "localhost")]);
    refused(
        &of_resource("git@localhost:team/app", &[])?,
        &[&text.replace("127.0.0.1", "localhost")],
    );
    assert_eq!(server.seen("team/app"), []);
    Ok(())
}

#[test]
fn a_host_that_is_not_on_the_list_is_not_asked() -> Result<()> {
    let (server, url) = git()?;
    let files = files()?;
    let text = "host '127.0.0.1' is not among those that may be asked: --allow-host adds it";
    let flags = [PRIVATE, "--allow-host", "localhost", "--allow-host=*.example.com"];
    refused(&of_resource(&url, &flags)?, &[text]);
    let named = files.url().replace("127.0.0.1", "localhost");
    of_resource(&format!("{named}/a.yaml"), &flags)?.is(0, &manifest("my-from-file"), "");
    refused(
        &of_resource(&format!("{named}/to/{}/a.yaml", files.url()), &flags)?,
        &[text],
    );
    let call = of_resource(&url, &["--allow-host", "https://github.com"])?;
    refused(
        &call,
        &["Error: invalid value 'https://github.com' for '--allow-host <HOST>'"],
    );
    assert_eq!(server.seen("team/app"), []);
    Ok(())
}

#[test]
fn a_repository_that_moved_to_a_host_that_is_not_on_the_list_is_left() -> Result<()> {
    let (server, url) = git()?;
    let elsewhere = GitServer::start()?;
    server.set_fault("team/app", Fault::Redirect(elsewhere.url()));
    let named = url.replace("127.0.0.1", "localhost");
    let call = of_resource(&named, &[PRIVATE, "--allow-host", "localhost"])?;
    refused(&call, &["host '127.0.0.1' is not among"]);
    assert_eq!(elsewhere.seen("team/app"), []);
    Ok(())
}

#[test]
fn remote_bases_can_be_turned_off() -> Result<()> {
    let (server, url) = git()?;
    let files = files()?;
    let flags = [PRIVATE, "--no-remote-bases"];
    refused(&of_resource(&url, &flags)?, &[&url]);
    refused(
        &of_resource(&format!("{}/a.yaml", files.url()), &flags)?,
        &[&files.url()],
    );
    refused(&Folder::new()?.call(&[flags[0], flags[1], &url])?, &[&url]);
    assert_eq!(server.seen("team/app"), []);
    Ok(())
}

#[test]
fn redirects_and_floods_and_silence_end() -> Result<()> {
    let files = files()?;
    let at = |path: &str| format!("{}/{path}", files.url());
    refused(
        &of_resource(&at("around.yaml"), &[PRIVATE])?,
        &["around.yaml: stopped after 10 redirects"],
    );
    let flags = [PRIVATE, "--max-remote-bytes=100000"];
    refused(
        &of_resource(&at("endless.yaml"), &flags)?,
        &["endless.yaml: larger than 100000 bytes"],
    );
    let flags = [PRIVATE, "--max-remote-time=1"];
    refused(
        &of_resource(&at("silent.yaml"), &flags)?,
        &["silent.yaml: took too long"],
    );
    refused(&of_resource(&at("nothing.yaml"), &[PRIVATE])?, &["404 Not Found"]);
    Ok(())
}

#[test]
fn a_git_server_that_hangs_or_sends_too_much_is_left() -> Result<()> {
    let (server, url) = git()?;
    let repo = server.create("large")?;
    let noise: Vec<u8> = (0_u32..200_000)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect();
    repo.write("kustomization.yaml", "resources: []\n")?;
    repo.write("noise", noise)?;
    repo.commit("large")?;
    let call = of_resource(repo.url(), &[PRIVATE, "--max-remote-bytes=100000"])?;
    refused(&call, &["the server sent more than 100000 bytes"]);
    server.set_fault("team/app", Fault::Hang);
    // Git alone is asked here, since this is no URL of http.
    let login = url.replace("http://", "git::http://");
    refused(
        &of_resource(&format!("{login}?timeout=1"), &[PRIVATE])?,
        &["deadline exceeded"],
    );
    Ok(())
}

#[test]
fn what_is_not_there_is_named() -> Result<()> {
    let (_server, url) = git()?;
    refused(
        &of_resource(&format!("{url}?ref=v9"), &[PRIVATE])?,
        &[&url, "couldn't find remote ref"],
    );
    refused(
        &of_resource(&url.replace("app", "none"), &[PRIVATE])?,
        &["repository not found"],
    );
    refused(&of_resource(&format!("{url}//nowhere"), &[PRIVATE])?, &["nowhere"]);
    Ok(())
}

#[test]
fn a_repository_over_ssh_is_built_with_the_key_of_the_user() -> Result<()> {
    let server = SshServer::start()?;
    let repo = server.create("app")?;
    repo.write("kustomization.yaml", "resources: [a.yaml]\n")?;
    repo.write("a.yaml", manifest("over-ssh"))?;
    repo.commit("first")?;
    let folder = Folder::new()?;
    folder.write("home/.ssh/id_ed25519", &server.authorize("ed25519", "")?)?;
    folder.write("home/.ssh/known_hosts", &server.known_hosts()?)?;
    folder.write("strangers", "")?;
    let home = folder.path().join("home").display().to_string();
    let url = format!("{}//.?ref=main", repo.url());
    let call = folder.call_with(&[PRIVATE, &url], &[("HOME", &home)])?;
    call.is(0, &manifest("over-ssh"), "");
    let named = [
        PRIVATE,
        "--ssh-identity=home/.ssh/id_ed25519",
        "--ssh-known-hosts=home/.ssh/known_hosts",
        &url,
    ];
    folder.prints(&named, &manifest("over-ssh"))?;
    let call = folder.call_with(&[PRIVATE, "--ssh-known-hosts=strangers", &url], &[("HOME", &home)])?;
    refused(&call, &["knownhosts: key is unknown"]);
    let call = folder.call_with(&[&url], &[("HOME", &home)])?;
    refused(&call, &["host '127.0.0.1' has an address that is not public"]);
    Ok(())
}

#[test]
fn ssh_needs_a_key_and_known_hosts() -> Result<()> {
    let folder = Folder::new()?;
    let home = folder.path().display().to_string();
    folder.write("kustomization.yaml", "resources: ['git@localhost:team/app']\n")?;
    let environment = [("HOME", home.as_str())];
    let call = folder.call_with(&[PRIVATE], &environment)?;
    refused(
        &call,
        &[".ssh/known_hosts: No such file or directory", "--ssh-known-hosts"],
    );
    folder.write(".ssh/known_hosts", "")?;
    let call = folder.call_with(&[PRIVATE], &environment)?;
    refused(
        &call,
        &[
            "there is no key for ssh (id_ed25519, id_ecdsa, id_rsa) in ",
            "--ssh-identity",
        ],
    );
    folder.write("key", "no key")?;
    let call = folder.call_with(&[PRIVATE, "--ssh-identity", "key"], &environment)?;
    refused(&call, &["key: the private key cannot be read", "--ssh-identity"]);
    Ok(())
}
