//! What `kustomize build` can do and this library refuses. One table, so that nothing is left out silently.

use crate::Error;
use crate::kustomization::Fields;

/// Fields of a kustomization that are refused, and why.
const FIELDS: &[(&str, &str)] = &[
    ("helmCharts", "Helm charts are not rendered"),
    ("helmChartInflationGenerator", "Helm charts are not rendered"),
];

/// The words for a path that leads to another machine, when nobody was given to the build who may fetch it.
pub(crate) const REMOTE: &str = "remote bases and files are turned off: only the files of the build are read";

/// The words for a repository that is a directory of the machine that builds.
pub(crate) const LOCAL_REPOSITORY: &str = "repositories of the machine that builds are not read; name the directory \
     itself, relative to the kustomization, or a repository by https or ssh";

/// The words for a plugin that is not built into kustomize.
pub(crate) const PLUGIN: &str = "not supported yet: only the generators and transformers built into kustomize run";

/// Refuses the fields of the table.
///
/// # Errors
/// When there are too many problems to go on; what is refused is noted with the field and the reason.
pub(crate) fn check(fields: &mut Fields<'_>) -> Result<(), Error> {
    for (name, why) in FIELDS {
        fields.refuse(name, format_args!("not supported yet: {why}"))?;
    }
    // Says nothing without charts.
    fields.skip("helmGlobals");
    Ok(())
}
