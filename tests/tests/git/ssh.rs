//! ssh: who may log in, which servers are trusted, what old and broken servers lead to. Against the real `sshd`.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use git::ssh::{Algorithms, Identity};
use git::{Credentials, Policy, Reference, Request};
use tests::repo::Repo;
use tests::ssh_server::{Options, SshServer, hashed, new_key};

use crate::stage::{Stage, knowing, over_ssh};

/// A server with one repository, its first commit, and a key that may log in.
fn served(options: &Options) -> Result<(SshServer, Repo, String, String)> {
    let server = SshServer::start_with(options)?;
    let repo = server.create("it's a repo")?;
    let id = repo.commit_files("one", &[("deploy/app.yaml", "a: 1\n")])?;
    let key = server.authorize("ed25519", "")?;
    Ok((server, repo, id, key))
}

fn options(lines: &[&str]) -> Options {
    Options {
        config: lines.iter().map(|line| (*line).to_owned()).collect(),
        ..Options::default()
    }
}

#[track_caller]
fn assert_fails(found: Result<impl std::fmt::Debug, String>, url: &str, text: &str) {
    let found = match found {
        Ok(found) => format!("no error: {found:?}"),
        Err(error) => error,
    };
    let expected = format!("unable to clone '{url}': {text}");
    assert!(found.starts_with(&expected), "{found}\ninstead of\n{expected}");
}

#[test]
fn every_kind_of_key_logs_in() -> Result<()> {
    let stage = Stage::new()?;
    let (server, repo, id, _) = served(&Options::default())?;
    for kind in ["ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa-2048"] {
        let key = server.authorize(kind, "")?;
        let commit = stage
            .get(&over_ssh(&server, repo.url(), &key)?)
            .map_err(|e| anyhow!("{kind}: {e}"))?;
        assert_eq!(commit.revision.to_string(), format!("HEAD@sha1:{id}"), "{kind}");
        assert_eq!(commit.tree.read("deploy/app.yaml", 100)?, b"a: 1\n");
    }
    Ok(())
}

