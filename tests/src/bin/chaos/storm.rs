//! A storm: the steps of a plan, done one after the other; what lasts goes on beside the next ones and is over when
//! the storm is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tests::api_proxy::Faults;
use tests::control_plane::Part;
use tests::namespace::REQUESTED_AT;
use tests::receiver::Answer;
use tests::wait;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::account::lock;
use crate::leaders::Taken;
use crate::observe::value_of;
use crate::plan::{Action, Drift, Outage, Step};
use crate::replicas::lease;
use crate::stage::Stage;
use crate::world::{APPS, HOME, Key, Kind, MADE, MORTAL, OWNER, OWNER_NAMESPACE};

/// How long one thing that somebody does in the cluster may take; an API server that is away is no reason to wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// What goes on beside the steps.
pub struct Storm {
    stage: Arc<Stage>,
    lasting: JoinSet<()>,
    /// Held by what makes the API server go away: one at a time.
    control_plane: Arc<tokio::sync::Mutex<()>>,
    /// Held while a Kustomization is made again.
    recreating: Arc<tokio::sync::Mutex<()>>,
}

impl Storm {
    /// Nothing happens yet.
    pub fn new(stage: Arc<Stage>) -> Self {
        Self {
            stage,
            lasting: JoinSet::new(),
            control_plane: Arc::default(),
            recreating: Arc::default(),
        }
    }

    /// Does the steps and waits until everything that lasts is over. Then nothing goes wrong any more.
    pub async fn rage(&mut self, steps: Vec<Step>, until: Instant) -> Result<()> {
        for step in steps {
            tokio::time::sleep(step.after).await;
            if Instant::now() > until {
                self.stage.account.note("the time is over");
                break;
            }
            self.stage.account.step(&format!("{:?}", step.action));
            if let Err(error) = self.step(step.action).await {
                self.stage.account.note(&format!("not done: {error:#}"));
            }
            while self.lasting.try_join_next().is_some() {}
        }
        while self.lasting.join_next().await.is_some() {}
        self.stage.account.note("the storm is over");
        Ok(())
    }

