//! What happens in a storm: a list of steps that follows from the seed alone. Pure: which process leads, which object
//! is meant and whether a step is possible at that moment is found out when it is done.

use std::time::Duration;

use ::tests::api_proxy::{Cut, Faults};
use ::tests::controllers::Controller;
use fastrand::Rng;

/// A step, and how long after the one before it is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The pause before it.
    pub after: Duration,
    /// What is done.
    pub action: Action,
}

/// Which replica of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that holds the Lease (or the only one).
    Leader,
    /// One of them, by a number that is cut to how many there are.
    Any(u8),
}

/// Something that is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// SIGKILL, and started again after a pause.
    Kill(Controller, Which, Duration),
    /// SIGTERM: it ends in good order and is started again.
    Stop(Controller, Which),
    /// SIGSTOP, and SIGCONT after a pause.
    Pause(Controller, Which, Duration),
    /// A commit with these edits; the flag says whether the source is asked to look at once.
    Commit(Vec<Edit>, bool),
    /// Somebody changes an object that Git describes; the number chooses which one.
    Drift(Drift, u32),
    /// The ConfigMap with the variables gets another value.
    Vars(u32),
    /// SIGKILL to the API server, which is started again.
    ApiServer,
    /// SIGSTOP to etcd for a while.
    Etcd(Duration),
    /// All watches of one client, or of all (nothing), end.
    Watches(Option<u8>, Cut),
    /// What watches deliver comes late, to one client or to all.
    HoldWatches(Option<u8>, Duration),
    /// All connections of one client are cut.
    Connections(u8),
    /// The API server's answers go wrong for a while.
    Api(Faults, Duration),
    /// The artifact server goes wrong for a while.
    Artifacts(Outage, Duration),
    /// The Git server goes away for a while.
    Git(Duration),
    /// The receiver of messages goes wrong for a while.
    Receiver(Outage, Duration),
    /// The Lease of a controller is deleted.
    LeaseGone(Controller),
    /// Somebody else is written into the Lease of a controller.
    LeaseTaken(Controller),
    /// The times in the Lease of a controller jump by so many hours.
    LeaseSkew(Controller, i64),
    /// A Kustomization is asked to reconcile, with a time that is so many hours off.
    Ask(u32, i64),
    /// A Kustomization is deleted and made again.
    Recreate,
}

/// What is wrong with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// It refuses connections.
    Down,
    /// It answers with this status.
    Status(u16),
    /// It takes its time.
    Slow,
    /// It ends its answers too early.
    Truncated,
}

/// An edit of what Git holds; numbers choose among what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A new object in a Kustomization.
    Add(u32, u32),
    /// Another value.
    Change(u32),
    /// Another value for all objects of the largest Kustomization.
    ChangeMany,
    /// An object goes.
    Remove(u32),
    /// An object goes to another Kustomization.
    Move(u32, u32),
    /// A Kustomization can be built no more.
    Break(u32),
    /// All can be built again.
    Mend,
}

/// How somebody changes an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drift {
    /// Another value (replicas of a Deployment) by an update.
    Value,
    /// Another value by a forced apply.
    Usurp,
    /// A key that Git sets is removed.
    Key,
    /// The owner's labels are removed.
    Labels,
    /// The object is deleted.
    Delete,
    /// The object is deleted and made by somebody else.
    Replace,
    /// The definition of widgets is deleted, and all widgets with it.
    Definition,
    /// A field that Git does not set gets an owner, which is none of our business.
    Neighbour,
}

/// The most milliseconds for which a watch is held back.
pub const HELD: u64 = 6000;

/// The steps of a storm with so many kills; `gap` is the usual pause between two steps.
pub fn storm(rng: &mut Rng, kills: u32, gap: Duration) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut left = kills;
    while left > 0 {
        let action = action(rng);
        let asked = matches!(action, Action::Commit(_, true));
        left -= u32::from(matches!(action, Action::Kill(..)));
        steps.push(Step {
            after: gap.mul_f64(0.3 + 1.4 * rng.f64()),
            action,
        });
        // While what was committed is fetched, applied, pruned or told.
        if asked && left > 0 && rng.u32(..5) < 2 {
            left -= 1;
            steps.push(Step {
                after: between(rng, 20, 900),
                action: Action::Kill(any_controller(rng), Which::Leader, Duration::ZERO),
            });
        }
    }
    steps
}

