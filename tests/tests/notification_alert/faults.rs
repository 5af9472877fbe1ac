//! Nothing is lost and nothing is out of order, whoever is away.

use crate::stage::{Stage, stored};
use anyhow::{Context, Result};
use serde_json::json;
use tests::control_plane::Part;
use tests::controllers::Controller;
use tests::receiver::{Answer, Received, Receiver};
use tests::scenario::Scenario;

#[tokio::test]
async fn messages_wait_for_a_receiver_that_is_down() -> Result<()> {
    let stage = Stage::start("notification-down").await?;
    stage.everything().await?;
    stage.repository("app").await?;
    stage.receiver.down();
    for revision in ["1", "2", "3"] {
        stage.stored("app", revision).await?;
    }
    stage.wait_memory(&stored("3"), true).await?;
    stage
        .wait_told(
            "all",
            "NotificationDispatchFailed",
            "failed to send notification for GitRepository/",
        )
        .await?;
    stage.receiver.up()?;
    stage.wait_texts(&[&stored("1"), &stored("2"), &stored("3")]).await
}

#[tokio::test]
async fn messages_survive_a_killed_controller_and_what_happened_meanwhile_is_told() -> Result<()> {
    let stage = Stage::start("notification-killed").await?;
    stage.everything().await?;
    stage.repository("app").await?;
    stage.kustomization("app").await?;
    stage.receiver.answer_always(Answer::status(503));
    stage.changed("app", 1..=1).await?;
    stage.changed("app", 1..=2).await?;
    stage.stored("app", "1").await?;
    stage.wait_memory("ConfigMap/d/2", true).await?;
    stage.wait_memory(&stored("1"), true).await?;
    stage.scenario.controllers.kill(Controller::Notification)?;
    // The status moves on while nobody looks: the lists are kept in it.
    stage.changed("app", 1..=5).await?;
    stage.stored("app", "2").await?;
    stage.receiver.answer_always(Answer::status(200));
    stage.scenario.controllers.start_again(Controller::Notification).await?;
    let expected = 7;
    stage
        .receiver
        .wait_for("all messages", |_| (stage.texts().len() >= expected).then_some(()))
        .await?;
    let texts = stage.texts();
    let of = |part: &str| {
        texts
            .iter()
            .filter(|text| text.contains(part))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("ConfigMap"),
        (1..=5).map(|n| format!("ConfigMap/d/{n} created")).collect::<Vec<_>>()
    );
    assert_eq!(of("stored"), [stored("1"), stored("2")]);
    Ok(())
}

#[tokio::test]
async fn a_message_that_was_being_sent_when_the_controller_was_killed_comes_again_with_its_id() -> Result<()> {
    let stage = Stage::start("notification-in-flight").await?;
    stage.everything().await?;
    stage.repository("app").await?;
    // The receiver takes the message and answers too late for this controller.
    stage
        .receiver
        .answer_next([Answer::status(200).after(std::time::Duration::from_secs(8))]);
    stage.stored("app", "1").await?;
    stage.receiver.wait_for_count(1).await?;
    stage.scenario.controllers.restart(Controller::Notification).await?;
    let received = stage.receiver.wait_for_count(2).await?;
    let id = |number: usize| received[number].header("x-sluice-event-id").map(str::to_owned);
    assert_eq!(id(0).context("no id")?, id(1).context("no id")?);
    assert_eq!(received[0].body, received[1].body);
    Ok(())
}

#[tokio::test]
async fn a_busy_receiver_is_left_alone_as_long_as_it_wishes() -> Result<()> {
    let stage = Stage::start("notification-busy").await?;
    stage.everything().await?;
    stage.repository("app").await?;
    stage.receiver.answer_next([Answer::status(429).retry_after(3)]);
    stage.stored("app", "1").await?;
    stage.wait_texts(&[&stored("1")]).await?;
    let received = stage.receiver.received();
    let pause = received[1].at.duration_since(received[0].at);
    assert!(pause >= std::time::Duration::from_millis(2900), "{pause:?}");
    Ok(())
}

#[tokio::test]
async fn a_redirect_is_not_a_delivery() -> Result<()> {
    let stage = Stage::start("notification-redirect").await?;
    stage.everything().await?;
    stage.repository("app").await?;
    stage
        .receiver
        .answer_next([Answer::status(302).header("location", stage.receiver.url("/elsewhere"))]);
    stage.stored("app", "1").await?;
    stage.wait_texts(&[&stored("1")]).await?;
    let paths: Vec<_> = stage
        .receiver
        .received()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(paths, ["/hook", "/hook"]);
    Ok(())
}

