//! Submodules: fetched as the commit says, mounted where it says, with limits.

use anyhow::Result;
use git::{Credentials, Request};
use tests::git_server::{Access, GitServer};
use tests::repo::Repo;
use tests::ssh_server::SshServer;

use crate::stage::{Stage, over_ssh, request};

/// Commits a submodule that is pinned to a commit, without fetching anything.
fn pin(repo: &Repo, path: &str, url: &str, id: &str) -> Result<String> {
    let modules = format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n");
    repo.write(".gitmodules", modules)?;
    repo.git(&["add", ".gitmodules"])?;
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{id},{path}")])?;
    repo.git(&["commit", "--quiet", "--message", "pin"])?;
    repo.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"])?;
    repo.head()
}

fn with_submodules(request: Request) -> Request {
    Request {
        submodules: true,
        ..request
    }
}

#[test]
fn nested_submodules_are_mounted_at_the_pinned_commits() -> Result<()> {
    let (stage, server) = (Stage::new()?, GitServer::start()?);
    let (app, lib, deep) = (
        server.create("org/app")?,
        server.create("org/lib")?,
        server.create("deep")?,
    );
    let pinned = deep.commit_files("one", &[("d.yaml", "d: 1\n")])?;
    deep.commit_files("two", &[("d.yaml", "d: 2\n")])?;
    lib.commit_files("one", &[("l.yaml", "l: 1\n")])?;
    let lib_id = pin(&lib, "below/deep", &server.repository_url("deep"), &pinned)?;
    app.commit_files("one", &[("a.yaml", "a: 1\n")])?;
    app.symlink("link.yaml", "vendor/lib/below/deep/d.yaml")?;
    app.commit("link")?;
    pin(&app, "vendor/lib", "../lib.git", &lib_id)?;
    let without = stage.get(&request(app.url())?).map_err(anyhow::Error::msg)?;
    assert!(without.tree.list("vendor/lib")?.is_empty());
    let tree = stage
        .get(&with_submodules(request(app.url())?))
        .map_err(anyhow::Error::msg)?
        .tree;
    assert_eq!(tree.list("vendor/lib")?, [".gitmodules", "below", "l.yaml"]);
    assert_eq!(tree.read("vendor/lib/l.yaml", 100)?, b"l: 1\n");
    assert_eq!(tree.read("link.yaml", 100)?, b"d: 1\n");
    assert_eq!(tree.resolve("link.yaml")?, "vendor/lib/below/deep/d.yaml");
    assert_eq!(tree.resolve("vendor/lib/below/../../../a.yaml")?, "a.yaml");
    Ok(())
}

#[test]
fn submodules_outside_of_the_wanted_part_are_not_fetched() -> Result<()> {
    let (stage, server) = (Stage::new()?, GitServer::start()?);
    let (app, lib) = (server.create("app")?, server.create("lib")?);
    let id = lib.commit_files("one", &[("l", "1")])?;
    app.commit_files("one", &[("a", "1")])?;
    pin(&app, "vendor/lib", "../lib.git", &id)?;
    let asked = |texts: &[&str]| -> Result<usize> {
        let before = server.seen("lib").len();
        let request = Request {
            sparse: texts.iter().map(|text| (*text).to_owned()).collect(),
            ..with_submodules(request(app.url())?)
        };
        stage.get(&request).map_err(anyhow::Error::msg)?;
        Ok(server.seen("lib").len() - before)
    };
    for outside in [&["apps"][..], &["vendor/library"], &["a", "lib"]] {
        assert_eq!(asked(outside)?, 0, "{outside:?}");
    }
    for inside in [
        &["vendor"][..],
        &["vendor/l"],
        &["apps", "vendor/lib/below/"],
        &[""],
        &[],
    ] {
        assert!(asked(inside)? > 0, "{inside:?}");
    }
    Ok(())
}

#[test]
fn a_submodule_that_is_there_already_is_not_fetched_again() -> Result<()> {
    let (server, directory) = (GitServer::start()?, tempfile::tempdir()?);
    let stage = Stage::keeping(directory.path())?;
    let (app, lib) = (server.create("app")?, server.create("lib")?);
    let large = (0..20_000).map(|n| format!("{}\n", n * n)).collect::<String>();
    let id = lib.commit_files("one", &[("l.yaml", &large)])?;
    app.commit_files("one", &[("a.yaml", "a: 1\n")])?;
    pin(&app, "lib", "../lib.git", &id)?;
    let request = with_submodules(request(app.url())?);
    let get = || stage.get(&request).map_err(anyhow::Error::msg);
    get()?;
    let first = request.cost.received();
    app.write("a.yaml", "a: 2\n")?;
    app.git(&["add", "a.yaml"])?;
    app.git(&["commit", "--quiet", "--message", "two"])?;
    app.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"])?;
    let second = get()?;
    let received = request.cost.received();
    assert!(received * 5 < first, "{received} of {first}");
    assert_eq!(second.tree.read("lib/l.yaml", 1 << 20)?, large.as_bytes());
    assert_eq!(second.tree.read("a.yaml", 10)?, b"a: 2\n");
    Ok(())
}

