//! Files `.gitmodules`. No path in them leads out of the tree or into `.git`, none is there twice, and what was read, written
//! plainly, reads the same.

use std::collections::HashSet;

use git::Module;

/// A file of any form.
pub fn check(input: &[u8]) {
    let found = git::modules(input);
    let Ok(modules) = found else { return };
    let mut seen = HashSet::new();
    for Module { path, .. } in &modules {
        assert!(seen.insert(path), "{path:?} is there twice");
        for name in path.split('/') {
            let leads_out = ["", ".", ".."].contains(&name) || name.eq_ignore_ascii_case(".git");
            assert!(!leads_out && !name.contains('\0'), "{path:?}");
        }
    }
    let written: String = modules.iter().enumerate().map(written).collect();
    assert_eq!(git::modules(written.as_bytes()).as_ref(), Ok(&modules), "{written}");
}

fn written((number, Module { path, url }): (usize, &Module)) -> String {
    let quoted = |text: &str| {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("\"{}\"", escaped.replace('\t', "\\t").replace('\u{8}', "\\b"))
    };
    format!(
        "[submodule \"{number}\"]\n\tpath = {}\n\turl = {}\n",
        quoted(path),
        quoted(url)
    )
}
