//! Where objects were written and which fields of kustomizations changed them, for the texts about what goes wrong with them.

use crate::inventory::ObjectId;
use kustomize::BuiltObject;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// So many fields are named, those that changed the object last.
const MOST: usize = 4;

/// Where one object comes from. Displayed, it is something to put behind a text: nothing, or a clause in brackets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin(Option<Arc<str>>);

/// The origins of the objects of a build.
pub type Origins = HashMap<ObjectId, Origin>;

impl Origin {
    /// The origin of a built object.
    pub fn of(built: &BuiltObject) -> Self {
        let mut parts: Vec<String> = built.origin.iter().map(|origin| format!("from {origin}")).collect();
        let touches = &built.touched_by;
        let left_out = touches.len().saturating_sub(MOST);
        for (at, touch) in touches.iter().skip(left_out).enumerate() {
            parts.push(match (at, left_out) {
                (0, 0) => format!("changed by {touch}"),
                (0, _) => format!("changed by {left_out} more and {touch}"),
                _ => touch.to_string(),
            });
        }
        let text = (!parts.is_empty()).then(|| format!(" ({})", parts.join(", ")));
        Origin(text.map(Arc::from))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kustomize::{MemoryFiles, Options};

    /// What is said of the one object of a build.
    #[track_caller]
    fn check(files: &[(&str, &str)], expected: &str) {
        let mut tree = MemoryFiles::default();
        for (path, content) in files {
            tree.insert(path, *content).unwrap();
        }
        let built = kustomize::build(&tree, "over", &Options::default()).unwrap();
        assert_eq!(Origin::of(&built[0]).to_string(), expected);
    }

    const BASE: [(&str, &str); 2] = [
        ("base/kustomization.yaml", "resources: [a.yaml]\n"),
        (
            "base/a.yaml",
            "# a comment\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
        ),
    ];

    #[test]
    fn the_file_and_the_line_are_said() {
        let over = ("over/kustomization.yaml", "resources: [../base]\n");
        check(&[BASE[0], BASE[1], over], " (from base/a.yaml:2)");
    }

    #[test]
    fn the_last_fields_that_changed_it_are_said() {
        let over = |more: &str| format!("resources: [../base]\nnamePrefix: x-\n{more}");
        let two = over("commonLabels: {a: b}\n");
        check(
            &[BASE[0], BASE[1], ("over/kustomization.yaml", &two)],
            " (from base/a.yaml:2, changed by over/kustomization.yaml namePrefix, over/kustomization.yaml commonLabels)",
        );
    }

    #[test]
    fn of_nothing_known_nothing_is_said() {
        assert_eq!(Origin::default().to_string(), "");
    }
}
