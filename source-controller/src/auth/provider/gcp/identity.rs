//! To which servers a token of Google may go, and whom a ServiceAccount is there.
//!
//! Pure.

use std::collections::BTreeMap;

use git::RemoteUrl;
use git::url::Scheme;
use url::Url;

/// The annotation with the provider of a workload identity pool, for clusters outside of GKE.
pub const PROVIDER: &str = "gcp.auth.fluxcd.io/workload-identity-provider";

const EMAIL: &str = "iam.gke.io/gcp-service-account";
const PROVIDER_PATTERN: &str =
    r"^projects/\d{1,30}/locations/global/workloadIdentityPools/[^/]{1,100}/providers/[^/]{1,100}$";
const EMAIL_PATTERN: &str = r"^[a-zA-Z0-9-]{1,100}@[a-zA-Z0-9-]{1,100}\.iam\.gserviceaccount\.com$";

const SOURCE_REPOSITORIES: &str = "source.developers.google.com";
const SOURCE_MANAGER: &str = ".sourcemanager.dev";

/// A server that may not see a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotGoogle {
    /// The token is for TLS only.
    #[error("Google Cloud authentication requires an HTTPS Git URL")]
    Scheme,
    /// Another host.
    #[error(
        "invalid Google Cloud Git URL: {0}. the host must be source.developers.google.com or end in .sourcemanager.dev"
    )]
    Host(String),
    /// Whoever wrote the Secret could say who Google is, and be it.
    #[error(
        "the controller's own Google Cloud token is not sent to a server that a certificate authority of the Secret \
         vouches for: remove ca.crt and caFile from it, or set serviceAccountName"
    )]
    Authority,
}

/// Whether the Git server is one of Google: Secure Source Manager or Cloud Source Repositories.
///
/// # Errors
/// It is another one.
pub fn check(remote: &RemoteUrl) -> Result<(), NotGoogle> {
    if remote.scheme() != Scheme::Https {
        return Err(NotGoogle::Scheme);
    }
    let url = Url::parse(&remote.bare()).map_err(|_| NotGoogle::Host(remote.to_string()))?;
    let host = url.host_str().unwrap_or_default();
    let is_instance = |name: &str| !name.is_empty() && !name.starts_with('.');
    if host == SOURCE_REPOSITORIES || host.strip_suffix(SOURCE_MANAGER).is_some_and(is_instance) {
        return Ok(());
    }
    Err(NotGoogle::Host(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }))
}

/// Whom a ServiceAccount is in Google Cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The provider that knows the tokens of the cluster; none in GKE, where the cluster is one itself.
    pub(super) provider: Option<String>,
    /// The account of Google it acts as, if it is not just itself.
    pub(super) email: Option<String>,
}

impl Identity {
    /// Whom the annotations of a ServiceAccount name.
    ///
    /// # Errors
    /// They name somebody who cannot be.
    pub fn of(annotations: &BTreeMap<String, String>) -> Result<Self, String> {
        let annotation = |key: &str, pattern: &str, fits: fn(&str) -> bool| match annotations.get(key) {
            Some(value) if value.is_empty() => Ok(None),
            Some(value) if !fits(value) => Err(format!("invalid {key} annotation: '{value}'. must match {pattern}")),
            value => Ok(value.cloned()),
        };
        Ok(Self {
            provider: annotation(PROVIDER, PROVIDER_PATTERN, is_provider)?,
            email: annotation(EMAIL, EMAIL_PATTERN, is_email)?,
        })
    }

    /// In one text.
    pub fn key(&self) -> String {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        format!("{} {}", part(&self.provider), part(&self.email))
    }
}

