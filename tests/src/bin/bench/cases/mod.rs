//! The cases, and the groups of them that share a stage because one goes on where the other ended.

mod chain;
mod drift;
mod fleet;
mod large;
mod limit;
mod paths;
mod push;
mod source;
mod steady;

use std::time::Duration;

use ::tests::controllers::Controller;
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

impl Case {
    /// What it belongs to.
    pub fn suite(&self) -> Suite {
        self.group.suite()
    }
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
    /// A repository of 1,000 files.
    Files1k,
    /// A repository of 10,000 files.
    Files10k,
    /// A repository of 50,000 files.
    Files50k,
    /// A repository of large files.
    Blobs,
    /// A repository with a long history.
    History,
    /// Many GitRepositories of one URL.
    SharedUrl,
}

/// What is measured with the same controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Kustomizations, from Git to the cluster
    Kustomizations,
    /// GitRepositories alone, beside git
    Source,
}

impl Suite {
    /// The controllers that run.
    pub fn controllers(self) -> &'static [Controller] {
        match self {
            Self::Kustomizations => &[Controller::Source, Controller::Kustomize],
            Self::Source => &[Controller::Source],
        }
    }
}

/// All groups, in the order they run.
const GROUPS: [Group; 17] = [
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
    Group::Files1k,
    Group::Files10k,
    Group::Files50k,
    Group::Blobs,
    Group::History,
    Group::SharedUrl,
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
pub const CASES: [Case; 37] = [
    case(
        "limit-400",
        Group::Limit,
        "a bare client dry-runs and applies 400 objects, 20 at a time",
    ),
    case(
        "limit-delete-400",
        Group::Limit,
        "a bare client deletes these 400 objects, 20 at a time",
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
        "limit-delete-4000",
        Group::HigherLimit,
        "a bare client deletes these 4,000 objects, 20 at a time",
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
    case(
        "fetch-1k",
        Group::Files1k,
        "1,000 files: from the GitRepository's creation until it has an artifact",
    ),
    case(
        "commit-1k",
        Group::Files1k,
        "1,000 files: a commit that changes one, until it has an artifact",
    ),
    case(
        "poll-1k",
        Group::Files1k,
        "1,000 files: looks at short intervals that find nothing new",
    ),
    case(
        "fetch-10k",
        Group::Files10k,
        "10,000 files: from the GitRepository's creation until it has an artifact",
    ),
    case(
        "commit-10k",
        Group::Files10k,
        "10,000 files: a commit that changes one, until it has an artifact",
    ),
    case(
        "poll-10k",
        Group::Files10k,
        "10,000 files: looks at short intervals that find nothing new",
    ),
    case(
        "fetch-50k",
        Group::Files50k,
        "50,000 files: from the GitRepository's creation until it has an artifact",
    ),
    case(
        "commit-50k",
        Group::Files50k,
        "50,000 files: a commit that changes one, until it has an artifact",
    ),
    case(
        "poll-50k",
        Group::Files50k,
        "50,000 files: looks at short intervals that find nothing new",
    ),
    case(
        "fetch-blobs",
        Group::Blobs,
        "500 MB in 2,000 files: from the GitRepository's creation until it has an artifact",
    ),
    case(
        "commit-blobs",
        Group::Blobs,
        "500 MB in 2,000 files: a commit that changes one, until it has an artifact",
    ),
    case(
        "fetch-history",
        Group::History,
        "10,000 commits: from the GitRepository's creation until it has an artifact",
    ),
    case(
        "commit-history",
        Group::History,
        "10,000 commits and one more, until it has an artifact",
    ),
    case(
        "create-shared-200",
        Group::SharedUrl,
        "200 GitRepositories of one URL: created, until all have an artifact",
    ),
    case(
        "commit-shared-200",
        Group::SharedUrl,
        "200 GitRepositories of one URL: a commit, until all have its artifact",
    ),
    case(
        "create-shared-1000",
        Group::SharedUrl,
        "800 more GitRepositories of that URL: created, until all have an artifact",
    ),
    case(
        "idle-1000",
        Group::SharedUrl,
        "1,000 GitRepositories with nothing to do, for 30 s",
    ),
];

/// A case by its name; no two suites share a name.
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
    /// The named cases, or all of the suite that the sizes include.
    pub fn new(only: &[String], suite: Suite, sizes: Sizes) -> Self {
        let chosen = |case: &&Case| {
            if only.is_empty() {
                case.group.suite() == suite && case.sizes <= sizes
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
    /// What it belongs to.
    pub fn suite(self) -> Suite {
        match self {
            Self::Hundred
            | Self::Thousand
            | Self::Paths
            | Self::Steady
            | Self::Single
            | Self::Chain
            | Self::Large
            | Self::Larger
            | Self::TenThousand
            | Self::Limit
            | Self::HigherLimit => Suite::Kustomizations,
            Self::Files1k | Self::Files10k | Self::Files50k | Self::Blobs | Self::History | Self::SharedUrl => {
                Suite::Source
            }
        }
    }

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
        let controllers = self.suite().controllers();
        let mut stage = Stage::set((!self.is_limit()).then_some(contestant), controllers).await?;
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
            Self::Limit => limit::run(run, "limit-400", "limit-delete-400", sizes.of(400)).await,
            Self::HigherLimit => limit::run(run, "limit-4000", "limit-delete-4000", sizes.of(4000)).await,
            Self::Files1k => source::repository(run, source::FILES_1K).await,
            Self::Files10k => source::repository(run, source::FILES_10K).await,
            Self::Files50k => source::repository(run, source::FILES_50K).await,
            Self::Blobs => source::repository(run, source::BLOBS).await,
            Self::History => source::repository(run, source::HISTORY).await,
            Self::SharedUrl => source::shared(run).await,
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
