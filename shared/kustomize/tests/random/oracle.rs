//! The real kustomize, as a process that answers one build after the other.

#![expect(clippy::disallowed_types, reason = "asks the real kustomize")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::original;
use crate::tree::{Outcome, Tree};

/// How long one build may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What kustomize says when it prints a value in the place of one whose type it still remembers. The library builds
/// it (see DEVIATION.md).
const LENIENT: &str = "yaml: cannot decode !!";

/// kustomize, and a directory for the trees it is shown.
pub struct Oracle {
    program: PathBuf,
    server: Server,
    folder: TempDir,
    trees: usize,
}

/// How the library and kustomize compare on a tree.
pub enum Verdict {
    /// The same bytes, or both refuse.
    Same(Outcome),
    /// kustomize crashes on it, or makes one thing now and another one then.
    Void,
    /// What the library and kustomize make of it.
    Different(Outcome, Outcome),
}

impl Oracle {
    /// Builds kustomize when that has not been done yet, and starts it.
    pub fn start() -> Result<Self> {
        let program = original::program()?;
        Ok(Self {
            server: Server::start(&program)?,
            program,
            folder: tempfile::tempdir()?,
            trees: 0,
        })
    }

    /// Builds a tree with both.
    pub fn compare(&mut self, tree: &Tree) -> Result<Verdict> {
        self.trees += 1;
        let directory = self.folder.path().join(format!("t{}", self.trees));
        tree.write(&directory)?;
        let verdict = self.compare_in(tree, &directory);
        std::fs::remove_dir_all(&directory)?;
        verdict
    }

    fn compare_in(&mut self, tree: &Tree, directory: &Path) -> Result<Verdict> {
        let ours = tree.build()?;
        let Some(theirs) = self.server.build(tree, directory)? else {
            self.server = Server::start(&self.program)?;
            return Ok(Verdict::Void);
        };
        if theirs.agrees(&ours) {
            return Ok(Verdict::Same(ours));
        }
        // What a process that built other things before says may come from those, and some of it from chance.
        let mut answers = Vec::new();
        for _ in 0..2 {
            answers.extend(Server::start(&self.program)?.build(tree, directory)?);
        }
        let [first, second] = answers.as_slice() else {
            return Ok(Verdict::Void);
        };
        Ok(match first {
            _ if !first.agrees(second) => Verdict::Void,
            Outcome::Crashed(_) => Verdict::Void,
            Outcome::Refused(why) if ours.kind() == "built" && why.contains(LENIENT) => Verdict::Void,
            _ if first.agrees(&ours) => Verdict::Same(ours),
            _ => Verdict::Different(ours, first.clone()),
        })
    }
}

struct Server {
    process: Child,
    answers: Receiver<Outcome>,
}

impl Server {
    fn start(program: &Path) -> Result<Self> {
        let mut process = Command::new(program)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let output = process.stdout.take().context("no standard output")?;
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            while let Some(outcome) = answer(&mut output) {
                if sender.send(outcome).is_err() {
                    break;
                }
            }
        });
        Ok(Self { process, answers })
    }

    /// What kustomize makes of a tree in a directory; none when it died or did not come to an end.
    fn build(&mut self, tree: &Tree, directory: &Path) -> Result<Option<Outcome>> {
        let reorder = if tree.sorted { "legacy" } else { "none" };
        let restrictor = if tree.free {
            "LoadRestrictionsNone"
        } else {
            "LoadRestrictionsRootOnly"
        };
        let input = self.process.stdin.as_mut().context("no standard input")?;
        let target = directory.join(&tree.root);
        if writeln!(input, "{reorder}\t{restrictor}\t{}", target.display()).is_err() {
            return Ok(None);
        }
        Ok(self.answers.recv_timeout(PATIENCE).ok())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A process that ended already cannot be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One answer: a line `HOW LENGTH` and that many bytes.
fn answer(output: &mut impl BufRead) -> Option<Outcome> {
    let mut line = String::new();
    output.read_line(&mut line).ok()?;
    let (how, length) = line.trim_end().split_once(' ')?;
    let mut bytes = vec![0; length.parse().ok()?];
    output.read_exact(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Some(match how {
        "ok" => Outcome::Built(text),
        "error" => Outcome::Refused(text),
        _ => Outcome::Crashed(text),
    })
}
