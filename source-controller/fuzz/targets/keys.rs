//! The target `keys`, see the module of this name.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| source_controller_fuzz::keys::check(input));