#[test]
fn an_encrypted_key_needs_its_passphrase() -> Result<()> {
    let stage = Stage::new()?;
    let (server, repo, id, _) = served(&Options::default())?;
    let hosts = server.known_hosts()?;
    let key = server.authorize("ed25519", "open sesame")?;
    let refused = |passphrase| Identity::new(&key, passphrase, &hosts).unwrap_err().to_string();
    assert_eq!(refused(None), "the private key is encrypted and no passphrase is given");
    assert!(refused(Some("wrong")).contains("the passphrase is wrong"));
    let mut request = over_ssh(&server, repo.url(), &server.authorize("ecdsa", "")?)?;
    request.credentials = Credentials {
        ssh: Some(Identity::new(&key, Some("open sesame"), &hosts)?),
        ..Credentials::default()
    };
    assert_eq!(stage.id(&request, None), Ok(id));
    // The older formats, plain, encrypted, and with a passphrase that nobody asked for.
    for (format, passphrase) in [("PEM", ""), ("PKCS8", ""), ("PKCS8", "open sesame")] {
        let (private, _) = new_key("rsa-2048", passphrase, &["-m", format])?;
        Identity::new(&private, Some("open sesame"), &hosts).map_err(|e| anyhow!("{format}: {e}"))?;
        let without = Identity::new(&private, None, &hosts)
            .map(|_| ())
            .map_err(|error| error.to_string());
        let encrypted = Err("the private key is encrypted and no passphrase is given".to_owned());
        assert_eq!(
            without,
            if passphrase.is_empty() { Ok(()) } else { encrypted },
            "{format}"
        );
    }
    assert!(
        Identity::new("no key", None, &hosts)
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
    Ok(())
}

#[test]
fn only_known_servers_are_talked_to() -> Result<()> {
    let stage = Stage::new()?;
    let (server, repo, id, key) = served(&Options::default())?;
    let (url, port) = (repo.url(), server.port());
    let with = |hosts: &str| {
        stage
            .id(&knowing(url, &key, hosts)?, None)
            .map_or_else(|e| Ok(Err(e)), |id| anyhow::Ok(Ok(id)))
    };
    let (_, other) = new_key("ed25519", "", &[])?;
    let failed = |text: &str| format!("ssh: handshake failed: knownhosts: {text}");
    assert_eq!(with(&hashed(&server.known_hosts()?)?)?, Ok(id.clone()));
    // Known by one of its keys: that is the one it has to present.
    for kind in ["ed25519", "ecdsa"] {
        assert_eq!(with(&server.known_host(kind)?)?, Ok(id.clone()), "{kind}");
    }
    let unknown = failed(&format!("key is unknown: [127.0.0.1]:{port} presents the "));
    assert_fails(with("")?, url, &unknown);
    assert_fails(
        with(&format!("127.0.0.1 {}\n", server.host_key("ed25519")?))?,
        url,
        &unknown,
    );
    let mismatch = failed(&format!(
        "key mismatch: [127.0.0.1]:{port} presents the ssh-ed25519 key SHA256:"
    ));
    assert_fails(with(&format!("[127.0.0.1]:{port} {other}\n"))?, url, &mismatch);
    let revoked = format!(
        "{}@revoked * {}\n",
        server.known_host("ed25519")?,
        server.host_key("ed25519")?
    );
    assert_fails(with(&revoked)?, url, &failed("key is revoked: "));
    Ok(())
}

#[test]
fn a_certificate_of_a_known_authority_is_enough() -> Result<()> {
    let stage = Stage::new()?;
    let (server, repo, id, key) = served(&Options {
        certificate: true,
        ..Options::default()
    })?;
    let port = server.port();
    let authority = format!("@cert-authority [*]:{port} {}\n", server.authority()?);
    assert_eq!(stage.id(&knowing(repo.url(), &key, &authority)?, None), Ok(id));
    let revoked = format!("{authority}@revoked * {}\n", server.authority()?);
    let found = stage.id(&knowing(repo.url(), &key, &revoked)?, None);
    assert_fails(found, repo.url(), "ssh: handshake failed: knownhosts: key is revoked: ");
    Ok(())
}

#[test]
fn a_key_that_may_not_log_in_is_refused() -> Result<()> {
    let stage = Stage::new()?;
    let (server, repo, ..) = served(&Options::default())?;
    let refused = "ssh: handshake failed: ssh: unable to authenticate, attempted methods [none publickey], \
                   no supported methods remain";
    for kind in ["ed25519", "rsa-2048"] {
        let (key, _) = new_key(kind, "", &[])?;
        assert_fails(stage.get(&over_ssh(&server, repo.url(), &key)?), repo.url(), refused);
    }
    let mut nobody = over_ssh(&server, repo.url(), &new_key("ed25519", "", &[])?.0)?;
    nobody.credentials = Credentials::default();
    assert_fails(
        stage.get(&nobody),
        repo.url(),
        "ssh: there is no private key for this host",
    );
    Ok(())
}

#[test]
fn a_server_that_wants_a_dialogue_is_named() -> Result<()> {
    let stage = Stage::new()?;
    let lines = ["PubkeyAuthentication no", "KbdInteractiveAuthentication yes"];
    let (server, repo, _, key) = served(&options(&lines))?;
    let text = "ssh: handshake failed: ssh: unable to authenticate, attempted methods [none], no supported methods remain: \
                the server offers keyboard-interactive only";
    assert_fails(stage.get(&over_ssh(&server, repo.url(), &key)?), repo.url(), text);
    let lines = [
        "AuthenticationMethods publickey,keyboard-interactive",
        "KbdInteractiveAuthentication yes",
    ];
    let (server, repo, _, key) = served(&options(&lines))?;
    let text = "ssh: handshake failed: ssh: the server takes the key and wants keyboard-interactive besides";
    assert_fails(stage.get(&over_ssh(&server, repo.url(), &key)?), repo.url(), text);
    Ok(())
}

/// A server that speaks a version of Git's protocol, and writes down what it says.
fn speaking(version: u8, trace: &Path) -> Options {
    let trace = format!("GIT_TRACE_PACKET={}", trace.display());
    match version {
        // Nobody is heard who asks for another.
        0 => options(&["AcceptEnv NOTHING", &format!("SetEnv {trace}")]),
        2 => options(&["AcceptEnv GIT_PROTOCOL", &format!("SetEnv {trace}")]),
        other => options(&[&format!("SetEnv GIT_PROTOCOL=version={other} {trace}")]),
    }
}

/// The versions that a server has said it speaks. Of version 0 nothing is said.
fn said(trace: &Path) -> Result<Vec<u8>> {
    let trace = std::fs::read_to_string(trace)?;
    let lines = trace
        .lines()
        .filter_map(|line| line.rsplit_once("upload-pack> version "));
    let said: BTreeSet<u8> = lines.map(|(_, version)| version.parse()).collect::<Result<_, _>>()?;
    Ok(said.into_iter().collect())
}

#[test]
fn every_version_of_the_protocol_finds_every_kind_of_reference() -> Result<()> {
    let (stage, directory) = (Stage::new()?, tempfile::tempdir()?);
    for version in 0..=2 {
        let trace = directory.path().join(version.to_string());
        let (server, repo, first, key) = served(&speaking(version, &trace))?;
        repo.annotated_tag("v1", "one")?;
        let second = repo.commit_files("two", &[("deploy/app.yaml", "a: 2\n")])?;
        repo.branch("other")?;
        let third = repo.commit_files("three", &[("b", "3")])?;
        repo.set_ref("refs/pull/1/head")?;
        let request = over_ssh(&server, repo.url(), &key)?;
        let words = [
            (None, &second),
            (Some("main"), &second),
            (Some("other"), &third),
            (Some("v1"), &first),
            (Some("refs/tags/v1"), &first),
            (Some("refs/pull/1/head"), &third),
            (Some(first.as_str()), &first),
        ];
        for (word, id) in words {
            assert_eq!(stage.id(&request, word).as_ref(), Ok(id), "version {version}: {word:?}");
        }
        let text = "couldn't find remote ref \"nothing\"";
        assert_fails(stage.id(&request, Some("nothing")), repo.url(), text);
        let absent = "1".repeat(40);
        let text = format!("unable to resolve commit object for '{absent}': object not found");
        assert_eq!(stage.id(&request, Some(&absent)), Err(text), "version {version}");
        let newest = Request {
            reference: Reference::SemVer(">=1.0.0-0".to_owned()),
            ..request
        };
        assert_eq!(
            stage.get(&newest).err(),
            Some("no match found for semver: >=1.0.0-0".to_owned())
        );
        let expected = if version == 0 { vec![] } else { vec![version] };
        assert_eq!(said(&trace)?, expected);
    }
    Ok(())
}

#[test]
fn every_version_of_the_protocol_builds_upon_what_is_there() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let stage = Stage::keeping(&directory.path().join("cache"))?;
    // What no compressor makes smaller.
    let next = |n: &u64| {
        let n = n ^ n << 13;
        let n = n ^ n >> 7;
        Some(n ^ n << 17)
    };
    let large: String = std::iter::successors(Some(1), next)
        .take(20_000)
        .map(|n| format!("{n:x}"))
        .collect();
    for version in 0..=2 {
        let trace = directory.path().join(version.to_string());
        let (server, repo, _, key) = served(&speaking(version, &trace))?;
        repo.commit_files("two", &[("large", &large)])?;
        let request = over_ssh(&server, repo.url(), &key)?;
        stage
            .get(&request)
            .map_err(|error| anyhow!("version {version}: {error}"))?;
        let before = request.cost.received();
        let id = repo.commit_files("three", &[("deploy/app.yaml", "a: 3\n")])?;
        let new = stage
            .get(&request)
            .map_err(|error| anyhow!("version {version}: {error}"))?;
        assert_eq!(new.id.to_string(), id, "version {version}");
        assert_eq!(new.tree.read("deploy/app.yaml", 100)?, b"a: 3\n");
        assert_eq!(new.tree.read("large", 1 << 20)?, large.as_bytes());
        let after = request.cost.received();
        assert!(
            before > 100_000 && after < 5_000,
            "version {version}: {before}, then {after} bytes"
        );
        let expected = if version == 0 { vec![] } else { vec![version] };
        assert_eq!(said(&trace)?, expected);
    }
    Ok(())
}

