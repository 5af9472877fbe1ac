//! Keys of AWS, and what CodeCommit takes for a user name and a password.
//!
//! The controller is somebody by keys in its environment, by the role that the token of its pod may take (IRSA), by the
//! endpoint of its pod (EKS Pod Identity, ECS) or by the role of its machine, in this order, as AWS' libraries do it. A
//! ServiceAccount takes the role that its annotation names. Configuration files of users (`~/.aws`) are not read.

mod codecommit;
mod environment;
mod sigv4;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderName};
use runtime::redact::Redacted;
use serde::Deserialize;

use super::web::{self, Call, Web};
use super::{Grant, Login, Unread, read_token};
pub use codecommit::{Keys, NotCodeCommit, Repository};
pub use environment::Environment;
use environment::{Controller, Proof};

/// For whom the cluster's tokens of ServiceAccounts are.
pub const AUDIENCE: &str = "sts.amazonaws.com";

const ROLE: &str = "eks.amazonaws.com/role-arn";
const ROLE_PATTERN: &str = r"^arn:aws[\w-]*:iam::[0-9]{1,30}:role/.{1,200}$";
const TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const SESSION: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
/// The longest name of a session.
const MAX_SESSION: usize = 64;
/// How long keys are used of which nobody says how long they last.
const LASTING: SignedDuration = SignedDuration::from_hours(1);

/// A role of which keys are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role(String);

impl Role {
    /// The role that the annotation of a ServiceAccount names.
    ///
    /// # Errors
    /// It names none.
    pub fn of(annotations: &BTreeMap<String, String>) -> Result<Self, String> {
        let arn = annotations.get(ROLE).map(String::as_str).unwrap_or_default();
        if is_role(arn) {
            Ok(Self(arn.to_owned()))
        } else {
            Err(format!("invalid {ROLE} annotation: '{arn}'. must match {ROLE_PATTERN}"))
        }
    }

    /// Its name in AWS.
    pub fn arn(&self) -> &str {
        &self.0
    }
}

/// What [`ROLE_PATTERN`] says.
fn is_role(arn: &str) -> bool {
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    next() == "arn"
        && next().strip_prefix("aws").is_some_and(|rest| rest.bytes().all(is_word))
        && next() == "iam"
        && next().is_empty()
        && {
            let account = next();
            (1..=30).contains(&account.len()) && account.bytes().all(|byte| byte.is_ascii_digit())
        }
        && next()
            .strip_prefix("role/")
            .is_some_and(|name| (1..=200).contains(&name.chars().count()) && !name.contains('\n'))
}

/// What the session of a ServiceAccount is called in AWS' logs; the end of what is too long is left out.
pub fn session_name(namespace: &str, name: &str, region: &str) -> String {
    let mut session = format!("{name}.{namespace}.{region}.fluxcd.io");
    session.truncate(MAX_SESSION);
    session
}

/// Why there are no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The token of the pod.
    #[error(transparent)]
    File(#[from] Unread),
    /// AWS gives none.
    #[error(transparent)]
    Web(#[from] web::Error),
    /// Nothing says who the controller is.
    #[error(
        "nothing in the environment of the controller says who it is in AWS: give it a role with IAM Roles for Service \
         Accounts or EKS Pod Identity and start it anew"
    )]
    Nobody,
}

/// Keys for the controller.
///
/// # Errors
/// See [`Error`].
pub async fn controller(
    web: &Web,
    direct: &Web,
    environment: &Environment,
    region: &str,
    now: Timestamp,
) -> Result<Grant, Error> {
    match &environment.controller {
        Controller::Keys(keys) => Ok(Grant {
            login: Login::Keys(keys.clone()),
            expires: now.saturating_add(LASTING).unwrap_or(now),
        }),
        Controller::Pod { file, role, session } => {
            let token = read_token(file).await?;
            let role = Role(role.clone());
            Ok(assume(web, environment, region, &role, session, &token).await?)
        }
        Controller::Endpoint { url, proof } => {
            let mut call = Call::get(url);
            match proof {
                Proof::File(file) => call = call.secret_header(AUTHORIZATION, &read_token(file).await?),
                Proof::Is(token) => call = call.secret_header(AUTHORIZATION, token),
                Proof::None => {}
            }
            Ok(described(direct, &call, now).await?)
        }
        Controller::Machine { host } => Ok(machine(direct, host, now).await?),
        Controller::Nobody => Err(Error::Nobody),
    }
}

