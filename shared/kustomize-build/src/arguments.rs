//! The flags: kustomize's by their names, and ours for remote bases.
//!
//! A flag of kustomize that asks for what this program does not do is known and refused; nothing is ignored silently.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use kustomize::{LoadRestriction, Options, Reorder};

use crate::command_line::{Flag, Line, read, unexpected};
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
        "enable-managedby-label",
        "Flag --enable-managedby-label has been deprecated, The flag `enable-managedby-label` has been deprecated. Use the \
         `managedByLabel` option in the `buildMetadata` field instead.",
    ),
];

/// What `--help` prints.
const HELP: &str = include_str!("help.txt");
/// What `--version` prints.
const VERSION: &str = concat!(
    "kustomize-build ",
    env!("CARGO_PKG_VERSION"),
    " (as kustomize v5.8.1)\n"
);
/// The most seconds that one fetch may take, where no flag says so.
const REMOTE_TIME: u64 = 120;

const FLAGS: [Flag; 15] = [
    Flag::with("output", Some('o'), "FILE|DIR"),
    Flag::with("load-restrictor", None, "LOAD_RESTRICTOR"),
    Flag::with("reorder", None, "REORDER"),
    Flag::switch("enable-managedby-label", None),
    Flag::switch("verbose", Some('v')),
    Flag::switch("stack-trace", None),
    Flag::switch("help", Some('h')),
    Flag::switch("version", Some('V')),
    Flag::switch("no-remote-bases", None),
    Flag::with("allow-host", None, "HOST"),
    Flag::switch("allow-private-addresses", None),
    Flag::with("max-remote-bytes", None, "BYTES"),
    Flag::with("max-remote-time", None, "SECONDS"),
    Flag::with("ssh-identity", None, "FILE"),
    Flag::with("ssh-known-hosts", None, "FILE"),
];

/// What is wanted.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// The directory of the kustomization, or the URL of a Git repository with the path of the directory in it.
    pub target: String,
    /// The file or directory to write to; nothing for standard output.
    pub output: OsString,
    load_restriction: LoadRestriction,
    reorder: Reorder,
    managed_by_label: bool,
    /// Whether to say on standard error what is read and fetched.
    pub verbose: bool,
    /// What there is to say about the flags, a line each.
    pub notices: Vec<&'static str>,
    /// Where remote bases may come from.
    pub remote: RemoteArguments,
}

/// Whether and from where remote bases are fetched.
#[derive(Debug)]
pub(crate) struct RemoteArguments {
    /// Refuse resources and components that are URLs.
    pub no_remote_bases: bool,
    /// The hosts that may be asked, as [`remote::host`] takes them; every host where there are none.
    pub allow_host: Vec<String>,
    /// Ask hosts that have loopback, private or link-local addresses too.
    pub allow_private_addresses: bool,
    /// The most bytes that are received for all remote bases together.
    pub max_remote_bytes: u64,
    /// The longest that one fetch may take.
    pub max_remote_time: Duration,
    /// The private key for SSH; the user's own where there is none.
    pub ssh_identity: Option<PathBuf>,
    /// The keys that hosts have to show over SSH; those the user knows where there is none.
    pub ssh_known_hosts: Option<PathBuf>,
}

