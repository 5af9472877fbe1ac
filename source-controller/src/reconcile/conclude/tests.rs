use super::*;
use api::meta::Time;
use git::client;

const MAIN: &str = "main@sha1:aaaa";

fn artifact(revision: &str, digest: &str) -> Artifact {
    Artifact {
        path: "gitrepository/ns/app/aaaa.tar.gz".into(),
        url: "http://host/gitrepository/ns/app/aaaa.tar.gz".into(),
        revision: revision.into(),
        digest: digest.into(),
        last_update_time: Time(Timestamp::UNIX_EPOCH),
        size: Some(1),
        metadata: BTreeMap::from([(COMMIT_SUBJECT.to_owned(), "fix it".to_owned())]),
    }
}

/// One object over several reconciles.
struct Object {
    status: GitRepositoryStatus,
    generation: i64,
}

impl Object {
    fn new() -> Self {
        Self {
            status: GitRepositoryStatus {
                observed_generation: Some(-1),
                ..Default::default()
            },
            generation: 1,
        }
    }

    fn draft(&mut self) -> Draft<'_> {
        Draft {
            status: &mut self.status,
            generation: self.generation,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    /// One reconcile that ends with the outcome; whether its start was told, the events and what is next.
    fn run(
        &mut self,
        requested: Option<&str>,
        stored: Option<Artifact>,
        outcome: Result<Synced, Failure>,
    ) -> (bool, Vec<String>, Again) {
        let before = self.status.clone();
        let mut draft = self.draft();
        let told = begin(
            &mut draft,
            Start {
                requested,
                has_disappeared: false,
            },
        );
        if let Some(artifact) = stored {
            draft.found_new_revision(&artifact.revision);
            draft.status.artifact = Some(artifact);
        }
        let Conclusion { notices, again } = conclude(&mut draft, &before, requested, &outcome);
        let events = notices
            .into_iter()
            .map(|n| format!("{:?} {}: {}", n.severity, n.reason, n.message))
            .collect();
        (told, events, again)
    }

    fn check(&self, observed_generation: i64, conditions: &[&str]) {
        let found = self.status.conditions.iter().map(|c| {
            let older = if c.observed_generation == Some(self.generation) {
                ""
            } else {
                " (older)"
            };
            format!("{}={} {}: {}{older}", c.type_, c.status, c.reason, c.message)
        });
        assert_eq!(found.collect::<Vec<_>>(), conditions);
        assert_eq!(self.status.observed_generation, Some(observed_generation));
    }
}

fn down() -> Failure {
    client::Error::Failed("unable to clone 'http://h': down".into()).into()
}

/// Nobody asked, and nothing is missing.
const UNASKED: Start<'static> = Start {
    requested: None,
    has_disappeared: false,
};
const DOWN: &str = "failed to checkout and determine revision: unable to clone 'http://h': down";
const STORED: &str = "stored artifact for revision 'main@sha1:aaaa'";

#[test]
fn a_first_artifact_is_announced_stored_and_told() {
    let mut object = Object::new();
    let (told, events, again) = object.run(None, Some(artifact(MAIN, "sha256:1")), Ok(Synced::Stored));
    assert!(told);
    assert_eq!(events, ["Info NewArtifact: stored artifact for commit 'fix it'"]);
    assert_eq!(again, Again::Interval);
    object.check(
        1,
        &[
            &format!("Ready=True Succeeded: {STORED}"),
            &format!("ArtifactInStorage=True Succeeded: {STORED}"),
        ],
    );
}

#[test]
fn a_first_failure_is_retried_in_silence() {
    let mut object = Object::new();
    let (told, events, again) = object.run(None, None, Err(down()));
    assert!(told);
    assert_eq!(events, [format!("Error GitOperationFailed: {DOWN}")]);
    assert_eq!(again, Again::Backoff);
    let conditions = [
        "Reconciling=True ProgressingWithRetry: building artifact".to_owned(),
        format!("Ready=False GitOperationFailed: {DOWN}"),
        format!("FetchFailed=True GitOperationFailed: {DOWN}"),
    ];
    let conditions = conditions.each_ref().map(String::as_str);
    object.check(-1, &conditions);
    let before = object.status.clone();
    let (told, _, _) = object.run(None, None, Err(down()));
    assert!(!told, "a retry is not announced");
    object.check(-1, &conditions);
    assert_eq!(object.status, before, "and writes nothing");
}