    async fn step(&mut self, action: Action) -> Result<()> {
        let stage = Arc::clone(&self.stage);
        match action {
            Action::Kill(controller, which, pause) => {
                let replica = Arc::clone(stage.replicas.of(controller, which));
                stage.account.note(&format!("kill {}", replica.name));
                replica.kill()?;
                stage.account.count("kills", 1);
                if pause.is_zero() {
                    replica.release();
                } else {
                    self.later(pause, move |_| replica.release());
                }
            }
            Action::Stop(controller, which) => {
                let replica = Arc::clone(stage.replicas.of(controller, which));
                stage.account.note(&format!("end {}", replica.name));
                stage.account.count("stops", 1);
                self.lasting.spawn(async move {
                    // It may be killed meanwhile.
                    let _ = replica.controllers().stop(controller).await;
                });
            }
            Action::Pause(controller, which, pause) => {
                let replica = Arc::clone(stage.replicas.of(controller, which));
                stage.account.note(&format!("stop {}", replica.name));
                replica.pause()?;
                stage.account.count("pauses", 1);
                self.later(pause, move |_| replica.resume());
            }
            Action::Commit(edits, ask) => {
                let changed = stage.commit(&edits, "storm")?;
                for source in changed.iter().filter(|_| ask) {
                    stage.request("GitRepository", source, 0).await?;
                }
            }
            Action::Drift(drift, number) => stage.drift(drift, number).await?,
            Action::Vars(tone) => {
                lock(&stage.world).tone = tone;
                stage.in_time(stage.set_tone()).await?;
            }
            Action::ApiServer => {
                let Ok(guard) = Arc::clone(&self.control_plane).try_lock_owned() else {
                    return Err(anyhow!("something else is wrong with the control plane"));
                };
                stage.account.count("API server restarts", 1);
                self.apart(async move |stage| {
                    let restart = async { stage.control_plane()?.restart(Part::ApiServer).await };
                    if let Err(error) = restart.await {
                        stage
                            .account
                            .violate("the API server comes back", &format!("{error:#}"));
                    }
                    stage.account.note("the API server is back");
                    drop(guard);
                });
            }
            Action::Etcd(pause) => {
                let Ok(guard) = Arc::clone(&self.control_plane).try_lock_owned() else {
                    return Err(anyhow!("something else is wrong with the control plane"));
                };
                stage.control_plane()?.pause(Part::Etcd)?;
                stage.account.count("etcd pauses", 1);
                self.later(pause, move |stage| {
                    if let Ok(control_plane) = stage.control_plane() {
                        let _ = control_plane.resume(Part::Etcd);
                    }
                    drop(guard);
                });
            }
            Action::Watches(client, how) => {
                stage.account.count("watch cuts", 1);
                stage.clients(client).for_each(|proxy| proxy.proxy.cut_watches(how));
            }
            Action::HoldWatches(client, pause) => {
                stage.account.count("late watches", 1);
                stage.clients(client).for_each(|proxy| proxy.proxy.hold_watches(pause));
            }
            Action::Connections(client) => {
                stage.account.count("connection cuts", 1);
                stage.replicas.any(client).proxy.cut_connections();
            }
            Action::Api(faults, pause) => {
                stage.account.count("bad API times", 1);
                stage.set_faults(faults);
                self.later(pause, |stage| stage.set_faults(Faults::default()));
            }
            Action::Artifacts(outage, pause) => {
                stage.artifacts.set_outage(Some(outage))?;
                stage.account.count("artifact outages", 1);
                self.later(pause, |stage| {
                    let _ = stage.artifacts.set_outage(None);
                });
            }
            Action::Git(pause) => {
                stage.git.down();
                stage.account.count("Git outages", 1);
                self.later(pause, |stage| {
                    let _ = stage.git.up();
                });
            }
            Action::Receiver(outage, pause) => {
                stage.account.count("receiver outages", 1);
                match outage {
                    Outage::Down => stage.receiver.down(),
                    Outage::Status(code) => stage.receiver.answer_always(Answer::status(code).retry_after(1)),
                    Outage::Slow => stage
                        .receiver
                        .answer_always(Answer::status(200).after(Duration::from_secs(1))),
                    Outage::Truncated => stage.receiver.answer_always(Answer::status(503)),
                }
                self.later(pause, |stage| {
                    stage.receiver.answer_always(Answer::status(200));
                    let _ = stage.receiver.up();
                });
            }
            Action::LeaseGone(controller) => {
                let (leases, name) = (stage.leases(), lease(controller));
                let gone = async { Ok(leases.delete(&name, &DeleteParams::default()).await.map(drop)?) };
                stage.by_force(&name, stage.in_time(gone)).await?;
                stage.account.count("leader changes", 1);
            }
            Action::LeaseTaken(controller) => {
                let (spec, name) = (json!({ "spec": { "holderIdentity": "somebody" } }), lease(controller));
                stage.by_force(&name, stage.patch_lease(&name, spec)).await?;
                stage.account.count("leader changes", 1);
            }
            Action::LeaseSkew(controller, hours) => {
                let time = (Timestamp::now() + SignedDuration::from_hours(hours)).strftime("%Y-%m-%dT%H:%M:%S.000000Z");
                let spec = json!({ "spec": { "renewTime": time.to_string(), "acquireTime": time.to_string() } });
                stage.patch_lease(&lease(controller), spec).await?;
                stage.account.count("clock jumps", 1);
            }
            Action::Ask(number, hours) => {
                let name = {
                    let world = lock(&stage.world);
                    world.kustomizations[number as usize % world.kustomizations.len()]
                        .name
                        .clone()
                };
                stage.request("Kustomization", &name, hours).await?;
                stage.account.count("requests", 1);
            }
            Action::Recreate => {
                let Ok(guard) = Arc::clone(&self.recreating).try_lock_owned() else {
                    return Err(anyhow!("it is being made again already"));
                };
                self.apart(async move |stage| {
                    stage.recreate().await;
                    drop(guard);
                });
            }
        }
        Ok(())
    }

