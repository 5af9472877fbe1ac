//! The harness itself: what it promises to the other tests.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use tests::checkout::WorkDir;
use tests::cluster::Cluster;
use tests::control_plane::{ControlPlane, POD_BEHAVIOUR, Part};
use tests::controllers::Controller;
use tests::git_server::{self, Access, Fault, GitServer};
use tests::scenario::Scenario;
use tests::{kubeconfig, wait};

fn deployment(name: &str, behaviour: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}, {POD_BEHAVIOUR}: '{behaviour}'}}}}
    spec: {{containers: [{{name: app, image: example.test/app}}]}}
"
    )
}

fn job(name: &str, behaviour: &str) -> String {
    format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  backoffLimit: 0
  template:
    metadata: {{labels: {{{POD_BEHAVIOUR}: '{behaviour}'}}}}
    spec: {{restartPolicy: Never, containers: [{{name: app, image: example.test/app}}]}}
"
    )
}

fn available(deployment: &Deployment) -> bool {
    deployment.status.as_ref().and_then(|status| status.available_replicas) == Some(2)
}

fn has_condition(job: &Job, type_: &str) -> bool {
    let conditions = job
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == type_ && condition.status == "True")
}

#[tokio::test]
async fn deployments_become_available_and_jobs_complete() -> Result<()> {
    let ns = Cluster::shared().await?.namespace("workloads").await?;
    ns.apply_yaml(&[deployment("app", "well"), job("work", "well")].join("---\n"))
        .await?;
    ns.wait::<Deployment>("app", "be available", available).await?;
    ns.wait::<Job>("work", "be complete", |job| has_condition(job, "Complete"))
        .await?;
    Ok(())
}

#[tokio::test]
async fn pods_fail_or_hang_when_their_label_says_so() -> Result<()> {
    let ns = Cluster::shared().await?.namespace("behaviour").await?;
    ns.apply_yaml(
        &[
            deployment("hangs", "hang"),
            deployment("crashes", "fail"),
            job("fails", "fail"),
        ]
        .join("---\n"),
    )
    .await?;
    ns.wait::<Job>("fails", "be failed", |job| has_condition(job, "Failed"))
        .await?;
    let crashed = async || {
        let pods = ns
            .api::<Pod>()
            .list(&ListParams::default().labels("app=crashes"))
            .await?;
        let waiting = |pod: &Pod| wait::yaml(pod).contains("CrashLoopBackOff");
        Ok((pods.items.len() == 2 && pods.items.iter().all(waiting)).then_some(()))
    };
    wait::until("two crashing pods", crashed).await?;
    assert!(!available(&ns.get::<Deployment>("hangs").await?));

    // A hanging pod goes on when its label is taken off.
    for pod in ns.api::<Pod>().list(&ListParams::default().labels("app=hangs")).await? {
        let name = pod.metadata.name.context("a pod has a name")?;
        ns.patch::<Pod>(&name, json!({ "metadata": { "labels": { POD_BEHAVIOUR: null } } }))
            .await?;
    }
    ns.wait::<Deployment>("hangs", "be available", available).await?;
    Ok(())
}

#[tokio::test]
async fn users_and_service_accounts_are_known_to_the_api_server_and_bound_by_rbac() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let ns = cluster.namespace("identity").await?;
    ns.apply_yaml(
        "apiVersion: v1
kind: ServiceAccount
metadata: {name: robot}
",
    )
    .await?;
    let control_plane = cluster.control_plane()?;
    let files = [
        (control_plane.user("jane", Some("team"))?, "jane".to_owned()),
        (
            control_plane.service_account(ns.name(), "robot").await?,
            format!("system:serviceaccount:{}:robot", ns.name()),
        ),
    ];
    for (file, name) in files {
        let client = kubeconfig::client(&file, None).await?;
        let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
        let reviews: Api<k8s_openapi::api::authentication::v1::SelfSubjectReview> = Api::all(client.clone());
        let answer = reviews
            .create(&PostParams::default(), &serde_json::from_value(review)?)
            .await?;
        let user = answer
            .status
            .and_then(|status| status.user_info)
            .and_then(|user| user.username);
        assert_eq!(user.as_deref(), Some(name.as_str()));
        let refused = Api::<ConfigMap>::namespaced(client, ns.name())
            .list(&ListParams::default())
            .await;
        assert!(
            matches!(refused, Err(kube::Error::Api(status)) if status.is_forbidden()),
            "{name} may list config maps"
        );
    }
    Ok(())
}

