//! What was measured, as a table and as JSON. Nothing is judged here but whether an aim is met.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::audit::{About, Request};
use crate::cases::{CASES, find};
use crate::meter::Cost;
use crate::stage::{BARE_CLIENT, KUSTOMIZE_CONTROLLER, SOURCE_CONTROLLER};

/// A case as one contestant did it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The case.
    pub case: &'static str,
    /// The contestant's name.
    pub contestant: &'static str,
    /// How many there were of what the case has many of.
    pub count: usize,
    figures: Vec<Figure>,
    cost: Option<Cost>,
    note: Option<String>,
}

/// A number.
#[derive(Clone, Debug)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
}

/// What is hoped for: at most so much of a figure.
struct Aim {
    case: &'static str,
    figure: &'static str,
    at_most: f64,
}

const fn aim(case: &'static str, figure: &'static str, at_most: f64) -> Aim {
    Aim { case, figure, at_most }
}

const AIMS: [Aim; 42] = [
    aim("create-100", WALL, 2.5),
    aim("create-100", CPU, 1.3),
    aim("create-100", REQUESTS, 1400.0),
    aim("create-100", PEAK, 40.0),
    aim("create-1000", WALL, 20.0),
    aim("create-1000", CPU, 12.0),
    aim("create-1000", REQUESTS, 13_000.0),
    aim("create-1000", PEAK, 80.0),
    aim("change-1000", WALL, 20.0),
    aim("noop-100", WALL, 1.0),
    aim("noop-100", OBJECT_REQUESTS, 400.0),
    aim("noop-1000", OBJECT_REQUESTS, 4000.0),
    aim("path-of-1000", WALL, 5.0),
    aim("path-of-1000", "objects changed", 4.0),
    aim("path-of-1000", "applies", 4.0),
    aim("steady", CPU, 1.2),
    aim("steady", OBJECT_REQUESTS, 0.0),
    aim("steady", "requests per Kustomization and interval", 1.0),
    aim("drift", "p50", 0.3),
    aim("drift", "p99", 1.0),
    aim("push-1", "p50", 1.0),
    aim("push-1", "max", 1.0),
    aim("push-100", "p50", 3.0),
    aim("push-100", "max", 3.0),
    aim("chain", "per hop", 0.2),
    aim("large-5000", PEAK, 150.0),
    aim("create-10000", PEAK, 1000.0),
    aim("idle-10000", PEAK, 1000.0),
    aim("delete-1000", WALL, 10.0),
    aim("delete-1000", "objects left", 0.0),
    aim("fetch-1k", SOURCE_PEAK, 60.0),
    aim("fetch-10k", SOURCE_PEAK, 60.0),
    aim("fetch-50k", SOURCE_PEAK, 60.0),
    aim("fetch-blobs", SOURCE_PEAK, 60.0),
    aim("fetch-history", SOURCE_PEAK, 60.0),
    aim("commit-50k", SOURCE_PEAK, 60.0),
    aim("commit-blobs", SOURCE_PEAK, 60.0),
    aim("poll-1k", SOURCE_REST, 15.0),
    aim("poll-1k", "API requests about Kustomizations and sources", 0.0),
    aim("commit-shared-200", "fetches", 1.0),
    aim("commit-shared-200", SOURCE_PEAK, 60.0),
    aim("idle-1000", SOURCE_REST, 25.0),
];

const WALL: &str = "wall";
const CPU: &str = "CPU, both controllers";
const PEAK: &str = "peak RSS kustomize-controller";
const SOURCE_PEAK: &str = "peak RSS source-controller";
const SOURCE_REST: &str = "RSS source-controller";
const REQUESTS: &str = "API requests";
const OBJECT_REQUESTS: &str = "API requests about objects";

impl Row {
    /// A row without figures.
    pub fn new(case: &'static str, contestant: &'static str, count: usize) -> Self {
        Self {
            case,
            contestant,
            count,
            figures: Vec::new(),
            cost: None,
            note: None,
        }
    }

    /// With one more figure; the unit is `s`, `ms`, `MB` (a million bytes) or nothing.
    #[must_use]
    pub fn figure(mut self, name: &str, value: f64, unit: &'static str) -> Self {
        self.figures.push(Figure {
            name: name.to_owned(),
            value,
            unit,
        });
        self
    }

