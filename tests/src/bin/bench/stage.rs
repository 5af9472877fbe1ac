//! Where a group of cases is played: a control plane of its own, a Git server with one repository, and the two
//! controllers of one of the contestants, each with a user of its own. Nothing is left when it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::tests::checkout::{self, WorkDir};
use ::tests::cluster::Cluster;
use ::tests::control_plane::Part;
use ::tests::controllers::{self, Controller, Controllers, Options};
use ::tests::flux;
use ::tests::git_server::GitServer;
use ::tests::namespace::{Namespace, Object};
use ::tests::proc;
use ::tests::process::tail;
use ::tests::repo::Repo;
use ::tests::wait;
use anyhow::{Context, Error, Result, anyhow};
use api::kustomize::Kustomization;
use api::meta::{Condition, condition, key};
use api::source::GitRepository;
use futures::{StreamExt, TryStreamExt};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::audit::{self, Audit};
use crate::board::Board;
use crate::meter::{Cost, Span, Watched};
use crate::sample::{self, Fleet, NAMESPACE, SOURCE};

/// Git itself in the table.
pub const GIT: &str = "git";
/// The user of the bare client.
pub const BARE_CLIENT: &str = "bare-client";
/// The name under which the bench scales what should be corrected, and makes everything else.
pub const BENCH: &str = "bench";
/// How many requests the bench itself has in flight.
const IN_FLIGHT: usize = 20;

/// Who is measured.
#[derive(Clone, Debug)]
pub enum Contestant {
    /// The controllers of this checkout, with more flags for the kustomize controller.
    Ours {
        /// The flags.
        flags: Vec<String>,
    },
    /// Flux's controllers.
    Flux {
        /// The file of its source controller.
        source: PathBuf,
        /// The file of its kustomize controller, where that is needed.
        kustomize: Option<PathBuf>,
    },
}

impl Contestant {
    /// The name in the table.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ours { .. } => "ours",
            Self::Flux { .. } => "Flux",
        }
    }

    /// Whether it is this checkout.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Ours { .. })
    }

    /// The folder of the binaries, under the names that the harness knows them by.
    fn bin_dir(&self, dir: &Path) -> Result<PathBuf> {
        let Self::Flux { source, kustomize } = self else {
            return checkout::bin_dir();
        };
        let mut files = vec![(Controller::Source, source.as_path())];
        files.extend(kustomize.as_deref().map(|file| (Controller::Kustomize, file)));
        flux::bin_dir(dir, &files)
    }

    fn flags(&self, controller: Controller) -> Vec<(Controller, String)> {
        let mut flags = vec![(controller, "--concurrent=20".to_owned())];
        if let (Self::Ours { flags: more }, Controller::Kustomize) = (self, controller) {
            flags.extend(more.iter().map(|flag| (controller, flag.clone())));
        }
        flags
    }
}

/// Everything that runs for a group of cases. Fields end in this order.
pub struct Stage {
    controllers: Vec<(Controller, Arc<Controllers>)>,
    /// The Kustomizations.
    pub board: Board<Kustomization>,
    /// The GitRepositories.
    pub sources: Board<GitRepository>,
    /// The namespace of everything.
    pub namespace: Namespace,
    /// The repository.
    pub repo: Repo,
    /// The server of the repository.
    pub git: GitServer,
    audit: Audit,
    /// The cluster.
    pub cluster: Cluster,
    dir: WorkDir,
}

impl Stage {
    /// Starts everything, with these controllers of the contestant; without a contestant there are none.
    pub async fn set(contestant: Option<&Contestant>, controllers: &[Controller]) -> Result<Self> {
        let dir = WorkDir::create("bench", contestant.map_or("limit", Contestant::name))?;
        let users = [
            &Controller::Source.to_string(),
            &Controller::Kustomize.to_string(),
            BARE_CLIENT,
        ];
        let plane = dir.path().join("control-plane");
        fs::create_dir_all(&plane)?;
        let flags = audit::flags(&plane, &users)?;
        let cluster = Cluster::own_with_flags(WorkDir::fixed(&plane)?, flags).await?;
        cluster.named_namespace(RUNTIME_NAMESPACE).await?;
        let namespace = cluster.named_namespace(NAMESPACE).await?;
        let board = Board::start(namespace.api()).await?;
        let sources = Board::start(namespace.api()).await?;
        let git = GitServer::start()?;
        let repo = git.create(REPOSITORY)?;
        let marker = cluster.control_plane()?.user(audit::MARKER, Some(ADMINISTRATORS))?;
        let mut stage = Self {
            controllers: Vec::new(),
            board,
            sources,
            namespace,
            repo,
            git,
            audit: Audit::open(&plane, &marker).await?,
            cluster,
            dir,
        };
        if let Some(contestant) = contestant {
            stage.start(contestant, controllers).await?;
            stage.warm_up().await?;
        }
        Ok(stage)
    }

