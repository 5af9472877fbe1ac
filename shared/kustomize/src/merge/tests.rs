use super::*;
use crate::node::documents;

fn node(text: &str) -> Node {
    documents(text.as_bytes()).unwrap().nodes.remove(0).1
}

fn check(object: &str, patch: &str, expected: &str) {
    let head = "apiVersion: v1\nkind: Pod\n";
    let mut object = node(&format!("{head}{object}"));
    merge(&mut object, node(patch), Schema::builtin()).unwrap();
    assert_eq!(
        object.to_json(),
        node(&format!("{head}{expected}")).to_json(),
        "{patch}"
    );
}

#[test]
fn items_match_by_key_and_new_ones_come_first() {
    check(
        "spec: {containers: [{name: a, image: x}, {name: b}]}",
        "spec: {containers: [{name: c}, {name: a, tty: true}]}",
        "spec: {containers: [{name: c}, {name: a, image: x, tty: true}, {name: b}]}",
    );
}

#[test]
fn lists_without_a_merge_strategy_are_replaced() {
    check(
        "spec: {tolerations: [{key: a}]}",
        "spec: {tolerations: [{key: b}]}",
        "spec: {tolerations: [{key: b}]}",
    );
}

#[test]
fn directives_delete_and_replace() {
    check(
        "spec: {containers: [{name: a}, {name: b}]}",
        "spec: {containers: [{name: a, $patch: delete}]}",
        "spec: {containers: [{name: b}]}",
    );
    check(
        "spec: {containers: [{name: a}, {name: b}]}",
        "spec: {containers: [{$patch: replace}, {name: c}]}",
        "spec: {containers: [{name: c}]}",
    );
    check(
        "spec: {nodeSelector: {a: b}}",
        "spec: {nodeSelector: {$patch: replace, c: d}}",
        "spec: {nodeSelector: {c: d}}",
    );
    check(
        "spec: {nodeSelector: {a: b}, x: y}",
        "spec: {nodeSelector: {$patch: delete}}",
        "spec: {x: y}",
    );
}

#[test]
fn null_deletes_and_unwritten_nulls_go_away() {
    check("spec: {a: b, c: null}\nx:\n", "spec: {a: null}", "spec: {c: null}");
}

#[test]
fn ports_match_by_number_and_protocol() {
    check(
        "spec: {containers: [{name: a, ports: [{containerPort: 80, protocol: TCP}, {containerPort: 80, protocol: UDP}]}]}",
        "spec: {containers: [{name: a, ports: [{containerPort: 80, protocol: UDP, name: u}]}]}",
        "spec: {containers: [{name: a, ports: [{containerPort: 80, protocol: TCP}, {containerPort: 80, protocol: UDP, name: u}]}]}",
    );
}

#[test]
fn lists_of_scalars_with_a_merge_strategy_are_united() {
    check(
        "metadata: {finalizers: [a, b]}",
        "metadata: {finalizers: [c, a]}",
        "metadata: {finalizers: [c, a, b]}",
    );
}

#[test]
fn an_unknown_directive_is_an_error() {
    let mut object = node("{apiVersion: v1, kind: Pod, spec: {a: b}}");
    let error = merge(&mut object, node("spec: {$patch: twist}"), Schema::builtin()).unwrap_err();
    assert_eq!(error.to_string(), "field 'spec': unknown patch strategy 'twist'");
}

#[test]
fn a_schema_in_a_comment_describes_the_value_beside_it() {
    check(
        "items: # {\"type\": \"array\", \"x-kubernetes-patch-strategy\": \"merge\"}\n- b\n- c",
        "items: [a, b]",
        "items: [a, b, c]",
    );
    check(
        "x: {y: [{name: a, image: b}]}",
        "# {\"properties\": {\"y\": {\"type\": \"array\", \"x-kubernetes-patch-strategy\": \"merge\", \"x-kubernetes-patch-merge-key\": \"name\", \"items\": {\"$ref\": \"#/definitions/io.k8s.api.core.v1.Container\"}}}}\nx: {y: [{name: a, tty: true}]}",
        "x: {y: [{name: a, image: b, tty: true}]}",
    );
    check(
        "spec: {containers: # {\"a\": \"b\"}\n  [{name: a, image: b}]}",
        "spec: {containers: [{name: a}]}",
        "spec: {containers: [{name: a}]}",
    );
}

#[test]
fn a_patch_that_replaces_the_whole_object_changes_nothing() {
    check("spec: {a: b}", "$patch: replace\nspec: {c: d}", "spec: {a: b}");
    check("spec: {a: b}", "spec: {$patch: replace, c: d}", "spec: {c: d}");
}
