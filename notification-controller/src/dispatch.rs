//! One delivery: find the Provider, read its Secrets, render, send. What comes back says what to do with the letter
//! and what to tell about it.

use crate::alert::{self, Choice};
use crate::notifier::{self, send};
use crate::outbox::{Fate, Letter};
use crate::provider::{Data, Secrets, Settings};
use crate::secrets;
use api::meta::LocalObjectReference;
use api::notification::Provider;
use kube::{Client, ResourceExt};
use std::sync::Arc;
use tokio::sync::OnceCell;

/// Delivers letters.
#[derive(Clone)]
pub struct Dispatcher {
    client: Client,
    // Made when it is first needed: the system's certificates take memory.
    http: Arc<OnceCell<reqwest::Client>>,
}

/// How a delivery ended.
#[derive(Debug)]
pub struct Report {
    /// What becomes of the letter.
    pub fate: Fate,
    /// What went wrong, for the Alert's events.
    pub problem: Option<Problem>,
    /// Keys of metadata that came from more than one side.
    pub conflicts: Vec<String>,
}

/// What went wrong, without secrets.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// Nothing was sent.
    Dispatch(String),
    /// It was sent and not accepted.
    Send(String),
    /// It cannot be sent to this type of Provider yet.
    Unsupported(String),
}

impl Report {
    fn dropped() -> Self {
        Report {
            fate: Fate::Dropped,
            problem: None,
            conflicts: Vec::new(),
        }
    }

    fn not_sent(text: impl Into<String>) -> Self {
        let failure = send::Failure::of_provider(text);
        Report {
            fate: failure.fate(),
            problem: Some(Problem::Dispatch(failure.text)),
            conflicts: Vec::new(),
        }
    }
}

impl Dispatcher {
    /// A dispatcher that reads Secrets with this client.
    pub fn new(client: Client) -> Self {
        Dispatcher {
            client,
            http: Arc::default(),
        }
    }

    /// Delivers a letter for an Alert to its Provider, if there is one.
    pub async fn deliver(&self, letter: &Letter, choice: &Choice, provider: Option<Arc<Provider>>) -> Report {
        let Some(provider) = provider else {
            return Report::not_sent(format!("failed to read provider '{}': not found", letter.provider));
        };
        // What was queued before somebody switched off is not sent after it is switched on again.
        let is_off = provider.spec.suspend || choice.alert.spec.suspend;
        if is_off || !alert::wanted(alert::place(provider.spec.provider_type), &letter.event) {
            return Report::dropped();
        }
        if let Some(why) = crate::unsupported::provider(provider.spec.provider_type) {
            return Report {
                problem: Some(Problem::Unsupported(why)),
                ..Report::dropped()
            };
        }
        let settings = match self.settings(&provider).await {
            Ok(settings) => settings,
            Err(text) => return Report::not_sent(text),
        };
        let (metadata, conflicts) = alert::metadata(&letter.event, &choice.alert);
        let event = api::event::Event {
            metadata,
            ..letter.event.clone()
        };
        let request = match notifier::render(&event, &letter.id, &settings) {
            Ok(request) => request,
            Err(error) => {
                return Report {
                    conflicts,
                    ..Report::not_sent(error.to_string())
                };
            }
        };
        let http = match self.http.get_or_try_init(async || send::client()).await {
            Ok(http) => http,
            Err(error) => return Report::not_sent(format!("cannot make an HTTP client: {error}")),
        };
        match send::send(http, &request, &settings).await {
            Ok(()) => Report {
                fate: Fate::Delivered,
                problem: None,
                conflicts,
            },
            Err(failure) => Report {
                fate: failure.fate(),
                problem: Some(Problem::Send(failure.text)),
                conflicts,
            },
        }
    }

    async fn settings(&self, provider: &Provider) -> Result<Settings, String> {
        let namespace = provider.namespace().unwrap_or_default();
        let spec = &provider.spec;
        let main = self.secret(&namespace, spec.secret_ref.as_ref()).await?;
        let certificates = self.secret(&namespace, spec.cert_secret_ref.as_ref()).await?;
        let proxy = self.secret(&namespace, spec.proxy_secret_ref.as_ref()).await?;
        let secrets = Secrets {
            main: main.as_ref(),
            certificates: certificates.as_ref(),
            proxy: proxy.as_ref(),
        };
        Settings::of(spec, secrets).map_err(|error| error.to_string())
    }

    async fn secret(&self, namespace: &str, reference: Option<&LocalObjectReference>) -> Result<Option<Data>, String> {
        let Some(LocalObjectReference { name }) = reference else {
            return Ok(None);
        };
        let data = secrets::read(&self.client, namespace, name).await;
        data.map(Some)
            .map_err(|text| format!("failed to read secret '{namespace}/{name}': {text}"))
    }
}
