//! The target `url`, see the module of this name.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| git_fuzz::url::check(input));
