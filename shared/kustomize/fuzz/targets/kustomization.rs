//! The target `kustomization`, see the function of this name.
#![no_main]

libfuzzer_sys::fuzz_target!(init: kustomize_fuzz::tolerate_caught_panics(), |input: &str| {
    kustomize_fuzz::checks::kustomization(input)
});
