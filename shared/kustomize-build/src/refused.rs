//! The flags of `kustomize build` that ask for what this program does not do: one table, which shrinks.
//!
//! They are known, so that an error names the reason, and hidden from the help. A switch that is turned off asks for nothing.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::arguments::truth;

const PLUGINS: &str = "only the generators and transformers built into kustomize run";
const PROGRAMS: &str = "no program and no container is run";
const HELM: &str = "Helm charts are not rendered; render them first and name the result as a resource";

/// A flag: its name, whether it takes a value, why it is refused.
const FLAGS: &[(&str, bool, &str)] = &[
    ("as-current-user", false, PROGRAMS),
    ("enable-alpha-plugins", false, PLUGINS),
    ("enable-exec", false, PROGRAMS),
    ("enable-helm", false, HELM),
    ("env", true, PROGRAMS),
    ("helm-api-versions", true, HELM),
    ("helm-command", true, HELM),
    ("helm-debug", false, HELM),
    ("helm-kube-version", true, HELM),
    ("mount", true, PROGRAMS),
    ("network", false, PROGRAMS),
    ("network-name", true, PROGRAMS),
];

/// A command that knows the flags.
pub(crate) fn with_flags(command: Command) -> Command {
    let arguments = FLAGS.iter().map(|(name, takes_value, _)| {
        let argument = Arg::new(*name).long(*name).hide(true).action(ArgAction::Append);
        let argument = match *name {
            "env" => argument.short('e'),
            _ => argument,
        };
        match takes_value {
            true => argument.allow_hyphen_values(true),
            false => argument
                .value_parser(truth)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true"),
        }
    });
    command.args(arguments)
}

/// Refuses the flags that were given.
///
/// # Errors
/// Names the first one, and why.
pub(crate) fn check(matches: &ArgMatches) -> Result<(), String> {
    for (name, takes_value, why) in FLAGS {
        let given = matches.value_source(name) == Some(ValueSource::CommandLine);
        let off = !takes_value && matches.get_many::<bool>(name).and_then(Iterator::last) == Some(&false);
        if given && !off {
            return Err(format!("--{name} is not supported: {why}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refusal(arguments: &[&str], expected: Result<(), &str>) {
        let all = std::iter::once("build").chain(arguments.iter().copied());
        let matches = with_flags(Command::new("build")).try_get_matches_from(all).unwrap();
        assert_eq!(check(&matches), expected.map_err(str::to_owned), "{arguments:?}");
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
