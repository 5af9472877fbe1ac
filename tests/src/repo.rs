//! A repository of the Git server with a working copy to change it from. All Git work is done by the real git, with a
//! fixed author and dates that count up from a fixed day, so that the same steps give the same commit ids.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// A served repository and its working copy. Every change of references is pushed at once.
#[derive(Debug)]
pub struct Repo {
    url: String,
    bare: PathBuf,
    work: TempDir,
    clock: AtomicU64,
}

/// The name of the first branch.
pub const MAIN: &str = "main";

impl Repo {
    pub(crate) fn create(root: &Path, name: &str, url: String) -> Result<Self> {
        let bare = root.join(format!("{name}.git"));
        if bare.exists() {
            bail!("the repository {name} exists already");
        }
        let work = tempfile::Builder::new().prefix("git-work-").tempdir()?;
        init(&bare, work.path(), "sha1")?;
        Ok(Self {
            url,
            bare,
            work,
            clock: AtomicU64::new(0),
        })
    }

    /// Makes the repository anew, with objects named by SHA-256. What it held is lost.
    pub fn use_sha256(&self) -> Result<()> {
        fs::remove_dir_all(&self.bare)?;
        fs::remove_dir_all(self.work().join(".git"))?;
        init(&self.bare, self.work(), "sha256")
    }

    /// The repository's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder of the bare repository that is served.
    pub fn bare(&self) -> &Path {
        &self.bare
    }

    /// The folder of the working copy.
    pub fn work(&self) -> &Path {
        self.work.path()
    }

    /// Writes a file of the working copy, with the folders it needs.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let file = self.file(path)?;
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Writes several files.
    pub fn write_all(&self, files: &[(&str, &str)]) -> Result<()> {
        files.iter().try_for_each(|(path, content)| self.write(path, content))
    }

    /// Makes a file executable.
    pub fn executable(&self, path: &str) -> Result<()> {
        Ok(fs::set_permissions(
            self.file(path)?,
            fs::Permissions::from_mode(0o755),
        )?)
    }

    /// Makes a symbolic link with this target, wherever it leads.
    pub fn symlink(&self, path: &str, target: &str) -> Result<()> {
        Ok(std::os::unix::fs::symlink(target, self.file(path)?)?)
    }

    /// Removes a file or a folder.
    pub fn remove(&self, path: &str) -> Result<()> {
        let file = self.file(path)?;
        if file.symlink_metadata()?.is_dir() {
            fs::remove_dir_all(file)?
        } else {
            fs::remove_file(file)?
        }
        Ok(())
    }

