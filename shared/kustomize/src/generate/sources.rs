//! Keys and values from literals, files and env files.

use std::collections::BTreeMap;

use super::Load;
use crate::Error;
use crate::error::{Problems, Within};
use crate::files::file_name;
use crate::kustomization::Sources;
use crate::node::check_key;

/// The data of a generated object.
///
/// # Errors
/// A source that is malformed or cannot be read, or a key that comes twice. No value is part of the text.
pub(super) fn collect(name: &str, sources: &Sources, load: Load<'_>) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let mut problems = Problems::default();
    let mut pairs: Vec<Pair> = Vec::new();
    for (at, path) in sources.envs.iter().enumerate() {
        let read = read_env(path, load).within(|| format!("env source files: {:?}", sources.envs));
        let read = problems.note(read.map_err(|error| error.in_field(&format!("envs[{at}]"))))?;
        pairs.extend(read.into_iter().flatten());
    }
    for (at, literal) in sources.literals.iter().enumerate() {
        let pair = read_literal(literal, at).map_err(|error| error.in_field(&format!("literals[{at}]")));
        pairs.extend(problems.note(pair)?);
    }
    for (at, source) in sources.files.iter().enumerate() {
        let read = read_file(source, load).within(|| format!("file sources: {:?}", sources.files));
        pairs.extend(problems.note(read.map_err(|error| error.in_field(&format!("files[{at}]"))))?);
    }
    let mut data = BTreeMap::new();
    for (key, value) in pairs {
        if data.contains_key(&key) {
            let message = format!("configmap {name} illegally repeats the key `{key}`");
            problems.note::<()>(Err(Error::new(message)))?;
        }
        problems.note(check_key(&key))?;
        data.insert(key, value);
    }
    problems.finish()?;
    Ok(data)
}

/// A key and its value.
type Pair = (String, Vec<u8>);

fn read_env(path: &str, load: Load<'_>) -> Result<Vec<Pair>, Error> {
    let content = load(path)?;
    let mut pairs = Vec::new();
    for (number, line) in content.split(|byte| *byte == b'\n').enumerate() {
        pairs.extend(env_line(line, number).within(|| format!("'{path}'"))?);
    }
    Ok(pairs)
}

fn read_literal(literal: &str, at: usize) -> Result<Pair, Error> {
    match literal.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), unquoted(value).as_bytes().to_vec())),
        _ => Err(Error::new(format!(
            "literal sources: entry {} is invalid, expected key=value",
            at + 1
        ))),
    }
}

fn read_file(source: &str, load: Load<'_>) -> Result<Pair, Error> {
    let (key, path) = file_source(source)?;
    Ok((key.to_owned(), load(path)?))
}

/// `PATH`, whose last part is the key, or `KEY=PATH`.
fn file_source(source: &str) -> Result<(&str, &str), Error> {
    match source.split('=').collect::<Vec<_>>().as_slice() {
        [path] => Ok((file_name(path.trim_end_matches('/')), path)),
        ["", path] => Err(Error::new(format!(
            "missing key name for file path \"{path}\" in source \"{source}\""
        ))),
        [key, ""] => Err(Error::new(format!(
            "missing file path for key name \"{key}\" in source \"{source}\""
        ))),
        [key, path] => Ok((key, path)),
        _ => Err(Error::new(format!(
            "source \"{source}\" key name or file path contains '='"
        ))),
    }
}

/// One line of an env file; none when it is blank or a comment.
fn env_line(line: &[u8], number: usize) -> Result<Option<(String, Vec<u8>)>, Error> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text =
        std::str::from_utf8(line).map_err(|_| Error::new(format!("line {} has invalid utf8 bytes", number + 1)))?;
    let text = if number == 0 {
        text.strip_prefix('\u{feff}').unwrap_or(text)
    } else {
        text
    };
    let text = text.trim_start();
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    Ok((!key.is_empty()).then(|| (key.to_owned(), value.as_bytes().to_vec())))
}

/// The text without the quotes around it.
fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        if text.len() >= 2
            && let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote))
        {
            return inner;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sources: &Sources, expected: Result<&[(&str, &str)], &str>) {
        let load = |path: &str| Ok(format!("\u{feff}# of {path}\nA=1\r\n\n  B='x'\nC").into_bytes());
        let data = collect("x", sources, &load);
        match expected {
            Ok(pairs) => {
                let pairs: BTreeMap<_, _> = pairs
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
                    .collect();
                assert_eq!(data, Ok(pairs));
            }
            Err(part) => assert!(data.unwrap_err().to_string().contains(part), "{part}"),
        }
    }

    #[test]
    fn every_kind_of_source_gives_pairs() {
        check(
            &Sources {
                literals: vec!["a=\"b=c\"".into(), "e=".into()],
                ..Sources::default()
            },
            Ok(&[("a", "b=c"), ("e", "")]),
        );
        check(
            &Sources {
                envs: vec!["f".into()],
                ..Sources::default()
            },
            Ok(&[("A", "1"), ("B", "'x'"), ("C", "")]),
        );
        let content = "\u{feff}# of k=v\nA";
        let files = Sources {
            files: vec!["dir/f".into()],
            ..Sources::default()
        };
        let data = collect("x", &files, &|_| Ok(content.as_bytes().to_vec())).unwrap();
        assert_eq!(data.get("f").map(Vec::as_slice), Some(content.as_bytes()));
    }

    #[test]
    fn malformed_sources_are_refused() {
        check(
            &Sources {
                literals: vec!["a".into()],
                ..Sources::default()
            },
            Err("expected key=value"),
        );
        check(
            &Sources {
                literals: vec!["a=1".into(), "a=2".into()],
                ..Sources::default()
            },
            Err("illegally repeats the key `a`"),
        );
        check(
            &Sources {
                files: vec!["=f".into()],
                ..Sources::default()
            },
            Err("missing key name"),
        );
        check(
            &Sources {
                files: vec!["k=".into()],
                ..Sources::default()
            },
            Err("missing file path"),
        );
        check(
            &Sources {
                files: vec!["a=b=c".into()],
                ..Sources::default()
            },
            Err("contains '='"),
        );
    }
}
