//! The flags of the source controller: Flux's names, defaults and environment variables, and two limits of our own.
//!
//! What a flag does not do yet its help says; it is accepted so that Flux's manifests work as they are.

use std::path::PathBuf;

use api::Duration;
use artifact::Algorithm;
use clap::Parser;
use runtime::args::{IntervalArgs, ProcessArgs};

/// Feature gates that are known, with their defaults.
pub const GATES: [(&str, bool); 2] = [
    ("CacheSecretsAndConfigMaps", false),
    ("ObjectLevelWorkloadIdentity", false),
];

/// Keeps the content of Git repositories available in the cluster.
#[derive(Clone, Debug, Parser)]
#[command(name = "source-controller", version)]
pub struct Args {
    /// Flags of the process.
    #[command(flatten)]
    pub process: ProcessArgs,

    /// Flags of the schedule.
    #[command(flatten)]
    pub interval: IntervalArgs,

    /// Flags about artifacts.
    #[command(flatten)]
    pub artifacts: ArtifactArgs,

    /// Flags about Git.
    #[command(flatten)]
    pub git: GitArgs,

    /// Flags without effect.
    #[command(flatten)]
    pub inert: InertArgs,

    /// Objects that are worked on at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrent: u16,
}

/// Flags about the files that are kept and served.
#[derive(Clone, Debug, clap::Args)]
pub struct ArtifactArgs {
    /// Directory in which artifacts are kept; it must exist
    #[arg(long, env = "STORAGE_PATH", default_value = "/data")]
    pub storage_path: PathBuf,

    /// Address at which artifacts are served
    #[arg(long, env = "STORAGE_ADDRESS", default_value = ":9090")]
    pub storage_addr: String,

    /// Address that consumers find artifacts at; derived from --storage-addr when empty
    #[arg(long, env = "STORAGE_ADV_ADDR", default_value = "")]
    pub storage_adv_addr: String,

    /// How long an artifact is kept once there is a newer one
    #[arg(long, default_value = "1m")]
    pub artifact_retention_ttl: Duration,

    /// Artifacts of an object that are kept at most, the current one included
    #[arg(long, default_value_t = 2)]
    pub artifact_retention_records: usize,

    /// Algorithm of artifact digests: sha1, sha256, sha384 or sha512 (blake3 is not there yet)
    #[arg(long, default_value_t = Algorithm::Sha256)]
    pub artifact_digest_algo: Algorithm,
}

/// Limits on what strangers send, and how it is sent.
#[derive(Clone, Debug, clap::Args)]
pub struct GitArgs {
    /// Largest file of a repository that is archived, in bytes; each is held in memory while it is
    #[arg(long, default_value_t = 100 << 20)]
    pub git_max_file_size: u64,

    /// Most bytes a Git server may send in one operation
    #[arg(long, default_value_t = 4 << 30)]
    pub git_max_transfer_size: u64,

    /// Key exchange algorithms that may be agreed upon over ssh, most wanted first; the usual ones when empty
    #[arg(long, value_delimiter = ',')]
    pub ssh_kex_algos: Vec<String>,

    /// Host key algorithms that may be agreed upon over ssh, most wanted first; the usual ones when empty
    #[arg(long, value_delimiter = ',')]
    pub ssh_hostkey_algos: Vec<String>,
}

/// Flags that are accepted and have no effect yet.
#[derive(Clone, Debug, clap::Args)]
pub struct InertArgs {
    /// Address that events are posted to (no effect: the notification controller reads them from the status)
    #[arg(long, env = "EVENTS_ADDR", default_value = "")]
    pub events_addr: String,

    /// ServiceAccount whose identity is used by default (no effect yet: there are no cloud providers)
    #[arg(long, default_value = "")]
    pub default_service_account: String,

    /// Largest index of a Helm repository (no effect yet: there is no Helm)
    #[arg(long, default_value_t = 50 << 20)]
    pub helm_index_max_size: i64,

    /// Largest Helm chart (no effect yet: there is no Helm)
    #[arg(long, default_value_t = 10 << 20)]
    pub helm_chart_max_size: i64,

    /// Largest file of a Helm chart (no effect yet: there is no Helm)
    #[arg(long, default_value_t = 5 << 20)]
    pub helm_chart_file_max_size: i64,

    /// Helm indexes kept in memory (no effect yet: there is no Helm)
    #[arg(long, default_value_t = 0)]
    pub helm_cache_max_size: i64,

    /// How long a Helm index is kept in memory (no effect yet: there is no Helm)
    #[arg(long, default_value = "15m")]
    pub helm_cache_ttl: Duration,

    /// How often old Helm indexes are thrown out (no effect yet: there is no Helm)
    #[arg(long, default_value = "1m")]
    pub helm_cache_purge_interval: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &str) -> Result<Args, String> {
        let words = std::iter::once("source-controller").chain(args.split_whitespace());
        Args::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_arguments_of_the_manifest_are_understood() {
        let args = parse(
            "--events-addr=http://notification-controller.flux-system.svc.cluster.local./ --watch-all-namespaces=true \
             --log-level=info --log-encoding=json --enable-leader-election --storage-path=/data \
             --storage-adv-addr=source-controller.flux-system.svc.cluster.local.",
        )
        .unwrap();
        assert!(args.process.enable_leader_election.0);
        assert_eq!(args.concurrent, 2);
        assert_eq!(args.artifacts.artifact_retention_ttl.std().as_secs(), 60);
        assert_eq!(args.artifacts.storage_addr, ":9090");
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        assert!(parse("--concurrent=0").is_err());
        let error = parse("--artifact-digest-algo=blake3").unwrap_err();
        assert!(error.contains("unsupported digest algorithm 'blake3'"), "{error}");
        assert!(parse("--no-such-flag").is_err());
    }
}