#[test]
fn an_interval_without_news_changes_nothing() {
    let mut object = Object::new();
    object.run(None, Some(artifact(MAIN, "sha256:1")), Ok(Synced::Stored));
    let before = object.status.clone();
    let (told, events, _) = object.run(None, None, Ok(Synced::Unmoved { by_name: true }));
    assert!(!told);
    assert_eq!(
        events,
        ["Info GitOperationSucceeded: no changes since last reconciliation: observed revision 'main@sha1:aaaa'"]
    );
    assert_eq!(object.status, before);
    let (_, events, _) = object.run(None, None, Ok(Synced::Unmoved { by_name: false }));
    assert_eq!(
        events,
        ["Info ArtifactUpToDate: artifact up-to-date with remote revision: 'main@sha1:aaaa'"]
    );
}

#[test]
fn a_failure_keeps_the_artifact_and_a_recovery_is_told() {
    let mut object = Object::new();
    object.run(None, Some(artifact(MAIN, "sha256:1")), Ok(Synced::Stored));
    let (told, _, _) = object.run(Some("now"), None, Err(down()));
    assert!(told, "who asked sees that it is being dealt with");
    assert_eq!(object.status.last_handled_reconcile_at.as_deref(), Some("now"));
    object.check(
        1,
        &[
            "Reconciling=True ProgressingWithRetry: reconciliation in progress",
            &format!("Ready=False GitOperationFailed: {DOWN}"),
            &format!("ArtifactInStorage=True Succeeded: {STORED}"),
            &format!("FetchFailed=True GitOperationFailed: {DOWN}"),
        ],
    );
    let (_, events, _) = object.run(Some("now"), None, Ok(Synced::Unmoved { by_name: true }));
    assert_eq!(events[1], "Info Succeeded: stored artifact for commit 'main@sha1:aaaa'");
    object.check(
        1,
        &[
            &format!("Ready=True Succeeded: {STORED}"),
            &format!("ArtifactInStorage=True Succeeded: {STORED}"),
        ],
    );
}

#[test]
fn a_new_generation_that_fails_is_not_observed() {
    let mut object = Object::new();
    object.run(None, Some(artifact(MAIN, "sha256:1")), Ok(Synced::Stored));
    object.generation = 2;
    let (told, _, _) = object.run(None, None, Err(down()));
    assert!(told);
    object.check(
        1,
        &[
            "Reconciling=True ProgressingWithRetry: processing object: new generation 1 -> 2",
            &format!("Ready=False GitOperationFailed: {DOWN}"),
            &format!("FetchFailed=True GitOperationFailed: {DOWN}"),
            &format!("ArtifactInStorage=True Succeeded: {STORED} (older)"),
        ],
    );
}

#[test]
fn what_only_the_spec_can_mend_stalls() {
    let mut object = Object::new();
    let unusable = git::RemoteUrl::parse("https://host:x/").unwrap_err();
    let text = unusable.to_string();
    let (_, events, again) = object.run(None, None, Err(unusable.into()));
    assert_eq!(events, [format!("Error URLInvalid: {text}")]);
    assert_eq!(again, Again::Change);
    object.check(
        1,
        &[
            &format!("Stalled=True URLInvalid: {text}"),
            &format!("Ready=False URLInvalid: {text}"),
            &format!("FetchFailed=True URLInvalid: {text}"),
        ],
    );
    object.generation = 2;
    object.run(None, Some(artifact(MAIN, "sha256:1")), Ok(Synced::Stored));
    object.check(
        2,
        &[
            &format!("Ready=True Succeeded: {STORED}"),
            &format!("ArtifactInStorage=True Succeeded: {STORED}"),
        ],
    );
}

