//! A real control plane on loopback: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and kwok with one
//! fake node, started in a working directory on free ports with certificates of its own. It has no network, no real
//! kubelets and no images: pods become ready because kwok says so (see [`POD_BEHAVIOUR`]).
//!
//! What a caller can rely on:
//! - [`ControlPlane::start`] returns when the API server answers `/readyz` and the node is Ready.
//! - No part outlives the owner, however the owner ends (see [`crate::process`]).
//! - Parts can be killed, paused and restarted for fault tests, on the same ports and with the same data; etcd runs
//!   without fsync, so its data survives a killed process but not a power cut.

mod binaries;
mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use crate::checkout::WorkDir;
use crate::kubeconfig::{self, Credentials};
use crate::pki::{self, Authority};
use crate::process::{Process, tail};
use crate::wait;

pub use binaries::{Binaries, build};
pub use parts::Part;
use parts::{Layout, Ports};

/// The environment variable with the working directory of a control plane to use instead of starting one.
pub const SHARED: &str = "SLUICE_CONTROL_PLANE";

/// A label for pods (and pod templates) that chooses what kwok does with them: `hang` leaves them Pending, `fail` makes
/// their containers crash, and the pods of Jobs fail. Other pods become Ready, or Succeeded for Jobs, at once. Taking
/// the label off a hanging pod lets it go on.
pub const POD_BEHAVIOUR: &str = "testing.sluice.dev/pods";

/// A control plane, started by this process or by another one.
#[derive(Debug)]
pub struct ControlPlane {
    dir: PathBuf,
    server: String,
    authority: Authority,
    own: Option<Own>,
}

/// What only the process that started the control plane has.
#[derive(Debug)]
struct Own {
    layout: Layout,
    running: Mutex<BTreeMap<Part, Arc<Process>>>,
    /// The parts that a caller ended and did not start again.
    ended: Mutex<BTreeSet<Part>>,
    // Last, so that the directory goes after the processes.
    _dir: WorkDir,
}

impl ControlPlane {
    /// Builds the control plane if the user's cache does not hold it yet, and starts it in the directory. Data that a
    /// former start left there is used again.
    pub async fn start(dir: WorkDir) -> Result<Self> {
        Self::start_with_flags(dir, Vec::new()).await
    }

    /// [`ControlPlane::start`] with more flags for the API server (`--name=value`), after its own.
    pub async fn start_with_flags(dir: WorkDir, api_server_flags: Vec<String>) -> Result<Self> {
        let binaries = tokio::task::spawn_blocking(build).await??;
        Self::start_with(binaries, dir, api_server_flags).await
    }

    async fn start_with(binaries: Binaries, dir: WorkDir, api_server_flags: Vec<String>) -> Result<Self> {
        crate::use_ring();
        let path = dir.path().to_path_buf();
        let authority = Authority::open(&path, "sluice-control-plane")?;
        let layout = prepare(&path, binaries, api_server_flags, &authority)?;
        let server = layout.server();
        let own = Own {
            layout,
            running: Mutex::default(),
            ended: Mutex::default(),
            _dir: dir,
        };
        let this = Self {
            dir: path,
            server,
            authority,
            own: Some(own),
        };
        this.bring_up().await?;
        Ok(this)
    }

    /// The control plane whose working directory this is, started by another process.
    pub fn attach(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        let server = fs::read_to_string(dir.join(SERVER))
            .with_context(|| format!("no control plane runs in {}", dir.display()))?;
        let authority = Authority::open(&dir, "sluice-control-plane")?;
        Ok(Self {
            dir,
            server,
            authority,
            own: None,
        })
    }

