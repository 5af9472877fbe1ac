//! Everything that runs: the cluster, the controllers, the Git server with the sample repository, the receiver of
//! messages. It is set up once and ends with its value.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::tests::checkout::{self, WorkDir};
use ::tests::cluster::Cluster;
use ::tests::controllers::{self, Controller, Controllers, Options};
use ::tests::git_server::GitServer;
use ::tests::namespace::Namespace;
use ::tests::receiver::Receiver;
use ::tests::repo::Repo;
use anyhow::{Context, Result, bail};
use api::event::Event;
use api::kustomize::Kustomization;
use api::meta::{key, reason};
use api::source::GitRepository;
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace as CoreNamespace};
use kube::{Api, ResourceExt};

use crate::account::Account;
use crate::sample::{self, APPS, INFRA, LABEL, NAMESPACE, Origin, ROOT, WEB};
use crate::{Args, clone, install};

/// The last of the ConfigMaps in which the notification controller keeps what was told: it makes them when there is an
/// Alert, and removes them when there is none, in the order of their numbers.
pub const LAST_CURSOR: &str = "notification-cursor-7";

/// What runs. Fields end in this order: the controllers first, the cluster after everything that uses it.
#[derive(Debug)]
pub struct Stage {
    controllers: Vec<(Controller, Controllers)>,
    /// The namespace `flux-system`.
    pub namespace: Namespace,
    /// Who gets the messages.
    pub receiver: Arc<Receiver>,
    /// The sample repository, unless the user has brought one.
    sample: Option<(GitServer, Repo)>,
    /// The cluster.
    pub cluster: Cluster,
    /// Whether the cluster was there before.
    pub foreign: bool,
    /// Where the manifests come from.
    pub origin: Origin,
    dir: WorkDir,
}

impl Stage {
    /// Starts everything and connects the cluster with the repository.
    pub async fn set(args: &Args, account: &Account) -> Result<Self> {
        let bin_dir = checkout::bin_dir()?;
        for controller in Controller::ALL {
            let program = bin_dir.join(controller.to_string());
            if !program.is_file() {
                bail!(
                    "{} is missing: start hack/quickstart, which builds it",
                    program.display()
                );
            }
        }
        let dir = work_dir(args.check)?;
        let (origin, sample) = match (&args.repo, &args.path) {
            (Some(url), Some(path)) => (own_origin(url, path, args.branch.as_deref()).await?, None),
            _ => {
                let (origin, server, repo) = serve_sample()?;
                account.line("git", &format!("the sample repository is served at {}", origin.url));
                (origin, Some((server, repo)))
            }
        };
        let cluster = match &args.kubeconfig {
            Some(file) => existing(file, args.context.as_deref(), dir.path(), sample.is_some(), account).await?,
            None => own(dir.path(), account).await?,
        };
        let foreign = args.kubeconfig.is_some();
        let namespace = cluster.named_namespace(NAMESPACE).await?;
        let controllers = start(&cluster, &bin_dir, dir.path(), foreign).await?;
        for (controller, running) in &controllers {
            account.line(
                "running",
                &format!("{controller}, process {}", running.id(*controller)?),
            );
            namespace.show_on_failure(running.logs());
        }
        let receiver = Arc::new(Receiver::start()?);
        let stage = Self {
            controllers,
            namespace,
            receiver,
            sample,
            cluster,
            foreign,
            origin,
            dir,
        };
        // A visit that was cut short may have left them on their way out.
        stage.wait_unless_staying::<Kustomization>().await?;
        stage.wait_unless_staying::<GitRepository>().await?;
        for object in sample::objects(&stage.origin, &stage.receiver.url("/"))? {
            stage.namespace.apply_yaml(&object.to_string()).await?;
            if object["kind"] == "Alert" {
                // What happens before the Alert is noticed is not told.
                stage
                    .namespace
                    .wait::<ConfigMap>(LAST_CURSOR, "be made by the notification controller", |_| true)
                    .await?;
            }
        }
        account.line(
            "bootstrap",
            &format!("GitRepository, Kustomization, Provider and Alert are in the namespace {NAMESPACE}"),
        );
        Ok(stage)
    }

    async fn wait_unless_staying<K: ::tests::namespace::Object>(&self) -> Result<()> {
        let found = self.namespace.find::<K>(ROOT).await?;
        if found.is_some_and(|object| object.meta().deletion_timestamp.is_some()) {
            self.namespace.wait_gone::<K>(ROOT).await?;
        }
        Ok(())
    }

    /// Whether the repository is the sample.
    pub fn is_sample(&self) -> bool {
        self.sample.is_some()
    }

    /// The folder of the logs.
    pub fn logs(&self) -> PathBuf {
        self.dir.path().join("controllers/logs")
    }

    /// The kubeconfig for visitors.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// A folder for a clone, which does not exist yet.
    pub fn clone_dir(&self) -> PathBuf {
        self.dir.path().join("clone")
    }

    /// The Kustomizations that make up the bootstrap.
    pub fn kustomizations(&self) -> &'static [&'static str] {
        if self.is_sample() {
            &[ROOT, INFRA, APPS]
        } else {
            &[ROOT]
        }
    }

    /// Waits until everything that was bootstrapped is ready; in a repository of the user's the root is all we know.
    pub async fn bootstrapped(&self) -> Result<()> {
        self.namespace.wait_ready::<GitRepository>(ROOT).await?;
        for name in self.kustomizations() {
            self.namespace.wait_ready::<Kustomization>(name).await?;
        }
        let last = self.kustomizations().last();
        self.receiver
            .wait_for("a message that all of it is applied", |received| {
                received
                    .iter()
                    .find(|request| {
                        serde_json::from_slice::<Event>(&request.body).is_ok_and(|event| {
                            event.reason == reason::RECONCILIATION_SUCCEEDED
                                && last.is_some_and(|last| event.involved_object.name == *last)
                        })
                    })
                    .map(|_| ())
            })
            .await
    }

    /// Stays as long as every controller does.
    pub async fn while_running(&self) -> Result<()> {
        Err(controllers::death(&self.controllers).await)
    }
}

