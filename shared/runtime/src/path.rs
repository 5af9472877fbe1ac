//! Names as parts of the API's paths, such that none can lead anywhere else. Pure.
//!
//! Names in a spec, a manifest or an event are anybody's text, and the client library puts names into paths as they are:
//! `a?dryRun=All` would be a question about `a`, `?limit=1` a list. Whether an object can have a name is the API server's
//! matter. client-go refuses the same names with the same words.

use std::fmt::Write as _;

/// A name that cannot be part of a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

/// A name, percent-encoded, as one segment of a path. `what` says of what, for the error: `namespace`, for example.
///
/// # Errors
/// An empty name, `.`, `..`, and one with `/` or `%`.
pub fn segment(what: &str, name: &str) -> Result<String, Unfit> {
    let refused = |why: &str| Err(Unfit(format!("invalid {what} {name:?}: [{why}]")));
    match name {
        "" => Err(Unfit(format!("{what} may not be empty"))),
        "." | ".." => refused(&format!("may not be '{name}'")),
        _ if name.contains('/') => refused("may not contain '/'"),
        _ if name.contains('%') => refused("may not contain '%'"),
        _ => Ok(encoded(name)),
    }
}

/// The name of an object as [`segment`].
///
/// # Errors
/// As [`segment`].
pub fn name(name: &str) -> Result<String, Unfit> {
    segment("resource name", name)
}

/// Percent-encodes what is not plain in a path segment or a query value.
pub fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let found = name(text).map_err(|error| error.to_string());
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn any_name_is_one_segment() {
        check("system:a-b.c_d~0", Ok("system:a-b.c_d~0"));
        check("?limit=1", Ok("%3Flimit%3D1"));
        check("a b#c&d;e\\f", Ok("a%20b%23c%26d%3Be%5Cf"));
        check("...", Ok("..."));
        check("a\r\nb\0", Ok("a%0D%0Ab%00"));
        check("ü", Ok("%C3%BC"));
    }

    #[test]
    fn what_cannot_be_one_is_refused_as_in_client_go() {
        check("", Err("resource name may not be empty"));
        check(".", Err("invalid resource name \".\": [may not be '.']"));
        check("..", Err("invalid resource name \"..\": [may not be '..']"));
        check("a/b", Err("invalid resource name \"a/b\": [may not contain '/']"));
        check(
            "../../other/secrets/x",
            Err("invalid resource name \"../../other/secrets/x\": [may not contain '/']"),
        );
        check("%2e%2e", Err("invalid resource name \"%2e%2e\": [may not contain '%']"));
        let found = segment("namespace", "a/b").map_err(|error| error.to_string());
        assert_eq!(
            found,
            Err("invalid namespace \"a/b\": [may not contain '/']".to_owned())
        );
    }
}
