//! The flags of the kustomize controller: Flux's names, defaults and environment variables.

use api::Duration;
use clap::Parser;
use runtime::args::{Flag, IntervalArgs, ProcessArgs, feature_gates};

/// Builds and applies artifacts, prunes what is stale and watches over health.
#[derive(Clone, Debug, Parser)]
#[command(name = "kustomize-controller", version)]
pub struct Args {
    /// Flags of every controller.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// Flags of controllers that work at intervals.
    #[command(flatten)]
    pub interval: IntervalArgs,
    /// Address of the event endpoint (no effect: notifications are derived from status, nothing is posted)
    #[arg(long, env = "EVENTS_ADDR", default_value = "")]
    pub events_addr: String,
    /// How many Kustomizations are worked on at a time; those that wait do not count, and as many again that take longer
    /// than a second do not either
    #[arg(long, default_value_t = 4)]
    pub concurrent: u16,
    /// How many objects of a Kustomization are applied at a time
    #[arg(long, default_value_t = 4)]
    pub concurrent_ssa: usize,
    /// At every how many intervals all objects are verified by a dry run, although no watch has seen a change; 1 is every
    /// interval, as in Flux
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub verify_every: u32,
    /// Refuse remote bases: resources and components of kustomizations that are URLs, of Git repositories or of files
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub no_remote_bases: Flag,
    /// Host that remote bases may come from, or `*.DOMAIN` for those below a domain; can be repeated; without it every host
    #[arg(long, value_parser = remote::host)]
    pub remote_bases_allow_host: Vec<String>,
    /// Fetch remote bases from loopback, private, link-local and other addresses that are not public, and through the proxies
    /// that the environment names
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub remote_bases_allow_private_addresses: Flag,
    /// Host of remote bases that may have such an address; can be repeated
    #[arg(long, value_parser = remote::host)]
    pub remote_bases_trust_host: Vec<String>,
    /// Most that is fetched for the remote bases of one build, in bytes
    #[arg(long, default_value_t = 512 << 20)]
    pub max_remote_bases_size: u64,
    /// Refuse references to sources in other namespaces
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub no_cross_namespace_refs: Flag,
    /// How often a failed download of an artifact is tried again before the reconcile fails
    #[arg(long, default_value_t = 9)]
    pub http_retry: u32,
    /// Largest artifact that is downloaded, in bytes
    #[arg(long, default_value_t = 512 << 20)]
    pub max_artifact_size: u64,
    /// Largest artifact after unpacking, in bytes
    #[arg(long, default_value_t = 1 << 30)]
    pub max_artifact_unpacked_size: u64,
    /// ServiceAccount to act as where a Kustomization names none
    #[arg(long, default_value = "")]
    pub default_service_account: String,
    /// ServiceAccount for decryption (no effect yet: decryption is not supported)
    #[arg(long, default_value = "")]
    pub default_decryption_service_account: String,
    /// ServiceAccount for remote clusters (no effect yet: they are not supported)
    #[arg(long, default_value = "")]
    pub default_kubeconfig_service_account: String,
    /// Secret with age keys for every Kustomization (no effect yet: decryption is not supported)
    #[arg(long, default_value = "")]
    pub sops_age_secret: String,
    /// ConfigMap with Vault instances (no effect yet: decryption is not supported)
    #[arg(long, default_value = "")]
    pub sops_vault_configmap: String,
    /// Field manager whose fields are taken over, beside kubectl; can be repeated
    #[arg(long)]
    pub override_manager: Vec<String>,
    /// Kinds that are applied before all others, as `group/Kind,group/Kind`
    #[arg(long, default_value = "")]
    pub custom_apply_stage_kinds: String,
    /// Allow programs in kubeconfigs (no effect yet: remote clusters are not supported)
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub insecure_kubeconfig_exec: Flag,
    /// Allow kubeconfigs without verified TLS (no effect yet: remote clusters are not supported)
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub insecure_kubeconfig_tls: Flag,
}

/// The feature gates of Flux's kustomize controller with their defaults.
const GATES: [(&str, bool); 12] = [
    ("AdditiveCELDependencyCheck", false),
    ("CacheSecretsAndConfigMaps", false),
    ("CancelHealthCheckOnNewRevision", false),
    ("DirectSourceFetch", false),
    ("DisableConfigWatchers", false),
    ("DisableFailFastBehavior", false),
    ("DisableStatusPollerCache", true),
    ("ExternalArtifact", false),
    ("GroupChangeLog", false),
    ("MigrateAPIVersion", false),
    ("ObjectLevelWorkloadIdentity", false),
    ("StrictPostBuildSubstitutions", true),
];

