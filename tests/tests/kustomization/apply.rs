//! Server-side apply of a stage, against a real API server: what is created, configured, left alone or refused, and in
//! which words.

use crate::edges::{Edge, text};
use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kustomize_controller::apply::{self, ChangeSet, Options, StageFailure, StageResult};
use kustomize_controller::cluster::{Cluster, Identity};
use kustomize_controller::stages;
use runtime::metrics::Metrics;
use serde_json::{Value, json};
use tests::{wait, widget};

async fn stage(cluster: &Cluster, objects: &[Value], options: &Options) -> Result<StageResult, StageFailure> {
    let objects = stages::stages(objects.to_vec(), &[])
        .into_iter()
        .flat_map(|stage| stage.objects)
        .collect::<Vec<_>>();
    crate::edges::apply_stage(cluster, &objects, options, async |_| {}).await
}

async fn applied(cluster: &Cluster, objects: &[Value], options: &Options) -> Result<ChangeSet> {
    match stage(cluster, objects, options).await? {
        StageResult::Applied(changes) => Ok(changes),
        StageResult::Waiting(ids) => bail!("waiting for {ids:?}"),
    }
}

async fn lines(edge: &Edge, objects: &[Value]) -> Result<String> {
    Ok(applied(&edge.own, objects, &Options::default()).await?.lines())
}

async fn refusal(cluster: &Cluster, objects: &[Value], options: &Options) -> Result<String> {
    match stage(cluster, objects, options).await {
        Ok(result) => bail!("not refused: {result:?}"),
        Err(failure) => Ok(failure.to_string()),
    }
}

fn force() -> Options {
    Options {
        force: true,
        ..Options::default()
    }
}

