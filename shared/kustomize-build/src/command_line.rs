//! Flags by the conventions of kustomize's own command line: `--flag value`, `--flag=value`, `-f value`, `-fvalue`, `-f=value`;
//! switches take a value only behind `=`, and short ones can be joined; flags and the rest stand in any order, and `--` ends
//! the flags.
//!
//! What this module does not do: know which flags there are, or what their values mean. A library that does more takes more
//! memory, for a program that lives for milliseconds, than a small build.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// A flag that is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// Behind the two dashes.
    pub long: &'static str,
    /// Behind one.
    pub short: Option<char>,
    /// What its value is called in errors; nothing for a switch.
    pub value: Option<&'static str>,
}

impl Flag {
    /// A flag without a value, or with true or false behind `=`.
    pub const fn switch(long: &'static str, short: Option<char>) -> Self {
        let value = None;
        Self { long, short, value }
    }

    /// A flag with a value of this name.
    pub const fn with(long: &'static str, short: Option<char>, value: &'static str) -> Self {
        let value = Some(value);
        Self { long, short, value }
    }

    /// As errors name it.
    fn shown(&self) -> String {
        match self.value {
            Some(value) => format!("--{} <{value}>", self.long),
            None => format!("--{}", self.long),
        }
    }

    /// The error about a value of it.
    pub fn invalid(&self, value: &OsStr, why: &str) -> String {
        format!("invalid value '{}' for '{}'{why}", value.display(), self.shown())
    }
}

/// What a command line holds.
#[derive(Debug, Default)]
pub(crate) struct Line {
    given: Vec<(Flag, OsString)>,
    /// What is no flag, in order.
    pub rest: Vec<OsString>,
}

impl Line {
    /// Whether a flag was given at all.
    pub fn has(&self, flag: &str) -> bool {
        self.all(flag).next().is_some()
    }

    /// The last value of a flag; the last one counts.
    pub fn last(&self, flag: &str) -> Option<&OsStr> {
        self.all(flag).last().map(|(_, value)| value)
    }

    /// Whether a switch is on.
    ///
    /// # Errors
    /// A value that is neither true nor false.
    pub fn is_on(&self, flag: &str) -> Result<bool, String> {
        Ok(self.parsed(flag, truth)?.pop().unwrap_or(false))
    }

    /// What the values of a flag mean, in order.
    ///
    /// # Errors
    /// Names the first one that means nothing, and says why.
    pub fn parsed<T>(&self, flag: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
        let parsed = self.all(flag).map(|(flag, value)| {
            let text = value.to_str().ok_or_else(|| "it is not UTF-8".to_owned());
            text.and_then(&parse)
                .map_err(|why| flag.invalid(value, &format!(": {why}")))
        });
        parsed.collect()
    }

    /// What the last value of a flag stands for, by these names; nothing where there is none. An empty name is not offered.
    ///
    /// # Errors
    /// It is none of the names.
    pub fn one_of<T: Copy, const N: usize>(&self, flag: &str, names: [(&str, T); N]) -> Result<Option<T>, String> {
        let Some((flag, value)) = self.all(flag).last() else {
            return Ok(None);
        };
        if let Some((_, meaning)) = names.iter().find(|(name, _)| value == *name) {
            return Ok(Some(*meaning));
        }
        let possible: Vec<&str> = names
            .map(|(name, _)| name)
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect();
        Err(flag.invalid(value, &format!("\n  [possible values: {}]", possible.join(", "))))
    }

    fn all(&self, flag: &str) -> impl Iterator<Item = (&Flag, &OsStr)> {
        let given = self.given.iter().filter(move |(given, _)| given.long == flag);
        given.map(|(flag, value)| (flag, value.as_os_str()))
    }
}

/// Reads a command line, without the name of the program.
///
/// # Errors
/// A flag that is not known, or lacks its value.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>, flags: &[Flag]) -> Result<Line, String> {
    let mut arguments = arguments.into_iter();
    let mut line = Line::default();
    while let Some(argument) = arguments.next() {
        let bytes = argument.as_bytes();
        if bytes == b"--" {
            line.rest.extend(arguments);
            break;
        } else if let Some(long) = bytes.strip_prefix(b"--") {
            let (name, value) = split(long);
            let flag = flags.iter().find(|flag| flag.long.as_bytes() == name);
            let flag = flag.ok_or_else(|| unexpected(&[b"--".as_slice(), name].concat()))?;
            line.give(*flag, value, &mut arguments)?;
        } else if bytes.len() > 1 && bytes.starts_with(b"-") {
            line.short(bytes.get(1..).unwrap_or_default(), flags, &mut arguments)?;
        } else {
            line.rest.push(argument);
        }
    }
    Ok(line)
}

