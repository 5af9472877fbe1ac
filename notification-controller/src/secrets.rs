//! What is read from Secrets, at the moment it is needed.

use crate::provider::Data;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use runtime::path;

/// The content of a Secret. The namespace is that of an object, the name is anybody's text.
///
/// # Errors
/// What the API server says, or why it is not asked.
pub async fn read(client: &Client, namespace: &str, name: &str) -> Result<Data, String> {
    let name = path::name(name).map_err(|error| error.to_string())?;
    let found = Api::<Secret>::namespaced(client.clone(), namespace).get(&name).await;
    match found {
        Ok(secret) => Ok(secret.data.unwrap_or_default()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => Err(error.to_string()),
    }
}
