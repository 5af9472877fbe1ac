//! HTTP/2: the same as over HTTP/1.1, and what only it has: streams that are reset and connections that go away.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use git::{Credentials, Limits, Request};
use h2::Reason;
use tests::git_server::{Access, Fault, GitServer};
use tests::http2_server::{Http2Server, Step};
use tests::pack;
use tests::pki::Authority;
use tests::raw_server::{Asked, answer_to, frame, greeting, packfile};
use tests::web::Front;

use crate::stage::{Stage, request};

/// Longer than anything here may take.
const SOON: Duration = Duration::from_secs(20);

fn trusting(url: &str, authority: &Authority) -> Result<Request> {
    let mut request = request(url)?;
    request.credentials.authorities = Some(authority.certificate().as_bytes().to_vec());
    Ok(request)
}

fn front(authority: &Authority) -> Front<'_> {
    Front {
        protocols: &["h2"],
        ..Front::of(authority)
    }
}

#[track_caller]
fn assert_refused(stage: &Stage, request: &Request, text: &str) {
    let start = Instant::now();
    let found = match stage.get(request) {
        Ok(commit) => format!("no error: {commit:?}"),
        Err(error) => error,
    };
    let whole = format!("unable to clone '{}': {text}", request.remote);
    assert!(found.starts_with(&whole), "{found}\ninstead of\n{whole}");
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[test]
fn real_repositories_are_fetched_and_refusals_are_told() -> Result<()> {
    let (stage, authority) = (Stage::new()?, Authority::new("servers")?);
    let server = GitServer::start_front(&front(&authority))?;
    let repo = server.create("app")?;
    // Many times what a stream may carry without being asked for more, and nothing that could be compressed.
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(24 << 20).collect();
    repo.write("noise", &noise)?;
    repo.write("a", "1")?;
    let id = repo.commit("one")?;
    let request = trusting(repo.url(), &authority)?;
    let commit = stage.get(&request).map_err(anyhow::Error::msg)?;
    assert_eq!(commit.id.to_string(), id);
    assert!(commit.tree.read("noise", 32 << 20)? == noise);
    assert!(
        server.seen("app").iter().all(|seen| seen.http2),
        "{:?}",
        server.seen("app")
    );
    let url = format!("{}/info/refs?service=git-upload-pack", repo.url());
    let mut hasty = request.clone();
    hasty.timeout = Duration::from_secs(1);
    let late = format!("Get \"{url}\": context deadline exceeded");
    for (fault, request, text) in [
        (
            Fault::Status(401),
            &request,
            "authentication required: the server was told to fail\n",
        ),
        (
            Fault::Status(403),
            &request,
            "authorization failed: the server was told to fail\n",
        ),
        (
            Fault::Status(404),
            &request,
            "repository not found: the server was told to fail\n",
        ),
        (Fault::Status(500), &request, "unexpected client error: "),
        (
            Fault::Html,
            &request,
            "Transport handshake failed: Didn't find 'application/x-git-upload-pack-advertisement' header",
        ),
        (Fault::Hang, &hasty, &late),
        (Fault::Slow(Duration::from_secs(30)), &hasty, &late),
        (Fault::Truncate(100), &request, ""),
        (Fault::Truncate(1 << 20), &request, ""),
    ] {
        server.set_fault("app", fault);
        assert_refused(&stage, request, text);
    }
    server.set_fault("app", None);
    server.set_access("app", Access::basic("me", "pw"));
    assert_refused(&stage, &request, "authentication required: who are you?\n");
    let login = |password: &str| Credentials {
        authorization: Credentials::basic("me", password).authorization,
        ..request.credentials.clone()
    };
    let with = |password: &str| Request {
        credentials: login(password),
        ..request.clone()
    };
    assert_refused(&stage, &with("no"), "authentication required: who are you?\n");
    assert!(stage.get(&with("pw")).is_ok());
    Ok(())
}

#[test]
fn redirects_take_no_credentials_to_another_host() -> Result<()> {
    let (stage, authority) = (Stage::new()?, Authority::new("servers")?);
    let (here, there) = (
        GitServer::start_front(&front(&authority))?,
        GitServer::start_front(&front(&authority))?,
    );
    let mut request = trusting(here.create("app")?.url(), &authority)?;
    request.credentials.authorization = Credentials::basic("me", "pw").authorization;
    let id = there.create("app")?.commit_files("one", &[("a", "1")])?;
    here.set_fault("app", Fault::Redirect(there.url()));
    assert_eq!(stage.id(&request, None), Ok(id));
    assert!(here.seen("app").iter().all(|seen| seen.authorized && seen.http2));
    assert!(there.seen("app").iter().all(|seen| !seen.authorized && seen.http2));
    there.set_fault("app", Fault::Redirect(here.url()));
    let found = stage.get(&request).err().unwrap_or_default();
    assert!(
        found.ends_with("http redirect: too many redirects: more than 10"),
        "{found}"
    );
    Ok(())
}

/// The three questions of a fetch.
fn number(asked: &Asked) -> usize {
    match asked.method.as_str() {
        "GET" => 0,
        _ if asked.is_listing() => 1,
        _ => 2,
    }
}

fn head(kind: &str) -> Step {
    let kind = format!("application/x-git-upload-pack-{kind}");
    Step::Head(200, vec![("content-type", kind)])
}

/// What a server leads to, and how often it was asked, that has one commit and whose answers to one of the three questions end
/// like this the first times: before they begin, or in their middle.
fn broken(question: usize, times: usize, is_middle: bool, end: &Step) -> Result<(Result<(), String>, usize)> {
    let (stage, authority) = (Stage::new()?, Authority::new("servers")?);
    let (pack, id) = pack::commit(b"1")?;
    let (pack, references, end) = (pack.finish(None), [format!("{id} HEAD")], end.clone());
    let left = AtomicUsize::new(times);
    let take = move || {
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        taken.is_ok()
    };
    let server = Http2Server::start(&authority, move |asked| {
        let (kind, mut answer) = answer_to(asked, &references, &pack);
        if number(asked) != question || !take() {
            return vec![head(kind), Step::Say(answer)];
        }
        if !is_middle {
            return vec![end.clone()];
        }
        answer.truncate(answer.len() / 2);
        vec![head(kind), Step::Say(answer), end.clone()]
    })?;
    let request = trusting(&format!("{}/app.git", server.url()), &authority)?;
    let start = Instant::now();
    let found = stage.id(&request, None).map(|found| assert_eq!(found, id));
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    Ok((found, server.asked().len()))
}

#[test]
fn questions_that_nobody_has_looked_at_are_put_again() -> Result<()> {
    for end in [
        Step::Reset(Reason::REFUSED_STREAM),
        Step::GoAway(Reason::NO_ERROR),
        Step::GoAway(Reason::INTERNAL_ERROR),
        Step::GoAway(Reason::ENHANCE_YOUR_CALM),
        Step::Close,
    ] {
        for question in 0..3 {
            let (found, asked) = broken(question, 1, false, &end)?;
            assert_eq!((found, asked), (Ok(()), 4), "{end:?} at {question}");
            let (found, asked) = broken(question, usize::MAX, false, &end)?;
            let found = found.err().unwrap_or_default();
            assert!(
                found.contains(": client error (SendRequest): "),
                "{end:?} at {question}: {found}"
            );
            // Whatever looks at it, it is not put for ever.
            assert!(asked <= question + 4, "{end:?} at {question}: {asked} questions");
        }
    }
    Ok(())
}

#[test]
fn answers_that_break_off_are_told() -> Result<()> {
    for (end, before, within) in [
        (
            Reason::INTERNAL_ERROR,
            "stream error received: unexpected internal error encountered",
            None,
        ),
        (Reason::CANCEL, "stream error received: stream no longer needed", None),
        (
            Reason::NO_ERROR,
            "stream error received: not a result of an error",
            // That is how an answer may end before the question has.
            Some("unexpected EOF"),
        ),
    ] {
        for (question, is_middle) in (0..3).flat_map(|question| [(question, false), (question, true)]) {
            let (found, asked) = broken(question, 1, is_middle, &Step::Reset(end))?;
            let found = found.err().unwrap_or_default();
            let text = within.filter(|_| is_middle).unwrap_or(before);
            assert!(found.ends_with(text), "{end:?} at {question}, {is_middle}: {found}");
            assert_eq!(asked, question + 1, "{end:?} at {question}, {is_middle}");
        }
    }
    for (end, text) in [
        (Step::GoAway(Reason::NO_ERROR), "stream closed because of a broken pipe"),
        (
            Step::GoAway(Reason::INTERNAL_ERROR),
            "stream closed because of a broken pipe",
        ),
        (Step::Close, "unexpected EOF"),
    ] {
        for question in 0..3 {
            let (found, asked) = broken(question, 1, true, &end)?;
            let found = found.err().unwrap_or_default();
            let text = format!(": error reading a body from connection: {text}");
            assert!(found.ends_with(&text), "{end:?} at {question}: {found}");
            assert_eq!(asked, question + 1, "{end:?} at {question}");
        }
    }
    Ok(())
}

#[test]
fn a_connection_that_is_retired_finishes_what_it_has_begun() -> Result<()> {
    let (stage, authority) = (Stage::new()?, Authority::new("servers")?);
    let (pack, id) = pack::commit(b"1")?;
    let (pack, references) = (pack.finish(None), [format!("{id} HEAD")]);
    let server = Http2Server::start(&authority, move |asked| {
        let (kind, answer) = answer_to(asked, &references, &pack);
        let (start, rest) = answer.split_at(answer.len() / 2);
        vec![
            head(kind),
            Step::Say(start.to_vec()),
            Step::Retire,
            Step::Say(rest.to_vec()),
        ]
    })?;
    let request = trusting(&format!("{}/app.git", server.url()), &authority)?;
    assert_eq!(stage.id(&request, None), Ok(id));
    // The server sees each question once, whatever becomes of it on the way.
    assert_eq!(server.asked().len(), 3, "{:?}", server.asked());
    Ok(())
}

#[test]
fn a_question_that_meets_with_silence_is_put_once_more() -> Result<()> {
    let (stage, authority) = (Stage::new()?, Authority::new("servers")?);
    let (pack, id) = pack::commit(b"1")?;
    let (pack, references) = (pack.finish(None), [format!("{id} HEAD")]);
    let is_silent = AtomicBool::new(true);
    let server = Http2Server::start(&authority, move |asked| {
        if number(asked) == 2 && is_silent.swap(false, Ordering::Relaxed) {
            return vec![Step::Stall];
        }
        let (kind, answer) = answer_to(asked, &references, &pack);
        vec![head(kind), Step::Say(answer)]
    })?;
    let request = trusting(&format!("{}/app.git", server.url()), &authority)?;
    assert_eq!(stage.id(&request, None), Ok(id));
    assert_eq!(server.asked().len(), 4, "{:?}", server.asked());
    Ok(())
}

#[test]
fn servers_that_stall_drip_or_never_end_are_given_up() -> Result<()> {
    let stage = Stage::new()?;
    let authority = Authority::new("servers")?;
    let (pack, id) = pack::commit(b"1")?;
    let (pack, references) = (pack.finish(None), [format!("{id} HEAD")]);
    let reference = frame(format!("{} refs/heads/name\n", "1".repeat(40)));
    let chatter = frame("\x02Counting objects\r");
    let endless = "the server lists references without end: more than 67108864 bytes of them";
    let much = "the server sent more than 1048576 bytes";
    let late = "context deadline exceeded";
    for (question, steps, text) in [
        (0, vec![Step::Stall], late),
        (1, vec![Step::Stall], late),
        (2, vec![Step::Stall], late),
        (0, vec![head("advertisement"), Step::Stall], late),
        (
            1,
            vec![head("result"), Step::Say(frame(&references[0])), Step::Stall],
            late,
        ),
        (
            2,
            vec![head("result"), Step::Say(packfile(&pack)[..100].to_vec()), Step::Stall],
            late,
        ),
        (0, vec![head("advertisement"), Step::Drip(greeting().repeat(50))], late),
        (1, vec![head("result"), Step::Drip(reference.repeat(50))], late),
        (2, vec![head("result"), Step::Drip(packfile(&pack).repeat(50))], late),
        (
            0,
            vec![head("advertisement"), Step::Forever(frame("version 2\n"))],
            endless,
        ),
        (1, vec![head("result"), Step::Forever(reference.clone())], endless),
        (
            2,
            vec![head("result"), Step::Say(frame("packfile\n")), Step::Forever(chatter)],
            much,
        ),
        (
            2,
            vec![head("advertisement")],
            "Didn't find 'application/x-git-upload-pack-result' header",
        ),
        (
            0,
            vec![Step::Head(200, vec![("content-type", "text/html".into())])],
            "Didn't find",
        ),
        (
            0,
            vec![Step::Head(200, vec![("x-filler", "x".repeat(1 << 20))])],
            "Get \"https://127.0.0.1",
        ),
    ] {
        let (pack, references) = (pack.clone(), references.clone());
        let given = steps.clone();
        let server = Http2Server::start(&authority, move |asked| {
            if number(asked) == question {
                return given.clone();
            }
            let (kind, answer) = answer_to(asked, &references, &pack);
            vec![head(kind), Step::Say(answer)]
        })?;
        let mut request = trusting(&format!("{}/app.git", server.url()), &authority)?;
        request.timeout = Duration::from_secs(if text == late { 1 } else { 20 });
        if text == much {
            request.limits = Limits {
                transfer: 1 << 20,
                ..Limits::default()
            };
        }
        let start = Instant::now();
        let found = stage.get(&request).err().unwrap_or_default();
        assert!(
            found.contains(text),
            "{found}\ninstead of\n{text}\nfor {:?}",
            steps.first()
        );
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    }
    Ok(())
}
