//! The cache of fetched objects: what it saves, who shares it, and that nothing in it is believed without reason.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use artifact::Revision;
use git::tree::CopyError;
use git::{Commit, Credentials, Found, Reference, Request};
use tests::git_server::GitServer;
use tests::repo::Repo;
use tests::ssh_server::SshServer;

use crate::stage::{Stage, over_ssh, request};

/// A repository with so many files of 2 KiB that do not compress.
fn filled(server: &GitServer, name: &str, files: usize) -> Result<Repo> {
    let repo = server.create(name)?;
    let mut random = 7u64;
    for n in 0..files {
        let mut content = String::new();
        while content.len() < 2048 {
            // Knuth's generator: the same content each time.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            content.push_str(&format!("{random:x}\n"));
        }
        repo.write(&format!("d{}/{n}.txt", n % 10), content)?;
    }
    repo.commit("files")?;
    Ok(repo)
}

/// Fails unless the tree is what is in the working copy.
fn assert_whole(commit: &Commit, repo: &Repo) -> Result<()> {
    let listed = repo.git(&["ls-files"])?;
    for path in listed.lines() {
        let expected = fs::read(repo.work().join(path))?;
        let found = commit.tree.read(path, 1 << 20);
        ensure!(found.as_ref() == Ok(&expected), "{path}: {found:?}");
    }
    Ok(())
}

fn got(stage: &Stage, request: &Request) -> Result<Commit> {
    stage.get(request).map_err(|error| anyhow!(error))
}

/// How often something was asked of a repository, the greeting not counted.
fn posts(server: &GitServer, name: &str) -> usize {
    server.seen(name).iter().filter(|seen| seen.is_fetch()).count()
}

/// The files of the only entry.
fn files(cache: &Path) -> Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(cache)? {
        let path = entry?.path();
        if path.is_dir() {
            entries.push(path);
        }
    }
    let entry = entries.first().context("nothing is kept")?;
    ensure!(entries.len() == 1, "{entries:?}");
    let mut files: Vec<_> = fs::read_dir(entry)?.flatten().map(|file| file.path()).collect();
    files.sort();
    Ok(files)
}

#[test]
fn a_new_commit_costs_what_is_new_in_it() -> Result<()> {
    let (server, directory) = (GitServer::start()?, tempfile::tempdir()?);
    let stage = Stage::keeping(directory.path())?;
    let repo = filled(&server, "app", 300)?;
    let request = request(repo.url())?;
    let first = got(&stage, &request)?;
    assert_whole(&first, &repo)?;
    let whole = request.cost.received();
    ensure!(whole > 300_000, "{whole}");
    let id = repo.commit_files("one file", &[("d1/1.txt", "changed\n"), ("new", "x")])?;
    let second = got(&stage, &request)?;
    assert_eq!(second.id.to_string(), id);
    assert_whole(&second, &repo)?;
    let new = request.cost.received();
    ensure!(new * 50 < whole, "{new} of {whole}");
    // The one before can still be read, and what was taken away is gone from the next.
    assert_eq!(first.tree.list("")?.len(), 10);
    repo.remove("d2")?;
    repo.commit("away")?;
    let third = got(&stage, &request)?;
    assert_whole(&third, &repo)?;
    assert_eq!(third.tree.list("")?.len(), 10);
    // Another process finds what this one has left.
    drop((first, second, third, stage));
    let stage = Stage::keeping(directory.path())?;
    repo.commit_files("again", &[("d1/1.txt", "changed again\n")])?;
    let fourth = got(&stage, &request)?;
    assert_whole(&fourth, &repo)?;
    let new = request.cost.received();
    ensure!(new < 10_000, "{new}");
    Ok(())
}