    /// With what the span cost.
    #[must_use]
    pub fn costing(mut self, cost: Cost) -> Self {
        self = self.figure(WALL, cost.wall.as_secs_f64(), "s");
        let controllers = [SOURCE_CONTROLLER, KUSTOMIZE_CONTROLLER];
        if cost.processes.iter().any(|used| controllers.contains(&used.name)) {
            let of_controllers = cost.processes.iter().filter(|used| controllers.contains(&used.name));
            let cpu = of_controllers.map(|used| used.cpu).sum();
            self = self.figure(CPU, cpu, "s");
        }
        for used in &cost.processes {
            self = self.figure(&format!("CPU {}", used.name), used.cpu, "s");
        }
        for used in &cost.processes {
            self = self.figure(
                &format!("peak RSS {}", used.name),
                used.resident.peak as f64 / 1e6,
                "MB",
            );
        }
        for used in &cost.processes {
            self = self.figure(&format!("RSS {}", used.name), used.resident.now as f64 / 1e6, "MB");
        }
        let requests = &cost.requests;
        self = self
            .figure(REQUESTS, requests.total() as f64, "")
            .figure(OBJECT_REQUESTS, requests.about(About::Objects) as f64, "")
            .figure(
                "API requests about Kustomizations and sources",
                requests.about(About::Toolkit) as f64,
                "",
            )
            .figure("API requests about Events", requests.about(About::Events) as f64, "")
            .figure("API requests of discovery", requests.about(About::Discovery) as f64, "")
            .figure("watches opened", requests.watches as f64, "");
        for (status, count) in &requests.refused {
            self = self.figure(&format!("answers {status}"), *count as f64, "");
        }
        self.cost = Some(cost);
        self
    }

    /// With something to say instead of figures.
    #[must_use]
    pub fn noting(mut self, note: &str) -> Self {
        self.note = Some(note.to_owned());
        self
    }

    /// In one line.
    pub fn brief(&self) -> String {
        let figures: Vec<String> = self
            .figures
            .iter()
            .filter(|figure| {
                figure.name != BARE_CLIENT && (is_aimed_at(self.case, &figure.name) || figure.name == WALL)
            })
            .map(|figure| format!("{} {}", figure.name, figure.shown()))
            .chain(self.note.clone())
            .collect();
        format!(
            "{} {} ({}): {}",
            self.contestant,
            self.case,
            self.count,
            figures.join(", ")
        )
    }

    fn value(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    fn requests(&self) -> impl Iterator<Item = (&Request, &u64)> {
        self.cost.iter().flat_map(|cost| &cost.requests.counts)
    }

    fn json(&self) -> Value {
        let figures: Map<String, Value> = self
            .figures
            .iter()
            .map(|figure| {
                let unit = if figure.unit.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", figure.unit)
                };
                (format!("{}{unit}", figure.name), json!(figure.value))
            })
            .collect();
        let requests: Vec<Value> = self
            .requests()
            .map(|(request, count)| json!({ "verb": request.verb, "resource": request.resource, "count": count }))
            .collect();
        json!({
            "case": self.case,
            "contestant": self.contestant,
            "count": self.count,
            "figures": figures,
            "requests": requests,
            "note": self.note,
        })
    }
}

impl Figure {
    fn shown(&self) -> String {
        match self.unit {
            "" if self.value.fract() == 0.0 => format!("{}", self.value),
            "" => format!("{:.2}", self.value),
            "MB" => format!("{:.0} MB", self.value),
            "s" if self.value >= 100.0 => format!("{:.0} s", self.value),
            "s" if self.value >= 10.0 => format!("{:.1} s", self.value),
            "s" if self.value >= 1.0 => format!("{:.2} s", self.value),
            unit => format!("{:.3} {unit}", self.value),
        }
    }
}

fn is_aimed_at(case: &str, figure: &str) -> bool {
    AIMS.iter().any(|aim| aim.case == case && aim.figure == figure)
}

/// All rows as JSON, with what else there is to know about the run.
pub fn json(rows: &[Row], about: Value) -> Value {
    let aims: Vec<Value> = AIMS
        .iter()
        .map(|aim| json!({ "case": aim.case, "figure": aim.figure, "atMost": aim.at_most }))
        .collect();
    json!({
        "about": about,
        "aims": aims,
        "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
    })
}

/// Every figure of these cases, a block for each, the requests by verb and resource below.
pub fn blocks(rows: &[Row]) -> String {
    let mut text = String::new();
    for case in &CASES {
        let of_case: Vec<&Row> = rows.iter().filter(|row| row.case == case.name).collect();
        if !of_case.is_empty() {
            text += &block(case.name, &of_case);
        }
    }
    text
}

fn block(case: &str, rows: &[&Row]) -> String {
    let title = find(case).map_or("", |case| case.title);
    let mut lines = vec![Line {
        name: format!("{case}: {title}"),
        aim: String::new(),
        values: Vec::new(),
    }];
    lines.push(Line {
        name: String::new(),
        aim: "aim".to_owned(),
        values: rows.iter().map(|row| row.contestant.to_owned()).collect(),
    });
    // A case that did not end has no number.
    let counts: BTreeSet<usize> = rows.iter().map(|row| row.count).filter(|count| *count > 0).collect();
    if counts.len() > 1 {
        lines.push(Line {
            name: "  how many".to_owned(),
            aim: String::new(),
            values: rows.iter().map(|row| row.count.to_string()).collect(),
        });
    }
    for name in ordered(
        rows.iter()
            .flat_map(|row| row.figures.iter().map(|figure| figure.name.clone())),
    ) {
        lines.push(figure_line(case, &name, rows, &format!("  {name}")));
    }
    for request in ordered(
        rows.iter()
            .flat_map(|row| row.requests().map(|(request, _)| request.clone())),
    ) {
        let count = |row: &&Row| {
            let found = row.requests().find(|(one, _)| **one == request);
            found.map_or("0".to_owned(), |(_, count)| count.to_string())
        };
        lines.push(Line {
            name: format!("    {} {}", request.verb, request.resource),
            aim: String::new(),
            values: rows.iter().map(count).collect(),
        });
    }
    let notes: Vec<String> = rows
        .iter()
        .filter_map(|row| Some(format!("  {}: {}\n", row.contestant, row.note.as_ref()?)))
        .collect();
    format!("{}{}\n", table(&lines), notes.concat())
}