#[test]
fn a_commit_that_no_reference_names_is_taken_out_of_the_history() -> Result<()> {
    let stage = Stage::new()?;
    let (server, repo, first, key) = served(&options(&["AcceptEnv NOTHING"]))?;
    repo.commit_files("two", &[("b", "2")])?;
    let bare = repo.bare().to_owned();
    let status = std::process::Command::new("git")
        .args(["config", "uploadpack.allowReachableSHA1InWant", "false"])
        .current_dir(&bare)
        .status()?;
    assert!(status.success());
    let request = over_ssh(&server, repo.url(), &key)?;
    assert_eq!(stage.id(&request, Some(&first)), Ok(first));
    Ok(())
}

#[test]
fn what_is_not_there_is_said_in_the_words_of_the_server() -> Result<()> {
    let stage = Stage::new()?;
    let (server, repo, _, key) = served(&Options::default())?;
    let url = server.repository_url("absent");
    let found = stage.get(&over_ssh(&server, &url, &key)?);
    assert_fails(found, &url, "repository not found: ");
    let empty = server.create("empty")?;
    let found = stage.get(&over_ssh(&server, empty.url(), &key)?).err();
    assert_eq!(found.as_deref(), Some("git repository is empty"));
    drop(repo);
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let url = format!("ssh://git@127.0.0.1:{closed}/x");
    let text = format!("dial tcp 127.0.0.1:{closed}: Connection refused");
    assert_fails(stage.get(&knowing(&url, &key, "")?), &url, &text);
    Ok(())
}

