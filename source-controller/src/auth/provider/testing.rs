//! A service on loopback that answers as it was told and remembers every request whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runtime::lock;
use rustls::SignatureScheme;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

/// The key of the App in the tests, and the same in another form.
pub const APP_KEY: &str = include_str!("testdata/app-key.pem");
pub const APP_KEY_PKCS8: &str = include_str!("testdata/app-key-pkcs8.pem");

/// A request.
pub struct Seen {
    /// Method, path and query.
    pub line: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    /// A header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    /// The fields of the form in the body, in the order of their names.
    pub fn form(&self) -> Vec<(String, String)> {
        assert_eq!(self.header("content-type"), "application/x-www-form-urlencoded");
        let fields: BTreeMap<_, _> = url::form_urlencoded::parse(self.body.as_bytes()).into_owned().collect();
        fields.into_iter().collect()
    }
}

#[derive(Default)]
struct Told {
    /// By method and path.
    answers: BTreeMap<String, (u16, String)>,
    seen: Mutex<Vec<Seen>>,
}

/// A service; everything it was not told about it does not find.
pub struct Service {
    pub url: String,
    told: Arc<Told>,
}

impl Service {
    /// Answers requests, named by method and path, with a status and a body, or where a redirect leads.
    pub async fn start(answers: &[(&str, u16, &str)]) -> Self {
        let _ = default_provider().install_default();
        let answers = answers.iter();
        let told = Arc::new(Told {
            answers: answers
                .map(|(line, status, body)| ((*line).to_owned(), (*status, (*body).to_owned())))
                .collect(),
            ..Told::default()
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&told));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, told }
    }

    /// What it was asked since the last time, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut lock(&self.told.seen))
    }
}

async fn answer(State(told): State<Arc<Told>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let known = format!("{} {}", parts.method, parts.uri.path());
    let body = to_bytes(body, 1 << 20).await.unwrap().to_vec();
    lock(&told.seen).push(Seen {
        line: format!("{} {}", parts.method, parts.uri),
        headers: parts.headers,
        body: String::from_utf8(body).unwrap(),
    });
    match told.answers.get(&known) {
        Some((status @ 300..400, place)) => {
            (StatusCode::from_u16(*status).unwrap(), [(LOCATION, place.clone())]).into_response()
        }
        Some((status, body)) => (StatusCode::from_u16(*status).unwrap(), body.clone()).into_response(),
        None => (StatusCode::NOT_FOUND, r#"{"message":"Not Found"}"#).into_response(),
    }
}

/// The claims of a token that the key of the App has signed.
pub fn claims(token: &str) -> serde_json::Value {
    let (text, signature) = token.rsplit_once('.').unwrap();
    let key = PrivateKeyDer::from_pem_slice(APP_KEY.as_bytes()).unwrap();
    let provider = default_provider();
    let public = provider.key_provider.load_private_key(key).unwrap();
    // Behind the name of the algorithm, which has a fixed length for keys of this size.
    let public = public.public_key().unwrap().as_ref()[24..].to_vec();
    let (_, verifiers) = provider
        .signature_verification_algorithms
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == SignatureScheme::RSA_PKCS1_SHA256)
        .unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    verifiers[0]
        .verify_signature(&public, text.as_bytes(), &signature)
        .expect("the signature is that of the key");
    let (header, claims) = text.split_once('.').unwrap();
    let decode = |part| serde_json::from_slice::<serde_json::Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    assert_eq!(decode(header), serde_json::json!({"alg": "RS256", "typ": "JWT"}));
    decode(claims)
}

/// Variables of an environment, in which `URL` stands for that of a service.
pub fn variables(set: &[(&str, &str)], url: &str) -> impl Fn(&str) -> Option<String> {
    let set = set.iter();
    let set: BTreeMap<_, _> = set
        .map(|(name, value)| ((*name).to_owned(), value.replace("URL", url)))
        .collect();
    move |name| set.get(name).cloned()
}
