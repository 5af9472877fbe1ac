//! The IAMPolicyGenerator plugin: a service account bound to one of a cloud.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert("kustomization.yaml", "generators: [account.yaml]\n")?;
//! files.insert(
//!     "account.yaml",
//!     "apiVersion: builtin\n\
//!      kind: IAMPolicyGenerator\n\
//!      metadata: {name: account}\n\
//!      cloud: gke\n\
//!      kubernetesService: {name: builds}\n\
//!      serviceAccount: {name: builder, projectId: shop}\n",
//! )?;
//! let objects = build(&files, "", &Options::default())?;
//! let account = &objects[0].object["metadata"]["annotations"]["iam.gke.io/gcp-service-account"];
//! assert_eq!(account, "builder@shop.iam.gserviceaccount.com");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::Error;
use crate::kustomization::Fields;
use crate::node::Node;
use crate::resource::Resource;

/// The generator's configuration.
#[derive(Debug)]
pub(crate) struct IamPolicy {
    cloud: String,
    name: String,
    namespace: String,
    account: String,
    project: String,
}

impl IamPolicy {
    /// From a plugin configuration.
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        let service = fields.object("kubernetesService", |fields| {
            Ok((fields.text("name")?, fields.text("namespace")?))
        })?;
        let account = fields.object("serviceAccount", |fields| {
            Ok((fields.text("name")?, fields.text("projectId")?))
        })?;
        let ((name, namespace), (account, project)) = (service.unwrap_or_default(), account.unwrap_or_default());
        Ok(Self {
            cloud: fields.text("cloud")?,
            name,
            namespace,
            account,
            project,
        })
    }

    /// The service account.
    ///
    /// # Errors
    /// For any cloud but `gke`.
    pub fn generate(&self) -> Result<Resource, Error> {
        if self.cloud != "gke" {
            return Err(Error::new(format!("cloud provider {} not supported yet", self.cloud)));
        }
        let mut meta = serde_json::json!({
            "annotations": {"iam.gke.io/gcp-service-account": format!("{}@{}.iam.gserviceaccount.com", self.account, self.project)},
            "name": self.name,
        });
        if !self.namespace.is_empty() {
            meta["namespace"] = self.namespace.as_str().into();
        }
        Ok(Resource::new(Node::from_json(
            serde_json::json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}),
        )))
    }
}

#[cfg(test)]
mod tests {
    use crate::trial::built;
    use serde_json::json;

    #[test]
    fn the_account_of_the_cloud_is_an_annotation() {
        let generate = |cloud: &str| {
            let plugin = format!(
                "generators: ['{{apiVersion: builtin, kind: IAMPolicyGenerator, metadata: {{name: a}}, cloud: {cloud}, \
                 kubernetesService: {{name: s, namespace: n}}, serviceAccount: {{name: g, projectId: p}}}}']"
            );
            built(&plugin, "")
        };
        assert_eq!(
            generate("gke").unwrap(),
            [json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {
                    "name": "s",
                    "namespace": "n",
                    "annotations": {"iam.gke.io/gcp-service-account": "g@p.iam.gserviceaccount.com"},
                },
            })]
        );
        assert!(generate("other").is_err());
    }
}
