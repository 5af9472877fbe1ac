//! A Provider with its Secrets read: everything a delivery needs, and nothing that can be printed by accident. Pure:
//! the Secrets' contents are arguments.

use api::notification::{ProviderSpec, ProviderType};
use k8s_openapi::ByteString;
use runtime::redact::Redacted;
use std::collections::BTreeMap;
use std::time::Duration;
use url::Url;

/// The content of a Secret.
pub type Data = BTreeMap<String, ByteString>;

/// The time a delivery may take where the Provider does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest address, in bytes.
const MAX_ADDRESS: usize = 2048;
/// Secrets shorter than this are not looked for in texts: they would hide half of every word.
const MIN_MASKED: usize = 4;

/// How to reach a Provider.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The service.
    pub kind: ProviderType,
    /// Its address.
    pub address: Redacted<Url>,
    /// The channel to post to.
    pub channel: Option<String>,
    /// The name to post under.
    pub username: Option<String>,
    /// The token to show.
    pub token: Option<Redacted<String>>,
    /// Headers to add.
    pub headers: Redacted<BTreeMap<String, String>>,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// Certificates.
    pub tls: Option<Tls>,
    /// The proxy to go through.
    pub proxy: Option<Proxy>,
    masked: Redacted<Vec<String>>,
}

/// Certificates, PEM.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// The authorities to trust, in place of the system's.
    pub ca: Option<Vec<u8>>,
    /// Our certificate and its key.
    pub identity: Option<Redacted<Vec<u8>>>,
}

/// A proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Its address.
    pub address: Redacted<Url>,
    /// Name and password for it.
    pub credentials: Option<Redacted<(String, String)>>,
}

/// The Secrets of a Provider; each is there if the spec names it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Secrets<'a> {
    /// Of `spec.secretRef`.
    pub main: Option<&'a Data>,
    /// Of `spec.certSecretRef`.
    pub certificates: Option<&'a Data>,
    /// Of `spec.proxySecretRef`.
    pub proxy: Option<&'a Data>,
}

/// What is wrong with a Provider or its Secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no address.
    #[error("provider has no address: set spec.address or the key 'address' of its secret")]
    NoAddress,
    /// The address is none. It may be secret, so it is not shown.
    #[error("invalid {what}: {why}")]
    Address {
        /// Which address.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// A value of a Secret is not text.
    #[error("key '{0}' of the secret is not UTF-8 text")]
    NotText(&'static str),
    /// The headers are no map of texts.
    #[error("key 'headers' of the secret is not a YAML map of strings")]
    Headers,
    /// A key is missing.
    #[error("{0}")]
    Missing(&'static str),
}

impl Settings {
    /// The settings of a Provider.
    ///
    /// # Errors
    /// What is missing or cannot be read, without its value.
    pub fn of(spec: &ProviderSpec, secrets: Secrets<'_>) -> Result<Self, Error> {
        let main = |key| text(secrets.main, key);
        let address = main("address")?
            .or_else(|| spec.address.clone())
            .ok_or(Error::NoAddress)?;
        let token = main("token")?;
        let headers: BTreeMap<String, String> = match main("headers")? {
            Some(yaml) => serde_yaml::from_str(&yaml).map_err(|_| Error::Headers)?,
            None => BTreeMap::new(),
        };
        let proxy = proxy(spec, secrets)?;
        let tls = secrets.certificates.map(tls).transpose()?;
        let mut masked = vec![address.clone()];
        masked.extend(token.clone());
        masked.extend(main("password")?);
        masked.extend(headers.values().cloned());
        masked.extend(proxy.iter().flat_map(|proxy| {
            let password = proxy.credentials.as_ref().map(|pair| pair.expose().1.clone());
            std::iter::once(proxy.address.expose().to_string()).chain(password)
        }));
        let address = url("address", &address)?;
        masked.push(address.to_string());
        // Webhooks carry their secret in the path, and texts of errors may quote only that.
        masked.extend(Some(address.path().to_owned()).filter(|path| path.len() > 16));
        masked.extend(address.password().map(str::to_owned));
        Ok(Settings {
            kind: spec.provider_type,
            address: Redacted::new(address),
            channel: spec.channel.clone(),
            username: main("username")?.or_else(|| spec.username.clone()),
            token: token.filter(|token| !token.is_empty()).map(Redacted::new),
            headers: Redacted::new(headers),
            timeout: spec.timeout.map_or(DEFAULT_TIMEOUT, |timeout| timeout.std()),
            tls,
            proxy,
            masked: Redacted::new(masked),
        })
    }

    /// The text without anything that is secret.
    pub fn mask(&self, text: &str) -> String {
        let mut secrets: Vec<_> = self
            .masked
            .expose()
            .iter()
            .filter(|secret| secret.len() >= MIN_MASKED)
            .collect();
        // Longer ones first: one may be a part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
            .into_iter()
            .fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "*****"))
    }
}

fn text(data: Option<&Data>, key: &'static str) -> Result<Option<String>, Error> {
    let Some(value) = data.and_then(|data| data.get(key)) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&value.0).map_err(|_| Error::NotText(key))?;
    Ok(Some(text.trim().to_owned()))
}

fn url(what: &'static str, text: &str) -> Result<Url, Error> {
    let wrong = |why: String| Error::Address { what, why };
    if text.len() > MAX_ADDRESS {
        return Err(wrong(format!("longer than {MAX_ADDRESS} bytes")));
    }
    let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
    match url.has_host() {
        true => Ok(url),
        false => Err(wrong("no host".to_owned())),
    }
}

