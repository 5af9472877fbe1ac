//! The command line: kustomize's flags by their names, and ours for remote bases.
//!
//! A flag of kustomize that asks for what this program does not do is known and refused; nothing is ignored silently.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, ValueEnum};
use kustomize::{LoadRestriction, Options, Reorder};

use crate::refused;

/// The environment variable that labels objects as `--enable-managedby-label` does, when it is `on`.
const MANAGED_BY_VARIABLE: &str = "KUSTOMIZE_ENABLE_MANAGEDBY_LABEL";

/// Flags that kustomize has deprecated, and what it says to those who use them.
const DEPRECATED: [(&str, &str); 2] = [
    (
        "reorder",
        "Flag --reorder has been deprecated, use the new 'sortOptions' field in kustomization.yaml instead.",
    ),
    (
        "enable_managedby_label",
        "Flag --enable-managedby-label has been deprecated, The flag `enable-managedby-label` has been deprecated. Use the \
         `managedByLabel` option in the `buildMetadata` field instead.",
    ),
];

/// Builds a kustomization and prints the objects as YAML
///
/// Does what `kustomize build` of kustomize v5.8.1 does, without running git or any other program.
#[derive(Debug, Parser)]
#[command(
    name = "kustomize-build",
    version = concat!(env!("CARGO_PKG_VERSION"), " (as kustomize v5.8.1)"),
    args_override_self = true,
    max_term_width = 100,
    after_help = EXAMPLES
)]
pub(crate) struct Arguments {
    /// The directory of the kustomization, or the URL of a Git repository with the path of the directory in it
    #[arg(value_name = "DIR|URL", default_value = ".")]
    pub target: String,

    /// Write to this file instead of standard output; into an existing directory, every object as a file of its own
    #[arg(short, long, value_name = "FILE|DIR", default_value = "", hide_default_value = true)]
    pub output: OsString,

    /// Which files a kustomization may read: those in and below its directory, or any
    #[arg(long, value_enum, default_value_t = Restrictor::RootOnly)]
    load_restrictor: Restrictor,

    /// The order of the objects; the kustomization's sortOptions win
    #[arg(long, value_enum, default_value_t = Order::Legacy)]
    reorder: Order,

    /// Label every object with app.kubernetes.io/managed-by
    #[arg(long, action = ArgAction::Set, value_parser = truth, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true)]
    enable_managedby_label: bool,

    /// Say on standard error what is read and fetched, how much it is and how long it takes
    #[arg(short, long, visible_alias = "stack-trace", action = ArgAction::Set, value_parser = truth, num_args = 0..=1,
          require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true)]
    pub verbose: bool,

    /// What there is to say about the flags, a line each.
    #[arg(skip)]
    pub notices: Vec<&'static str>,

    /// Where remote bases may come from.
    #[command(flatten, next_help_heading = "Remote bases")]
    pub remote: RemoteArguments,
}

/// Whether and from where remote bases are fetched.
#[derive(Debug, Args)]
pub(crate) struct RemoteArguments {
    /// Refuse resources and components that are URLs
    #[arg(long)]
    pub no_remote_bases: bool,

    /// A host that may be asked, or *.DOMAIN for those below a domain; can be repeated; without it every host may be asked
    #[arg(long, value_name = "HOST", value_parser = remote::host)]
    pub allow_host: Vec<String>,

    /// Ask hosts that have loopback, private or link-local addresses too, and use the proxies that the environment names
    #[arg(long)]
    pub allow_private_addresses: bool,

    /// The most bytes that are received for all remote bases together
    #[arg(long, value_name = "BYTES", default_value_t = remote::Limits::default().bytes)]
    pub max_remote_bytes: u64,

