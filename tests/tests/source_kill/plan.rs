//! When the controller is killed and what is pushed before, from a seed. Pure.

use fastrand::Rng;

/// What it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It receives a pack into the cache.
    Fetch,
    /// It writes an archive.
    Archive,
    /// It has put an archive in its place that the status does not name yet.
    Publish,
    /// It throws out old artifacts.
    Collect,
    /// It removes everything of an object that is being deleted.
    Delete,
    /// Any moment of all that.
    Any,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Fetch,
        Self::Archive,
        Self::Publish,
        Self::Collect,
        Self::Delete,
        Self::Any,
    ];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Archive => "archive",
            Self::Publish => "publish",
            Self::Collect => "collect",
            Self::Delete => "delete",
            Self::Any => "between",
        }
    }
}

/// A kill, and what leads to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When it is killed.
    pub phase: Phase,
    /// How far it is with that, 0 to 1.
    pub depth: f64,
    /// The number of the repository that this is about.
    pub target: usize,
    /// The number of another one that is pushed to as well.
    pub also: Option<usize>,
    /// Whether it is left alone afterwards until all is done; else it is killed again while it still repairs.
    pub comes_right: bool,
}

/// The repositories that this can be about; one more is only pushed to besides.
pub const TARGETS: usize = 3;

/// So many kills; every phase gets its share.
pub fn plan(seed: u64, kills: u64) -> Vec<Step> {
    let mut random = Rng::with_seed(seed);
    let mut phases: Vec<_> = (0..kills)
        .zip(Phase::ALL.iter().cycle())
        .map(|(_, phase)| *phase)
        .collect();
    random.shuffle(&mut phases);
    let last = phases.len().saturating_sub(1);
    let step = |(number, phase): (usize, Phase)| Step {
        phase,
        depth: random.f64(),
        target: random.usize(..TARGETS),
        also: random.bool().then(|| random.usize(..=TARGETS)),
        comes_right: number % 3 == 2 || number == last,
    };
    phases.into_iter().enumerate().map(step).collect()
}

#[test]
fn the_same_seed_gives_the_same_steps_and_every_phase_its_share() {
    let steps = plan(7, 20);
    assert_eq!(steps, plan(7, 20));
    assert_ne!(steps, plan(8, 20));
    for phase in Phase::ALL {
        let share = steps.iter().filter(|step| step.phase == phase).count();
        assert!((3..=4).contains(&share), "{phase:?}: {share}");
    }
    assert!(steps.last().is_some_and(|step| step.comes_right));
}
