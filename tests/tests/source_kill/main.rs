//! `kill -9` of the source controller in the middle of everything it does: while it fetches, archives, publishes, collects
//! garbage and deletes. It is started again each time, and what it left has to be true and whole.
//!
//! Twenty kills, always planned the same way. `SLUICE_KILLS` says how many else, `SLUICE_SEED` what everything random follows
//! from; the steps follow from the seed, what happens between two of them inside of the process does not. The counts are
//! printed (`--nocapture`).

mod disk;
mod plan;
mod truth;
mod world;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use plan::{Phase, plan};
use world::World;

/// A number from the environment.
fn setting(name: &str, usual: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text} is no number")),
        Err(_) => Ok(usual),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_it_does_when_it_is_killed_nothing_is_lost_and_nothing_is_left_behind() -> Result<()> {
    let (seed, kills) = (setting("SLUICE_SEED", 20)?, setting("SLUICE_KILLS", 20)?);
    let mut world = World::start(seed).await?;
    world.comes_right().await?;
    let mut hit: BTreeMap<&str, u32> = Phase::ALL.iter().map(|phase| (phase.name(), 0)).collect();
    for (number, step) in plan(seed, kills).into_iter().enumerate() {
        let what = format!("seed {seed}, kill {number}: {step:?}");
        let phases = world.kill(&step).await.with_context(|| what.clone())?;
        println!("{what}: {phases:?}");
        for phase in phases {
            *hit.entry(phase.name()).or_default() += 1;
        }
        world.tells_the_truth().await.with_context(|| format!("{what}: dead"))?;
        world.start_again().await.with_context(|| what.clone())?;
        world.serves().await.with_context(|| what.clone())?;
        if step.comes_right {
            world.comes_right().await.with_context(|| what.clone())?;
        }
    }
    let counts: Vec<_> = hit.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("seed {seed}: {kills} kills: {}", counts.join(", "));
    let is_hit = |phase: &Phase| *phase == Phase::Any || hit.get(phase.name()).is_some_and(|count| *count > 0);
    ensure!(Phase::ALL.iter().all(is_hit), "a phase was never hit: {hit:?}");
    Ok(())
}