    /// The longest that one fetch may take, in seconds, whatever the timeout in its URL says
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "120")]
    pub max_remote_time: Duration,

    /// The private key for SSH, without a passphrase [default: ~/.ssh/id_ed25519, id_ecdsa, id_rsa]
    #[arg(long, value_name = "FILE")]
    pub ssh_identity: Option<PathBuf>,

    /// The keys that hosts have to show over SSH [default: ~/.ssh/known_hosts]
    #[arg(long, value_name = "FILE")]
    pub ssh_known_hosts: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  kustomize-build overlays/production
  kustomize-build 'https://github.com/kubernetes-sigs/kustomize//examples/helloWorld?ref=v5.8.1'";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Restrictor {
    #[value(name = "LoadRestrictionsRootOnly", alias = "")]
    RootOnly,
    #[value(name = "LoadRestrictionsNone")]
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    Legacy,
    None,
}

impl Arguments {
    /// The arguments of the process, checked. What ends it right away is printed: help and version with success, anything
    /// else as an error.
    ///
    /// # Errors
    /// The exit code.
    pub fn of_process() -> Result<Self, ExitCode> {
        Self::parsed(std::env::args_os()).map_err(|error| {
            let text = error.render();
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    print!("{text}");
                    ExitCode::SUCCESS
                }
                _ => {
                    let text = text.to_string();
                    eprint!("Error: {}", text.strip_prefix("error: ").unwrap_or(&text));
                    ExitCode::FAILURE
                }
            }
        })
    }

    fn parsed(arguments: impl IntoIterator<Item = OsString>) -> clap::error::Result<Self> {
        let mut command = refused::with_flags(Self::command());
        let matches = command.try_get_matches_from_mut(arguments)?;
        refused::check(&matches).map_err(|text| command.error(ErrorKind::InvalidValue, text))?;
        let mut arguments = Self::from_arg_matches(&matches)?;
        let given = |flag: &str| matches.value_source(flag) == Some(ValueSource::CommandLine);
        let notices = DEPRECATED.iter().filter(|(flag, _)| given(flag));
        arguments.notices = notices.map(|(_, notice)| *notice).collect();
        Ok(arguments)
    }

    /// What the flags and the environment say about the build.
    pub fn options(&self) -> Options {
        let by_variable = std::env::var_os(MANAGED_BY_VARIABLE).is_some_and(|value| value == "on");
        Options {
            load_restriction: match self.load_restrictor {
                Restrictor::RootOnly => LoadRestriction::RootOnly,
                Restrictor::None => LoadRestriction::None,
            },
            reorder: match self.reorder {
                Order::Legacy => Reorder::Legacy,
                Order::None => Reorder::None,
            },
            managed_by_label: self.enable_managedby_label || by_variable,
            ..Options::default()
        }
    }
}

/// True and false as kustomize takes them.
pub(crate) fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("true or false is expected".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("a number of seconds from 1 to 86400 is expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the flags come to: the target, or the first line of the error.
    #[track_caller]
    fn check(arguments: &[&str], expected: Result<&str, &str>) {
        let all = std::iter::once("kustomize-build").chain(arguments.iter().copied());
        let found = Arguments::parsed(all.map(OsString::from));
        let found = found
            .map(|arguments| arguments.target)
            .map_err(|error| error.to_string());
        let found = found.map_err(|error| error.lines().next().unwrap_or_default().to_owned());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{arguments:?}");
    }

    #[test]
    fn the_definition_is_sound() {
        refused::with_flags(Arguments::command()).debug_assert();
    }

    #[test]
    fn flags_are_written_as_for_kustomize() {
        check(&[], Ok("."));
        check(&["dir"], Ok("dir"));
        check(
            &["-o", "a", "dir", "-o=b", "--reorder=none", "--reorder", "legacy"],
            Ok("dir"),
        );
        check(
            &[
                "--load-restrictor=",
                "--enable-managedby-label=T",
                "--stack-trace",
                "dir",
            ],
            Ok("dir"),
        );
        check(&["--enable-helm=false", "--network=0", "dir"], Ok("dir"));
        check(
            &["--load-restrictor", "none"],
            Err("error: invalid value 'none' for '--load-restrictor <LOAD_RESTRICTOR>'"),
        );
    }
}
