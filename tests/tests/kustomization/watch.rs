//! The watches of managed kinds, against a real API server: news, refusals, restarts.

use crate::edges::{Edge, text};
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kustomize_controller::apply::Options;
use kustomize_controller::cluster::Cluster;
use kustomize_controller::watch::{News, Sighting, State, Watches};
use serde_json::{Value, json};
use std::time::Duration;
use tests::control_plane::Part;
use tests::wait;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

fn watches(cluster: Cluster, linger: Duration) -> (Watches, UnboundedReceiver<Sighting>) {
    let (sender, receiver) = unbounded_channel();
    // A test that has ended needs no news.
    let tell = move |news| {
        if let News::Sighted(sighting) = news {
            drop(sender.send(sighting));
        }
    };
    let watches = Watches::new(cluster, CancellationToken::new(), linger, Vec::new(), tell);
    (watches, receiver)
}

/// Waits for news about an object: whether it is there.
async fn news(edge: &Edge, receiver: &mut UnboundedReceiver<Sighting>, name: &str) -> Result<bool> {
    let wait = async {
        loop {
            let sighting = receiver.recv().await.context("the watches ended")?;
            if sighting.id.name == name && sighting.id.namespace == edge.namespace.name() {
                return Ok(sighting.fingerprint.is_some());
            }
        }
    };
    tokio::time::timeout(wait::patience(), wait)
        .await
        .with_context(|| format!("no news about {name}"))?
}

async fn create(edge: &Edge, name: &str) -> Result<()> {
    let object = edge.map(name, json!({}));
    crate::edges::apply_stage(&edge.own, &[object], &Options::default(), async |_| {}).await?;
    Ok(())
}

async fn patch(edge: &Edge, name: &str, change: Value) -> Result<()> {
    let api: Api<ConfigMap> = edge.namespace.api();
    api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await?;
    Ok(())
}

#[tokio::test]
async fn every_change_of_a_managed_object_is_seen() -> Result<()> {
    let edge = Edge::new("watch-news").await?;
    create(&edge, "before").await?;
    let (watches, mut receiver) = watches(edge.own.clone(), Duration::ZERO);
    let mut interest = watches.interest("", "ConfigMap");
    assert_eq!(interest.ready().await, State::Live);
    assert!(news(&edge, &mut receiver, "before").await?);

    create(&edge, "a").await?;
    assert!(news(&edge, &mut receiver, "a").await?);
    patch(&edge, "a", json!({ "data": { "k": "drifted" } })).await?;
    assert!(news(&edge, &mut receiver, "a").await?);
    patch(
        &edge,
        "a",
        json!({ "metadata": { "labels": { crate::edges::NAME: null } } }),
    )
    .await?;
    assert!(!news(&edge, &mut receiver, "a").await?);
    edge.namespace
        .api::<ConfigMap>()
        .delete("before", &DeleteParams::default())
        .await?;
    assert!(!news(&edge, &mut receiver, "before").await?);
    Ok(())
}

#[tokio::test]
async fn a_kind_that_may_not_be_watched_or_is_not_served_is_to_be_polled() -> Result<()> {
    let edge = Edge::new("watch-refused").await?;
    let lowly = edge
        .account(
            "lowly",
            "[{apiGroups: [''], resources: [configmaps], verbs: [list, watch]}]",
        )
        .await?;
    let (watches, _receiver) = watches(lowly, Duration::ZERO);
    let why = "configmaps is forbidden: User \"system:serviceaccount:<ns>:lowly\" cannot list resource \"configmaps\" in API group \"\" at the cluster scope";
    assert_eq!(
        watches.interest("", "ConfigMap").ready().await,
        State::Polled(text(&edge, why))
    );
    let expected = State::Polled("no matches for kind \"Nope\" in group \"nope.test\"".to_owned());
    assert_eq!(watches.interest("nope.test", "Nope").ready().await, expected);
    Ok(())
}

