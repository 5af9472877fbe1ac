//! Whether a call to a webhook is genuine: signatures over the body with the Receiver's token, compared in constant
//! time, and the events that are allowed. Pure.

use api::notification::{ReceiverSpec, ReceiverType};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

/// Why a call is refused. The caller is told nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no signature.
    #[error("missing signature")]
    NoSignature,
    /// The signature has no form we know.
    #[error("the signature is not of the form sha1|sha256|sha512=<hex>")]
    Malformed,
    /// The signature is another one.
    #[error("the signature does not match")]
    Mismatch,
    /// The body is of no form we know.
    #[error("unsupported content type {0:?}: expected application/json or application/x-www-form-urlencoded")]
    ContentType(String),
    /// The event is not on the list.
    #[error("the event {0:?} is not authorised")]
    Event(String),
    /// The type is not supported yet.
    #[error("{0}")]
    Unsupported(String),
}

/// Whether a call is genuine.
///
/// # Errors
/// Why it is not.
pub fn verify(spec: &ReceiverSpec, token: &[u8], headers: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
    if let Some(why) = crate::unsupported::receiver(spec) {
        return Err(Refusal::Unsupported(why));
    }
    match spec.receiver_type {
        // Who knows the path knows the token.
        ReceiverType::Generic => Ok(()),
        ReceiverType::GenericHmac => {
            let signature = header(headers, "x-signature").ok_or(Refusal::NoSignature)?;
            signed(signature, token, body)
        }
        ReceiverType::GitHub => {
            let content = header(headers, CONTENT_TYPE.as_str()).unwrap_or_default();
            let essence = content
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase();
            if essence != "application/json" && essence != "application/x-www-form-urlencoded" {
                return Err(Refusal::ContentType(content.chars().take(100).collect()));
            }
            let signature = header(headers, "x-hub-signature-256").or_else(|| header(headers, "x-hub-signature"));
            match signature {
                Some(signature) => signed(signature, token, body)?,
                None if token.is_empty() => {}
                None => return Err(Refusal::NoSignature),
            }
            allowed(&spec.events, header(headers, "x-github-event").unwrap_or_default())
        }
        // The table above lets nothing else through.
        other => Err(Refusal::Unsupported(format!(
            "receiver type '{other}' is not supported yet"
        ))),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|value| !value.is_empty())
}

fn allowed(events: &[String], event: &str) -> Result<(), Refusal> {
    match events.is_empty() || events.iter().any(|allowed| allowed.eq_ignore_ascii_case(event)) {
        true => Ok(()),
        false => Err(Refusal::Event(event.chars().take(100).collect())),
    }
}

fn signed(signature: &str, token: &[u8], body: &[u8]) -> Result<(), Refusal> {
    let (algorithm, hex) = signature.split_once('=').ok_or(Refusal::Malformed)?;
    let given = unhex(hex).ok_or(Refusal::Malformed)?;
    let expected = match algorithm {
        "sha1" => tag::<Hmac<Sha1>>(token, body),
        "sha256" => tag::<Hmac<Sha256>>(token, body),
        "sha512" => tag::<Hmac<Sha512>>(token, body),
        _ => None,
    };
    let expected = expected.ok_or(Refusal::Malformed)?;
    match bool::from(expected.as_slice().ct_eq(&given)) {
        true => Ok(()),
        false => Err(Refusal::Mismatch),
    }
}

fn tag<M: Mac + hmac::digest::KeyInit>(token: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let mut mac = <M as Mac>::new_from_slice(token).ok()?;
    mac.update(body);
    Some(mac.finalize().into_bytes().to_vec())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    bytes
        .chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};
    use serde_json::{Value, json};

    // GitHub's own example of a signature.
    const SECRET: &[u8] = b"It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const GOOD: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn call(spec: Value, token: &[u8], headers: &[(&'static str, &str)], body: &[u8]) -> Result<(), Refusal> {
        let mut whole = json!({"type": "github", "resources": []});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        verify(&serde_json::from_value(whole).unwrap(), token, &headers, body)
    }

    #[track_caller]
    fn check(headers: &[(&'static str, &str)], expected: Result<(), Refusal>) {
        let mut all = vec![("content-type", "application/json; charset=utf-8")];
        all.extend(headers);
        assert_eq!(call(json!({}), SECRET, &all, BODY), expected);
    }

    #[test]
    fn a_github_signature_is_checked_over_the_body() {
        check(&[("x-hub-signature-256", GOOD)], Ok(()));
        check(
            &[("x-hub-signature-256", &GOOD.to_uppercase().replace("SHA", "sha"))],
            Ok(()),
        );
        check(
            &[("x-hub-signature-256", &GOOD.replace("757", "857"))],
            Err(Refusal::Mismatch),
        );
        check(&[("x-hub-signature-256", &GOOD[..20])], Err(Refusal::Malformed));
        check(&[("x-hub-signature-256", &GOOD[..21])], Err(Refusal::Mismatch));
        check(&[("x-hub-signature-256", "md5=00")], Err(Refusal::Malformed));
        check(&[("x-hub-signature-256", "nonsense")], Err(Refusal::Malformed));
        check(&[], Err(Refusal::NoSignature));
    }

    #[test]
    fn older_signatures_count_where_there_is_no_newer_one() {
        let sha1 = tag::<Hmac<Sha1>>(SECRET, BODY).unwrap();
        let sha1 = format!(
            "sha1={}",
            sha1.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        );
        check(&[("x-hub-signature", &sha1)], Ok(()));
        check(
            &[("x-hub-signature", &sha1), ("x-hub-signature-256", "sha256=00")],
            Err(Refusal::Mismatch),
        );
    }

    #[test]
    fn only_json_and_forms_are_taken() {
        let with = |content: &str| {
            call(
                json!({}),
                SECRET,
                &[("content-type", content), ("x-hub-signature-256", GOOD)],
                BODY,
            )
        };
        assert_eq!(with("application/x-www-form-urlencoded"), Ok(()));
        assert_eq!(with("text/plain"), Err(Refusal::ContentType("text/plain".into())));
    }

    #[test]
    fn events_that_are_not_listed_are_refused_whatever_their_case() {
        let spec = json!({"events": ["ping", "push"]});
        let with = |event: &str| {
            let headers = [
                ("content-type", "application/json"),
                ("x-hub-signature-256", GOOD),
                ("x-github-event", event),
            ];
            call(spec.clone(), SECRET, &headers, BODY)
        };
        assert_eq!(with("Push"), Ok(()));
        assert_eq!(with("fork"), Err(Refusal::Event("fork".into())));
    }

    #[test]
    fn generic_asks_for_nothing_and_generic_hmac_for_a_signature() {
        assert_eq!(call(json!({"type": "generic"}), SECRET, &[], BODY), Ok(()));
        let hmac = |headers: &[(&'static str, &str)]| call(json!({"type": "generic-hmac"}), SECRET, headers, BODY);
        assert_eq!(hmac(&[("x-signature", GOOD)]), Ok(()));
        assert_eq!(hmac(&[]), Err(Refusal::NoSignature));
        assert!(matches!(
            call(json!({"type": "gitlab"}), SECRET, &[], BODY),
            Err(Refusal::Unsupported(_))
        ));
    }
}
