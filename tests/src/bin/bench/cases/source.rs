//! GitRepositories alone: repositories of several shapes from the first fetch to an artifact that is ready, then with one
//! more commit, then with nothing new; and many GitRepositories of one URL.
//!
//! Git itself does the nearest it can beside them: a shallow clone, and the tree as a tar.gz.

use std::process::Stdio;
use std::time::Duration;

use ::tests::git_server::Traffic;
use ::tests::repo::{MAIN, Repo};
use anyhow::{Context, Result, bail};
use api::source::GitRepository;
use serde_json::json;
use tokio::process::Command;

use super::{Run, limit};
use crate::report::Row;
use crate::sample::{self, SOURCE, suffix};
use crate::stage::{GIT, REPOSITORY, Stage, has_stored};

/// A shape of repositories, and the cases it is measured in.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    fetch: &'static str,
    commit: &'static str,
    poll: Option<&'static str>,
    count: usize,
    fill: fn(&Repo, usize) -> Result<String>,
}

/// A thousand files.
pub const FILES_1K: Shape = Shape {
    fetch: "fetch-1k",
    commit: "commit-1k",
    poll: Some("poll-1k"),
    count: 1000,
    fill: small_files,
};
/// Ten thousand files.
pub const FILES_10K: Shape = Shape {
    fetch: "fetch-10k",
    commit: "commit-10k",
    poll: Some("poll-10k"),
    count: 10_000,
    fill: small_files,
};
/// Fifty thousand files.
pub const FILES_50K: Shape = Shape {
    fetch: "fetch-50k",
    commit: "commit-50k",
    poll: Some("poll-50k"),
    count: 50_000,
    fill: small_files,
};
/// Two thousand files of 250 kB that no compressor makes smaller.
pub const BLOBS: Shape = Shape {
    fetch: "fetch-blobs",
    commit: "commit-blobs",
    poll: None,
    count: 2000,
    fill: blobs,
};
/// Ten thousand commits to a hundred files.
pub const HISTORY: Shape = Shape {
    fetch: "fetch-history",
    commit: "commit-history",
    poll: None,
    count: 10_000,
    fill: history,
};

/// The cases of a repository.
pub async fn repository(mut run: Run<'_>, shape: Shape) -> Result<()> {
    let count = run.wanted.sizes.of(shape.count);
    let first = (shape.fill)(&run.stage.repo, count)?;
    if run.wanted.has(shape.fetch) && run.contestant.is_ours() {
        let row = git_alone(run.stage, shape.fetch, count).await?;
        run.keep(row);
    }
    fetch(&mut run, shape.fetch, count, &first).await?;
    if run.wanted.has(shape.commit) {
        let file = "dir-000/changed.yaml";
        let next = run.stage.repo.commit_files("One file", &[(file, "changed: true\n")])?;
        poked(&mut run, shape.commit, count, &next).await?;
    }
    match shape.poll {
        Some(case) if run.wanted.has(case) => poll(&mut run, case, count).await,
        _ => Ok(()),
    }
}

/// Two hundred GitRepositories of one URL, and then a thousand.
pub async fn shared(mut run: Run<'_>) -> Result<()> {
    let (some, all) = (run.wanted.sizes.of(200), run.wanted.sizes.of(1000));
    let first = small_files(&run.stage.repo, 100)?;
    create(&mut run, "create-shared-200", 0..some, &first).await?;
    let names: Vec<String> = (0..some).map(name).collect();
    if run.wanted.has("commit-shared-200") {
        run.stage.settle().await;
        let next = run
            .stage
            .repo
            .commit_files("Another", &[("more.yaml", "more: true\n")])?;
        let stored = expect(run.stage, names.clone(), &next);
        let measured = Measured::begin(run.stage)?;
        let token = jiff::Timestamp::now().to_string();
        run.stage.request::<GitRepository>(&names, &token).await?;
        stored
            .within(limit(some), "all GitRepositories to have the commit")
            .await?;
        let row = measured.end(run.stage, run.row("commit-shared-200", some)).await?;
        run.keep(row);
    }
    let head = run.stage.repo.head()?;
    if run.wanted.has("create-shared-1000") || run.wanted.has("idle-1000") {
        create(&mut run, "create-shared-1000", some..all, &head).await?;
    }
    if run.wanted.has("idle-1000") {
        run.stage.settle().await;
        let measured = Measured::begin(run.stage)?;
        // Time is what is measured here: what is done in so much of it.
        tokio::time::sleep(run.wanted.sizes.span(Duration::from_secs(30))).await;
        let row = measured.end(run.stage, run.row("idle-1000", all)).await?;
        run.keep(row);
    }
    Ok(())
}

