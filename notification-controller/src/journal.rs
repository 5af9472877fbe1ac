//! The shards of [`crate::cursor`] as ConfigMaps `notification-cursor-<n>` in the namespace of the controller.
//!
//! Every write names the resource version it is based on, so that a second writer is noticed instead of overwritten
//! by chance. The time a ConfigMap was made, by the API server's clock, is its epoch: objects that are older and not
//! in it were there before, and what they did before is not told.

use crate::cursor::{Batch, SHARDS};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The annotation that keeps the epoch over a loss of the ConfigMap while the process lives.
const EPOCH: &str = "notification.toolkit.fluxcd.io/cursor-epoch";
const FIELD_MANAGER: &str = "notification-controller";

/// Reads and writes the ConfigMaps.
#[derive(Clone)]
pub struct Journal {
    api: Api<ConfigMap>,
}

/// A ConfigMap as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Its resource version.
    pub version: Option<String>,
    /// Objects made before were there before.
    pub epoch: Timestamp,
    /// Its content.
    pub data: BTreeMap<String, String>,
}

/// How a write ended.
#[derive(Debug)]
pub enum Written {
    /// It is there, with this resource version.
    Done(Option<String>),
    /// Somebody else has written or removed it; this is what is there now.
    Overtaken(Option<Page>),
    /// The API server did not take it.
    Failed(kube::Error),
}

impl Journal {
    /// A journal in a namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Journal {
            api: Api::namespaced(client, namespace),
        }
    }

    /// Reads a page; nothing where there is none.
    ///
    /// # Errors
    /// What the API server answers.
    pub async fn read(&self, number: usize) -> Result<Option<Page>, kube::Error> {
        Ok(self.api.get_opt(&name(number)).await?.map(Page::of))
    }

    /// Makes an empty page, or reads the one that is there.
    ///
    /// # Errors
    /// What the API server answers.
    pub async fn begin(&self, number: usize) -> Result<Page, kube::Error> {
        let made = self
            .api
            .create(&parameters(), &object(number, BTreeMap::new(), None))
            .await;
        match made {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.read(number).await.map(Option::unwrap_or_default)
            }
            made => made.map(Page::of),
        }
    }

    /// Removes all pages.
    ///
    /// # Errors
    /// What the API server answers, except that a page that is not there is none.
    pub async fn end(&self) -> Result<(), kube::Error> {
        for number in 0..SHARDS {
            match self.api.delete(&name(number), &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                answer => drop(answer?),
            }
        }
        Ok(())
    }

    /// Writes a batch over the given version of a page. Without a version the page is made anew.
    pub async fn write(&self, number: usize, version: Option<&str>, epoch: Timestamp, batch: &Batch) -> Written {
        let answer = match version {
            None => {
                let kept = batch
                    .data
                    .iter()
                    .filter_map(|(key, text)| Some((key.clone(), text.clone()?)))
                    .collect();
                self.api.create(&parameters(), &object(number, kept, Some(epoch))).await
            }
            Some(version) => {
                let data: Map<_, _> = batch
                    .data
                    .iter()
                    .map(|(key, text)| (key.clone(), Value::from(text.clone())))
                    .collect();
                let metadata = json!({ "resourceVersion": version, "annotations": { EPOCH: epoch.to_string() } });
                let patch = Patch::Merge(json!({ "metadata": metadata, "data": data }));
                let parameters = PatchParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                self.api.patch(&name(number), &parameters, &patch).await
            }
        };
        match answer {
            Ok(object) => Written::Done(object.resource_version()),
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
                match self.read(number).await {
                    Ok(page) => Written::Overtaken(page),
                    Err(error) => Written::Failed(error),
                }
            }
            Err(error) => Written::Failed(error),
        }
    }
}

impl Page {
    fn of(object: ConfigMap) -> Self {
        let kept = object.annotations().get(EPOCH).and_then(|text| text.parse().ok());
        let made = object.creation_timestamp().map(|time| time.0);
        Page {
            version: object.resource_version(),
            epoch: kept.or(made).unwrap_or_default(),
            data: object.data.unwrap_or_default(),
        }
    }
}

fn name(number: usize) -> String {
    format!("notification-cursor-{number}")
}

fn parameters() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn object(number: usize, data: BTreeMap<String, String>, epoch: Option<Timestamp>) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name(number)),
            labels: Some(BTreeMap::from([(
                "app.kubernetes.io/component".to_owned(),
                FIELD_MANAGER.to_owned(),
            )])),
            annotations: epoch.map(|epoch| BTreeMap::from([(EPOCH.to_owned(), epoch.to_string())])),
            ..ObjectMeta::default()
        },
        data: Some(data).filter(|data| !data.is_empty()),
        ..ConfigMap::default()
    }
}
