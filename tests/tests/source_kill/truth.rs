//! What has to hold after a kill: at once, after the next start, and when all is done.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use api::source::{Artifact, GitRepository};
use flate2::read::GzDecoder;
use kube::api::ListParams;
use sha1::{Digest, Sha1};
use tests::namespace::condition;
use tests::wait;

use crate::world::{INCLUDING, NOISE, OBJECTS, RESTING, World, digest};

/// An entry that grew beyond this may be fetched anew as a whole, which is no loss.
const GROWN: u64 = 30 << 20;

/// The content of a tree or an archive: the Git hash of each file by its path.
type Files = BTreeMap<String, String>;

impl World {
    /// While the controller is dead: whatever a status names lies there as it is named. Only what was being built anew
    /// under the same name may be newer than its status.
    pub async fn tells_the_truth(&self) -> Result<()> {
        for object in self
            .s
            .namespace
            .api::<GitRepository>()
            .list(&ListParams::default())
            .await?
        {
            let name = object.metadata.name.clone().unwrap_or_default();
            let artifact = object.status.as_ref().and_then(|status| status.artifact.clone());
            let is_ready = condition(&object, "Ready").is_some_and(|ready| ready.status == "True");
            ensure!(!is_ready || artifact.is_some(), "{name} is ready without an artifact");
            // What includes another one, and what is being removed with all it has.
            let Some(artifact) = artifact.filter(|_| name != INCLUDING && object.metadata.deletion_timestamp.is_none())
            else {
                continue;
            };
            let file = self.disk.file(&artifact.path);
            let found = digest(&file).with_context(|| format!("{name} names {}", artifact.revision))?;
            ensure!(
                found == artifact.digest,
                "{name}: {found} instead of {}",
                artifact.digest
            );
            ensure!(
                Some(i64::try_from(file.metadata()?.len())?) == artifact.size,
                "{name}: the size"
            );
        }
        self.left_others_alone().await
    }

    /// As soon as it is ready again: artifacts are served as the status names them, before anything is repaired.
    pub async fn serves(&self) -> Result<()> {
        for (name, _) in OBJECTS.iter().filter(|(name, _)| *name != INCLUDING) {
            let probe = async || match self.artifact(name).await? {
                Some(artifact) => self.download(&artifact).await.map(Some),
                None => bail!("{name} has lost its artifact"),
            };
            // It may be replaced between the two questions.
            wait::until(&format!("the artifact of {name}"), probe).await?;
        }
        Ok(())
    }

    /// When it is left alone: every object has the last commit, as Git has it, nothing half written is left, nothing of
    /// others was touched, and the next commit costs what is new in it.
    pub async fn comes_right(&mut self) -> Result<()> {
        self.is_up_to_date().await?;
        let grown = self.disk.largest_entry();
        let before = self.s.git.traffic("big");
        let commit = self.push_little("big")?;
        self.ask("big").await?;
        self.is_up_to_date().await?;
        let cost = self.s.git.traffic("big") - before;
        ensure!(
            grown > GROWN || cost.sent < NOISE as u64 / 5,
            "{commit} cost {cost:?}: what was fetched before is lost"
        );
        for name in std::mem::take(&mut self.passing) {
            self.s.namespace.wait_gone::<GitRepository>(&name).await?;
            ensure!(!self.disk.place(&name).exists(), "{name} is gone and its files are not");
        }
        let clean = async || {
            let left = self.disk.left_behind()?;
            if left.is_empty() {
                Ok(Some(()))
            } else {
                bail!("{left:?}")
            }
        };
        wait::until("nothing to be left behind", clean).await?;
        let planted: usize = OBJECTS.iter().map(|(name, _)| self.disk.planted(name)).sum();
        ensure!(planted == 0, "{planted} old files were not thrown out");
        self.tells_the_truth().await
    }

    async fn artifact(&self, name: &str) -> Result<Option<Artifact>> {
        let object: GitRepository = self.s.namespace.get(name).await?;
        Ok(object.status.and_then(|status| status.artifact))
    }

