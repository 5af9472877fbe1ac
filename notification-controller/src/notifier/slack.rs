//! `slack`: a message with one attachment, to an incoming webhook or, with a token, to the API method
//! `chat.postMessage`. The API answers 200 to everything and says in the body whether it worked; an incoming webhook
//! says so by its status.

use super::{Accept, Error, ID_HEADER, Request, encode, object};
use crate::provider::Settings;
use api::event::{Event, Severity};
use runtime::redact::Redacted;
use serde::Serialize;

/// The end of the path of the API method, on whichever host.
const API_METHOD: &str = "/api/chat.postMessage";

#[derive(Serialize)]
struct Payload<'a> {
    channel: &'a str,
    username: &'a str,
    icon_url: &'a str,
    icon_emoji: &'a str,
    attachments: [Attachment<'a>; 1],
}

#[derive(Serialize)]
struct Attachment<'a> {
    fallback: String,
    color: &'a str,
    author_name: String,
    text: &'a str,
    mrkdwn_in: [&'a str; 1],
    fields: Vec<Field<'a>>,
}

#[derive(Serialize)]
struct Field<'a> {
    title: &'a str,
    value: &'a str,
    short: bool,
}

/// The request of a `slack` Provider.
///
/// # Errors
/// An event that cannot be encoded.
pub fn render(event: &Event, id: &str, settings: &Settings) -> Result<Request, Error> {
    let object = object(event);
    let first_line = event.message.lines().next().unwrap_or_default();
    let payload = Payload {
        channel: settings.channel.as_deref().unwrap_or_default(),
        username: settings.username.as_deref().unwrap_or(&event.reporting_controller),
        icon_url: "",
        icon_emoji: "",
        attachments: [Attachment {
            fallback: format!("{object}: {first_line}"),
            color: if event.severity == Severity::Error {
                "danger"
            } else {
                "good"
            },
            author_name: object,
            text: &event.message,
            mrkdwn_in: ["text"],
            fields: event
                .metadata
                .iter()
                .map(|(title, value)| Field {
                    title,
                    value,
                    short: false,
                })
                .collect(),
        }],
    };
    let mut headers = vec![
        ("Content-Type".to_owned(), "application/json".to_owned()),
        (ID_HEADER.to_owned(), id.to_owned()),
    ];
    headers.extend(
        settings
            .token
            .as_ref()
            .map(|token| ("Authorization".to_owned(), format!("Bearer {}", token.expose()))),
    );
    let is_api = settings.address.expose().path().ends_with(API_METHOD);
    Ok(Request {
        url: settings.address.clone(),
        headers: Redacted::new(headers),
        body: encode(&payload)?,
        accept: if is_api { Accept::SlackOk } else { Accept::Status },
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{event, headers, settings};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_failure_is_a_red_attachment_sent_with_the_token() {
        let settings = settings(
            json!({"type": "slack", "address": "https://slack.com/api/chat.postMessage", "channel": "ops", "username": "bot"}),
            &[("token", "xoxb-1")],
        );
        let request = render(&event("error"), "id1", &settings).unwrap();
        assert_eq!(request.accept, Accept::SlackOk);
        assert_eq!(
            headers(&request),
            [
                ("Content-Type", "application/json"),
                ("X-Sluice-Event-Id", "id1"),
                ("Authorization", "Bearer xoxb-1"),
            ]
        );
        let expected = concat!(
            r#"{"channel":"ops","username":"bot","icon_url":"","icon_emoji":"","attachments":[{"#,
            r#""fallback":"kustomization/app.team: ConfigMap/team/a created","color":"danger","#,
            r#""author_name":"kustomization/app.team","#,
            r#""text":"ConfigMap/team/a created\nConfigMap/team/b configured","mrkdwn_in":["text"],"#,
            r#""fields":[{"title":"env","value":"prod","short":false},"#,
            r#"{"title":"revision","value":"main@sha1:abc","short":false}]}]}"#
        );
        assert_eq!(String::from_utf8(request.body).unwrap(), expected);
    }

    #[test]
    fn a_webhook_needs_no_token_and_speaks_by_its_status() {
        let settings = settings(
            json!({"type": "slack", "address": "https://hooks.slack.com/services/T/B/X"}),
            &[],
        );
        let mut event = event("info");
        event.metadata.clear();
        let request = render(&event, "id1", &settings).unwrap();
        assert_eq!(request.accept, Accept::Status);
        assert_eq!(headers(&request).len(), 2);
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["username"], "kustomize-controller");
        assert_eq!(body["channel"], "");
        assert_eq!(body["attachments"][0]["color"], "good");
        assert_eq!(body["attachments"][0]["fields"], json!([]));
    }
}