#[tokio::test]
async fn our_kinds_are_served() -> Result<()> {
    let ns = Cluster::shared().await?.namespace("kinds").await?;
    ns.apply_yaml(
        "apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: app}
spec: {url: 'http://example.test/app.git', interval: 1h}
",
    )
    .await?;
    let found = ns.get::<api::source::GitRepository>("app").await?;
    assert_eq!(found.spec.url, "http://example.test/app.git");
    Ok(())
}

#[tokio::test]
async fn repositories_are_cloned_over_http_with_the_right_credentials_alone() -> Result<()> {
    let server = GitServer::start()?;
    let repo = server.create("team/app")?;
    let id = repo.commit_files("first", &[("a.yaml", "a: 1\n")])?;
    let dir = tempfile::tempdir()?;
    let clone = git_server::clone(repo.url(), &dir.path().join("open"), 1).await?;
    assert_eq!(std::fs::read_to_string(clone.join("a.yaml"))?, "a: 1\n");
    assert_eq!(std::fs::read_to_string(clone.join(".git/refs/heads/main"))?.trim(), id);

    server.set_access("team/app", Access::basic("ada", "pass word"));
    assert!(
        git_server::clone(repo.url(), &dir.path().join("refused"), 0)
            .await
            .is_err()
    );
    let url = repo.url().replace("://", "://ada:pass%20word@");
    git_server::clone(&url, &dir.path().join("allowed"), 0).await?;
    assert!(
        server
            .seen("team/app")
            .iter()
            .any(|request| request.is_fetch() && request.authorized)
    );
    Ok(())
}

#[tokio::test]
async fn a_big_repository_passes_the_server_whole() -> Result<()> {
    let server = GitServer::start()?;
    let repo = server.create("big")?;
    let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(8 << 20).collect();
    repo.write("blob", &bytes)?;
    repo.commit("big")?;
    let dir = tempfile::tempdir()?;
    let clone = git_server::clone(repo.url(), &dir.path().join("c"), 0).await?;
    assert!(std::fs::read(clone.join("blob"))? == bytes);
    Ok(())
}

#[tokio::test]
async fn the_git_server_misbehaves_as_told() -> Result<()> {
    let server = GitServer::start()?;
    let repo = server.create("app")?;
    repo.commit_files("first", &[("a.yaml", "a: 1\n")])?;
    let dir = tempfile::tempdir()?;
    let other = GitServer::start()?;
    let faults = [
        (Fault::Status(403), "403"),
        (Fault::Status(500), "500"),
        (Fault::Garbage, "protocol error"),
        (Fault::Html, "not valid"),
        (Fault::Truncate(100), "still expected"),
        (Fault::Redirect(other.url()), "not found"),
    ];
    for (fault, expected) in faults {
        server.set_fault("app", fault.clone());
        let result = git_server::clone(repo.url(), &dir.path().join("c"), 0).await;
        let error = result.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{fault:?}: {error}");
    }
    server.set_fault("app", Fault::Slow(Duration::from_millis(50)));
    git_server::clone(repo.url(), &dir.path().join("c"), 0).await?;
    Ok(())
}

#[tokio::test]
async fn a_push_over_http_needs_leave_and_reaches_the_working_copy() -> Result<()> {
    let server = GitServer::start()?;
    let repo = server.create("app")?;
    let first = repo.commit_files("first", &[("a.yaml", "a: 1\n")])?;
    let push = || repo.git(&["push", "--quiet", repo.url(), "HEAD:refs/heads/other"]);
    assert!(push().is_err());
    server.allow_push("app");
    push()?;
    assert!(
        repo.git(&["ls-remote", repo.url(), "refs/heads/other"])?
            .starts_with(&first)
    );
    Ok(())
}