async fn config_map(edge: &Edge, name: &str) -> Result<Value> {
    let map = edge.find("v1", "ConfigMap", name).await?;
    map.with_context(|| format!("there is no ConfigMap {name}"))
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

async fn patch(edge: &Edge, name: &str, manager: &str, change: Value) -> Result<()> {
    let api: Api<ConfigMap> = edge.namespace.api();
    let params = PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    api.patch(name, &params, &Patch::Merge(change)).await?;
    Ok(())
}

#[tokio::test]
async fn objects_are_created_then_unchanged_and_configured_when_they_drift() -> Result<()> {
    let edge = Edge::new("apply-drift").await?;
    let objects = [
        edge.map("b", json!({})),
        edge.map("a", json!({})),
        edge.object("v1", "Secret", "s", json!({ "data": { "k": "dg==" } })),
        edge.object("v1", "ServiceAccount", "sa", json!({})),
    ];
    let created =
        "ServiceAccount/<ns>/sa created\nConfigMap/<ns>/a created\nConfigMap/<ns>/b created\nSecret/<ns>/s created";
    assert_eq!(lines(&edge, &objects).await?, text(&edge, created));

    let before = config_map(&edge, "a").await?;
    assert!(!applied(&edge.own, &objects, &Options::default()).await?.has_changes());
    assert_eq!(
        config_map(&edge, "a").await?["metadata"]["resourceVersion"],
        before["metadata"]["resourceVersion"]
    );

    let change =
        json!({ "data": { "k": "drifted", "foreign": "stays" }, "metadata": { "labels": { "foreign": "stays" } } });
    patch(&edge, "a", "somebody", change).await?;
    let unowned = json!({ "metadata": { "labels": { crate::edges::NAME: null } } });
    patch(&edge, "b", "somebody", unowned).await?;
    let changes = applied(&edge.own, &objects, &Options::default()).await?;
    assert_eq!(
        changes.changed_lines(),
        text(&edge, "ConfigMap/<ns>/a configured\nConfigMap/<ns>/b configured")
    );
    let after = config_map(&edge, "a").await?;
    assert_eq!(after["data"], json!({ "k": "v", "foreign": "stays" }));
    assert_eq!(after["metadata"]["labels"]["foreign"], "stays");
    assert_eq!(
        config_map(&edge, "b").await?["metadata"]["labels"][crate::edges::NAME],
        "app"
    );
    Ok(())
}

#[tokio::test]
async fn an_unchanged_object_costs_a_read_and_a_dry_run() -> Result<()> {
    let edge = Edge::new("apply-budget").await?;
    let objects: Vec<_> = (0..10).map(|index| edge.map(&format!("m{index}"), json!({}))).collect();
    lines(&edge, &objects).await?;
    let metrics = Metrics::default();
    let counted = crate::edges::clusters(edge.namespace.cluster().kubeconfig(), &metrics)
        .await?
        .own();
    // Discovery is asked once, before counting.
    counted.resolve("v1", "ConfigMap").await?;
    let count = || -> u64 {
        let text = metrics.encode();
        let counts = text
            .lines()
            .filter(|line| line.starts_with("rest_client_requests_total{"));
        counts
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    };
    let before = count();
    assert!(before > 0, "nothing was counted");
    assert!(!applied(&counted, &objects, &Options::default()).await?.has_changes());
    assert_eq!(count() - before, 20);
    Ok(())
}

#[tokio::test]
async fn what_is_going_to_change_is_told_before_anything_is_written() -> Result<()> {
    let edge = Edge::new("apply-planned").await?;
    let objects = [edge.map("a", json!({})), edge.map("b", json!({}))];
    lines(&edge, &objects[..1]).await?;
    let mut told = Vec::new();
    let planned = async |entries: &[apply::Entry]| {
        told.extend(entries.iter().map(ToString::to_string));
        assert!(
            edge.find("v1", "ConfigMap", "b")
                .await
                .is_ok_and(|found| found.is_none())
        );
    };
    crate::edges::apply_stage(&edge.own, &objects, &Options::default(), planned).await?;
    assert_eq!(told, [text(&edge, "ConfigMap/<ns>/b created")]);
    let planned = async |entries: &[apply::Entry]| panic!("{entries:?} will not be written");
    crate::edges::apply_stage(&edge.own, &objects, &Options::default(), planned).await?;
    Ok(())
}

#[tokio::test]
async fn marked_objects_are_left_alone() -> Result<()> {
    let edge = Edge::new("apply-marks").await?;
    let marked = |name: &str, key: &str, value: &str| {
        let key = format!("kustomize.toolkit.fluxcd.io/{key}");
        edge.map(
            name,
            json!({ "metadata": { "annotations": { key: value } }, "data": { "k": "new" } }),
        )
    };
    let plain = |name: &str| edge.map(name, json!({}));
    lines(&edge, &[plain("once"), plain("merged"), plain("live"), plain("free")]).await?;
    let mark = json!({ "metadata": { "labels": { "kustomize.toolkit.fluxcd.io/reconcile": "Disabled" } } });
    patch(&edge, "live", "somebody", mark).await?;

    let mut labelled = edge.map("labelled", json!({}));
    labelled["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/ssa"] = "ignore".into();
    let objects = [
        marked("never", "reconcile", "disabled"),
        marked("ignored", "ssa", "Ignore"),
        labelled,
        marked("once", "ssa", "IfNotPresent"),
        marked("first", "ssa", "IfNotPresent"),
        edge.map("live", json!({ "data": { "k": "new" } })),
        marked("free", "reconcile", "true"),
    ];
    let changes = applied(&edge.own, &objects, &Options::default()).await?;
    let expected = "ConfigMap/<ns>/first created\nConfigMap/<ns>/free configured\nConfigMap/<ns>/ignored skipped\n\
        ConfigMap/<ns>/labelled skipped\nConfigMap/<ns>/live skipped\nConfigMap/<ns>/never skipped\nConfigMap/<ns>/once skipped";
    assert_eq!(changes.lines(), text(&edge, expected));
    assert_eq!(changes.owned().len(), 7);
    assert_eq!(changes.entries.iter().filter(|entry| entry.is_present()).count(), 2);
    for name in ["never", "ignored", "labelled"] {
        assert_eq!(edge.find("v1", "ConfigMap", name).await?, None, "{name}");
    }
    for name in ["once", "live"] {
        assert_eq!(config_map(&edge, name).await?["data"]["k"], "v", "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn every_error_of_a_stage_is_reported_and_nothing_of_it_applied() -> Result<()> {
    let edge = Edge::new("apply-errors").await?;
    let mut lost = edge.map("lost", json!({}));
    lost["metadata"]["namespace"] = "no-such-namespace".into();
    let mut homeless = edge.map("homeless", json!({}));
    homeless["metadata"]["namespace"].take();
    let objects = [
        edge.map("good", json!({})),
        edge.map("Not_Valid", json!({})),
        lost,
        homeless,
        edge.object(
            "v1",
            "Service",
            "svc",
            json!({ "spec": { "ports": [{ "port": 123456 }] } }),
        ),
        edge.object("nope.test/v1", "Nope", "n", json!({})),
        edge.map("a/b", json!({})),
    ];
    let failure = stage(&edge.own, &objects, &Options::default())
        .await
        .err()
        .context("not refused")?;
    let report = failure.to_string();
    let expected = [
        "ConfigMap/homeless namespace not specified: the server could not find the requested resource (patch configmaps homeless)",
        "ConfigMap/<ns>/Not_Valid dry-run failed (Invalid): ConfigMap \"Not_Valid\" is invalid: metadata.name: Invalid value: \"Not_Valid\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        "ConfigMap/<ns>/a/b dry-run failed: invalid resource name \"a/b\": [may not contain '/']",
        "ConfigMap/no-such-namespace/lost not found: namespaces \"no-such-namespace\" not found",
        "Service/<ns>/svc dry-run failed (Invalid): Service \"svc\" is invalid: [spec.ports[0].port: Invalid value: 123456: must be between 1 and 65535, inclusive, spec.ports[0].targetPort: Invalid value: 123456: must be between 1 and 65535, inclusive]",
        "Nope/<ns>/n dry-run failed: no matches for kind \"Nope\" in version \"nope.test/v1\"",
    ];
    assert_eq!(
        report.lines().collect::<Vec<_>>(),
        expected.map(|line| text(&edge, line))
    );
    assert_eq!(failure.no_matches().count(), 1);
    assert!(!failure.is_outage());
    assert_eq!(edge.find("v1", "ConfigMap", "good").await?, None);
    Ok(())
}

#[tokio::test]
async fn an_immutable_field_is_refused_without_force() -> Result<()> {
    let edge = Edge::new("apply-immutable").await?;
    let locked = |value: &str| edge.map("a", json!({ "immutable": true, "data": { "k": value } }));
    lines(&edge, &[locked("1")]).await?;
    let before = config_map(&edge, "a").await?;
    let expected = "ConfigMap/<ns>/a dry-run failed (Invalid): ConfigMap \"a\" is invalid: data: Forbidden: field is immutable when `immutable` is set";
    assert_eq!(
        refusal(&edge.own, &[locked("2")], &Options::default()).await?,
        text(&edge, expected)
    );
    assert_eq!(uid(&config_map(&edge, "a").await?), uid(&before));
    Ok(())
}

#[tokio::test]
async fn an_immutable_object_is_created_again_with_force() -> Result<()> {
    let edge = Edge::new("apply-force").await?;
    let locked = |value: &str| edge.map("a", json!({ "immutable": true, "data": { "k": value } }));
    lines(&edge, &[locked("1")]).await?;
    let before = config_map(&edge, "a").await?;
    let objects = [locked("2"), edge.map("b", json!({}))];
    let StageResult::Waiting(ids) = stage(&edge.own, &objects, &force()).await? else {
        bail!("not deleted first")
    };
    assert_eq!(
        ids.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [text(&edge, "ConfigMap/<ns>/a")]
    );
    assert_eq!(
        edge.find("v1", "ConfigMap", "b").await?,
        None,
        "applied before there was room for all"
    );
    let changes = until_applied(&edge, &objects, &force()).await?;
    assert_eq!(
        changes.lines(),
        text(&edge, "ConfigMap/<ns>/a created\nConfigMap/<ns>/b created")
    );
    let after = config_map(&edge, "a").await?;
    assert_ne!(uid(&after), uid(&before));
    assert_eq!(after["data"]["k"], "2");
    Ok(())
}

async fn until_applied(edge: &Edge, objects: &[Value], options: &Options) -> Result<ChangeSet> {
    wait::until("the stage to be applied", async || {
        match stage(&edge.own, objects, options).await? {
            StageResult::Applied(changes) => Ok(Some(changes)),
            StageResult::Waiting(_) => Ok(None),
        }
    })
    .await
}

#[tokio::test]
async fn one_object_may_be_forced_and_its_finalizers_are_respected() -> Result<()> {
    let edge = Edge::new("apply-force-one").await?;
    let locked = |value: &str| {
        let forced = json!({ "annotations": { "kustomize.toolkit.fluxcd.io/force": "Enabled" } });
        edge.map(
            "a",
            json!({ "metadata": forced, "immutable": true, "data": { "k": value } }),
        )
    };
    lines(&edge, &[locked("1")]).await?;
    patch(
        &edge,
        "a",
        "somebody",
        json!({ "metadata": { "finalizers": ["example.test/hold"] } }),
    )
    .await?;
    for _ in 0..2 {
        let result = stage(&edge.own, &[locked("2")], &Options::default()).await?;
        assert!(matches!(result, StageResult::Waiting(_)), "{result:?}");
        assert_eq!(config_map(&edge, "a").await?["data"]["k"], "1");
    }
    patch(&edge, "a", "somebody", json!({ "metadata": { "finalizers": null } })).await?;
    until_applied(&edge, &[locked("2")], &Options::default()).await?;
    assert_eq!(config_map(&edge, "a").await?["data"]["k"], "2");
    Ok(())
}

#[tokio::test]
async fn force_does_not_delete_for_a_manifest_that_is_simply_wrong() -> Result<()> {
    let edge = Edge::new("apply-force-wrong").await?;
    let service = |port: u64| {
        edge.object(
            "v1",
            "Service",
            "svc",
            json!({ "spec": { "ports": [{ "port": port }] } }),
        )
    };
    lines(&edge, &[service(80)]).await?;
    let before = edge.find("v1", "Service", "svc").await?.context("no service")?;
    let error = refusal(&edge.own, &[service(123_456)], &force()).await?;
    assert!(
        error.starts_with(&text(&edge, "Service/<ns>/svc dry-run failed (Invalid): ")),
        "{error}"
    );
    let after = edge
        .find("v1", "Service", "svc")
        .await?
        .context("the service was deleted")?;
    assert_eq!(uid(&after), uid(&before));
    assert!(after["metadata"]["deletionTimestamp"].is_null());
    Ok(())
}

#[tokio::test]
async fn a_change_that_the_api_server_calls_immutable_in_other_words_is_forced_too() -> Result<()> {
    let edge = Edge::new("apply-force-role").await?;
    let binding = |role: &str| {
        let reference = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role });
        edge.object(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            "b",
            json!({ "roleRef": reference }),
        )
    };
    lines(&edge, &[binding("one")]).await?;
    let error = refusal(&edge.own, &[binding("two")], &Options::default()).await?;
    assert!(error.contains("cannot change roleRef"), "{error}");
    assert!(matches!(
        stage(&edge.own, &[binding("two")], &force()).await?,
        StageResult::Waiting(_)
    ));
    assert_eq!(
        until_applied(&edge, &[binding("two")], &force()).await?.lines(),
        text(&edge, "RoleBinding/<ns>/b created")
    );
    Ok(())
}

#[tokio::test]
async fn fields_that_kubectl_left_are_taken_over() -> Result<()> {
    let edge = Edge::new("apply-takeover").await?;
    let objects: Vec<_> = ["edited", "foreign", "merged"]
        .map(|name| edge.map(name, json!({})))
        .into();
    lines(&edge, &objects).await?;
    let left = json!({
        "data": { "extra": "x" },
        "metadata": { "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}" } },
    });
    patch(&edge, "edited", "kubectl-edit", left.clone()).await?;
    patch(&edge, "merged", "kubectl-edit", left).await?;
    patch(
        &edge,
        "merged",
        "kubectl-edit",
        json!({ "metadata": { "annotations": { "kustomize.toolkit.fluxcd.io/ssa": "Merge" } } }),
    )
    .await?;
    patch(
        &edge,
        "foreign",
        "flux-client-side-apply",
        json!({ "data": { "extra": "x" } }),
    )
    .await?;

    let changes = applied(&edge.own, &objects, &Options::default()).await?;
    assert_eq!(changes.changed_lines(), text(&edge, "ConfigMap/<ns>/edited configured"));
    let edited = config_map(&edge, "edited").await?;
    assert_eq!(edited["data"], json!({ "k": "v" }));
    assert_eq!(edited["metadata"]["annotations"], Value::Null);
    assert_eq!(
        managers(&edited),
        [("kustomize-controller".to_owned(), "Apply".to_owned())]
    );
    assert_eq!(config_map(&edge, "foreign").await?["data"]["extra"], "x");
    assert_eq!(config_map(&edge, "merged").await?["data"]["extra"], "x");

    let options = Options {
        override_managers: vec!["flux-client".to_owned()],
        ..Options::default()
    };
    let changes = applied(&edge.own, &objects, &options).await?;
    assert_eq!(
        changes.changed_lines(),
        text(&edge, "ConfigMap/<ns>/foreign configured")
    );
    assert_eq!(config_map(&edge, "foreign").await?["data"], json!({ "k": "v" }));
    Ok(())
}

