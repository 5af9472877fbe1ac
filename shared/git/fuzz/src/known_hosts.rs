//! Files `known_hosts`. What a file says of a server is what its lines say one by one, in whatever order they stand.

use git::ssh::{KnownHosts, Malformed, Stranger};
use russh::keys::{PublicKey, PublicKeyOrCertificate};

/// What servers present. The seeds know the first two.
const KEYS: [&str; 3] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP//////////////////////////////////////////",
];
/// Where they are.
const SERVERS: [(&str, u16); 5] = [
    ("host", 22),
    ("host", 2222),
    ("a.b.test", 22),
    ("2001:db8::1", 22),
    ("192.0.2.1", 7999),
];

/// A file of any form.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let lines: Vec<&str> = text.lines().collect();
    match KnownHosts::parse(text) {
        Ok(file) => says_what_its_lines_say(&file, &lines),
        Err(error) => is_the_first_bad_line(&error, &lines),
    }
}

fn is_the_first_bad_line(error: &Malformed, lines: &[&str]) {
    let (before, rest) = lines.split_at(error.line - 1);
    for line in before {
        assert!(
            KnownHosts::parse(line).is_ok(),
            "{error}, but before it there is {line:?}"
        );
    }
    let alone = KnownHosts::parse(rest[0])
        .map(|_| ())
        .expect_err("the line that is named is bad");
    assert_eq!((alone.line, &alone.reason), (1, &error.reason));
}

/// What is said of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Unknown,
    Mismatch,
    Known,
    Revoked,
}

fn verdict(file: &KnownHosts, host: &str, port: u16, key: &PublicKeyOrCertificate) -> Verdict {
    match file.check(host, port, key) {
        Ok(()) => Verdict::Known,
        Err(Stranger::Unknown { .. }) => Verdict::Unknown,
        Err(Stranger::Mismatch { .. }) => Verdict::Mismatch,
        Err(Stranger::Revoked { .. }) => Verdict::Revoked,
        Err(error @ Stranger::Certificate { .. }) => panic!("a key is no certificate: {error}"),
    }
}

fn says_what_its_lines_say(file: &KnownHosts, lines: &[&str]) {
    let alone: Vec<KnownHosts> = lines
        .iter()
        .map(|line| KnownHosts::parse(line).expect("each line of a file that can be read can be read"))
        .collect();
    let backwards: Vec<&str> = lines.iter().rev().copied().collect();
    let backwards = KnownHosts::parse(&backwards.join("\n\n# a comment\n")).expect("the order is no matter");
    for (host, port) in SERVERS {
        for key in KEYS {
            let presented = PublicKey::from_openssh(key).expect("a key").into();
            let found = verdict(file, host, port, &presented);
            // The strongest word counts, and a file without a line says that it knows nothing.
            let one_by_one = alone.iter().map(|line| verdict(line, host, port, &presented)).max();
            assert_eq!(found, one_by_one.unwrap_or(Verdict::Unknown), "{host}:{port} {key}");
            assert_eq!(
                found,
                verdict(&backwards, host, port, &presented),
                "{host}:{port} {key}"
            );
            assert_eq!(
                found,
                verdict(file, &host.to_uppercase(), port, &presented),
                "{host}:{port} {key}"
            );
        }
        let kinds = |file: &KnownHosts| file.algorithms(host, port).len();
        assert_eq!(kinds(file), alone.iter().map(kinds).sum::<usize>(), "{host}:{port}");
        assert_eq!(
            file.has_authority(host, port),
            alone.iter().any(|line| line.has_authority(host, port)),
            "{host}:{port}"
        );
    }
}