/// What flags decide inside a reconcile, checked once.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Flags of controllers that work at intervals.
    pub interval: IntervalArgs,
    /// Objects applied at a time.
    pub concurrent_ssa: usize,
    /// Intervals from one verification of all objects to the next; at least one.
    pub verify_every: u32,
    /// Sources in other namespaces are refused.
    pub no_cross_namespace_refs: bool,
    /// Downloads tried again.
    pub http_retry: u32,
    /// ServiceAccount where none is named; empty for none.
    pub default_service_account: String,
    /// Field managers that are taken over.
    pub override_managers: Vec<String>,
    /// Kinds of a stage of their own, as (group, kind).
    pub stage_kinds: Vec<(String, String)>,
    /// A variable that is not set is an error.
    pub strict_substitution: bool,
    /// One failed object ends the wait for the others.
    pub fail_fast: bool,
    /// `ExternalArtifact` sources are allowed.
    pub external_artifact: bool,
    /// ConfigMaps and Secrets do not wake Kustomizations.
    pub no_config_watchers: bool,
    /// What remote bases may be fetched; nothing where none may.
    pub remote_bases: Option<remote::Policy>,
}

impl Args {
    /// Checks the flags that have a grammar.
    ///
    /// # Errors
    /// An unknown gate, a stage kind that is not `group/Kind`, or a flag whose gate is off.
    pub fn policy(&self) -> Result<Policy, String> {
        let gates = feature_gates(&self.process.feature_gates, &GATES)?;
        let on = |name: &str| gates.get(name).copied().unwrap_or_default();
        for (flag, value) in [
            (
                "--default-decryption-service-account",
                &self.default_decryption_service_account,
            ),
            (
                "--default-kubeconfig-service-account",
                &self.default_kubeconfig_service_account,
            ),
        ] {
            if !value.is_empty() && !on("ObjectLevelWorkloadIdentity") {
                return Err(format!("{flag} needs --feature-gates=ObjectLevelWorkloadIdentity=true"));
            }
        }
        Ok(Policy {
            interval: self.interval.clone(),
            concurrent_ssa: self.concurrent_ssa.max(1),
            verify_every: self.verify_every.max(1),
            no_cross_namespace_refs: self.no_cross_namespace_refs.0,
            http_retry: self.http_retry,
            default_service_account: self.default_service_account.clone(),
            override_managers: self.override_manager.clone(),
            stage_kinds: stage_kinds(&self.custom_apply_stage_kinds)?,
            strict_substitution: on("StrictPostBuildSubstitutions"),
            fail_fast: !on("DisableFailFastBehavior"),
            external_artifact: on("ExternalArtifact"),
            no_config_watchers: on("DisableConfigWatchers"),
            remote_bases: (!self.no_remote_bases.0).then(|| self.remote_bases()),
        })
    }

    fn remote_bases(&self) -> remote::Policy {
        let hosts = &self.remote_bases_allow_host;
        remote::Policy {
            reach: remote::Reach {
                hosts: (!hosts.is_empty()).then(|| hosts.clone()),
                private_addresses: self.remote_bases_allow_private_addresses.0,
                trusted_hosts: self.remote_bases_trust_host.clone(),
            },
            limits: remote::Limits {
                bytes: self.max_remote_bases_size,
                ..remote::Limits::default()
            },
            switches: remote::Switches {
                host: "--remote-bases-allow-host",
                private_addresses: "--remote-bases-trust-host",
            },
        }
    }

    /// The pause after a missing dependency.
    pub fn requeue_dependency(&self) -> Duration {
        self.interval.requeue_dependency
    }
}

fn stage_kinds(text: &str) -> Result<Vec<(String, String)>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| match part.rsplit_once('/') {
            Some((group, kind)) if !kind.is_empty() => Ok((group.to_owned(), kind.to_owned())),
            _ => Err(format!("--custom-apply-stage-kinds: {part:?} is not group/Kind")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(args: &[&str]) -> Result<Policy, String> {
        let args = Args::try_parse_from(std::iter::once(&"kustomize-controller").chain(args));
        args.map_err(|error| error.to_string())?.policy()
    }

    #[test]
    fn the_flags_of_an_install_are_understood() {
        let policy = policy(&[
            "--events-addr=http://notification-controller.flux-system.svc.cluster.local./",
            "--watch-all-namespaces=true",
            "--log-level=info",
            "--log-encoding=json",
            "--enable-leader-election",
            "--override-manager=a",
            "--override-manager=b",
            "--custom-apply-stage-kinds=rbac.authorization.k8s.io/Role",
            "--feature-gates=StrictPostBuildSubstitutions=false,GroupChangeLog=true",
        ])
        .unwrap();
        assert_eq!(policy.override_managers, ["a", "b"]);
        assert_eq!(
            policy.stage_kinds,
            [("rbac.authorization.k8s.io".to_owned(), "Role".to_owned())]
        );
        assert!(!policy.strict_substitution && policy.fail_fast);
    }

    #[test]
    fn what_cannot_work_is_refused_at_start() {
        assert!(policy(&["--feature-gates=NoSuch=true"]).unwrap_err().contains("NoSuch"));
        assert!(
            policy(&["--custom-apply-stage-kinds=Role"])
                .unwrap_err()
                .contains("Role")
        );
        assert!(
            policy(&["--default-decryption-service-account=a"])
                .unwrap_err()
                .contains("ObjectLevelWorkloadIdentity")
        );
    }
}