/// The figures that there are aims for, and how long everything took.
pub fn summary(rows: &[Row], contestants: &[&'static str]) -> String {
    let mut lines = vec![Line {
        name: String::new(),
        aim: "aim".to_owned(),
        values: contestants.iter().map(|name| (*name).to_owned()).collect(),
    }];
    for case in &CASES {
        let of_case: Vec<&Row> = contestants
            .iter()
            .filter_map(|name| rows.iter().find(|row| row.case == case.name && row.contestant == *name))
            .collect();
        let names = ordered(
            of_case
                .iter()
                .flat_map(|row| row.figures.iter().map(|figure| figure.name.clone())),
        );
        for name in names {
            if name == WALL || is_aimed_at(case.name, &name) {
                let mut line = figure_line(case.name, &name, &of_case, &format!("{}  {name}", case.name));
                line.values = contestants
                    .iter()
                    .map(|contestant| {
                        let row = of_case.iter().position(|row| row.contestant == *contestant);
                        row.and_then(|at| line.values.get(at).cloned()).unwrap_or_default()
                    })
                    .collect();
                lines.push(line);
            }
        }
    }
    table(&lines)
}

/// A line of a table.
struct Line {
    name: String,
    aim: String,
    values: Vec<String>,
}

fn figure_line(case: &str, name: &str, rows: &[&Row], label: &str) -> Line {
    let aim = AIMS.iter().find(|aim| aim.case == case && aim.figure == name);
    let unit = rows
        .iter()
        .find_map(|row| row.value(name))
        .map_or("", |figure| figure.unit);
    let shown = |row: &&Row| match row.value(name) {
        None if row.note.is_some() => "-".to_owned(),
        None => "0".to_owned(),
        // Aims are ours alone.
        Some(figure) => match aim {
            Some(aim) if row.contestant == "ours" && figure.value > aim.at_most => format!("! {}", figure.shown()),
            _ => figure.shown(),
        },
    };
    let aimed = |aim: &Aim| {
        let value = aim.at_most;
        format!("≤ {value} {unit}").trim_end().to_owned()
    };
    Line {
        name: label.to_owned(),
        aim: aim.map(aimed).unwrap_or_default(),
        values: rows.iter().map(shown).collect(),
    }
}

fn table(lines: &[Line]) -> String {
    // A line of a name alone, a title, may be longer.
    let named = lines.iter().filter(|line| !line.values.is_empty());
    let name = named.map(|line| line.name.chars().count()).max().unwrap_or_default();
    let aim = lines
        .iter()
        .map(|line| line.aim.chars().count())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for line in lines {
        let mut row = format!("{:name$}  {:>aim$}", line.name, line.aim);
        for value in &line.values {
            row += &format!("  {value:>12}");
        }
        text += row.trim_end();
        text += "\n";
    }
    text
}

/// Each once, in the order of their first appearance.
fn ordered<T: Ord + Clone>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    all.filter(|one| seen.insert(one.clone())).collect()
}

/// The time, in seconds, that so many percent of the times do not exceed: the nearest rank.
pub fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100).max(1);
    times.get(rank - 1).map_or(0.0, Duration::as_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(percent: usize, expected: f64) {
        let mut times: Vec<Duration> = (1..=50).rev().map(Duration::from_secs).collect();
        assert_eq!(percentile(&mut times, percent), expected, "p{percent}");
    }

    #[test]
    fn a_percentile_is_one_of_the_times() {
        check(50, 25.0);
        check(99, 50.0);
        check(100, 50.0);
        assert_eq!(percentile(&mut [], 50), 0.0);
    }

    #[test]
    fn a_missed_aim_is_marked_and_the_peer_has_none() {
        let rows = [
            Row::new("drift", "ours", 50).figure("p50", 0.31, "s"),
            Row::new("drift", "Flux", 50).figure("p50", 30.0, "s"),
        ];
        assert_eq!(
            summary(&rows, &["ours", "Flux"]),
            "                aim          ours          Flux\n\
             drift  p50  ≤ 0.3 s     ! 0.310 s        30.0 s\n"
        );
    }

    #[test]
    fn every_aim_is_about_a_case() {
        for aim in &AIMS {
            assert!(find(aim.case).is_some(), "{}", aim.case);
        }
    }
}
