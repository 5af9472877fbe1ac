//! The three controllers as processes, started with Flux's flags and environment on free ports, as many of them as a
//! test wants; they can be killed, paused and restarted. It does not choose what they watch: by default that is one
//! namespace, see [`Options`].

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::checkout;
use crate::port;
use crate::process::{Process, Spec, tail};
use crate::wait;

/// One of the controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Git to artifact.
    Source,
    /// Artifact to cluster.
    Kustomize,
    /// Status to messages.
    Notification,
}

impl Controller {
    /// All three.
    pub const ALL: [Controller; 3] = [Controller::Source, Controller::Kustomize, Controller::Notification];
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Controller::Source => "source-controller",
            Controller::Kustomize => "kustomize-controller",
            Controller::Notification => "notification-controller",
        })
    }
}

/// How to start controllers.
#[derive(Clone, Debug)]
pub struct Options {
    /// The kubeconfig they use.
    pub kubeconfig: PathBuf,
    /// The directory for storage, temporary files and logs.
    pub dir: PathBuf,
    /// `RUNTIME_NAMESPACE`.
    pub namespace: String,
    /// Whether they watch all namespaces or only `namespace`.
    pub all_namespaces: bool,
    /// Which ones to start.
    pub controllers: Vec<Controller>,
    /// More flags for single controllers; they win over those given otherwise.
    pub flags: Vec<(Controller, String)>,
    /// More variables of the environment for single controllers.
    pub variables: Vec<(Controller, String, String)>,
    /// The folder of the binaries. `None`: `SLUICE_BIN_DIR`, else they are built by cargo beside the running program.
    pub bin_dir: Option<PathBuf>,
}

impl Options {
    /// All three controllers, for one namespace.
    pub fn new(kubeconfig: &Path, dir: &Path, namespace: &str) -> Self {
        Self {
            kubeconfig: kubeconfig.to_path_buf(),
            dir: dir.to_path_buf(),
            namespace: namespace.to_owned(),
            all_namespaces: false,
            controllers: Controller::ALL.to_vec(),
            flags: Vec::new(),
            variables: Vec::new(),
            bin_dir: None,
        }
    }
}

/// Running controllers. They end with this value.
#[derive(Debug)]
pub struct Controllers {
    options: Options,
    bin_dir: PathBuf,
    ports: BTreeMap<Controller, Ports>,
    running: Mutex<BTreeMap<Controller, Arc<Process>>>,
}

/// Waits until one of these has ended by itself, and says which.
pub async fn death<C: Borrow<Controllers>>(running: &[(Controller, C)]) -> Error {
    let end = async |(controller, running): &(Controller, C)| match running.borrow().end(*controller).await {
        Ok(()) => anyhow!("the {controller} has ended by itself"),
        Err(error) => error.context(format!("whether the {controller} runs cannot be told")),
    };
    let mut ends: FuturesUnordered<_> = running.iter().map(end).collect();
    match ends.next().await {
        Some(error) => error,
        // Nobody is there who could end.
        None => std::future::pending().await,
    }
}

/// The ports of one controller; they stay the same over restarts.
#[derive(Debug)]
struct Ports {
    metrics: u16,
    health: u16,
    /// The artifact server, or the endpoint for events.
    http: u16,
    /// The receivers' endpoint.
    webhook: u16,
}

impl Controllers {
    /// Starts the controllers and waits until each answers `/readyz`.
    pub async fn start(options: Options) -> Result<Self> {
        crate::use_ring();
        let bin_dir = match &options.bin_dir {
            Some(dir) => dir.clone(),
            None => tokio::task::spawn_blocking(build).await??,
        };
        fs::create_dir_all(options.dir.join("logs"))?;
        let mut ports = BTreeMap::new();
        for controller in &options.controllers {
            ports.insert(
                *controller,
                Ports {
                    metrics: port::free()?,
                    health: port::free()?,
                    http: port::free()?,
                    webhook: port::free()?,
                },
            );
        }
        let this = Self {
            options,
            bin_dir,
            ports,
            running: Mutex::default(),
        };
        let all = this.options.controllers.clone();
        for controller in &all {
            this.launch(*controller)?;
        }
        for controller in &all {
            this.ready(*controller).await?;
        }
        Ok(this)
    }

    /// Kills a controller with SIGKILL and waits until it is gone.
    pub fn kill(&self, controller: Controller) -> Result<()> {
        self.process(controller)?.kill()
    }

    /// Ends a controller with SIGTERM and waits until it is gone.
    pub async fn stop(&self, controller: Controller) -> Result<()> {
        let process = self.process(controller)?;
        process.must_run()?;
        process.stop(GRACE).await.map(|_| ())
    }

