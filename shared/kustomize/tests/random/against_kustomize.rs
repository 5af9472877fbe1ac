//! Outcome by outcome beside the real kustomize: the same bytes, or both refuse.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::generate;
use crate::oracle::{Oracle, Verdict};
use crate::shrink::shrink;
use crate::tree::{Outcome, Tree};

/// How many seeds are tried where no time is given.
const SEEDS: u64 = 300;

/// How many smaller trees are tried for one that differs.
const TRIES: usize = 600;

fn number(variable: &str) -> Result<Option<u64>> {
    match std::env::var(variable) {
        Ok(text) => Ok(Some(
            text.parse()
                .with_context(|| format!("{variable}={text} is no number"))?,
        )),
        Err(_) => Ok(None),
    }
}

#[derive(Default)]
struct Tally {
    built: usize,
    refused: usize,
    void: usize,
    /// Their seeds.
    different: Vec<u64>,
}

#[test]
fn random_trees_build_as_kustomize_builds_them() -> Result<()> {
    let start = Instant::now();
    let first = number("SLUICE_FUZZ_SEED")?.unwrap_or(0);
    let time = number("SLUICE_FUZZ_SECONDS")?.map(Duration::from_secs);
    let mut oracle = Oracle::start()?;
    let mut tally = Tally::default();
    let mut seed = first;
    loop {
        let done = match time {
            Some(time) => start.elapsed() > time,
            None => seed - first >= SEEDS,
        };
        if done {
            break;
        }
        try_seed(&mut oracle, seed, &mut tally)?;
        seed += 1;
    }
    eprintln!(
        "seeds {first} to {seed}: {} built, {} refused, {} void, {} different, {} s",
        tally.built,
        tally.refused,
        tally.void,
        tally.different.len(),
        start.elapsed().as_secs()
    );
    ensure!(
        tally.different.is_empty(),
        "trees that kustomize builds differently (above, and in .sluice/kustomize-fuzz), by seed: {:?}",
        tally.different
    );
    ensure!(
        time.is_some() || tally.built > tally.refused,
        "only {} of the random trees can be built",
        tally.built
    );
    Ok(())
}

fn try_seed(oracle: &mut Oracle, seed: u64, tally: &mut Tally) -> Result<()> {
    // A tree that is refused says little: less of it is tried as well, until it can be built.
    for tenths in [0, 2, 4, 7, 10] {
        let tree = generate::tree(seed, tenths);
        let builds = tree.build()?.kind() == "built";
        if tenths == 0 || builds {
            try_tree(oracle, seed, tree, tally)?;
        }
        if builds {
            break;
        }
    }
    Ok(())
}

fn try_tree(oracle: &mut Oracle, seed: u64, tree: Tree, tally: &mut Tally) -> Result<()> {
    match oracle.compare(&tree)? {
        Verdict::Same(Outcome::Built(_)) => tally.built += 1,
        Verdict::Same(_) => tally.refused += 1,
        Verdict::Void => tally.void += 1,
        Verdict::Different(ours, theirs) => {
            let kinds = (ours.kind(), theirs.kind());
            // A smaller tree may differ for another reason.
            if let Outcome::Refused(why) = [&ours, &theirs]
                .into_iter()
                .find(|it| it.kind() == "refused")
                .unwrap_or(&ours)
            {
                eprintln!("seed {seed}, the whole tree: refused: {why}");
            }
            let mut fails = |tree: &Tree| {
                Ok(
                    matches!(oracle.compare(tree)?, Verdict::Different(ours, theirs) if (ours.kind(), theirs.kind()) == kinds),
                )
            };
            let small = shrink(tree, TRIES, &mut fails)?;
            eprintln!("{}", report(oracle, seed, &small)?);
            tally.different.push(seed);
        }
    }
    Ok(())
}

/// Writes the tree to the folder of working files and describes it.
fn report(oracle: &mut Oracle, seed: u64, tree: &Tree) -> Result<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../.sluice/kustomize-fuzz")
        .join(format!("seed-{seed}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    tree.write(&folder)?;
    let flags = format!(
        "{}{}",
        if tree.sorted { "" } else { " --reorder=none" },
        if tree.free {
            " --load-restrictor=LoadRestrictionsNone"
        } else {
            ""
        }
    );
    let difference = match oracle.compare(tree)? {
        Verdict::Different(ours, theirs) => difference(&folder, &ours, &theirs)?,
        _ => "it does not differ any more".to_owned(),
    };
    Ok(format!(
        "==== seed {seed}: kustomize build{flags} {}/{}\n{}{difference}",
        folder.display(),
        tree.root,
        tree.listing()
    ))
}

/// What is expected and what was built, also as files beside the tree.
fn difference(folder: &Path, ours: &Outcome, theirs: &Outcome) -> Result<String> {
    let text = |outcome: &Outcome| match outcome {
        Outcome::Built(text) => text.clone(),
        Outcome::Refused(why) => format!("refused: {why}\n"),
        Outcome::Crashed(why) => format!("crashed: {why}\n"),
    };
    let (ours, theirs) = (text(ours), text(theirs));
    std::fs::write(folder.join("expected"), &theirs)?;
    std::fs::write(folder.join("built"), &ours)?;
    let (expected, built): (Vec<&str>, Vec<&str>) = (theirs.lines().collect(), ours.lines().collect());
    let same = expected.iter().zip(&built).take_while(|(a, b)| a == b).count();
    let rest = |lines: &[&str], sign: char| -> String {
        lines
            .iter()
            .skip(same)
            .take(8)
            .map(|line| format!("{sign} {line}\n"))
            .collect()
    };
    Ok(format!(
        "==== from line {}:\n{}{}",
        same + 1,
        rest(&expected, '-'),
        rest(&built, '+')
    ))
}
