//! How an object does, told from the object alone: kstatus, as Flux reads it.
//!
//! Rules that hold for every kind come first (deletion, the generation that was observed, the conditions Reconciling
//! and Stalled), then the rules of the kind, and for kinds without rules the condition Ready. Jobs have only their own
//! rules. StatefulSets and ReplicaSets that are in progress are looked at together with their pods; Deployments are
//! not, because they say themselves when they take too long.
//!
//! This does not fetch anything, does not wait, and knows no expressions of users. Only the age of a pod that finds no
//! node needs the time: [`status_at`] takes it as a value and is pure, [`status`] asks the clock.

mod daemon_set;
mod definition;
mod deployment;
mod field;
mod generic;
mod job;
mod persistent_volume_claim;
mod pod;
mod ready;
mod replica_set;
mod replicas;
mod service;
mod stateful_set;

use crate::inventory::group_version;
use field::Malformed;
use jiff::Timestamp;
use serde_json::Value;
use std::fmt;

/// What kstatus calls the status of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is as its spec wants it.
    Current,
    /// It is on its way.
    InProgress,
    /// It will not get there by itself.
    Failed,
    /// It is being deleted.
    Terminating,
    /// It is not in the cluster; said by those who looked for it.
    NotFound,
    /// Nothing can be said, because it could not be read or does not make sense.
    Unknown,
}

/// Flux's word, as in `Deployment/apps/web status: 'InProgress'`.
impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Kind::Current => "Current",
            Kind::InProgress => "InProgress",
            Kind::Failed => "Failed",
            Kind::Terminating => "Terminating",
            Kind::NotFound => "NotFound",
            Kind::Unknown => "Unknown",
        })
    }
}

/// How an object does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The status.
    pub kind: Kind,
    /// Why, for people; may be empty. For [`Kind::Unknown`] it is the error.
    pub message: String,
}

impl Status {
    fn current(message: impl Into<String>) -> Self {
        Status {
            kind: Kind::Current,
            message: message.into(),
        }
    }

    fn in_progress(message: impl Into<String>) -> Self {
        Status {
            kind: Kind::InProgress,
            message: message.into(),
        }
    }

    fn failed(message: impl Into<String>) -> Self {
        Status {
            kind: Kind::Failed,
            message: message.into(),
        }
    }
}

/// How a live object does now; what does not make sense is [`Kind::Unknown`].
///
/// For workloads of [`looks_at_pods`] that are in progress, [`status_with_pods`] knows more.
pub fn status(object: &Value) -> Status {
    status_at(object, Timestamp::now())
}

/// How a live object does at a time.
pub fn status_at(object: &Value, now: Timestamp) -> Status {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let (group, _) = group_version(api_version);
    status_as(group, object["kind"].as_str().unwrap_or_default(), object, now)
}

/// Whether the health of a kind depends on its pods.
///
/// As in kstatus that is so in the group `apps` only, and not for Deployments.
pub fn looks_at_pods(group: &str, kind: &str) -> bool {
    group == "apps" && matches!(kind, "StatefulSet" | "ReplicaSet")
}

/// How a live workload does now, given the pods that its selector selects.
///
/// As long as the workload is in progress, one failed pod makes it fail, except for pods that are being deleted and for
/// pods that wait for a node, since those may get one. The pods of kinds other than those of [`looks_at_pods`] do not
/// matter. The pods need not say that they are pods: items of a list often do not.
pub fn status_with_pods(object: &Value, pods: &[Value]) -> Status {
    let now = Timestamp::now();
    let status = status_at(object, now);
    let (group, _) = group_version(object["apiVersion"].as_str().unwrap_or_default());
    let depends = looks_at_pods(group, object["kind"].as_str().unwrap_or_default());
    if !depends || status.kind != Kind::InProgress {
        return status;
    }
    let failed = |pod: &&Value| status_as("", "Pod", pod, now).kind == Kind::Failed && !pod::waits_for_node(pod);
    match pods.iter().filter(failed).count() {
        0 => status,
        count => Status::failed(format!("pods that have failed: {count}")),
    }
}

/// Whether an object of the manifests may vanish once its work is done, so that not finding it means success: a Job
/// with `spec.ttlSecondsAfterFinished`, 0 included.
pub fn vanishes(object: &Value) -> bool {
    let (group, _) = group_version(object["apiVersion"].as_str().unwrap_or_default());
    group == "batch" && object["kind"] == "Job" && field::int(object, "/spec/ttlSecondsAfterFinished").is_some()
}

fn status_as(group: &str, kind: &str, object: &Value, now: Timestamp) -> Status {
    let status = judge(group, kind, object, now);
    status.unwrap_or_else(|error| Status {
        kind: Kind::Unknown,
        message: error.to_string(),
    })
}

