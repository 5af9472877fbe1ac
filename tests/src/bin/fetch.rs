//! `fetch URL [REFERENCE] [CACHE]` fetches what a word leads to (a branch, a tag, a commit, `HEAD`), reads all of it, and tells
//! what that cost. With a directory for the cache the next run fetches what is new.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use git::tree::{Node, Tree, What};
use git::{Proxies, Reference, RemoteUrl, Request, cache};
use sha2::{Digest, Sha256};
use tests::git_client::GitClient;
use tests::proc;

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fetch: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<String>) -> Result<()> {
    let mut arguments = arguments.into_iter();
    let url = arguments.next().context("usage: fetch URL [REFERENCE] [CACHE]")?;
    let reference = Reference::any(arguments.next().as_deref());
    let cache = arguments.next().map(|path| cache::Config {
        path: PathBuf::from(path),
        max_size: 4 << 30,
        max_age: Duration::from_secs(3600),
    });
    let git = GitClient::with(|config| {
        config.proxies = Proxies::of_environment();
        config.cache = cache;
    })?;
    let request = Request {
        timeout: Duration::from_secs(600),
        ..Request::new(RemoteUrl::parse_remote(&url)?, reference)
    };
    let commit = git.get(&request)?;
    println!("commit {}", commit.id);
    println!("received {} bytes", request.cost.received());
    println!("fetched in {:?}, peak {} MiB", request.cost.took(), peak()?);
    let started = Instant::now();
    let mut content = Content::default();
    content.add(&commit.tree, commit.tree.root(), "")?;
    println!("read in {:?}, peak {} MiB", started.elapsed(), peak()?);
    println!("files {} with {} bytes", content.files, content.bytes);
    println!("content {:x}", content.digest.finalize());
    Ok(())
}

/// All that is in a tree.
#[derive(Default)]
struct Content {
    files: u64,
    bytes: u64,
    digest: Sha256,
    buffer: Vec<u8>,
}

impl Content {
    fn add(&mut self, tree: &Tree, directory: Node, path: &str) -> Result<()> {
        for entry in tree.directory(directory)? {
            let path = format!("{path}/{}", String::from_utf8_lossy(&entry.name));
            self.digest.update(format!("{path}\0{:?}\0", entry.what));
            match entry.what {
                What::Directory => self.add(tree, entry.node, &path)?,
                What::File { .. } | What::Link => {
                    tree.content(entry.node, &mut self.buffer)?;
                    self.files += 1;
                    self.bytes += self.buffer.len() as u64;
                    self.digest.update(&self.buffer);
                }
                What::Module => {}
            }
        }
        Ok(())
    }
}

/// The most memory this process had at a time, in MiB.
fn peak() -> Result<u64> {
    Ok(proc::resident(std::process::id())?.peak >> 20)
}