fn action(rng: &mut Rng) -> Action {
    match rng.u32(0..100) {
        0..36 => kill(rng),
        36..56 => {
            let count = rng.usize(1..4);
            let edits = std::iter::repeat_with(|| edit(rng)).take(count).collect();
            Action::Commit(edits, rng.u32(..4) > 0)
        }
        56..74 => Action::Drift(drift(rng), rng.u32(..)),
        74..76 => Action::Vars(rng.u32(..1000)),
        76 => Action::ApiServer,
        77..79 => Action::Etcd(between(rng, 500, 3000)),
        79..82 => Action::Watches(some_client(rng), cut(rng)),
        82..84 => Action::HoldWatches(some_client(rng), between(rng, 500, HELD)),
        84 => Action::Connections(rng.u8(..)),
        85..89 => Action::Api(faults(rng), between(rng, 1000, 6000)),
        89 => Action::Artifacts(outage(rng), between(rng, 500, 5000)),
        90 => Action::Git(between(rng, 500, 5000)),
        91 => Action::Receiver(outage(rng), between(rng, 500, 5000)),
        92 => Action::Pause(Controller::Source, Which::Leader, between(rng, 500, 5000)),
        // Beyond the Lease, so that another one takes over.
        93..95 => Action::Pause(elected(rng), Which::Leader, between(rng, 1000, 7000)),
        95 => Action::LeaseGone(elected(rng)),
        96 => match rng.bool() {
            true => Action::LeaseTaken(elected(rng)),
            false => Action::LeaseSkew(elected(rng), rng.i64(-48..48)),
        },
        97 => Action::Ask(rng.u32(..), rng.i64(-48..48)),
        98 => Action::Stop(any_controller(rng), Which::Leader),
        _ => Action::Recreate,
    }
}

fn kill(rng: &mut Rng) -> Action {
    let controller = any_controller(rng);
    let which = match rng.bool() {
        true => Which::Leader,
        false => Which::Any(rng.u8(..)),
    };
    let pause = match rng.u32(..10) {
        0..6 => Duration::ZERO,
        6..9 => between(rng, 100, 2000),
        _ => between(rng, 2000, 6000),
    };
    Action::Kill(controller, which, pause)
}

fn any_controller(rng: &mut Rng) -> Controller {
    match rng.u32(..10) {
        0..2 => Controller::Source,
        2..7 => Controller::Kustomize,
        _ => Controller::Notification,
    }
}

fn edit(rng: &mut Rng) -> Edit {
    match rng.u32(0..100) {
        0..25 => Edit::Add(rng.u32(..), rng.u32(..)),
        25..55 => Edit::Change(rng.u32(..)),
        55..60 => Edit::ChangeMany,
        60..78 => Edit::Remove(rng.u32(..)),
        78..88 => Edit::Move(rng.u32(..), rng.u32(..)),
        88..92 => Edit::Break(rng.u32(..)),
        _ => Edit::Mend,
    }
}

fn drift(rng: &mut Rng) -> Drift {
    match rng.u32(0..21) {
        20 => Drift::Definition,
        0..5 => Drift::Value,
        5..7 => Drift::Usurp,
        7..10 => Drift::Key,
        10..13 => Drift::Labels,
        13..16 => Drift::Delete,
        16..18 => Drift::Replace,
        _ => Drift::Neighbour,
    }
}

fn faults(rng: &mut Rng) -> Faults {
    let some = |rng: &mut Rng| if rng.bool() { rng.f64() * 0.15 } else { 0.0 };
    Faults {
        conflict: some(rng),
        throttle: some(rng),
        error: some(rng),
        lost: some(rng),
        unanswered: some(rng),
        slow: some(rng),
        delay: between(rng, 100, 2000),
    }
}

fn outage(rng: &mut Rng) -> Outage {
    match rng.u32(0..5) {
        0 => Outage::Down,
        1 => Outage::Status(500),
        2 => Outage::Status(429),
        3 => Outage::Slow,
        _ => Outage::Truncated,
    }
}

fn cut(rng: &mut Rng) -> Cut {
    match rng.u32(0..3) {
        0 => Cut::End,
        1 => Cut::Break,
        _ => Cut::Expired,
    }
}

fn elected(rng: &mut Rng) -> Controller {
    match rng.u32(0..3) {
        0 => Controller::Notification,
        _ => Controller::Kustomize,
    }
}

fn some_client(rng: &mut Rng) -> Option<u8> {
    rng.bool().then(|| rng.u8(..))
}

fn between(rng: &mut Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(rng.u64(least..most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64) -> Vec<Step> {
        storm(&mut Rng::with_seed(seed), 50, Duration::from_millis(500))
    }

    #[test]
    fn the_same_seed_gives_the_same_storm() {
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn a_storm_has_the_kills_it_was_asked_for() {
        let kills = plan(7)
            .iter()
            .filter(|step| matches!(step.action, Action::Kill(..)))
            .count();
        assert_eq!(kills, 50);
    }
}