#[tokio::test]
async fn a_message_that_is_too_old_is_given_up_visibly() -> Result<()> {
    let stage = Stage::with("notification-given-up", &["--give-up-after=1s"]).await?;
    stage.everything().await?;
    stage.repository("app").await?;
    stage.receiver.answer_always(Answer::status(500).body("no room"));
    stage.stored("app", "1").await?;
    let told = stage
        .wait_told("all", "NotificationDispatchFailed", "gave up after")
        .await?;
    assert!(told.contains("request failed with status code 500: no room"), "{told}");
    let metrics = stage.scenario.controllers.metrics(Controller::Notification).await?;
    assert!(metrics.contains(r#"result="given_up"} 1"#), "{metrics}");
    stage.receiver.answer_always(Answer::status(200));
    stage.stored("app", "2").await?;
    stage.wait_texts(&[&stored("2")]).await
}

#[tokio::test]
async fn an_alert_without_its_provider_says_so_and_its_messages_wait() -> Result<()> {
    let stage = Stage::start("notification-no-provider").await?;
    stage.alert("all", json!({})).await?;
    stage.repository("app").await?;
    stage.stored("app", "1").await?;
    let told = stage
        .wait_told("all", "NotificationDispatchFailed", "failed to read provider")
        .await?;
    assert!(
        told.ends_with(&format!(
            "failed to read provider '{}/there': not found",
            stage.scenario.ns()
        )),
        "{told}"
    );
    stage.provider("there", "generic").await?;
    stage.wait_texts(&[&stored("1")]).await
}

#[tokio::test]
async fn somebody_who_removes_the_memory_loses_no_message() -> Result<()> {
    let stage = Stage::start("notification-meddled").await?;
    stage.everything().await?;
    stage.repository("app").await?;
    stage.receiver.down();
    stage.stored("app", "1").await?;
    stage.wait_memory(&stored("1"), true).await?;
    for page in stage.pages().await? {
        let name = page.metadata.name.context("no name")?;
        stage
            .scenario
            .namespace
            .delete::<k8s_openapi::api::core::v1::ConfigMap>(&name)
            .await?;
    }
    stage.stored("app", "2").await?;
    stage.wait_memory(&stored("2"), true).await?;
    assert!(stage.memory().await?.contains(&stored("1")));
    stage.scenario.controllers.restart(Controller::Notification).await?;
    stage.receiver.up()?;
    stage.wait_texts(&[&stored("1"), &stored("2")]).await
}

#[tokio::test]
async fn an_api_server_that_is_away_holds_nothing_up_for_good() -> Result<()> {
    let scenario = Scenario::builder("notification-api-away")
        .only(&[Controller::Notification])
        .own_cluster();
    let stage = Stage {
        scenario: scenario.start().await?,
        receiver: Receiver::start()?,
    };
    stage.everything().await?;
    stage.repository("app").await?;
    stage.receiver.answer_always(Answer::status(503));
    stage.stored("app", "1").await?;
    stage.receiver.wait_for_count(1).await?;
    let control_plane = stage.scenario.cluster.control_plane()?;
    control_plane.kill(Part::ApiServer)?;
    // What is written down is delivered although that cannot be written down: the address is not secret.
    stage.receiver.answer_always(Answer::status(200));
    stage.wait_texts(&[&stored("1")]).await?;
    control_plane.start_part(Part::ApiServer).await?;
    stage.stored("app", "2").await?;
    stage.wait_texts(&[&stored("1"), &stored("2")]).await?;
    stage.wait_memory("\"queue\"", false).await
}

#[tokio::test]
async fn many_objects_are_told_about_completely_and_in_order_through_failures_and_kills() -> Result<()> {
    const OBJECTS: usize = 20;
    const LISTS: i64 = 6;
    let stage = Stage::start("notification-many").await?;
    stage.everything().await?;
    let names: Vec<_> = (0..OBJECTS).map(|number| format!("app-{number}")).collect();
    for name in &names {
        stage.kustomization(name).await?;
    }
    for newest in 1..=LISTS {
        stage
            .receiver
            .answer_next([Answer::status(500), Answer::status(200), Answer::status(429)]);
        for name in &names {
            stage.changed(name, 1..=newest).await?;
        }
        if newest % 2 == 0 {
            stage.scenario.controllers.restart(Controller::Notification).await?;
        }
    }
    // The numbers told about an object, repetitions of an event left out.
    let told = |name: &str| -> Vec<String> {
        let mut seen = std::collections::BTreeSet::new();
        let accepted = stage
            .receiver
            .received()
            .into_iter()
            .filter(|request| request.status == 200);
        let fresh = accepted.filter_map(|request| {
            let body = request.json().ok()?;
            let is_new = seen.insert(request.header("x-sluice-event-id")?.to_owned());
            (body["involvedObject"]["name"] == name && is_new).then(|| body["message"].as_str().map(str::to_owned))?
        });
        fresh.collect()
    };
    let expected: Vec<_> = (1..=LISTS)
        .map(|number| format!("ConfigMap/d/{number} created"))
        .collect();
    let complete = |_: &[Received]| {
        names
            .iter()
            .all(|name| told(name).len() == expected.len())
            .then_some(())
    };
    stage.receiver.wait_for("every list of every object", complete).await?;
    for name in &names {
        assert_eq!(told(name), expected, "{name}");
    }
    stage.wait_memory("\"queue\"", false).await
}
