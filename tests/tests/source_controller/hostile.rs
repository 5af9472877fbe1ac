//! Servers that mean harm: whatever one does, its object says what is wrong within its time, the controller does not grow, and
//! the others are not held up. What the client makes of each of them is looked at without a cluster, in the tests of `git`.

use std::fs;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};
use api::source::GitRepository;
use serde_json::json;
use tests::controllers::Controller;
use tests::pack::{self, Kind};
use tests::proc;
use tests::raw_server::{Asked, RawServer, drip, forever, frame, greeting, head, packfile, repository};
use tests::scenario::Scenario;

use crate::stage::{artifact, builder, conditions, content, message, source, stored};

/// The longest an operation may take, in seconds, and where it takes all of that.
const TIMEOUT: u32 = 20;
const SHORT_TIMEOUT: u32 = 2;
/// What may come on top: what is under way when the time is up has to end, and places are taken by others.
const SLACK: u32 = 10;
/// So slow that nobody waits for the end: a byte a second.
const PACE: Duration = Duration::from_secs(1);
/// What the process may take at most, in MiB, whatever is sent: lists of 64 MiB are held in memory.
const MOST: u64 = 150;

/// A server with one fault.
struct Hostile {
    name: &'static str,
    server: RawServer,
    /// What the object has to say; nothing if the answer is harmless after all.
    text: &'static str,
}