fn proxy(spec: &ProviderSpec, secrets: Secrets<'_>) -> Result<Option<Proxy>, Error> {
    if let Some(data) = secrets.proxy {
        let address = text(Some(data), "address")?.ok_or(Error::Missing("the proxy secret has no key 'address'"))?;
        let credentials = match (text(Some(data), "username")?, text(Some(data), "password")?) {
            (Some(name), Some(password)) => Some(Redacted::new((name, password))),
            (None, None) => None,
            _ => {
                return Err(Error::Missing(
                    "the proxy secret has only one of the keys 'username' and 'password'",
                ));
            }
        };
        return Ok(Some(Proxy {
            address: Redacted::new(url("proxy address", &address)?),
            credentials,
        }));
    }
    let address = text(secrets.main, "proxy")?.or_else(|| spec.proxy.clone());
    let proxy = |address: String| {
        Ok(Proxy {
            address: Redacted::new(url("proxy address", &address)?),
            credentials: None,
        })
    };
    address.map(proxy).transpose()
}

fn tls(data: &Data) -> Result<Tls, Error> {
    let get = |key: &str, legacy: &str| data.get(key).or_else(|| data.get(legacy)).map(|value| value.0.clone());
    let identity = match (get("tls.crt", "certFile"), get("tls.key", "keyFile")) {
        (Some(mut pem), Some(key)) => {
            pem.push(b'\n');
            pem.extend(key);
            Some(Redacted::new(pem))
        }
        (None, None) => None,
        _ => {
            return Err(Error::Missing(
                "the certificate secret has only one of the keys 'tls.crt' and 'tls.key'",
            ));
        }
    };
    match (get("ca.crt", "caFile"), identity) {
        (None, None) => Err(Error::Missing(
            "the certificate secret has neither 'ca.crt' nor 'tls.crt' and 'tls.key'",
        )),
        (ca, identity) => Ok(Tls { ca, identity }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn data(pairs: &[(&str, &str)]) -> Data {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())))
            .collect()
    }

    fn settings(spec: Value, main: &[(&str, &str)]) -> Result<Settings, Error> {
        let mut whole = json!({"type": "slack"});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let main = data(main);
        Settings::of(
            &serde_json::from_value(whole).unwrap(),
            Secrets {
                main: Some(&main),
                ..Secrets::default()
            },
        )
    }

    #[track_caller]
    fn check(spec: Value, main: &[(&str, &str)], expected: &str) {
        assert_eq!(settings(spec, main).unwrap_err().to_string(), expected);
    }

    #[test]
    fn the_secret_wins_over_the_spec() {
        let spec = json!({"address": "https://spec.example/a", "username": "spec", "channel": "c", "timeout": "3s"});
        let settings = settings(
            spec,
            &[
                ("address", " https://secret.example/b\n"),
                ("username", "secret"),
                ("token", "t0ken"),
            ],
        )
        .unwrap();
        assert_eq!(settings.address.expose().as_str(), "https://secret.example/b");
        assert_eq!(settings.username.as_deref(), Some("secret"));
        assert_eq!(settings.token.unwrap().expose(), "t0ken");
        assert_eq!(settings.timeout, Duration::from_secs(3));
    }

    #[test]
    fn what_is_wrong_is_named_without_its_value() {
        check(
            json!({}),
            &[],
            "provider has no address: set spec.address or the key 'address' of its secret",
        );
        check(
            json!({}),
            &[("address", "hunter2")],
            "invalid address: relative URL without a base",
        );
        check(
            json!({"address": "https://x"}),
            &[("headers", "[hunter2]")],
            "key 'headers' of the secret is not a YAML map of strings",
        );
    }

    #[test]
    fn nothing_secret_is_printed_or_left_in_texts() {
        let settings = settings(
            json!({}),
            &[
                ("address", "https://hooks.example/services/T000/B000/abcd"),
                ("token", "t0ken-value"),
                ("headers", "Authorization: Basic abcdefg"),
            ],
        )
        .unwrap();
        let printed = format!("{settings:?}");
        for secret in ["hooks.example", "t0ken-value", "abcdefg"] {
            assert!(!printed.contains(secret), "{printed}");
        }
        let text =
            "https://hooks.example/services/T000/B000/abcd said t0ken-value Basic abcdefg at /services/T000/B000/abcd";
        assert_eq!(settings.mask(text), "***** said ***** ***** at *****");
    }

    #[test]
    fn certificates_and_proxies_are_complete_or_refused() {
        let of = |certificates: Option<&Data>, proxy: Option<&Data>| {
            let spec = serde_json::from_value(json!({"type": "generic", "address": "https://x"})).unwrap();
            Settings::of(
                &spec,
                Secrets {
                    main: None,
                    certificates,
                    proxy,
                },
            )
            .map_err(|error| error.to_string())
        };
        let both = of(
            Some(&data(&[("ca.crt", "CA"), ("tls.crt", "C"), ("tls.key", "K")])),
            None,
        )
        .unwrap()
        .tls
        .unwrap();
        assert_eq!(
            (both.ca.as_deref(), both.identity.unwrap().expose().as_slice()),
            (Some(&b"CA"[..]), &b"C\nK"[..])
        );
        assert_eq!(
            of(Some(&data(&[("tls.crt", "C")])), None).unwrap_err(),
            "the certificate secret has only one of the keys 'tls.crt' and 'tls.key'"
        );
        assert_eq!(
            of(None, Some(&data(&[]))).unwrap_err(),
            "the proxy secret has no key 'address'"
        );
        let proxy = data(&[("address", "http://proxy:3128"), ("username", "u"), ("password", "p")]);
        assert_eq!(
            of(None, Some(&proxy))
                .unwrap()
                .proxy
                .unwrap()
                .credentials
                .unwrap()
                .expose()
                .1,
            "p"
        );
    }
}