    /// The control plane of this run: the one `SLUICE_CONTROL_PLANE` points to, else one that is started on the first
    /// call and lives as long as the process.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED_CONTROL_PLANE: tokio::sync::OnceCell<ControlPlane> = tokio::sync::OnceCell::const_new();
        SHARED_CONTROL_PLANE
            .get_or_try_init(async || match std::env::var_os(SHARED) {
                Some(dir) => Self::attach(dir),
                None => Self::start(WorkDir::create("test", "control-plane")?).await,
            })
            .await
    }

    /// The working directory: `kubeconfig`, `ca.crt`, `logs/`, etcd's data.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The API server's address, `https://127.0.0.1:PORT`.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The certificate of the authority that signs the API server's certificate and accepts users' ones, PEM.
    pub fn ca(&self) -> &str {
        self.authority.certificate()
    }

    /// The kubeconfig of a cluster administrator (group `system:masters`).
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join(KUBECONFIG)
    }

    /// A client with the administrator's rights, for the calling async runtime.
    pub async fn client(&self) -> Result<Client> {
        kubeconfig::client(&self.kubeconfig(), None).await
    }

    /// The kubeconfig of a user by this name, in this group if one is given; what they may do is up to RBAC.
    pub fn user(&self, name: &str, group: Option<&str>) -> Result<PathBuf> {
        let path = self.kubeconfig_path(name);
        let credentials = Credentials::Certificate(self.authority.client(name, group)?);
        kubeconfig::write(&path, &self.server, self.ca(), name, &credentials)?;
        Ok(path)
    }

    /// The kubeconfig of an existing service account, with a token that is valid for a day.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let spec = TokenRequestSpec {
            expiration_seconds: Some(86_400),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest {
            spec,
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await?;
        let token = answer
            .status
            .ok_or_else(|| anyhow!("the API server gave no token"))?
            .token;
        let user = format!("{namespace}.{name}");
        let path = self.kubeconfig_path(&user);
        kubeconfig::write(&path, &self.server, self.ca(), &user, &Credentials::Token(token))?;
        Ok(path)
    }

    /// Kills a part with SIGKILL and waits until it is gone.
    pub fn kill(&self, part: Part) -> Result<()> {
        self.own()?.ended().insert(part);
        self.process(part)?.kill()
    }

    /// Sends SIGTERM to a part. (An API server whose etcd is gone does not end by that.)
    pub fn terminate(&self, part: Part) -> Result<()> {
        self.own()?.ended().insert(part);
        self.process(part)?.terminate()
    }

    /// Stops a part with SIGSTOP: connections stay open and nobody answers.
    pub fn pause(&self, part: Part) -> Result<()> {
        self.process(part)?.pause()
    }

    /// Lets a paused part go on.
    pub fn resume(&self, part: Part) -> Result<()> {
        self.process(part)?.resume()
    }

    /// Starts a part that has ended. For etcd and the API server it waits until both are ready, and then starts again
    /// those of their clients that could not stand the outage, as a kubelet would.
    pub async fn start_part(&self, part: Part) -> Result<()> {
        self.launch(part)?;
        if matches!(part, Part::Etcd | Part::ApiServer) {
            self.ready().await?;
            let own = self.own()?;
            for client in Part::CLIENTS {
                let died = own
                    .get(client)
                    .map(|process| process.exited())
                    .transpose()?
                    .flatten()
                    .is_some();
                if died && !own.ended().contains(&client) {
                    self.launch(client)?;
                }
            }
        }
        Ok(())
    }

    /// Kills a part and starts it again on the same port and data.
    pub async fn restart(&self, part: Part) -> Result<()> {
        self.kill(part)?;
        self.start_part(part).await
    }

    /// The process id of a part.
    pub fn id(&self, part: Part) -> Result<u32> {
        Ok(self.process(part)?.id())
    }

    /// The log file of a part.
    pub fn log(&self, part: Part) -> PathBuf {
        self.dir.join("logs").join(format!("{part}.log"))
    }

    /// Waits until the API server answers `/readyz` and knows who may do what.
    pub async fn ready(&self) -> Result<()> {
        let client = self.client().await?;
        wait::until("the API server to be ready", async || {
            let answer = client.request_text(http_get("/readyz")?).await;
            // A part that has ended is final; an API server that does not answer may do so soon.
            for part in [Part::Etcd, Part::ApiServer] {
                if let Some(process) = self.own.as_ref().and_then(|own| own.get(part))
                    && let Err(ended) = process.must_run()
                {
                    return Ok(Some(Err(ended)));
                }
            }
            Ok((answer? == "ok").then_some(Ok(())))
        })
        .await??;
        // The rules of RBAC may come a moment later; the controller manager ends when it is refused.
        let manager = kubeconfig::client(&self.dir.join(CONTROLLER_MANAGER), None).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(manager, "kube-system");
        wait::until("the API server to know the rules of RBAC", async || {
            Ok(accounts.get_opt("default").await.map(Some)?)
        })
        .await?;
        Ok(())
    }

    /// Stops every part: the API server before etcd, which it needs to stop, and with SIGKILL what does not end.
    pub async fn stop(self) -> Result<()> {
        let Some(own) = &self.own else {
            bail!("the control plane in {} belongs to another process", self.dir.display())
        };
        let _ = fs::remove_file(self.dir.join(SERVER));
        for group in Part::STOP_ORDER {
            let processes: Vec<_> = group.iter().filter_map(|part| own.get(*part)).collect();
            futures::future::try_join_all(processes.iter().map(|process| process.stop(GRACE))).await?;
        }
        Ok(())
    }

    async fn bring_up(&self) -> Result<()> {
        self.launch(Part::Etcd)?;
        self.launch(Part::ApiServer)?;
        self.ready().await?;
        for part in Part::CLIENTS {
            self.launch(part)?;
        }
        let client = self.client().await?;
        // Its first work tells that the controller manager has come up.
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        wait::object(&accounts, "default", "be made", |account| account.is_some())
            .await
            .with_context(|| {
                format!(
                    "the end of the controller manager's log:\n{}",
                    tail(&self.log(Part::ControllerManager), 20)
                )
            })?;
        let node: Node = serde_json::from_value(json!({
            "metadata": {
                "name": NODE,
                "labels": { "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": NODE },
                "annotations": { "kwok.x-k8s.io/node": "fake" },
            },
            "status": {
                "allocatable": { "cpu": "1k", "memory": "1Ti", "pods": "10k" },
                "capacity": { "cpu": "1k", "memory": "1Ti", "pods": "10k" },
            },
        }))?;
        let nodes: Api<Node> = Api::all(client);
        match nodes.create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            other => other.map(|_| ())?,
        }
        wait::object(&nodes, NODE, "be Ready", |node| node.is_some_and(is_ready))
            .await
            .with_context(|| format!("the end of kwok's log:\n{}", tail(&self.log(Part::Kwok), 20)))?;
        fs::write(self.dir.join(SERVER), &self.server)?;
        Ok(())
    }

    fn launch(&self, part: Part) -> Result<()> {
        let own = self.own()?;
        if let Some(process) = own.get(part)
            && process.exited()?.is_none()
        {
            bail!("{part} runs already");
        }
        let process = Process::spawn(&own.layout.spec(part))?;
        own.lock().insert(part, Arc::new(process));
        own.ended().remove(&part);
        Ok(())
    }

    fn process(&self, part: Part) -> Result<Arc<Process>> {
        self.own()?
            .get(part)
            .ok_or_else(|| anyhow!("{part} has not been started"))
    }

    fn own(&self) -> Result<&Own> {
        self.own.as_ref().ok_or_else(|| {
            anyhow!("this control plane is shared with other tests: take one of your own (`Cluster::own`) to harm it")
        })
    }

    fn kubeconfig_path(&self, user: &str) -> PathBuf {
        let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(6).collect();
        self.dir
            .join(format!("{}-{random}.kubeconfig", user.replace(['/', ':'], ".")))
    }
}

