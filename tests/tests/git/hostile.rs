//! Servers that mean harm, or are broken: each of them is given up within its time and its limits, with words that say why.
//! What they cost in memory is measured in `git_memory.rs`.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;
use git::{Limits, Reference, Request};
use tests::git_server::{Fault, GitServer};
use tests::pack::{self, Kind};
use tests::raw_server::{Asked, RawServer, drip, forever, frame, greeting, head, packfile, repository};
use tests::ssh_server::{Options, SshServer};

use crate::stage::{Stage, over_ssh, request};

/// Longer than anything here may take.
const SOON: Duration = Duration::from_secs(30);
/// So slow that nobody waits for the end.
const PACE: Duration = Duration::from_millis(100);

/// What asking for HEAD fails with, which has to be soon.
#[track_caller]
fn failure(stage: &Stage, request: &Request) -> String {
    let start = Instant::now();
    let found = match stage.get(request) {
        Ok(commit) => format!("no error: {commit:?}"),
        Err(error) => error,
    };
    assert!(start.elapsed() < SOON, "{:?}: {found}", start.elapsed());
    found
}

/// What a server leads to that answers with these bytes, whatever it is asked.
fn check_answer(stage: &Stage, answer: impl Into<Vec<u8>>, text: &str) -> Result<()> {
    let bytes = answer.into();
    let shown = String::from_utf8_lossy(&bytes).chars().take(80).collect::<String>();
    let server = RawServer::start(move |_, stream| stream.write_all(&bytes))?;
    let found = failure(stage, &request(&format!("{}/app.git", server.url()))?);
    assert!(found.contains(text), "{found}\ninstead of\n{text}\nfor {shown:?}");
    Ok(())
}

fn reference(name: &str) -> String {
    format!("{} {name}", "1".repeat(40))
}

#[test]
fn lists_without_end_are_cut() -> Result<()> {
    let stage = Stage::new()?;
    let text = "the server lists references without end: more than 67108864 bytes of them";
    let line = |kind: &str| frame(format!("{} refs/heads/{kind}\n", "1".repeat(40)));
    // In the old protocol, in the new one, and between references and objects.
    let old = RawServer::start(move |_, stream| {
        stream.write_all(head("advertisement").as_bytes())?;
        stream.write_all(&frame("# service=git-upload-pack\n"))?;
        stream.write_all(b"0000")?;
        let first = format!("{}\0side-band-64k shallow\n", reference("refs/heads/first"));
        stream.write_all(&frame(first))?;
        forever(stream, &line("old"))
    })?;
    let found = failure(&stage, &request(&format!("{}/app.git", old.url()))?);
    assert!(found.contains(text), "{found}");
    let new = RawServer::start(move |asked, stream| {
        if asked.method == "GET" {
            stream.write_all(head("advertisement").as_bytes())?;
            return stream.write_all(&greeting());
        }
        stream.write_all(head("result").as_bytes())?;
        forever(stream, &line("new"))
    })?;
    let found = failure(&stage, &request(&format!("{}/app.git", new.url()))?);
    assert!(found.contains(text), "{found}");
    let between = RawServer::start(move |asked, stream| {
        if asked.method == "GET" || asked.is_listing() {
            return repository(&[reference("HEAD")], b"")(asked, stream);
        }
        stream.write_all(head("result").as_bytes())?;
        stream.write_all(&frame("shallow-info\n"))?;
        forever(stream, &frame(format!("shallow {}", "2".repeat(40))))
    })?;
    let found = failure(&stage, &request(&format!("{}/app.git", between.url()))?);
    assert!(found.contains(text), "{found}");
    Ok(())
}

#[test]
fn packs_and_chatter_without_end_are_cut() -> Result<()> {
    let stage = Stage::new()?;
    let objects = |bytes: Vec<u8>| {
        RawServer::start(move |asked, stream| {
            if asked.method == "GET" || asked.is_listing() {
                return repository(&[reference("HEAD")], b"")(asked, stream);
            }
            stream.write_all(head("result").as_bytes())?;
            stream.write_all(&frame("packfile\n"))?;
            stream.write_all(&frame(b"\x01PACK\0\0\0\x02\0\x0f\xff\xff"))?;
            forever(stream, &bytes)
        })
    };
    // Blobs of one byte, and what a server says beside.
    let mut blob = vec![1, 0x31];
    blob.extend([0x78, 0x9c, 0x4b, 0x04, 0x00, 0x00, 0x62, 0x00, 0x62]);
    for bytes in [frame(blob), frame("\x02Counting objects\r")] {
        let server = objects(bytes)?;
        let mut request = request(&format!("{}/app.git", server.url()))?;
        request.limits = Limits {
            transfer: 1 << 20,
            ..Limits::default()
        };
        let found = failure(&stage, &request);
        assert!(found.contains("the server sent more than 1048576 bytes"), "{found}");
    }
    Ok(())
}