impl Line {
    /// Short flags that are joined: switches, and at the end perhaps a flag with its value.
    fn short(
        &mut self,
        mut joined: &[u8],
        flags: &[Flag],
        more: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), String> {
        while let Some((first, rest)) = joined.split_first() {
            let flag = flags.iter().find(|flag| flag.short == Some(char::from(*first)));
            let flag = flag.ok_or_else(|| unexpected(&[b'-', *first]))?;
            let value = match (rest.strip_prefix(b"="), rest.is_empty() || flag.value.is_none()) {
                (Some(value), _) => Some(value),
                (None, true) => None,
                (None, false) => Some(rest),
            };
            self.give(*flag, value, more)?;
            if value.is_some() {
                return Ok(());
            }
            joined = rest;
        }
        Ok(())
    }

    fn give(
        &mut self,
        flag: Flag,
        value: Option<&[u8]>,
        more: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), String> {
        let value = match (value, flag.value) {
            (Some(value), _) => OsString::from_vec(value.to_vec()),
            (None, None) => OsString::from("true"),
            (None, Some(_)) => more
                .next()
                .ok_or_else(|| format!("a value is required for '{}' but none was supplied", flag.shown()))?,
        };
        self.given.push((flag, value));
        Ok(())
    }
}

fn split(argument: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = argument.splitn(2, |byte| *byte == b'=');
    (parts.next().unwrap_or_default(), parts.next())
}

/// The error about something that nobody expects.
pub(crate) fn unexpected(argument: &[u8]) -> String {
    format!("unexpected argument '{}' found", String::from_utf8_lossy(argument))
}

/// True and false as kustomize takes them.
fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("true or false is expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: [Flag; 3] = [
        Flag::with("output", Some('o'), "FILE"),
        Flag::switch("all", Some('a')),
        Flag::switch("verbose", Some('v')),
    ];

    /// What a line holds: flags with their values and the rest, or the error.
    #[track_caller]
    fn check(arguments: &[&str], expected: Result<&str, &str>) {
        let found = read(arguments.iter().map(OsString::from), &FLAGS).map(|line| {
            let given = line
                .given
                .iter()
                .map(|(flag, value)| format!("{}={}", flag.long, value.display()));
            let rest = line.rest.iter().map(|rest| rest.display().to_string());
            given.chain(rest).collect::<Vec<_>>().join(" ")
        });
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{arguments:?}");
    }

    #[test]
    fn values_stand_behind_their_flags_in_every_form() {
        check(
            &["--output", "a", "--output=b=c", "-o", "-d", "-oe", "-o=f", "--output="],
            Ok("output=a output=b=c output=-d output=e output=f output="),
        );
        check(
            &["-o"],
            Err("a value is required for '--output <FILE>' but none was supplied"),
        );
    }

    #[test]
    fn switches_can_be_joined_and_take_a_value_only_behind_an_equals_sign() {
        check(&["--all", "x", "--all=false"], Ok("all=true all=false x"));
        check(
            &["-av", "-vo", "x", "-a=0", "-vao=y"],
            Ok("all=true verbose=true verbose=true output=x all=0 verbose=true all=true output=y"),
        );
    }

    #[test]
    fn flags_end_with_two_dashes_and_a_dash_is_none() {
        check(&["x", "-a", "-", "", "--", "--all", "--"], Ok("all=true x -  --all --"));
    }

    #[test]
    fn what_is_not_known_is_named() {
        check(&["--alle=1"], Err("unexpected argument '--alle' found"));
        check(&["-ax"], Err("unexpected argument '-x' found"));
    }

    #[test]
    fn the_last_of_several_values_counts_and_every_one_has_to_mean_something() {
        let line = |arguments: &[&str]| read(arguments.iter().map(OsString::from), &FLAGS).unwrap();
        assert_eq!(line(&["-oa", "-ob"]).last("output"), Some(OsStr::new("b")));
        assert_eq!(line(&["-a", "-a=F"]).is_on("all"), Ok(false));
        assert_eq!(line(&["-v"]).is_on("all"), Ok(false));
        assert_eq!(
            line(&["-a=maybe", "-a"]).is_on("all"),
            Err("invalid value 'maybe' for '--all': true or false is expected".to_owned())
        );
    }
}
