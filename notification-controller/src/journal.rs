//! The shards of [`crate::cursor`] as ConfigMaps `notification-cursor-<n>` in the namespace of the controller.
//!
//! Every write and removal names the resource version it is based on, so that a second writer is noticed instead of
//! overwritten by chance. Then the lease decides: over what somebody wrote a page is written anew only by the process
//! that is certain to lead, on top of the version it read before it asked; another one is told to stop. The time a ConfigMap was made, by the API server's clock, is its epoch: objects that are older and not
//! in it were there before, and what they did before is not told.

use crate::cursor::Batch;
use crate::lead::{Doubt, Lead};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
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
    lead: Lead,
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

/// Why a page is not written or removed.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    /// Somebody else has written or removed it although this process leads; this is what is there now.
    #[error("somebody else has written or removed it")]
    Overtaken(Option<Page>),
    /// Somebody else has written or removed it, and another process leads.
    #[error("another process leads")]
    Deposed,
    /// Somebody else has written or removed it, and who leads is not known.
    #[error("somebody else has written or removed it, and it is not known who leads: {0}")]
    Doubtful(#[from] Doubt),
    /// The API server did not take it.
    #[error(transparent)]
    Refused(#[from] kube::Error),
}

impl Journal {
    /// A journal in a namespace, written by the process with this lead.
    pub fn new(client: Client, namespace: &str, lead: Lead) -> Self {
        Journal {
            api: Api::namespaced(client, namespace),
            lead,
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
    /// What the API server answers, a page that comes and goes, or another process that leads.
    pub async fn begin(&self, number: usize) -> Result<Page, Unwritten> {
        let made = self
            .api
            .create(&parameters(), &object(number, BTreeMap::new(), None))
            .await;
        match made.map_err(Met::of) {
            Ok(made) => Ok(Page::of(made)),
            Err(Met::Other) => match self.there(number).await? {
                Some(page) => Ok(page),
                None => Err(Unwritten::Overtaken(None)),
            },
            Err(Met::Error(error)) => Err(error.into()),
        }
    }

    /// Removes the given version of a page.
    ///
    /// # Errors
    /// What the API server answers, except that a page that is not there is none; a page that was written by somebody
    /// else; another process that leads.
    pub async fn end(&self, number: usize, version: Option<&str>) -> Result<(), Unwritten> {
        if let Some(version) = version {
            let parameters = DeleteParams {
                preconditions: Some(Preconditions {
                    resource_version: Some(version.to_owned()),
                    ..Preconditions::default()
                }),
                ..DeleteParams::default()
            };
            match self.api.delete(&name(number), &parameters).await.map_err(Met::of) {
                Ok(_) => return Ok(()),
                Err(Met::Other) => {}
                Err(Met::Error(error)) => return Err(error.into()),
            }
        }
        match self.there(number).await? {
            None => Ok(()),
            page => Err(Unwritten::Overtaken(page)),
        }
    }

    /// Writes a batch over the given version of a page, and returns the new version. Without a version the page is made
    /// anew.
    ///
    /// # Errors
    /// What the API server answers; a page that was written or removed by somebody else; another process that leads.
    pub async fn write(
        &self,
        number: usize,
        version: Option<&str>,
        epoch: Timestamp,
        batch: &Batch,
    ) -> Result<Option<String>, Unwritten> {
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
        match answer.map_err(Met::of) {
            Ok(object) => Ok(object.resource_version()),
            Err(Met::Other) => Err(Unwritten::Overtaken(self.there(number).await?)),
            Err(Met::Error(error)) => Err(error.into()),
        }
    }

    /// What is there, as far as this process may write over it. The lease is read after the page: who leads then led
    /// when the page was read, and whoever leads next makes the version outdated by writing the page.
    async fn there(&self, number: usize) -> Result<Option<Page>, Unwritten> {
        let page = self.read(number).await?;
        match self.lead.lasts().await? {
            true => Ok(page),
            false => Err(Unwritten::Deposed),
        }
    }
}

/// Why the API server did not take a write.
enum Met {
    /// Another write came before.
    Other,
    Error(kube::Error),
}

impl Met {
    fn of(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 409 || status.code == 404 => Met::Other,
            error => Met::Error(error),
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
