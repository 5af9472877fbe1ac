//! Servers that are older than git is today: each kind of reference leads to the same commit, with and without cache.

use anyhow::{Result, anyhow, ensure};
use git::{Reference, Request};
use tests::git_server::{Dialect, GitServer};
use tests::repo::Repo;

use crate::stage::{Stage, request};

/// The dialects, with their names.
fn dialects() -> Vec<(&'static str, Dialect)> {
    let old = |version, without: &[&'static str]| Dialect {
        version: Some(version),
        without: without.to_vec(),
    };
    vec![
        ("today's", Dialect::default()),
        ("version 2 without shallow", old(2, &["shallow"])),
        ("version 1", old(1, &[])),
        ("version 1 without shallow", old(1, &["shallow"])),
        ("version 0", old(0, &[])),
        ("version 0 without shallow", old(0, &["shallow"])),
        (
            "version 0 without thin packs",
            old(0, &["thin-pack", "ofs-delta", "no-progress"]),
        ),
        (
            "version 0 without acknowledgements",
            old(0, &["multi_ack", "multi_ack_detailed", "no-done"]),
        ),
        (
            "version 0 that hands out what it lists",
            old(0, &["allow-reachable-sha1-in-want", "allow-tip-sha1-in-want"]),
        ),
        ("Azure DevOps", Dialect::azure()),
    ]
}

fn files(repo: &Repo, revision: &str) -> Result<Vec<(String, String)>> {
    let names = repo.git(&["ls-tree", "-r", "--name-only", revision])?;
    let read = |name: &str| Ok((name.to_owned(), repo.git(&["show", &format!("{revision}:{name}")])?));
    names.lines().map(read).collect()
}

#[test]
fn every_server_is_understood() -> Result<()> {
    for (name, dialect) in dialects() {
        let (server, directory) = (GitServer::start()?, tempfile::tempdir()?);
        let repo = server.create("app")?;
        // What is handed out is as the server says.
        let strict = name.contains("hands out what it lists");
        repo_config(
            &repo,
            "uploadpack.allowReachableSHA1InWant",
            if strict { "false" } else { "true" },
        )?;
        server.set_dialect("app", dialect);
        let numbers = (0..200).map(|n| format!("{n}\n")).collect::<String>();
        let first = repo.commit_files("one", &[("a", "1"), ("b/c", &numbers)])?;
        repo.annotated_tag("v1.0.0", "one")?;
        let second = repo.commit_files("two", &[("a", "2"), ("b/c", &format!("{numbers}more\n"))])?;
        repo.branch("side")?;
        let side = repo.commit_files("three", &[("a", "3"), ("d", "4")])?;
        repo.set_ref("refs/pull/1/head")?;
        let commit = |id: &str, branch: Option<&str>| Reference::Commit {
            id: id.to_owned(),
            branch: branch.map(str::to_owned),
            name: None,
        };
        let references = [
            (Reference::Branch("main".into()), &second),
            (Reference::Tag("v1.0.0".into()), &first),
            (Reference::SemVer("*".into()), &first),
            (Reference::Name("refs/pull/1/head".into()), &side),
            (Reference::Name("refs/tags/v1.0.0^{}".into()), &first),
            (Reference::Any("HEAD".into()), &second),
            (commit(&first, None), &first),
            (commit(&first, Some("main")), &first),
            (commit(&side, None), &side),
            (Reference::Branch("side".into()), &side),
        ];
        for stage in [Stage::new()?, Stage::keeping(directory.path())?] {
            for (reference, id) in &references {
                let asked = Request {
                    reference: reference.clone(),
                    ..request(repo.url())?
                };
                let found = stage
                    .get(&asked)
                    .map_err(|error| anyhow!("{name} {reference:?}: {error}"))?;
                assert_eq!(found.id.to_string(), **id, "{name} {reference:?}");
                for (path, content) in files(&repo, id)? {
                    let read = found.tree.read(&path, 1 << 20)?;
                    assert_eq!(
                        String::from_utf8(read)?.trim_end(),
                        content,
                        "{name} {reference:?} {path}"
                    );
                }
                let is_tag = matches!(reference, Reference::Tag(_) | Reference::SemVer(_));
                ensure!(!is_tag || found.tag.is_some(), "{name} {reference:?}");
            }
            let absent = Request {
                reference: commit(&"1".repeat(40), None),
                ..request(repo.url())?
            };
            let found = stage.get(&absent).err().unwrap_or_default();
            ensure!(found.ends_with("object not found"), "{name}: {found}");
            // What follows a hash counts for nothing in `ref.commit` alone.
            let long = Request {
                reference: Reference::any(Some(&format!("{side:0<64}"))),
                ..request(repo.url())?
            };
            assert_eq!(stage.get(&long).is_ok(), side.len() == 64, "{name}");
        }
        // A new commit, from what is there.
        let stage = Stage::keeping(directory.path())?;
        let id = repo.commit_files("four", &[("a", "5")])?;
        let asked = Request {
            reference: Reference::Branch("side".into()),
            ..request(repo.url())?
        };
        let found = stage.get(&asked).map_err(|error| anyhow!("{name}: {error}"))?;
        assert_eq!(found.id.to_string(), id, "{name}");
        assert_eq!(found.tree.read("a", 10)?, b"5", "{name}");
        assert_eq!(found.tree.read("d", 10)?, b"4", "{name}");
    }
    Ok(())
}

/// What the real git hears that asks for the newest version.
#[test]
fn a_server_of_version_1_says_so() -> Result<()> {
    let server = GitServer::start()?;
    let repo = server.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    for (version, expected) in [(0, None), (1, Some("version 1")), (2, Some("version 2"))] {
        server.set_dialect(
            "app",
            Dialect {
                version: Some(version),
                ..Dialect::default()
            },
        );
        let output = std::process::Command::new("git")
            .args(["-c", "protocol.version=2", "ls-remote", repo.url()])
            .env("GIT_TRACE_PACKET", "1")
            .env("NO_PROXY", "127.0.0.1")
            .output()?;
        let heard = String::from_utf8(output.stderr)?;
        let mut versions = heard
            .lines()
            .filter_map(|line| line.rsplit_once("< ").map(|(_, said)| said));
        let found = versions.find(|said| said.starts_with("version "));
        assert_eq!((output.status.success(), found), (true, expected), "{heard}");
    }
    Ok(())
}

fn repo_config(repo: &Repo, key: &str, value: &str) -> Result<()> {
    let status = std::process::Command::new("git")
        .args(["config", key, value])
        .current_dir(repo.bare())
        .status()?;
    ensure!(status.success(), "git config {key}");
    Ok(())
}

#[test]
fn empty_repositories_of_every_server_are_told_apart_from_missing_references() -> Result<()> {
    let stage = Stage::new()?;
    for (name, dialect) in dialects() {
        let server = GitServer::start()?;
        let (empty, repo) = (server.create("empty")?, server.create("app")?);
        repo.commit_files("one", &[("a", "1")])?;
        for name in ["empty", "app"] {
            server.set_dialect(name, dialect.clone());
        }
        let asked = |repo: &Repo, branch: &str| -> Result<String> {
            let request = Request {
                reference: Reference::Branch(branch.to_owned()),
                ..request(repo.url())?
            };
            Ok(stage.get(&request).err().unwrap_or_default())
        };
        assert_eq!(asked(&empty, "main")?, "git repository is empty", "{name}");
        let found = asked(&repo, "absent")?;
        let text = format!(
            "unable to clone '{}': couldn't find remote ref \"refs/heads/absent\"",
            repo.url()
        );
        assert_eq!(found, text, "{name}");
    }
    Ok(())
}
