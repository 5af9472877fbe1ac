//! Why a request failed, in the words that Go's libraries have for it, because users of Flux search for those.

use std::error::Error;
use std::io;

use rustls::{CertificateError, Error as TlsError};

/// The reason at the end of the chain; the library's own introductions name the URL again.
pub fn causes(error: &reqwest::Error) -> String {
    if let Some(found) = tls(error) {
        return words(found);
    }
    let mut texts: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // Over HTTP/2 nothing is left of an alert but its text.
        if let Some(alert) = text.strip_prefix("received fatal alert: ") {
            return complaint(alert);
        }
        let text = through_proxy(cut_short(text));
        // Some layers repeat the text of the layer below.
        if texts.last().is_none_or(|last| !last.ends_with(&text)) {
            texts.push(text);
        }
        source = cause.source();
    }
    if texts.is_empty() {
        error.to_string()
    } else {
        texts.join(": ")
    }
}

/// Whether the connection was closed before anything was asked over it.
pub fn is_unsent(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        // Over HTTP/1.1, and over HTTP/2, which has several ways to notice.
        let text = cause.to_string();
        let starts = ["operation was canceled", "channel closed"];
        if starts.iter().any(|start| text.starts_with(start)) || text.ends_with("closed because of a broken pipe") {
            return true;
        }
        source = cause.source();
    }
    false
}

/// Whether the connection ended after something was asked over it and before the answer was all there that was waited for.
/// Answers that are wrong, and servers that nobody reaches, are something else.
pub fn is_unanswered(error: &reqwest::Error) -> bool {
    let ends = [
        "connection closed before message completed",
        "connection reset",
        "broken pipe",
        "keep-alive timed out",
    ];
    let mut source = error.source().filter(|_| !error.is_connect());
    while let Some(cause) = source {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let text = cause.to_string();
        if kind.is_some_and(is_end) || ends.iter().any(|end| text.ends_with(end)) {
            return true;
        }
        source = cause.source();
    }
    false
}

fn is_end(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// What TLS has to say, if it is at the bottom. What is inside an I/O error is not among its sources.
fn tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    if let Some(found) = error.downcast_ref::<TlsError>() {
        return Some(found);
    }
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match inner {
        Some(inner) => tls(inner),
        None => error.source().and_then(tls),
    }
}

fn words(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(reason) => {
            format!("tls: failed to verify certificate: x509: {}", distrust(reason))
        }
        TlsError::AlertReceived(alert) => complaint(&format!("{alert:?}")),
        other => format!("tls: {other}"),
    }
}

/// Why the server's certificate is not trusted.
fn distrust(reason: &CertificateError) -> String {
    match reason {
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            format!("certificate has expired or is not yet valid: {reason}")
        }
        other => other.to_string(),
    }
}

/// What the server says of this end, by the library's name for it.
fn complaint(alert: &str) -> String {
    let known = match alert {
        "CertificateRequired" => "certificate required",
        "BadCertificate" => "bad certificate",
        "UnknownCA" => "unknown certificate authority",
        "CertificateExpired" => "expired certificate",
        "CertificateUnknown" => "unknown certificate",
        "HandshakeFailure" => "handshake failure",
        "ProtocolVersion" => "protocol version not supported",
        "UnrecognisedName" => "unrecognized name",
        other => other,
    };
    format!("remote error: tls: {known}")
}

/// A connection that ends in the middle, for which TLS has a lecture.
fn cut_short(text: String) -> String {
    match text.starts_with("peer closed connection without sending TLS close_notify") {
        true => "unexpected EOF".to_owned(),
        false => text,
    }
}

/// A proxy's part in it.
fn through_proxy(text: String) -> String {
    match text.strip_prefix("tunnel error: ") {
        None => text,
        Some("proxy authorization required") => "proxyconnect tcp: Proxy Authentication Required".to_owned(),
        Some("unsuccessful") => "proxyconnect tcp: the proxy refuses to connect".to_owned(),
        Some(other) => format!("proxyconnect tcp: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::AlertDescription;

    fn check(error: TlsError, expected: &str) {
        assert_eq!(words(&error), expected);
        let wrapped = io::Error::other(io::Error::other(error));
        assert_eq!(tls(&wrapped).map(words).as_deref(), Some(expected));
    }

    #[test]
    fn tls_speaks_as_go_does() {
        check(
            TlsError::InvalidCertificate(CertificateError::UnknownIssuer),
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
        );
        check(
            TlsError::AlertReceived(AlertDescription::CertificateRequired),
            "remote error: tls: certificate required",
        );
        check(
            TlsError::AlertReceived(AlertDescription::AccessDenied),
            "remote error: tls: AccessDenied",
        );
        assert!(tls(&io::Error::other("no TLS")).is_none());
    }

    #[test]
    fn a_connection_that_ends_in_the_middle_is_no_lecture() {
        let lecture = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/…".to_owned();
        assert_eq!(cut_short(lecture), "unexpected EOF");
        assert_eq!(cut_short("connection reset".to_owned()), "connection reset");
    }

    #[test]
    fn what_a_proxy_does_not_do_is_said() {
        let said = |text: &str| through_proxy(text.to_owned());
        assert_eq!(
            said("tunnel error: unsuccessful"),
            "proxyconnect tcp: the proxy refuses to connect"
        );
        assert_eq!(said("tcp connect error"), "tcp connect error");
    }
}