/// The keys of the machine's role, asked for with a token of the machine (IMDSv2).
async fn machine(direct: &Web, host: &str, now: Timestamp) -> Result<Grant, web::Error> {
    let text = async |call: &Call| {
        let answer = direct.ask(call).await?;
        if !answer.is_success() {
            return Err(call.refused(&answer, |_| None));
        }
        Ok(Redacted::new(String::from_utf8_lossy(answer.body()).trim().to_owned()))
    };
    let session = text(&Call::put(format!("{host}/latest/api/token")).header(TTL, "300")).await?;
    let roles = format!("{host}/latest/meta-data/iam/security-credentials/");
    let list = Call::get(&roles).secret_header(SESSION, &session);
    let role = text(&list).await?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    let Some(role) = role.expose().lines().next().filter(|role| role.bytes().all(is_name)) else {
        return Err(list.misunderstood("it names no role"));
    };
    described(
        direct,
        &Call::get(format!("{roles}{role}")).secret_header(SESSION, &session),
        now,
    )
    .await
}

/// Keys as the endpoints of pods and machines describe them.
async fn described(direct: &Web, call: &Call, now: Timestamp) -> Result<Grant, web::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Described {
        access_key_id: String,
        secret_access_key: String,
        #[serde(default)]
        token: String,
        #[serde(default)]
        expiration: Option<Timestamp>,
    }
    let keys: Described = direct.json(call, |_| None).await?;
    Ok(Grant {
        login: Login::Keys(Keys {
            id: keys.access_key_id,
            secret: Redacted::new(keys.secret_access_key),
            session: Redacted::new(keys.token),
        }),
        expires: keys
            .expiration
            .unwrap_or_else(|| now.saturating_add(LASTING).unwrap_or(now)),
    })
}

/// Keys of a role, in exchange for a token of the cluster.
///
/// # Errors
/// AWS gives none.
pub async fn assume(
    web: &Web,
    environment: &Environment,
    region: &str,
    role: &Role,
    session: &str,
    token: &Redacted<String>,
) -> Result<Grant, web::Error> {
    let call = Call::post(environment.sts(region))
        .header(ACCEPT, "text/xml")
        .field("Action", "AssumeRoleWithWebIdentity")
        .field("Version", "2011-06-15")
        .field("RoleArn", role.arn())
        .field("RoleSessionName", session)
        .secret_field("WebIdentityToken", token);
    let answer = web.ask(&call).await?;
    if !answer.is_success() {
        return Err(call.refused(&answer, said));
    }
    let text = String::from_utf8_lossy(answer.body());
    let part = |name: &str| element(&text, name).ok_or_else(|| call.misunderstood(format!("it holds no {name}")));
    let expires = part("Expiration")?;
    Ok(Grant {
        login: Login::Keys(Keys {
            id: part("AccessKeyId")?,
            secret: Redacted::new(part("SecretAccessKey")?),
            session: Redacted::new(part("SessionToken")?),
        }),
        expires: expires
            .parse()
            .map_err(|_| call.misunderstood("Expiration is no time"))?,
    })
}

/// What STS says about a refusal.
fn said(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    Some(format!("{}: {}", element(&text, "Code")?, element(&text, "Message")?))
}

