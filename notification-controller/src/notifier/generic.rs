//! `generic` and `generic-hmac`: the event itself, as JSON, to any address.
//!
//! ```json
//! {"involvedObject":{"kind":"Kustomization","namespace":"team","name":"app","uid":"…","apiVersion":"…","resourceVersion":"…"},
//!  "severity":"info","timestamp":"2026-01-02T03:04:05Z","message":"…","reason":"Progressing",
//!  "metadata":{"revision":"main@sha1:…"},"reportingController":"kustomize-controller"}
//! ```
//!
//! Headers: `Gotk-Component` names the controller, `X-Sluice-Event-Id` the event; the Secret's `headers` win over
//! both. `generic-hmac` adds `X-Signature: sha256=<hex>` over the body, which nothing wins over.

use super::{Accept, Error, ID_HEADER, Request, encode};
use crate::provider::Settings;
use api::event::Event;
use hmac::{Hmac, Mac};
use runtime::redact::Redacted;
use sha2::Sha256;

/// The request of a `generic` Provider.
///
/// # Errors
/// An event that cannot be encoded.
pub fn render(event: &Event, id: &str, settings: &Settings) -> Result<Request, Error> {
    let mut headers = vec![
        ("Content-Type".to_owned(), "application/json".to_owned()),
        ("Gotk-Component".to_owned(), event.reporting_controller.clone()),
        (ID_HEADER.to_owned(), id.to_owned()),
    ];
    headers.extend(
        settings
            .headers
            .expose()
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    Ok(Request {
        url: settings.address.clone(),
        headers: Redacted::new(headers),
        body: encode(event)?,
        accept: Accept::Status,
    })
}

/// The request of a `generic-hmac` Provider.
///
/// # Errors
/// A missing token.
pub fn render_signed(event: &Event, id: &str, settings: &Settings) -> Result<Request, Error> {
    let Some(token) = &settings.token else {
        return Err(Error::Missing(
            "generic-hmac needs a token: set the key 'token' of the provider's secret",
        ));
    };
    let request = render(event, id, settings)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(token.expose().as_bytes())
        .map_err(|_| Error::Missing("the token cannot be used as a key"))?;
    mac.update(&request.body);
    let signature: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut headers = request.headers.expose().clone();
    headers.push(("X-Signature".to_owned(), format!("sha256={signature}")));
    Ok(Request {
        headers: Redacted::new(headers),
        ..request
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{event, headers, settings};
    use super::*;
    use serde_json::json;

    #[test]
    fn the_body_is_the_event_and_the_secrets_headers_come_last() {
        let settings = settings(
            json!({"type": "generic", "address": "https://x.example/hook"}),
            &[("headers", "Authorization: Bearer t\nGotk-Component: mine")],
        );
        let request = render(&event("info"), "id1", &settings).unwrap();
        assert_eq!(request.url.expose().as_str(), "https://x.example/hook");
        assert_eq!(
            headers(&request),
            [
                ("Content-Type", "application/json"),
                ("Gotk-Component", "kustomize-controller"),
                ("X-Sluice-Event-Id", "id1"),
                ("Authorization", "Bearer t"),
                ("Gotk-Component", "mine"),
            ]
        );
        let expected = concat!(
            r#"{"involvedObject":{"kind":"Kustomization","namespace":"team","name":"app","uid":"u1","#,
            r#""apiVersion":"kustomize.toolkit.fluxcd.io/v1","resourceVersion":"7"},"severity":"info","#,
            r#""timestamp":"2026-01-02T03:04:05Z","message":"ConfigMap/team/a created\nConfigMap/team/b configured","#,
            r#""reason":"Progressing","metadata":{"env":"prod","revision":"main@sha1:abc"},"#,
            r#""reportingController":"kustomize-controller"}"#
        );
        assert_eq!(String::from_utf8(request.body).unwrap(), expected);
    }

    // printf %s "$body" | openssl dgst -sha256 -hmac key
    const SIGNATURE: &str = "sha256=cf7dfdcc102f77134018e68b554a3d085c1723119ccb4e839f33a29a1406de4e";

    #[test]
    fn the_signature_is_over_the_body_and_nothing_wins_over_it() {
        let spec = json!({"type": "generic-hmac", "address": "https://x.example/hook"});
        let signed = settings(spec.clone(), &[("token", "key"), ("headers", "X-Signature: forged")]);
        let request = render_signed(&event("info"), "id1", &signed).unwrap();
        let last = *headers(&request).last().unwrap();
        assert_eq!(last, ("X-Signature", SIGNATURE));
        assert!(render_signed(&event("info"), "id1", &settings(spec, &[])).is_err());
    }
}
