//! A controller that cannot read what was told waits until it can, and misses nothing and tells nothing twice.

use crate::stage::{Stage, stored};
use anyhow::Result;
use api::kustomize::Kustomization;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Api, ListParams};
use serde_json::json;
use std::path::Path;
use tests::checkout::WorkDir;
use tests::cluster::Cluster;
use tests::controllers::{Controller, Controllers, Options};
use tests::git_server::GitServer;
use tests::kubeconfig;
use tests::namespace::Namespace;
use tests::receiver::Receiver;
use tests::scenario::Scenario;
use tests::wait;

/// What may be taken away from the controller.
const MEMORY: &str = "memory";
/// How the log begins to tell that the memory cannot be read.
const UNREAD: &str = "cannot read what was told before";

/// Lets a user do something in the namespace.
async fn allow(namespace: &Namespace, name: &str, user: &str, rules: serde_json::Value) -> Result<()> {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": name }, "rules": rules,
    });
    namespace.apply_yaml(&role.to_string()).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    });
    namespace.apply_yaml(&binding.to_string()).await.map(drop)
}

async fn allow_memory(namespace: &Namespace, user: &str) -> Result<()> {
    let rules = json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"] }]);
    allow(namespace, MEMORY, user, rules).await
}

/// A stage whose controller is a user with no more rights than it needs.
async fn limited(name: &str, user: &str) -> Result<(Stage, Api<ConfigMap>)> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace(name).await?;
    let rules = json!([
        { "apiGroups": ["source.toolkit.fluxcd.io", "kustomize.toolkit.fluxcd.io", "notification.toolkit.fluxcd.io"],
          "resources": ["*"], "verbs": ["*"] },
        { "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"] },
        { "apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["*"] },
    ]);
    allow(&namespace, "work", user, rules).await?;
    allow_memory(&namespace, user).await?;
    let dir = WorkDir::create("test", name)?;
    let kubeconfig = cluster.control_plane()?.user(user, None)?;
    let memory = Api::namespaced(kubeconfig::client(&kubeconfig, None).await?, namespace.name());
    let mut options = Options::new(&kubeconfig, dir.path(), namespace.name());
    options.controllers = vec![Controller::Notification];
    let controllers = Controllers::start(options).await?;
    namespace.show_on_failure(controllers.logs());
    let scenario = Scenario {
        controllers,
        namespace,
        git: GitServer::start()?,
        cluster,
        dir,
    };
    let stage = Stage {
        scenario,
        receiver: Receiver::start()?,
    };
    Ok((stage, memory))
}

fn times(log: &Path, text: &str) -> Result<usize> {
    Ok(std::fs::read_to_string(log)?.matches(text).count())
}

#[tokio::test]
async fn a_memory_that_cannot_be_read_is_waited_for_and_nothing_is_told_twice() -> Result<()> {
    let user = format!("reader-{}", std::process::id());
    let (stage, memory) = limited("notification-unread", &user).await?;
    let (namespace, controllers) = (&stage.scenario.namespace, &stage.scenario.controllers);
    stage.everything().await?;
    stage.repository("app").await?;
    stage.kustomization("app").await?;
    stage.changed("app", 1..=3).await?;
    let told = [
        "ConfigMap/d/1 created",
        "ConfigMap/d/2 created",
        "ConfigMap/d/3 created",
    ];
    stage.wait_texts(&told).await?;
    stage.wait_memory("\"Kustomization\"", true).await?;
    stage.wait_memory("\"queue\"", false).await?;

    controllers.kill(Controller::Notification)?;
    namespace.delete::<RoleBinding>(MEMORY).await?;
    wait::until("the memory to be out of reach", async || {
        match memory.list(&ListParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(Some(())),
            answer => Ok(answer.map(|_| None)?),
        }
    })
    .await?;
    controllers.relaunch(Controller::Notification)?;
    let log = controllers.log(Controller::Notification);
    let tried = |times_at_least: usize| {
        let log = &log;
        let what = format!("{times_at_least} attempts to read the memory");
        async move {
            let probe = async || Ok((times(log, UNREAD)? >= times_at_least).then_some(()));
            wait::until(&what, probe).await
        }
    };
    tried(2).await?;

    // Waiting is no reason to hold up the end of the process.
    controllers.stop(Controller::Notification).await?;
    assert_eq!(times(&log, "not everything finished in time")?, 0);
    controllers.relaunch(Controller::Notification)?;
    let before = times(&log, UNREAD)?;
    tried(before + 1).await?;

    // The controller has listed the object by now; it goes before the memory is read.
    namespace.delete::<Kustomization>("app").await?;
    namespace.wait_gone::<Kustomization>("app").await?;
    assert!(!controllers.ended(Controller::Notification)?);
    allow_memory(namespace, &user).await?;
    controllers.ready(Controller::Notification).await?;
    stage.stored("app", "1").await?;
    let stored = stored("1");
    let all = [told[0], told[1], told[2], &stored];
    stage.wait_texts(&all).await?;
    stage.wait_memory("\"Kustomization\"", false).await?;
    assert_eq!(stage.texts(), all);
    Ok(())
}