impl Own {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Part, Arc<Process>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, part: Part) -> Option<Arc<Process>> {
        self.lock().get(&part).cloned()
    }

    fn ended(&self) -> std::sync::MutexGuard<'_, BTreeSet<Part>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file whose presence says that the control plane of a directory is up; it holds the API server's address.
const SERVER: &str = "server";
const KUBECONFIG: &str = "kubeconfig";
const CONTROLLER_MANAGER: &str = "controller-manager.kubeconfig";
const NODE: &str = "node-1";
/// What a part gets to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// Writes everything that the parts read: certificates, keys, kubeconfigs, kwok's stages.
fn prepare(dir: &Path, binaries: Binaries, api_server_flags: Vec<String>, authority: &Authority) -> Result<Layout> {
    fs::create_dir_all(dir.join("logs"))?;
    let layout = Layout {
        dir: dir.to_path_buf(),
        binaries,
        ports: Ports::free()?,
        api_server_flags,
    };
    let api_server = authority.server(&["127.0.0.1", "localhost", "kubernetes.default.svc", "10.0.0.1"])?;
    fs::write(dir.join("apiserver.crt"), &api_server.certificate)?;
    pki::write_secret(&dir.join("apiserver.key"), &api_server.key)?;
    if !dir.join("sa.key").exists() {
        let (private, public) = pki::key_pair()?;
        fs::write(dir.join("sa.pub"), public)?;
        pki::write_secret(&dir.join("sa.key"), &private)?;
    }
    let users: [(&str, &str, Option<&str>); 4] = [
        (KUBECONFIG, "admin", Some("system:masters")),
        (CONTROLLER_MANAGER, "system:kube-controller-manager", None),
        ("scheduler.kubeconfig", "system:kube-scheduler", None),
        ("kwok.kubeconfig", "kwok", Some("system:masters")),
    ];
    for (file, user, group) in users {
        let credentials = Credentials::Certificate(authority.client(user, group)?);
        kubeconfig::write(
            &dir.join(file),
            &layout.server(),
            authority.certificate(),
            user,
            &credentials,
        )?;
    }
    fs::write(dir.join("stages.yaml"), layout.binaries.stages()?)?;
    Ok(layout)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn http_get(path: &str) -> Result<axum::http::Request<Vec<u8>>> {
    Ok(axum::http::Request::get(path).body(Vec::new())?)
}