#[test]
fn credentials_of_a_repository_go_to_its_host_only() -> Result<()> {
    let (stage, here, there) = (Stage::new()?, GitServer::start()?, GitServer::start()?);
    let (app, near, far) = (here.create("app")?, here.create("near")?, there.create("far")?);
    let near_id = near.commit_files("one", &[("n", "1")])?;
    let far_id = far.commit_files("one", &[("f", "1")])?;
    app.commit_files("one", &[("a", "1")])?;
    for name in ["app", "near"] {
        here.set_access(name, Access::basic("alice", "pw"));
    }
    let ask = || -> Result<Request> {
        let mut request = with_submodules(request(app.url())?);
        request.credentials = Credentials::basic("alice", "pw");
        Ok(request)
    };
    pin(&app, "near", "../near.git", &near_id)?;
    assert_eq!(
        stage.get(&ask()?).map_err(anyhow::Error::msg)?.tree.list("near")?,
        ["n"]
    );
    pin(&app, "far", far.url(), &far_id)?;
    stage.get(&ask()?).map_err(anyhow::Error::msg)?;
    let seen = there.seen("far");
    assert!(
        !seen.is_empty() && seen.iter().all(|request| !request.authorized),
        "{seen:?}"
    );
    there.set_access("far", Access::basic("alice", "pw"));
    let found = stage.get(&ask()?).err().unwrap_or_default();
    let text = format!(
        "submodule 'far': unable to clone '{}': authentication required: ",
        far.url()
    );
    assert!(found.starts_with(&text), "{found}");
    Ok(())
}

#[test]
fn hostile_submodules_are_refused() -> Result<()> {
    let (stage, server) = (Stage::new()?, GitServer::start()?);
    let app = server.create("app")?;
    let id = app.commit_files("one", &[("a", "1")])?;
    let said = || -> Result<String> {
        let request = with_submodules(request(app.url())?);
        Ok(stage.get(&request).err().unwrap_or_default())
    };
    for (url, text) in [
        (
            "file:///etc",
            "submodule 'm': failed to parse url 'file:///etc': scheme 'file' is not supported",
        ),
        (
            "--upload-pack=id",
            "submodule 'm': its URL \"--upload-pack=id\" is refused",
        ),
        ("../../../x", "submodule 'm': failed to parse url"),
        ("../absent.git", "submodule 'm': unable to clone"),
    ] {
        pin(&app, "m", url, &id)?;
        let found = said()?;
        assert!(found.starts_with(text), "{url}: {found}");
    }
    // A repository that holds itself, forever.
    let itself = pin(&app, "m", "../app.git", &id)?;
    pin(&app, "m", "../app.git", &itself)?;
    let mut head = app.head()?;
    for _ in 0..10 {
        head = pin(&app, "m", "../app.git", &head)?;
    }
    let found = said()?;
    assert!(
        found.ends_with("submodules are nested more than 10 levels deep"),
        "{found}"
    );
    app.write(".gitmodules", "[submodule \"m\"]\npath = ../m\nurl = ../x\n")?;
    app.git(&["commit", "--quiet", "--all", "--message", "out"])?;
    app.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"])?;
    let found = said()?;
    let text = "submodules cannot be read: .gitmodules: submodule \"m\" with the path \"../m\" is refused";
    assert_eq!(found, text);
    Ok(())
}

#[test]
fn submodules_come_over_ssh_with_the_same_key() -> Result<()> {
    let (stage, server) = (Stage::new()?, SshServer::start()?);
    let (app, lib) = (server.create("app")?, server.create("lib")?);
    let id = lib.commit_files("one", &[("l", "1")])?;
    app.commit_files("one", &[("a", "1")])?;
    pin(&app, "lib", "../lib.git", &id)?;
    let key = server.authorize("ed25519", "")?;
    let request = with_submodules(over_ssh(&server, app.url(), &key)?);
    let tree = stage.get(&request).map_err(anyhow::Error::msg)?.tree;
    assert_eq!(tree.read("lib/l", 10)?, b"1");
    Ok(())
}
