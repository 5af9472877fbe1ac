//! The contestants and their turns on one input.

#![expect(clippy::disallowed_types, reason = "measures programs")]

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use kustomize_bench::Input;
use serde_json::{Value, json};

use crate::measure::{Cost, End};
use crate::report::Row;

/// A program that builds kustomizations.
pub struct Contestant {
    name: String,
    path: PathBuf,
    /// What stands before the directory.
    command: Option<&'static str>,
}

impl Contestant {
    /// A contestant; the program has to be there.
    pub fn new(name: &str, path: &Path, command: Option<&'static str>) -> Result<Self> {
        let path = path
            .canonicalize()
            .with_context(|| format!("there is no {name} at {}", path.display()))?;
        Ok(Self {
            name: name.to_owned(),
            path,
            command,
        })
    }

    /// Its name and path.
    pub fn about(&self) -> Value {
        json!({ "name": self.name, "path": self.path })
    }
}

/// How the contestants take turns.
pub struct Contest<'a> {
    /// Who takes part; the others' bytes are compared with the first one's.
    pub contestants: &'a [Contestant],
    /// Where the inputs and outputs are written.
    pub root: &'a Path,
    /// Turns.
    pub runs: usize,
    /// The seconds after which a contestant gets no further turn.
    pub patience: f64,
    /// The seconds after which a build is ended.
    pub cap: u64,
}

impl Contest<'_> {
    /// Has every contestant build the input, in turns.
    pub fn run(&self, input: &Input) -> Result<Vec<Row>> {
        let place = self.root.join(input.name);
        let tree = input.tree();
        tree.write(&place)
            .with_context(|| format!("cannot write {}", place.display()))?;
        let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); self.contestants.len()];
        for _ in 0..self.runs {
            for (contestant, costs) in self.contestants.iter().zip(&mut costs) {
                let spent: f64 = costs.iter().map(|cost| cost.wall).sum();
                if spent < self.patience && costs.last().is_none_or(|cost| cost.end == End::Success) {
                    costs.push(self.turn(contestant, &place.join(&tree.dir))?);
                }
            }
        }
        let mut rows = Vec::new();
        let ours = self.contestants.first().map(|contestant| self.output(contestant));
        let ours = ours.map(std::fs::read).transpose()?.unwrap_or_default();
        for (at, (contestant, costs)) in self.contestants.iter().zip(costs).enumerate() {
            let path = self.output(contestant);
            let output = std::fs::read(&path)?;
            rows.push(Row {
                input: input.name,
                objects: input.objects,
                contestant: contestant.name.clone(),
                costs,
                bytes: output.len(),
                equal: (at > 0).then(|| output == ours),
            });
            std::fs::remove_file(path)?;
        }
        Ok(rows)
    }

    fn output(&self, contestant: &Contestant) -> PathBuf {
        self.root.join(format!("{}.out", contestant.name))
    }

    fn turn(&self, contestant: &Contestant, directory: &Path) -> Result<Cost> {
        let errors = self.root.join("errors");
        let measured = Command::new(std::env::current_exe()?)
            .args(["measure", &self.cap.to_string()])
            .args([&self.output(contestant), &errors, &contestant.path])
            .args(contestant.command)
            .arg(directory)
            .output()?;
        if !measured.status.success() {
            bail!("{}", String::from_utf8_lossy(&measured.stderr));
        }
        let cost: Cost = serde_json::from_slice(&measured.stdout)?;
        if cost.end == End::Failure {
            let said = std::fs::read_to_string(&errors).unwrap_or_default();
            eprintln!("bench: {} failed: {}", contestant.name, said.trim());
        }
        Ok(cost)
    }
}