    /// Does something that waits, beside everything else: in a thread of its own, since the waits of the harness stay where
    /// they are polled first.
    fn apart(&mut self, work: impl AsyncFnOnce(&Stage) + Send + 'static) {
        let (stage, runtime) = (Arc::clone(&self.stage), Handle::current());
        self.lasting.spawn_blocking(move || runtime.block_on(work(&stage)));
    }

    /// Does something after a pause, beside everything else.
    fn later(&mut self, pause: Duration, done: impl FnOnce(&Stage) + Send + 'static) {
        let stage = Arc::clone(&self.stage);
        self.lasting.spawn(async move {
            tokio::time::sleep(pause).await;
            done(&stage);
        });
    }
}

impl Stage {
    fn clients(&self, which: Option<u8>) -> impl Iterator<Item = &Arc<crate::replicas::Replica>> {
        let one = which.map(|number| Arc::as_ptr(self.replicas.any(number)));
        self.replicas
            .all()
            .iter()
            .filter(move |it| one.is_none_or(|one| std::ptr::eq(one, Arc::as_ptr(it))))
    }

    /// Sets the faults of every proxy.
    pub fn set_faults(&self, faults: Faults) {
        self.replicas.all().iter().for_each(|it| it.proxy.set_faults(faults));
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::time::timeout(PATIENCE, work)
            .await
            .map_err(|_| anyhow!("no answer in time"))?
    }

    /// Takes note of when a Lease is taken away.
    async fn by_force(&self, lease: &str, work: impl Future<Output = Result<()>>) -> Result<()> {
        let from = Instant::now();
        let done = work.await;
        lock(&self.leases_taken).push(Taken {
            lease: lease.to_owned(),
            from,
            to: Instant::now(),
        });
        done
    }

    async fn patch_lease(&self, name: &str, patch: Value) -> Result<()> {
        let leases = self.leases();
        let parameters = PatchParams::default();
        let patch = Patch::Merge(patch);
        self.in_time(async { Ok(leases.patch(name, &parameters, &patch).await.map(drop)?) })
            .await
    }