#[test]
fn whatever_leads_to_a_commit_that_is_there_fetches_nothing_of_it() -> Result<()> {
    let (server, directory) = (GitServer::start()?, tempfile::tempdir()?);
    let stage = Stage::keeping(directory.path())?;
    let repo = filled(&server, "app", 50)?;
    let id = repo.head()?;
    repo.annotated_tag("v1.2.3", "a tag\n\nof its own")?;
    repo.set_ref("refs/pull/1/head")?;
    got(&stage, &request(repo.url())?)?;
    let commit = |branch: Option<&str>| Reference::Commit {
        id: id.clone(),
        branch: branch.map(str::to_owned),
        name: None,
    };
    // Beside the listing, for some references, one more round that confirms what is there or brings the tag.
    for (reference, rounds, tag) in [
        (Reference::Branch("main".into()), 1, None),
        (Reference::Name("refs/heads/main".into()), 1, None),
        (Reference::Name("refs/pull/1/head".into()), 1, None),
        (commit(None), 1, None),
        (commit(Some("main")), 2, None),
        (Reference::Tag("v1.2.3".into()), 2, Some("v1.2.3")),
        (Reference::Tag("v1.2.3".into()), 1, Some("v1.2.3")),
        (Reference::SemVer("1.x".into()), 1, Some("v1.2.3")),
        (Reference::Name("refs/tags/v1.2.3".into()), 1, Some("v1.2.3")),
        (Reference::Name("refs/tags/v1.2.3^{}".into()), 1, Some("v1.2.3")),
        (Reference::Any("v1.2.3".into()), 1, Some("v1.2.3")),
    ] {
        let asked = Request {
            reference: reference.clone(),
            ..request(repo.url())?
        };
        let before = posts(&server, "app");
        let found = got(&stage, &asked)?;
        assert_eq!(found.id.to_string(), id, "{reference:?}");
        assert_eq!(posts(&server, "app") - before, rounds, "{reference:?}");
        let received = asked.cost.received();
        ensure!(received < 3000, "{reference:?}: {received}");
        assert_whole(&found, &repo)?;
        assert_eq!(found.tag.as_ref().map(|tag| tag.name.as_str()), tag, "{reference:?}");
        if let Some(tag) = found.tag {
            assert_eq!(tag.id.to_string(), repo.id("v1.2.3")?);
            let printed = repo.git(&["cat-file", "tag", "v1.2.3"])?;
            assert_eq!(String::from_utf8(tag.raw)?.trim_end(), printed);
        }
    }
    Ok(())
}

#[test]
fn a_commit_tells_who_wrote_it_when_and_what_git_stores() -> Result<()> {
    let (stage, server) = (Stage::new()?, GitServer::start()?);
    let repo = server.create("app")?;
    repo.commit_files("the subject\n\nand more", &[("a", "1")])?;
    let request = request(repo.url())?;
    let commit = got(&stage, &request)?;
    assert_eq!(commit.author, "Ada Example <ada@example.test>");
    assert_eq!(commit.subject, "the subject");
    let printed = repo.git(&["show", "--no-patch", "--format=%ct", "HEAD"])?;
    assert_eq!(commit.committed.to_string(), printed);
    let stored = repo.git(&["cat-file", "commit", "HEAD"])?;
    assert_eq!(String::from_utf8(commit.raw)?.trim_end(), stored);
    assert!(commit.tag.is_none() && !request.cost.took().is_zero());
    Ok(())
}

