//! The cases, and the groups of them that share a stage because one goes on where the other ended.

mod chain;
mod drift;
mod fleet;
mod large;
mod limit;
mod paths;
mod push;
mod steady;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::report::Row;
use crate::stage::{Contestant, Stage};

/// How large the cases are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Sizes {
    /// A tenth of everything, for trying the bench itself; aims mean nothing then
    Tiny,
    /// Everything but what takes very long
    Small,
    /// Everything
    Full,
}

impl Sizes {
    /// A number of the full size.
    fn of(self, count: usize) -> usize {
        match self {
            Self::Tiny => (count / 10).max(3),
            Self::Small | Self::Full => count,
        }
    }

    /// A duration of the full size.
    fn span(self, span: Duration) -> Duration {
        match self {
            Self::Tiny => span / 4,
            Self::Small | Self::Full => span,
        }
    }
}

/// Something that is measured.
#[derive(Debug)]
pub struct Case {
    /// Its name for `--only`.
    pub name: &'static str,
    /// What is done.
    pub title: &'static str,
    group: Group,
    sizes: Sizes,
}

/// Cases that share a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// A hundred Kustomizations with a path.
    Hundred,
    /// A thousand Kustomizations with a path.
    Thousand,
    /// A thousand Kustomizations with a path each.
    Paths,
    /// Short intervals in which nothing happens.
    Steady,
    /// A single Kustomization.
    Single,
    /// Dependencies.
    Chain,
    /// A Kustomization of 1,000 objects.
    Large,
    /// A Kustomization of 5,000 objects.
    Larger,
    /// Ten thousand Kustomizations.
    TenThousand,
    /// No controllers: 400 objects.
    Limit,
    /// No controllers: 4,000 objects.
    HigherLimit,
}

/// All groups, in the order they run.
const GROUPS: [Group; 11] = [
    Group::Limit,
    Group::Hundred,
    Group::Single,
    Group::Steady,
    Group::Chain,
    Group::HigherLimit,
    Group::Thousand,
    Group::Paths,
    Group::Large,
    Group::Larger,
    Group::TenThousand,
];

const fn case(name: &'static str, group: Group, title: &'static str) -> Case {
    Case {
        name,
        title,
        group,
        sizes: Sizes::Tiny,
    }
}

/// All cases; those of a group in the order they run.
pub const CASES: [Case; 18] = [
    case(
        "limit-400",
        Group::Limit,
        "a bare client dry-runs and applies 400 objects, 20 at a time",
    ),
    case(
        "create-100",
        Group::Hundred,
        "100 Kustomizations of 4 objects each: created, until all are ready",
    ),
    case(
        "noop-100",
        Group::Hundred,
        "requestedAt on 100, nothing changed: until all have handled it",
    ),
    case(
        "push-100",
        Group::Hundred,
        "a push that changes all objects of 100: until all have applied it",
    ),
    case(
        "drift",
        Group::Hundred,
        "a Deployment is scaled: until it is corrected, 50 times",
    ),
    case(
        "push-1",
        Group::Single,
        "a push that changes the 4 objects of one Kustomization, 5 times",
    ),
    case(
        "steady",
        Group::Steady,
        "100 Kustomizations of 20 objects at an interval of 30 s, for 2 minutes",
    ),
    case(
        "chain",
        Group::Chain,
        "100 Kustomizations, each depending on the one before it",
    ),
    case(
        "limit-4000",
        Group::HigherLimit,
        "a bare client dry-runs and applies 4,000 objects, 20 at a time",
    ),
    case(
        "create-1000",
        Group::Thousand,
        "1,000 Kustomizations of 4 objects each: created, until all are ready",
    ),
    case(
        "noop-1000",
        Group::Thousand,
        "requestedAt on 1,000, nothing changed: until all have handled it",
    ),
    case(
        "change-1000",
        Group::Thousand,
        "a commit that changes all objects of 1,000: until all have applied it",
    ),
    case(
        "delete-1000",
        Group::Thousand,
        "1,000 Kustomizations deleted: until all and their objects are gone",
    ),
    case(
        "path-of-1000",
        Group::Paths,
        "a commit that changes one of 1,000 paths: until all have its revision",
    ),
    case(
        "large-1000",
        Group::Large,
        "one Kustomization of 1,000 ConfigMaps: created, until it is ready",
    ),
    case(
        "large-5000",
        Group::Larger,
        "one Kustomization of 5,000 ConfigMaps: created, until it is ready",
    ),
    Case {
        name: "create-10000",
        title: "10,000 Kustomizations of 2 objects each: created, until all are ready",
        group: Group::TenThousand,
        sizes: Sizes::Full,
    },
    Case {
        name: "idle-10000",
        title: "10,000 Kustomizations with nothing to do, for 30 s",
        group: Group::TenThousand,
        sizes: Sizes::Full,
    },
];

