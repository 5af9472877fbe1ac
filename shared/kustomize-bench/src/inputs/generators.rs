//! Generated ConfigMaps and the Deployments that name them.

use super::Tree;
use super::manifests::deployment;

pub fn tree(objects: usize) -> Tree {
    let mut tree = Tree::new("");
    let (mut resources, mut generators) = (String::new(), String::new());
    for number in 0..objects / 2 {
        let (name, config) = (format!("app-{number:03}"), format!("settings-{number:03}"));
        tree.add(format!("apps/{number:03}.yaml"), deployment(&name, &config, number));
        resources += &format!("- apps/{number:03}.yaml\n");
        generators += &if number % 2 == 0 {
            let lines: String = (0..12).map(|line| format!("KEY_{line}={number}-{line}\n")).collect();
            tree.add(format!("data/{number:03}.env"), lines);
            format!("- name: {config}\n  envs: [data/{number:03}.env]\n  literals: [level=info]\n")
        } else {
            let lines: String = (0..24)
                .map(|line| format!("key.{line} = {line} of {number}\n"))
                .collect();
            tree.add(format!("data/{number:03}.conf"), lines);
            format!("- name: {config}\n  files: [app.conf=data/{number:03}.conf]\n  literals: [level=info]\n")
        };
    }
    tree.add(
        "kustomization.yaml",
        format!("namePrefix: made-\nresources:\n{resources}configMapGenerator:\n{generators}"),
    );
    tree
}