#[test]
fn what_has_not_moved_costs_a_greeting_and_one_question() -> Result<()> {
    let (server, directory) = (GitServer::start()?, tempfile::tempdir()?);
    let repo = server.create("app")?;
    let id = repo.commit_files("one", &[("a", "1")])?;
    repo.annotated_tag("v1.0.0", "one")?;
    for stage in [Stage::new()?, Stage::keeping(directory.path())?] {
        for reference in [
            Reference::Branch("main".into()),
            Reference::Tag("v1.0.0".into()),
            Reference::SemVer(">=1.0.0".into()),
            Reference::Name("refs/heads/main".into()),
            Reference::Name("refs/tags/v1.0.0^{}".into()),
            Reference::Commit {
                id: id.clone(),
                branch: None,
                name: None,
            },
        ] {
            let first = Request {
                reference: reference.clone(),
                ..request(repo.url())?
            };
            let revision = got(&stage, &first)?.revision;
            // As it is written today, and as it was before hashes had a name in front.
            let of_old = revision.to_string().replace("@sha1:", "/").replace("sha1:", "HEAD/");
            for observed in [Some(revision.clone()), Revision::parse(&of_old)] {
                let again = Request {
                    observed,
                    may_skip: true,
                    ..first.clone()
                };
                let before = server.seen("app").len();
                let found = stage.fetch(again)?;
                assert!(
                    matches!(&found, Found::Unmoved(found) if *found == revision),
                    "{reference:?}: {found:?}"
                );
                assert_eq!(server.seen("app").len() - before, 2, "{reference:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn many_that_want_the_same_commit_fetch_it_once() -> Result<()> {
    let (server, directory) = (GitServer::start()?, tempfile::tempdir()?);
    let stage = Stage::keeping(directory.path())?;
    let repo = filled(&server, "app", 100)?;
    let many = 40;
    for round in 0..3 {
        let before = posts(&server, "app");
        let results: Vec<Result<()>> = thread::scope(|scope| {
            let work = || assert_whole(&got(&stage, &request(repo.url())?)?, &repo);
            let threads: Vec<_> = (0..many).map(|_| scope.spawn(work)).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined
                .map(|result| result.unwrap_or_else(|_| Err(anyhow!("panicked"))))
                .collect()
        });
        results.into_iter().collect::<Result<()>>()?;
        assert_eq!(posts(&server, "app") - before, many + 1, "round {round}");
        repo.commit_files("next", &[("d3/3.txt", &format!("round {round}\n"))])?;
    }
    Ok(())
}

#[test]
fn only_equal_credentials_share() -> Result<()> {
    let (server, directory) = (GitServer::start()?, tempfile::tempdir()?);
    let stage = Stage::keeping(directory.path())?;
    let repo = filled(&server, "app", 10)?;
    let app = |token: &str| Credentials {
        identity: Some("github-app/1/installation/2".to_owned()),
        ..Credentials::bearer(token)
    };
    for (credentials, rounds) in [
        (Credentials::default(), 2),
        (Credentials::default(), 1),
        (Credentials::basic("alice", "pw"), 2),
        (Credentials::basic("alice", "pw"), 1),
        (Credentials::basic("alice", "other"), 2),
        (app("first"), 2),
        (app("second"), 1),
    ] {
        let before = posts(&server, "app");
        let asked = Request {
            credentials: credentials.clone(),
            ..request(repo.url())?
        };
        got(&stage, &asked)?;
        assert_eq!(posts(&server, "app") - before, rounds, "{credentials:?}");
    }
    // Nothing of them can be found on disk.
    for file in walk(directory.path())? {
        let content = fs::read(&file)?;
        for secret in ["alice", "YWxpY2U6cHc=", "github-app"] {
            let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            ensure!(!found && !file.to_string_lossy().contains(secret), "{}", file.display());
        }
    }
    Ok(())
}

fn walk(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(walk(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

#[test]
fn what_another_process_left_damaged_is_fetched_anew() -> Result<()> {
    let (server, directory) = (GitServer::start()?, tempfile::tempdir()?);
    let repo = filled(&server, "app", 30)?;
    let request = request(repo.url())?;
    let fresh = || -> Result<()> {
        let stage = Stage::keeping(directory.path())?;
        assert_whole(&got(&stage, &request)?, &repo)
    };
    fresh()?;
    repo.commit_files("two", &[("d3/3.txt", "changed\n")])?;
    fresh()?;
    let kinds = files(directory.path())?.len();
    assert_eq!(kinds, 5, "two packs with their indices, and the marker");
    for n in 0..kinds {
        type Damage = fn(&Path, &[u8]) -> std::io::Result<()>;
        let damages: [Damage; 4] = [
            |path, content| {
                let mut content = content.to_vec();
                let middle = content.len() / 2;
                content[middle] ^= 0x10;
                fs::write(path, content)
            },
            |path, content| fs::write(path, &content[..content.len() / 2]),
            |path, _| fs::write(path, ""),
            |path, _| fs::remove_file(path),
        ];
        for (kind, damage) in damages.iter().enumerate() {
            fresh()?;
            let files = files(directory.path())?;
            let file = files.get(n % files.len()).context("no such file")?;
            damage(file, &fs::read(file)?)?;
            fresh().with_context(|| format!("damage {kind} of {}", file.display()))?;
        }
    }
    Ok(())
}

#[test]
fn what_turns_out_to_be_damaged_while_it_is_read_is_thrown_away() -> Result<()> {
    let (server, directory) = (GitServer::start()?, tempfile::tempdir()?);
    let stage = Stage::keeping(directory.path())?;
    let repo = filled(&server, "app", 30)?;
    let request = request(repo.url())?;
    got(&stage, &request)?;
    let pack = files(directory.path())?
        .into_iter()
        .find(|file| file.extension().is_some_and(|kind| kind == "pack"))
        .context("there is no pack")?;
    let mut content = fs::read(&pack)?;
    // All of it but the commit and the root.
    let start = content.len() / 4;
    content[start..].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(&pack, content)?;
    let damaged = got(&stage, &request)?;
    assert!(assert_whole(&damaged, &repo).is_err());
    let again = got(&stage, &request)?;
    assert_whole(&again, &repo)?;
    let received = request.cost.received();
    ensure!(received > 30_000, "{received}");
    Ok(())
}

#[test]
fn who_stops_reading_casts_no_doubt_on_what_is_kept() -> Result<()> {
    let (server, directory) = (GitServer::start()?, tempfile::tempdir()?);
    let stage = Stage::keeping(directory.path())?;
    let repo = server.create("app")?;
    repo.commit_files("one", &[("a", &"some text\n".repeat(100_000))])?;
    let request = request(repo.url())?;
    let commit = got(&stage, &request)?;
    let entries = commit.tree.directory(commit.tree.root())?;
    let file = entries.first().context("no file")?;
    let mut small = [0_u8; 1000];
    let copied = commit.tree.copy(file.node, &mut &mut small[..]);
    assert!(matches!(copied, Err(CopyError::Write(_))), "{copied:?}");
    let before = posts(&server, "app");
    let again = got(&stage, &request)?;
    assert_eq!(posts(&server, "app") - before, 1, "it is there");
    let mut whole = Vec::new();
    again.tree.copy(file.node, &mut whole)?;
    assert_eq!(whole.len(), 1_000_000);
    Ok(())
}

#[test]
fn many_commits_leave_few_packs_and_all_of_them_can_be_read() -> Result<()> {
    let (server, directory) = (GitServer::start()?, tempfile::tempdir()?);
    let stage = Stage::keeping(directory.path())?;
    let repo = filled(&server, "app", 40)?;
    let request = request(repo.url())?;
    got(&stage, &request)?;
    let first = request.cost.received();
    for n in 0..45 {
        let path = format!("d{}/{}.txt", n % 7, n % 7);
        // Back to what it was, now and then.
        let content = format!("{}\n", n % 11).repeat(200);
        repo.commit_files("next", &[(&path, &content)])?;
        let commit = got(&stage, &request)?;
        assert_whole(&commit, &repo)?;
        let new = request.cost.received();
        ensure!(new * 10 < first, "{n}: {new} of {first}");
        let files = files(directory.path())?.len();
        ensure!(files <= 2 * 17 + 1, "{n}: {files}");
    }
    drop(stage);
    let stage = Stage::keeping(directory.path())?;
    assert_whole(&got(&stage, &request)?, &repo)?;
    Ok(())
}

#[test]
fn rewritten_history_is_followed() -> Result<()> {
    let (server, directory) = (GitServer::start()?, tempfile::tempdir()?);
    let stage = Stage::keeping(directory.path())?;
    let repo = filled(&server, "app", 30)?;
    let request = request(repo.url())?;
    got(&stage, &request)?;
    for n in 0..4 {
        repo.write("d1/1.txt", format!("{n}\n"))?;
        repo.amend("again")?;
        if n % 2 == 1 {
            // The server forgets what was before.
            let prune = ["-c", "gc.reflogExpire=now", "gc", "--quiet", "--prune=now"];
            let status = std::process::Command::new("git")
                .args(prune)
                .current_dir(repo.bare())
                .status()?;
            ensure!(status.success());
        }
        assert_whole(&got(&stage, &request)?, &repo)?;
    }
    Ok(())
}

#[test]
fn what_is_too_much_is_not_kept_and_can_be_read_all_the_same() -> Result<()> {
    let (server, directory) = (GitServer::start()?, tempfile::tempdir()?);
    let stage = Stage::keeping_at_most(directory.path(), 100_000)?;
    let (large, small) = (filled(&server, "large", 100)?, filled(&server, "small", 10)?);
    let commits = [
        got(&stage, &request(large.url())?)?,
        got(&stage, &request(small.url())?)?,
    ];
    assert_whole(&commits[0], &large)?;
    assert_whole(&commits[1], &small)?;
    assert_eq!(files(directory.path())?.len(), 3, "of the small one");
    Ok(())
}

#[test]
fn two_processes_do_not_get_into_each_others_way() -> Result<()> {
    let (server, directory) = (GitServer::start()?, tempfile::tempdir()?);
    let (one, other) = (Stage::keeping(directory.path())?, Stage::keeping(directory.path())?);
    let repo = filled(&server, "app", 30)?;
    let request = request(repo.url())?;
    for n in 0..3 {
        assert_whole(&got(&one, &request)?, &repo)?;
        assert_whole(&got(&other, &request)?, &repo)?;
        repo.commit_files("next", &[("a", &format!("{n}"))])?;
    }
    Ok(())
}

#[test]
fn ssh_and_sha_256_build_upon_what_is_there_too() -> Result<()> {
    let (server, directory) = (SshServer::start()?, tempfile::tempdir()?);
    let stage = Stage::keeping(directory.path())?;
    let repo = server.create("app")?;
    for n in 0..50 {
        repo.write(&format!("{n}.txt"), format!("{n}\n").repeat(300))?;
    }
    repo.commit("one")?;
    let key = server.authorize("ed25519", "")?;
    let request = over_ssh(&server, repo.url(), &key)?;
    got(&stage, &request)?;
    let whole = request.cost.received();
    repo.commit_files("two", &[("1.txt", "changed\n")])?;
    let second = got(&stage, &request)?;
    assert_whole(&second, &repo)?;
    let new = request.cost.received();
    ensure!(new * 2 < whole, "{new} of {whole}");
    Ok(())
}