    /// Has the API server take its first Kustomization: for that alone it needs two seconds in a new cluster, whoever
    /// reconciles.
    async fn warm_up(&self) -> Result<()> {
        let mut first = Fleet::new(1).objects()?.remove(0);
        first.metadata.name = Some("first".to_owned());
        first.spec.suspend = true;
        self.kustomizations().create(&PostParams::default(), &first).await?;
        self.namespace.delete::<Kustomization>("first").await?;
        self.namespace.wait_gone::<Kustomization>("first").await?;
        Ok(())
    }

    async fn start(&mut self, contestant: &Contestant, controllers: &[Controller]) -> Result<()> {
        if matches!(contestant, Contestant::Flux { .. }) {
            flux::install_kinds(&self.cluster).await?;
        }
        let bin_dir = contestant.bin_dir(self.dir.path())?;
        for &controller in controllers {
            let user = self
                .cluster
                .control_plane()?
                .user(&controller.to_string(), Some(ADMINISTRATORS))?;
            let mut options = Options::new(&user, &self.dir.path().join("controllers"), RUNTIME_NAMESPACE);
            options.all_namespaces = true;
            options.controllers = vec![controller];
            options.flags = contestant.flags(controller);
            options.bin_dir = Some(bin_dir.clone());
            let running = Controllers::start(options).await?;
            self.controllers.push((controller, Arc::new(running)));
        }
        Ok(())
    }

    /// Commits what was written to the repository, and waits until the source controller has it: now for the first
    /// time.
    pub async fn publish(&self) -> Result<String> {
        let commit = self.repo.commit("What the cases need")?;
        self.namespace
            .apply_yaml(&sample::source(SOURCE, self.repo.url()).to_string())
            .await?;
        self.namespace.wait_ready::<GitRepository>(SOURCE).await?;
        Ok(commit)
    }

    /// Has the source controller look for a new commit at once.
    pub async fn poke(&self) -> Result<()> {
        self.namespace
            .request_reconcile::<GitRepository>(SOURCE)
            .await
            .map(|_| ())
    }

    /// Creates the Kustomizations.
    pub async fn create(&self, fleet: &Fleet) -> Result<()> {
        let api = self.kustomizations();
        let create = async |object: Kustomization| -> Result<()> {
            api.create(&PostParams::default(), &object).await.map(|_| ())?;
            Ok(())
        };
        futures::stream::iter(fleet.objects()?)
            .map(create)
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await
    }

    /// Creates the Kustomizations and waits until all of them are ready.
    pub async fn bring_up(&self, fleet: &Fleet, limit: Duration) -> Result<()> {
        let ready = self.board.expect(fleet.names(), is_ready);
        self.create(fleet).await?;
        ready.within(limit, "all Kustomizations to be ready").await.map(|_| ())
    }

