//! How much memory it takes at most to fetch and archive commits, in a process of its own: large files, lists of many references
//! and packs that are made to take much. The figures are printed; the limits are what has to hold.

use std::time::{Duration, Instant};

use anyhow::Result;
use artifact::{Algorithm, Archive, Limits};
use git::ssh::Identity;
use git::{Commit, Reference, RemoteUrl, Request};
use source_controller::checkout::{self, Bounds, Sparse};
use tests::git_client::GitClient;
use tests::git_server::GitServer;
use tests::pack::{self, Kind};
use tests::proc;
use tests::raw_server::{RawServer, repository};
use tests::ssh_server::{Options, SshServer};

fn request(url: &str) -> Result<Request> {
    Ok(Request::new(RemoteUrl::parse(url)?, Reference::any(None)))
}

/// The most memory that this process has had since it was last asked, in MiB.
fn peak() -> Result<u64> {
    let id = std::process::id();
    let peak = proc::resident(id)?.peak;
    proc::reset_peak(id);
    Ok(peak >> 20)
}

/// What the work takes more than the process has without it, in MiB.
fn measured<T>(what: &str, work: impl FnOnce() -> T) -> Result<(T, u64)> {
    peak()?;
    let before = peak()?;
    let start = Instant::now();
    let done = work();
    let most = peak()?;
    let grown = most.saturating_sub(before);
    println!("{what}: {:?}, {grown} MiB more than {before} MiB", start.elapsed());
    Ok((done, grown))
}

#[test]
fn memory_is_bounded_whatever_servers_do() -> Result<()> {
    let client = GitClient::new()?;
    large_files(&client)?;
    many_references(&client)?;
    bombs(&client)
}

/// Files of which one is as large as it may be, and files of which one is stored as a change of the other.
fn large_files(client: &GitClient) -> Result<()> {
    let server = GitServer::start()?;
    for (what, size, count, most) in [("one file", 100 << 20, 1, 20), ("two files alike", 60 << 20, 2, 90)] {
        let repo = server.create(&what.replace(' ', "-"))?;
        let lines: String = (0..size / 8).map(|n| format!("{n:07x}\n")).collect();
        for n in 0..count {
            let mut content = lines.clone().into_bytes();
            content[size / 2 + n] = b'x';
            repo.write(&format!("file{n}"), content)?;
        }
        drop(lines);
        repo.commit("one")?;
        let request = Request {
            timeout: Duration::from_secs(600),
            ..request(repo.url())?
        };
        let (commit, grown) = measured(&format!("{what}, fetched"), || client.get(&request))?;
        assert!(grown < most, "{what}, fetched: {grown} MiB");
        let commit = commit?;
        let (written, grown) = measured(&format!("{what}, archived"), || archived(&commit))?;
        assert!(written? > 1 << 20, "{what}");
        assert!(grown < most, "{what}, archived: {grown} MiB");
    }
    Ok(())
}

/// Archives a commit to nowhere; how many bytes that takes.
fn archived(commit: &Commit) -> Result<u64> {
    let bounds = Bounds {
        whole: Limits::default(),
        file: git::Limits::default().object,
    };
    let mut listing = checkout::list(&commit.tree, &Sparse::default(), bounds)?;
    listing.select(None)?;
    let mut archive = Archive::new(std::io::sink(), Algorithm::Sha256);
    checkout::archive(&commit.tree, &listing, bounds, &mut archive)?;
    Ok(archive.finish()?.size)
}

/// Ten and a hundred thousand references, over both protocols.
fn many_references(client: &GitClient) -> Result<()> {
    let (web, shell) = (
        GitServer::start()?,
        SshServer::start_with(&Options {
            // Without this word servers speak the oldest protocol, which lists everything.
            config: vec!["AcceptEnv NOTHING".to_owned()],
            ..Options::default()
        })?,
    );
    let key = shell.authorize("ed25519", "")?;
    for (count, most) in [(10_000, 40), (100_000, 120)] {
        for is_old in [false, true] {
            let name = format!("app-{count}");
            let repo = if is_old {
                shell.create(&name)?
            } else {
                web.create(&name)?
            };
            let id = repo.commit_files("one", &[("a", "1")])?;
            let last = repo.many_branches(count, &id)?;
            repo.tag("v1.2.3")?;
            let mut request = request(repo.url())?;
            if is_old {
                request.credentials.ssh = Some(Identity::new(&key, None, &shell.known_hosts()?)?);
            }
            for (what, reference) in [
                ("branch", Reference::Branch(last)),
                ("version", Reference::SemVer("1.x".to_owned())),
                ("missing", Reference::Branch("missing".to_owned())),
            ] {
                let request = Request {
                    reference,
                    ..request.clone()
                };
                let what = format!("{count} references, {what}, old protocol: {is_old}");
                let (found, grown) = measured(&what, || client.get(&request))?;
                match found {
                    Ok(commit) => assert_eq!(commit.id.to_string(), id.clone(), "{what}"),
                    Err(error) => assert!(
                        what.contains("missing") && error.to_string().contains("couldn't find"),
                        "{what}: {error}"
                    ),
                }
                assert!(grown < most, "{what}: {grown} MiB");
            }
        }
    }
    Ok(())
}

/// Packs of a few kilobytes that unpack to gigabytes.
fn bombs(client: &GitClient) -> Result<()> {
    let size = 15 << 20;
    for (what, count, leaves) in [("chain", 60, 0), ("comb", 60, 4)] {
        let (mut pack, id) = pack::commit(b"1")?;
        let mut last = pack.add(Kind::Blob, &vec![0; size])?;
        for number in 0..count {
            // They keep alive what they are made of until their turn comes, which is after that of the next one.
            for leaf in 1..=leaves {
                pack.add_changed(last, size, u32::to_le_bytes(leaf << 20 | number))?;
            }
            last = pack.add_changed(last, size, u32::to_le_bytes(number))?;
        }
        let bytes = pack.finish(None);
        let server = RawServer::start(repository(&[format!("{id} HEAD")], &bytes))?;
        let mut request = request(&format!("{}/app.git", server.url()))?;
        request.timeout = Duration::from_secs(20);
        let what = format!("{what} of {count} changes, {} bytes", bytes.len());
        let (found, grown) = measured(&what, || client.get(&request).map(drop))?;
        println!("{what}: {found:?}");
        assert!(grown < 200, "{what}: {grown} MiB");
        if let Err(error) = found {
            let text = error.to_string();
            let is_clear = text.contains("bytes of memory") || text.contains("deadline exceeded");
            assert!(is_clear, "{what}: {error}");
        }
    }
    Ok(())
}
