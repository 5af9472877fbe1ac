//! `spec.wait`, `spec.healthChecks` and `spec.timeout`: when a Kustomization is Ready, and what ends the waiting.

use crate::scene::{Scene, map};
use anyhow::{Context, Result};
use api::kustomize::Kustomization;
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use tests::control_plane::POD_BEHAVIOUR;
use tests::controllers::Controller;
use tests::namespace::condition;
use tests::wait;

const SUCCEEDED: &str = "ReconciliationSucceeded";

fn deployment(name: &str, behaviour: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}, {POD_BEHAVIOUR}: {behaviour}}}}}
    spec: {{containers: [{{name: app, image: example.test/app}}]}}
"
    )
}

fn failing_job(name: &str) -> String {
    format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  backoffLimit: 0
  template:
    metadata: {{labels: {{{POD_BEHAVIOUR}: fail}}}}
    spec: {{restartPolicy: Never, containers: [{{name: app, image: example.test/app}}]}}
"
    )
}

/// A claim that nothing will ever fulfil.
const CLAIM: &str = "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: claim}
spec: {storageClassName: none-such, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
";

/// Lets the hanging pods of a Deployment go on.
async fn heal(scene: &Scene, app: &str) -> Result<()> {
    let selector = ListParams::default().labels(&format!("app={app}"));
    let pods = wait::until("the Deployment to have a pod", async || {
        let pods = scene.api::<Pod>().list(&selector).await?.items;
        Ok((!pods.is_empty()).then_some(pods))
    })
    .await?;
    for pod in pods {
        let name = pod.metadata.name.context("a pod has a name")?;
        scene
            .patch::<Pod>(&name, json!({ "metadata": { "labels": { POD_BEHAVIOUR: null } } }))
            .await?;
    }
    Ok(())
}

/// Waits until the Kustomization runs its health checks for this revision.
async fn waits(scene: &Scene, name: &str, revision: &str) -> Result<Kustomization> {
    let text = format!("Running health checks for revision {revision} with a timeout of");
    scene
        .wait::<Kustomization>(name, "run its health checks", |object| {
            condition(object, "Reconciling").is_some_and(|reconciling| reconciling.message.starts_with(&text))
        })
        .await
}

fn shown(object: &Kustomization, type_: &str) -> Option<(String, String, String)> {
    condition(object, type_).map(|condition| (condition.status, condition.reason, condition.message))
}

/// Type, reason and message of all events about a Kustomization.
async fn events(scene: &Scene, name: &str) -> Result<Vec<(String, String, String)>> {
    let events = scene.events::<Kustomization>(name).await?;
    Ok(events
        .into_iter()
        .map(|event| {
            (
                event.type_.unwrap_or_default(),
                event.reason.unwrap_or_default(),
                event.message.unwrap_or_default(),
            )
        })
        .collect())
}

#[tokio::test]
async fn wait_shows_its_progress_and_ends_when_everything_is_healthy() -> Result<()> {
    let scene = Scene::start("wait-healthy", &[]).await?;
    scene
        .publish(
            "main@sha1:1",
            &[("a.yaml", &map("a", "1")), ("web.yaml", &deployment("web", "hang"))],
        )
        .await?;
    scene
        .kustomization("app", json!({ "wait": true, "timeout": "2m" }))
        .await?;

    let waiting = waits(&scene, "app", "main@sha1:1").await?;
    let progress = "Running health checks for revision main@sha1:1 with a timeout of 2m0s";
    let expected =
        |status: &str, message: &str| Some((status.to_owned(), "Progressing".to_owned(), message.to_owned()));
    assert_eq!(shown(&waiting, "Reconciling"), expected("True", progress));
    assert_eq!(
        shown(&waiting, "Ready"),
        expected("Unknown", "Reconciliation in progress")
    );
    assert_eq!(shown(&waiting, "Healthy"), expected("Unknown", progress));
    let status = waiting.status.context("no status")?;
    assert_eq!(status.last_attempted_revision.as_deref(), Some("main@sha1:1"));
    assert_eq!(status.last_applied_revision, None);
    assert_eq!(
        status.inventory.map(|inventory| inventory.entries.len()),
        Some(2),
        "what is applied is known before it is healthy"
    );

    heal(&scene, "web").await?;
    let ready = scene.wait_ready::<Kustomization>("app").await?;
    let healthy = condition(&ready, "Healthy").context("no Healthy condition")?;
    assert_eq!(
        (healthy.status.as_str(), healthy.reason.as_str()),
        ("True", "Succeeded")
    );
    assert!(
        healthy.message.starts_with("Health check passed in "),
        "{}",
        healthy.message
    );
    assert_eq!(shown(&ready, "Reconciling"), None);
    scene.wait_event::<Kustomization>("app", SUCCEEDED).await?;
    let passed = events(&scene, "app").await?;
    assert!(
        passed
            .iter()
            .any(|(type_, reason, message)| (type_.as_str(), reason.as_str(), message)
                == ("Normal", "Progressing", &healthy.message)),
        "{passed:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_failed_object_ends_the_wait_early_and_a_new_revision_repairs_it() -> Result<()> {
    let scene = Scene::start("wait-failed", &[]).await?;
    scene
        .publish(
            "main@sha1:1",
            &[("job.yaml", &failing_job("work")), ("claim.yaml", CLAIM)],
        )
        .await?;
    scene
        .kustomization("app", json!({ "wait": true, "timeout": "10m" }))
        .await?;
    let failed = scene.wait_failed::<Kustomization>("app", "HealthCheckFailed").await?;
    let cause = scene.text("failed early due to stalled resources: [Job/<ns>/work status: 'Failed']");
    let (_, _, message) = shown(&failed, "Ready").context("no Ready condition")?;
    let origin = scene.text("Job/<ns>/work is from job.yaml:1, changed by spec.targetNamespace");
    let took = message
        .strip_prefix("health check failed after ")
        .and_then(|rest| rest.strip_suffix(&format!(": {cause}\n{origin}")));
    assert!(took.is_some_and(|took| took.ends_with('s')), "{message}");
    let unhealthy = ("False".to_owned(), "HealthCheckFailed".to_owned(), cause);
    assert_eq!(shown(&failed, "Healthy"), Some(unhealthy));
    let (status, reason, progress) = shown(&failed, "Reconciling").context("no Reconciling condition")?;
    assert_eq!((status.as_str(), reason.as_str()), ("True", "ProgressingWithRetry"));
    assert_eq!(
        progress,
        "Running health checks for revision main@sha1:1 with a timeout of 10m0s"
    );
    let event = scene.wait_event::<Kustomization>("app", "HealthCheckFailed").await?;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert_eq!(event.message, Some(message));
    let status = failed.status.context("no status")?;
    assert_eq!(status.last_applied_revision, None);
    assert_eq!(status.history[0].last_reconciled_status, "HealthCheckFailed");
    assert_eq!(status.inventory.map(|inventory| inventory.entries.len()), Some(2));

    scene.publish("main@sha1:2", &[("a.yaml", &map("a", "1"))]).await?;
    let repaired = scene.says("app", SUCCEEDED, "Applied revision: main@sha1:2").await?;
    assert_eq!(
        shown(&repaired, "Healthy").map(|(status, ..)| status).as_deref(),
        Some("True")
    );
    let history: Vec<_> = repaired
        .status
        .context("no status")?
        .history
        .into_iter()
        .map(|entry| entry.last_reconciled_status)
        .collect();
    assert_eq!(history, [SUCCEEDED, "HealthCheckFailed"]);
    Ok(())
}

#[tokio::test]
async fn a_new_revision_spec_or_request_supersedes_a_wait_at_once() -> Result<()> {
    let scene = Scene::start("wait-superseded", &["--concurrent=1"]).await?;
    // Nothing but a new run can end these waits before the test gives up.
    let spec = json!({ "wait": true, "timeout": "1h" });
    scene.publish("main@sha1:1", &[("claim.yaml", CLAIM)]).await?;
    scene.kustomization("app", spec.clone()).await?;
    waits(&scene, "app", "main@sha1:1").await?;

    // The next revision waits as well, and says so.
    scene
        .publish(
            "main@sha1:2",
            &[
                ("claim.yaml", CLAIM),
                ("claim2.yaml", &CLAIM.replace("claim}", "claim2}")),
            ],
        )
        .await?;
    let second = waits(&scene, "app", "main@sha1:2").await?;
    assert_eq!(
        second
            .status
            .and_then(|status| status.last_attempted_revision)
            .as_deref(),
        Some("main@sha1:2")
    );

    // A changed spec ends the wait: nothing is waited for any more.
    scene.kustomization("app", json!({ "wait": false })).await?;
    let ready = scene.says("app", SUCCEEDED, "Applied revision: main@sha1:2").await?;
    assert_eq!(shown(&ready, "Healthy"), None);

    // A revision without what never becomes healthy ends it too.
    scene.kustomization("app", spec).await?;
    waits(&scene, "app", "main@sha1:2").await?;
    scene.publish("main@sha1:3", &[("a.yaml", &map("a", "1"))]).await?;
    let ready = scene.says("app", SUCCEEDED, "Applied revision: main@sha1:3").await?;
    let failures: Vec<_> = ready
        .status
        .iter()
        .flat_map(|status| &status.history)
        .filter(|entry| entry.last_reconciled_status != SUCCEEDED)
        .collect();
    assert!(failures.is_empty(), "{failures:?}");
    // What the superseded runs had applied is not forgotten.
    wait::until("the claims to be deleted", async || {
        Ok(scene.names::<PersistentVolumeClaim>().await?.is_empty().then_some(()))
    })
    .await?;

    // And so does the end of the Kustomization.
    scene.publish("main@sha1:4", &[("claim.yaml", CLAIM)]).await?;
    waits(&scene, "app", "main@sha1:4").await?;
    scene.delete::<Kustomization>("app").await?;
    scene.wait_gone::<Kustomization>("app").await?;
    let warnings: Vec<_> = events(&scene, "app")
        .await?
        .into_iter()
        .filter(|(type_, ..)| type_ != "Normal")
        .collect();
    assert!(warnings.is_empty(), "{warnings:?}");
    Ok(())
}

#[tokio::test]
async fn a_request_starts_over_while_something_is_waited_for() -> Result<()> {
    let scene = Scene::start("wait-request", &[]).await?;
    scene
        .publish("main@sha1:1", &[("claim.yaml", CLAIM), ("a.yaml", &map("a", "1"))])
        .await?;
    scene
        .kustomization("app", json!({ "wait": true, "timeout": "1h" }))
        .await?;
    waits(&scene, "app", "main@sha1:1").await?;
    // The new run heals what somebody else broke meanwhile, before it waits again.
    scene.delete::<ConfigMap>("a").await?;
    scene.wait_gone::<ConfigMap>("a").await?;
    scene.request_reconcile::<Kustomization>("app").await?;
    scene.wait::<ConfigMap>("a", "be back", |_| true).await?;
    waits(&scene, "app", "main@sha1:1").await?;
    Ok(())
}

#[tokio::test]
async fn a_wait_that_was_suspended_goes_on_when_it_is_resumed() -> Result<()> {
    let scene = Scene::start("wait-suspended", &[]).await?;
    scene
        .publish("main@sha1:1", &[("web.yaml", &deployment("web", "hang"))])
        .await?;
    scene
        .kustomization("app", json!({ "wait": true, "timeout": "1h" }))
        .await?;
    waits(&scene, "app", "main@sha1:1").await?;
    scene.suspend::<Kustomization>("app", true).await?;
    let token = scene.request_reconcile::<Kustomization>("app").await?;
    scene
        .wait::<Kustomization>("app", "be suspended", |object| {
            object
                .status
                .as_ref()
                .and_then(|status| status.last_handled_reconcile_at.as_ref())
                == Some(&token)
        })
        .await?;
    heal(&scene, "web").await?;
    scene
        .wait::<Deployment>("web", "be available", |found| {
            found.status.as_ref().and_then(|status| status.available_replicas) == Some(1)
        })
        .await?;
    let suspended = scene.get::<Kustomization>("app").await?;
    assert_eq!(suspended.status.and_then(|status| status.last_applied_revision), None);
    scene.suspend::<Kustomization>("app", false).await?;
    scene.wait_ready::<Kustomization>("app").await?;
    Ok(())
}

#[tokio::test]
async fn a_restarted_controller_goes_on_waiting_and_tells_nothing_twice() -> Result<()> {
    let scene = Scene::start("wait-restart", &[]).await?;
    scene
        .publish("main@sha1:1", &[("web.yaml", &deployment("web", "hang"))])
        .await?;
    scene
        .kustomization("app", json!({ "wait": true, "timeout": "1h" }))
        .await?;
    waits(&scene, "app", "main@sha1:1").await?;
    let created = scene.text("Deployment/<ns>/web created");
    let told = async || {
        let told = events(&scene, "app").await?;
        anyhow::Ok(told.iter().filter(|(_, _, message)| *message == created).count())
    };
    wait::until("the creation to be told", async || {
        Ok((told().await? == 1).then_some(()))
    })
    .await?;
    scene.scenario.controllers.kill(Controller::Kustomize)?;
    heal(&scene, "web").await?;
    scene.scenario.controllers.start_again(Controller::Kustomize).await?;
    let ready = scene.wait_ready::<Kustomization>("app").await?;
    let status = ready.status.context("no status")?;
    assert_eq!(status.changes.len(), 1, "{:?}", status.changes);
    assert_eq!(status.history.len(), 1, "{:?}", status.history);
    scene.wait_event::<Kustomization>("app", SUCCEEDED).await?;
    assert_eq!(told().await?, 1);
    Ok(())
}

/// A definition of a cluster-wide name for this namespace alone, and an object of it.
fn widget(group: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: widgets.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: Widget, plural: widgets}}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {{status: {{}}}}
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
---
apiVersion: {group}/v1
kind: Widget
metadata: {{name: w}}
spec: {{size: 1}}
"
    )
}

