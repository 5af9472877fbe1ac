//! The flags that all three controllers share, with Flux's names, defaults and environment variables.
//!
//! Boolean flags take Go's forms: `--flag`, `--flag=true`, `--flag=false`. Durations are Go durations. What a flag
//! does not do yet its help says.

use api::Duration;
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;

/// Flags of the process around the work.
#[derive(Args, Clone, Debug)]
pub struct ProcessArgs {
    /// Address of the Prometheus metrics, for example `:8080`
    #[arg(long, env = "METRICS_ADDR", default_value = ":8080")]
    pub metrics_addr: String,
    /// Address of the probes `/healthz` and `/readyz`
    #[arg(long, default_value = ":9440")]
    pub health_addr: String,
    /// Least severe log lines that are written
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
    /// Form of the log lines
    #[arg(long, value_enum, default_value_t = LogEncoding::Json)]
    pub log_encoding: LogEncoding,
    /// Work only while holding the lease, so that several replicas can run
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub enable_leader_election: Flag,
    /// Give the lease up when ending, so that the next leader starts at once
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true")]
    pub leader_election_release_on_cancel: Flag,
    /// How long others wait before they take over a lease that is not renewed
    #[arg(long, default_value = "35s")]
    pub leader_election_lease_duration: Duration,
    /// How long the leader tries to renew before it gives up
    #[arg(long, default_value = "30s")]
    pub leader_election_renew_deadline: Duration,
    /// Pause between attempts to get or renew the lease
    #[arg(long, default_value = "5s")]
    pub leader_election_retry_period: Duration,
    /// Watch every namespace; otherwise only the one named by RUNTIME_NAMESPACE
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true")]
    pub watch_all_namespaces: Flag,
    /// Labels that make a ConfigMap or Secret wake the objects that refer to it
    #[arg(long, default_value = "reconcile.fluxcd.io/watch=Enabled")]
    pub watch_configs_label_selector: String,
    /// Delay after an object's first failure; doubles with each further one
    #[arg(long, default_value = "750ms")]
    pub min_retry_delay: Duration,
    /// Longest delay after failures
    #[arg(long, default_value = "15m")]
    pub max_retry_delay: Duration,
    /// Requests per second to the API server (no effect yet: the API server's own priority and fairness rules)
    #[arg(long, default_value_t = 50.0)]
    pub kube_api_qps: f32,
    /// Requests in a burst to the API server (no effect yet: the API server's own priority and fairness rules)
    #[arg(long, default_value_t = 300)]
    pub kube_api_burst: u32,
    /// Feature gates as `Name=true,Other=false`
    #[arg(long, default_value = "")]
    pub feature_gates: String,
    /// Tokens that are kept, of cloud providers and GitHub Apps; 0 keeps none (in the source controller; no effect elsewhere)
    #[arg(long, default_value_t = 100)]
    pub token_cache_max_size: u32,
    /// Longest time a token is kept, at most an hour (in the source controller; no effect elsewhere)
    #[arg(long, default_value = "1h")]
    pub token_cache_max_duration: Duration,
}

/// Flags of the controllers that work at intervals.
#[derive(Args, Clone, Debug)]
pub struct IntervalArgs {
    /// Watch only objects with these labels; each selector elects a leader of its own
    #[arg(long, default_value = "")]
    pub watch_label_selector: String,
    /// Pause before a missing dependency is looked at again
    #[arg(long, default_value = "30s")]
    pub requeue_dependency: Duration,
    /// Spread of intervals in percent, so that objects do not all run at once; below 100, 0 turns it off
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..100))]
    pub interval_jitter_percentage: u8,
}

impl IntervalArgs {
    /// An interval, a little longer or shorter; `chance` lies between 0 and 1.
    pub fn jittered(&self, interval: std::time::Duration, chance: f64) -> std::time::Duration {
        let spread = f64::from(self.interval_jitter_percentage) / 100.0 * (2.0 * chance - 1.0);
        interval.mul_f64(1.0 + spread)
    }

    /// An interval with a chance of its own.
    pub fn spread(&self, interval: std::time::Duration) -> std::time::Duration {
        self.jittered(interval, fastrand::f64())
    }
}

/// A Go boolean flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag(pub bool);

impl std::str::FromStr for Flag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Flag(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Flag(false)),
            _ => Err(format!("{text:?} is neither true nor false")),
        }
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Every step
    Trace,
    /// Decisions
    Debug,
    /// What happened
    Info,
    /// What failed
    Error,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogEncoding {
    /// One JSON object per line, with the keys that `flux logs` reads
    Json,
    /// For people
    Console,
}

/// Parses `--feature-gates` against the gates a controller knows with their defaults.
///
/// # Errors
/// An unknown gate or a value that is not a boolean, by name.
pub fn feature_gates(text: &str, known: &[(&'static str, bool)]) -> Result<BTreeMap<&'static str, bool>, String> {
    let mut gates: BTreeMap<_, _> = known.iter().copied().collect();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part
            .split_once('=')
            .ok_or_else(|| format!("feature gate {part:?} has no value: write {part}=true"))?;
        let value: Flag = value
            .trim()
            .parse()
            .map_err(|error| format!("feature gate {name}: {error}"))?;
        let Some((&name, _)) = gates.get_key_value(name.trim()) else {
            let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "feature gate {name:?} is unknown; there are {}",
                names.join(", ")
            ));
        };
        gates.insert(name, value.0);
    }
    Ok(gates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        process: ProcessArgs,
        #[command(flatten)]
        interval: IntervalArgs,
    }

    fn parse(args: &[&str]) -> Result<Cli, String> {
        Cli::try_parse_from(std::iter::once(&"controller").chain(args)).map_err(|error| error.to_string())
    }

    #[test]
    fn booleans_take_the_forms_of_go() {
        assert!(
            parse(&["--enable-leader-election"])
                .unwrap()
                .process
                .enable_leader_election
                .0
        );
        assert!(
            !parse(&["--watch-all-namespaces=false"])
                .unwrap()
                .process
                .watch_all_namespaces
                .0
        );
        assert!(parse(&[]).unwrap().process.watch_all_namespaces.0);
        assert!(parse(&["--watch-all-namespaces=maybe"]).is_err());
    }

    #[test]
    fn jitter_is_a_percentage_below_a_hundred() {
        assert!(parse(&["--interval-jitter-percentage=100"]).is_err());
        let args = parse(&["--interval-jitter-percentage=10"]).unwrap().interval;
        let second = std::time::Duration::from_secs(100);
        assert_eq!(args.jittered(second, 0.0).as_secs(), 90);
        assert_eq!(args.jittered(second, 0.5).as_secs(), 100);
        assert_eq!(args.jittered(second, 1.0).as_secs(), 110);
    }

    #[test]
    fn an_unknown_gate_is_named_with_those_there_are() {
        let known = [("One", false), ("Two", true)];
        assert!(feature_gates("One=true", &known).unwrap()["One"]);
        assert!(feature_gates("", &known).unwrap()["Two"]);
        let error = feature_gates("Three=true", &known).unwrap_err();
        assert!(error.contains("Three") && error.contains("One, Two"), "{error}");
    }
}
