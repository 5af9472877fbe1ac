//! What holds for every tree, whatever kustomize says.

use anyhow::{Result, ensure};
use kustomize::{Limits, Options};

use crate::generate;
use crate::tree::{Outcome, Tree};

const SEEDS: u64 = 200;

/// The trees of all seeds, with what the library makes of each.
fn built() -> Result<Vec<(Tree, Outcome)>> {
    (0..SEEDS)
        .map(|seed| {
            let (mut tree, mut outcome) = (Tree::default(), Outcome::Refused(String::new()));
            // What cannot be built is of interest as well, but not that often.
            let lighter: &[usize] = if seed % 5 == 0 { &[0] } else { &[0, 2, 4, 7, 10] };
            for tenths in lighter {
                tree = generate::tree(seed, *tenths);
                outcome = tree.build()?;
                if outcome.kind() != "refused" {
                    break;
                }
            }
            ensure!(outcome.kind() != "crashed", "seed {seed} crashes:\n{}", tree.listing());
            Ok((tree, outcome))
        })
        .collect()
}

#[test]
fn a_tree_builds_to_the_same_each_time_and_on_every_thread() -> Result<()> {
    let built = built()?;
    let threads = std::thread::scope(|scope| {
        let run = |from: usize| {
            let built = &built;
            move || -> Result<()> {
                // Each thread goes around from another place.
                for (tree, outcome) in built.iter().cycle().skip(from).take(built.len()) {
                    ensure!(tree.build()? == *outcome, "differs:\n{}", tree.listing());
                }
                Ok(())
            }
        };
        let threads: Vec<_> = (0..4).map(|at| scope.spawn(run(at * built.len() / 4))).collect();
        threads
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect::<Vec<_>>()
    });
    for thread in threads {
        thread.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    Ok(())
}

#[test]
fn a_tree_in_memory_builds_like_one_in_a_directory() -> Result<()> {
    for (tree, outcome) in built()? {
        let folder = tempfile::tempdir()?;
        tree.write(folder.path())?;
        let from_directory = tree.build_in(folder.path())?;
        ensure!(from_directory == outcome, "differs:\n{}", tree.listing());
    }
    Ok(())
}

#[test]
fn what_was_built_builds_to_itself() -> Result<()> {
    let mut tried = 0;
    for (tree, outcome) in built()? {
        let Outcome::Built(text) = outcome else { continue };
        // No objects are no resource; what a build notes for itself in annotations means something to the next one.
        if text.is_empty() || text.contains("config.kubernetes.io/") || text.contains("kustomize.config.k8s.io/") {
            continue;
        }
        let mut next = Tree {
            root: "x".to_owned(),
            sorted: false,
            ..Tree::default()
        };
        next.files
            .insert("x/kustomization.yaml".into(), "resources: [all.yaml]\n".into());
        next.files.insert("x/all.yaml".into(), text.clone());
        let again = next.build()?;
        ensure!(
            again == Outcome::Built(text.clone()),
            "{again:?} from\n{text}of\n{}",
            tree.listing()
        );
        tried += 1;
    }
    ensure!(tried > 100, "only {tried} trees could be built");
    Ok(())
}

#[test]
fn limits_that_are_too_small_are_errors() -> Result<()> {
    let none = Limits::default();
    let limits = [
        Limits {
            files: 0,
            ..none.clone()
        },
        Limits {
            file_bytes: 10,
            ..none.clone()
        },
        Limits {
            total_bytes: 20,
            ..none.clone()
        },
    ];
    for (tree, _) in built()? {
        for limits in &limits {
            let options = Options {
                limits: limits.clone(),
                ..tree.options()
            };
            let outcome = Outcome::of(&tree.in_memory()?, &tree.root, &options);
            ensure!(
                outcome.kind() == "refused",
                "{limits:?}: {outcome:?} from\n{}",
                tree.listing()
            );
        }
        let shallow = Options {
            limits: Limits {
                depth: 1,
                ..none.clone()
            },
            ..tree.options()
        };
        let outcome = Outcome::of(&tree.in_memory()?, &tree.root, &shallow);
        let is_deep = tree.files.keys().any(|path| path.starts_with("app-"));
        ensure!(
            !is_deep || outcome.kind() == "refused",
            "{outcome:?} from\n{}",
            tree.listing()
        );
        // How far a build gets within less than it needs does not matter; it never panics.
        for files in 1..8 {
            let limits = Limits {
                files,
                objects: files,
                depth: files,
                total_bytes: files as u64 * 300,
                ..none.clone()
            };
            let options = Options {
                limits,
                ..tree.options()
            };
            let outcome = Outcome::of(&tree.in_memory()?, &tree.root, &options);
            ensure!(outcome.kind() != "crashed", "crashes with {files}:\n{}", tree.listing());
        }
    }
    Ok(())
}
