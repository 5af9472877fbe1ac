//! What a plain word means: null, boolean, number, timestamp or text, in each of the two dialects.

use base64::Engine as _;

use crate::{Error, Position, Value, timestamp};

/// Which of Go's YAML libraries decides what a plain word means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// yaml.v3, through which kustomize reads manifests and patches: `yes`, `no`, `on`, `off`, `y` and `n` are text,
    /// `0o17` is a number, timestamps are rewritten to RFC 3339, a key given twice is an error, documents are split as
    /// kustomize splits them.
    V3,
    /// goyaml.v2, through which sigs.k8s.io/yaml reads kustomization files and text after substitution: `yes` and its
    /// kin are booleans, timestamps stay as written, of a key given twice the last counts, keys that are numbers or
    /// booleans become text.
    V2,
}

const TAG_PREFIX: &str = "tag:yaml.org,2002:";

/// The value of an untagged plain scalar.
pub(crate) fn plain(text: &str, dialect: Dialect) -> Value {
    match word(text, dialect, true) {
        Word::Timestamp(rewritten) => timestamp_value(text, rewritten, dialect),
        Word::Value(value) => value,
    }
}

/// Whether it can be seen at once that a plain scalar is text: words that mean something else are short or start with
/// something else than a letter.
pub(crate) fn is_text(text: &str) -> bool {
    text.len() > LONGEST_WORD && text.as_bytes()[0].is_ascii_alphabetic()
}

/// The length of the longest word that is no text, `false`.
const LONGEST_WORD: usize = 5;

/// Whether a text without quotes and tag is a timestamp to Go's libraries: a date such as `2001-12-14`, alone or with a time in
/// one of three forms.
pub fn is_timestamp(text: &str) -> bool {
    timestamp::parse(text).is_some()
}

/// Whether Go's writer has to quote `text` because a reader would not take it for text.
pub(crate) fn needs_quotes(text: &str) -> bool {
    !matches!(word(text, Dialect::V2, true), Word::Value(Value::Str(_))) || is_base60(text)
}

/// The value of a scalar with an explicit tag.
pub(crate) fn tagged(tag: &str, text: &str, dialect: Dialect, position: Position) -> Result<Value, Error> {
    let Some(name) = tag.strip_prefix(TAG_PREFIX) else {
        return Ok(Value::Str(text.to_owned()));
    };
    let found = match name {
        "str" => return Ok(Value::Str(text.to_owned())),
        "binary" => return binary(text, position),
        "null" | "bool" | "int" | "float" => word(text, dialect, false),
        "timestamp" => word(text, dialect, true),
        _ => return Ok(Value::Str(text.to_owned())),
    };
    match (name, found) {
        ("null", Word::Value(Value::Null)) => Ok(Value::Null),
        ("bool", Word::Value(value @ Value::Bool(_))) => Ok(value),
        ("int", Word::Value(value @ (Value::Int(_) | Value::Uint(_)))) => Ok(value),
        ("float", Word::Value(value @ Value::Float(_))) => Ok(value),
        ("float", Word::Value(Value::Int(i))) => Ok(Value::Float(i as f64)),
        ("timestamp", Word::Timestamp(rewritten)) => Ok(timestamp_value(text, rewritten, dialect)),
        (_, found) => {
            let actual = match found {
                Word::Timestamp(_) => "timestamp",
                Word::Value(Value::Null) => "null",
                Word::Value(Value::Bool(_)) => "bool",
                Word::Value(Value::Int(_) | Value::Uint(_)) => "int",
                Word::Value(Value::Float(_)) => "float",
                Word::Value(_) => "str",
            };
            Err(Error::content(
                position,
                format_args!("cannot decode !!{actual} `{text}` as a !!{name}"),
            ))
        }
    }
}

fn timestamp_value(text: &str, rewritten: String, dialect: Dialect) -> Value {
    Value::Str(match dialect {
        Dialect::V3 => rewritten,
        Dialect::V2 => text.to_owned(),
    })
}

