//! The controllers: several processes of each, every one with its own way to the API server. They are killed, paused
//! and started again here, and one that ends by itself is started again, as a kubelet does.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result};
use futures::future::join_all;
use tests::api_proxy::{ApiProxy, Book};
use tests::control_plane::ControlPlane;
use tests::controllers::{Controller, Controllers, Options};
use tests::process::tail;
use tokio::sync::watch;

use crate::account::{Account, lock};
use crate::leaders::Pause;
use crate::plan::Which;
use crate::world::HOME;

/// The timing of the election: short, so that there are many leaders.
const ELECTION: [&str; 4] = [
    "--enable-leader-election",
    "--leader-election-lease-duration=4s",
    "--leader-election-renew-deadline=3s",
    "--leader-election-retry-period=500ms",
];

/// A process.
#[derive(Debug)]
pub struct Replica {
    /// `kustomize-0`.
    pub name: String,
    /// Which controller it runs.
    pub controller: Controller,
    /// Its way to the API server.
    pub proxy: ApiProxy,
    controllers: Controllers,
    /// It is meant to be away.
    held: watch::Sender<bool>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Stopped by us, so many times over.
    pauses: u32,
    /// The times from SIGSTOP to SIGCONT, the last one perhaps open.
    paused: Vec<Pause>,
    /// When the process was started that runs now.
    started: Option<Instant>,
}

impl Replica {
    /// Its log file.
    pub fn log(&self) -> std::path::PathBuf {
        self.controllers.log(self.controller)
    }

    /// Its process id, if it runs.
    pub fn id(&self) -> Option<u32> {
        match self.controllers.ended(self.controller) {
            Ok(false) => self.controllers.id(self.controller).ok(),
            Ok(true) | Err(_) => None,
        }
    }

    /// When it was stopped, and when it went on.
    pub fn paused(&self) -> Vec<Pause> {
        lock(&self.state).paused.clone()
    }

    /// Its processes for the controllers' own addresses.
    pub fn controllers(&self) -> &Controllers {
        &self.controllers
    }

    /// SIGKILL; it stays away until it is released.
    pub fn kill(&self) -> Result<()> {
        let mut state = lock(&self.state);
        self.held.send_replace(true);
        state.pauses = 0;
        close(&mut state);
        self.controllers.kill(self.controller)
    }

    /// Whether the process that runs now was started before that moment.
    fn runs_since(&self, moment: Instant) -> bool {
        lock(&self.state).started.is_none_or(|started| started <= moment)
    }

    /// Lets it run again.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// SIGSTOP.
    pub fn pause(&self) -> Result<()> {
        let mut state = lock(&self.state);
        self.controllers.pause(self.controller)?;
        state.pauses += 1;
        if state.pauses == 1 {
            state.paused.push((Instant::now(), None));
        }
        Ok(())
    }

    /// SIGCONT, when everybody who paused it wants it to go on.
    pub fn resume(&self) {
        let mut state = lock(&self.state);
        state.pauses = state.pauses.saturating_sub(1);
        if state.pauses == 0 {
            // Before the signal: what comes after it is done by a process that goes on.
            close(&mut state);
            // It may have been killed meanwhile.
            let _ = self.controllers.resume(self.controller);
        }
    }

    /// Starts it whenever it should run and does not; never ends.
    async fn tend(&self, account: &Account) {
        let mut held = self.held.subscribe();
        loop {
            if let Err(error) = self.controllers.end(self.controller).await {
                account.violate("processes can be waited for", &format!("{}: {error:#}", self.name));
                return std::future::pending().await;
            }
            // Its sender ends with this replica only.
            drop(held.wait_for(|held| !held).await);
            self.start_again(account);
        }
    }

    fn start_again(&self, account: &Account) {
        let mut state = lock(&self.state);
        if *self.held.borrow() {
            return;
        }
        close(&mut state);
        state.pauses = 0;
        if let Err(error) = self.controllers.relaunch(self.controller) {
            account.violate("processes start", &format!("{}: {error:#}", self.name));
        }
        state.started = Some(Instant::now());
        drop(state);
        account.note(&format!("{} is started again", self.name));
    }
}

