//! One large kustomization: applications of Deployment, Service and ConfigMap, each in a file, and everything done to them
//! at once.

use super::Tree;
use super::manifests::{config_map, deployment, service};

const PATCHES: usize = 50;

const HEAD: &str = r"namePrefix: many-
namespace: bench
labels:
- pairs: {env: bench, team: load}
  includeSelectors: true
images:
- name: registry.example.test/team/web
  newTag: 2.0.0
- name: registry.example.test/team/proxy
  newName: mirror.example.test/proxy
  newTag: '3'
";

pub fn tree(objects: usize) -> Tree {
    let applications = objects.div_ceil(3);
    let mut tree = Tree::new("");
    let mut resources = String::new();
    let name = |number: usize| format!("app-{number:05}");
    for number in 0..applications {
        let (name, config) = (name(number), format!("settings-{number:05}"));
        let mut documents = vec![deployment(&name, &config, number)];
        if number * 3 + 1 < objects {
            documents.push(service(&name));
        }
        if number * 3 + 2 < objects {
            documents.push(config_map(&config, number));
        }
        tree.add(format!("apps/{number:05}.yaml"), documents.join("---\n"));
        resources += &format!("- apps/{number:05}.yaml\n");
    }
    let mut patches = String::new();
    for number in 0..PATCHES {
        let target = name(number * applications / PATCHES);
        patches += &match number % 3 {
            0 => {
                let path = format!("patches/{number:02}.yaml");
                tree.add(&*path, strategic(&target, number));
                format!("- path: {path}\n")
            }
            1 => format!(
                r"- target: {{kind: Deployment, name: {target}}}
  patch: |-
    - {{op: replace, path: /spec/replicas, value: {number}}}
    - {{op: add, path: /spec/template/spec/containers/0/args/-, value: --patch={number}}}
"
            ),
            _ => format!(
                r"- target: {{kind: Deployment, labelSelector: tier=back, name: app-.*{}}}
  patch: |-
    apiVersion: apps/v1
    kind: Deployment
    metadata: {{name: any}}
    spec: {{template: {{metadata: {{annotations: {{patch-{number:02}: done}}}}}}}}
",
                number % 10
            ),
        };
    }
    tree.add(
        "kustomization.yaml",
        format!("{HEAD}resources:\n{resources}patches:\n{patches}"),
    );
    tree
}

fn strategic(target: &str, number: usize) -> String {
    format!(
        r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: {target}
spec:
  replicas: {number}
  template:
    spec:
      containers:
      - name: web
        env:
        - name: PATCH
          value: "{number}"
"#
    )
}