/// Base64 of a `!!binary` scalar as text. Bytes that are not UTF-8 become U+FFFD one by one, as Go's JSON writer does.
fn binary(text: &str, position: Position) -> Result<Value, Error> {
    const ENGINE: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
    );
    let compact: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = ENGINE
        .decode(compact)
        .map_err(|_| Error::content(position, "!!binary value contains invalid base64 data"))?;
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Ok(Value::Str(out))
}

enum Word {
    Value(Value),
    Timestamp(String),
}

fn word(text: &str, dialect: Dialect, timestamps: bool) -> Word {
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" if dialect == Dialect::V2 => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" if dialect == Dialect::V2 => Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Value::Float(f64::NEG_INFINITY),
        _ => match text.as_bytes()[0] {
            b'.' => dotted_float(text).map_or_else(|| Value::Str(text.to_owned()), Value::Float),
            b'0'..=b'9' | b'+' | b'-' => {
                if timestamps && let Some(rewritten) = timestamp::parse(text) {
                    return Word::Timestamp(rewritten);
                }
                number(text, dialect).unwrap_or_else(|| Value::Str(text.to_owned()))
            }
            _ => Value::Str(text.to_owned()),
        },
    };
    Word::Value(value)
}

fn number(text: &str, dialect: Dialect) -> Option<Value> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain.as_str()),
    };
    let signed = plain.starts_with(['-', '+']);
    // An explicit plus is for signed integers only.
    let unsigned_allowed = !signed;
    let (radix, body) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if let Some(value) = integer(body, radix, negative, unsigned_allowed) {
        return Some(value);
    }
    if is_yaml_float(&plain) {
        let f: f64 = plain.parse().ok()?;
        if f.is_finite() {
            return Some(Value::Float(f));
        }
    }
    // A sign may stand behind the prefix: 0b-1 and, in yaml.v3, 0o-7 are numbers for the Go libraries.
    let (radix, rest) = match (plain.strip_prefix("0b"), plain.strip_prefix("0o")) {
        (Some(rest), _) => (2, rest),
        (None, Some(rest)) if dialect == Dialect::V3 => (8, rest),
        _ => return None,
    };
    match rest.as_bytes().first()? {
        b'-' => integer(&rest[1..], radix, true, false),
        b'+' => integer(&rest[1..], radix, false, false),
        _ => None,
    }
}

fn integer(digits: &str, radix: u32, negative: bool, unsigned_allowed: bool) -> Option<Value> {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return 0_i64.checked_sub_unsigned(magnitude).map(Value::Int);
    }
    match i64::try_from(magnitude) {
        Ok(i) => Some(Value::Int(i)),
        Err(_) => unsigned_allowed.then_some(Value::Uint(magnitude)),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_yaml_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent_ok = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    mantissa_ok && exponent_ok
}

/// A number that starts with a dot. Underscores may stand between two digits here.
fn dotted_float(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let underscores_ok = bytes
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'_')
        .all(|(at, _)| bytes[at - 1].is_ascii_digit() && bytes.get(at + 1).is_some_and(u8::is_ascii_digit));
    let plain = text.replace('_', "");
    (underscores_ok && is_yaml_float(&plain))
        .then(|| plain.parse().ok())?
        .filter(|f: &f64| f.is_finite())
}

