//! The flags of the notification controller, with Flux's names and defaults.

use api::Duration;
use clap::Parser;
use runtime::args::{Flag, ProcessArgs, feature_gates};
use std::collections::BTreeMap;

/// Tells about what happens to Flux objects, and takes webhooks that ask for a reconcile.
#[derive(Clone, Debug, Parser)]
#[command(name = "notification-controller", version)]
pub struct Args {
    /// Flags of the process around the work.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// Address that third-party controllers post events to
    #[arg(long, default_value = ":9090")]
    pub events_addr: String,
    /// Address that webhooks are received on
    #[arg(long = "receiverAddr", default_value = ":9292")]
    pub receiver_addr: String,
    /// How many objects of a kind are reconciled at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrent: u16,
    /// Pause before a failure that lasts is told again, and before an event that is posted again counts
    #[arg(long, default_value = "5m")]
    pub rate_limit_interval: Duration,
    /// How long a message is tried to be delivered before it is given up
    #[arg(long, default_value = "24h")]
    pub give_up_after: Duration,
    /// Give every path of the HTTP servers metrics of its own
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub export_http_path_metrics: Flag,
    /// Refuse references from one namespace to another
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub no_cross_namespace_refs: Flag,
    /// ServiceAccount for Providers without one; needs the feature gate ObjectLevelWorkloadIdentity (no effect yet:
    /// there are no cloud providers)
    #[arg(long, default_value = "")]
    pub default_service_account: String,
}

/// Reads Secrets from a cache.
pub const CACHE_SECRETS: &str = "CacheSecretsAndConfigMaps";
/// Does not watch Secrets.
pub const DISABLE_CONFIG_WATCHERS: &str = "DisableConfigWatchers";
/// Lets objects name ServiceAccounts.
pub const WORKLOAD_IDENTITY: &str = "ObjectLevelWorkloadIdentity";

impl Args {
    /// The feature gates. `CacheSecretsAndConfigMaps` has no effect: Secrets are read when they are needed.
    ///
    /// # Errors
    /// An unknown gate, or flags that contradict each other.
    pub fn gates(&self) -> Result<BTreeMap<&'static str, bool>, String> {
        let known = [
            (CACHE_SECRETS, false),
            (DISABLE_CONFIG_WATCHERS, false),
            (WORKLOAD_IDENTITY, false),
        ];
        let gates = feature_gates(&self.process.feature_gates, &known)?;
        if !self.default_service_account.is_empty() && !gates[WORKLOAD_IDENTITY] {
            return Err(format!(
                "--default-service-account needs --feature-gates={WORKLOAD_IDENTITY}=true"
            ));
        }
        if self.rate_limit_interval.std().as_secs() == 0 {
            return Err(format!(
                "--rate-limit-interval={} is shorter than a second",
                self.rate_limit_interval
            ));
        }
        Ok(gates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, String> {
        Args::try_parse_from(std::iter::once(&"notification-controller").chain(args)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_arguments_of_the_stock_deployment_are_understood() {
        let args = parse(&[
            "--watch-all-namespaces=true",
            "--log-level=info",
            "--log-encoding=json",
            "--enable-leader-election",
            "--events-addr=:9090",
            "--receiverAddr=:9292",
            "--rate-limit-interval=1m",
            "--no-cross-namespace-refs=true",
            "--export-http-path-metrics",
            "--feature-gates=CacheSecretsAndConfigMaps=true",
        ])
        .unwrap();
        assert_eq!(args.rate_limit_interval, Duration::from_mins(1));
        assert!(args.no_cross_namespace_refs.0 && args.export_http_path_metrics.0);
        assert!(args.gates().unwrap()[CACHE_SECRETS]);
    }

    #[test]
    fn a_default_service_account_needs_its_gate() {
        let with = |more: &[&str]| {
            parse(&[&["--default-service-account=x"], more].concat())
                .unwrap()
                .gates()
        };
        assert!(with(&[]).unwrap_err().contains("ObjectLevelWorkloadIdentity=true"));
        assert!(with(&["--feature-gates=ObjectLevelWorkloadIdentity=true"]).is_ok());
        assert!(parse(&["--rate-limit-interval=1ms"]).unwrap().gates().is_err());
    }
}
