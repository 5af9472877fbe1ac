//! What is played, step by step: in each one takes over what the other one has left.

use anyhow::Result;
use api::source::GitRepository;
use tests::controllers::{Controller, Controllers};

use crate::checks::{
    LOOKS_OF_FLUX, advance, deleted, is_known, is_locked, is_waited_for, no_halves, settled, unchanged, waits_for_lock,
};
use crate::stage::{LARGE, Mark, Side, Stage};
use crate::table::Table;

/// What a controller leaves that was caught while it stored the large artifact.
struct Left {
    /// All there was then.
    mark: Mark,
    /// The large commit that is not stored.
    commit: String,
}

/// All of it. What is checked goes into the table; an error is what makes it senseless to go on.
pub async fn play(stage: &Stage, table: &mut Table) -> Result<()> {
    let left = flux_from_nothing(stage, table).await?;
    let left = ours_after_killed_flux(stage, table, left).await?;
    let (flux, left) = flux_after_killed_ours(stage, table, left).await?;
    let mark = ours_beside_paused_flux(stage, table, flux, left).await?;
    let mark = flux_after_stopped_ours(stage, table, mark).await?;
    let (ours, left) = ours_after_stopped_flux(stage, table, mark).await?;
    flux_beside_paused_ours(stage, table, ours, left).await
}

async fn flux_from_nothing(stage: &Stage, table: &mut Table) -> Result<Left> {
    table.step("Flux, from nothing, killed while it stores");
    let flux = stage.start(Side::Flux, &[]).await?;
    stage.create().await?;
    advance(stage, table, "2").await?;
    let commit = stage.in_the_middle().await?;
    flux.kill(Controller::Source)?;
    let halves = stage.must_be_caught()?;
    let is_known = is_known(stage, &commit, &halves);
    table.check("it leaves what our tests take for what it leaves", is_known);
    stage.namespace.suspend::<GitRepository>(LARGE, true).await?;
    let mark = stage.mark().await?;
    Ok(Left { mark, commit })
}

async fn ours_after_killed_flux(stage: &Stage, table: &mut Table, left: Left) -> Result<Left> {
    table.step("ours after Flux, killed while it stores");
    let ours = stage.take_over(Side::Ours, &[]).await?;
    unchanged(stage, table, &left.mark, Some(LARGE), 0).await;
    let what = "what Flux has left half written is gone, though its object is suspended";
    table.check(what, no_halves(stage));
    table.check("every artifact is served", stage.must_be_served(&ours).await);
    stage.namespace.suspend::<GitRepository>(LARGE, false).await?;
    let stored = stage.stored(LARGE, &left.commit).await;
    table.check("what Flux has not finished is stored", stored);
    advance(stage, table, "3").await?;
    let commit = stage.in_the_middle().await?;
    ours.kill(Controller::Source)?;
    stage.must_be_caught()?;
    let mark = stage.mark().await?;
    Ok(Left { mark, commit })
}

async fn flux_after_killed_ours(stage: &Stage, table: &mut Table, left: Left) -> Result<(Controllers, Left)> {
    table.step("Flux after ours, paused while it stores");
    let flux = stage.take_over(Side::Flux, &[]).await?;
    unchanged(stage, table, &left.mark, Some(LARGE), LOOKS_OF_FLUX).await;
    let stored = stage.stored(LARGE, &left.commit).await;
    table.check("what ours has not finished is stored", stored);
    table.check("every artifact is served", stage.must_be_served(&flux).await);
    advance(stage, table, "4").await?;
    let commit = stage.commit_large()?;
    let settled = settled(stage, &commit).await;
    table.check("what ours has left half written goes as an old artifact would", settled);
    let commit = stage.in_the_middle().await?;
    flux.pause(Controller::Source)?;
    stage.must_be_caught()?;
    let mark = stage.mark().await?;
    Ok((flux, Left { mark, commit }))
}

async fn ours_beside_paused_flux(stage: &Stage, table: &mut Table, flux: Controllers, left: Left) -> Result<Mark> {
    table.step("ours beside the paused Flux, which is killed then");
    let ours = stage.take_over(Side::Ours, &[]).await?;
    table.check("Flux holds the lock", is_locked(stage, &left.commit));
    table.check("ours waits for it", waits_for_lock(stage).await);
    table.check("what Flux is writing stays", stage.must_be_caught().map(|_| ()));
    unchanged(stage, table, &left.mark, Some(LARGE), 0).await;
    flux.kill(Controller::Source)?;
    let settled = settled(stage, &left.commit).await;
    table.check(
        "what Flux has not finished is stored, and what it has left is gone",
        settled,
    );
    table.check("every artifact is served", stage.must_be_served(&ours).await);
    ours.stop(Controller::Source).await?;
    stage.mark().await
}

async fn flux_after_stopped_ours(stage: &Stage, table: &mut Table, mark: Mark) -> Result<Mark> {
    table.step("Flux after ours, stopped in peace");
    let flux = stage.take_over(Side::Flux, &[]).await?;
    unchanged(stage, table, &mark, None, LOOKS_OF_FLUX).await;
    table.check("every artifact is served", stage.must_be_served(&flux).await);
    flux.stop(Controller::Source).await?;
    stage.mark().await
}

async fn ours_after_stopped_flux(stage: &Stage, table: &mut Table, mark: Mark) -> Result<(Controllers, Left)> {
    table.step("ours after Flux, with digests of another kind, paused while it stores");
    let ours = stage.take_over(Side::Ours, &["--artifact-digest-algo=blake3"]).await?;
    unchanged(stage, table, &mark, None, 0).await;
    table.check("every artifact is served", stage.must_be_served(&ours).await);
    advance(stage, table, "5").await?;
    let commit = stage.in_the_middle().await?;
    ours.pause(Controller::Source)?;
    stage.must_be_caught()?;
    let mark = stage.mark().await?;
    Ok((ours, Left { mark, commit }))
}

async fn flux_beside_paused_ours(stage: &Stage, table: &mut Table, ours: Controllers, left: Left) -> Result<()> {
    table.step("Flux beside the paused ours, which goes on then, and to the end");
    let flux = stage.start(Side::Flux, &[]).await?;
    let waits = is_waited_for(stage, &left.commit, flux.id(Controller::Source)?).await;
    table.check("Flux waits for the lock", waits);
    table.check("what ours is writing stays", stage.must_be_caught().map(|_| ()));
    stage.dealt_with(&flux, Some(LARGE)).await?;
    unchanged(stage, table, &left.mark, Some(LARGE), LOOKS_OF_FLUX).await;
    ours.resume(Controller::Source)?;
    let stored = stage.stored(LARGE, &left.commit).await;
    table.check("what both were about to store is stored", stored);
    ours.stop(Controller::Source).await?;
    // Whose bytes are there and whose digest is told need not be the same one's before the next look.
    stage.namespace.reconcile::<GitRepository>(LARGE).await?;
    table.check("every artifact is served", stage.must_be_served(&flux).await);
    table.check("deleted objects take all of it along", deleted(stage).await);
    Ok(())
}
