//! Which Alert takes which event, and with which metadata. Pure: labels and Alerts are arguments.

use api::event::{self, Event, Severity};
use api::meta::key;
use api::notification::{Alert, EventSeverity, ProviderType};
use kube::ResourceExt;
use regex::{Regex, RegexBuilder};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most memory a regular expression of a user may compile to, in bytes.
const PATTERN_BYTES: usize = 1 << 20;

/// An Alert with its regular expressions compiled.
#[derive(Debug)]
pub struct Choice {
    /// The Alert.
    pub alert: Arc<Alert>,
    /// What is wrong with its regular expressions.
    pub invalid: Vec<String>,
    include: Vec<Regex>,
    exclude: Vec<Regex>,
}

/// Whether an Alert takes an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It does not.
    No,
    /// It does.
    Yes,
    /// That depends on the labels of the object, which are not known.
    NeedsLabels,
}

impl Choice {
    /// Compiles an Alert. An invalid expression matches nothing.
    pub fn new(alert: Arc<Alert>) -> Self {
        let mut invalid = Vec::new();
        let mut compile = |patterns: &[String]| -> Vec<Regex> {
            let mut compiled = Vec::new();
            for pattern in patterns {
                match RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build() {
                    Ok(regex) => compiled.push(regex),
                    Err(error) => invalid.push(format!("failed to compile regex {pattern:?}: {error}")),
                }
            }
            compiled
        };
        let (include, exclude) = (compile(&alert.spec.inclusion_list), compile(&alert.spec.exclusion_list));
        Choice {
            alert,
            invalid,
            include,
            exclude,
        }
    }

    /// Whether the Alert takes an event about an object with these labels.
    pub fn fit(&self, event: &Event, labels: Option<&BTreeMap<String, String>>) -> Fit {
        let spec = &self.alert.spec;
        let loud_enough = match spec.event_severity.unwrap_or_default() {
            EventSeverity::Info => true,
            EventSeverity::Error => event.severity == Severity::Error,
        };
        let named = spec.inclusion_list.is_empty() || self.include.iter().any(|regex| regex.is_match(&event.message));
        let excluded = self.exclude.iter().any(|regex| regex.is_match(&event.message));
        if spec.suspend || !loud_enough || !named || excluded {
            return Fit::No;
        }
        let home = self.alert.namespace().unwrap_or_default();
        let object = &event.involved_object;
        let mut fit = Fit::No;
        for source in &spec.event_sources {
            let here = source.namespace.as_deref().unwrap_or(&home) == object.namespace
                && source.kind.as_str() == object.kind
                && (source.name == "*" || source.name == object.name);
            if !here {
                continue;
            }
            let carries = |labels: &BTreeMap<String, String>| {
                source
                    .match_labels
                    .iter()
                    .all(|(name, value)| labels.get(name) == Some(value))
            };
            match labels {
                _ if source.match_labels.is_empty() => return Fit::Yes,
                Some(labels) if carries(labels) => return Fit::Yes,
                Some(_) => {}
                None => fit = Fit::NeedsLabels,
            }
        }
        fit
    }

    /// Whether the event comes from another namespace than the Alert's.
    pub fn crosses(&self, event: &Event) -> bool {
        self.alert.namespace().unwrap_or_default() != event.involved_object.namespace
    }
}

/// What kind of place a Provider sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A program that takes events as they are.
    Webhook,
    /// The status of a commit.
    CommitStatus,
    /// A comment on a change request.
    Comment,
    /// People or their tools.
    Chat,
}

/// The place of a Provider type.
pub fn place(kind: ProviderType) -> Place {
    match kind {
        ProviderType::Generic | ProviderType::GenericHmac => Place::Webhook,
        ProviderType::GitHub
        | ProviderType::GitLab
        | ProviderType::Gitea
        | ProviderType::BitbucketServer
        | ProviderType::Bitbucket
        | ProviderType::AzureDevOps => Place::CommitStatus,
        ProviderType::GiteaPullRequestComment
        | ProviderType::GitHubPullRequestComment
        | ProviderType::GitLabMergeRequestComment => Place::Comment,
        ProviderType::Slack
        | ProviderType::Discord
        | ProviderType::MsTeams
        | ProviderType::Rocket
        | ProviderType::GoogleChat
        | ProviderType::GooglePubSub
        | ProviderType::Webex
        | ProviderType::Sentry
        | ProviderType::AzureEventHub
        | ProviderType::Telegram
        | ProviderType::Lark
        | ProviderType::Matrix
        | ProviderType::Opsgenie
        | ProviderType::Alertmanager
        | ProviderType::Grafana
        | ProviderType::GitHubDispatch
        | ProviderType::PagerDuty
        | ProviderType::Datadog
        | ProviderType::Nats
        | ProviderType::Zulip
        | ProviderType::Otel
        | ProviderType::Zoom
        | ProviderType::IncidentIo => Place::Chat,
    }
}