#[test]
fn the_same_bytes_under_a_new_revision_are_no_news() {
    let mut object = Object::new();
    object.run(None, Some(artifact(MAIN, "sha256:1")), Ok(Synced::Stored));
    let (_, events, _) = object.run(None, Some(artifact("main@sha1:bbbb", "sha256:1")), Ok(Synced::Stored));
    assert!(events.is_empty(), "{events:?}");
    let (_, events, _) = object.run(None, Some(artifact("main@sha1:bbbb", "sha256:2")), Ok(Synced::Stored));
    assert_eq!(events, ["Info NewArtifact: stored artifact for commit 'fix it'"]);
}

#[test]
fn a_new_revision_that_cannot_be_stored_shows_as_outdated() {
    let mut object = Object::new();
    object.run(None, Some(artifact(MAIN, "sha256:1")), Ok(Synced::Stored));
    let before = object.status.clone();
    let mut draft = object.draft();
    begin(&mut draft, UNASKED);
    draft.found_new_revision("main@sha1:bbbb");
    let full = crate::storage::Error::Archive("disk full".into());
    conclude(&mut draft, &before, None, &Err(full.into()));
    let text = "unable to archive artifact to storage: disk full";
    object.check(
        1,
        &[
            "Reconciling=True ProgressingWithRetry: building artifact: new upstream revision 'main@sha1:bbbb'",
            &format!("Ready=False ArchiveOperationFailed: {text}"),
            &format!("ArtifactInStorage=True Succeeded: {STORED}"),
            "ArtifactOutdated=True NewRevision: new upstream revision 'main@sha1:bbbb'",
            &format!("StorageOperationFailed=True ArchiveOperationFailed: {text}"),
        ],
    );
}

#[test]
fn a_lost_file_is_announced_as_such() {
    let mut object = Object::new();
    object.run(None, Some(artifact(MAIN, "sha256:1")), Ok(Synced::Stored));
    object.status.artifact = None;
    let mut draft = object.draft();
    assert!(begin(
        &mut draft,
        Start {
            requested: None,
            has_disappeared: true
        }
    ));
    object.check(
        1,
        &[
            "Reconciling=True Progressing: building artifact: disappeared from storage",
            "Ready=Unknown Progressing: building artifact: disappeared from storage",
        ],
    );
}

#[test]
fn a_suspended_object_says_what_it_said_for_the_new_generation() {
    let mut object = Object::new();
    conclude_suspended(&mut object.draft(), None);
    object.check(-1, &[]);
    object.run(None, Some(artifact(MAIN, "sha256:1")), Ok(Synced::Stored));
    object.generation = 2;
    conclude_suspended(&mut object.draft(), Some("now"));
    assert_eq!(object.status.last_handled_reconcile_at.as_deref(), Some("now"));
    object.check(
        2,
        &[
            &format!("Ready=True Succeeded: {STORED}"),
            &format!("ArtifactInStorage=True Succeeded: {STORED} (older)"),
        ],
    );
}

#[test]
fn what_a_suspended_object_had_under_way_goes_on_later() {
    let mut object = Object::new();
    object.run(None, None, Err(down()));
    object.generation = 2;
    conclude_suspended(&mut object.draft(), None);
    object.check(
        2,
        &[
            "Reconciling=True ProgressingWithRetry: building artifact",
            &format!("Ready=False GitOperationFailed: {DOWN}"),
            &format!("FetchFailed=True GitOperationFailed: {DOWN} (older)"),
        ],
    );
}

#[test]
fn an_object_that_goes_and_is_held_by_others_has_no_artifact_any_more() {
    let mut object = Object::new();
    conclude_deleted(&mut object.draft(), None);
    object.check(-1, &[]);
    object.run(None, Some(artifact(MAIN, "sha256:1")), Ok(Synced::Stored));
    object.generation = 2;
    conclude_deleted(&mut object.draft(), Some("now"));
    assert_eq!(object.status.artifact, None);
    assert_eq!(object.status.last_handled_reconcile_at.as_deref(), Some("now"));
    object.check(
        2,
        &[
            &format!("Ready=True Succeeded: {STORED}"),
            &format!("ArtifactInStorage=True Succeeded: {STORED} (older)"),
        ],
    );
}