/// The working folder, emptied. A check has one of its own, so that it does not disturb a visit.
fn work_dir(check: bool) -> Result<WorkDir> {
    let name = if check { "quickstart-check" } else { "quickstart" };
    let dir =
        WorkDir::fixed(checkout::root().join(".sluice").join(name)).context("is hack/quickstart running already?")?;
    for part in ["clone", "control-plane", "controllers", "kubeconfig"] {
        let path = dir.path().join(part);
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(dir)
}

async fn own_origin(url: &str, path: &str, branch: Option<&str>) -> Result<Origin> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        bail!("--repo {url}: only http and https are supported yet");
    }
    let branch = match branch {
        Some(branch) => branch.to_owned(),
        None => clone::default_branch(url).await?,
    };
    Ok(Origin {
        url: url.to_owned(),
        branch,
        path: path.to_owned(),
    })
}

fn serve_sample() -> Result<(Origin, GitServer, Repo)> {
    let server = GitServer::start()?;
    let repo = server.create("sample")?;
    for (path, content) in sample::repository()? {
        repo.write(&path, content)?;
    }
    repo.commit("Web server and what it needs")?;
    server.allow_push("sample");
    let origin = Origin {
        url: repo.url().to_owned(),
        branch: ::tests::repo::MAIN.to_owned(),
        path: "./cluster".to_owned(),
    };
    Ok((origin, server, repo))
}

/// A control plane of our own, with all that `config/` holds.
async fn own(dir: &Path, account: &Account) -> Result<Cluster> {
    account.line(
        "starting",
        "etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok",
    );
    let cluster = Cluster::own_in(WorkDir::fixed(dir.join("control-plane"))?).await?;
    fs::copy(cluster.kubeconfig(), dir.join("kubeconfig"))?;
    account.line("cluster", &format!("Kubernetes {} is ready", version(&cluster).await?));
    let count = install::everything(&cluster).await?;
    account.line("installed", &format!("config/default: {count} objects"));
    Ok(cluster)
}

/// The user's cluster, with our CRDs. What would be disturbed by us is not touched.
async fn existing(file: &Path, context: Option<&str>, dir: &Path, sample: bool, account: &Account) -> Result<Cluster> {
    let cluster = Cluster::connect(file, context, dir).await?;
    let version = version(&cluster)
        .await
        .with_context(|| format!("the cluster of {} does not answer", file.display()))?;
    account.line("cluster", &format!("Kubernetes {version} of {}", file.display()));
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), NAMESPACE);
    for controller in Controller::ALL {
        let found = deployments.get_opt(&controller.to_string()).await?;
        let replicas = found
            .and_then(|deployment| deployment.spec?.replicas)
            .unwrap_or_default();
        if replicas > 0 {
            bail!("the cluster already runs a {controller} in {NAMESPACE}: two would work on the same objects");
        }
    }
    cluster.install_crds().await?;
    account.line("installed", "config/crd");
    refuse_foreign::<GitRepository>(&cluster).await?;
    refuse_foreign::<Kustomization>(&cluster).await?;
    if sample {
        let namespaces: Api<CoreNamespace> = Api::all(cluster.client());
        let found = namespaces.get_opt(WEB).await?;
        if found.is_some_and(|namespace| !namespace.labels().contains_key(key::OWNER_NAME)) {
            bail!("the cluster has a namespace {WEB}, which the sample would take over: use --repo and --path");
        }
    }
    Ok(cluster)
}

async fn refuse_foreign<K: ::tests::namespace::Object>(cluster: &Cluster) -> Result<()> {
    let found = Api::<K>::namespaced(cluster.client(), NAMESPACE).get_opt(ROOT).await?;
    if found.is_some_and(|object| object.labels().get(LABEL.0).is_none_or(|value| value != LABEL.1)) {
        bail!(
            "the cluster has a {} {NAMESPACE}/{ROOT} that is not from a quickstart",
            K::kind(&())
        );
    }
    Ok(())
}

async fn version(cluster: &Cluster) -> Result<String> {
    Ok(cluster.client().apiserver_version().await?.git_version)
}

/// Starts the controllers side by side. In our own cluster each has just the rights that `config/rbac` gives to its
/// service account; in the user's they have the user's.
async fn start(cluster: &Cluster, bin_dir: &Path, dir: &Path, foreign: bool) -> Result<Vec<(Controller, Controllers)>> {
    let dir = dir.join("controllers");
    try_join_all(Controller::ALL.map(async |controller| {
        let kubeconfig = if foreign {
            cluster.kubeconfig().to_path_buf()
        } else {
            let user = format!("system:serviceaccount:{NAMESPACE}:{controller}");
            cluster.control_plane()?.user(&user, Some("system:serviceaccounts"))?
        };
        let mut options = Options::new(&kubeconfig, &dir, NAMESPACE);
        options.all_namespaces = !foreign;
        options.controllers = vec![controller];
        options.bin_dir = Some(bin_dir.to_path_buf());
        Ok((controller, Controllers::start(options).await?))
    }))
    .await
}