/// From the creation of a GitRepository until it is ready.
async fn fetch(run: &mut Run<'_>, case: &'static str, count: usize, commit: &str) -> Result<()> {
    run.stage.settle().await;
    let stored = expect(run.stage, [SOURCE.to_owned()], commit);
    let measured = Measured::begin(run.stage)?;
    let source = sample::source(SOURCE, run.stage.repo.url());
    run.stage.namespace.apply_yaml(&source.to_string()).await?;
    stored.within(limit(count), "the GitRepository to be ready").await?;
    let row = measured.end(run.stage, run.row(case, count)).await?;
    run.keep(row);
    Ok(())
}

/// From the request to look again until the commit is stored.
async fn poked(run: &mut Run<'_>, case: &'static str, count: usize, commit: &str) -> Result<()> {
    run.stage.settle().await;
    let stored = expect(run.stage, [SOURCE.to_owned()], commit);
    let measured = Measured::begin(run.stage)?;
    run.stage.poke().await?;
    stored
        .within(limit(count), "the GitRepository to have the commit")
        .await?;
    let row = measured.end(run.stage, run.row(case, count)).await?;
    run.keep(row);
    Ok(())
}

/// Twenty seconds at an interval of one.
async fn poll(run: &mut Run<'_>, case: &'static str, count: usize) -> Result<()> {
    let interval = |text: &str| json!({ "spec": { "interval": text } });
    let namespace = &run.stage.namespace;
    namespace.patch::<GitRepository>(SOURCE, interval("1s")).await?;
    namespace.wait_ready::<GitRepository>(SOURCE).await?;
    let measured = Measured::begin(run.stage)?;
    // Time is what is measured here: what is done in so much of it.
    tokio::time::sleep(run.wanted.sizes.span(Duration::from_secs(20))).await;
    let row = measured.end(run.stage, run.row(case, count)).await?;
    run.keep(row);
    Ok(())
}

/// From the first creation of these GitRepositories to the last that is ready.
async fn create(run: &mut Run<'_>, case: &'static str, indexes: std::ops::Range<usize>, commit: &str) -> Result<()> {
    run.stage.settle().await;
    let count = indexes.len();
    let stored = expect(run.stage, indexes.clone().map(name), commit);
    let measured = Measured::begin(run.stage)?;
    let objects: Vec<String> = indexes
        .map(|index| sample::source(&name(index), run.stage.repo.url()).to_string())
        .collect();
    run.stage.namespace.apply_yaml(&objects.join("\n---\n")).await?;
    stored.within(limit(count), "all GitRepositories to be ready").await?;
    let row = measured.end(run.stage, run.row(case, count)).await?;
    run.keep(row);
    Ok(())
}

fn expect(
    stage: &Stage,
    names: impl IntoIterator<Item = String>,
    commit: &str,
) -> crate::board::Awaited<GitRepository> {
    let commit = commit.to_owned();
    stage.sources.expect(names, move |object| has_stored(object, &commit))
}

fn name(index: usize) -> String {
    format!("source-{}", suffix(index))
}

/// A span, with what the Git server was asked for in it.
struct Measured {
    span: crate::meter::Span,
    before: Traffic,
}