    /// Commits everything in the working copy (also when nothing changed) to the current branch, pushes it, and
    /// returns the commit's id.
    pub fn commit(&self, message: &str) -> Result<String> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message])?;
        let branch = self.git(&["symbolic-ref", "--short", "HEAD"])?;
        self.push(&format!("HEAD:refs/heads/{branch}"))?;
        self.head()
    }

    /// Writes the files and commits.
    pub fn commit_files(&self, message: &str, files: &[(&str, &str)]) -> Result<String> {
        self.write_all(files)?;
        self.commit(message)
    }

    /// Gives the served repository so many branches `team/branch-…` at the commit, in place of the references that it has
    /// packed, and returns the name of the last one.
    pub fn many_branches(&self, count: usize, commit: &str) -> Result<String> {
        let name = |number: usize| format!("team/branch-{number:06}");
        let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted\n");
        for number in 0..count {
            writeln!(packed, "{commit} refs/heads/{}", name(number))?;
        }
        fs::write(self.bare.join("packed-refs"), packed)?;
        Ok(name(count.saturating_sub(1)))
    }

    /// Replaces the last commit of the current branch, as a force push does.
    pub fn amend(&self, message: &str) -> Result<String> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--allow-empty", "--amend", "--message", message])?;
        let branch = self.git(&["symbolic-ref", "--short", "HEAD"])?;
        self.push(&format!("+HEAD:refs/heads/{branch}"))?;
        self.head()
    }

    /// Stores an object as it is, whatever git would say of it, and returns its id.
    pub fn object(&self, kind: &str, content: &[u8]) -> Result<String> {
        fs::write(self.work().join(".git/new-object"), content)?;
        self.git(&["hash-object", "--literally", "-t", kind, "-w", ".git/new-object"])
    }

    /// Stores a directory of these modes, names and ids, also one that git would not make.
    pub fn tree(&self, entries: &[(&str, &[u8], String)]) -> Result<String> {
        let mut content = Vec::new();
        for (mode, name, id) in entries {
            content.extend([mode.as_bytes(), b" ", name, b"\0"].concat());
            for at in (0..id.len()).step_by(2) {
                let digits = id.get(at..at + 2).context("an id has pairs of digits")?;
                content.push(u8::from_str_radix(digits, 16)?);
            }
        }
        self.object("tree", &content)
    }

    /// The id of the current commit.
    pub fn head(&self) -> Result<String> {
        self.git(&["rev-parse", "HEAD"])
    }

    /// The id that a revision (a branch, a tag, `HEAD~1`) stands for.
    pub fn id(&self, revision: &str) -> Result<String> {
        self.git(&["rev-parse", "--verify", revision])
    }

    /// Makes a branch at the current commit, and goes on there. The server's HEAD stays where it is.
    pub fn branch(&self, name: &str) -> Result<()> {
        self.git(&["checkout", "--quiet", "-b", name])?;
        self.push(&format!("HEAD:refs/heads/{name}")).map(|_| ())
    }

    /// Goes on with another branch or a commit.
    pub fn checkout(&self, name: &str) -> Result<()> {
        self.git(&["checkout", "--quiet", name]).map(|_| ())
    }

    /// Sets (or moves) a lightweight tag to the current commit.
    pub fn tag(&self, name: &str) -> Result<()> {
        self.git(&["tag", "--force", name])?;
        self.push(&format!("+refs/tags/{name}")).map(|_| ())
    }

    /// Sets (or moves) an annotated tag to the current commit.
    pub fn annotated_tag(&self, name: &str, message: &str) -> Result<()> {
        self.git(&["tag", "--force", "--annotate", "--message", message, name])?;
        self.push(&format!("+refs/tags/{name}")).map(|_| ())
    }

    /// Sets any reference (`refs/pull/1/head`) to the current commit.
    pub fn set_ref(&self, name: &str) -> Result<()> {
        self.push(&format!("+HEAD:{name}")).map(|_| ())
    }

    /// Deletes a reference on the server, by its full name.
    pub fn delete_ref(&self, name: &str) -> Result<()> {
        self.push(&format!(":{name}")).map(|_| ())
    }

    /// Takes over what others pushed to the current branch.
    pub fn pull(&self) -> Result<String> {
        let branch = self.git(&["symbolic-ref", "--short", "HEAD"])?;
        self.git(&["fetch", "--quiet", "origin", &branch])?;
        self.git(&["reset", "--quiet", "--hard", "FETCH_HEAD"])?;
        self.head()
    }

    /// Runs git in the working copy and returns what it printed, trimmed.
    pub fn git(&self, arguments: &[&str]) -> Result<String> {
        let minutes = self.clock.fetch_add(1, Ordering::Relaxed);
        let date = format!(
            "2026-01-{:02}T{:02}:{:02}:00Z",
            1 + minutes / 1440 % 28,
            minutes / 60 % 24,
            minutes % 60
        );
        run(self.work.path(), arguments, &date)
    }

    /// Puts what a stream for `git fast-import` describes on the current branch, which has to be empty, pushes it, and
    /// returns the commit's id. For histories that would take minutes commit by commit.
    pub fn import(&self, stream: &[u8]) -> Result<String> {
        let mut command = Command::new("git");
        isolate(&mut command);
        let mut child = command
            .args(["fast-import", "--quiet", "--done"])
            .current_dir(self.work.path())
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot start git")?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let written = stdin.write_all(stream);
        drop(stdin);
        let status = child.wait()?;
        written?;
        if !status.success() {
            bail!("git fast-import: {status}");
        }
        self.git(&["reset", "--quiet", "--hard"])?;
        let branch = self.git(&["symbolic-ref", "--short", "HEAD"])?;
        self.push(&format!("HEAD:refs/heads/{branch}"))?;
        self.head()
    }

    fn push(&self, refspec: &str) -> Result<String> {
        self.git(&["push", "--quiet", "origin", refspec])
    }

    fn file(&self, path: &str) -> Result<PathBuf> {
        let relative = Path::new(path);
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            bail!("{path} is not a path inside of the repository");
        }
        let file = self.work.path().join(relative);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(file)
    }
}