/// A case by its name.
pub fn find(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The names of the cases.
    pub cases: Vec<&'static str>,
    /// How large they are.
    pub sizes: Sizes,
}

impl Wanted {
    /// The named cases, or all that the sizes include.
    pub fn new(only: &[String], sizes: Sizes) -> Self {
        let chosen = |case: &&Case| {
            if only.is_empty() {
                case.sizes <= sizes
            } else {
                only.iter().any(|name| name == case.name)
            }
        };
        Self {
            cases: CASES.iter().filter(chosen).map(|case| case.name).collect(),
            sizes,
        }
    }

    /// The groups with a case that is wanted.
    pub fn groups(&self) -> Vec<Group> {
        let wanted = |group: &Group| CASES.iter().any(|case| case.group == *group && self.has(case.name));
        GROUPS.into_iter().filter(wanted).collect()
    }

    /// Whether a case is.
    pub fn has(&self, name: &str) -> bool {
        self.cases.contains(&name)
    }
}

impl Group {
    /// Whether it is measured without controllers.
    pub fn is_limit(self) -> bool {
        matches!(self, Self::Limit | Self::HigherLimit)
    }

    /// The names of its cases.
    pub fn cases(self) -> impl Iterator<Item = &'static str> {
        CASES
            .iter()
            .filter(move |case| case.group == self)
            .map(|case| case.name)
    }

    /// Sets the stage and measures the cases that are wanted. What was measured before an error is in `rows`.
    pub async fn run(self, contestant: &Contestant, wanted: &Wanted, rows: &mut Vec<Row>) -> Result<()> {
        let mut stage = Stage::set((!self.is_limit()).then_some(contestant)).await?;
        let death = stage.death();
        let run = Run {
            stage: &mut stage,
            contestant,
            wanted,
            rows,
        };
        let result = tokio::select! {
            result = self.play(run) => result,
            error = death => Err(error),
        };
        result.map_err(|error| stage.with_logs(&error))
    }

    async fn play(self, run: Run<'_>) -> Result<()> {
        let sizes = run.wanted.sizes;
        match self {
            Self::Hundred => fleet::hundred(run).await,
            Self::Thousand => fleet::thousand(run).await,
            Self::Paths => paths::run(run).await,
            Self::Steady => steady::run(run).await,
            Self::Single => push::single(run).await,
            Self::Chain => chain::run(run).await,
            Self::Large => large::one(run, "large-1000", sizes.of(1000)).await,
            Self::Larger => large::one(run, "large-5000", sizes.of(5000)).await,
            Self::TenThousand => large::many(run).await,
            Self::Limit => limit::run(run, "limit-400", sizes.of(400)).await,
            Self::HigherLimit => limit::run(run, "limit-4000", sizes.of(4000)).await,
        }
    }
}

/// What a group works with.
struct Run<'a> {
    stage: &'a mut Stage,
    contestant: &'a Contestant,
    wanted: &'a Wanted,
    rows: &'a mut Vec<Row>,
}

impl Run<'_> {
    /// Keeps a row if its case is wanted.
    fn keep(&mut self, row: Row) {
        if self.wanted.has(row.case) {
            eprintln!("bench: {}", row.brief());
            self.rows.push(row);
        }
    }

    /// A row of this contestant.
    fn row(&self, case: &'static str, count: usize) -> Row {
        Row::new(case, self.contestant.name(), count)
    }
}

/// How long a case may take with this many Kustomizations.
fn limit(count: usize) -> Duration {
    Duration::from_secs(120) + Duration::from_millis(600) * u32::try_from(count).unwrap_or(u32::MAX)
}
