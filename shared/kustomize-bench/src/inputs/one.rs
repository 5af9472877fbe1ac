//! The smallest overlay there is reason to write.

use super::Tree;
use super::manifests::deployment;

pub fn tree(_: usize) -> Tree {
    let mut tree = Tree::new("overlay");
    tree.add("base/kustomization.yaml", "resources:\n- deployment.yaml\n");
    tree.add("base/deployment.yaml", deployment("web", "settings", 1));
    tree.add(
        "overlay/kustomization.yaml",
        r"namePrefix: test-
namespace: test
labels:
- pairs: {env: test}
  includeSelectors: true
images:
- name: registry.example.test/team/web
  newTag: '2'
resources:
- ../base
",
    );
    tree
}
