//! Replacements: the objects, then the list of `replacements`.
#![no_main]

use libfuzzer_sys::fuzz_target;

const KUSTOMIZATION: &str = "resources: [objects.yaml]\nreplacements: [{path: replacements.yaml}]\n";

fuzz_target!(init: kustomize_fuzz::tolerate_caught_panics(), |input: &str| {
    if let [(_, objects), (_, replacements)] = kustomize_fuzz::parts(input)[..] {
        kustomize_fuzz::check(&kustomize_fuzz::tree([
            ("kustomization.yaml", KUSTOMIZATION),
            ("objects.yaml", objects),
            ("replacements.yaml", replacements),
        ]));
    }
});