/// Makes a bare repository and a working copy of it.
fn init(bare: &Path, work: &Path, format: &str) -> Result<()> {
    let init = [
        "init",
        "--quiet",
        "--object-format",
        format,
        "--initial-branch",
        MAIN,
        ".",
    ];
    fs::create_dir_all(bare)?;
    git(bare, &[&init[..], &["--bare"]].concat())?;
    // What hosting services allow, too: fetching a commit by its id.
    git(bare, &["config", "uploadpack.allowReachableSHA1InWant", "true"])?;
    git(bare, &["config", "http.receivepack", "true"])?;
    git(work, &init)?;
    git(work, &["remote", "add", "origin", &bare.display().to_string()])?;
    Ok(())
}

/// One clear line when git is missing.
pub(crate) fn require_git() -> Result<()> {
    match Command::new("git").arg("version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => bail!("git is not installed; install your system's package `git`"),
    }
}

/// Keeps the user's and the system's Git configuration, prompts and outer repositories away from the command.
pub(crate) fn isolate(command: &mut Command) {
    let inherited = [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_CONFIG_PARAMETERS",
        "GIT_ASKPASS",
    ];
    for variable in inherited {
        command.env_remove(variable);
    }
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .env("NO_PROXY", "127.0.0.1,localhost");
}

fn git(dir: &Path, arguments: &[&str]) -> Result<String> {
    run(dir, arguments, "2026-01-01T00:00:00Z")
}

fn run(dir: &Path, arguments: &[&str], date: &str) -> Result<String> {
    let mut command = Command::new("git");
    isolate(&mut command);
    let output = command
        .args(arguments)
        .current_dir(dir)
        .env("GIT_AUTHOR_NAME", "Ada Example")
        .env("GIT_AUTHOR_EMAIL", "ada@example.test")
        .env("GIT_COMMITTER_NAME", "Ada Example")
        .env("GIT_COMMITTER_EMAIL", "ada@example.test")
        .env("GIT_AUTHOR_DATE", date)
        .env("GIT_COMMITTER_DATE", date)
        .output()
        .context("cannot start git")?;
    if !output.status.success() {
        bail!(
            "git {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Result<(TempDir, Repo, String)> {
        let root = tempfile::tempdir()?;
        let repo = Repo::create(root.path(), "team/app", "http://example.test/team/app.git".into())?;
        repo.write_all(&[("a.yaml", "a: 1\n"), ("deploy/run.sh", "#!/bin/sh\n")])?;
        repo.executable("deploy/run.sh")?;
        repo.symlink("link", "a.yaml")?;
        let id = repo.commit("first")?;
        Ok((root, repo, id))
    }

    #[test]
    fn the_same_steps_give_the_same_commit() -> Result<()> {
        let (_a, _, first) = steps()?;
        let (_b, repo, second) = steps()?;
        assert_eq!(first, second);
        assert_eq!(
            repo.git(&["ls-tree", "-r", "--format=%(objectmode) %(path)", "HEAD"])?
                .lines()
                .collect::<Vec<_>>(),
            ["100644 a.yaml", "100755 deploy/run.sh", "120000 link",]
        );
        Ok(())
    }

    #[test]
    fn every_change_reaches_the_served_repository() -> Result<()> {
        let (_root, repo, first) = steps()?;
        repo.annotated_tag("v1.0.0", "one")?;
        repo.branch("other")?;
        repo.remove("deploy")?;
        let second = repo.commit("second")?;
        repo.tag("light")?;
        repo.checkout(MAIN)?;
        let amended = repo.amend("first again")?;
        let served = |name: &str| git(repo.bare(), &["rev-parse", name]);
        assert_eq!(served("v1.0.0^{commit}")?, first);
        assert_eq!(served("refs/heads/other")?, second);
        assert_eq!(served("light")?, second);
        assert_eq!(served("HEAD")?, amended);
        repo.delete_ref("refs/heads/other")?;
        assert!(served("refs/heads/other").is_err());
        Ok(())
    }

    #[test]
    fn a_path_out_of_the_repository_is_refused() -> Result<()> {
        let (_root, repo, _) = steps()?;
        assert!(repo.write("../x", "").is_err() && repo.write("/x", "").is_err());
        Ok(())
    }
}
