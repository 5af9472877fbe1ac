//! The YAML reader in both dialects, that its short way agrees with its long way, and that what it read is printed so that
//! it reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use yaml::Dialect;

fuzz_target!(init: kustomize_fuzz::tolerate_caught_panics(), |text: &str| {
    let _ = yaml::parse_json(text, Dialect::V2);
    // A comment that is not ASCII makes it go the long way.
    if text.ends_with('\n') && !text.contains("---")
        && let Ok(read) = yaml::parse(text, Dialect::V3)
    {
        let long = yaml::parse(&format!("{text}# \u{e9}\n"), Dialect::V3);
        assert_eq!(long.map(|long| format!("{long:?}")), Ok(format!("{read:?}")));
    }
    for (_, value) in yaml::parse_json(text, Dialect::V3).unwrap_or_default() {
        kustomize_fuzz::readable(&value);
    }
});
