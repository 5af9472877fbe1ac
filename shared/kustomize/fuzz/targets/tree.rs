//! Whole builds: any tree of files, each behind a line `=== PATH`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: kustomize_fuzz::tolerate_caught_panics(), |input: &str| {
    kustomize_fuzz::check(&kustomize_fuzz::tree(kustomize_fuzz::parts(input)));
});
