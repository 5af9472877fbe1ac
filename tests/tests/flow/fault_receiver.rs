//! Receivers that are away, broken, busy or slow while commits go on: nothing is lost, everything is told in its order,
//! and one bad receiver holds up nobody else.

use anyhow::Result;
use api::notification::Alert;
use serde_json::json;
use std::time::Duration;
use tests::controllers::Controller::Notification;
use tests::receiver::{Answer, Received, Receiver};

use crate::stage::{Stage, in_order, lines, maps, messages, told};

#[tokio::test]
async fn a_receiver_that_is_away_broken_busy_and_slow_gets_everything_in_order() -> Result<()> {
    let s = Stage::start("receiver").await?;
    let healthy = Receiver::start()?;
    s.announce("healthy", &healthy).await?;
    let repo = s.git.create("app")?;
    let mut commits = Vec::new();
    let away = || s.receiver.down();
    let broken = || s.receiver.answer_always(Answer::status(500));
    let busy = || s.receiver.answer_always(Answer::status(429).retry_after(2));
    let slow = || {
        s.receiver
            .answer_always(Answer::status(200).after(Duration::from_millis(300)))
    };
    let faults: [(&dyn Fn(), Option<u16>); 4] = [
        (&away, None),
        (&broken, Some(500)),
        (&busy, Some(429)),
        (&slow, Some(200)),
    ];
    for (number, (fault, status)) in faults.iter().enumerate() {
        s.receiver.up()?;
        fault();
        repo.write("deploy/a.yaml", maps("a", number..number + 3, &number.to_string()))?;
        let commit = repo.commit(&number.to_string())?;
        if number == 0 {
            s.source("app", repo.url(), json!({})).await?;
            s.kustomization("app", "./deploy", json!({})).await?;
            s.applied("app", &commit).await?;
        } else {
            s.pushed("app", "app", &commit).await?;
        }
        // The other one learns of it at once, whatever the first one does.
        told(&healthy, "Kustomization/app", &format!("a-{:03} created", number + 2)).await?;
        commits.push(commit);
        // Not before the fault has been felt comes the next one.
        match status {
            Some(status) => {
                let felt =
                    |received: &[Received]| received.iter().any(|request| request.status == *status).then_some(());
                s.receiver.wait_for(&format!("an answer {status}"), felt).await?;
            }
            None => {
                s.namespace
                    .wait_event::<Alert>("all", "NotificationDispatchFailed")
                    .await?;
            }
        }
    }
    s.told_changes("app", &lines("a", 0..6, "created")).await?;
    s.told_changes("app", &lines("a", 0..3, "deleted")).await?;
    for number in 0..4 {
        let text = format!("stored artifact for commit '{number}'");
        s.told("GitRepository/app", &text).await?;
        told(&healthy, "GitRepository/app", &text).await?;
    }
    s.in_order(&commits)?;
    in_order(&messages(&healthy)?, &commits)?;
    // Both were told the same with the same ids. The ends of reconciles replace each other while they wait.
    let said = |receiver: &Receiver| -> Result<std::collections::BTreeSet<(String, String)>> {
        let messages = messages(receiver)?.into_iter();
        let news = messages.filter(|message| message.reason != "ReconciliationSucceeded");
        Ok(news.map(|message| (message.id, message.text)).collect())
    };
    assert_eq!(said(&s.receiver)?, said(&healthy)?);
    Ok(())
}

#[tokio::test]
async fn what_happens_while_both_the_receiver_and_the_controller_are_away_is_told() -> Result<()> {
    let s = Stage::start("receiver-both").await?;
    let repo = s.git.create("app")?;
    let mut commits = vec![repo.commit_files("0", &[("deploy/a.yaml", &maps("a", 0..1, "0"))])?];
    s.source("app", repo.url(), json!({})).await?;
    s.kustomization("app", "./deploy", json!({})).await?;
    s.applied("app", &commits[0]).await?;
    s.told("Kustomization/app", "Reconciliation finished").await?;
    s.receiver.down();
    s.controllers.kill(Notification)?;
    for number in 1..4 {
        repo.write("deploy/a.yaml", maps("a", number..number + 1, &number.to_string()))?;
        let commit = repo.commit(&number.to_string())?;
        s.pushed("app", "app", &commit).await?;
        commits.push(commit);
    }
    // Back with the receiver still away, killed again with everything in the queue, and then both are there.
    s.controllers.start_again(Notification).await?;
    s.namespace
        .wait_event::<Alert>("all", "NotificationDispatchFailed")
        .await?;
    s.controllers.kill(Notification)?;
    s.receiver.up()?;
    s.controllers.start_again(Notification).await?;
    s.told_changes("app", &lines("a", 0..4, "created")).await?;
    s.told_changes("app", &lines("a", 0..3, "deleted")).await?;
    s.told("GitRepository/app", "stored artifact for commit '3'").await?;
    s.in_order(&commits)
}
