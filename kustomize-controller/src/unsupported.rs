//! What a Kustomization may ask for that Sluice does not do yet: one table, which shrinks.
//!
//! A field in this table ends in a terminal condition that names it; nothing is silently ignored.

use api::kustomize::KustomizationSpec;

/// A field, and whether a spec uses it.
type Row = (&'static str, fn(&KustomizationSpec) -> bool);

/// Every field that is not supported yet.
const UNSUPPORTED: [Row; 5] = [
    ("spec.decryption", |spec| spec.decryption.is_some()),
    ("spec.kubeConfig", |spec| spec.kube_config.is_some()),
    ("spec.healthCheckExprs", |spec| !spec.health_check_exprs.is_empty()),
    ("spec.dependsOn[].readyExpr", |spec| {
        spec.depends_on.iter().any(|dependency| dependency.ready_expr.is_some())
    }),
    ("spec.ignore", |spec| !spec.ignore.is_empty()),
];

/// The message for the fields of a spec that are not supported yet; none when all are.
pub fn message(spec: &KustomizationSpec) -> Option<String> {
    let fields: Vec<_> = UNSUPPORTED
        .iter()
        .filter(|(_, used)| used(spec))
        .map(|(field, _)| *field)
        .collect();
    match fields.as_slice() {
        [] => None,
        [field] => Some(format!(
            "{field} is not supported yet: remove it to have this Kustomization reconciled"
        )),
        fields => Some(format!(
            "{} are not supported yet: remove them to have this Kustomization reconciled",
            fields.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kustomize::{Decryption, IgnoreRule};

    #[test]
    fn every_unsupported_field_is_named() {
        assert_eq!(message(&KustomizationSpec::default()), None);
        let spec = KustomizationSpec {
            decryption: Some(Decryption::default()),
            ignore: vec![IgnoreRule::default()],
            ..KustomizationSpec::default()
        };
        let text = message(&spec).unwrap();
        assert!(
            text.starts_with("spec.decryption, spec.ignore are not supported yet"),
            "{text}"
        );
    }
}
