//! The file that `GOOGLE_APPLICATION_CREDENTIALS` names: the key of an account, or how the token of a pod is exchanged.
//!
//! Files that users make for themselves (`authorized_user`) are not understood, and no program is run to get a token.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Acting, Error, Exchange, LASTING, SCOPES, token, user_name};
use crate::auth::provider::web::{self, Call, Web};
use crate::auth::provider::{Grant, Login, jwt, read_token};

const TOKENS: &str = "https://oauth2.googleapis.com/token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How far the clock may be ahead of Google's.
const SLACK: SignedDuration = SignedDuration::from_secs(10);

/// What may be in the file: which fields have to be depends on the type.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "type", default)]
    kind: String,

    // The key of an account.
    client_email: Option<String>,
    private_key: Option<String>,
    token_uri: Option<String>,

    // A token that somebody else gave, in a file of the pod.
    audience: Option<String>,
    subject_token_type: Option<String>,
    token_url: Option<String>,
    service_account_impersonation_url: Option<String>,
    service_account_impersonation: Option<Impersonation>,
    credential_source: Option<Source>,
}

#[derive(Deserialize)]
struct Impersonation {
    token_lifetime_seconds: Option<u32>,
}

#[derive(Deserialize)]
struct Source {
    file: Option<PathBuf>,
    format: Option<Format>,
}

#[derive(Deserialize)]
struct Format {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// What is claimed of an account.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: String,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

/// A token for whom the file names.
pub(super) async fn token_of_file(web: &Web, path: &Path, now: Timestamp) -> Result<Grant, Error> {
    let misread = |detail: String| Error::File {
        path: path.to_owned(),
        detail,
    };
    let text = read_token(path).await.map_err(|error| misread(error.detail))?;
    let file: File = serde_json::from_str(text.expose()).map_err(|error| misread(web::place(&error)))?;
    match file.kind.as_str() {
        "service_account" => {
            let call = claimed(&file, now).map_err(misread)?;
            let (token, expires) = token(web, &call, now).await?;
            Ok(Grant {
                login: Login::Google(user_name(file.client_email.as_deref()), token),
                expires,
            })
        }
        "external_account" => {
            let (exchange, source) = exchange(&file).map_err(misread)?;
            let given = read_token(source).await?;
            Ok(exchange.grant(web, &given, now).await?)
        }
        _ => Err(misread("type must be service_account or external_account".to_owned())),
    }
}

/// How a token is asked for with the key of an account.
fn claimed(file: &File, now: Timestamp) -> Result<Call, String> {
    let token_uri = file.token_uri.as_deref().unwrap_or(TOKENS);
    let issued = now.saturating_sub(SLACK).unwrap_or(now);
    let claims = Claims {
        iss: needed(&file.client_email, "client_email")?,
        scope: SCOPES.join(" "),
        aud: token_uri,
        iat: issued.as_second(),
        exp: issued.as_second() + i64::from(LASTING),
    };
    let key = needed(&file.private_key, "private_key")?;
    let claim = jwt::sign(&claims, key.as_bytes()).map_err(|error| format!("private_key: {error}"))?;
    Ok(Call::post(token_uri)
        .field("grant_type", GRANT)
        .secret_field("assertion", &claim))
}

/// How the token of the pod is exchanged, and the file it is in.
fn exchange(file: &File) -> Result<(Exchange<'_>, &Path), String> {
    let source = file.credential_source.as_ref();
    let is_text = |source: &&Source| {
        let kind = source.format.as_ref().and_then(|format| format.kind.as_deref());
        matches!(kind, None | Some("" | "text"))
    };
    let of_pod = source.filter(is_text).and_then(|source| source.file.as_deref());
    let seconds = file.service_account_impersonation.as_ref();
    let exchange = Exchange {
        url: needed(&file.token_url, "token_url")?,
        audience: needed(&file.audience, "audience")?,
        kind: needed(&file.subject_token_type, "subject_token_type")?,
        acting: file.service_account_impersonation_url.as_deref().map(|url| Acting {
            url,
            email: url.rsplit('/').next().and_then(|end| end.split(':').next()),
            seconds: seconds.and_then(|set| set.token_lifetime_seconds).unwrap_or(LASTING),
        }),
    };
    let unknown = "credential_source must name a file with the token as its text, without a program, a URL or a format";
    Ok((exchange, of_pod.ok_or(unknown)?))
}

fn needed<'a>(field: &'a Option<String>, name: &str) -> Result<&'a str, String> {
    let filled = field.as_deref().filter(|value| !value.is_empty());
    filled.ok_or_else(|| format!("{name} is missing"))
}
