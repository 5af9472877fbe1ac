//! What a call takes over from the one before, and what is forgotten: when an object is gone, or somebody else has written
//! its status.

use super::run::Run;
use super::{Kustomizer, Name, Report};
use crate::prune::Owner;
use api::kustomize::Kustomization;
use kube::ResourceExt;
use runtime::controller::Next;

impl Kustomizer {
    /// The report of an object: what a run that is under way has not written yet, or a new one. Where somebody else has
    /// written the status meanwhile the run is over.
    pub(super) fn resume(&self, object: &Kustomization, run: &mut Option<Run>) -> Report {
        let Some(mut draft) = run.as_mut().and_then(|run| run.draft.take()) else {
            return self.ledger.begin(object);
        };
        if !draft.rebase(object) {
            *run = None;
            self.forget_work(&object.uid().unwrap_or_default(), &super::name(object));
        }
        draft
    }

    /// Forgets what was done for an object and what is under way.
    pub(super) fn forget_work(&self, uid: &str, name: &Name) {
        runtime::lock(&self.runs).remove(uid);
        runtime::lock(&self.terminating).remove(uid);
        runtime::lock(&self.rests).remove(uid);
        runtime::lock(&self.settled).remove(uid);
        runtime::lock(&self.interests).remove(uid);
        runtime::lock(&self.watched).forget(name);
        let (namespace, name) = name.clone();
        self.holdings.forget(&Owner { namespace, name });
    }

    /// When to try again what could not be written. If somebody else has written the status, a leader before this one
    /// perhaps, what is known of the object is from before that, and nothing of it counts: as if this process had just
    /// been started.
    pub(super) fn unwritten(&self, object: &Kustomization, report: &Report, error: &kube::Error) -> Next {
        if report.is_overtaken() {
            tracing::info!("the status was written by somebody else meanwhile, will begin anew");
            self.forget_work(&object.uid().unwrap_or_default(), &super::name(object));
        } else {
            tracing::info!(%error, "cannot write the object, will try again");
        }
        Next::retry(error)
    }
}
