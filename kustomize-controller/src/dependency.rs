//! Whether the Kustomizations that another one depends on are ready, and who waits for whom.
//!
//! Pure: the caller looks the objects up.

use api::kustomize::{Kustomization, KustomizationStatus};
use api::meta::condition::READY;
use kube::{Resource, ResourceExt};
use runtime::conditions::{self, Verdict};

use crate::source::SourceRef;

/// A dependency by namespace and name.
pub type Name = (String, String);

/// What a Kustomization depends on, in the order of its spec.
pub fn names(object: &Kustomization) -> impl Iterator<Item = Name> + '_ {
    let own = object.namespace().unwrap_or_default();
    object.spec.depends_on.iter().map(move |dependency| {
        (
            dependency.namespace.clone().unwrap_or_else(|| own.clone()),
            dependency.name.clone(),
        )
    })
}

/// Whether a Kustomization depends on another.
pub fn depends_on(object: &Kustomization, namespace: &str, name: &str) -> bool {
    names(object).any(|dependency| dependency.0 == namespace && dependency.1 == name)
}

/// Says why a dependency is not ready, in Flux's words; nothing when it is.
///
/// It is ready when it was reconciled at its current generation, is Ready, and, if it uses the same source, has applied
/// the revision that is about to be applied.
pub fn obstacle(
    object: &Kustomization,
    revision: &str,
    name: &Name,
    dependency: Option<(&Kustomization, &KustomizationStatus)>,
) -> Option<String> {
    let (namespace, own) = name;
    let Some((dependency, status)) = dependency else {
        return Some(format!(
            "dependency '{namespace}/{own}' not found: kustomizations.kustomize.toolkit.fluxcd.io {own:?} not found"
        ));
    };
    let observed = !status.conditions.is_empty() && status.observed_generation == dependency.meta().generation;
    if !observed || !conditions::is(&status.conditions, READY, Verdict::True) {
        return Some(format!("dependency '{namespace}/{own}' is not ready"));
    }
    let same_source = SourceRef::of(object) == SourceRef::of(dependency);
    if same_source && status.last_applied_revision.as_deref() != Some(revision) {
        return Some(format!("dependency '{namespace}/{own}' revision is not up to date"));
    }
    None
}

/// A way from a Kustomization over its dependencies back to itself; nothing when there is none.
///
/// `dependencies` gives what a Kustomization depends on, as far as is known.
pub fn cycle(start: &Name, dependencies: impl Fn(&Name) -> Vec<Name>) -> Option<Vec<Name>> {
    let mut seen = std::collections::HashSet::new();
    let mut path = vec![(start.clone(), dependencies(start).into_iter())];
    while let Some((_, rest)) = path.last_mut() {
        match rest.next() {
            None => {
                path.pop();
            }
            Some(next) if next == *start => {
                return Some(path.into_iter().map(|(name, _)| name).chain([next]).collect());
            }
            Some(next) => {
                if seen.insert(next.clone()) {
                    let further = dependencies(&next).into_iter();
                    path.push((next, further));
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::meta::Condition;
    use serde_json::json;

    fn kustomization(name: &str, source: &str, generation: i64) -> Kustomization {
        serde_json::from_value(json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": name, "namespace": "apps", "generation": generation},
            "spec": {"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": source}},
        }))
        .unwrap()
    }

    fn status(generation: i64, ready: &str, revision: &str) -> KustomizationStatus {
        let condition: Condition = serde_json::from_value(json!({
            "type": "Ready", "status": ready, "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }))
        .unwrap();
        KustomizationStatus {
            observed_generation: Some(generation),
            conditions: vec![condition],
            last_applied_revision: Some(revision.into()),
            ..KustomizationStatus::default()
        }
    }

    #[track_caller]
    fn check(dependency: Option<(Kustomization, KustomizationStatus)>, expected: Option<&str>) {
        let name = ("apps".to_owned(), "base".to_owned());
        let dependency = dependency.as_ref().map(|(object, status)| (object, status));
        let object = kustomization("app", "repo", 1);
        assert_eq!(obstacle(&object, "main@sha1:2", &name, dependency).as_deref(), expected);
    }

    #[test]
    fn a_dependency_must_exist_be_ready_and_be_as_new() {
        check(
            None,
            Some("dependency 'apps/base' not found: kustomizations.kustomize.toolkit.fluxcd.io \"base\" not found"),
        );
        let base = |generation| kustomization("base", "repo", generation);
        check(
            Some((base(2), status(1, "True", "main@sha1:2"))),
            Some("dependency 'apps/base' is not ready"),
        );
        check(
            Some((base(1), status(1, "False", "main@sha1:2"))),
            Some("dependency 'apps/base' is not ready"),
        );
        check(
            Some((base(1), status(1, "True", "main@sha1:1"))),
            Some("dependency 'apps/base' revision is not up to date"),
        );
        check(Some((base(1), status(1, "True", "main@sha1:2"))), None);
    }

    #[test]
    fn the_revision_of_another_source_does_not_matter() {
        check(Some((kustomization("base", "other", 1), status(1, "True", "v1"))), None);
    }

    #[test]
    fn loops_are_found_and_named() {
        let name = |text: &str| ("n".to_owned(), text.to_owned());
        let edges = |of: &Name| match of.1.as_str() {
            "a" => vec![name("b"), name("c")],
            "b" => vec![name("d")],
            "c" => vec![name("a")],
            "d" => vec![name("b")],
            _ => vec![],
        };
        assert_eq!(cycle(&name("a"), edges), Some(vec![name("a"), name("c"), name("a")]));
        assert_eq!(cycle(&name("b"), edges), Some(vec![name("b"), name("d"), name("b")]));
        assert_eq!(cycle(&name("e"), edges), None);
    }
}