#[test]
fn an_empty_request_is_answered_by_an_absent_field() {
    let mut object = Object::new();
    object.run(Some("now"), Some(artifact(MAIN, "sha256:1")), Ok(Synced::Stored));
    let (told, ..) = object.run(Some(""), None, Ok(Synced::Unmoved { by_name: true }));
    assert_eq!((told, object.status.last_handled_reconcile_at.as_deref()), (true, None));
    let (told, ..) = object.run(Some(""), None, Ok(Synced::Unmoved { by_name: true }));
    assert!(!told);
}

#[test]
fn a_revision_of_an_older_controller_is_told_as_it_is_written_today() {
    let commit = "a".repeat(40);
    let mut object = Object::new();
    let old = artifact(&format!("main/{commit}"), "sha256:1");
    object.run(None, Some(old), Ok(Synced::Stored));
    let (_, events, _) = object.run(None, None, Ok(Synced::Unmoved { by_name: true }));
    let text = format!("stored artifact for revision 'main@sha1:{commit}'");
    object.check(
        1,
        &[
            &format!("Ready=True Succeeded: {text}"),
            &format!("ArtifactInStorage=True Succeeded: {text}"),
        ],
    );
    let text = format!("no changes since last reconciliation: observed revision 'main@sha1:{commit}'");
    assert_eq!(events, [format!("Info GitOperationSucceeded: {text}")]);
}

#[test]
fn an_artifact_that_cannot_be_renewed_says_since_when_and_nothing_else_changes() {
    let mut object = Object::new();
    object.run(None, Some(artifact(MAIN, "sha256:1")), Ok(Synced::Stored));
    let since = |object: &Object| {
        object
            .status
            .artifact
            .as_ref()
            .unwrap()
            .metadata
            .get(STALE_SINCE)
            .cloned()
    };
    assert_eq!(since(&object), None);
    let (_, events, _) = object.run(None, None, Err(down()));
    let serving = "; still serving revision 'main@sha1:aaaa', stale since 1970-01-01T00:00:00Z";
    assert_eq!(events, [format!("Error GitOperationFailed: {DOWN}{serving}")]);
    let failed = object.status.clone();
    let (_, events, _) = object.run(None, None, Err(down()));
    assert_eq!(
        events,
        [format!("Error GitOperationFailed: {DOWN}{serving}")],
        "the first failure counts"
    );
    assert_eq!(object.status, failed, "a retry writes nothing");
    object.run(None, None, Ok(Synced::Unmoved { by_name: true }));
    assert_eq!(since(&object), None);
    let mut new = Object::new();
    let (_, events, _) = new.run(None, None, Err(down()));
    assert_eq!(
        events,
        [format!("Error GitOperationFailed: {DOWN}")],
        "there is nothing to serve"
    );
}

#[test]
fn what_is_to_be_included_is_waited_for() {
    let mut object = Object::new();
    let missing = || crate::include::Unavailable::NoArtifact("lib".into()).into();
    let (_, events, again) = object.run(None, None, Err(missing()));
    let text = "no artifact available for include 'lib'";
    assert_eq!(
        (events, again),
        (vec![format!("Info NoArtifact: {text}")], Again::Dependency)
    );
    object.check(
        -1,
        &[
            "Reconciling=True ProgressingWithRetry: building artifact",
            &format!("Ready=False NoArtifact: {text}"),
            &format!("IncludeUnavailable=True NoArtifact: {text}"),
        ],
    );
    let (_, events, _) = object.run(None, Some(artifact(MAIN, "sha256:1")), Ok(Synced::Stored));
    assert_eq!(events, ["Info NewArtifact: stored artifact for commit 'fix it'"]);
    object.run(None, None, Err(missing()));
    object.draft().found_other_includes();
    let (_, events, _) = object.run(None, None, Ok(Synced::Unmoved { by_name: true }));
    assert_eq!(events[1], "Info Succeeded: stored artifact for commit 'main@sha1:aaaa'");
    object.check(
        1,
        &[
            &format!("Ready=True Succeeded: {STORED}"),
            &format!("ArtifactInStorage=True Succeeded: {STORED}"),
        ],
    );
}