/// Whether an event (its metadata still with prefixes) is for such a place.
pub fn wanted(place: Place, event: &Event) -> bool {
    let group = event.involved_object.group();
    let value = |prefix: &str, name: &str| event.metadata.get(&format!("{prefix}/{name}"));
    let is_status = value(group, event::COMMIT_STATUS).is_some_and(|value| value == event::COMMIT_STATUS_UPDATE);
    match place {
        Place::Webhook => true,
        Place::CommitStatus => {
            is_status || event.severity == Severity::Error || value(event::GROUP, event::COMMIT).is_some()
        }
        Place::Comment => !is_status && value(event::GROUP, event::CHANGE_REQUEST).is_some(),
        Place::Chat => !is_status,
    }
}

/// The metadata of an event that was posted: only what its kind and its users may set, without what is obsolete.
pub fn cleaned(event: &Event) -> BTreeMap<String, String> {
    let group = event.involved_object.group();
    let keep = |name: &str| match name.strip_prefix(group).and_then(|rest| rest.strip_prefix('/')) {
        Some(name) if !group.is_empty() => {
            !name.eq_ignore_ascii_case(event::CHECKSUM) && !name.eq_ignore_ascii_case(event::DIGEST)
        }
        _ => name.starts_with(key::EVENT_PREFIX),
    };
    event
        .metadata
        .iter()
        .filter(|(name, _)| keep(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The metadata a receiver sees, without prefixes, and the keys that came from more than one side.
///
/// From the weakest to the strongest: the object's annotations, the Alert's metadata, its summary, the controller's
/// facts.
pub fn metadata(event: &Event, alert: &Alert) -> (BTreeMap<String, String>, Vec<String>) {
    let group = event.involved_object.group();
    let strip = |prefix: &str| -> Vec<(String, String)> {
        let strip = |name: &str| name.strip_prefix(prefix)?.strip_prefix('/').map(str::to_owned);
        event
            .metadata
            .iter()
            .filter_map(|(name, value)| Some((strip(name)?, value.clone())))
            .collect()
    };
    let mut merged = BTreeMap::new();
    let mut conflicts = Vec::new();
    let mut add = |name: String, value: String| {
        if merged.insert(name.clone(), value).is_some() && !conflicts.contains(&name) {
            conflicts.push(name);
        }
    };
    strip(event::GROUP)
        .into_iter()
        .for_each(|(name, value)| add(name, value));
    alert
        .spec
        .event_metadata
        .iter()
        .for_each(|(name, value)| add(name.clone(), value.clone()));
    if let Some(summary) = &alert.spec.summary {
        add(event::SUMMARY.to_owned(), summary.clone());
    }
    if group != event::GROUP && !group.is_empty() {
        strip(group).into_iter().for_each(|(name, value)| add(name, value));
    }
    (merged, conflicts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::event::ObjectReference;
    use api::meta::Time;
    use serde_json::{Value, json};

    fn event(message: &str, severity: Severity) -> Event {
        Event {
            involved_object: ObjectReference {
                kind: "Kustomization".into(),
                namespace: "team".into(),
                name: "app".into(),
                api_version: "kustomize.toolkit.fluxcd.io/v1".into(),
                ..ObjectReference::default()
            },
            severity,
            timestamp: Time("2026-01-02T03:04:05Z".parse().unwrap()),
            message: message.into(),
            reason: "Progressing".into(),
            metadata: BTreeMap::new(),
            reporting_controller: "kustomize-controller".into(),
            reporting_instance: String::new(),
        }
    }

    fn alert(spec: Value) -> Alert {
        let mut whole = json!({"providerRef": {"name": "p"}, "eventSources": [{"kind": "Kustomization", "name": "*"}]});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let mut alert = Alert::new("a", serde_json::from_value(whole).unwrap());
        alert.metadata.namespace = Some("team".into());
        alert
    }

    #[track_caller]
    fn check(spec: Value, labels: Option<&[(&str, &str)]>, expected: Fit) {
        let choice = Choice::new(Arc::new(alert(spec)));
        let labels: Option<BTreeMap<_, _>> =
            labels.map(|labels| labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        assert_eq!(
            choice.fit(&event("ConfigMap/d/a created", Severity::Info), labels.as_ref()),
            expected
        );
    }

    #[test]
    fn objects_are_chosen_by_kind_name_and_namespace() {
        check(json!({}), None, Fit::Yes);
        check(
            json!({"eventSources": [{"kind": "GitRepository", "name": "*"}]}),
            None,
            Fit::No,
        );
        check(
            json!({"eventSources": [{"kind": "Kustomization", "name": "app"}]}),
            None,
            Fit::Yes,
        );
        check(
            json!({"eventSources": [{"kind": "Kustomization", "name": "ap"}]}),
            None,
            Fit::No,
        );
        check(
            json!({"eventSources": [{"kind": "Kustomization", "name": "*", "namespace": "other"}]}),
            None,
            Fit::No,
        );
        check(json!({"suspend": true}), None, Fit::No);
    }

    #[test]
    fn labels_are_looked_at_with_any_name() {
        let spec =
            |name: &str| json!({"eventSources": [{"kind": "Kustomization", "name": name, "matchLabels": {"a": "1"}}]});
        for name in ["*", "app"] {
            check(spec(name), None, Fit::NeedsLabels);
            check(spec(name), Some(&[("a", "1"), ("b", "2")]), Fit::Yes);
            check(spec(name), Some(&[("a", "2")]), Fit::No);
        }
    }

    #[test]
    fn severity_info_lets_everything_through_and_error_only_errors() {
        let fit = |alert_severity: &str, severity| {
            Choice::new(Arc::new(alert(json!({"eventSeverity": alert_severity})))).fit(&event("x", severity), None)
        };
        assert_eq!(fit("info", Severity::Error), Fit::Yes);
        assert_eq!(fit("info", Severity::Trace), Fit::Yes);
        assert_eq!(fit("error", Severity::Error), Fit::Yes);
        assert_eq!(fit("error", Severity::Info), Fit::No);
    }

    #[test]
    fn exclusion_wins_over_inclusion_and_an_invalid_expression_matches_nothing() {
        check(json!({"inclusionList": ["created$"]}), None, Fit::Yes);
        check(json!({"inclusionList": ["deleted$"]}), None, Fit::No);
        check(
            json!({"inclusionList": ["created"], "exclusionList": ["ConfigMap"]}),
            None,
            Fit::No,
        );
        check(json!({"inclusionList": ["("]}), None, Fit::No);
        check(json!({"exclusionList": ["("]}), None, Fit::Yes);
        assert_eq!(
            Choice::new(Arc::new(alert(json!({"exclusionList": ["(", "a"]}))))
                .invalid
                .len(),
            1
        );
    }

    #[test]
    fn ends_of_reconciles_are_for_webhooks_and_commit_statuses() {
        let mut finished = event("Reconciliation finished", Severity::Info);
        finished
            .metadata
            .insert("kustomize.toolkit.fluxcd.io/commit_status".into(), "update".into());
        let mut commented = event("x", Severity::Info);
        commented
            .metadata
            .insert("event.toolkit.fluxcd.io/change_request".into(), "7".into());
        let plain = event("x", Severity::Info);
        let failed = event("x", Severity::Error);
        let row = |event: &Event| {
            [Place::Webhook, Place::CommitStatus, Place::Comment, Place::Chat].map(|place| wanted(place, event))
        };
        assert_eq!(row(&finished), [true, true, false, false]);
        assert_eq!(row(&commented), [true, false, true, true]);
        assert_eq!(row(&plain), [true, false, false, true]);
        assert_eq!(row(&failed), [true, true, false, true]);
    }

    #[test]
    fn metadata_is_merged_from_weak_to_strong_and_conflicts_are_named() {
        let mut event = event("x", Severity::Info);
        for (name, value) in [
            ("event.toolkit.fluxcd.io/env", "annotation"),
            ("event.toolkit.fluxcd.io/team", "annotation"),
            ("kustomize.toolkit.fluxcd.io/revision", "controller"),
            ("unknown.io/x", "dropped"),
        ] {
            event.metadata.insert(name.into(), value.into());
        }
        let alert =
            alert(json!({"eventMetadata": {"env": "alert", "revision": "alert", "summary": "m"}, "summary": "s"}));
        let (merged, conflicts) = metadata(&event, &alert);
        let merged: Vec<_> = merged.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            merged,
            [
                ("env", "alert"),
                ("revision", "controller"),
                ("summary", "s"),
                ("team", "annotation")
            ]
        );
        assert_eq!(conflicts, ["env", "summary", "revision"]);
    }

    #[test]
    fn a_posted_event_keeps_what_its_group_and_its_users_set() {
        let mut event = event("x", Severity::Info);
        for name in [
            "kustomize.toolkit.fluxcd.io/revision",
            "kustomize.toolkit.fluxcd.io/checksum",
            "kustomize.toolkit.fluxcd.io/Digest",
            "event.toolkit.fluxcd.io/env",
            "helm.toolkit.fluxcd.io/revision",
            "revision",
        ] {
            event.metadata.insert(name.into(), "v".into());
        }
        let kept: Vec<_> = cleaned(&event).into_keys().collect();
        assert_eq!(
            kept,
            ["event.toolkit.fluxcd.io/env", "kustomize.toolkit.fluxcd.io/revision"]
        );
        event.involved_object.api_version.clear();
        assert_eq!(
            cleaned(&event).into_keys().collect::<Vec<_>>(),
            ["event.toolkit.fluxcd.io/env"]
        );
    }
}