    async fn is_up_to_date(&mut self) -> Result<()> {
        for (name, repo) in OBJECTS {
            let commit = self.pushed.get(repo).context("never pushed")?.clone();
            let library = self.pushed.get("lib").context("never pushed")?.clone();
            let is_new = |object: &GitRepository| {
                let Some(status) = &object.status else { return false };
                let is_at = |artifact: &Artifact, commit: &str| artifact.revision.ends_with(commit);
                let includes = name != INCLUDING || status.included_artifacts.iter().any(|one| is_at(one, &library));
                let is_ready = condition(object, "Ready").is_some_and(|ready| ready.status == "True");
                includes
                    && is_ready
                    && status
                        .artifact
                        .as_ref()
                        .is_some_and(|artifact| is_at(artifact, &commit))
            };
            let object: GitRepository = self.s.namespace.wait(name, &format!("have {commit}"), is_new).await?;
            let artifact = object
                .status
                .and_then(|status| status.artifact)
                .context("no artifact")?;
            if self.compared.insert(format!("{name} {}", artifact.digest)) {
                let found = contained(&self.download(&artifact).await?)?;
                let mut expected = self.tree(repo, &commit)?;
                if name == INCLUDING {
                    let library = self.tree("lib", &library)?;
                    expected.extend(
                        library
                            .into_iter()
                            .map(|(path, id)| (format!("included/lib/{path}"), id)),
                    );
                }
                ensure!(
                    found == expected,
                    "{name} at {commit} holds {found:?} instead of {expected:?}"
                );
            }
        }
        Ok(())
    }

    /// The bytes that are served, which have to be those that the status names.
    async fn download(&self, artifact: &Artifact) -> Result<Vec<u8>> {
        let answer = reqwest::Client::builder()
            .no_proxy()
            .build()?
            .get(&artifact.url)
            .send()
            .await?;
        let bytes = answer.error_for_status()?.bytes().await?.to_vec();
        let found = tests::artifact_server::digest(&bytes);
        ensure!(
            found == artifact.digest,
            "{}: {found} instead of {}",
            artifact.url,
            artifact.digest
        );
        ensure!(
            Some(i64::try_from(bytes.len())?) == artifact.size,
            "{}: {} bytes",
            artifact.url,
            bytes.len()
        );
        Ok(bytes)
    }

    /// What Git has.
    fn tree(&self, repo: &str, commit: &str) -> Result<Files> {
        let repo = self.repos.get(repo).context("no repository")?;
        let listed = repo.git(&["ls-tree", "-r", "--format=%(objectname) %(path)", commit])?;
        let line = |line: &str| line.split_once(' ').map(|(id, path)| (path.to_owned(), id.to_owned()));
        Ok(listed.lines().filter_map(line).collect())
    }

    async fn left_others_alone(&self) -> Result<()> {
        for stranger in &self.strangers {
            let found = fs::read(&stranger.path).with_context(|| stranger.path.display().to_string())?;
            ensure!(found == stranger.content, "{} was changed", stranger.path.display());
        }
        let rests = self.artifact(RESTING).await?;
        ensure!(
            rests == self.rested && rests.is_some(),
            "{rests:?} instead of {:?}",
            self.rested
        );
        Ok(())
    }
}

/// The files of an archive.
fn contained(bytes: &[u8]) -> Result<Files> {
    let mut files = Files::new();
    for member in tar::Archive::new(GzDecoder::new(bytes)).entries()? {
        let mut member = member?;
        if !member.header().entry_type().is_file() {
            continue;
        }
        let path = member.path()?.display().to_string();
        let mut content = Vec::new();
        member.read_to_end(&mut content)?;
        let hash = Sha1::new()
            .chain_update(format!("blob {}\0", content.len()))
            .chain_update(&content)
            .finalize();
        let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(files.insert(path.clone(), hash).is_none(), "{path} is there twice");
    }
    Ok(files)
}
