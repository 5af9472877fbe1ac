//! What is kept of a Kustomization between two runs: what its last success was made of, and when it is to run again.
//!
//! Small, because a controller has thousands of them: digests, never manifests, and origins only of objects whose health
//! is awaited. Nothing of it survives the process; the
//! first run after a restart builds and verifies everything.

use super::run::Inputs;
use crate::holdings::Trust;
use crate::origins::Origins;
use kustomize::Footprint;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A build, by what went into it.
#[derive(Clone, Debug)]
pub struct Build {
    /// The digest of the artifact.
    pub artifact: String,
    /// The digest of the variables.
    pub variables: u64,
    /// What the build asked of the artifact's files; none when it asked for remote bases too.
    pub footprint: Option<Footprint>,
    /// The digest of the built text.
    pub digest: String,
    /// Where the objects whose health is awaited come from.
    pub origins: Arc<Origins>,
}

/// A Kustomization whose last run went well, or that did well before it failed.
pub struct Settled {
    /// What the run worked from.
    pub inputs: Inputs,
    /// What it built; nothing once something else was built that may have been applied in part.
    pub build: Option<Build>,
    /// When the interval is over.
    pub due: Instant,
    /// How many intervals are left until everything is verified again; 0 until that has gone well.
    pub unverified: u32,
    /// The state of rights that the last verification began with.
    pub rights: u64,
}

impl Settled {
    /// How far what is held can be relied on by a run that starts now. Counts the intervals: the one that is left last
    /// is for a verification, and so is the first after a change of rights, if these matter.
    pub fn trust(&mut self, inputs: &Inputs, now: Instant, rights: Option<u64>) -> Trust {
        if now >= self.due {
            let same = rights.is_none_or(|rights| rights == self.rights);
            self.unverified = if same { self.unverified.saturating_sub(1) } else { 0 };
        }
        match (self.inputs.is_same_wish(inputs), self.unverified) {
            (false, _) | (true, 0) => Trust::Nothing,
            (true, _) if now < self.due => Trust::Truce,
            (true, _) => Trust::Watches,
        }
    }
}

/// A Kustomization that has nothing to do before a time, unless its inputs change.
pub struct Rest {
    /// Its inputs.
    pub inputs: Inputs,
    /// When it began: what drifted before could not be helped.
    pub since: Instant,
    /// When it is over; nothing for one that only other inputs can help.
    pub until: Option<Instant>,
}

/// The rest of one that only a change of its inputs can help.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

impl Rest {
    /// How much of it is left; nothing when it is over.
    pub fn left(&self, inputs: &Inputs, now: Instant) -> Option<Duration> {
        if self.inputs != *inputs {
            return None;
        }
        match self.until {
            None => Some(LONG),
            Some(until) => Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kustomize::Kustomization;
    use api::source::Artifact;
    use kustomize::{MemoryFiles, Recorded};
    use serde_json::{Value, json};

    /// The inputs of a generation that asks with `request` for an artifact of that revision.
    fn inputs(generation: i64, request: &str, revision: &str) -> Inputs {
        let object: Kustomization = from(json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {
                "name": "app", "namespace": "apps", "generation": generation,
                "annotations": { "reconcile.fluxcd.io/requestedAt": request },
            },
            "spec": { "interval": "10m", "prune": true, "sourceRef": { "kind": "GitRepository", "name": "a" } },
        }));
        let artifact: Artifact = from(json!({
            "path": "a", "url": "http://host/a", "revision": revision, "digest": format!("sha256:{revision}"),
            "lastUpdateTime": "2026-01-01T00:00:00Z",
        }));
        Inputs::of(&object, &artifact)
    }

    fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    /// Settled at generation 1 and revision `r1`, due in a minute.
    fn settled(now: Instant, unverified: u32) -> Settled {
        let build = Build {
            artifact: "sha256:r1".to_owned(),
            variables: 0,
            footprint: Some(Recorded::new(&MemoryFiles::default()).footprint()),
            digest: "sha256:built".to_owned(),
            origins: Arc::default(),
        };
        Settled {
            inputs: inputs(1, "", "r1"),
            build: Some(build),
            due: now + MINUTE,
            unverified,
            rights: 0,
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    /// How far a run with these inputs trusts what is held, so many seconds after the success; the verification is five
    /// intervals away.
    #[track_caller]
    fn check(inputs: Inputs, second: u64, expected: Trust) {
        let now = Instant::now();
        let trust = settled(now, 5).trust(&inputs, now + Duration::from_secs(second), None);
        assert_eq!(trust, expected);
    }

    #[test]
    fn another_wish_trusts_nothing() {
        for second in [0, 59, 60, 600] {
            check(inputs(2, "", "r1"), second, Trust::Nothing);
            check(inputs(1, "now", "r1"), second, Trust::Nothing);
            check(inputs(2, "now", "r2"), second, Trust::Nothing);
        }
    }

    #[test]
    fn before_the_interval_is_over_there_is_a_truce_whatever_the_source_offers() {
        for revision in ["r1", "r2"] {
            check(inputs(1, "", revision), 0, Trust::Truce);
            check(inputs(1, "", revision), 59, Trust::Truce);
            check(inputs(1, "", revision), 60, Trust::Watches);
            check(inputs(1, "", revision), 600, Trust::Watches);
        }
    }

    /// How many intervals pass with trust in the watches before one verifies.
    fn trusting(settled: &mut Settled, now: Instant) -> usize {
        let trust = std::iter::repeat_with(|| settled.trust(&inputs(1, "", "r1"), now + MINUTE, None));
        trust.take(100).take_while(|trust| *trust == Trust::Watches).count()
    }

    #[test]
    fn the_last_interval_that_is_left_verifies() {
        let now = Instant::now();
        for (unverified, expected) in [(5, 4), (2, 1), (1, 0), (0, 0)] {
            assert_eq!(trusting(&mut settled(now, unverified), now), expected);
        }
    }

    #[test]
    fn nothing_is_trusted_until_a_verification_has_gone_well() {
        let now = Instant::now();
        let mut settled = settled(now, 1);
        for revision in ["r1", "r2"] {
            assert_eq!(
                settled.trust(&inputs(1, "", revision), now + MINUTE, None),
                Trust::Nothing
            );
            assert_eq!(settled.trust(&inputs(1, "", revision), now, None), Trust::Nothing);
        }
    }

    #[test]
    fn what_runs_before_its_time_does_not_count() {
        let now = Instant::now();
        let mut settled = settled(now, 3);
        for _ in 0..10 {
            assert_eq!(settled.trust(&inputs(1, "", "r2"), now, None), Trust::Truce);
        }
        assert_eq!(trusting(&mut settled, now), 2);
    }

    #[test]
    fn a_rest_is_over_with_its_time_or_with_other_inputs() {
        let now = Instant::now();
        let rest = |until| Rest {
            inputs: inputs(1, "", "r1"),
            since: now,
            until,
        };
        let same = inputs(1, "", "r1");
        let (minute, half) = (rest(Some(now + MINUTE)), MINUTE / 2);
        assert_eq!(minute.left(&same, now + half), Some(half));
        assert_eq!(minute.left(&same, now + MINUTE), None);
        assert_eq!(minute.left(&same, now + MINUTE * 2), None);
        for other in [inputs(2, "", "r1"), inputs(1, "now", "r1"), inputs(1, "", "r2")] {
            assert_eq!(minute.left(&other, now), None);
            assert_eq!(rest(None).left(&other, now), None);
        }
        assert_eq!(rest(None).left(&same, now + MINUTE), Some(LONG));
    }

    #[test]
    fn a_change_of_rights_is_verified_at_the_interval_until_that_went_well() {
        let now = Instant::now();
        let mut settled = settled(now, 5);
        let inputs = inputs(1, "", "r1");
        assert_eq!(settled.trust(&inputs, now, Some(1)), Trust::Truce);
        assert_eq!(settled.trust(&inputs, now + MINUTE, Some(1)), Trust::Nothing);
        assert_eq!(settled.trust(&inputs, now + MINUTE, Some(1)), Trust::Nothing);
        settled.rights = 1;
        settled.unverified = 5;
        assert_eq!(settled.trust(&inputs, now + MINUTE, Some(1)), Trust::Watches);
    }
}