fn managers(object: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    entries
        .iter()
        .map(|entry| (text(&entry["manager"]), text(&entry["operation"])))
        .collect()
}

#[tokio::test]
async fn an_object_that_kubectl_created_is_adopted() -> Result<()> {
    let edge = Edge::new("apply-adopt").await?;
    let api: Api<ConfigMap> = edge.namespace.api();
    let params = kube::api::PostParams {
        field_manager: Some("kubectl-client-side-apply".to_owned()),
        ..Default::default()
    };
    let old = json!({ "metadata": { "name": "a", "labels": { "l": "1" } }, "data": { "k": "old", "extra": "x" } });
    api.create(&params, &serde_json::from_value(old)?).await?;
    assert_eq!(
        lines(&edge, &[edge.map("a", json!({}))]).await?,
        text(&edge, "ConfigMap/<ns>/a configured")
    );
    let after = config_map(&edge, "a").await?;
    assert_eq!(after["data"], json!({ "k": "v" }));
    assert_eq!(after["metadata"]["labels"]["l"], Value::Null);
    assert_eq!(
        managers(&after),
        [("kustomize-controller".to_owned(), "Apply".to_owned())]
    );
    Ok(())
}

#[tokio::test]
async fn values_of_secrets_are_not_in_errors() -> Result<()> {
    let edge = Edge::new("apply-secret").await?;
    let secret = |data: Value| edge.object("v1", "Secret", "x", json!({ "data": data }));
    let expected = "Secret/<ns>/x dry-run failed: failed to convert new object (<ns>/x; /v1, Kind=Secret) to proper version: unable to convert unstructured object to /v1, Kind=Secret: error decoding from json: illegal base64 data at input byte 3";
    assert_eq!(
        refusal(&edge.own, &[secret(json!({ "a": "not base64!" }))], &Options::default()).await?,
        text(&edge, expected)
    );
    for data in [
        json!({ "a": 73_311_337 }),
        json!({ "a": { "b": "hunter-2" } }),
        json!("hunter-2 73311337"),
    ] {
        let error = refusal(&edge.own, &[secret(data)], &Options::default()).await?;
        assert!(!error.contains("73311337") && !error.contains("hunter-2"), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_kind_can_be_used_as_soon_as_its_definition_is_there() -> Result<()> {
    let edge = Edge::new("apply-crd").await?;
    let group = format!("{}.example.test", edge.namespace.name());
    let api_version = format!("{group}/v1");
    let widget = edge.object(&api_version, "Widget", "w", json!({ "spec": { "size": 1 } }));
    let error = refusal(&edge.own, std::slice::from_ref(&widget), &Options::default()).await?;
    assert_eq!(
        error,
        text(
            &edge,
            "Widget/<ns>/w dry-run failed: no matches for kind \"Widget\" in version \"<ns>.example.test/v1\""
        )
    );
    let definition = text(&edge, "CustomResourceDefinition/widgets.<ns>.example.test created");
    let anything = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let widgets = widget::definition(&group, json!({ "type": "object", "properties": { "spec": anything } }));
    assert_eq!(lines(&edge, &[widgets]).await?, definition);
    assert_eq!(lines(&edge, &[widget]).await?, text(&edge, "Widget/<ns>/w created"));
    Ok(())
}

#[tokio::test]
async fn an_object_of_the_cluster_loses_a_namespace_that_it_should_not_have() -> Result<()> {
    let edge = Edge::new("apply-scope").await?;
    let name = format!("{}-role", edge.namespace.name());
    let role = edge.object(
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        &name,
        json!({ "rules": [] }),
    );
    assert_eq!(lines(&edge, &[role]).await?, format!("ClusterRole/{name} created"));
    Ok(())
}

#[tokio::test]
async fn an_impersonated_account_can_do_what_it_may_and_no_more() -> Result<()> {
    let edge = Edge::new("apply-account").await?;
    let nobody = Identity::Account {
        namespace: edge.namespace.name().to_owned(),
        name: "nobody".to_owned(),
    };
    let expected = "ConfigMap/<ns>/a dry-run failed (Forbidden): configmaps \"a\" is forbidden: User \"system:serviceaccount:<ns>:nobody\" cannot patch resource \"configmaps\" in API group \"\" in the namespace \"<ns>\"";
    let cluster = edge.clusters.of(&nobody)?;
    assert_eq!(
        refusal(&cluster, &[edge.map("a", json!({}))], &Options::default()).await?,
        text(&edge, expected)
    );

    let rules = "[{apiGroups: [''], resources: [configmaps], verbs: [get, create, patch]}]";
    let deployer = edge.account("deployer", rules).await?;
    let changes = applied(&deployer, &[edge.map("a", json!({}))], &Options::default()).await?;
    assert_eq!(changes.lines(), text(&edge, "ConfigMap/<ns>/a created"));

    assert!(edge.own.can_impersonate(edge.namespace.name(), "deployer").await?);
    assert!(edge.own.can_impersonate(edge.namespace.name(), "").await?);
    assert!(!edge.own.can_impersonate(edge.namespace.name(), "nobody").await?);
    for impossible in [
        "deployer/token",
        "..",
        "deployer?x",
        "deployer:x",
        "deployer ",
        "Deployer",
    ] {
        assert!(
            !edge.own.can_impersonate(edge.namespace.name(), impossible).await?,
            "{impossible}"
        );
    }
    // No name must not mean the controller's own rights, and none must make another kind of user.
    for name in [
        "",
        "a:b",
        "a b",
        "a\r\nimpersonate-group: system:masters",
        "a\t",
        "a?b",
        "A",
    ] {
        let identity = Identity::Account {
            namespace: edge.namespace.name().to_owned(),
            name: name.to_owned(),
        };
        let refused = edge.clusters.of(&identity).err().context(name)?;
        assert!(refused.to_string().starts_with("cannot impersonate"), "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn an_account_that_may_not_read_still_respects_marks_on_live_objects() -> Result<()> {
    let edge = Edge::new("apply-blind").await?;
    let blind = edge
        .account(
            "blind",
            "[{apiGroups: [''], resources: [configmaps], verbs: [create, patch]}]",
        )
        .await?;
    let plain = [edge.map("a", json!({})), edge.map("b", json!({}))];
    lines(&edge, &plain).await?;
    let mark = json!({ "metadata": { "annotations": { "kustomize.toolkit.fluxcd.io/reconcile": "disabled" } }, "data": { "k": "mine" } });
    patch(&edge, "a", "somebody", mark).await?;
    patch(&edge, "b", "somebody", json!({ "data": { "k": "drifted" } })).await?;
    let changes = applied(&blind, &plain, &Options::default()).await?;
    assert_eq!(
        changes.lines(),
        text(&edge, "ConfigMap/<ns>/a skipped\nConfigMap/<ns>/b configured")
    );
    assert_eq!(config_map(&edge, "a").await?["data"]["k"], "mine");
    assert_eq!(config_map(&edge, "b").await?["data"]["k"], "v");
    Ok(())
}

#[tokio::test]
async fn applying_can_be_a_task_of_its_own() -> Result<()> {
    let edge = Edge::new("apply-task").await?;
    let (cluster, object) = (edge.own.clone(), edge.map("a", json!({})));
    let task = tokio::spawn(async move {
        let mut told = 0;
        let planned = async |entries: &[apply::Entry]| told += entries.len();
        let result = crate::edges::apply_stage(&cluster, &[object], &Options::default(), planned).await;
        (result.map_err(|failure| failure.to_string()), told)
    });
    let (result, told) = task.await?;
    assert!(matches!(result, Ok(StageResult::Applied(_))), "{result:?}");
    assert_eq!(told, 1);
    Ok(())
}

#[tokio::test]
async fn names_in_manifests_lead_to_no_other_object() -> Result<()> {
    let edge = Edge::new("apply-names").await?;
    let role = |name: &str, verb: &str| {
        let rules = json!([{ "apiGroups": [""], "resources": ["pods"], "verbs": [verb] }]);
        edge.object("rbac.authorization.k8s.io/v1", "Role", name, json!({ "rules": rules }))
    };
    let neighbours = [role("odd", "get"), edge.map("neighbour", json!({}))];
    lines(&edge, &neighbours).await?;
    let before = (
        edge.find("rbac.authorization.k8s.io/v1", "Role", "odd").await?,
        config_map(&edge, "neighbour").await?,
    );
    // Roles may have such names.
    let names = ["odd?dryRun=All", "odd#x", "odd&x", "system:odd x"];
    let roles = names.map(|name| role(name, "list"));
    applied(&edge.own, &roles, &Options::default()).await?;
    for name in names {
        let live = edge.find("rbac.authorization.k8s.io/v1", "Role", name).await?;
        assert_eq!(live.context(name)?["metadata"]["name"], name);
    }
    let elsewhere = |namespace: &str| {
        let namespace = edge.namespace.text(namespace);
        edge.map(
            "neighbour",
            json!({ "metadata": { "namespace": namespace }, "data": { "k": "other" } }),
        )
    };
    for (object, said) in [
        (edge.map("neighbour?x", json!({})), "(Invalid)"),
        (edge.map("?", json!({})), "(Invalid)"),
        (
            edge.map("..", json!({})),
            "invalid resource name \"..\": [may not be '..']",
        ),
        (
            edge.map("../configmaps/neighbour", json!({})),
            "invalid resource name \"../configmaps/neighbour\": [may not contain '/']",
        ),
        (
            edge.map("neighbour%3Fx", json!({})),
            "invalid resource name \"neighbour%3Fx\": [may not contain '%']",
        ),
        (elsewhere("<ns>/configmaps/neighbour?"), "invalid namespace"),
        (elsewhere("<ns>?"), "not found: namespaces"),
        (elsewhere(".."), "invalid namespace"),
        (
            role("a/b", "list"),
            "invalid resource name \"a/b\": [may not contain '/']",
        ),
    ] {
        let refused = refusal(&edge.own, &[object], &Options::default()).await?;
        assert!(refused.contains(said), "{refused}");
    }
    let after = (
        edge.find("rbac.authorization.k8s.io/v1", "Role", "odd").await?,
        config_map(&edge, "neighbour").await?,
    );
    assert_eq!(after, before);
    Ok(())
}
