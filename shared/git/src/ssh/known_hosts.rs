//! Which keys servers are known by: the format of OpenSSH's `known_hosts`.
//!
//! A line is `[@marker] hosts type key [comment]`. Hosts are patterns with `*` and `?`, separated by commas, where one that
//! begins with `!` excludes; a host at another port than 22 is written `[host]:port`; or all of it is hashed (`|1|salt|hash`).
//! `@cert-authority` lines name keys that sign host certificates, `@revoked` lines keys that are refused wherever they turn up
//! (as Flux does; OpenSSH looks at their hosts, too).
//!
//! Nothing is ever added: a server that is not known is refused.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Algorithm, Certificate, Fingerprint, HashAlg, PublicKey};
use sha1::Sha1;

/// The port that is not written.
const DEFAULT_PORT: u16 = 22;

/// The known servers.
#[derive(Clone, Debug, Default)]
pub struct KnownHosts {
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    number: usize,
    marker: Marker,
    hosts: Hosts,
    key: PublicKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    Plain,
    Authority,
    Revoked,
}

#[derive(Clone, Debug)]
enum Hosts {
    Patterns(Vec<Pattern>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

#[derive(Clone, Debug)]
struct Pattern {
    excludes: bool,
    host: String,
    port: u16,
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("known_hosts: line {line}: {reason}")]
pub struct Malformed {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Why a server is not who it should be. The words at the beginning are those of Go's library, which users search for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// There is no line for the host.
    #[error(
        "knownhosts: key is unknown: {host} presents the {algorithm} key {fingerprint}, and known_hosts has none for it"
    )]
    Unknown {
        /// The host.
        host: String,
        /// The kind of its key.
        algorithm: String,
        /// The key.
        fingerprint: String,
    },
    /// There are other keys for it.
    #[error(
        "knownhosts: key mismatch: {host} presents the {algorithm} key {fingerprint}, which is none of those on the lines \
         {lines} of known_hosts"
    )]
    Mismatch {
        /// The host.
        host: String,
        /// The kind of its key.
        algorithm: String,
        /// The key.
        fingerprint: String,
        /// The lines, as they are counted.
        lines: String,
    },
    /// The key, or that of its authority, is refused.
    #[error("knownhosts: key is revoked: {host} presents the key {fingerprint}, see line {line} of known_hosts")]
    Revoked {
        /// The host.
        host: String,
        /// The key.
        fingerprint: String,
        /// The line that says so.
        line: usize,
    },
    /// The certificate is not good for the host.
    #[error("knownhosts: the certificate of {host} is refused: {reason}")]
    Certificate {
        /// The host.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl KnownHosts {
    /// Reads the file.
    ///
    /// # Errors
    /// A line that is neither empty, nor a comment, nor an entry. Keys of kinds that nobody knows are passed over.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut lines = Vec::new();
        for (index, text) in text.lines().enumerate() {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let number = index + 1;
            let read = line(number, text);
            lines.extend(read.map_err(|reason| Malformed { line: number, reason })?);
        }
        Ok(Self { lines })
    }

    /// Judges what a server presents.
    ///
    /// # Errors
    /// It is not known by it.
    pub fn check(&self, host: &str, port: u16, presented: &PublicKeyOrCertificate) -> Result<(), Stranger> {
        let shown = shown(host, port);
        let key = presented.public_key();
        self.refuse_revoked(&shown, key.key_data())?;
        if let Some(certificate) = presented.certificate() {
            self.refuse_revoked(&shown, certificate.signature_key())?;
            let authorities = self.of(host, port, Marker::Authority);
            let signer = certificate.signature_key();
            if authorities.iter().any(|line| line.key.key_data() == signer) {
                let refused = |reason: String| Stranger::Certificate {
                    host: shown.clone(),
                    reason,
                };
                return vouches(certificate, host, SystemTime::now()).map_err(refused);
            }
        }
        let lines = self.of(host, port, Marker::Plain);
        if lines.iter().any(|line| line.key.key_data() == key.key_data()) {
            return Ok(());
        }
        let algorithm = key.algorithm().as_str().to_owned();
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        if lines.is_empty() {
            return Err(Stranger::Unknown {
                host: shown,
                algorithm,
                fingerprint,
            });
        }
        let numbers: Vec<_> = lines.iter().map(|line| line.number.to_string()).collect();
        Err(Stranger::Mismatch {
            host: shown,
            algorithm,
            fingerprint,
            lines: numbers.join(", "),
        })
    }

    /// The kinds of keys the host is known by: a server that has several then presents one of them.
    pub fn algorithms(&self, host: &str, port: u16) -> Vec<Algorithm> {
        let lines = self.of(host, port, Marker::Plain);
        lines.iter().map(|line| line.key.algorithm()).collect()
    }

    /// Whether certificates count for the host.
    pub fn has_authority(&self, host: &str, port: u16) -> bool {
        !self.of(host, port, Marker::Authority).is_empty()
    }

    fn of(&self, host: &str, port: u16, marker: Marker) -> Vec<&Line> {
        let host = host.to_ascii_lowercase();
        let lines = self.lines.iter().filter(|line| line.marker == marker);
        lines.filter(|line| line.hosts.name(&host, port)).collect()
    }

    fn refuse_revoked(&self, host: &str, key: &KeyData) -> Result<(), Stranger> {
        let mut revoked = self.lines.iter().filter(|line| line.marker == Marker::Revoked);
        match revoked.find(|line| line.key.key_data() == key) {
            None => Ok(()),
            Some(line) => Err(Stranger::Revoked {
                host: host.to_owned(),
                fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
                line: line.number,
            }),
        }
    }
}