    /// Asks for a reconcile of each object of the kind with this token.
    pub async fn request<K: Object>(&self, names: &[String], token: &str) -> Result<()> {
        let api: Api<K> = self.namespace.api();
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { key::REQUESTED_AT: token } } }));
        let request = async |name: &String| -> Result<()> {
            api.patch(name, &PatchParams::default(), &patch).await.map(|_| ())?;
            Ok(())
        };
        futures::stream::iter(names)
            .map(request)
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await
    }

    /// Deletes each of them, without waiting for their end.
    pub async fn delete(&self, names: &[String]) -> Result<()> {
        let api = self.kustomizations();
        let delete = async |name: &String| -> Result<()> {
            api.delete(name, &DeleteParams::default()).await.map(|_| ())?;
            Ok(())
        };
        futures::stream::iter(names)
            .map(delete)
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await
    }

    /// Begins a span.
    pub fn measure(&self) -> Result<Span> {
        Span::begin(&self.processes()?)
    }

    /// Ends a span at this moment.
    pub async fn cost(&mut self, span: Span) -> Result<Cost> {
        span.end(&mut self.audit).await
    }

    /// Waits until the controllers and the control plane rest, so that what came before does not count; a while at
    /// most.
    pub async fn settle(&self) {
        const PAUSE: Duration = Duration::from_millis(500);
        /// CPU seconds of the controllers, and of the control plane, in a pause.
        const REST: (f64, f64) = (0.03, 0.15);
        let mut before = None;
        let rest = wait::until_every(PAUSE, Duration::from_secs(120), "the controllers to rest", async || {
            let now = self.used()?;
            let before = before.replace(now);
            Ok(before
                .is_some_and(|before| now.0 - before.0 < REST.0 && now.1 - before.1 < REST.1)
                .then_some(()))
        });
        if let Err(error) = rest.await {
            eprintln!("bench: {error}; the next case begins nevertheless");
        }
    }

    /// Comes back when a controller has ended by itself.
    pub fn death(&self) -> impl Future<Output = Error> + use<> {
        let controllers = self.controllers.clone();
        async move { controllers::death(&controllers).await }
    }

    /// The error with the end of the controllers' logs.
    pub fn with_logs(&self, error: &Error) -> Error {
        let logs = self.controllers.iter().flat_map(|(_, running)| running.logs());
        let tails: Vec<String> = logs
            .map(|log| format!("--- the end of {}:\n{}", log.display(), tail(&log, 10)))
            .collect();
        anyhow!("{error:#}\n{}", tails.join("\n"))
    }

    fn used(&self) -> Result<(f64, f64)> {
        let (mut controllers, mut plane) = (0.0, 0.0);
        for process in self.processes()? {
            let seconds = proc::cpu_seconds(process.pid)?;
            match process.name {
                SOURCE_CONTROLLER | KUSTOMIZE_CONTROLLER => controllers += seconds,
                BARE_CLIENT => {}
                _ => plane += seconds,
            }
        }
        Ok((controllers, plane))
    }

    fn processes(&self) -> Result<Vec<Watched>> {
        let mut processes = Vec::new();
        for (controller, running) in &self.controllers {
            let name = match controller {
                Controller::Source => SOURCE_CONTROLLER,
                _ => KUSTOMIZE_CONTROLLER,
            };
            let pid = running
                .id(*controller)
                .with_context(|| format!("{controller} is gone"))?;
            processes.push(Watched { name, pid });
        }
        if self.controllers.is_empty() {
            processes.push(Watched {
                name: BARE_CLIENT,
                pid: std::process::id(),
            });
        }
        let plane = self.cluster.control_plane()?;
        for (name, part) in [("kube-apiserver", Part::ApiServer), ("etcd", Part::Etcd)] {
            processes.push(Watched {
                name,
                pid: plane.id(part)?,
            });
        }
        Ok(processes)
    }

    fn kustomizations(&self) -> Api<Kustomization> {
        self.namespace.api()
    }
}

/// The source controller in the table.
pub const SOURCE_CONTROLLER: &str = "source-controller";
/// The kustomize controller in the table.
pub const KUSTOMIZE_CONTROLLER: &str = "kustomize-controller";
/// The group that may do everything.
pub const ADMINISTRATORS: &str = "system:masters";
const RUNTIME_NAMESPACE: &str = "flux-system";
/// The name of the repository on its server.
pub const REPOSITORY: &str = "bench";

/// Whether a Kustomization is ready in its present generation.
pub fn is_ready(object: Option<&Kustomization>) -> bool {
    let Some(object) = object else { return false };
    let conditions = object.status.as_ref().map(|status| status.conditions.as_slice());
    says_ready(conditions.unwrap_or_default(), object.metadata.generation)
}

/// Whether a GitRepository is ready with an artifact of this commit.
pub fn has_stored(object: Option<&GitRepository>, commit: &str) -> bool {
    let Some((object, status)) = object.and_then(|object| Some((object, object.status.as_ref()?))) else {
        return false;
    };
    let revision = status.artifact.as_ref().map(|artifact| artifact.revision.as_str());
    revision.is_some_and(|revision| revision.ends_with(commit))
        && says_ready(&status.conditions, object.metadata.generation)
}

fn says_ready(conditions: &[Condition], generation: Option<i64>) -> bool {
    conditions.iter().any(|one| {
        one.type_ == condition::READY && one.status == condition::TRUE && one.observed_generation == generation
    })
}

/// Whether a Kustomization is ready with this commit applied.
pub fn is_ready_with(object: Option<&Kustomization>, commit: &str) -> bool {
    let revision = object.and_then(|object| object.status.as_ref()?.last_applied_revision.as_deref());
    revision.is_some_and(|revision| revision.ends_with(commit)) && is_ready(object)
}

/// Whether a Kustomization is ready and has dealt with this request.
pub fn has_handled(object: Option<&Kustomization>, token: &str) -> bool {
    let handled = object.and_then(|object| object.status.as_ref()?.last_handled_reconcile_at.as_deref());
    handled == Some(token) && is_ready(object)
}
