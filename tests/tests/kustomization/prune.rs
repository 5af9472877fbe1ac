//! Pruning, against a real API server: what is deleted, in which order, and above all what is not.

use crate::edges::{Edge, text};
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kustomize_controller::apply::Options;
use kustomize_controller::inventory::{ObjectId, Owned};
use kustomize_controller::prune::{self, Doomed, Owner, Pruned};
use kustomize_controller::stages;
use serde_json::{Value, json};
use tests::control_plane::Part;
use tests::{wait, widget};

async fn create(edge: &Edge, objects: &[Value]) -> Result<Vec<Owned>> {
    crate::edges::apply_stage(&edge.own, objects, &Options::default(), async |_| {}).await?;
    Ok(objects.iter().map(Owned::of).collect())
}

fn owner(edge: &Edge) -> Owner {
    Owner {
        namespace: edge.namespace.name().to_owned(),
        name: "app".to_owned(),
    }
}

async fn pruned(edge: &Edge, stale: &[Owned]) -> Pruned {
    prune::delete(&edge.own, stale, &owner(edge), &|_| None, &stages::rank, 4).await
}

async fn patch(edge: &Edge, name: &str, change: Value) -> Result<()> {
    let api: Api<ConfigMap> = edge.namespace.api();
    api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await?;
    Ok(())
}