#[test]
fn an_artifact_with_older_includes_is_outdated_until_the_repository_is_looked_at() {
    let mut object = Object::new();
    object.run(None, Some(artifact(MAIN, "sha256:1")), Ok(Synced::Stored));
    assert!(!is_retry(&object.status, object.generation));
    let mut draft = object.draft();
    begin(&mut draft, UNASKED);
    draft.found_other_includes();
    draft.outdated_by_includes();
    let text = "included artifacts differ from last observed includes";
    object.check(
        1,
        &[
            &format!("Reconciling=True Progressing: building artifact: {text}"),
            &format!("Ready=Unknown Progressing: building artifact: {text}"),
            &format!("ArtifactInStorage=True Succeeded: {STORED}"),
            &format!("ArtifactOutdated=True IncludeChange: {text}"),
        ],
    );
    object.run(None, None, Err(down()));
    assert!(is_retry(&object.status, object.generation));
    assert!(!is_retry(&object.status, object.generation + 1));
}

#[test]
fn a_success_takes_back_whatever_failed_before() {
    for kinds in [
        &[RECONCILING][..],
        &[STALLED],
        &[
            FETCH_FAILED,
            INCLUDE_UNAVAILABLE,
            STORAGE_OPERATION_FAILED,
            ARTIFACT_OUTDATED,
        ],
        &[RECONCILING, FETCH_FAILED, ARTIFACT_OUTDATED],
        &[STALLED, INCLUDE_UNAVAILABLE],
    ] {
        let mut object = Object::new();
        for kind in kinds {
            object.draft().set(kind, Verdict::True, "Before", "failed before");
        }
        object.draft().set(READY, Verdict::False, "Before", "failed before");
        let (_, _, again) = object.run(None, Some(artifact(MAIN, "sha256:1")), Ok(Synced::Stored));
        assert_eq!(again, Again::Interval, "{kinds:?}");
        object.check(
            1,
            &[
                &format!("Ready=True Succeeded: {STORED}"),
                &format!("ArtifactInStorage=True Succeeded: {STORED}"),
            ],
        );
    }
}

#[test]
fn ready_repeats_the_condition_that_tells_most() {
    type Case<'a> = (&'a [(&'a str, Verdict)], Option<&'a str>);
    let (yes, no) = (Verdict::True, Verdict::False);
    // The gravest first, then what is good.
    let all = [
        (STORAGE_OPERATION_FAILED, yes),
        (FETCH_FAILED, yes),
        (INCLUDE_UNAVAILABLE, yes),
        (ARTIFACT_OUTDATED, yes),
        (ARTIFACT_IN_STORAGE, yes),
        (SOURCE_VERIFIED, yes),
    ];
    let cases: [Case; 15] = [
        (&[], None),
        (&all, Some("False OfStorageOperationFailed")),
        (&all[1..], Some("False OfFetchFailed")),
        (&all[2..], Some("False OfIncludeUnavailable")),
        (&all[3..], Some("False OfArtifactOutdated")),
        (&all[4..], Some("True OfArtifactInStorage")),
        (&all[5..], Some("True OfSourceVerified")),
        (&[(STALLED, yes), all[4]], Some("False OfStalled")),
        (&[(RECONCILING, yes), all[4]], Some("False OfReconciling")),
        (&[(RECONCILING, yes), all[3]], Some("False OfArtifactOutdated")),
        // What is not good.
        (&[(ARTIFACT_IN_STORAGE, no)], Some("False OfArtifactInStorage")),
        (&[(ARTIFACT_IN_STORAGE, no), all[5]], Some("False OfArtifactInStorage")),
        (&[(ARTIFACT_IN_STORAGE, no), all[1]], Some("False OfFetchFailed")),
        // A signature outweighs everything.
        (
            &[(SOURCE_VERIFIED, no), (ARTIFACT_IN_STORAGE, no)],
            Some("False OfSourceVerified"),
        ),
        (&[(SOURCE_VERIFIED, no), all[0]], Some("False OfSourceVerified")),
    ];
    for (conditions, expected) in cases {
        let mut object = Object::new();
        for (kind, verdict) in conditions {
            object.draft().set(kind, *verdict, &format!("Of{kind}"), "text");
        }
        object.draft().sum_up();
        let ready = conditions::get(&object.status.conditions, READY);
        let found = ready.map(|ready| format!("{} {}", ready.status, ready.reason));
        assert_eq!(found.as_deref(), expected, "{conditions:?}");
    }
}