#[tokio::test]
async fn the_api_server_comes_back_after_a_kill_with_its_data_and_stops_in_good_order() -> Result<()> {
    let control_plane = ControlPlane::start(WorkDir::create("test", "restart")?).await?;
    let namespaces: Api<Namespace> = Api::all(control_plane.client().await?);
    let namespace = serde_json::from_value(json!({ "metadata": { "name": "before" } }))?;
    namespaces.create(&PostParams::default(), &namespace).await?;

    control_plane.kill(Part::ApiServer)?;
    assert!(namespaces.get("before").await.is_err());
    control_plane.start_part(Part::ApiServer).await?;
    namespaces.get("before").await?;

    control_plane.pause(Part::ApiServer)?;
    let answer = tokio::time::timeout(Duration::from_millis(300), namespaces.get("before")).await;
    assert!(answer.is_err(), "a paused API server answers: {answer:?}");
    control_plane.resume(Part::ApiServer)?;
    control_plane.ready().await?;

    control_plane.restart(Part::Etcd).await?;
    let again = async || Ok(namespaces.get_opt("before").await?);
    wait::until("the namespace to be read again", again).await?;

    // The controller manager has survived it all, or was started again.
    let namespace = serde_json::from_value(json!({ "metadata": { "name": "after" } }))?;
    namespaces.create(&PostParams::default(), &namespace).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(control_plane.client().await?, "after");
    wait::object(&accounts, "default", "be made", |account| account.is_some()).await?;

    let dir = control_plane.dir().to_path_buf();
    control_plane.stop().await?;
    assert!(!dir.exists());
    Ok(())
}

/// Processes whose command line mentions the directory.
fn processes_of(dir: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(id) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process may end while we look.
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(dir) {
            found.push(id);
        }
    }
    Ok(found)
}

#[tokio::test]
async fn nothing_is_left_behind_when_the_owner_is_killed() -> Result<()> {
    use std::process::Stdio;
    use tokio::io::{AsyncBufReadExt, BufReader};

    let mut owner = tokio::process::Command::new(env!("CARGO_BIN_EXE_cluster"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = owner.stdout.take().ok_or_else(|| anyhow!("no output"))?;
    let dir = BufReader::new(output)
        .lines()
        .next_line()
        .await?
        .context("the cluster did not come up")?;
    assert_eq!(processes_of(&dir)?.len(), 5);
    let api_server = processes_of(&format!("{dir}/apiserver.crt"))?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(api_server[0])?).context("no process")?;
    // A stopped process cannot notice anything by itself.
    rustix::process::kill_process(pid, rustix::process::Signal::STOP)?;
    owner.kill().await?;
    wait::until("all parts to be gone", async || {
        Ok(processes_of(&dir)?.is_empty().then_some(()))
    })
    .await?;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

#[tokio::test]
async fn controllers_are_ready_after_the_start_and_after_being_killed() -> Result<()> {
    let s = Scenario::start("controllers").await?;
    for controller in Controller::ALL {
        let before = s.controllers.id(controller)?;
        s.controllers.kill(controller)?;
        assert!(s.controllers.ended(controller)?);
        s.controllers.start_again(controller).await?;
        assert_ne!(s.controllers.id(controller)?, before);
        assert!(s.controllers.metrics(controller).await?.contains("# TYPE"));
        s.controllers.stop(controller).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_controller_that_ends_at_once_is_told_with_the_end_of_its_log() -> Result<()> {
    let result = Scenario::builder("refused")
        .only(&[Controller::Source])
        .flag(Controller::Source, "--no-such-flag")
        .start()
        .await;
    let error = result.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(
        error.contains("source-controller ended") && error.contains("--no-such-flag"),
        "{error}"
    );
    Ok(())
}
