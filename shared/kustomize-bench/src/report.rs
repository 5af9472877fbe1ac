//! What was measured, as a table and as JSON.

use serde_json::{Value, json};

use crate::measure::{Cost, End};

/// An input as one contestant built it.
pub struct Row {
    /// The input.
    pub input: &'static str,
    /// How many objects it comes to.
    pub objects: usize,
    /// Who built it.
    pub contestant: String,
    /// What each turn cost.
    pub costs: Vec<Cost>,
    /// How much was printed.
    pub bytes: usize,
    /// Whether it is what ours printed; none for ours.
    pub equal: Option<bool>,
}

/// A build that takes a peer longer than this, in seconds, is to be faster by [`FASTER`].
const WORTH_IT: f64 = 0.020;
/// How many times faster ours is to be.
const FASTER: f64 = 10.0;
/// How many times faster ours is to be on `many`.
const FASTER_ON_MANY: f64 = 100.0;
/// How many times less memory ours is to need.
const SMALLER: f64 = 4.0;

impl Row {
    fn median(&self, of: impl Fn(&Cost) -> f64) -> f64 {
        let mut values: Vec<f64> = self.costs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    }

    fn wall(&self) -> f64 {
        self.median(|cost| cost.wall)
    }

    fn peak(&self) -> f64 {
        self.median(|cost| cost.peak as f64)
    }

    fn end(&self) -> End {
        self.costs.last().map_or(End::Failure, |cost| cost.end)
    }

    /// Whether it is a build that ended well, with the bytes that the others have.
    pub fn is_sound(&self) -> bool {
        match self.end() {
            End::Success => self.equal != Some(false),
            End::Capped => self.equal.is_some(),
            End::Failure => false,
        }
    }
}

/// The line above the blocks.
pub fn head() -> String {
    format!(
        "{:12} {:12} {:>4} {:>10} {:>10} {:>10} {:>10}  {:5} {:>8} {:>8}",
        "input", "contestant", "runs", "wall", "CPU", "peak RSS", "printed", "equal", "faster", "smaller"
    )
}

/// The lines of one input; ours is the first.
pub fn block(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let more = if row.end() == End::Capped { ">" } else { "" };
        let equal = match (row.end(), row.equal) {
            (End::Success, Some(true)) => "yes",
            (End::Success, Some(false)) => "NO",
            (End::Failure, _) => "FAILED",
            _ => "",
        };
        let (mut faster, mut smaller) = (String::new(), String::new());
        if let Some(ours) = rows
            .first()
            .filter(|_| row.equal.is_some() && row.end() != End::Failure)
        {
            let aim = if row.input.starts_with("many") {
                FASTER_ON_MANY
            } else {
                FASTER
            };
            let (time, memory) = (row.wall() / ours.wall(), row.peak() / ours.peak());
            let missed = |is: bool| if is { "!" } else { "" };
            faster = format!("{}{more}{time:.1}×", missed(time < aim && row.wall() > WORTH_IT));
            smaller = format!("{}{memory:.1}×", missed(memory < SMALLER));
        }
        let line = format!(
            "{:12} {:12} {:>4} {:>10} {:>10} {:>10} {:>10}  {equal:5} {faster:>8} {smaller:>8}",
            row.input,
            row.contestant,
            row.costs.len(),
            format!("{more}{}", seconds(row.wall())),
            format!("{more}{}", seconds(row.median(|cost| cost.cpu))),
            megabytes(row.peak()),
            megabytes(row.bytes as f64),
        );
        text += line.trim_end();
        text += "\n";
    }
    text
}

/// How time and memory grow with the size of `many`, by object.
pub fn growth(rows: &[Row]) -> String {
    let mut text = String::new();
    let many = rows
        .iter()
        .filter(|row| row.input.starts_with("many-") && row.end() == End::Success);
    for row in many {
        let each = |value: f64| value / row.objects as f64;
        text += &format!(
            "{:12} {:12} {:8.1} µs {:8.2} kB per object\n",
            row.input,
            row.contestant,
            each(row.wall()) * 1e6,
            each(row.peak()) / 1e3
        );
    }
    text
}

/// Everything as JSON.
pub fn json(rows: &[Row], about: &Value) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "input": row.input,
                "objects": row.objects,
                "contestant": row.contestant,
                "wall": row.wall(),
                "cpu": row.median(|cost| cost.cpu),
                "peak": row.peak(),
                "printed": row.bytes,
                "equal": row.equal,
                "end": row.end(),
                "runs": row.costs,
            })
        })
        .collect();
    json!({ "about": about, "rows": rows })
}

fn seconds(value: f64) -> String {
    if value < 1.0 {
        format!("{:.1} ms", value * 1e3)
    } else {
        format!("{value:.2} s")
    }
}

fn megabytes(value: f64) -> String {
    format!("{:.1} MB", value / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(contestant: &str, walls: &[f64], peak: u64, equal: Option<bool>, end: End) -> Row {
        let cost = |wall: &f64| Cost {
            wall: *wall,
            cpu: *wall,
            peak,
            end,
        };
        Row {
            input: "tree",
            objects: 10,
            contestant: contestant.to_owned(),
            costs: walls.iter().map(cost).collect(),
            bytes: 1_000,
            equal,
        }
    }

    fn check(peer: Row, expected_end: &str) {
        let ours = row("ours", &[0.02, 0.01, 0.5], 10_000_000, None, End::Success);
        let text = block(&[ours, peer]);
        assert!(text.trim_end().ends_with(expected_end), "{text}");
    }

    #[test]
    fn the_median_counts_and_missed_aims_are_marked() {
        check(
            row("peer", &[1.0], 50_000_000, Some(true), End::Success),
            "yes      50.0×     5.0×",
        );
        check(
            row("peer", &[0.1], 20_000_000, Some(true), End::Success),
            "yes      !5.0×    !2.0×",
        );
        check(
            row("peer", &[9.0], 50_000_000, Some(false), End::Capped),
            ">450.0×     5.0×",
        );
        check(
            row("peer", &[0.01], 50_000_000, Some(false), End::Success),
            "NO        0.5×     5.0×",
        );
    }

    #[test]
    fn a_peer_may_be_slow_but_not_different() {
        assert!(row("peer", &[9.0], 1, Some(false), End::Capped).is_sound());
        assert!(!row("peer", &[9.0], 1, Some(false), End::Success).is_sound());
        assert!(!row("ours", &[9.0], 1, None, End::Capped).is_sound());
        assert!(!row("peer", &[9.0], 1, Some(true), End::Failure).is_sound());
    }
}
