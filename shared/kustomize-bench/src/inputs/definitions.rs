//! Definitions of custom kinds as large operators bring them: deep schemas full of long descriptions.

use super::Tree;

/// How large each is, roughly.
const BYTES: usize = 200_000;

pub fn tree(objects: usize) -> Tree {
    let mut tree = Tree::new("");
    let definitions: Vec<String> = (0..objects).map(definition).collect();
    tree.add("definitions.yaml", definitions.join("---\n"));
    tree.add(
        "kustomization.yaml",
        "commonLabels: {part-of: bench}\nresources:\n- definitions.yaml\n",
    );
    tree
}

fn definition(number: usize) -> String {
    let mut text = format!(
        r"apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: kind{number:02}s.example.test
spec:
  group: example.test
  names:
    kind: Kind{number:02}
    listKind: Kind{number:02}List
    plural: kind{number:02}s
    singular: kind{number:02}
  scope: Namespaced
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        properties:
"
    );
    let mut field = 0;
    while text.len() < BYTES {
        properties(&mut text, field, 10, 3);
        field += 1;
    }
    text + "        type: object\n    served: true\n    storage: true\n"
}

/// A field of objects in one another.
fn properties(text: &mut String, field: usize, indent: usize, depth: usize) {
    let space = " ".repeat(indent);
    *text += &format!(
        r#"{space}field{field}:
{space}  description: |-
{space}    Field {field} says how the controller treats what it finds in the namespace: a list of names, a
{space}    selector or nothing.

{space}    More info: https://example.test/docs/concepts#field-{field}
"#
    );
    if depth == 0 {
        *text += &format!(
            r#"{space}  items:
{space}    description: One of the values, which is matched from its first to its last character, without
{space}      regard to case. "*" means all.
{space}    maxLength: 253
{space}    pattern: ^[a-z0-9]([-a-z0-9]*[a-z0-9])?$
{space}    type: string
{space}  type: array
{space}  x-kubernetes-list-type: atomic
"#
        );
        return;
    }
    *text += &format!("{space}  properties:\n");
    for inner in 0..3 {
        properties(text, inner, indent + 4, depth - 1);
    }
    *text += &format!("{space}  required:\n{space}  - field0\n{space}  type: object\n");
}