#[tokio::test]
async fn a_custom_resource_is_as_healthy_as_its_conditions_say() -> Result<()> {
    let scene = Scene::start("wait-custom", &[]).await?;
    let group = scene.text("<ns>.example.test");
    let kind = GroupVersionKind::gvk(&group, "v1", "Widget");
    let widgets: Api<DynamicObject> = Api::namespaced_with(
        scene.scenario.cluster.client(),
        scene.name(),
        &ApiResource::from_gvk_with_plural(&kind, "widgets"),
    );
    let become_ = async |status: Value| {
        let patch = Patch::Merge(json!({ "status": status }));
        widgets.patch_status("w", &PatchParams::default(), &patch).await
    };
    let state = |type_: &str, status: &str| json!({ "observedGeneration": 1, "conditions": [{ "type": type_, "status": status }] });

    // Without conditions it is as it should be.
    scene
        .publish("main@sha1:1", &[("widget.yaml", &widget(&group))])
        .await?;
    let spec = |timeout: &str| json!({ "wait": true, "timeout": timeout, "retryInterval": "1h" });
    scene.kustomization("app", spec("1h")).await?;
    scene.wait_ready::<Kustomization>("app").await?;

    // What turns unhealthy later is seen by the next run, and what recovers ends the wait.
    become_(state("Ready", "False")).await?;
    scene.request_reconcile::<Kustomization>("app").await?;
    waits(&scene, "app", "main@sha1:1").await?;
    become_(state("Ready", "True")).await?;
    scene.wait_ready::<Kustomization>("app").await?;

    // A status about an older generation does not count.
    scene
        .publish(
            "main@sha1:2",
            &[("widget.yaml", &widget(&group).replace("size: 1", "size: 2"))],
        )
        .await?;
    waits(&scene, "app", "main@sha1:2").await?;
    become_(json!({ "observedGeneration": 2 })).await?;
    scene.says("app", SUCCEEDED, "Applied revision: main@sha1:2").await?;

    // One that gave up is not waited for.
    become_(state("Stalled", "True")).await?;
    become_(json!({ "observedGeneration": 2 })).await?;
    scene.request_reconcile::<Kustomization>("app").await?;
    let stalled = "failed early due to stalled resources: [Widget/<ns>/w status: 'Failed']";
    scene.says("app", "HealthCheckFailed", stalled).await?;
    scene.delete::<Kustomization>("app").await?;
    scene.wait_gone::<Kustomization>("app").await?;
    Ok(())
}