fn hostile(
    name: &'static str,
    text: &'static str,
    answer: impl Fn(&Asked, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> Result<Hostile> {
    let server = RawServer::start(answer)?;
    Ok(Hostile { name, server, text })
}

/// Answers the last question like this, those before it properly.
fn objects(
    name: &'static str,
    text: &'static str,
    answer: impl Fn(&mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> Result<Hostile> {
    let (_, id) = pack::commit(b"1")?;
    let good = repository(&[format!("{id} refs/heads/main")], b"");
    hostile(name, text, move |asked, stream| {
        if asked.method == "GET" || asked.is_listing() {
            return good(asked, stream);
        }
        stream.write_all(head("result").as_bytes())?;
        answer(stream)
    })
}

/// Answers with this pack.
fn packed(name: &'static str, text: &'static str, pack: Vec<u8>) -> Result<Hostile> {
    objects(name, text, move |stream| stream.write_all(&packfile(&pack)))
}

const LATE: &str = "context deadline exceeded";
const ENDLESS: &str = "the server lists references without end: more than 67108864 bytes of them";
const SMART: &str = "Didn't find 'application/x-git-upload-pack-advertisement' header";

fn servers() -> Result<Vec<Hostile>> {
    let reference = || frame(format!("{} refs/heads/name\n", "1".repeat(40)));
    let (good, id) = pack::commit(b"1")?;
    let whole = good.clone().finish(None);
    let mut flipped = whole.clone();
    flipped[20] = !flipped[20];
    let (last, rest) = whole.split_last().context("an empty pack")?;
    let unsealed = [rest, &[!last]].concat();
    // A thousand bytes that are a million, many times.
    let mut one = pack::Pack::default();
    one.add(Kind::Blob, &vec![0; 1 << 20])?;
    let one = one.finish(None);
    let object = &one[12..one.len() - 20];
    let many = frame([&[1], &object.repeat(60_000 / object.len())[..]].concat());
    let mut all = vec![
        hostile("endless-list", ENDLESS, move |asked, stream| {
            if asked.method == "GET" {
                return repository(&[], b"")(asked, stream);
            }
            stream.write_all(head("result").as_bytes())?;
            forever(stream, &reference())
        })?,
        objects(
            "endless-chatter",
            "the server sent more than 104857600 bytes",
            |stream| {
                stream.write_all(&frame("packfile\n"))?;
                forever(stream, &frame(["\x02", &"x".repeat(60_000)].concat()))
            },
        )?,
        objects("endless-objects", LATE, move |stream| {
            stream.write_all(&frame("packfile\n"))?;
            stream.write_all(&frame(b"\x01PACK\0\0\0\x02\0\xff\xff\xff"))?;
            forever(stream, &many)
        })?,
        hostile("drip", LATE, |_, stream| {
            drip(stream, head("advertisement").repeat(9).as_bytes(), PACE)
        })?,
        hostile("drip-greeting", LATE, |_, stream| {
            stream.write_all(head("advertisement").as_bytes())?;
            drip(stream, &greeting().repeat(9), PACE)
        })?,
        objects("drip-objects", LATE, move |stream| {
            drip(stream, &packfile(&whole), PACE)
        })?,
        packed(
            "bad-checksum",
            "it does not end with the hash of what it holds",
            unsealed,
        )?,
        packed("damaged", "the pack is damaged: ", flipped)?,
        packed("another-commit", "unable to clone", pack::commit(b"2")?.0.finish(None))?,
        hostile("html", SMART, |_, stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>")
        })?,
        hostile("wrong-kind", SMART, |_, stream| {
            stream.write_all(head("result").as_bytes())?;
            stream.write_all(&greeting())
        })?,
        hostile("redirects", "too many redirects: more than 10", |asked, stream| {
            let to = format!(
                "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
                asked.path
            );
            stream.write_all(to.as_bytes())
        })?,
        // The server says nothing, or half of it, and then that it will say no more, but goes on listening.
        hostile(
            "half-closed",
            "connection closed before message completed",
            |_, stream| {
                stream.shutdown(std::net::Shutdown::Write)?;
                io::copy(stream, &mut io::sink()).map(drop)
            },
        )?,
        hostile("half-closed-later", "unable to clone", |_, stream| {
            stream.write_all(head("advertisement").as_bytes())?;
            stream.write_all(&greeting()[..60])?;
            stream.shutdown(std::net::Shutdown::Write)?;
            io::copy(stream, &mut io::sink()).map(drop)
        })?,
    ];
    for (name, size) in [("huge", 1 << 30), ("colossal", 1 << 60)] {
        let mut pack = good.clone();
        pack.add_claiming(Kind::Blob, size, b"small")?;
        all.push(packed(name, "unable to clone", pack.finish(None))?);
    }
    // A few kilobytes that are gigabytes when they are unpacked.
    let (mut bomb, size) = (good.clone(), 8 << 20);
    let mut last = bomb.add(Kind::Blob, &vec![0; size])?;
    for number in 0..4_000_u32 {
        last = bomb.add_changed(last, size, number.to_le_bytes())?;
    }
    all.push(packed("bomb", LATE, bomb.finish(None))?);
    let pack = good.finish(None);
    for (name, odd) in [
        ("dots", "refs/heads/../../../etc/passwd"),
        ("control", "refs/heads/\x1b[31mred\x07"),
        ("dotted-version", "refs/tags/v9.9.9/../../x"),
    ] {
        let names = ["HEAD", odd, "refs/heads/main", "refs/tags/v1.0.0"];
        let references = names.map(|name| format!("{id} {name}"));
        all.push(hostile(name, "", repository(&references, &pack))?);
    }
    Ok(all)
}

/// How long an operation may take that ends with this text, in seconds.
fn timeout(text: &str) -> u32 {
    if text == LATE { SHORT_TIMEOUT } else { TIMEOUT }
}

/// The most memory that the controller has had so far, in MiB.
fn peak(s: &Scenario) -> Result<u64> {
    Ok(proc::resident(s.controllers.id(Controller::Source)?)?.peak >> 20)
}

/// How long the only run of an object has taken, in seconds.
fn took(metrics: &str, name: &str) -> Result<f64> {
    let of = |what: &str| {
        let line = format!("gotk_reconcile_duration_seconds_{what}{{kind=\"GitRepository\",name=\"{name}\",");
        let line = metrics.lines().find(|found| found.starts_with(&line)).context(line)?;
        Ok::<f64, anyhow::Error>(line.rsplit(' ').next().unwrap_or_default().parse()?)
    };
    assert!((of("count")? - 1.0).abs() < 0.1, "{name}");
    of("sum")
}

#[tokio::test]
async fn each_is_named_within_its_time_and_holds_up_nobody() -> Result<()> {
    let s = builder("hostile")
        .flag(Controller::Source, "--git-max-transfer-size=104857600")
        .flag(Controller::Source, "--min-retry-delay=10m")
        .flag(Controller::Source, "--concurrent=4")
        .flag(Controller::Source, "--log-level=debug")
        .start()
        .await?;
    let servers = servers()?;
    for Hostile { name, server, text } in &servers {
        let url = format!("{}/app.git", server.url());
        let mut fields = json!({ "timeout": format!("{}s", timeout(text)) });
        if *name == "dotted-version" {
            fields["ref"] = json!({ "semver": "*" });
        }
        source(&s, name, &url, fields).await?;
    }
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    stored(&s, "bystander", repo.url(), json!({})).await?;
    for Hostile { name, text, .. } in &servers {
        if text.is_empty() {
            let object: GitRepository = s.namespace.wait_ready(name).await?;
            let revision = artifact(&object)?.revision;
            assert!(
                revision.starts_with("main@sha1:") || revision.starts_with("v1.0.0@sha1:"),
                "{revision}"
            );
            assert_eq!(content(&artifact(&object)?).await?, ["./", "a 1"]);
            continue;
        }
        let object: GitRepository = s.namespace.wait_failed(name, "GitOperationFailed").await?;
        let said = message(&object)?;
        let introduction = "failed to checkout and determine revision: unable to clone 'http://127.0.0.1:";
        assert!(said.starts_with(introduction) && said.contains(text), "{name}: {said}");
        assert!(!said.contains(|c: char| c.is_control()), "{name}: {said:?}");
        assert_eq!(
            conditions(&object),
            [
                "Reconciling=True ProgressingWithRetry",
                "Ready=False GitOperationFailed",
                "FetchFailed=True GitOperationFailed"
            ],
            "{name}"
        );
    }
    let metrics = s.controllers.metrics(Controller::Source).await?;
    for Hostile { name, text, .. } in &servers {
        let took = took(&metrics, name)?;
        println!("{name}: {took} s");
        assert!(took < f64::from(timeout(text) + SLACK), "{name}: {took} s");
    }
    // What was received in vain is counted too.
    let received = metrics
        .lines()
        .find(|line| line.starts_with("sluice_git_fetch_bytes_total{") && line.contains("name=\"endless-chatter\""));
    let received: f64 = received
        .and_then(|line| line.rsplit(' ').next())
        .context("no bytes")?
        .parse()?;
    assert!(received > 104_000_000.0, "{received}");
    let log = fs::read_to_string(s.controllers.log(Controller::Source))?;
    let told = |line: &str| line.contains("gave up a fetch") && line.contains("\"name\":\"endless-chatter\"");
    assert!(log.lines().any(told), "{log}");
    let peak = peak(&s)?;
    println!("at most {peak} MiB");
    assert!(peak < MOST, "{peak} MiB");
    Ok(())
}

#[tokio::test]
async fn a_hundred_thousand_references_are_no_harm() -> Result<()> {
    let s = builder("many-references").start().await?;
    for count in [10_000, 100_000] {
        let name = format!("app-{count}");
        let repo = s.git.create(&name)?;
        let id = repo.commit_files("one", &[("a", "1")])?;
        let last = repo.many_branches(count, &id)?;
        repo.tag("v1.2.3")?;
        for (kind, reference, short) in [
            ("branch", json!({ "branch": last }), last.as_str()),
            ("version", json!({ "semver": "1.x" }), "v1.2.3"),
        ] {
            let artifact = stored(&s, &format!("{name}-{kind}"), repo.url(), json!({ "ref": reference })).await?;
            assert_eq!(artifact.revision, format!("{short}@sha1:{id}"));
        }
    }
    let peak = peak(&s)?;
    println!("at most {peak} MiB");
    assert!(peak < MOST, "{peak} MiB");
    Ok(())
}
