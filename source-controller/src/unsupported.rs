//! What a GitRepository can ask for and this controller cannot do yet, in one table.
//!
//! Nothing of it is passed over in silence: an object that asks for it is stalled with a condition that names the field, and
//! goes on as soon as the field is gone. The table shrinks as features arrive; when it is empty this file goes.

use api::source::{GitProvider, GitRepositorySpec};

/// The reason in conditions and events.
pub const REASON: &str = "UnsupportedFeature";

/// A feature that is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `spec.verify`
    Verify,
    /// `spec.include`
    Include,
    /// `spec.sparseCheckout`
    SparseCheckout,
    /// `spec.provider` other than `generic`
    Provider,
    /// `spec.serviceAccountName`
    ServiceAccount,
    /// `spec.proxySecretRef`
    Proxy,
    /// `tls.crt` and `tls.key` in the Secret
    ClientCertificate,
}

/// Whether a spec asks for something.
type Asks = fn(&GitRepositorySpec) -> bool;

/// The features that the spec alone shows, in the order in which they are told.
const OF_SPEC: [(Feature, Asks); 6] = [
    (Feature::Provider, |spec| {
        spec.provider.is_some_and(|provider| provider != GitProvider::Generic)
    }),
    (Feature::ServiceAccount, |spec| spec.service_account_name.is_some()),
    (Feature::Proxy, |spec| spec.proxy_secret_ref.is_some()),
    (Feature::Verify, |spec| spec.verification.is_some()),
    (Feature::Include, |spec| !spec.include.is_empty()),
    (Feature::SparseCheckout, |spec| !spec.sparse_checkout.is_empty()),
];

impl Feature {
    /// What the user reads: the field and a way on.
    pub fn message(self) -> &'static str {
        match self {
            Self::Verify => "spec.verify is not supported yet: remove it to go on without verification",
            Self::Include => {
                "spec.include is not supported yet: the included content would be missing from the artifact"
            }
            Self::SparseCheckout => "spec.sparseCheckout is not supported yet: leave paths out with spec.ignore",
            Self::Provider => "this spec.provider is not supported yet: use generic with credentials in spec.secretRef",
            Self::ServiceAccount => "spec.serviceAccountName is not supported yet: use credentials in spec.secretRef",
            Self::Proxy => "spec.proxySecretRef is not supported yet: set HTTPS_PROXY for the controller",
            Self::ClientCertificate => "client certificates (tls.crt and tls.key of the Secret) are not supported yet",
        }
    }

    /// Whether only a change of the spec helps; a Secret may change without one.
    pub fn is_of_spec(self) -> bool {
        self != Self::ClientCertificate
    }
}

/// The first unsupported feature the spec asks for.
pub fn of_spec(spec: &GitRepositorySpec) -> Option<Feature> {
    OF_SPEC.iter().find(|(_, asks)| asks(spec)).map(|(feature, _)| *feature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(fields: Value, expected: Option<Feature>) {
        let mut spec = json!({"url": "https://host/r", "interval": "1m"});
        spec.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let spec: GitRepositorySpec = serde_json::from_value(spec).unwrap();
        assert_eq!(of_spec(&spec), expected, "{fields}");
        if let Some(feature) = expected {
            assert!(feature.message().contains("not supported yet"));
        }
    }

    #[test]
    fn every_field_that_would_be_ignored_is_told() {
        check(json!({}), None);
        check(
            json!({"provider": "generic", "recurseSubmodules": true, "include": []}),
            None,
        );
        check(json!({"provider": "github"}), Some(Feature::Provider));
        check(
            json!({"provider": "aws", "serviceAccountName": "x"}),
            Some(Feature::Provider),
        );
        check(json!({"serviceAccountName": "x"}), Some(Feature::ServiceAccount));
        check(json!({"proxySecretRef": {"name": "x"}}), Some(Feature::Proxy));
        check(json!({"verify": {"secretRef": {"name": "x"}}}), Some(Feature::Verify));
        check(
            json!({"include": [{"repository": {"name": "x"}}]}),
            Some(Feature::Include),
        );
        check(json!({"sparseCheckout": ["a"]}), Some(Feature::SparseCheckout));
    }
}