#[tokio::test]
async fn a_kustomization_of_kustomizations_is_ready_after_them() -> Result<()> {
    let scene = Scene::start("wait-nested", &[]).await?;
    let child = "apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: child}
spec:
  interval: 1h
  prune: true
  wait: true
  timeout: 1h
  path: ./child
  targetNamespace: <ns>
  sourceRef: {kind: GitRepository, name: repo}
";
    scene
        .publish(
            "main@sha1:1",
            &[
                ("parent/child.yaml", child),
                ("child/web.yaml", &deployment("web", "hang")),
            ],
        )
        .await?;
    scene
        .kustomization("parent", json!({ "path": "./parent", "wait": true, "timeout": "1h" }))
        .await?;
    waits(&scene, "child", "main@sha1:1").await?;
    waits(&scene, "parent", "main@sha1:1").await?;
    heal(&scene, "web").await?;
    scene.wait_ready::<Kustomization>("parent").await?;
    scene.wait_ready::<Kustomization>("child").await?;
    // The end of the parent is the end of all.
    scene.delete::<Kustomization>("parent").await?;
    scene.wait_gone::<Kustomization>("child").await?;
    scene.wait_gone::<Deployment>("web").await?;
    Ok(())
}

#[tokio::test]
async fn time_runs_out_for_what_does_not_become_healthy() -> Result<()> {
    let scene = Scene::start("wait-timeout", &[]).await?;
    scene
        .publish(
            "main@sha1:1",
            &[
                ("waits/claim.yaml", CLAIM),
                ("waits/a.yaml", &map("a", "1")),
                ("checks/b.yaml", &map("b", "1")),
            ],
        )
        .await?;
    let checks = json!([
        { "apiVersion": "nope.test/v1", "kind": "Nope", "name": "nope", "namespace": "<ns>" },
        { "kind": "Deployment", "name": "gone", "namespace": "<ns>" },
        { "apiVersion": "v1", "kind": "ConfigMap", "name": "b", "namespace": "<ns>" },
        { "apiVersion": "v1", "kind": "ConfigMap", "name": "nowhere" },
    ]);
    // Less than 30 seconds is no timeout: both wait that long, at the same time.
    let waits = scene.kustomization("waits", json!({ "path": "./waits", "wait": true, "timeout": "1s" }));
    let checks = scene.kustomization(
        "checks",
        json!({ "path": "./checks", "healthChecks": checks, "timeout": "5s" }),
    );
    futures::future::try_join(waits, checks).await?;
    let timeout = "timeout waiting for: [PersistentVolumeClaim/<ns>/claim status: 'InProgress']";
    let failed = scene.says("waits", "HealthCheckFailed", timeout).await?;
    let (_, _, message) = shown(&failed, "Ready").context("no Ready condition")?;
    assert!(message.starts_with("health check failed after 30"), "{message}");
    assert_eq!(
        shown(&failed, "Healthy").map(|(.., message)| message),
        Some(scene.text(timeout))
    );
    let unknown = "timeout waiting for: [\
        Nope/<ns>/nope status: 'Unknown': no matches for kind \"Nope\" in group \"nope.test\", \
        Deployment/<ns>/gone status: 'NotFound', \
        can't determine status for ConfigMap/nowhere]";
    scene.says("checks", "HealthCheckFailed", unknown).await?;
    Ok(())
}