#[test]
fn a_silent_server_is_given_up() -> Result<()> {
    let stage = Stage::new()?;
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("ssh://git@127.0.0.1:{}/x", silent.local_addr()?.port());
    let mut request = knowing(&url, &new_key("ed25519", "", &[])?.0, "")?;
    request.timeout = Duration::from_millis(300);
    let start = Instant::now();
    assert_fails(stage.get(&request), &url, "ssh: handshake: context deadline exceeded");
    // So does nobody wait for it who has lost interest.
    request.timeout = Duration::from_secs(60);
    let cancel = request.cancel.clone();
    let cancelled = std::thread::scope(|scope| {
        let work = scope.spawn(|| stage.get(&request));
        // The second connection is the one that is waited on.
        let connections = (silent.accept(), silent.accept());
        cancel.cancel();
        let result = work.join();
        drop(connections);
        result
    });
    let cancelled = cancelled.map_err(|_| anyhow!("the thread panicked"))?;
    assert_fails(cancelled, &url, "the operation was cancelled");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    Ok(())
}

#[test]
fn only_the_wanted_algorithms_are_agreed_upon() -> Result<()> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let (server, repo, id, key) = served(&options(&["KexAlgorithms curve25519-sha256"]))?;
    let request = over_ssh(&server, repo.url(), &key)?;
    let ecdsa = names(&["ecdsa-sha2-nistp256"]);
    let stage = Stage::with(
        Policy::default(),
        Algorithms::new(&names(&["curve25519-sha256"]), &ecdsa).map_err(|e| anyhow!(e))?,
    )?;
    assert_eq!(stage.id(&request, None), Ok(id));
    let other = Algorithms::new(&names(&["diffie-hellman-group14-sha256"]), &[]).map_err(|e| anyhow!(e))?;
    let stage = Stage::with(Policy::default(), other)?;
    let text = "ssh: handshake failed: no common algorithm for Kex: offered diffie-hellman-group14-sha256";
    assert_fails(stage.get(&request), repo.url(), text);
    let unknown = Algorithms::new(&names(&["rot13"]), &[]).err();
    let unknown = unknown.unwrap_or_default();
    assert!(
        unknown.starts_with("key exchange algorithm 'rot13' is not supported: use "),
        "{unknown}"
    );
    let unknown = Algorithms::new(&[], &names(&["ssh-rot13"])).err();
    let unknown = unknown.unwrap_or_default();
    assert!(
        unknown.starts_with("host key algorithm 'ssh-rot13' is not supported: use "),
        "{unknown}"
    );
    Ok(())
}