/// Whether YAML 1.1 readers would take `text` for a number in base 60, such as `1:30`.
fn is_base60(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let mut groups = whole.split(':');
    let first_ok = groups.next().is_some_and(|first| {
        first.starts_with(|c: char| c.is_ascii_digit()) && first.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    });
    let mut count = 0;
    let groups_ok = groups.all(|group| {
        count += 1;
        match group.as_bytes() {
            [only] => only.is_ascii_digit(),
            [tens, ones] => (b'0'..=b'5').contains(tens) && ones.is_ascii_digit(),
            _ => false,
        }
    });
    let fraction_ok = fraction.is_none_or(|f| f.bytes().all(|b| b.is_ascii_digit() || b == b'_'));
    first_ok && groups_ok && count > 0 && fraction_ok
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, v3: Value, v2: Value) {
        assert_eq!(plain(text, Dialect::V3), v3, "{text} in V3");
        assert_eq!(plain(text, Dialect::V2), v2, "{text} in V2");
    }

    fn same(text: &str, value: Value) {
        check(text, value.clone(), value);
    }

    fn text(text: &str) {
        same(text, Value::Str(text.to_owned()));
    }

    #[test]
    fn the_dialects_differ_in_yes_and_no() {
        for word in ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON"] {
            check(word, Value::Str(word.to_owned()), Value::Bool(true));
        }
        for word in ["n", "N", "no", "No", "NO", "off", "Off", "OFF"] {
            check(word, Value::Str(word.to_owned()), Value::Bool(false));
        }
        text("yEs");
    }

    #[test]
    fn nulls_and_booleans() {
        for word in ["", "~", "null", "Null", "NULL"] {
            same(word, Value::Null);
        }
        same("True", Value::Bool(true));
        same("FALSE", Value::Bool(false));
        text("nUll");
        text("tRUE");
    }

    #[test]
    fn integers_in_every_base() {
        same("0", Value::Int(0));
        same("-0", Value::Int(0));
        same("+5", Value::Int(5));
        same("1_000", Value::Int(1000));
        same("0777", Value::Int(511));
        same("0o777", Value::Int(511));
        same("0b101", Value::Int(5));
        same("-0b101", Value::Int(-5));
        same("0xFf", Value::Int(255));
        same("-0x10", Value::Int(-16));
        same("08", Value::Float(8.0));
        same("9223372036854775808", Value::Uint(9_223_372_036_854_775_808));
        same("-9223372036854775808", Value::Int(i64::MIN));
        same("18446744073709551615", Value::Uint(u64::MAX));
        same("+9223372036854775808", Value::Float(9_223_372_036_854_775_808.0));
        same("12345678901234567890123", Value::Float(1.2345678901234568e22));
        check("0o-7", Value::Int(-7), Value::Str("0o-7".to_owned()));
        text("0x");
        text("1a");
        text("-");
        text("1:30");
    }

    #[test]
    fn floats() {
        same("1e3", Value::Float(1000.0));
        same("1.", Value::Float(1.0));
        same(".5", Value::Float(0.5));
        same("-.5", Value::Float(-0.5));
        same(".5_0", Value::Float(0.5));
        same("-.INF", Value::Float(f64::NEG_INFINITY));
        text("1e");
        text(".");
        text("._5");
        text(".e3");
        text("1e999");
        text("..5");
    }

    #[test]
    fn timestamps_are_rewritten_in_v3_only() {
        check(
            "2001-12-14",
            Value::Str("2001-12-14T00:00:00Z".to_owned()),
            Value::Str("2001-12-14".to_owned()),
        );
    }

    #[test]
    fn explicit_tags_are_obeyed_or_refused() {
        let at = Position { line: 7, column: 1 };
        let tag = |name: &str, text: &str| {
            tagged(&format!("{TAG_PREFIX}{name}"), text, Dialect::V3, at).map_err(|e| e.to_string())
        };
        assert_eq!(tag("str", "5"), Ok(Value::Str("5".to_owned())));
        assert_eq!(tag("float", "5"), Ok(Value::Float(5.0)));
        assert_eq!(tag("binary", "aGVs\nbG8="), Ok(Value::Str("hello".to_owned())));
        assert_eq!(tag("binary", "/w=="), Ok(Value::Str("\u{FFFD}".to_owned())));
        assert_eq!(
            tag("int", "x"),
            Err("yaml: line 7: cannot decode !!str `x` as a !!int".to_owned())
        );
        assert_eq!(
            tag("binary", "%"),
            Err("yaml: line 7: !!binary value contains invalid base64 data".to_owned())
        );
        assert_eq!(
            tagged("!mine", "5", Dialect::V3, at).ok(),
            Some(Value::Str("5".to_owned()))
        );
    }

    #[test]
    fn quotes_are_needed_where_a_reader_would_misread() {
        for word in ["yes", "1", "", "~", "1:30", "190:20:30.15", "2001-12-14", ".inf", "0o7"] {
            assert!(needs_quotes(word), "{word}");
        }
        for word in ["a", "1:70", "1:3:x", "yEs", "-", "1.2.3", "0x", "<<"] {
            assert!(!needs_quotes(word), "{word}");
        }
    }
}