#[tokio::test]
async fn health_checks_look_at_what_they_name_and_at_nothing_else() -> Result<()> {
    let scene = Scene::start("wait-checks", &[]).await?;
    scene.apply_yaml(&deployment("elsewhere", "well")).await?;
    let ignored = deployment("ignored", "hang").replace(
        "metadata: {name: ignored}",
        "metadata: {name: ignored, annotations: {kustomize.toolkit.fluxcd.io/ssa: Ignore}}",
    );
    scene
        .publish(
            "main@sha1:1",
            &[
                ("checks/web.yaml", &deployment("web", "well")),
                ("checks/slow.yaml", &deployment("slow", "hang")),
                ("ignores/ignored.yaml", &ignored),
            ],
        )
        .await?;
    let checks = json!([
        { "kind": "Deployment", "name": "web", "namespace": "<ns>" },
        { "apiVersion": "apps/v1", "kind": "Deployment", "name": "elsewhere", "namespace": "<ns>" },
        { "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "name": "app", "namespace": "<ns>" },
    ]);
    scene
        .kustomization("app", json!({ "path": "./checks", "healthChecks": checks }))
        .await?;
    // What is left alone is not waited for either.
    scene
        .kustomization("ignores", json!({ "path": "./ignores", "wait": true }))
        .await?;
    let ready = scene.wait_ready::<Kustomization>("app").await?;
    assert_eq!(
        shown(&ready, "Healthy").map(|(status, ..)| status).as_deref(),
        Some("True")
    );
    let available = |deployment: &Deployment| deployment.status.as_ref().and_then(|status| status.available_replicas);
    assert_eq!(available(&scene.get::<Deployment>("web").await?), Some(1));
    assert_eq!(available(&scene.get::<Deployment>("slow").await?), None);
    scene.wait_ready::<Kustomization>("ignores").await?;
    assert_eq!(
        scene
            .find::<Deployment>("ignored")
            .await?
            .map(|found| found.metadata.name),
        None
    );
    Ok(())
}

#[tokio::test]
async fn forty_that_wait_do_not_hold_up_one_that_is_healthy() -> Result<()> {
    let scene = Scene::start("wait-many", &["--concurrent=2"]).await?;
    scene
        .publish(
            "main@sha1:1",
            &[("waits/claim.yaml", CLAIM), ("well/a.yaml", &map("a", "1"))],
        )
        .await?;
    let names: Vec<_> = (0..40).map(|number| format!("waits-{number}")).collect();
    try_join_all(names.iter().map(|name| {
        let spec = json!({ "path": "./waits", "namePrefix": format!("{name}-"), "wait": true, "timeout": "1h" });
        scene.kustomization(name, spec)
    }))
    .await?;
    try_join_all(names.iter().map(|name| waits(&scene, name, "main@sha1:1"))).await?;

    scene
        .kustomization("well", json!({ "path": "./well", "wait": true }))
        .await?;
    scene.wait_ready::<Kustomization>("well").await?;
    // They all still wait, and each goes on when its spec says so.
    for name in &names {
        let object = scene.get::<Kustomization>(name).await?;
        assert_eq!(
            shown(&object, "Ready").map(|(status, ..)| status).as_deref(),
            Some("Unknown"),
            "{name}"
        );
    }
    try_join_all(names.iter().map(|name| {
        scene.kustomization(
            name,
            json!({ "path": "./waits", "namePrefix": format!("{name}-"), "wait": false }),
        )
    }))
    .await?;
    try_join_all(names.iter().map(|name| scene.wait_ready::<Kustomization>(name))).await?;
    Ok(())
}