    /// Asks for a reconcile, with a time that is so many hours off.
    async fn request(&self, kind: &str, name: &str, hours: i64) -> Result<()> {
        let token = (Timestamp::now() + SignedDuration::from_hours(hours)).to_string();
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { REQUESTED_AT: token } } }));
        let api = self.observer.flux(kind);
        let parameters = PatchParams::default();
        self.in_time(async { Ok(api.patch(name, &parameters, &patch).await.map(drop)?) })
            .await
    }

    /// Somebody changes an object that Git describes.
    async fn drift(&self, drift: Drift, number: u32) -> Result<()> {
        let (owner, key, immutable) = {
            let world = lock(&self.world);
            let (owner, key) = world.pick(number).ok_or_else(|| anyhow!("there is no object"))?;
            let immutable = world.is_immutable(owner, &key);
            (owner, key, immutable)
        };
        self.account.note(&format!("{drift:?} of {key} (k{owner})"));
        self.in_time(self.drift_of(drift, &key, immutable)).await?;
        self.account.count("drifts", 1);
        Ok(())
    }

    /// Changes one object.
    pub async fn drift_of(&self, drift: Drift, key: &Key, immutable: bool) -> Result<()> {
        let api = self.observer.api(key.kind);
        let other = |manager: &str| PatchParams {
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        let changed = match key.kind {
            Kind::ConfigMap => json!({ "data": { "value": "drifted" } }),
            Kind::Deployment => json!({ "spec": { "replicas": 3 } }),
            Kind::Service => json!({ "spec": { "selector": { "app": "drifted" } } }),
            Kind::ServiceAccount => json!({ "metadata": { "labels": { "value": "drifted" } } }),
            Kind::ClusterRole => json!({ "rules": [] }),
            Kind::Definition => json!({ "metadata": { "labels": { "value": "drifted" } } }),
            Kind::Widget => json!({ "spec": { "value": "drifted" } }),
        };
        match drift {
            Drift::Value => {
                api.patch(&key.name, &other("kubectl-edit"), &Patch::Merge(changed))
                    .await?;
            }
            Drift::Usurp => {
                let mut usurped = changed;
                usurped["apiVersion"] = json!(key.kind.api_version());
                usurped["kind"] = json!(key.kind.name());
                api.patch(&key.name, &other("usurper").force(), &Patch::Apply(usurped))
                    .await?;
            }
            Drift::Key => {
                let removed = match key.kind {
                    Kind::ConfigMap => json!({ "data": { "value": null } }),
                    _ => json!({ "metadata": { "labels": { MADE: null } } }),
                };
                api.patch(&key.name, &other("chaos-tool"), &Patch::Merge(removed))
                    .await?;
            }
            Drift::Labels => {
                let removed = json!({ "metadata": { "labels": { OWNER: null, OWNER_NAMESPACE: null } } });
                lock(&self.world).may_stay.insert(key.clone());
                api.patch(&key.name, &other("chaos-tool"), &Patch::Merge(removed))
                    .await?;
            }
            Drift::Definition => {
                let definitions = self.observer.api(Kind::Definition);
                definitions
                    .delete("widgets.chaos.example.test", &DeleteParams::default())
                    .await?;
            }
            Drift::Delete => {
                api.delete(&key.name, &DeleteParams::default()).await?;
            }
            Drift::Replace => {
                let Some(live) = api.get_opt(&key.name).await? else {
                    return Ok(());
                };
                let mut other = value_of(&live);
                other["metadata"] = json!({ "name": key.name, "namespace": live.metadata.namespace });
                if let Some(other) = other.as_object_mut() {
                    other.remove("status");
                }
                if let Some(spec) = other["spec"].as_object_mut() {
                    spec.remove("clusterIP");
                    spec.remove("clusterIPs");
                }
                if key.kind == Kind::ConfigMap {
                    other["data"] = json!({ "value": "somebody else's" });
                }
                let other: DynamicObject = serde_json::from_value(other)?;
                api.delete(&key.name, &DeleteParams::default()).await?;
                // The controller may have been faster.
                let made = api.create(&PostParams::default(), &other).await;
                self.account.note(&format!("made by somebody else: {}", made.is_ok()));
            }
            Drift::Neighbour if key.kind == Kind::ConfigMap && !immutable => {
                let field = json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": key.name, "namespace": APPS },
                    "data": { "neighbour": "stays" },
                });
                // Only what is there gets a neighbour: an apply would make what is gone.
                if api.get_opt(&key.name).await?.is_some() {
                    let object = api.patch(&key.name, &other("neighbour"), &Patch::Apply(field)).await?;
                    self.observer.neighbour(key, &object);
                }
            }
            Drift::Neighbour => {}
        }
        Ok(())
    }

    /// Deletes a Kustomization and makes it again, however long that takes.
    pub async fn recreate(&self) {
        let name = format!("k{MORTAL}");
        let api = self.observer.flux("Kustomization");
        let uid = async || Ok::<_, kube::Error>(api.get_opt(&name).await?.and_then(|it| it.metadata.uid));
        let mut before = None;
        let what = format!("{name} to be gone and made again");
        let pause = Duration::from_millis(200);
        let done = wait::until_every(pause, self.settings.deadline, &what, async || {
            match (&before, uid().await?) {
                (None, Some(now)) => {
                    api.delete(&name, &DeleteParams::default()).await?;
                    self.account.note(&format!("{name} of {HOME} is being deleted"));
                    before = Some(now);
                    Ok(None)
                }
                (Some(before), Some(now)) if *before == now => Ok(None),
                (_, None) => {
                    self.kustomization(MORTAL).await?;
                    self.account.note(&format!("{name} is made again"));
                    self.account.count("Kustomizations made again", 1);
                    Ok(Some(()))
                }
                (Some(_), Some(_)) => Ok(Some(())),
            }
        });
        if let Err(error) = done.await {
            self.account.violate("what is deleted goes", &format!("{error:#}"));
        }
    }
}
