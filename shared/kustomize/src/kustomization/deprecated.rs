//! The fields kustomize still takes and would rather not.

use super::Fields;

/// Each field, what takes its place, and whether `kustomize edit fix` can only try, in the order of kustomize's warnings.
const FIELDS: [(&str, &str, bool); 6] = [
    ("bases", "resources", false),
    ("commonLabels", "labels", false),
    ("imageTags", "images", false),
    ("patchesJson6902", "patches", false),
    ("patchesStrategicMerge", "patches", false),
    ("vars", "replacements", true),
];

/// What kustomize says about the deprecated fields that are there, empty ones included.
pub(super) fn warnings(fields: &Fields<'_>) -> Vec<String> {
    let there = FIELDS.iter().filter(|(name, _, _)| fields.has(name));
    let text = |(name, instead, tries): &(&str, &str, bool)| {
        let tries = if *tries { "[EXPERIMENTAL] " } else { "" };
        format!(
            "# Warning: '{name}' is deprecated. Please use '{instead}' instead. {tries}Run 'kustomize edit fix' to update your Kustomization automatically."
        )
    };
    there.map(text).collect()
}

#[cfg(test)]
mod tests {
    use crate::kustomization::Kustomization;

    fn check(text: &str, expected: &[&str]) {
        let read = Kustomization::parse(text.as_bytes(), false, "dir").unwrap();
        let words: Vec<&str> = read
            .warnings
            .iter()
            .filter_map(|line| line.split('\'').nth(1))
            .collect();
        assert_eq!(words, expected, "{text}");
    }

    #[test]
    fn deprecated_fields_are_warned_about_in_kustomizes_order() {
        check("resources: []\nbases: null\n", &[]);
        check(
            "vars: []\nbases: [a]\ncommonLabels: {}\n",
            &["bases", "commonLabels", "vars"],
        );
    }
}
