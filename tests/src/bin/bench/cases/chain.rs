//! Dependencies, one behind the other, all created at once.

use std::time::Duration;

use anyhow::Result;

use super::Run;
use crate::sample::{Fleet, INDEXED, config_map};
use crate::stage::{Contestant, is_ready};

/// A hundred; for Flux, which looks at dependencies every 30 seconds, five.
pub async fn run(mut run: Run<'_>) -> Result<()> {
    let count = match run.contestant {
        Contestant::Flux { .. } => 5,
        Contestant::Ours { .. } => run.wanted.sizes.of(100),
    };
    let fleet = Fleet {
        chained: true,
        ..Fleet::new(count)
    };
    run.stage.repo.write("app/map.yaml", config_map(INDEXED))?;
    run.stage.publish().await?;
    run.stage.settle().await;
    let ready = run.stage.board.expect(fleet.names(), is_ready);
    let span = run.stage.measure()?;
    run.stage.create(&fleet).await?;
    let limit = Duration::from_secs(60) * u32::try_from(count)?;
    let times = ready.within(limit, "the chain to be ready").await?;
    let cost = run.stage.cost(span).await?;
    let row = run.row("chain", count);
    let row = match (times.first(), times.last()) {
        (Some((_, first)), Some((_, last))) => {
            let hop = last.duration_since(*first).as_secs_f64() / (count - 1) as f64;
            row.figure("per hop", hop, "s")
        }
        _ => row,
    };
    run.keep(row.costing(cost));
    Ok(())
}
