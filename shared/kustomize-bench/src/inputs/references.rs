//! Half of the objects are ConfigMaps, the others Pods that name two of them each; all get another name.

use super::Tree;

pub fn tree(objects: usize) -> Tree {
    let count = objects / 2;
    let config = |number: usize| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: config-{number:05}\ndata:\n  key: \"{number}\"\n")
    };
    let pod = |number: usize| {
        format!(
            r"apiVersion: v1
kind: Pod
metadata:
  name: pod-{number:05}
spec:
  containers:
  - name: main
    image: registry.example.test/main:1
    envFrom:
    - configMapRef:
        name: config-{number:05}
  volumes:
  - name: config
    configMap:
      name: config-{:05}
",
            (number + 1) % count
        )
    };
    let join = |make: &dyn Fn(usize) -> String| (0..count).map(make).collect::<Vec<_>>().join("---\n");
    let mut tree = Tree::new("");
    tree.add("configs.yaml", join(&config));
    tree.add("pods.yaml", join(&pod));
    tree.add(
        "kustomization.yaml",
        "namePrefix: x-\nresources:\n- configs.yaml\n- pods.yaml\n",
    );
    tree
}
