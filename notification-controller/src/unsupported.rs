//! What the API knows and this controller does not do yet: one table, so that nothing is ignored in silence.

use api::notification::{ProviderType, ReceiverSpec, ReceiverType};

/// The reason of conditions and events that say so.
pub const REASON: &str = "UnsupportedFeature";

/// Says that messages cannot be sent to such a Provider yet; nothing where they can.
pub fn provider(kind: ProviderType) -> Option<String> {
    match kind {
        ProviderType::Generic | ProviderType::GenericHmac | ProviderType::Slack => None,
        ProviderType::Discord
        | ProviderType::MsTeams
        | ProviderType::Rocket
        | ProviderType::GitHub
        | ProviderType::GitLab
        | ProviderType::Gitea
        | ProviderType::GiteaPullRequestComment
        | ProviderType::BitbucketServer
        | ProviderType::Bitbucket
        | ProviderType::AzureDevOps
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
        | ProviderType::GitHubPullRequestComment
        | ProviderType::GitLabMergeRequestComment
        | ProviderType::PagerDuty
        | ProviderType::Datadog
        | ProviderType::Nats
        | ProviderType::Zulip
        | ProviderType::Otel
        | ProviderType::Zoom
        | ProviderType::IncidentIo => Some(format!(
            "provider type '{kind}' is not supported yet: use generic, generic-hmac or slack"
        )),
    }
}

/// Says what of a Receiver is not supported yet; nothing where all of it is.
pub fn receiver(spec: &ReceiverSpec) -> Option<String> {
    let kind = spec.receiver_type;
    match kind {
        ReceiverType::Generic | ReceiverType::GenericHmac | ReceiverType::GitHub => {}
        ReceiverType::GenericOidc
        | ReceiverType::GitLab
        | ReceiverType::Bitbucket
        | ReceiverType::Harbor
        | ReceiverType::DockerHub
        | ReceiverType::Quay
        | ReceiverType::Gcr
        | ReceiverType::Nexus
        | ReceiverType::Acr
        | ReceiverType::CdEvents => {
            return Some(format!(
                "receiver type '{kind}' is not supported yet: use generic, generic-hmac or github"
            ));
        }
    }
    if spec.resource_filter.is_some() {
        return Some("spec.resourceFilter is not supported yet: remove it".to_owned());
    }
    spec.resources
        .iter()
        .position(|resource| resource.filter.is_some())
        .map(|number| format!("spec.resources[{number}].filter is not supported yet: remove it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(spec: Value, expected: Option<&str>) {
        let mut whole = json!({"type": "generic", "resources": [{"kind": "GitRepository", "name": "a"}]});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let spec = serde_json::from_value(whole).unwrap();
        assert_eq!(receiver(&spec).as_deref(), expected);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        check(json!({}), None);
        check(json!({"type": "github"}), None);
        check(
            json!({"type": "gitlab"}),
            Some("receiver type 'gitlab' is not supported yet: use generic, generic-hmac or github"),
        );
        check(
            json!({"resourceFilter": "true"}),
            Some("spec.resourceFilter is not supported yet: remove it"),
        );
        check(
            json!({"resources": [
                {"kind": "GitRepository", "name": "a"}, {"kind": "GitRepository", "name": "b", "filter": "true"}
            ]}),
            Some("spec.resources[1].filter is not supported yet: remove it"),
        );
        assert_eq!(provider(ProviderType::Slack), None);
        assert!(provider(ProviderType::MsTeams).unwrap().contains("'msteams'"));
    }
}