#[test]
fn every_named_algorithm_is_agreed_upon() -> Result<()> {
    let kinds = ["ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa-2048"];
    let (server, repo, id, key) = served(&Options {
        host_keys: kinds.map(str::to_owned).to_vec(),
        config: vec![
            "HostKeyAlgorithms +ssh-rsa".to_owned(),
            "KexAlgorithms +diffie-hellman-group14-sha1,diffie-hellman-group-exchange-sha1".to_owned(),
        ],
        ..Options::default()
    })?;
    let named = |name: &str| vec![name.to_owned()];
    let request = over_ssh(&server, repo.url(), &key)?;
    for exchange in [
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group-exchange-sha256",
        "diffie-hellman-group-exchange-sha1",
        "diffie-hellman-group14-sha256",
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group16-sha512",
    ] {
        let algorithms = Algorithms::new(&named(exchange), &[]).map_err(|e| anyhow!(e))?;
        let stage = Stage::with(Policy::default(), algorithms)?;
        assert_eq!(stage.id(&request, None).as_ref(), Ok(&id), "{exchange}");
    }
    for (algorithm, kind) in [
        ("ssh-ed25519", "ed25519"),
        ("ecdsa-sha2-nistp256", "ecdsa-256"),
        ("ecdsa-sha2-nistp384", "ecdsa-384"),
        ("ecdsa-sha2-nistp521", "ecdsa-521"),
        ("rsa-sha2-512", "rsa-2048"),
        ("rsa-sha2-256", "rsa-2048"),
        ("ssh-rsa", "rsa-2048"),
    ] {
        let algorithms = Algorithms::new(&[], &named(algorithm)).map_err(|e| anyhow!(e))?;
        let stage = Stage::with(Policy::default(), algorithms)?;
        let line = server.known_host(kind)?;
        for known_hosts in [line.clone(), hashed(&line)?] {
            let found = stage.id(&knowing(repo.url(), &key, &known_hosts)?, None);
            assert_eq!(found.as_ref(), Ok(&id), "{algorithm}");
        }
        // It has to present that one, whatever else it is known by.
        let others = kinds
            .iter()
            .filter(|other| **other != kind)
            .map(|other| server.known_host(other));
        let others = others.collect::<Result<Vec<_>>>()?.join("");
        let found = stage.id(&knowing(repo.url(), &key, &others)?, None);
        assert_fails(found, repo.url(), "ssh: handshake failed: knownhosts: key mismatch: ");
    }
    // Known by one of its keys, with everything offered.
    let stage = Stage::new()?;
    for kind in kinds {
        let found = stage.id(&knowing(repo.url(), &key, &server.known_host(kind)?)?, None);
        assert_eq!(found.as_ref(), Ok(&id), "{kind}");
    }
    Ok(())
}

#[test]
fn certificates_of_hosts_can_be_asked_for_by_name() -> Result<()> {
    let (server, repo, id, key) = served(&Options {
        certificate: true,
        ..Options::default()
    })?;
    let known = format!("@cert-authority [*]:{} {}\n", server.port(), server.authority()?);
    let request = knowing(repo.url(), &key, &known)?;
    let with = |names: &[&str]| -> Result<Result<String, String>> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let algorithms = Algorithms::new(&[], &names).map_err(|e| anyhow!(e))?;
        Ok(Stage::with(Policy::default(), algorithms)?.id(&request, None))
    };
    assert_eq!(with(&["ssh-ed25519-cert-v01@openssh.com"])?, Ok(id.clone()));
    assert_eq!(with(&["ssh-ed25519"])?, Ok(id));
    // There is a certificate for the other kind of key only, and the key itself is not known.
    let found = with(&["ecdsa-sha2-nistp256-cert-v01@openssh.com", "ecdsa-sha2-nistp256"])?;
    assert_fails(found, repo.url(), "ssh: handshake failed: knownhosts: key is unknown: ");
    Ok(())
}

#[test]
fn the_policy_holds_for_ssh() -> Result<()> {
    let (server, repo, _, key) = served(&Options::default())?;
    let request = over_ssh(&server, repo.url(), &key)?;
    let stage = Stage::with(Policy::public(), Algorithms::default())?;
    let text = "host '127.0.0.1' has the address 127.0.0.1, which is not public";
    assert_fails(stage.get(&request), repo.url(), text);
    let elsewhere = Policy {
        hosts: Some(vec!["127.0.0.1:22".to_owned()]),
        ..Policy::default()
    };
    let stage = Stage::with(elsewhere, Algorithms::default())?;
    assert_fails(
        stage.get(&request),
        repo.url(),
        "host '127.0.0.1' is not among the allowed hosts",
    );
    Ok(())
}