#[tokio::test]
async fn a_watch_closes_when_nobody_is_interested() -> Result<()> {
    let edge = Edge::new("watch-closes").await?;
    let (watches, mut receiver) = watches(edge.own.clone(), Duration::from_millis(10));
    let mut one = watches.interest("", "ConfigMap");
    let two = one.clone();
    one.ready().await;
    drop(one);
    create(&edge, "a").await?;
    news(&edge, &mut receiver, "a").await?;
    assert_eq!(watches.open(), 1);
    drop(two);
    wait::until("the watch to be closed", async || {
        Ok((watches.open() == 0).then_some(()))
    })
    .await?;
    let mut again = watches.interest("", "ConfigMap");
    assert_eq!(again.ready().await, State::Live);
    Ok(())
}

#[tokio::test]
async fn news_go_on_after_a_restart_of_the_api_server() -> Result<()> {
    let cluster = tests::cluster::Cluster::own("watch-restart").await?;
    let edge = Edge::within(&cluster, "watch-restart").await?;
    for name in ["a", "b"] {
        create(&edge, name).await?;
    }
    let (watches, mut receiver) = watches(edge.own.clone(), Duration::ZERO);
    let mut interest = watches.interest("", "ConfigMap");
    assert_eq!(interest.ready().await, State::Live);
    for name in ["a", "b"] {
        news(&edge, &mut receiver, name).await?;
    }
    let control_plane = cluster.control_plane()?;
    control_plane.kill(Part::ApiServer)?;
    control_plane.restart(Part::ApiServer).await?;
    control_plane.ready().await?;
    patch(&edge, "a", json!({ "data": { "k": "drifted" } })).await?;
    edge.namespace
        .api::<ConfigMap>()
        .delete("b", &DeleteParams::default())
        .await?;
    assert!(news(&edge, &mut receiver, "a").await?);
    assert!(!news(&edge, &mut receiver, "b").await?);
    assert_eq!(edge.find("v1", "ConfigMap", "b").await?, None);
    wait::until("the watch to be live", async || {
        Ok((interest.state() == State::Live).then_some(()))
    })
    .await?;
    drop(edge);
    cluster.stop().await
}

#[tokio::test]
async fn kinds_come_and_go_with_their_definitions() -> Result<()> {
    let edge = Edge::new("watch-kinds").await?;
    let group = format!("{}.example.test", edge.namespace.name());
    let (sender, mut groups) = unbounded_channel();
    let expected = group.clone();
    edge.clusters
        .follow_definitions(CancellationToken::new(), move |changed| {
            if changed == expected {
                // A test that has ended needs no news.
                let _ = sender.send(());
            }
        });
    let api_version = format!("{group}/v1");
    assert!(
        edge.own
            .resolve(&api_version, "Widget")
            .await
            .is_err_and(|error| error.is_no_match())
    );

    let definition = format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: widgets.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: Widget, plural: widgets}}
  versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object}}}}}}]
"
    );
    edge.namespace.apply_yaml(&definition).await?;
    let patience = wait::patience();
    tokio::time::timeout(patience, groups.recv())
        .await?
        .context("not told")?;
    // No waiting for the next look at what is served.
    let resource = edge.own.resolve(&api_version, "Widget").await?;
    assert_eq!(
        (resource.group_resource(), resource.namespaced),
        (format!("widgets.{group}"), true)
    );
    assert_eq!(edge.own.preferred(&group, "Widget").await?, resource);

    let definitions: Api<CustomResourceDefinition> = Api::all(edge.namespace.cluster().client());
    definitions
        .delete(&format!("widgets.{group}"), &DeleteParams::default())
        .await?;
    wait::until("the kind to be forgotten", async || {
        let found = edge.own.resolve(&api_version, "Widget").await;
        Ok(found.is_err_and(|error| error.is_no_match()).then_some(()))
    })
    .await
}
