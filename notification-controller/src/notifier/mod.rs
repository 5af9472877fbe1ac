//! A message as a request: one file per service, each a pure function from the event and the settings. Sending is
//! [`send`]'s business.

pub mod generic;
pub mod send;
pub mod slack;

use crate::provider::Settings;
use api::event::Event;
use api::notification::ProviderType;
use runtime::redact::Redacted;
use url::Url;

/// The header with the stable id of an event: a repeated delivery has the same one.
pub const ID_HEADER: &str = "X-Sluice-Event-Id";

/// A request to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Where to.
    pub url: Redacted<Url>,
    /// Headers; a later one of the same name replaces an earlier one.
    pub headers: Redacted<Vec<(String, String)>>,
    /// The body.
    pub body: Vec<u8>,
    /// What counts as success.
    pub accept: Accept,
}

/// What counts as success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// A status of 200 to 299.
    Status,
    /// That, and a JSON body in which `ok` is true.
    SlackOk,
}

/// Why there is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The type is not supported yet.
    #[error("{0}")]
    Unsupported(String),
    /// A setting is missing.
    #[error("{0}")]
    Missing(&'static str),
    /// The event cannot be written.
    #[error("cannot encode the event: {0}")]
    Encode(String),
}

/// The request that delivers an event, its metadata merged already.
///
/// # Errors
/// A type that is not supported, or what is missing.
pub fn render(event: &Event, id: &str, settings: &Settings) -> Result<Request, Error> {
    if let Some(why) = crate::unsupported::provider(settings.kind) {
        return Err(Error::Unsupported(why));
    }
    match settings.kind {
        ProviderType::Slack => slack::render(event, id, settings),
        ProviderType::GenericHmac => generic::render_signed(event, id, settings),
        // The table above lets nothing else through.
        _ => generic::render(event, id, settings),
    }
}

/// The object as chats name it: `kustomization/app.team`.
fn object(event: &Event) -> String {
    let object = &event.involved_object;
    format!("{}/{}.{}", object.kind.to_lowercase(), object.name, object.namespace)
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Encode(error.to_string()))
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::provider::{Data, Secrets};
    use k8s_openapi::ByteString;
    use serde_json::{Value, json};

    pub(crate) fn event(severity: &str) -> Event {
        serde_json::from_value(json!({
            "involvedObject": {
                "kind": "Kustomization", "namespace": "team", "name": "app", "uid": "u1",
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "resourceVersion": "7",
            },
            "severity": severity,
            "timestamp": "2026-01-02T03:04:05Z",
            "message": "ConfigMap/team/a created\nConfigMap/team/b configured",
            "reason": "Progressing",
            "metadata": {"revision": "main@sha1:abc", "env": "prod"},
            "reportingController": "kustomize-controller",
        }))
        .unwrap()
    }

    pub(crate) fn settings(spec: Value, secret: &[(&str, &str)]) -> Settings {
        let secret: Data = secret
            .iter()
            .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())))
            .collect();
        let secrets = Secrets {
            main: Some(&secret),
            ..Secrets::default()
        };
        Settings::of(&serde_json::from_value(spec).unwrap(), secrets).unwrap()
    }

    pub(crate) fn headers(request: &Request) -> Vec<(&str, &str)> {
        request
            .headers
            .expose()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }
}