#[tokio::test]
async fn stale_objects_are_deleted_last_applied_first() -> Result<()> {
    let edge = Edge::new("prune-order").await?;
    let pod = json!({ "replicas": 0, "selector": { "matchLabels": { "a": "b" } }, "template": {
        "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "x" }] } } });
    let objects = [
        edge.object("v1", "ServiceAccount", "sa", json!({})),
        edge.map("a", json!({})),
        edge.map("b", json!({})),
        edge.object("apps/v1", "Deployment", "web", json!({ "spec": pod })),
    ];
    let stale = create(&edge, &objects).await?;
    let pruned = pruned(&edge, &stale).await;
    let expected = "Deployment/<ns>/web deleted\nConfigMap/<ns>/b deleted\nConfigMap/<ns>/a deleted\nServiceAccount/<ns>/sa deleted";
    assert_eq!(pruned.changes.lines(), text(&edge, expected));
    assert_eq!(pruned.error(), None);
    assert_eq!(pruned.doomed.len(), 4);
    assert_eq!(edge.find("v1", "ConfigMap", "a").await?, None);
    wait::until("all to be gone", async || {
        Ok(prune::remaining(&edge.own, &pruned.doomed)
            .await
            .is_empty()
            .then_some(()))
    })
    .await
}

#[tokio::test]
async fn what_is_gone_already_counts_as_deleted() -> Result<()> {
    let edge = Edge::new("prune-gone").await?;
    let id = |group: &str, kind: &str| ObjectId {
        group: group.into(),
        kind: kind.into(),
        namespace: edge.namespace.name().into(),
        name: "x".into(),
    };
    let stale = [
        Owned {
            id: id("", "ConfigMap"),
            version: "v1".into(),
        },
        Owned {
            id: id("no-such-group.test", "Nope"),
            version: "v1".into(),
        },
    ];
    let pruned = pruned(&edge, &stale).await;
    assert_eq!(
        pruned.changes.lines(),
        text(&edge, "Nope/<ns>/x deleted\nConfigMap/<ns>/x deleted")
    );
    assert!(pruned.doomed.is_empty() && pruned.failures.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_others_own_or_people_marked_is_left() -> Result<()> {
    let edge = Edge::new("prune-kept").await?;
    let names = [
        "handed-over",
        "unlabelled",
        "elsewhere",
        "kept",
        "off",
        "ignored",
        "once",
        "plain",
    ];
    let mut objects: Vec<_> = names.map(|name| edge.map(name, json!({}))).into();
    objects.sort_by_key(|object| object["metadata"]["name"].to_string());
    let stale = create(&edge, &objects).await?;
    let label = |key: &str, value: Value| json!({ "metadata": { "labels": { key: value } } });
    let annotation = |key: &str, value: &str| json!({ "metadata": { "annotations": { format!("kustomize.toolkit.fluxcd.io/{key}"): value } } });
    patch(&edge, "handed-over", label(crate::edges::NAME, "other".into())).await?;
    patch(&edge, "unlabelled", label(crate::edges::NAME, Value::Null)).await?;
    patch(&edge, "elsewhere", label(crate::edges::NAMESPACE, "elsewhere".into())).await?;
    patch(
        &edge,
        "kept",
        label("kustomize.toolkit.fluxcd.io/prune", "Disabled".into()),
    )
    .await?;
    patch(&edge, "off", annotation("reconcile", "disabled")).await?;
    patch(&edge, "ignored", annotation("ssa", "Ignore")).await?;
    patch(&edge, "once", annotation("ssa", "IfNotPresent")).await?;

    let pruned = pruned(&edge, &stale).await;
    let expected = "ConfigMap/<ns>/unlabelled skipped\nConfigMap/<ns>/plain deleted\nConfigMap/<ns>/once deleted\n\
        ConfigMap/<ns>/off skipped\nConfigMap/<ns>/kept skipped\nConfigMap/<ns>/ignored skipped\n\
        ConfigMap/<ns>/handed-over skipped\nConfigMap/<ns>/elsewhere skipped";
    assert_eq!(pruned.changes.lines(), text(&edge, expected));
    for name in ["handed-over", "unlabelled", "elsewhere", "kept", "off", "ignored"] {
        assert!(edge.find("v1", "ConfigMap", name).await?.is_some(), "{name}");
    }
    for name in ["once", "plain"] {
        assert_eq!(edge.find("v1", "ConfigMap", name).await?, None, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn an_object_whose_version_is_served_no_more_is_found_in_another() -> Result<()> {
    let edge = Edge::new("prune-version").await?;
    let mut stale = create(
        &edge,
        &[edge.object("coordination.k8s.io/v1", "Lease", "l", json!({ "spec": {} }))],
    )
    .await?;
    stale[0].version = "v1beta1".into();
    assert_eq!(
        pruned(&edge, &stale).await.changes.lines(),
        text(&edge, "Lease/<ns>/l deleted")
    );
    assert_eq!(edge.find("coordination.k8s.io/v1", "Lease", "l").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_definition_and_its_objects_go_together() -> Result<()> {
    let edge = Edge::new("prune-crd").await?;
    let group = format!("{}.example.test", edge.namespace.name());
    let mut definition = widget::definition(&group, json!({ "type": "object" }));
    definition["metadata"]["labels"] = edge.map("x", json!({}))["metadata"]["labels"].clone();
    let mut stale = create(&edge, &[definition]).await?;
    let widget = edge.object(&format!("{group}/v1"), "Widget", "w", json!({}));
    stale.extend(create(&edge, &[widget]).await?);

    let first = pruned(&edge, &stale).await;
    let expected = text(
        &edge,
        "Widget/<ns>/w deleted\nCustomResourceDefinition/widgets.<ns>.example.test deleted",
    );
    assert_eq!(first.changes.lines(), expected);
    wait::until("all to be gone", async || {
        Ok(prune::remaining(&edge.own, &first.doomed)
            .await
            .is_empty()
            .then_some(()))
    })
    .await?;
    // A second time, by a controller that does not remember: the kind is not served.
    let again = wait::until("the kind not to be served", async || {
        let again = pruned(&edge, &stale).await;
        Ok(again.doomed.is_empty().then_some(again))
    })
    .await?;
    assert_eq!((again.changes.lines(), again.error()), (expected, None));
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_deleted_is_reported_and_the_rest_deleted() -> Result<()> {
    let edge = Edge::new("prune-denied").await?;
    let rules = "[{apiGroups: [''], resources: [configmaps], verbs: [get]}, {apiGroups: [''], resources: [secrets], verbs: ['*']}]";
    let account = edge.account("deployer", rules).await?;
    let objects = [
        edge.map("a", json!({})),
        edge.object("v1", "Secret", "s", json!({})),
        edge.object("v1", "Service", "svc", json!({ "spec": { "ports": [{ "port": 80 }] } })),
    ];
    let stale = create(&edge, &objects).await?;
    let pruned = prune::delete(&account, &stale, &owner(&edge), &|_| None, &stages::rank, 4).await;
    assert_eq!(pruned.changes.lines(), text(&edge, "Secret/<ns>/s deleted"));
    let expected = "delete failed, errors: \
        Service/<ns>/svc query failed: services \"svc\" is forbidden: User \"system:serviceaccount:<ns>:deployer\" cannot get resource \"services\" in API group \"\" in the namespace \"<ns>\";\
        ConfigMap/<ns>/a delete failed: configmaps \"a\" is forbidden: User \"system:serviceaccount:<ns>:deployer\" cannot delete resource \"configmaps\" in API group \"\" in the namespace \"<ns>\";";
    assert_eq!(pruned.error(), Some(text(&edge, expected)));
    let failed: Vec<_> = pruned
        .failures
        .iter()
        .map(|failed| failed.owned.id.kind.as_str())
        .collect();
    assert_eq!(failed, ["Service", "ConfigMap"]);
    Ok(())
}

#[tokio::test]
async fn an_object_that_a_finalizer_holds_remains_until_it_goes() -> Result<()> {
    let edge = Edge::new("prune-held").await?;
    let map = edge.map("a", json!({}));
    let stale = create(&edge, std::slice::from_ref(&map)).await?;
    patch(
        &edge,
        "a",
        json!({ "metadata": { "finalizers": ["example.test/hold"] } }),
    )
    .await?;
    let pruned = pruned(&edge, &stale).await;
    assert_eq!(pruned.changes.lines(), text(&edge, "ConfigMap/<ns>/a deleted"));
    assert_eq!(prune::remaining(&edge.own, &pruned.doomed).await, pruned.doomed);
    patch(&edge, "a", json!({ "metadata": { "finalizers": null } })).await?;
    let remaining = prune::remaining(&edge.own, &pruned.doomed).await;
    assert_eq!(remaining, []);
    Ok(())
}

#[tokio::test]
async fn another_object_of_the_same_name_is_not_what_was_deleted() -> Result<()> {
    let edge = Edge::new("prune-reborn").await?;
    let stale = create(&edge, &[edge.map("a", json!({}))]).await?;
    let pruned = pruned(&edge, &stale).await;
    let api: Api<ConfigMap> = edge.namespace.api();
    let reborn = json!({ "metadata": { "name": "a" } });
    wait::until("the name to be free", async || {
        Ok(Some(
            api.create(&PostParams::default(), &serde_json::from_value(reborn.clone())?)
                .await?,
        ))
    })
    .await?;
    assert_eq!(prune::remaining(&edge.own, &pruned.doomed).await, []);
    api.delete("a", &DeleteParams::default())
        .await
        .context("the new object was deleted")?;
    Ok(())
}

#[tokio::test]
async fn an_outage_is_not_taken_for_the_end_of_anything() -> Result<()> {
    let cluster = tests::cluster::Cluster::own("prune-outage").await?;
    let edge = Edge::within(&cluster, "prune-outage").await?;
    let stale = create(&edge, &[edge.map("a", json!({}))]).await?;

    // A group that another server serves, which is away.
    let group = "apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.away.example.test}
spec:
  group: away.example.test
  version: v1
  groupPriorityMinimum: 1000
  versionPriority: 15
  insecureSkipTLSVerify: true
  service: {name: nobody, namespace: default}
";
    edge.namespace.apply_yaml(group).await?;
    let id = ObjectId {
        group: "away.example.test".into(),
        kind: "Thing".into(),
        ..stale[0].id.clone()
    };
    let thing = Owned {
        id,
        version: "v1".into(),
    };
    wait::until("the group to be known", async || {
        let found = edge.own.resolve(&thing.api_version(), &thing.id.kind).await;
        Ok(found.is_err_and(|error| !error.is_no_match()).then_some(()))
    })
    .await?;
    let result = pruned(&edge, std::slice::from_ref(&thing)).await;
    let expected = "delete failed, errors: Thing/<ns>/a query failed: unable to retrieve the complete list of server APIs: \
        away.example.test/v1: stale GroupVersion discovery: away.example.test/v1;";
    assert_eq!(result.error(), Some(text(&edge, expected)));
    assert!(!result.is_outage());

    cluster.control_plane()?.kill(Part::ApiServer)?;
    let result = pruned(&edge, &stale).await;
    assert_eq!(
        (result.changes.entries.len(), result.failures.len()),
        (0, 1),
        "{result:?}"
    );
    assert!(result.is_outage());
    let doomed = [Doomed {
        owned: stale[0].clone(),
        uid: "any".into(),
    }];
    assert_eq!(prune::remaining(&edge.own, &doomed).await, doomed);
    let map = [edge.map("a", json!({}))];
    let options = Options::default();
    let failure = crate::edges::apply_stage(&edge.own, &map, &options, async |_| {})
        .await
        .err();
    assert!(failure.context("applied by nobody")?.is_outage());
    drop(edge);
    cluster.stop().await
}

#[tokio::test]
async fn an_inventory_of_odd_names_deletes_no_other_object_and_no_collection() -> Result<()> {
    let edge = Edge::new("prune-names").await?;
    let neighbours = [edge.map("a", json!({})), edge.map("b", json!({}))];
    create(&edge, &neighbours).await?;
    let before = (
        edge.find("v1", "ConfigMap", "a").await?,
        edge.find("v1", "ConfigMap", "b").await?,
    );
    let own = edge.namespace.name();
    let map = |namespace: &str, name: &str| Owned {
        id: ObjectId {
            group: String::new(),
            kind: "ConfigMap".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        },
        version: "v1".to_owned(),
    };
    let stale = [
        map(own, ""),
        map(own, "."),
        map(own, ".."),
        map(own, "?"),
        map(own, "#"),
        map(own, "%3F"),
        map(own, "a?x=y"),
        map(own, "a#x"),
        map(own, "/a"),
        map(own, "x/../a"),
        map("", "a"),
        map(&format!("{own}/configmaps/a?"), "x"),
        map(&format!("{own}/configmaps?"), "x"),
    ];
    // With a look at each object first, and without one in the version that a neighbour has.
    let version = before
        .0
        .as_ref()
        .and_then(|live| live["metadata"]["resourceVersion"].as_str()?.parse().ok());
    assert!(version.is_some());
    for known in [None, version] {
        let pruned = prune::delete(&edge.own, &stale, &owner(&edge), &|_| known, &stages::rank, 1).await;
        assert_eq!(pruned.doomed, []);
        let after = (
            edge.find("v1", "ConfigMap", "a").await?,
            edge.find("v1", "ConfigMap", "b").await?,
        );
        assert_eq!(after, before);
        let refused: Vec<_> = pruned
            .failures
            .iter()
            .map(|failed| failed.owned.id.name.as_str())
            .collect();
        assert_eq!(
            refused,
            ["x", "x", "x/../a", "/a", "..", ".", "%3F", "", "a"],
            "{:?}",
            pruned.error()
        );
    }
    Ok(())
}
