//! The flags of `kustomize build` that ask for what this program does not do: one table, which shrinks.
//!
//! They are known, so that an error names the reason, and not in the help. A switch that is turned off asks for nothing.

use crate::command_line::{Flag, Line};

const PLUGINS: &str = "only the generators and transformers built into kustomize run";
const PROGRAMS: &str = "no program and no container is run";
const HELM: &str = "Helm charts are not rendered; render them first and name the result as a resource";

/// The flags, and why each is refused.
const REFUSED: [(Flag, &str); 12] = [
    (Flag::switch("as-current-user", None), PROGRAMS),
    (Flag::switch("enable-alpha-plugins", None), PLUGINS),
    (Flag::switch("enable-exec", None), PROGRAMS),
    (Flag::switch("enable-helm", None), HELM),
    (Flag::with("env", Some('e'), "ENV"), PROGRAMS),
    (Flag::with("helm-api-versions", None, "VERSION"), HELM),
    (Flag::with("helm-command", None, "COMMAND"), HELM),
    (Flag::switch("helm-debug", None), HELM),
    (Flag::with("helm-kube-version", None, "VERSION"), HELM),
    (Flag::with("mount", None, "MOUNT"), PROGRAMS),
    (Flag::switch("network", None), PROGRAMS),
    (Flag::with("network-name", None, "NAME"), PROGRAMS),
];

/// The flags.
pub(crate) fn flags() -> impl Iterator<Item = Flag> {
    REFUSED.iter().map(|(flag, _)| *flag)
}

/// Refuses the flags that were given.
///
/// # Errors
/// Names the first one, and why.
pub(crate) fn check(line: &Line) -> Result<(), String> {
    for (flag, why) in &REFUSED {
        let asked = match flag.value {
            Some(_) => line.has(flag.long),
            None => line.is_on(flag.long)?,
        };
        if asked {
            return Err(format!("--{} is not supported: {why}", flag.long));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::read;
    use std::ffi::OsString;

    #[track_caller]
    fn check_refusal(arguments: &[&str], expected: Result<(), &str>) {
        let line = read(arguments.iter().map(OsString::from), &flags().collect::<Vec<_>>()).unwrap();
        assert_eq!(check(&line), expected.map_err(str::to_owned), "{arguments:?}");
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        check_refusal(&[], Ok(()));
        for (arguments, flag) in [
            (&["--enable-exec"][..], "--enable-exec"),
            (&["--network=T"], "--network"),
            (&["--network-name", "host"], "--network-name"),
            (&["--mount", "type=bind", "--mount=b"], "--mount"),
            (&["-e", "A=b"], "--env"),
            (&["--as-current-user"], "--as-current-user"),
        ] {
            check_refusal(arguments, Err(&format!("{flag} is not supported: {PROGRAMS}")));
        }
        for (arguments, flag) in [
            (&["--enable-helm"][..], "--enable-helm"),
            (&["--helm-command", "helm3"], "--helm-command"),
            (&["--helm-api-versions", "v1"], "--helm-api-versions"),
            (&["--helm-kube-version=1.30"], "--helm-kube-version"),
            (&["--helm-debug=true"], "--helm-debug"),
        ] {
            check_refusal(arguments, Err(&format!("{flag} is not supported: {HELM}")));
        }
        let plugins = format!("--enable-alpha-plugins is not supported: {PLUGINS}");
        check_refusal(&["--enable-alpha-plugins"], Err(&plugins));
    }

    #[test]
    fn a_switch_that_is_off_asks_for_nothing() {
        check_refusal(&["--enable-helm=false", "--network=0"], Ok(()));
        check_refusal(&["--enable-exec", "--enable-exec=false"], Ok(()));
    }
}
