//! What `kustomize build` can do and this library refuses. One table, so that nothing is left out silently.

use crate::Error;
use crate::kustomization::Fields;

/// Fields of a kustomization that are refused, and why.
const FIELDS: &[(&str, &str)] = &[
    ("helmCharts", "Helm charts are not rendered"),
    ("helmChartInflationGenerator", "Helm charts are not rendered"),
];

/// The words for a path that leads to another machine.
pub(crate) const REMOTE: &str = "not supported yet: remote bases and files are not fetched";

/// The words for a plugin that is not built into kustomize.
pub(crate) const PLUGIN: &str = "not supported yet: only the generators and transformers built into kustomize run";

/// The words for what cannot be replaced inside YAML that a field holds as text.
pub(crate) const NESTED_YAML: &str = "not supported yet: only scalars that exist are replaced in YAML kept as text";

/// Refuses the fields of the table.
///
/// # Errors
/// Names the field and its reason.
pub(crate) fn check(fields: &mut Fields<'_>) -> Result<(), Error> {
    for (name, why) in FIELDS {
        if let Some(line) = fields.line_of_filled(name) {
            return Err(Error::new(format!(
                "field '{name}' (line {line}): not supported yet: {why}"
            )));
        }
        fields.skip(name);
    }
    // Says nothing without charts.
    fields.skip("helmGlobals");
    Ok(())
}