#[test]
fn a_server_that_drips_is_given_up_when_time_is_up() -> Result<()> {
    let stage = Stage::new()?;
    let (pack, id) = pack::commit(b"1")?;
    let (good, bytes) = (repository(&[format!("{id} HEAD")], b""), packfile(&pack.finish(None)));
    type Slow = fn(&Asked) -> bool;
    let steps: [Slow; 3] = [
        |asked| asked.method == "GET",
        |asked| asked.is_listing(),
        |asked| !asked.is_listing() && asked.method == "POST",
    ];
    let good = std::sync::Arc::new(good);
    for slow in steps {
        let (good, bytes) = (good.clone(), bytes.clone());
        let server = RawServer::start(move |asked, stream| {
            if !slow(asked) {
                return good(asked, stream);
            }
            let kind = if asked.method == "GET" {
                "advertisement"
            } else {
                "result"
            };
            stream.write_all(head(kind).as_bytes())?;
            match (asked.method.as_str(), asked.is_listing()) {
                ("GET", _) => drip(stream, &greeting().repeat(50), PACE),
                (_, true) => drip(stream, &frame(reference("HEAD")).repeat(50), PACE),
                _ => drip(stream, &bytes.repeat(50), PACE),
            }
        })?;
        let mut request = request(&format!("{}/app.git", server.url()))?;
        request.timeout = Duration::from_millis(700);
        let start = Instant::now();
        let found = failure(&stage, &request);
        assert!(found.ends_with("context deadline exceeded"), "{found}");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
    // Even the head of the answer.
    let server = RawServer::start(|_, stream| drip(stream, head("advertisement").repeat(50).as_bytes(), PACE))?;
    let mut request = request(&format!("{}/app.git", server.url()))?;
    request.timeout = Duration::from_millis(700);
    let found = failure(&stage, &request);
    assert!(found.ends_with("context deadline exceeded"), "{found}");
    Ok(())
}

#[test]
fn answers_that_are_no_git_are_named() -> Result<()> {
    let stage = Stage::new()?;
    let smart = "Didn't find 'application/x-git-upload-pack-advertisement' header";
    check_answer(&stage, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", smart)?;
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    check_answer(&stage, html, smart)?;
    check_answer(&stage, head("result"), smart)?;
    // Nothing at all, half a head, half a body, another protocol.
    let broken = "Get \"http://127.0.0.1:";
    check_answer(&stage, "", broken)?;
    check_answer(&stage, "HTTP/1.1 200 OK\r\nContent-Ty", broken)?;
    check_answer(&stage, "SSH-2.0-OpenSSH_9.2\r\n", broken)?;
    let half = head("advertisement").replace("Connection", "Content-Length: 1000\r\nConnection");
    check_answer(&stage, half + "001e# service=git-upload-pack\n0000", broken)?;
    // A head without end.
    let endless = format!(
        "HTTP/1.1 200 OK\r\n{}",
        "X-Filler: xxxxxxxxxxxxxxxxxxxxxxxx\r\n".repeat(100_000)
    );
    check_answer(&stage, endless, broken)?;
    // Frames that lie about their length, and an empty answer.
    check_answer(&stage, head("advertisement"), "unable to clone")?;
    check_answer(&stage, head("advertisement") + "ffffx", "unable to clone")?;
    check_answer(&stage, head("advertisement") + "zzzz", "unable to clone")?;
    // What a refusal says is shown, without what would draw on a terminal.
    let refusal = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 15\r\n\r\n\x1b[31mwho?\x07\x00\r\n\t.";
    check_answer(&stage, refusal, "authentication required: [31mwho?\n\t.")?;
    let teapot = "HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n";
    check_answer(&stage, teapot, "status code: 418")?;
    Ok(())
}

#[test]
fn answers_to_the_second_question_are_checked_as_well() -> Result<()> {
    let stage = Stage::new()?;
    let check = |answer: &str, text: &str| -> Result<()> {
        let answer = answer.to_owned();
        let server = RawServer::start(move |asked, stream| {
            if asked.method == "GET" {
                return repository(&[], b"")(asked, stream);
            }
            stream.write_all(answer.as_bytes())
        })?;
        let found = failure(&stage, &request(&format!("{}/app.git", server.url()))?);
        assert!(found.contains(text), "{found}\ninstead of\n{text}");
        assert_eq!(server.asked().len(), 2, "{:?}", server.asked());
        Ok(())
    };
    check(
        &head("advertisement"),
        "Didn't find 'application/x-git-upload-pack-result' header",
    )?;
    let half = head("result").replace("Connection", "Content-Length: 1000\r\nConnection");
    check(&(half + "003f"), "Post \"http://127.0.0.1:")?;
    // Only the first question may be sent elsewhere.
    let elsewhere = "HTTP/1.1 307 Temporary Redirect\r\nLocation: /other/git-upload-pack\r\nContent-Length: 0\r\n\r\n";
    check(elsewhere, "status code: 307")?;
    Ok(())
}

#[test]
fn a_question_without_an_answer_is_put_twice_and_no_more() -> Result<()> {
    let stage = Stage::new()?;
    for (unanswered, verb, asked) in [
        ("GET", "Get", vec!["GET"; 2]),
        ("POST", "Post", vec!["GET", "POST", "POST"]),
    ] {
        let server = RawServer::start(move |asked, stream| {
            if asked.method == unanswered {
                return Ok(());
            }
            repository(&[], b"")(asked, stream)
        })?;
        let found = failure(&stage, &request(&format!("{}/app.git", server.url()))?);
        assert!(found.contains(&format!("{verb} \"http://127.0.0.1:")), "{found}");
        let methods = server
            .asked()
            .into_iter()
            .map(|asked| asked.split(' ').next().map(str::to_owned));
        assert!(methods.flatten().eq(asked), "{:?}", server.asked());
    }
    Ok(())
}

#[test]
fn redirects_that_lead_nowhere_are_given_up() -> Result<()> {
    let stage = Stage::new()?;
    let to = |location: &str| {
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    };
    let tail = "/info/refs?service=git-upload-pack";
    let around = to(&format!("/round{tail}"));
    let server = RawServer::start(move |_, stream| stream.write_all(around.as_bytes()))?;
    let found = failure(&stage, &request(&format!("{}/app.git", server.url()))?);
    assert!(
        found.contains("http redirect: too many redirects: more than 10"),
        "{found}"
    );
    assert_eq!(server.asked().len(), 11);
    check_answer(
        &stage,
        to("/login"),
        "http redirect: target \"/login\" does not end with /info/refs",
    )?;
    let outside = to(&format!("ftp://127.0.0.1{tail}"));
    check_answer(&stage, outside, "http redirect: unsupported scheme \"ftp\"")?;
    let bait = to(&format!("http://u:p@127.0.0.1{tail}"));
    check_answer(&stage, bait, "http redirect: to an address with user information")?;
    let nowhere = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n";
    check_answer(&stage, nowhere, "status code: 302")?;
    // Two that send each other the question.
    let (one, other) = (GitServer::start()?, GitServer::start()?);
    one.set_fault("app", Fault::Redirect(other.url()));
    other.set_fault("app", Fault::Redirect(one.url()));
    let found = failure(&stage, &request(&one.repository_url("app"))?);
    assert!(found.contains("too many redirects"), "{found}");
    Ok(())
}

#[test]
fn names_that_no_reference_can_have_do_no_harm() -> Result<()> {
    let stage = Stage::new()?;
    let (pack, id) = pack::commit(b"1")?;
    let pack = pack.finish(None);
    let odd = [
        "refs/heads/../../../etc/passwd",
        "refs/heads/\x1b[31mred",
        "refs/heads/a\x07b",
        "refs/tags/v9.9.9/../../x",
        "refs/tags/v9.9.9 v",
        "refs/tags/v9.9.9+..",
        "refs/heads/.lock",
        "refs/heads/ünï",
        "../outside",
        "/absolute",
        "",
    ];
    let mut found = Vec::new();
    for name in odd {
        let references = [
            format!("{id} HEAD"),
            reference(name),
            format!("{id} refs/heads/main"),
            format!("{id} refs/tags/v1.0.0"),
        ];
        let server = RawServer::start(repository(&references, &pack))?;
        let request = request(&format!("{}/app.git", server.url()))?;
        for wanted in [Reference::Branch("main".to_owned()), Reference::SemVer("*".to_owned())] {
            let request = Request {
                reference: wanted,
                ..request.clone()
            };
            // Either the odd one is passed over, or the whole list is refused; it never gets into what is written down.
            match stage.get(&request) {
                Ok(commit) => {
                    let revision = commit.revision.to_string();
                    let good = [format!("main@sha1:{id}"), format!("v1.0.0@sha1:{id}")];
                    assert!(good.contains(&revision), "{name:?}: {revision}");
                    assert_eq!(commit.tree.read("a", 9)?, b"1");
                    found.push(name);
                }
                Err(error) => assert!(!error.chars().any(char::is_control), "{error:?}"),
            }
        }
    }
    assert!(found.len() >= odd.len(), "{found:?}");
    Ok(())
}

#[test]
fn packs_that_are_damaged_are_refused() -> Result<()> {
    let stage = Stage::new()?;
    let check = |bytes: Vec<u8>, text: &str| -> Result<()> {
        let (_, id) = pack::commit(b"1")?;
        let server = RawServer::start(repository(&[format!("{id} HEAD")], &bytes))?;
        let found = failure(&stage, &request(&format!("{}/app.git", server.url()))?);
        assert!(found.contains(text), "{found}\ninstead of\n{text}");
        Ok(())
    };
    let (good, _) = pack::commit(b"1")?;
    let whole = good.clone().finish(None);
    let (last, rest) = whole.split_last().unwrap_or((&0, &[]));
    check([rest, &[!last]].concat(), "unable to clone")?;
    let mut flipped = whole.clone();
    flipped[20] = !flipped[20];
    check(flipped, "unable to clone")?;
    check(whole[..whole.len() - 30].to_vec(), "unable to clone")?;
    check(b"PACK".to_vec(), "unable to clone")?;
    check(
        b"no pack at all, and long enough for its head".to_vec(),
        "unable to clone",
    )?;
    // More objects than there are, less, and as many as can be claimed.
    for count in [4, 2, u32::MAX] {
        check(good.clone().finish(Some(count)), "unable to clone")?;
    }
    // Another commit than the one that was wanted.
    let (other, _) = pack::commit(b"2")?;
    check(other.finish(None), "unable to clone")?;
    Ok(())
}

#[test]
fn objects_that_claim_to_be_huge_are_refused() -> Result<()> {
    let stage = Stage::new()?;
    for size in [1 << 30, 1 << 40, 1 << 60] {
        let (mut pack, id) = pack::commit(b"1")?;
        pack.add_claiming(Kind::Blob, size, b"small")?;
        let server = RawServer::start(repository(&[format!("{id} HEAD")], &pack.finish(None)))?;
        let found = failure(&stage, &request(&format!("{}/app.git", server.url()))?);
        assert!(found.starts_with("unable to clone"), "{found}");
    }
    // One that is as large as it says, of a few kilobytes on the wire.
    let (mut pack, id) = pack::commit(b"1")?;
    pack.add(Kind::Blob, &vec![0; 20 << 20])?;
    let server = RawServer::start(repository(&[format!("{id} HEAD")], &pack.finish(None)))?;
    let mut request = request(&format!("{}/app.git", server.url()))?;
    assert!(stage.get(&request).is_ok());
    request.limits.object = 1 << 20;
    let found = failure(&stage, &request);
    assert!(
        found.contains("it holds a file larger than the limit of 1048576 bytes"),
        "{found}"
    );
    Ok(())
}

#[test]
fn a_long_chain_of_changes_ends_with_the_time_that_is_given() -> Result<()> {
    let stage = Stage::new()?;
    let (mut pack, id) = pack::commit(b"1")?;
    let size = 8 << 20;
    let mut last = pack.add(Kind::Blob, &vec![0; size])?;
    for number in 0..4_000_u32 {
        last = pack.add_changed(last, size, number.to_le_bytes())?;
    }
    let server = RawServer::start(repository(&[format!("{id} HEAD")], &pack.finish(None)))?;
    let mut request = request(&format!("{}/app.git", server.url()))?;
    request.timeout = Duration::from_secs(2);
    let found = failure(&stage, &request);
    assert_eq!(
        found,
        format!("unable to clone '{}': context deadline exceeded", request.remote)
    );
    Ok(())
}

#[test]
fn ssh_servers_that_drip_or_never_stop_are_given_up() -> Result<()> {
    let stage = Stage::new()?;
    let line = "003d1111111111111111111111111111111111111111 refs/heads/name";
    let cases = [
        (
            "printf 003d; while printf 1; do sleep 0.1; done".to_owned(),
            "ssh: context deadline exceeded",
        ),
        ("exec sleep 1000".to_owned(), "ssh: context deadline exceeded"),
        (
            format!(
                "printf '0046{}\\0shallow\\n'; exec yes '{line}'",
                reference("refs/heads/first")
            ),
            "the server lists references without end: more than 67108864 bytes of them",
        ),
        ("exec yes".to_owned(), "unable to clone"),
        ("true".to_owned(), "unable to clone"),
        (
            "echo this is no git; echo sorry >&2; exit 3".to_owned(),
            "unable to clone",
        ),
    ];
    for (command, text) in cases {
        let server = SshServer::start_with(&Options {
            config: vec![format!("ForceCommand {command}")],
            ..Options::default()
        })?;
        let key = server.authorize("ed25519", "")?;
        let url = server.repository_url("app");
        let mut request = over_ssh(&server, &url, &key)?;
        request.timeout = Duration::from_secs(if text.contains("deadline") { 1 } else { 25 });
        let found = failure(&stage, &request);
        assert!(found.contains(text), "{command}: {found}");
    }
    Ok(())
}
