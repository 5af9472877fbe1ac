//! JSON patches: the objects, then the operations, which apply to all of them.
#![no_main]

use libfuzzer_sys::fuzz_target;

const KUSTOMIZATION: &str = "resources: [objects.yaml]\npatches: [{path: patch.json, target: {kind: .*}}]\n";

fuzz_target!(init: kustomize_fuzz::tolerate_caught_panics(), |input: &str| {
    if let [(_, objects), (_, patch)] = kustomize_fuzz::parts(input)[..] {
        kustomize_fuzz::check(&kustomize_fuzz::tree([
            ("kustomization.yaml", KUSTOMIZATION),
            ("objects.yaml", objects),
            ("patch.json", patch),
        ]));
    }
});
