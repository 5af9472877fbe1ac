//! One long file of small documents, as charts and catalogues come.

use super::Tree;

pub fn tree(objects: usize) -> Tree {
    let mut tree = Tree::new("");
    let documents: Vec<String> = (0..objects)
        .map(|number| {
            format!(
                r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: document-{number:05}
  labels:
    part: "{}"
data:
  key: value of {number}
  text: |
    first line
    second line of {number}
"#,
                number % 10
            )
        })
        .collect();
    tree.add("documents.yaml", documents.join("---\n"));
    tree.add("kustomization.yaml", "resources:\n- documents.yaml\n");
    tree
}