/// What ends the process before it builds.
#[derive(Debug)]
enum Ending {
    /// This is printed, and that was all.
    Text(&'static str),
    /// This is wrong.
    Error(String),
}

impl From<String> for Ending {
    fn from(error: String) -> Self {
        Ending::Error(error)
    }
}

impl Arguments {
    /// The arguments of the process, checked. What ends it right away is printed: help and version with success, anything
    /// else as an error.
    ///
    /// # Errors
    /// The exit code.
    pub fn of_process() -> Result<Self, ExitCode> {
        Self::parsed(std::env::args_os().skip(1)).map_err(|ending| match ending {
            Ending::Text(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Ending::Error(error) => {
                eprintln!("Error: {error}\n\nFor more information, try '--help'.");
                ExitCode::FAILURE
            }
        })
    }

    fn parsed(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Ending> {
        let flags: Vec<Flag> = FLAGS.into_iter().chain(refused::flags()).collect();
        let line = read(arguments, &flags)?;
        for (flag, text) in [("help", HELP), ("version", VERSION)] {
            if line.is_on(flag)? {
                return Err(Ending::Text(text));
            }
        }
        refused::check(&line)?;
        let notices = DEPRECATED.iter().filter(|(flag, _)| line.has(flag));
        Ok(Self {
            target: target(&line)?,
            output: line.last("output").unwrap_or_default().to_owned(),
            load_restriction: load_restriction(&line)?,
            reorder: reorder(&line)?,
            managed_by_label: line.is_on("enable-managedby-label")?,
            verbose: line.is_on("verbose")? | line.is_on("stack-trace")?,
            notices: notices.map(|(_, notice)| *notice).collect(),
            remote: RemoteArguments::parsed(&line)?,
        })
    }

    /// What the flags and the environment say about the build.
    pub fn options(&self) -> Options {
        let by_variable = std::env::var_os(MANAGED_BY_VARIABLE).is_some_and(|value| value == "on");
        Options {
            load_restriction: self.load_restriction,
            reorder: self.reorder,
            managed_by_label: self.managed_by_label || by_variable,
            ..Options::default()
        }
    }
}

impl RemoteArguments {
    fn parsed(line: &Line) -> Result<Self, String> {
        let path = |flag: &str| line.last(flag).map(PathBuf::from);
        Ok(Self {
            no_remote_bases: line.is_on("no-remote-bases")?,
            allow_host: line.parsed("allow-host", remote::host)?,
            allow_private_addresses: line.is_on("allow-private-addresses")?,
            max_remote_bytes: line
                .parsed("max-remote-bytes", bytes)?
                .pop()
                .unwrap_or(remote::Limits::default().bytes),
            max_remote_time: line
                .parsed("max-remote-time", seconds)?
                .pop()
                .unwrap_or(Duration::from_secs(REMOTE_TIME)),
            ssh_identity: path("ssh-identity"),
            ssh_known_hosts: path("ssh-known-hosts"),
        })
    }
}

fn target(line: &Line) -> Result<String, String> {
    match line.rest.as_slice() {
        [] => Ok(".".to_owned()),
        [target] => target
            .to_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("'{}' is not UTF-8", target.display())),
        [_, more, ..] => Err(unexpected(OsStr::as_bytes(more))),
    }
}

fn load_restriction(line: &Line) -> Result<LoadRestriction, String> {
    let names = [
        ("LoadRestrictionsRootOnly", LoadRestriction::RootOnly),
        ("LoadRestrictionsNone", LoadRestriction::None),
        ("", LoadRestriction::RootOnly),
    ];
    Ok(line.one_of("load-restrictor", names)?.unwrap_or_default())
}

fn reorder(line: &Line) -> Result<Reorder, String> {
    let names = [("legacy", Reorder::Legacy), ("none", Reorder::None)];
    Ok(line.one_of("reorder", names)?.unwrap_or(Reorder::Legacy))
}

fn bytes(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a number of bytes is expected".to_owned())
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

    /// What the flags come to: the target, or the first line of what ends the process.
    #[track_caller]
    fn check(arguments: &[&str], expected: Result<&str, &str>) {
        let found = Arguments::parsed(arguments.iter().map(OsString::from));
        let found = found.map(|arguments| arguments.target).map_err(|ending| match ending {
            Ending::Text(text) => text.to_owned(),
            Ending::Error(error) => error,
        });
        let found = found.map_err(|text| text.lines().next().unwrap_or_default().to_owned());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{arguments:?}");
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
            Err("invalid value 'none' for '--load-restrictor <LOAD_RESTRICTOR>'"),
        );
        check(&["dir", "more"], Err("unexpected argument 'more' found"));
        check(
            &["-h", "dir"],
            Err("Builds a kustomization and prints the objects as YAML"),
        );
    }

    #[test]
    fn what_flags_for_remote_bases_say_is_checked() {
        let line = [
            "--allow-host=a.example",
            "--allow-host",
            "*.b.example",
            "--max-remote-bytes=7",
            "--max-remote-time=9",
            "--no-remote-bases",
            "--ssh-identity=key",
        ];
        let remote = Arguments::parsed(line.map(OsString::from)).unwrap().remote;
        assert_eq!(remote.allow_host, ["a.example", "*.b.example"]);
        assert_eq!((remote.max_remote_bytes, remote.max_remote_time.as_secs()), (7, 9));
        assert!(remote.no_remote_bases && !remote.allow_private_addresses);
        assert_eq!(
            (remote.ssh_identity, remote.ssh_known_hosts),
            (Some("key".into()), None)
        );
        check(
            &["--max-remote-time=0"],
            Err("invalid value '0' for '--max-remote-time <SECONDS>': a number of seconds from 1 to 86400 is expected"),
        );
        check(
            &["--max-remote-bytes", "x"],
            Err("invalid value 'x' for '--max-remote-bytes <BYTES>': a number of bytes is expected"),
        );
        check(
            &["--allow-host=https://a"],
            Err(
                "invalid value 'https://a' for '--allow-host <HOST>': a host's name, '*.' and a domain, or an address is \
                 expected, with ':PORT' or without",
            ),
        );
    }

    #[test]
    fn the_help_knows_every_flag_and_what_holds_without_it() {
        // The other name of --verbose is in its text.
        for flag in FLAGS.iter().filter(|flag| flag.long != "stack-trace") {
            let long = format!("--{}", flag.long);
            let shown = match (flag.short, flag.value) {
                (Some(short), Some(value)) => format!("  -{short}, {long} <{value}>\n"),
                (Some(short), None) => format!("  -{short}, {long}"),
                (None, Some(value)) => format!("      {long} <{value}>\n"),
                (None, None) => format!("      {long}"),
            };
            assert!(HELP.contains(&shown), "{shown}");
        }
        let bytes = format!("[default: {}]", remote::Limits::default().bytes);
        let seconds = format!("[default: {REMOTE_TIME}]");
        assert!(HELP.contains(&bytes) && HELP.contains(&seconds));
    }
}
