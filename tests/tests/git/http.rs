//! http: references as words, limits and the policy, against the real git.

use anyhow::Result;
use git::ssh::Algorithms;
use git::{Limits, Policy, Request};
use tests::git_server::{Fault, GitServer};
use tests::pki::Authority;
use tests::relay::{Cut, Relay};
use tests::web::Front;

use crate::stage::{Stage, request};

#[test]
fn a_word_leads_where_git_fetch_would_go() -> Result<()> {
    let (stage, server) = (Stage::new()?, GitServer::start()?);
    let repo = server.create("app")?;
    let first = repo.commit_files("one", &[("a", "1")])?;
    repo.annotated_tag("v1", "one")?;
    repo.branch("side/way")?;
    let second = repo.commit_files("two", &[("a", "2")])?;
    repo.tag("main")?;
    repo.set_ref("refs/pull/1/head")?;
    let request = request(repo.url())?;
    let words = [
        (None, &first),
        (Some("HEAD"), &first),
        (Some("v1"), &first),
        (Some("side/way"), &second),
        (Some("refs/heads/main"), &first),
        (Some("heads/main"), &first),
        // A tag counts before the branch of the same name.
        (Some("main"), &second),
        (Some("pull/1/head"), &second),
        (Some(second.as_str()), &second),
    ];
    for (word, id) in words {
        assert_eq!(stage.id(&request, word).as_ref(), Ok(id), "{word:?}");
    }
    let short = &first[..7];
    let text = format!("unable to clone '{}': couldn't find remote ref {short:?}", repo.url());
    assert_eq!(stage.id(&request, Some(short)), Err(text));
    Ok(())
}

#[test]
fn what_is_too_large_is_refused() -> Result<()> {
    let (stage, server) = (Stage::new()?, GitServer::start()?);
    let repo = server.create("app")?;
    let large = "x".repeat(17 << 20);
    repo.commit_files("one", &[("large", &large)])?;
    let mut request = request(repo.url())?;
    request.limits.object = 1 << 20;
    let text = "it holds a file larger than the limit of 1048576 bytes";
    let found = stage.get(&request).err();
    assert_eq!(found, Some(format!("unable to clone '{}': {text}", repo.url())));
    request.limits = Limits {
        transfer: 10_000,
        ..Limits::default()
    };
    let found = stage.get(&request).err();
    let text = "the server sent more than 10000 bytes";
    assert_eq!(found, Some(format!("unable to clone '{}': {text}", repo.url())));
    Ok(())
}

#[test]
fn repositories_with_sha_256_names_are_read() -> Result<()> {
    let (stage, server) = (Stage::new()?, GitServer::start()?);
    let repo = server.create("app")?;
    repo.use_sha256()?;
    let id = repo.commit_files("one", &[("a/b", "1")])?;
    let commit = stage.get(&request(repo.url())?).map_err(anyhow::Error::msg)?;
    assert_eq!(commit.revision.to_string(), format!("HEAD@sha256:{id}"));
    assert_eq!(commit.tree.read("a/b", 1)?, b"1");
    Ok(())
}

#[test]
fn the_policy_holds_for_first_requests_and_redirects() -> Result<()> {
    let server = GitServer::start()?;
    let repo = server.create("app")?;
    let id = repo.commit_files("one", &[("a", "1")])?;
    let failure = |policy: Policy, url: &str| -> Result<Option<String>> {
        let stage = Stage::with(policy, Algorithms::default())?;
        Ok(stage.get(&request(url)?).err())
    };
    let refused = "127.0.0.1, which is not public: only public addresses are allowed";
    let found = failure(Policy::public(), repo.url())?.unwrap_or_default();
    assert!(found.contains(refused), "{found}");
    let by_name = repo.url().replace("127.0.0.1", "localhost");
    let found = failure(Policy::public(), &by_name)?.unwrap_or_default();
    assert!(found.contains("which is not public"), "{found}");
    let trusting = Policy {
        trusted_hosts: vec!["localhost".to_owned()],
        ..Policy::public()
    };
    let stage = Stage::with(trusting.clone(), Algorithms::default())?;
    assert_eq!(stage.id(&request(&by_name)?, None), Ok(id));
    // The name is trusted, what it redirects to is not.
    server.set_fault("app", Fault::Redirect(server.url()));
    let found = failure(trusting, &by_name)?.unwrap_or_default();
    assert!(found.contains(refused), "{found}");
    let here = Policy {
        hosts: Some(vec!["localhost".to_owned()]),
        ..Policy::default()
    };
    let found = failure(here, &by_name)?.unwrap_or_default();
    assert!(
        found.contains("host '127.0.0.1' is not among the allowed hosts"),
        "{found}"
    );
    Ok(())
}

#[test]
fn tasks_fetch_too() -> Result<()> {
    let (stage, server) = (Stage::new()?, GitServer::start()?);
    let repo = server.create("app")?;
    let id = repo.commit_files("one", &[("a", "1")])?;
    let wanted: Request = request(repo.url())?;
    let found = stage.fetch(wanted)?;
    let git::Found::Commit(commit) = found else {
        anyhow::bail!("nothing was fetched");
    };
    assert_eq!(commit.id.to_string(), id);
    assert_eq!(commit.subject, "one");
    Ok(())
}

#[test]
fn a_kept_connection_that_has_ended_without_a_word_is_replaced() -> Result<()> {
    let server = GitServer::start()?;
    let repo = server.create("app")?;
    let id = repo.commit_files("one", &[("a", "1")])?;
    let address = server.url().replace("http://", "");
    for (question, how) in [
        ("GET ", Cut::Close),
        ("GET ", Cut::Reset),
        ("POST ", Cut::Close),
        ("POST ", Cut::Reset),
    ] {
        let (stage, relay) = (Stage::new()?, Relay::start(&address)?);
        let request = request(&repo.url().replace(&address, &relay.address()))?;
        assert_eq!(stage.id(&request, None), Ok(id.clone()));
        relay.cut(how, question, 0..1);
        // A connection is not always kept: that its last answer has ended may not have been seen in time.
        let is_cut = (0..50).any(|_| {
            assert_eq!(stage.id(&request, None), Ok(id.clone()), "{how:?} at {question}");
            relay.cuts() == 1
        });
        assert!(is_cut, "{how:?} at {question}");
    }
    Ok(())
}

#[test]
fn connections_may_end_at_any_question_over_tls_and_both_versions_of_http() -> Result<()> {
    /// What a record with something said in it begins with, the handshake's first ones aside.
    const RECORD: &str = "\x17";
    let authority = Authority::new("servers")?;
    for protocols in [&["http/1.1"][..], &["h2"]] {
        let server = GitServer::start_front(&Front {
            protocols,
            ..Front::of(&authority)
        })?;
        let repo = server.create("app")?;
        let id = repo.commit_files("one", &[("a", "1")])?;
        let address = server.url().replace("https://", "");
        for (number, how) in (0..3).flat_map(|number| [(number, Cut::Close), (number, Cut::Reset)]) {
            let (stage, relay) = (Stage::new()?, Relay::start(&address)?);
            let mut request = request(&repo.url().replace(&address, &relay.address()))?;
            request.credentials.authorities = Some(authority.certificate().as_bytes().to_vec());
            relay.cut(how, RECORD, number..number + 1);
            let found = stage.id(&request, None);
            assert_eq!(found, Ok(id.clone()), "{how:?} at {number} of {protocols:?}");
            // The first one may go along with the end of the handshake.
            assert!(relay.cuts() == 1 || number == 2, "{how:?} at {number} of {protocols:?}");
        }
    }
    Ok(())
}
