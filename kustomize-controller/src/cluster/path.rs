//! Paths of kinds and objects. Pure.

use super::discovery::Resource;
use super::error::ApiError;
use runtime::path::{encoded, segment};

/// The path of a kind in a namespace, or of all of its objects where the namespace is empty.
///
/// # Errors
/// A namespace that cannot be part of a path.
pub(crate) fn collection(resource: &Resource, namespace: &str) -> Result<String, ApiError> {
    let api = &resource.api;
    let mut path = match api.group.is_empty() {
        true => String::from("/api"),
        false => format!("/apis/{}", encoded(&api.group)),
    };
    path += "/";
    path += &encoded(&api.version);
    if resource.namespaced && !namespace.is_empty() {
        path += "/namespaces/";
        path += &segment("namespace", namespace)?;
    }
    path += "/";
    path += &encoded(&api.plural);
    Ok(path)
}

/// The path of an object.
///
/// # Errors
/// A name or namespace that cannot be part of a path.
pub(crate) fn object(resource: &Resource, namespace: &str, name: &str) -> Result<String, ApiError> {
    Ok(format!(
        "{}/{}",
        collection(resource, namespace)?,
        runtime::path::name(name)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::ApiResource;

    #[track_caller]
    fn check(group: &str, namespaced: bool, namespace: &str, name: &str, expected: Result<&str, &str>) {
        let api = ApiResource {
            group: group.into(),
            version: "v1".into(),
            api_version: String::new(),
            kind: String::new(),
            plural: "things".into(),
        };
        let path = object(
            &Resource {
                api,
                namespaced,
                learned: false,
            },
            namespace,
            name,
        );
        assert_eq!(
            path.map_err(|error| error.to_string()),
            expected.map(str::to_owned).map_err(str::to_owned)
        );
    }

    #[test]
    fn paths_follow_scope_and_group() {
        check("", true, "ns", "a", Ok("/api/v1/namespaces/ns/things/a"));
        check("g.io", false, "ignored", "a", Ok("/apis/g.io/v1/things/a"));
    }

    #[test]
    fn odd_names_stay_one_segment() {
        check(
            "",
            false,
            "",
            "system:a b?c#d",
            Ok("/api/v1/things/system:a%20b%3Fc%23d"),
        );
        check(
            "",
            false,
            "",
            "a/b",
            Err("invalid resource name \"a/b\": [may not contain '/']"),
        );
        check(
            "",
            false,
            "",
            "..",
            Err("invalid resource name \"..\": [may not be '..']"),
        );
        check("", false, "", "", Err("resource name may not be empty"));
        check(
            "",
            true,
            "../kube-system",
            "a",
            Err("invalid namespace \"../kube-system\": [may not contain '/']"),
        );
    }
}
