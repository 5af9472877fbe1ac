//! The flags of the source controller: Flux's names, defaults and environment variables, and, for Git, limits and a cache of
//! our own.
//!
//! What a flag does not do yet its help says; it is accepted so that Flux's manifests work as they are.

use std::path::PathBuf;

use api::Duration;
use artifact::Algorithm;
use clap::Parser;
use runtime::args::{IntervalArgs, ProcessArgs, feature_gates};

const WORKLOAD_IDENTITY: &str = "ObjectLevelWorkloadIdentity";

/// Feature gates that are known, with their defaults. The first one has no effect: Secrets are always read when they
/// are needed.
const GATES: [(&str, bool); 2] = [("CacheSecretsAndConfigMaps", false), (WORKLOAD_IDENTITY, false)];

/// The feature gates that decide something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gates {
    /// Objects may be ServiceAccounts in clouds.
    pub workload_identity: bool,
}

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

    /// ServiceAccount that objects with the provider aws, azure or gcp are there if they name none; each namespace
    /// needs its own. Takes the feature gate ObjectLevelWorkloadIdentity
    #[arg(long, default_value = "")]
    pub default_service_account: String,

    /// Flags without effect.
    #[command(flatten)]
    pub inert: InertArgs,

    /// Objects that are worked on at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrent: u16,
}

impl Args {
    /// Reads the feature gates.
    ///
    /// # Errors
    /// An unknown gate, or a flag whose gate is off.
    pub fn gates(&self) -> Result<Gates, String> {
        let gates = feature_gates(&self.process.feature_gates, &GATES)?;
        let workload_identity = gates.get(WORKLOAD_IDENTITY).copied().unwrap_or_default();
        if !self.default_service_account.is_empty() && !workload_identity {
            return Err(format!(
                "cannot set default service accounts when the feature gate {WORKLOAD_IDENTITY} is not enabled: add \
                 --feature-gates={WORKLOAD_IDENTITY}=true, or leave --default-service-account out"
            ));
        }
        Ok(Gates { workload_identity })
    }
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

    /// Algorithm of artifact digests: sha1, sha256, sha384, sha512 or blake3
    #[arg(long, default_value_t = Algorithm::Sha256)]
    pub artifact_digest_algo: Algorithm,
}

/// Limits on what strangers send, and how it is sent.
#[derive(Clone, Debug, clap::Args)]
pub struct GitArgs {
    /// Largest file of a repository that is archived, in bytes; one that the server sends as the change of another takes as
    /// much memory as that
    #[arg(long, default_value_t = 100 << 20)]
    pub git_max_file_size: u64,

    /// Most bytes a Git server may send in one operation
    #[arg(long, default_value_t = 4 << 30)]
    pub git_max_transfer_size: u64,

    /// Directory that keeps fetched Git objects for the next commit, for this process alone; by default
    /// `sluice-git-cache` in the directory for temporary files
    #[arg(long)]
    pub git_cache_path: Option<PathBuf>,

    /// Most bytes of fetched Git objects that are kept; 0 keeps none, and every fetch is on its own
    #[arg(long, default_value_t = 1 << 30)]
    pub git_cache_max_size: u64,

    /// How long fetched Git objects are kept that no object asks for
    #[arg(long, default_value = "24h")]
    pub git_cache_max_age: Duration,

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

impl GitArgs {
    /// The cache of fetched objects, unless it is off. It is not below the storage directory: what is there is served, and
    /// belongs to whoever takes the storage over.
    pub fn cache(&self) -> Option<git::cache::Config> {
        let path = self.git_cache_path.clone();
        (self.git_cache_max_size > 0).then(|| git::cache::Config {
            path: path.unwrap_or_else(|| std::env::temp_dir().join("sluice-git-cache")),
            max_size: self.git_cache_max_size,
            max_age: self.git_cache_max_age.std(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

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
    fn the_environment_stands_in_for_flags_that_are_not_given() {
        let command = Args::command();
        for (flag, variable) in [
            ("events-addr", "EVENTS_ADDR"),
            ("metrics-addr", "METRICS_ADDR"),
            ("storage-path", "STORAGE_PATH"),
            ("storage-addr", "STORAGE_ADDRESS"),
            ("storage-adv-addr", "STORAGE_ADV_ADDR"),
        ] {
            let argument = command.get_arguments().find(|a| a.get_long() == Some(flag)).unwrap();
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(variable));
        }
    }

    #[test]
    fn the_cache_is_on_beside_other_temporary_files_unless_its_size_is_none() {
        let cache = |args: &str| parse(args).unwrap().git.cache();
        let usual = cache("").unwrap();
        assert_eq!(usual.path, std::env::temp_dir().join("sluice-git-cache"));
        assert_eq!((usual.max_size, usual.max_age.as_secs()), (1 << 30, 86_400));
        let other = cache("--git-cache-path=/cache --git-cache-max-size=5 --git-cache-max-age=1h").unwrap();
        assert_eq!((other.path, other.max_size), (PathBuf::from("/cache"), 5));
        assert_eq!(cache("--git-cache-max-size=0"), None);
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        assert!(parse("--concurrent=0").is_err());
        let error = parse("--artifact-digest-algo=md5").unwrap_err();
        assert!(error.contains("unsupported digest algorithm 'md5'"), "{error}");
        assert!(parse("--artifact-digest-algo=blake3").is_ok());
        assert!(parse("--no-such-flag").is_err());
    }

    #[test]
    fn a_default_service_account_needs_its_gate() {
        let gates = |args: &str| parse(args).unwrap().gates();
        assert_eq!(
            gates(""),
            Ok(Gates {
                workload_identity: false
            })
        );
        let text = "--default-service-account=flux --feature-gates=ObjectLevelWorkloadIdentity=true";
        assert_eq!(
            gates(text),
            Ok(Gates {
                workload_identity: true
            })
        );
        let error = gates("--default-service-account=flux").unwrap_err();
        let text =
            "cannot set default service accounts when the feature gate ObjectLevelWorkloadIdentity is not enabled";
        assert!(error.starts_with(text), "{error}");
        assert!(gates("--feature-gates=NoSuch=true").unwrap_err().contains("NoSuch"));
    }
}
