//! The usual stage of a test: a fresh namespace, controllers that watch it alone, and a Git server. What a test does
//! not need it can leave out; what it needs otherwise it says to the [`Builder`].

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::checkout::WorkDir;
use crate::cluster::Cluster;
use crate::controllers::{Controller, Controllers, Options};
use crate::git_server::GitServer;
use crate::namespace::Namespace;

/// A namespace with its controllers and a Git server. Fields go in this order: first the controllers, so that nobody
/// works in the namespace while it is removed.
#[derive(Debug)]
pub struct Scenario {
    /// The controllers.
    pub controllers: Controllers,
    /// The namespace.
    pub namespace: Namespace,
    /// A Git server without repositories.
    pub git: GitServer,
    /// The cluster.
    pub cluster: Cluster,
    /// The working directory of the controllers.
    pub dir: WorkDir,
}

impl Scenario {
    /// All three controllers with their default flags, for a fresh namespace of the shared control plane.
    pub async fn start(name: &str) -> Result<Self> {
        Self::builder(name).start().await
    }

    /// Says what should be different.
    pub fn builder(name: &str) -> Builder {
        Builder {
            name: name.to_owned(),
            controllers: Controller::ALL.to_vec(),
            flags: Vec::new(),
            variables: Vec::new(),
            own_cluster: false,
            all_namespaces: false,
            kubeconfig: None,
        }
    }

    /// The namespace's name.
    pub fn ns(&self) -> &str {
        self.namespace.name()
    }
}

/// What a scenario is made of.
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    controllers: Vec<Controller>,
    flags: Vec<(Controller, String)>,
    variables: Vec<(Controller, String, String)>,
    own_cluster: bool,
    all_namespaces: bool,
    kubeconfig: Option<PathBuf>,
}

impl Builder {
    /// Starts only these controllers.
    #[must_use]
    pub fn only(mut self, controllers: &[Controller]) -> Self {
        self.controllers = controllers.to_vec();
        self
    }

    /// Gives a controller one more flag (`--name=value`).
    #[must_use]
    pub fn flag(mut self, controller: Controller, flag: &str) -> Self {
        self.flags.push((controller, flag.to_owned()));
        self
    }

    /// Gives a controller one more variable of the environment.
    #[must_use]
    pub fn variable(mut self, controller: Controller, name: &str, value: &str) -> Self {
        self.variables.push((controller, name.to_owned(), value.to_owned()));
        self
    }

    /// Uses a control plane that no other test shares, which may then be harmed.
    #[must_use]
    pub fn own_cluster(mut self) -> Self {
        self.own_cluster = true;
        self
    }

    /// Lets the controllers watch all namespaces. That takes a control plane of one's own, since they would work on
    /// the objects of other tests.
    #[must_use]
    pub fn all_namespaces(mut self) -> Self {
        self.own_cluster = true;
        self.all_namespaces = true;
        self
    }

    /// Lets the controllers reach the API server by this kubeconfig, as through a proxy.
    #[must_use]
    pub fn kubeconfig(mut self, kubeconfig: &Path) -> Self {
        self.kubeconfig = Some(kubeconfig.to_path_buf());
        self
    }

    /// Sets the stage.
    pub async fn start(self) -> Result<Scenario> {
        let cluster = if self.own_cluster {
            Cluster::own(&self.name).await?
        } else {
            Cluster::shared().await?
        };
        let namespace = cluster.namespace(&self.name).await?;
        let dir = WorkDir::create("test", &self.name)?;
        let kubeconfig = self.kubeconfig.as_deref().unwrap_or(cluster.kubeconfig());
        let mut options = Options::new(kubeconfig, dir.path(), namespace.name());
        options.controllers = self.controllers;
        options.flags = self.flags;
        options.variables = self.variables;
        options.all_namespaces = self.all_namespaces;
        let controllers = Controllers::start(options).await?;
        namespace.show_on_failure(controllers.logs());
        Ok(Scenario {
            controllers,
            namespace,
            git: GitServer::start()?,
            cluster,
            dir,
        })
    }
}