/// What [`PROVIDER_PATTERN`] says.
fn is_provider(name: &str) -> bool {
    let part = |part: &str| (1..=100).contains(&part.chars().count());
    match name.split('/').collect::<Vec<_>>()[..] {
        [
            "projects",
            project,
            "locations",
            "global",
            "workloadIdentityPools",
            pool,
            "providers",
            provider,
        ] => {
            (1..=30).contains(&project.len())
                && project.bytes().all(|byte| byte.is_ascii_digit())
                && part(pool)
                && part(provider)
        }
        _ => false,
    }
}

/// What [`EMAIL_PATTERN`] says.
fn is_email(email: &str) -> bool {
    let is_name = |name: &str| {
        (1..=100).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let parts = email
        .strip_suffix(".iam.gserviceaccount.com")
        .and_then(|rest| rest.split_once('@'));
    parts.is_some_and(|(name, project)| is_name(name) && is_name(project))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Result<(), &str>) {
        let found = super::check(&RemoteUrl::parse(url).unwrap());
        assert_eq!(
            found.map_err(|error| error.to_string()),
            expected.map_err(str::to_owned),
            "{url}"
        );
    }

    #[test]
    fn tokens_are_for_the_servers_of_google_alone() {
        for url in [
            "https://source.developers.google.com/p/project/r/app",
            "https://mine-123456-git.europe-west4.sourcemanager.dev/project/app.git",
            "https://mine-123456-git.europe-west4.p.sourcemanager.dev/project/app.git",
            "https://MINE-1-git.us-central1.SourceManager.dev:443/project/app.git",
        ] {
            check(url, Ok(()));
        }
        for host in [
            "github.com",
            "sourcemanager.dev",
            "sourcemanager.dev.evil.example",
            "evilsourcemanager.dev",
            "source.developers.google.com.evil.example",
            "a.source.developers.google.com",
            "mine.sourcemanager.dev.",
            "127.0.0.1:8443",
        ] {
            let text = format!(
                "invalid Google Cloud Git URL: {host}. the host must be source.developers.google.com or end in \
                 .sourcemanager.dev"
            );
            check(&format!("https://{host}/project/app"), Err(&text));
        }
        let text = "Google Cloud authentication requires an HTTPS Git URL";
        for scheme in ["http", "ssh"] {
            check(
                &format!("{scheme}://source.developers.google.com/p/project/r/app"),
                Err(text),
            );
        }
    }

    #[test]
    fn a_service_account_names_an_account_or_a_provider_or_neither() {
        let provider = "projects/123/locations/global/workloadIdentityPools/pool/providers/cluster";
        let email = "app-1@my-project.iam.gserviceaccount.com";
        let of = |set: &[(&str, &str)]| {
            let annotations = set.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            Identity::of(&annotations).map(|identity| identity.key())
        };
        assert_eq!(of(&[]), Ok(" ".into()));
        assert_eq!(of(&[(EMAIL, ""), (PROVIDER, "")]), Ok(" ".into()));
        let both = of(&[(EMAIL, email), (PROVIDER, provider)]);
        assert_eq!(both, Ok(format!("{provider} {email}")));
        for wrong in [
            "projects/x/locations/global/workloadIdentityPools/pool/providers/cluster",
            "projects/123/locations/global/workloadIdentityPools//providers/cluster",
            "projects/123/locations/eu/workloadIdentityPools/pool/providers/cluster",
            "projects/123/locations/global/workloadIdentityPools/pool/providers/cluster/x",
        ] {
            let text = format!("invalid {PROVIDER} annotation: '{wrong}'. must match {PROVIDER_PATTERN}");
            assert_eq!(of(&[(PROVIDER, wrong)]), Err(text));
        }
        for wrong in [
            "app@gmail.com",
            "@p.iam.gserviceaccount.com",
            "a/../b@p.iam.gserviceaccount.com",
            "a@p.iam.gserviceaccount.com/x",
        ] {
            let text = format!("invalid {EMAIL} annotation: '{wrong}'. must match {EMAIL_PATTERN}");
            assert_eq!(of(&[(EMAIL, wrong)]), Err(text));
        }
    }
}
