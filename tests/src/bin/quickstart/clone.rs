//! A clone of the repository, changed and pushed from as people do: with git, over HTTP.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// A clone.
#[derive(Debug)]
pub struct Clone {
    dir: PathBuf,
}

impl Clone {
    /// Clones into a folder that does not exist yet.
    pub async fn new(url: &str, dir: &Path) -> Result<Self> {
        let parent = dir.parent().unwrap_or(dir);
        git(parent, &["clone", "--quiet", url, &dir.display().to_string()]).await?;
        Ok(Self { dir: dir.to_path_buf() })
    }

    /// Replaces a text, which must be there, in a file.
    pub fn edit(&self, path: &str, from: &str, to: &str) -> Result<()> {
        let file = self.dir.join(path);
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {path} of the clone"))?;
        if !text.contains(from) {
            bail!("{path} of the sample repository does not hold {from:?}");
        }
        Ok(fs::write(&file, text.replace(from, to))?)
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) -> Result<()> {
        fs::remove_file(self.dir.join(path)).with_context(|| format!("cannot remove {path} of the clone"))
    }

    /// Commits everything and pushes it; returns the revision as the source controller writes it.
    pub async fn push(&self, message: &str) -> Result<String> {
        git(&self.dir, &["commit", "--quiet", "--all", "--message", message]).await?;
        git(&self.dir, &["push", "--quiet"]).await?;
        self.revision().await
    }

    /// The revision that is checked out, as the source controller writes it.
    pub async fn revision(&self) -> Result<String> {
        let id = git(&self.dir, &["rev-parse", "HEAD"]).await?;
        let branch = git(&self.dir, &["symbolic-ref", "--short", "HEAD"]).await?;
        Ok(format!("{branch}@sha1:{id}"))
    }
}

/// The branch that a repository's HEAD points to.
pub async fn default_branch(url: &str) -> Result<String> {
    let answer = git(Path::new("."), &["ls-remote", "--symref", "--", url, "HEAD"])
        .await
        .with_context(|| format!("the repository {url} cannot be read without credentials"))?;
    symbolic_head(&answer)
        .with_context(|| format!("{url} does not say what its default branch is: name one with --branch"))
}

fn symbolic_head(answer: &str) -> Option<String> {
    let line = answer.lines().find_map(|line| line.strip_prefix("ref: refs/heads/"))?;
    line.split_once('\t').map(|(branch, _)| branch.to_owned())
}

/// Runs git without the user's configuration, credentials and prompts.
async fn git(dir: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    command
        .args(["-c", "user.name=Quickstart", "-c", "user.email=quickstart@example.test"])
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("NO_PROXY", "127.0.0.1,localhost")
        .env("LC_ALL", "C")
        .kill_on_drop(true);
    for inherited in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_ASKPASS",
        "SSH_ASKPASS",
        "no_proxy",
    ] {
        command.env_remove(inherited);
    }
    let output = command.output().await.context("git cannot be started")?;
    if !output.status.success() {
        bail!(
            "git {}: {}",
            arguments.first().unwrap_or(&""),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_branch_is_what_head_points_to() {
        let check = |answer: &str, expected: Option<&str>| assert_eq!(symbolic_head(answer).as_deref(), expected);
        check("ref: refs/heads/team/main\tHEAD\n0123\tHEAD\n", Some("team/main"));
        check("0123\tHEAD\n", None);
        check("", None);
    }
}