/// The text of the only element of a name, in the answers of STS: they have no attributes, comments or sections where
/// this looks.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let plain = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    let text = plain.iter().fold(text.trim().to_owned(), |text, (entity, plain)| {
        text.replace(entity, plain)
    });
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::provider::testing::{Service, variables};

    #[test]
    fn a_service_account_names_a_role() {
        let of = |arn: &str| Role::of(&BTreeMap::from([(ROLE.to_owned(), arn.to_owned())])).is_ok();
        for arn in [
            "arn:aws:iam::1:role/r",
            "arn:aws-us-gov:iam::123456789012:role/path/r:x",
        ] {
            assert!(of(arn), "{arn}");
        }
        for arn in [
            "",
            "arn:aws:iam:eu:1:role/r",
            "arn:aws:iam::x:role/r",
            "arn:aws:iam::1:user/r",
            "arn:aws:iam::1:role/",
            "arn:a:iam::1:role/r",
        ] {
            assert!(!of(arn), "{arn}");
        }
        let text = "invalid eks.amazonaws.com/role-arn annotation: ''. must match ^arn:aws[\\w-]*:iam::[0-9]{1,30}:role/.{1,200}$";
        assert_eq!(Role::of(&BTreeMap::new()).unwrap_err(), text);
        assert_eq!(session_name("ns", "app", "eu-west-1"), "app.ns.eu-west-1.fluxcd.io");
        assert_eq!(session_name("ns", &"a".repeat(80), "eu-west-1"), "a".repeat(64));
    }

    const ASSUMED: &str = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">
  <AssumeRoleWithWebIdentityResult>
    <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn></AssumedRoleUser>
    <Credentials>
      <SessionToken>se/ss+ion==</SessionToken>
      <SecretAccessKey>secret/key+</SecretAccessKey>
      <Expiration>2030-01-01T00:00:00Z</Expiration>
      <AccessKeyId>ASIA1</AccessKeyId>
    </Credentials>
  </AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>";
    const DESCRIBED: &str = r#"{"Code":"Success","AccessKeyId":"ASIA1","SecretAccessKey":"secret/key+",
        "Token":"se/ss+ion==","Expiration":"2030-01-01T00:00:00Z"}"#;
    const TOKEN: &str = "the.token.of.the.cluster";

    /// The keys and when they end; or the message, with `URL` for the service.
    fn given<E: std::fmt::Display>(service: &Service, grant: Result<Grant, E>) -> Result<[String; 4], String> {
        match grant {
            Ok(grant) => match grant.login {
                Login::Keys(Keys { id, secret, session }) => {
                    let (secret, session) = (secret.expose().clone(), session.expose().clone());
                    Ok([id, secret, session, grant.expires.to_string()])
                }
                other => panic!("{other:?}"),
            },
            Err(error) => Err(error.to_string().replace(&service.url, "URL")),
        }
    }

    fn keys() -> Result<[String; 4], String> {
        Ok(["ASIA1", "secret/key+", "se/ss+ion==", "2030-01-01T00:00:00Z"].map(str::to_owned))
    }

    /// What a service gives to the controller with these variables, in which `URL` stands for the service.
    async fn ask(set: &[(&str, &str)], service: &Service) -> Result<[String; 4], String> {
        let environment = Environment::read(&variables(set, &service.url));
        let (web, direct) = (Web::directly().unwrap(), Web::directly().unwrap());
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        given(service, controller(&web, &direct, &environment, "eu-west-1", now).await)
    }

    #[tokio::test]
    async fn a_token_of_the_cluster_opens_a_role() {
        let service = Service::start(&[("POST /", 200, ASSUMED)]).await;
        let environment = Environment::read(&variables(&[("AWS_ENDPOINT_URL_STS", "URL")], &service.url));
        let (web, token) = (Web::directly().unwrap(), Redacted::new(TOKEN.to_owned()));
        let role = Role("arn:aws:iam::1:role/r".into());
        let grant = assume(&web, &environment, "eu-west-1", &role, "app.ns", &token).await;
        assert_eq!(given(&service, grant), keys());
        let [seen] = &service.seen()[..] else {
            panic!("one request")
        };
        assert_eq!((seen.line.as_str(), seen.header("accept")), ("POST /", "text/xml"));
        let form = seen.form();
        let form: Vec<_> = form
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            form,
            [
                ("Action", "AssumeRoleWithWebIdentity"),
                ("RoleArn", "arn:aws:iam::1:role/r"),
                ("RoleSessionName", "app.ns"),
                ("Version", "2011-06-15"),
                ("WebIdentityToken", TOKEN),
            ]
        );
    }

    #[tokio::test]
    async fn the_controller_is_known_by_the_role_of_its_pod() {
        let service = Service::start(&[("POST /", 200, ASSUMED)]).await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), TOKEN).unwrap();
        let path = file.path().display().to_string();
        let set = [
            ("AWS_ENDPOINT_URL", "URL"),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
            ("AWS_ROLE_SESSION_NAME", "mine"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", &path),
        ];
        assert_eq!(ask(&set, &service).await, keys());
        let form = service.seen()[0].form();
        assert!(form.contains(&("RoleSessionName".into(), "mine".into())), "{form:?}");
        assert!(form.contains(&("WebIdentityToken".into(), TOKEN.into())), "{form:?}");
        let refusal = format!(
            "<Error><Code>AccessDenied</Code><Message>{TOKEN} may not AssumeRoleWithWebIdentity</Message></Error>"
        );
        let refusing = Service::start(&[("POST /", 400, &refusal)]).await;
        let text = "POST URL/: 400 AccessDenied: *** may not AssumeRoleWithWebIdentity";
        assert_eq!(ask(&set, &refusing).await, Err(text.into()));
        let strange = Service::start(&[("POST /", 200, "<AccessKeyId>A</AccessKeyId>")]).await;
        let text = "POST URL/: the answer is not understood: it holds no Expiration";
        assert_eq!(ask(&set, &strange).await, Err(text.into()));
    }

    #[tokio::test]
    async fn the_controller_is_known_by_an_endpoint_of_its_pod() {
        let service = Service::start(&[("GET /v1/credentials", 200, DESCRIBED)]).await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), TOKEN).unwrap();
        let path = file.path().display().to_string();
        let set = [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "URL/v1/credentials"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &path),
        ];
        assert_eq!(ask(&set, &service).await, keys());
        assert_eq!(service.seen()[0].header("authorization"), TOKEN);
    }

    #[tokio::test]
    async fn the_controller_is_known_by_the_role_of_its_machine() {
        let roles = "/latest/meta-data/iam/security-credentials/";
        let (list, role) = (format!("GET {roles}"), format!("GET {roles}node-role"));
        let service = Service::start(&[
            ("PUT /latest/api/token", 200, "the session of the machine"),
            (&list, 200, "node-role\n"),
            (&role, 200, DESCRIBED),
        ])
        .await;
        let set = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", "URL/")];
        assert_eq!(ask(&set, &service).await, keys());
        let seen = service.seen();
        let lines: Vec<_> = seen.iter().map(|seen| seen.line.as_str()).collect();
        assert_eq!(lines, ["PUT /latest/api/token", &list, &role]);
        assert_eq!(seen[0].header(TTL.as_str()), "300");
        for seen in &seen[1..] {
            assert_eq!(seen.header(SESSION.as_str()), "the session of the machine");
        }
        let strange = Service::start(&[("PUT /latest/api/token", 200, "another session"), (&list, 200, "../x")]).await;
        let error = ask(&set, &strange).await.unwrap_err();
        assert!(
            error.ends_with("the answer is not understood: it names no role"),
            "{error}"
        );
        let text = "nothing in the environment of the controller says who it is in AWS: ";
        let error = ask(&[("AWS_EC2_METADATA_DISABLED", "true")], &service)
            .await
            .unwrap_err();
        assert!(error.starts_with(text), "{error}");
    }

    #[test]
    fn refusals_and_entities_of_sts_are_read() {
        let body = b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
            <Message>Not authorized to perform &lt;x&gt; &amp;lt; y</Message></Error></ErrorResponse>";
        assert_eq!(
            said(body).unwrap(),
            "AccessDenied: Not authorized to perform <x> &lt; y"
        );
        assert_eq!(said(b"<html>"), None);
    }
}