    /// Ends all of them with SIGTERM and waits.
    pub async fn stop_all(&self) -> Result<()> {
        let running: Vec<_> = self.lock().values().cloned().collect();
        futures::future::try_join_all(running.iter().map(|process| process.stop(GRACE))).await?;
        Ok(())
    }

    /// Stops a controller with SIGSTOP: it holds its connections and does nothing.
    pub fn pause(&self, controller: Controller) -> Result<()> {
        self.process(controller)?.pause()
    }

    /// Lets a paused controller go on.
    pub fn resume(&self, controller: Controller) -> Result<()> {
        self.process(controller)?.resume()
    }

    /// Starts a controller that has ended, on its old ports and storage, and waits until it is ready.
    pub async fn start_again(&self, controller: Controller) -> Result<()> {
        self.launch(controller)?;
        self.ready(controller).await
    }

    /// Starts a controller that has ended, like [`Controllers::start_again`], without waiting for it.
    pub fn relaunch(&self, controller: Controller) -> Result<()> {
        self.launch(controller)
    }

    /// Kills a controller and starts it again.
    pub async fn restart(&self, controller: Controller) -> Result<()> {
        self.kill(controller)?;
        self.start_again(controller).await
    }

    /// Whether a controller has ended by itself or was ended.
    pub fn ended(&self, controller: Controller) -> Result<bool> {
        Ok(self.process(controller)?.exited()?.is_some())
    }

    /// Waits until a controller has ended, by itself or not.
    pub async fn end(&self, controller: Controller) -> Result<()> {
        self.process(controller)?.end().await.map(|_| ())
    }

    /// The process id of a controller.
    pub fn id(&self, controller: Controller) -> Result<u32> {
        Ok(self.process(controller)?.id())
    }

    /// Waits until a controller answers `/readyz`, or tells how it ended.
    pub async fn ready(&self, controller: Controller) -> Result<()> {
        let process = self.process(controller)?;
        let url = format!("http://127.0.0.1:{}/readyz", self.ports(controller)?.health);
        let what = format!("{controller} to be ready at {url}");
        let probe = async || {
            if process.exited()?.is_some() {
                return Ok(Some(()));
            }
            Ok(get(&url).await?.status().is_success().then_some(()))
        };
        let result = wait::until(&what, probe).await;
        process.must_run()?;
        result.with_context(|| format!("the end of its log:\n{}", tail(process.log(), 20)))
    }

    /// The text of a controller's `/metrics`.
    pub async fn metrics(&self, controller: Controller) -> Result<String> {
        let url = format!("http://127.0.0.1:{}/metrics", self.ports(controller)?.metrics);
        Ok(get(&url).await?.error_for_status()?.text().await?)
    }

    /// How often a controller has dealt with an object since it was started, to the end each time.
    pub async fn reconciles(&self, controller: Controller, kind: &str, namespace: &str, name: &str) -> Result<u64> {
        let metrics = self.metrics(controller).await?;
        let labels =
            [("kind", kind), ("namespace", namespace), ("name", name)].map(|(key, value)| format!("{key}=\"{value}\""));
        let counts = metrics
            .lines()
            .filter(|line| line.starts_with("gotk_reconcile_duration_seconds_count{"));
        let mut of_object = counts.filter(|line| labels.iter().all(|label| line.contains(label)));
        let count = of_object.next().and_then(|line| line.rsplit(' ').next());
        Ok(count.map_or(Ok(0), str::parse)?)
    }

    /// `http://127.0.0.1:PORT` of a controller's `/healthz` and `/readyz`.
    pub fn health_url(&self, controller: Controller) -> Result<String> {
        Ok(format!("http://127.0.0.1:{}", self.ports(controller)?.health))
    }

    /// `http://127.0.0.1:PORT` of the source controller's artifacts.
    pub fn artifacts_url(&self) -> Result<String> {
        Ok(format!("http://127.0.0.1:{}", self.ports(Controller::Source)?.http))
    }

    /// `http://127.0.0.1:PORT` of the notification controller's events endpoint.
    pub fn events_url(&self) -> Result<String> {
        Ok(format!(
            "http://127.0.0.1:{}",
            self.ports(Controller::Notification)?.http
        ))
    }

    /// `http://127.0.0.1:PORT` of the notification controller's receivers; `status.webhookPath` comes behind.
    pub fn receivers_url(&self) -> Result<String> {
        Ok(format!(
            "http://127.0.0.1:{}",
            self.ports(Controller::Notification)?.webhook
        ))
    }

    /// The source controller's storage folder.
    pub fn storage(&self) -> PathBuf {
        self.options.dir.join("storage")
    }

    /// The temporary folder of a controller; what is left in it after work is a leak.
    pub fn temporary(&self, controller: Controller) -> PathBuf {
        self.options.dir.join(format!("tmp-{controller}"))
    }

