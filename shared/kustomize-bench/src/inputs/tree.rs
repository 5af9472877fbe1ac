//! Applications in three layers each, and one kustomization over all of them.

use super::Tree;
use super::manifests::{deployment, service};

pub fn tree(objects: usize) -> Tree {
    let mut tree = Tree::new("region");
    let mut all = "resources:\n".to_owned();
    for number in 0..objects / 3 {
        let name = format!("app-{number:02}");
        tree.add(
            format!("base/{name}/objects.yaml"),
            [deployment(&name, &format!("{name}-settings"), number), service(&name)].join("---\n"),
        );
        tree.add(format!("base/{name}/kustomization.yaml"), base(&name));
        tree.add(format!("environment/{name}/kustomization.yaml"), environment(&name));
        tree.add(
            format!("environment/{name}/replicas.yaml"),
            format!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec: {{replicas: 5}}\n"),
        );
        tree.add(format!("region/{name}/kustomization.yaml"), region(&name));
        all += &format!("- {name}\n");
    }
    tree.add("region/kustomization.yaml", all);
    tree
}

fn base(name: &str) -> String {
    format!(
        r"resources: [objects.yaml]
configMapGenerator:
- name: {name}-settings
  literals: [level=info, name={name}]
"
    )
}

fn environment(name: &str) -> String {
    format!(
        r"resources: [../../base/{name}]
nameSuffix: -live
labels:
- pairs: {{env: live}}
  includeSelectors: true
images:
- name: registry.example.test/team/web
  newTag: '7'
configMapGenerator:
- name: {name}-settings
  behavior: merge
  literals: [level=warn]
patches: [{{path: replicas.yaml}}]
"
    )
}

fn region(name: &str) -> String {
    format!(
        r#"resources: [../../environment/{name}]
namePrefix: north-
namespace: north
commonAnnotations: {{region: north}}
replacements:
- source: {{kind: Service, fieldPath: metadata.name}}
  targets:
  - select: {{kind: Deployment}}
    fieldPaths: [metadata.annotations.service]
    options: {{create: true}}
patches:
- target: {{kind: Deployment}}
  patch: '[{{"op": "add", "path": "/spec/template/spec/nodeSelector", "value": {{"region": "north"}}}}]'
"#
    )
}
