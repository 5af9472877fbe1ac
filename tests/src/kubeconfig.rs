//! Kubeconfig files with everything inline, and clients made from them. Foreign kubeconfigs are read by kube's own
//! loader, exec plugins included: here the user is the one who runs the program.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

use crate::pki::{Identity, write_secret};

/// How a user proves who they are.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A client certificate.
    Certificate(Identity),
    /// A bearer token.
    Token(String),
}

/// Writes a kubeconfig with one context named like the user; only its owner may read the file.
pub fn write(path: &Path, server: &str, ca: &str, user: &str, credentials: &Credentials) -> Result<()> {
    let user_fields = match credentials {
        Credentials::Certificate(identity) => json!({
            "client-certificate-data": STANDARD.encode(&identity.certificate),
            "client-key-data": STANDARD.encode(&identity.key),
        }),
        Credentials::Token(token) => json!({ "token": token }),
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "sluice",
            "cluster": { "server": server, "certificate-authority-data": STANDARD.encode(ca) },
        }],
        "users": [{ "name": user, "user": user_fields }],
        "contexts": [{ "name": user, "context": { "cluster": "sluice", "user": user } }],
        "current-context": user,
    });
    write_secret(path, &serde_yaml::to_string(&config)?)
}

/// A client for the kubeconfig file and context (the current one when `None`). It does not retry by itself, so that a
/// test sees an API server that is away.
pub async fn client(path: &Path, context: Option<&str>) -> Result<Client> {
    crate::use_ring();
    let file = Kubeconfig::read_from(path).with_context(|| format!("cannot read the kubeconfig {}", path.display()))?;
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let mut config = Config::from_custom_kubeconfig(file, &options)
        .await
        .with_context(|| format!("the kubeconfig {} cannot be used", path.display()))?;
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    if config.cluster_url.host() == Some("127.0.0.1") {
        config.proxy_url = None;
    }
    Ok(Client::try_from(config)?)
}