    /// The log file of a controller.
    pub fn log(&self, controller: Controller) -> PathBuf {
        self.options.dir.join("logs").join(format!("{controller}.log"))
    }

    /// The log files of all of them.
    pub fn logs(&self) -> Vec<PathBuf> {
        self.options
            .controllers
            .iter()
            .map(|controller| self.log(*controller))
            .collect()
    }

    fn launch(&self, controller: Controller) -> Result<()> {
        if let Ok(process) = self.process(controller)
            && process.exited()?.is_none()
        {
            bail!("{controller} runs already");
        }
        let temporary = self.temporary(controller);
        fs::create_dir_all(&temporary)?;
        fs::create_dir_all(self.storage())?;
        let variables = self.options.variables.iter();
        let more = variables
            .filter(|(whose, ..)| *whose == controller)
            .map(|(_, name, value)| (name.into(), value.into()));
        let spec = Spec {
            name: controller.to_string(),
            program: self.bin_dir.join(controller.to_string()),
            args: self.arguments(controller)?.into_iter().map(OsString::from).collect(),
            env: [
                ("KUBECONFIG".into(), self.options.kubeconfig.clone().into()),
                ("RUNTIME_NAMESPACE".into(), self.options.namespace.clone().into()),
                ("TMPDIR".into(), temporary.clone().into()),
                ("HOME".into(), temporary.into()),
            ]
            .into_iter()
            .chain(more)
            .collect(),
            dir: self.options.dir.clone(),
            log: self.log(controller),
        };
        let process = Process::spawn(&spec)?;
        self.lock().insert(controller, Arc::new(process));
        Ok(())
    }

    fn arguments(&self, controller: Controller) -> Result<Vec<String>> {
        let ports = self.ports(controller)?;
        let http = format!("127.0.0.1:{}", ports.http);
        let mut arguments = vec![
            format!("--watch-all-namespaces={}", self.options.all_namespaces),
            format!("--metrics-addr=127.0.0.1:{}", ports.metrics),
            format!("--health-addr=127.0.0.1:{}", ports.health),
        ];
        match controller {
            Controller::Source => arguments.extend([
                format!("--storage-path={}", self.storage().display()),
                format!("--storage-addr={http}"),
                format!("--storage-adv-addr={http}"),
            ]),
            Controller::Kustomize => {}
            Controller::Notification => arguments.extend([
                format!("--events-addr={http}"),
                format!("--receiverAddr=127.0.0.1:{}", ports.webhook),
            ]),
        }
        let more = self.options.flags.iter().filter(|(whose, _)| *whose == controller);
        let more: Vec<_> = more.map(|(_, flag)| flag.clone()).collect();
        // A flag cannot be given twice.
        let name = |flag: &str| flag.split('=').next().map(str::to_owned);
        arguments.retain(|flag| !more.iter().any(|other| name(other) == name(flag)));
        arguments.extend(more);
        Ok(arguments)
    }

    fn ports(&self, controller: Controller) -> Result<&Ports> {
        self.ports
            .get(&controller)
            .ok_or_else(|| anyhow!("{controller} is not among the started ones"))
    }

    fn process(&self, controller: Controller) -> Result<Arc<Process>> {
        self.lock()
            .get(&controller)
            .cloned()
            .ok_or_else(|| anyhow!("{controller} has not been started"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Controller, Arc<Process>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a controller gets to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

async fn get(url: &str) -> Result<reqwest::Response> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()?;
    Ok(client.get(url).send().await?)
}

/// Has cargo build the controllers into the folder of the running program, once per process, unless `SLUICE_BIN_DIR`
/// says where they are. Cargo's own lock keeps several processes apart.
fn build() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(dir) = built.as_ref() {
        return Ok(dir.clone());
    }
    let dir = checkout::bin_dir()?;
    if std::env::var_os(checkout::BIN_DIR).is_none() {
        let profile = match dir.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let target = dir
            .parent()
            .ok_or_else(|| anyhow!("{} is no target folder", dir.display()))?;
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(["build", "--quiet", "--profile", profile, "--target-dir"])
            .arg(target)
            .stdin(Stdio::null());
        for controller in Controller::ALL {
            let name = controller.to_string();
            command.args(["-p", &name, "--bin", &name]);
        }
        // Beside them, what ties them to this process.
        command.args(["-p", "tests", "--bin", "lifeline"]);
        let status = command
            .current_dir(checkout::root())
            .status()
            .context("cannot start cargo to build the controllers")?;
        if !status.success() {
            bail!("cargo could not build the controllers ({status}); its messages are above");
        }
    }
    *built = Some(dir.clone());
    Ok(dir)
}