fn close(state: &mut State) {
    if let Some((_, end @ None)) = state.paused.last_mut() {
        *end = Some(Instant::now());
    }
}

/// All of them.
#[derive(Debug)]
pub struct Replicas {
    all: Vec<Arc<Replica>>,
    book: Book,
}

impl Replicas {
    /// Starts them: one source controller, whose files are on its own disk, and two of each of the others.
    pub async fn start(
        control_plane: &ControlPlane,
        dir: &Path,
        book: &Book,
        seed: u64,
        artifacts: u16,
    ) -> Result<Self> {
        let mut all = Vec::new();
        let counts = [
            (Controller::Source, 1),
            (Controller::Kustomize, 2),
            (Controller::Notification, 2),
        ];
        for (controller, count) in counts {
            for number in 0..count {
                let name = format!("{}-{number}", short(controller));
                let proxy = ApiProxy::start(control_plane, &name, book, seed ^ (all.len() as u64 + 1))?;
                let mut options = Options::new(proxy.kubeconfig(), &dir.join(&name), HOME);
                options.all_namespaces = true;
                options.controllers = vec![controller];
                let mut flags = vec!["--min-retry-delay=200ms".to_owned(), "--max-retry-delay=5s".to_owned()];
                match controller {
                    Controller::Source => flags.push(format!("--storage-adv-addr=127.0.0.1:{artifacts}")),
                    Controller::Kustomize => {
                        flags.extend(["--requeue-dependency=2s".into(), "--concurrent-ssa=2".into()])
                    }
                    Controller::Notification => {}
                }
                if count > 1 {
                    flags.extend(ELECTION.map(str::to_owned));
                }
                options.flags = flags.into_iter().map(|flag| (controller, flag)).collect();
                let controllers = Controllers::start(options)
                    .await
                    .with_context(|| format!("{name} does not start"))?;
                all.push(Arc::new(Replica {
                    name,
                    controller,
                    proxy,
                    controllers,
                    held: watch::Sender::default(),
                    state: Mutex::default(),
                }));
            }
        }
        Ok(Self {
            all,
            book: book.clone(),
        })
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Replica>] {
        &self.all
    }

    /// One of them, by a number that is cut to how many there are.
    pub fn any(&self, number: u8) -> &Arc<Replica> {
        &self.all[usize::from(number) % self.all.len()]
    }

    /// One of a controller.
    pub fn of(&self, controller: Controller, which: Which) -> &Arc<Replica> {
        let of: Vec<_> = self.all.iter().filter(|it| it.controller == controller).collect();
        let number = match which {
            Which::Any(number) => usize::from(number) % of.len().max(1),
            Which::Leader => {
                let leader = self.book.leader(&lease(controller));
                of.iter()
                    .position(|it| leader.as_ref().is_some_and(|(name, _)| it.name == *name))
                    .unwrap_or_default()
            }
        };
        of.get(number).copied().unwrap_or(&self.all[0])
    }

    /// The controllers that several processes run of which none leads.
    pub fn leaderless(&self) -> Vec<Controller> {
        let leads = |controller: &Controller| {
            let leader = self.book.leader(&lease(*controller));
            leader.is_some_and(|(name, since)| {
                let leads = |it: &&Arc<Replica>| it.name == name && it.id().is_some() && it.runs_since(since);
                self.all.iter().any(|it| leads(&it))
            })
        };
        let elected = [Controller::Kustomize, Controller::Notification];
        elected.into_iter().filter(|controller| !leads(controller)).collect()
    }

    /// Keeps them running; never ends.
    pub async fn tend(&self, account: &Account) {
        join_all(self.all.iter().map(|replica| replica.tend(account))).await;
    }

    /// The end of each log.
    pub fn tails(&self, lines: usize) -> String {
        let tail = |it: &Arc<Replica>| format!("--- {}\n{}\n", it.name, tail(&it.log(), lines));
        self.all.iter().map(tail).collect()
    }
}

/// The Lease of a controller.
pub fn lease(controller: Controller) -> String {
    format!("{controller}-leader-election")
}

fn short(controller: Controller) -> &'static str {
    match controller {
        Controller::Source => "source",
        Controller::Kustomize => "kustomize",
        Controller::Notification => "notification",
    }
}
