//! The event as it is posted to the event endpoint, and as generic webhooks receive it.
//!
//! Not an object of the API server. Names and order of the members are Flux's, because receivers may sign or compare
//! bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::meta::Time;

/// The group of keys that users put on their objects and Alerts for events to carry.
pub const GROUP: &str = "event.toolkit.fluxcd.io";

/// Key: the revision the event is about.
pub const REVISION: &str = "revision";
/// Key: the revision the artifact was itself packed from.
pub const ORIGIN_REVISION: &str = "originRevision";
/// Key: the checksum of an artifact, as old controllers send it.
pub const CHECKSUM: &str = "checksum";
/// Key: the digest of an artifact.
pub const DIGEST: &str = "digest";
/// Key: salt that makes two otherwise equal events differ.
pub const TOKEN: &str = "token";
/// Key: the commit a status is written for.
pub const COMMIT: &str = "commit";
/// Key: with [`COMMIT_STATUS_UPDATE`], marks an event that only commit statuses and generic webhooks are to see.
pub const COMMIT_STATUS: &str = "commit_status";
/// The value of [`COMMIT_STATUS`].
pub const COMMIT_STATUS_UPDATE: &str = "update";
/// Key: number of the pull or merge request to comment on.
pub const CHANGE_REQUEST: &str = "change_request";
/// Key: a short description; comes from an Alert.
pub const SUMMARY: &str = "summary";

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The object.
    pub involved_object: ObjectReference,

    /// How bad it is.
    pub severity: Severity,

    /// When it happened, in whole seconds.
    pub timestamp: Time,

    /// What happened, for people.
    pub message: String,

    /// What happened, for programs.
    pub reason: String,

    /// Further facts by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,

    /// Name of the controller that tells.
    pub reporting_controller: String,

    /// Which instance of it, usually the name of the pod.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reporting_instance: String,
}

choices! {
    /// How bad an event is.
    pub enum Severity {
        /// Nothing to know about.
        Trace = "trace",
        /// Good to know.
        Info = "info",
        /// Something failed.
        Error = "error",
    }
}

/// The object an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// Kind.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,

    /// Namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,

    /// Name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,

    /// Unique id, which tells an object from a later one of the same name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,

    /// API group and version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_version: String,

    /// Version of the object the event is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource_version: String,

    /// Part of the object the event is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field_path: String,
}

impl ObjectReference {
    /// The API group, empty for the core group or where there is no `apiVersion`.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_written_in_the_order_of_flux() {
        let event = Event {
            involved_object: ObjectReference {
                kind: "GitRepository".into(),
                namespace: "flux-system".into(),
                name: "app".into(),
                uid: "1".into(),
                api_version: "source.toolkit.fluxcd.io/v1".into(),
                resource_version: "7".into(),
                field_path: String::new(),
            },
            severity: Severity::Info,
            timestamp: Time("2026-01-02T03:04:05Z".parse().unwrap()),
            message: "stored".into(),
            reason: "NewArtifact".into(),
            metadata: BTreeMap::from([("revision".into(), "main".into()), ("digest".into(), "sha256:0".into())]),
            reporting_controller: "source-controller".into(),
            reporting_instance: String::new(),
        };
        let text = concat!(
            r#"{"involvedObject":{"kind":"GitRepository","namespace":"flux-system","name":"app","uid":"1","#,
            r#""apiVersion":"source.toolkit.fluxcd.io/v1","resourceVersion":"7"},"severity":"info","#,
            r#""timestamp":"2026-01-02T03:04:05Z","message":"stored","reason":"NewArtifact","#,
            r#""metadata":{"digest":"sha256:0","revision":"main"},"reportingController":"source-controller"}"#
        );
        assert_eq!(serde_json::to_string(&event).unwrap(), text);
        assert_eq!(serde_json::from_str::<Event>(text).unwrap(), event);
    }

    #[test]
    fn the_group_of_an_object_is_what_stands_before_the_slash() {
        let group = |api_version: &str| {
            ObjectReference {
                api_version: api_version.into(),
                ..Default::default()
            }
            .group()
            .to_owned()
        };
        assert_eq!(group("source.toolkit.fluxcd.io/v1"), "source.toolkit.fluxcd.io");
        assert_eq!(group("v1"), "");
        assert_eq!(group(""), "");
    }
}
