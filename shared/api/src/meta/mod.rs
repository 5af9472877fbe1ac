//! What the kinds of all groups share: references to other objects, and the fixed names of conditions, reasons,
//! annotations and labels.
//!
//! The names are the contract with everything that reads our objects (CLIs, dashboards, alerts), so they live in one
//! place and are never spelled out elsewhere.

pub mod condition;
pub mod key;
pub mod reason;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The finalizer on every object whose deletion needs work: artifacts to remove, applied objects to prune.
pub const FINALIZER: &str = "finalizers.fluxcd.io";

/// The pattern of durations in specs: any of the units ms, s, m and h, no sign.
pub const DURATION_PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$";

/// The pattern of timeouts, which have no hours.
pub const TIMEOUT_PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m))+$";

/// A string that is none of the values a field allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a known {what}")]
pub struct UnknownChoice {
    /// The name of the type.
    pub what: &'static str,
    /// The string as found.
    pub text: String,
}

/// An object of a kind the field implies, in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct LocalObjectReference {
    /// Name of the object.
    pub name: String,
}

impl LocalObjectReference {
    /// The object of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

/// One value of a Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyReference {
    /// Name of the Secret.
    pub name: String,

    /// Key inside the Secret. When absent, the field that refers to it says which keys are tried.
    #[serde(
        default,
        deserialize_with = "some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub key: Option<String>,
}

/// An object of any kind in any namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespacedObjectKindReference {
    /// API group and version of the object, such as `apps/v1`.
    #[serde(
        default,
        deserialize_with = "some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub api_version: Option<String>,

    /// Kind of the object.
    pub kind: String,

    /// Name of the object.
    pub name: String,

    /// Namespace of the object. Absent for cluster-scoped kinds, or to mean the namespace of the referring object.
    #[serde(
        default,
        deserialize_with = "some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub namespace: Option<String>,
}

/// Reads an optional string in which empty means absent, as it does for every field that Go omits when empty.
///
/// # Errors
/// Only when the value is not a string.
pub fn some_unless_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

/// Whether a flag is off, and hence left out when written.
pub(crate) fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_optional_string_is_an_absent_one() {
        let read = |json: &str| serde_json::from_str::<SecretKeyReference>(json).unwrap().key;
        assert_eq!(read(r#"{"name":"a"}"#), None);
        assert_eq!(read(r#"{"name":"a","key":""}"#), None);
        assert_eq!(read(r#"{"name":"a","key":null}"#), None);
        assert_eq!(read(r#"{"name":"a","key":"k"}"#), Some("k".to_owned()));
    }

    #[test]
    fn an_absent_string_is_not_written() {
        let reference = SecretKeyReference {
            name: "a".into(),
            key: None,
        };
        assert_eq!(serde_json::to_string(&reference).unwrap(), r#"{"name":"a"}"#);
    }
}