impl Hosts {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(hashed) = text.strip_prefix('|') {
            let parts: Vec<_> = hashed.split('|').collect();
            let [kind, salt, hash] = parts[..] else {
                return Err("a hashed host is written |1|salt|hash".to_owned());
            };
            if kind != "1" {
                return Err(format!("hosts hashed by method '{kind}' are not supported"));
            }
            let decode = |text| {
                STANDARD
                    .decode(text)
                    .map_err(|_| "the hash of the host is not base64".to_owned())
            };
            return Ok(Self::Hashed {
                salt: decode(salt)?,
                hash: decode(hash)?,
            });
        }
        let patterns = text.split(',').filter(|pattern| !pattern.is_empty());
        patterns
            .map(Pattern::parse)
            .collect::<Result<_, _>>()
            .map(Self::Patterns)
    }

    fn name(&self, host: &str, port: u16) -> bool {
        match self {
            Self::Patterns(patterns) => {
                let matches = |pattern: &&Pattern| pattern.port == port && glob(&pattern.host, host);
                let mut matching = patterns.iter().filter(matches).peekable();
                matching.peek().is_some() && !matching.any(|pattern| pattern.excludes)
            }
            Self::Hashed { salt, hash } => {
                let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(salt) else {
                    return false;
                };
                mac.update(shown(host, port).as_bytes());
                mac.verify_slice(hash).is_ok()
            }
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let (excludes, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, DEFAULT_PORT),
            Some((host, port)) => {
                let port = port.strip_prefix(':').and_then(|digits| digits.parse().ok());
                (host, port.ok_or_else(|| format!("'{text}' names no port"))?)
            }
            None => (text, DEFAULT_PORT),
        };
        Ok(Self {
            excludes,
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

/// The line's entry, if its key is of a known kind.
fn line(number: usize, text: &str) -> Result<Option<Line>, String> {
    let mut words = text.split_whitespace();
    let mut next = |what: &str| words.next().ok_or_else(|| format!("{what} is missing"));
    let mut first = next("the host")?;
    let marker = match first.strip_prefix('@') {
        None => Marker::Plain,
        Some("cert-authority") => Marker::Authority,
        Some("revoked") => Marker::Revoked,
        Some(other) => return Err(format!("the marker '@{other}' is unknown")),
    };
    if marker != Marker::Plain {
        first = next("the host")?;
    }
    let hosts = Hosts::parse(first)?;
    let (kind, key) = (next("the kind of the key")?, next("the key")?);
    match Algorithm::new(kind) {
        Ok(Algorithm::Other(_)) | Err(_) => return Ok(None),
        Ok(_) => {}
    }
    let key = PublicKey::from_openssh(&format!("{kind} {key}")).map_err(|error| format!("the key: {error}"))?;
    Ok(Some(Line {
        number,
        marker,
        hosts,
        key,
    }))
}

/// Whether a certificate that a known authority signed is good for the host at a time.
fn vouches(certificate: &Certificate, host: &str, now: SystemTime) -> Result<(), String> {
    if certificate.cert_type() != CertType::Host {
        return Err("it is not one for a host".to_owned());
    }
    let principals = certificate.valid_principals();
    let is_named = |principal: &String| principal.eq_ignore_ascii_case(host);
    if !principals.is_empty() && !principals.iter().any(is_named) {
        return Err(format!("it is for {}", principals.join(", ")));
    }
    if !certificate.critical_options().is_empty() {
        return Err("it has critical options, which no host certificate has".to_owned());
    }
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if seconds < certificate.valid_after() || seconds >= certificate.valid_before() {
        return Err("it is not valid at this time".to_owned());
    }
    // The caller has found the authority among those that count.
    let authority: Fingerprint = certificate.signature_key().fingerprint(HashAlg::Sha256);
    let signed = certificate.validate_at(seconds, [&authority]);
    signed.map_err(|_| "its signature is wrong".to_owned())
}

/// A host as it is written in the file.
fn shown(host: &str, port: u16) -> String {
    if port == DEFAULT_PORT {
        host.to_owned()
    } else {
        format!("[{host}]:{port}")
    }
}

/// Whether a pattern with `*` and `?` takes the whole text. Linear in memory and without recursion.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and where what it takes ends.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                p += 1;
                t += 1;
            }
            _ => match star {
                None => return false,
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "asks the real ssh-keygen")]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";

    fn key(text: &str) -> PublicKeyOrCertificate {
        PublicKey::from_openssh(text).unwrap().into()
    }

    /// Whether a server with the key `ONE` is known by the file, or how the refusal begins.
    fn check(file: &str, host: &str, port: u16, expected: Result<(), &str>) {
        let file = file.replace("ONE", ONE).replace("OTHER", OTHER);
        let found = KnownHosts::parse(&file).unwrap().check(host, port, &key(ONE));
        match (found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(found), Err(expected)) => assert!(found.to_string().starts_with(expected), "{found}\n{file}"),
            (found, _) => panic!("{found:?} instead of {expected:?} for {host}:{port}\n{file}"),
        }
    }

    const UNKNOWN: Result<(), &str> = Err("knownhosts: key is unknown: ");

    #[test]
    fn a_host_is_known_by_name_pattern_and_port() {
        check("host ONE\n", "host", 22, Ok(()));
        check("# a comment\n\n  other,Host ONE comment here\n", "host", 22, Ok(()));
        check("host ONE\n", "HOST", 22, Ok(()));
        check("host ONE\n", "host", 2222, UNKNOWN);
        check("[host]:2222 ONE\n", "host", 2222, Ok(()));
        check("[host]:2222 ONE\n", "host", 22, UNKNOWN);
        check("[host]:22 ONE\n", "host", 22, Ok(()));
        check("*.test,?ost ONE\n", "a.b.test", 22, Ok(()));
        check("*.test,?ost ONE\n", "post", 22, Ok(()));
        check("*.test,?ost ONE\n", "test", 22, UNKNOWN);
        check("[*]:2222 ONE\n", "anything", 2222, Ok(()));
        check("*,!bad.test ONE\n", "good.test", 22, Ok(()));
        check("*,!bad.test ONE\n", "bad.test", 22, UNKNOWN);
        check("!*.bad,* ONE\n", "x.bad", 22, UNKNOWN);
        check("2001:db8::1 ONE\n", "2001:db8::1", 22, Ok(()));
        check("", "host", 22, UNKNOWN);
    }

    #[test]
    fn another_key_is_a_mismatch_and_any_of_several_will_do() {
        let mismatch = Err("knownhosts: key mismatch: host presents the ssh-ed25519 key SHA256:");
        check("host OTHER\n", "host", 22, mismatch);
        check("host OTHER\nhost ONE\n", "host", 22, Ok(()));
        check("other ONE\nhost OTHER\n", "host", 22, mismatch);
    }

    #[test]
    fn a_revoked_key_is_refused_wherever_it_turns_up() {
        let revoked = Err("knownhosts: key is revoked: host presents the key SHA256:");
        check("host ONE\n@revoked host ONE\n", "host", 22, revoked);
        check("host ONE\n@revoked elsewhere ONE\n", "host", 22, revoked);
        check("host ONE\n@revoked * OTHER\n", "host", 22, Ok(()));
    }

    #[test]
    fn lines_that_cannot_be_read_are_named() {
        let fails = |text: &str, expected: &str| {
            let error = KnownHosts::parse(text).unwrap_err();
            assert_eq!(error.to_string(), format!("known_hosts: {expected}"));
        };
        fails("\nhost\n", "line 2: the kind of the key is missing");
        fails("host ssh-ed25519\n", "line 1: the key is missing");
        fails("@odd host ssh-ed25519 AAAA\n", "line 1: the marker '@odd' is unknown");
        fails("[host]:x ssh-ed25519 AAAA\n", "line 1: '[host]:x' names no port");
        fails(
            "|2|a|b ssh-ed25519 AAAA\n",
            "line 1: hosts hashed by method '2' are not supported",
        );
        fails(
            "|1|a ssh-ed25519 AAAA\n",
            "line 1: a hashed host is written |1|salt|hash",
        );
        assert!(KnownHosts::parse("host ssh-ed25519 AAAA\n").is_err());
        assert!(KnownHosts::parse("host ssh-future AAAA\n").unwrap().lines.is_empty());
    }

    #[test]
    fn patterns_take_time_in_proportion() {
        assert!(!glob(&"*a".repeat(50), &"b".repeat(5000)));
        assert!(glob("*a*b*", "xxaxxbxx") && !glob("a*b", "axxbc") && glob("**", ""));
    }

    fn keygen(directory: &Path, arguments: &[&str]) {
        let output = Command::new("ssh-keygen")
            .args(arguments)
            .current_dir(directory)
            .output();
        let output = output.expect("ssh-keygen is not installed; install your system's package openssh-client");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn entries_that_ssh_keygen_hashed_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("known_hosts");
        std::fs::write(
            &file,
            format!("host {ONE}\n[host]:2222 {ONE}\n[2001:db8::1]:2222 {ONE}\n"),
        )
        .unwrap();
        keygen(directory.path(), &["-q", "-H", "-f", "known_hosts"]);
        let hashed = std::fs::read_to_string(file).unwrap();
        assert!(hashed.contains("|1|") && !hashed.contains("host"), "{hashed}");
        check(&hashed, "host", 22, Ok(()));
        check(&hashed, "host", 2222, Ok(()));
        check(&hashed, "2001:db8::1", 2222, Ok(()));
        check(&hashed, "host", 23, UNKNOWN);
        check(&hashed, "other", 22, UNKNOWN);
    }

    /// A certificate that ssh-keygen made with these arguments, its authority's public key and its own.
    fn certificate(arguments: &[&str]) -> (PublicKeyOrCertificate, String, String) {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        for name in ["ca", "host"] {
            keygen(at, &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", name]);
        }
        keygen(
            at,
            &[&["-q", "-s", "ca", "-I", "id"], arguments, &["host.pub"]].concat(),
        );
        let read = |name| std::fs::read_to_string(at.join(name)).unwrap().trim_end().to_owned();
        let certificate = Certificate::from_openssh(&read("host-cert.pub")).unwrap();
        (certificate.into(), read("ca.pub"), read("host.pub"))
    }

    /// The verdict about a certificate for `host`, as text.
    fn verdict(arguments: &[&str], lines: &str) -> String {
        let (certificate, authority, own) = certificate(arguments);
        let file = lines.replace("CA", &authority).replace("OWN", &own);
        let found = KnownHosts::parse(&file).unwrap().check("host", 22, &certificate);
        found.map_or_else(|error| error.to_string(), |()| "known".to_owned())
    }

    #[test]
    fn certificates_of_a_known_authority_count_for_the_hosts_they_name() {
        let host = ["-h", "-n", "host,other"];
        let authority = "@cert-authority *,!bad CA\n";
        assert_eq!(verdict(&host, authority), "known");
        assert_eq!(verdict(&["-h"], authority), "known");
        let text = "knownhosts: the certificate of host is refused: ";
        assert_eq!(
            verdict(&["-h", "-n", "other"], authority),
            format!("{text}it is for other")
        );
        assert_eq!(
            verdict(&["-n", "host"], authority),
            format!("{text}it is not one for a host")
        );
        let expired = ["-h", "-n", "host", "-V", "20200101:20200201"];
        assert_eq!(
            verdict(&expired, authority),
            format!("{text}it is not valid at this time")
        );
        // Without the authority the key inside may still be known.
        assert_eq!(verdict(&host, "@cert-authority elsewhere CA\nhost OWN\n"), "known");
        let unknown = verdict(&host, "@cert-authority elsewhere CA\n");
        assert!(unknown.starts_with("knownhosts: key is unknown: "), "{unknown}");
        for lines in ["@revoked * CA\n", "@revoked * OWN\n"] {
            let revoked = verdict(&host, &format!("{authority}{lines}"));
            assert!(revoked.starts_with("knownhosts: key is revoked: "), "{revoked}");
        }
    }
}