fn judge(group: &str, kind: &str, object: &Value, now: Timestamp) -> Result<Status, Malformed> {
    if !object.is_object() {
        return Err(Malformed::new("the object", "a mapping"));
    }
    if (group, kind) == ("batch", "Job") {
        return job::status(object);
    }
    if let Some(status) = generic::status(object, kind)? {
        return Ok(status);
    }
    match (group, kind) {
        ("apps" | "extensions", "Deployment") => deployment::status(object),
        ("apps", "StatefulSet") => Ok(stateful_set::status(object)),
        ("apps" | "extensions", "ReplicaSet") => replica_set::status(object),
        ("apps" | "extensions", "DaemonSet") => daemon_set::status(object),
        ("", "Pod") => pod::status(object, now),
        ("", "PersistentVolumeClaim") => Ok(persistent_volume_claim::status(object)),
        ("", "Service") => Ok(service::status(object)),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition::status(object),
        ("", "ConfigMap" | "Secret") | ("batch", "CronJob") | ("policy", "PodDisruptionBudget") => {
            Ok(Status::current(format!("a {kind} needs nothing else")))
        }
        _ => ready::status(object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn object(yaml: &str) -> Value {
        yaml::parse_json(yaml, yaml::Dialect::V3).unwrap().remove(0).1
    }

    /// Checks the status of an object at noon; the fields are those of a YAML flow mapping.
    #[track_caller]
    pub(super) fn check(type_meta: &str, fields: &str, expected: Kind, message: &str) {
        let object = object(&format!("{{{type_meta}, {fields}}}"));
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        assert_eq!(
            status_at(&object, now),
            Status {
                kind: expected,
                message: message.into()
            }
        );
    }

    const STATEFUL_SET: &str = "apiVersion: apps/v1, kind: StatefulSet, spec: {replicas: 1}";
    const CRASHING: &str =
        "{status: {phase: Running, containerStatuses: [{name: a, state: {waiting: {reason: CrashLoopBackOff}}}]}}";

    #[track_caller]
    fn check_pods(workload: &str, pods: &[&str], expected: Kind, message: &str) {
        let pods: Vec<_> = pods.iter().map(|pod| object(pod)).collect();
        let status = status_with_pods(&object(&format!("{{{workload}}}")), &pods);
        assert_eq!(
            status,
            Status {
                kind: expected,
                message: message.into()
            }
        );
    }

    #[test]
    fn a_failed_pod_makes_a_workload_in_progress_fail() {
        check_pods(STATEFUL_SET, &[], Kind::InProgress, "0 of 1 pods are there");
        check_pods(
            STATEFUL_SET,
            &["{status: {phase: Pending}}"],
            Kind::InProgress,
            "0 of 1 pods are there",
        );
        check_pods(
            STATEFUL_SET,
            &[CRASHING, "{}", CRASHING],
            Kind::Failed,
            "pods that have failed: 2",
        );
        let replica_set = "apiVersion: apps/v1, kind: ReplicaSet";
        check_pods(replica_set, &[CRASHING], Kind::Failed, "pods that have failed: 1");
    }

    #[test]
    fn a_failed_pod_does_not_matter_to_a_workload_that_is_there_or_goes() {
        let done = "apiVersion: apps/v1, kind: StatefulSet, spec: {replicas: 0}";
        check_pods(done, &[CRASHING], Kind::Current, "0 pods are ready");
        let leaving = "apiVersion: apps/v1, kind: StatefulSet, metadata: {deletionTimestamp: '2026-11-21T12:00:00Z'}";
        check_pods(leaving, &[CRASHING], Kind::Terminating, "it is being deleted");
    }

    #[test]
    fn the_pods_of_other_kinds_do_not_matter() {
        let deployment = "apiVersion: apps/v1, kind: Deployment";
        check_pods(deployment, &[CRASHING], Kind::InProgress, "0 of 1 pods are there");
        let old = "apiVersion: extensions/v1beta1, kind: ReplicaSet";
        check_pods(old, &[CRASHING], Kind::InProgress, "0 of 1 pods are labelled");
    }

    #[test]
    fn pods_that_leave_or_wait_for_a_node_are_not_held_against_a_workload() {
        let leaving = "{metadata: {deletionTimestamp: '2026-11-21T12:00:00Z'}, status: {phase: Running,
            containerStatuses: [{name: a, state: {waiting: {reason: CrashLoopBackOff}}}]}}";
        check_pods(STATEFUL_SET, &[leaving], Kind::InProgress, "0 of 1 pods are there");
        let waiting = "{metadata: {creationTimestamp: '2020-01-01T00:00:00Z'}, status: {phase: Pending,
            conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable}]}}";
        check_pods(STATEFUL_SET, &[waiting], Kind::InProgress, "0 of 1 pods are there");
        check_pods(
            STATEFUL_SET,
            &[waiting, CRASHING],
            Kind::Failed,
            "pods that have failed: 1",
        );
    }

    #[test]
    fn pods_that_make_no_sense_are_passed_over() {
        let odd = ["[]", "text", "{status: 7}", "{status: {phase: Odd}}"];
        check_pods(STATEFUL_SET, &odd, Kind::InProgress, "0 of 1 pods are there");
    }

    #[test]
    fn only_stateful_sets_and_replica_sets_are_looked_at_with_their_pods() {
        let cases = [
            ("apps", "StatefulSet", true),
            ("apps", "ReplicaSet", true),
            ("apps", "Deployment", false),
            ("apps", "DaemonSet", false),
            ("extensions", "ReplicaSet", false),
            ("", "Pod", false),
        ];
        for (group, kind, expected) in cases {
            assert_eq!(looks_at_pods(group, kind), expected, "{group}/{kind}");
        }
    }

    #[test]
    fn only_jobs_with_a_time_to_live_may_vanish() {
        let cases = [
            (
                "{apiVersion: batch/v1, kind: Job, spec: {ttlSecondsAfterFinished: 60}}",
                true,
            ),
            (
                "{apiVersion: batch/v1, kind: Job, spec: {ttlSecondsAfterFinished: 0}}",
                true,
            ),
            (
                "{apiVersion: batch/v1, kind: Job, spec: {ttlSecondsAfterFinished: soon}}",
                false,
            ),
            (
                "{apiVersion: batch/v1, kind: Job, spec: {ttlSecondsAfterFinished: null}}",
                false,
            ),
            ("{apiVersion: batch/v1, kind: Job, spec: {}}", false),
            (
                "{apiVersion: batch/v1, kind: CronJob, spec: {ttlSecondsAfterFinished: 60}}",
                false,
            ),
            (
                "{apiVersion: example.test/v1, kind: Job, spec: {ttlSecondsAfterFinished: 60}}",
                false,
            ),
            ("[]", false),
        ];
        for (yaml, expected) in cases {
            assert_eq!(vanishes(&object(yaml)), expected, "{yaml}");
        }
    }

    #[test]
    fn some_kinds_are_current_as_soon_as_they_exist() {
        for type_meta in [
            "apiVersion: v1, kind: ConfigMap",
            "apiVersion: v1, kind: Secret",
            "apiVersion: batch/v1, kind: CronJob",
            "apiVersion: policy/v1, kind: PodDisruptionBudget",
        ] {
            let kind = type_meta.rsplit_once(' ').unwrap().1;
            let fields = "status: {conditions: [{type: Ready, status: 'False'}]}";
            check(
                type_meta,
                fields,
                Kind::Current,
                &format!("a {kind} needs nothing else"),
            );
        }
    }

    #[test]
    fn a_kind_of_the_same_name_in_another_group_has_no_rules() {
        for kind in ["Deployment", "StatefulSet", "Job", "Pod", "CustomResourceDefinition"] {
            let type_meta = format!("apiVersion: example.test/v1, kind: {kind}");
            check(
                &type_meta,
                "spec: {replicas: 3}",
                Kind::Current,
                "it has no condition Ready",
            );
        }
    }

    #[test]
    fn what_is_no_object_is_unknown() {
        for value in [Value::Null, "text".into(), 7.into(), Vec::<Value>::new().into()] {
            let expected = Status {
                kind: Kind::Unknown,
                message: "the object is not a mapping".into(),
            };
            assert_eq!(status(&value), expected);
        }
    }

    #[test]
    fn every_kind_survives_fields_of_the_wrong_type() {
        let kinds = [
            ("apps/v1", "Deployment"),
            ("apps/v1", "StatefulSet"),
            ("apps/v1", "ReplicaSet"),
            ("apps/v1", "DaemonSet"),
            ("v1", "Pod"),
            ("v1", "PersistentVolumeClaim"),
            ("v1", "Service"),
            ("batch/v1", "Job"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
            ("example.test/v1", "Widget"),
        ];
        for (api_version, kind) in kinds {
            for status in [
                "7",
                "[]",
                "text",
                "{conditions: 7}",
                "{conditions: [7]}",
                "{conditions: [{type: []}]}",
            ] {
                let yaml = format!("{{apiVersion: {api_version}, kind: {kind}, spec: 7, status: {status}}}");
                assert_eq!(super::status(&object(&yaml)).kind, Kind::Unknown, "{yaml}");
            }
        }
    }

    #[test]
    fn the_words_are_those_of_kstatus() {
        let kinds = [
            Kind::Current,
            Kind::InProgress,
            Kind::Failed,
            Kind::Terminating,
            Kind::NotFound,
            Kind::Unknown,
        ];
        let words = kinds.map(|kind| kind.to_string()).join(" ");
        assert_eq!(words, "Current InProgress Failed Terminating NotFound Unknown");
    }
}
