//! The names that kustomize gives to the files of a build of which every object goes into a file of its own.

use serde_json::Value;

use crate::BuiltObject;
use crate::resource::{Gvk, Id};

/// The name of the file for each object, in their order, as `kustomize build -o DIRECTORY` chooses them: group, version, kind
/// and name in lower case, with the namespace in front where the objects are in more than one.
///
/// Two objects may come to the same name, if they differ in upper and lower case alone, and a name may hold `/` or be too
/// long for a file system: kustomize lets that happen, a caller should not.
///
/// ```
/// let mut files = kustomize::MemoryFiles::default();
/// files.insert("kustomization.yaml", "resources: [app.yaml]\n")?;
/// files.insert("app.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app}\n")?;
/// let objects = kustomize::build(&files, "", &kustomize::Options::default())?;
/// assert_eq!(kustomize::file_names(&objects), ["apps_v1_deployment_app.yaml"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn file_names(objects: &[BuiltObject]) -> Vec<String> {
    let ids: Vec<Id> = objects.iter().map(|built| id(&built.object)).collect();
    let namespaced = || ids.iter().filter(|id| !id.gvk.is_cluster_scoped());
    let first = namespaced().next().map(Id::effective_namespace);
    let several = namespaced().any(|id| Some(id.effective_namespace()) != first);
    ids.iter().map(|id| file_name(id, several)).collect()
}

fn file_name(id: &Id, with_namespace: bool) -> String {
    let Gvk { group, version, kind } = &id.gvk;
    let namespace = match with_namespace && !id.gvk.is_cluster_scoped() {
        true => id.effective_namespace(),
        false => "",
    };
    let parts = [namespace, group, version, kind];
    let mut name: String = parts
        .iter()
        .filter(|part| !part.is_empty())
        .flat_map(|part| [part, "_"])
        .collect();
    name.push_str(&id.name);
    name.push_str(".yaml");
    lower(&name)
}

/// Lower case letter by letter, as Go does: a sigma at the end of a word is one as any other.
fn lower(text: &str) -> String {
    text.chars().filter_map(|letter| letter.to_lowercase().next()).collect()
}

fn id(object: &Value) -> Id {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    Id {
        gvk: Gvk::of(text("/apiVersion"), text("/kind")),
        name: text("/metadata/name").to_owned(),
        namespace: text("/metadata/namespace").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Objects as (apiVersion, kind, namespace, name), and the names of their files.
    #[track_caller]
    fn check(objects: &[(&str, &str, &str, &str)], expected: &[&str]) {
        let built = |(version, kind, namespace, name): &(&str, &str, &str, &str)| BuiltObject {
            object: json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}),
            origin: None,
            touched_by: Vec::new(),
        };
        assert_eq!(file_names(&objects.iter().map(built).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn a_name_is_made_of_the_type_and_the_name_in_lower_case() {
        check(
            &[
                ("v1", "ConfigMap", "", "foo"),
                ("apps/v1", "Deployment", "default", "Web:App"),
                ("rbac.authorization.k8s.io/v1", "ClusterRole", "", "system:İSTΣ"),
            ],
            &[
                "v1_configmap_foo.yaml",
                "apps_v1_deployment_web:app.yaml",
                "rbac.authorization.k8s.io_v1_clusterrole_system:istσ.yaml",
            ],
        );
    }

    #[test]
    fn the_namespace_is_in_front_where_there_are_several() {
        check(
            &[
                ("v1", "ConfigMap", "Ns", "foo"),
                ("v1", "ConfigMap", "", "foo"),
                ("v1", "Namespace", "other", "Ns"),
            ],
            &[
                "ns_v1_configmap_foo.yaml",
                "default_v1_configmap_foo.yaml",
                "v1_namespace_ns.yaml",
            ],
        );
    }

    #[test]
    fn types_without_namespaces_do_not_count_as_being_in_one() {
        check(
            &[
                ("v1", "ConfigMap", "a", "foo"),
                ("storage.k8s.io/v1", "StorageClass", "b", "foo"),
            ],
            &["v1_configmap_foo.yaml", "storage.k8s.io_v1_storageclass_foo.yaml"],
        );
    }
}
