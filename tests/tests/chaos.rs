//! The short form of `hack/chaos`: one storm of twenty kills, always the same one, over controllers on a control plane of
//! their own; and the proxy that makes the API server misbehave in it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, Error};
use serde_json::json;
use tests::api_proxy::{ApiProxy, Book, Cut, Faults};
use tests::cluster::Cluster;
use tests::namespace::Namespace;
use tests::{kubeconfig, wait};

/// A client behind a proxy, and a namespace.
async fn behind(name: &str, book: &Book) -> Result<(ApiProxy, Client, Namespace)> {
    let cluster = Cluster::shared().await?;
    let proxy = ApiProxy::start(cluster.control_plane()?, name, book, 1)?;
    let client = kubeconfig::client(proxy.kubeconfig(), None).await?;
    let namespace = cluster.namespace(name).await?;
    Ok((proxy, client, namespace))
}

fn map(name: &str) -> Result<ConfigMap> {
    Ok(serde_json::from_value(json!({ "metadata": { "name": name } }))?)
}

#[tokio::test]
async fn the_proxy_refuses_loses_and_records_requests() -> Result<()> {
    let book = Book::default();
    let (proxy, client, namespace) = behind("proxy-faults", &book).await?;
    let maps: Api<ConfigMap> = Api::namespaced(client, namespace.name());
    let make = async |name: &str| {
        maps.create(&PostParams::default(), &map(name)?)
            .await
            .map_err(anyhow::Error::from)
    };
    let code = |answer: Result<ConfigMap>| match answer.err().and_then(|error| error.downcast::<Error>().ok()) {
        Some(Error::Api(status)) => Some(status.code),
        _ => None,
    };
    let faults = |faults: Faults| proxy.set_faults(faults);
    make("a").await?;
    faults(Faults {
        conflict: 1.0,
        ..Faults::default()
    });
    assert_eq!(code(make("b").await), Some(409));
    maps.get("a").await.context("a read meets no conflict")?;
    faults(Faults {
        throttle: 1.0,
        ..Faults::default()
    });
    assert_eq!(code(make("b").await), Some(429));
    faults(Faults {
        error: 1.0,
        ..Faults::default()
    });
    assert_eq!(code(make("b").await), Some(500));
    faults(Faults {
        lost: 1.0,
        ..Faults::default()
    });
    ensure!(make("b").await.is_err());
    ensure!(
        namespace.find::<ConfigMap>("b").await?.is_none(),
        "none of that reached the API server"
    );
    faults(Faults {
        unanswered: 1.0,
        ..Faults::default()
    });
    ensure!(make("b").await.is_err());
    ensure!(
        namespace.find::<ConfigMap>("b").await?.is_some(),
        "it was done, and nobody was told"
    );

    let writes = book.take_writes();
    let path = format!("/api/v1/namespaces/{}/configmaps", namespace.name());
    ensure!(
        writes
            .iter()
            .all(|write| write.path == path && write.proxy == "proxy-faults"),
        "{writes:?}"
    );
    let answers: Vec<_> = writes.iter().map(|write| write.status).collect();
    assert_eq!(answers, [Some(201), None, None, None, None, Some(201)]);
    Ok(())
}

#[tokio::test]
async fn the_proxy_cuts_watches_and_holds_them_back() -> Result<()> {
    let (proxy, client, namespace) = behind("proxy-watches", &Book::default()).await?;
    let maps: Api<ConfigMap> = Api::namespaced(client, namespace.name());
    let parameters = WatchParams::default();
    for how in [Cut::End, Cut::Break, Cut::Expired] {
        let mut events = std::pin::pin!(maps.watch(&parameters, "0").await?);
        let name = format!("{how:?}").to_lowercase();
        namespace.config_map(&name, &[]).await?;
        let mut seen = false;
        while !seen {
            let event = events.next().await.context("the watch ended early")??;
            seen = matches!(event, WatchEvent::Added(map) if map.metadata.name.as_deref() == Some(&name));
        }
        proxy.cut_watches(how);
        let rest = tokio::time::timeout(wait::patience(), events.next()).await?;
        let right = match how {
            Cut::End => rest.is_none(),
            Cut::Break => matches!(rest, Some(Err(_)) | None),
            Cut::Expired => matches!(&rest, Some(Ok(WatchEvent::Error(status))) if status.code == 410),
        };
        ensure!(right, "{how:?} came as {rest:?}");
    }
    let version = maps.list(&Default::default()).await?.metadata.resource_version;
    let mut events = std::pin::pin!(maps.watch(&parameters, &version.context("no version")?).await?);
    proxy.hold_watches(wait::patience());
    namespace.config_map("late", &[]).await?;
    ensure!(
        tokio::time::timeout(Duration::from_millis(300), events.next())
            .await
            .is_err(),
        "the watch was not held back"
    );
    proxy.release_watches();
    let event = tokio::time::timeout(wait::patience(), events.next()).await?;
    ensure!(matches!(event, Some(Ok(WatchEvent::Added(_)))), "{event:?}");
    Ok(())
}

#[test]
fn nothing_is_lost_in_a_short_storm() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let output = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args([
            "--seed",
            "20",
            "--kills",
            "20",
            "--storm",
            "20",
            "--gap",
            "200",
            "--minutes",
            "2",
        ])
        .arg("--dir")
        .arg(dir.path().join("run"))
        .output()?;
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let steps = std::fs::read_to_string(dir.path().join("run/steps.log")).unwrap_or_default();
    ensure!(output.status.success(), "{said}\n{complained}\n{steps}");
    let last = said.lines().last().unwrap_or_default();
    ensure!(
        last.starts_with("seed 20: 20 kills, ") && last.ends_with(" transitions, 0 violations"),
        "another last line: {last}"
    );
    Ok(())
}
