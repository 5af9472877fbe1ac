//! Lines in which a server lists its references. What was understood, written as a server would write it, is understood the
//! same.

/// A line of any form.
pub fn check(input: &[u8]) {
    let line = String::from_utf8_lossy(input);
    let Some((name, listed)) = git::listed(&line) else {
        return;
    };
    assert!(!name.is_empty() && !name.contains(' '), "{name:?}");
    let peeled = listed.peeled.map(|id| format!(" peeled:{id}")).unwrap_or_default();
    let written = format!("{} {name}{peeled}", listed.target);
    assert_eq!(git::listed(&written), Some((name, listed)));
    // What else a server says changes nothing.
    assert_eq!(git::listed(&format!("{written} x:y")), Some((name, listed)));
    assert_eq!(listed.commit(), listed.peeled.unwrap_or(listed.target));
}