impl Measured {
    fn begin(stage: &Stage) -> Result<Self> {
        Ok(Self {
            before: stage.git.traffic(REPOSITORY),
            span: stage.measure()?,
        })
    }

    async fn end(self, stage: &mut Stage, row: Row) -> Result<Row> {
        let cost = stage.cost(self.span).await?;
        let traffic = stage.git.traffic(REPOSITORY) - self.before;
        Ok(row
            .figure("received from git", traffic.sent as f64 / 1e6, "MB")
            .figure("handshakes with git", traffic.handshakes as f64, "")
            .figure("fetches", traffic.fetches as f64, "")
            .costing(cost))
    }
}

/// What git itself takes for a shallow clone and a tar.gz of its tree; as the shell's `time` counts it.
async fn git_alone(stage: &Stage, case: &'static str, count: usize) -> Result<Row> {
    const SCRIPT: &str = r#"
        set -eo pipefail
        TIMEFORMAT='%R %U %S'
        time { git clone --quiet --bare --depth 1 --branch "$BRANCH" "$URL" "$DIR"
               git -C "$DIR" archive --format=tar HEAD | gzip > "$DIR/tree.tar.gz"; }
    "#;
    let folder = tempfile::tempdir()?;
    let before = stage.git.traffic(REPOSITORY);
    let output = Command::new("bash")
        .args(["-c", SCRIPT])
        .env("URL", stage.repo.url())
        .env("BRANCH", MAIN)
        .env("DIR", folder.path().join("clone"))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("NO_PROXY", "127.0.0.1,localhost")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("git clone and git archive: {}", text.trim());
    }
    let last = text.lines().last().unwrap_or_default();
    let seconds: Vec<f64> = last.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [wall, user, system] = seconds[..] else {
        return Err(anyhow::anyhow!("{last:?} is no time")).context("git clone and git archive");
    };
    let traffic = stage.git.traffic(REPOSITORY) - before;
    Ok(Row::new(case, GIT, count)
        .figure("received from git", traffic.sent as f64 / 1e6, "MB")
        .figure("wall", wall, "s")
        .figure("CPU git", user + system, "s"))
}

/// Files of half a kilobyte after compression, a hundred in a folder.
fn small_files(repo: &Repo, count: usize) -> Result<String> {
    let mut noise = Noise(1);
    for index in 0..count {
        let lines: Vec<String> = (0..8).map(|line| format!("  key-{line}: {}", noise.hex(48))).collect();
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: map-{index}\ndata:\n{}\n",
            lines.join("\n")
        );
        repo.write(&format!("dir-{:03}/file-{index:05}.yaml", index / 100), text)?;
    }
    repo.commit("Files")
}

fn blobs(repo: &Repo, count: usize) -> Result<String> {
    let mut noise = Noise(2);
    for index in 0..count {
        repo.write(&format!("dir-{:03}/blob-{index:05}", index / 100), noise.bytes(250_000))?;
    }
    repo.commit("Blobs")
}

fn history(repo: &Repo, count: usize) -> Result<String> {
    let mut stream = String::new();
    let mut noise = Noise(3);
    for index in 0..count {
        let content = format!("commit: {index}\nnoise: {}\n", noise.hex(400));
        let message = format!("Commit {index}");
        stream += &format!(
            "commit refs/heads/{MAIN}\ncommitter Ada Example <ada@example.test> {} +0000\ndata {}\n{message}\nM 100644 inline dir-000/file-{:02}.yaml\ndata {}\n{content}\n",
            1_767_225_600 + index,
            message.len(),
            index % 100,
            content.len(),
        );
    }
    stream += "done\n";
    repo.import(stream.as_bytes())
}

/// Bytes without a pattern that are the same in every run: xorshift.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_le_bytes());
        words.flatten().take(count).collect()
    }

    fn hex(&mut self, digits: usize) -> String {
        let text: String = std::iter::repeat_with(|| format!("{:016x}", self.next()))
            .take(digits.div_ceil(16))
            .collect();
        text.chars().take(digits).collect()
    }
}
