//! The query behind the URL of a repository, which never reaches the server: `ref` or `version`, `timeout`, `submodules`.

use std::time::Duration;

/// How long fetching may take when nothing is said.
const TIMEOUT: Duration = Duration::from_secs(27);

/// The reference, the timeout, and whether submodules are wanted. One malformed part of the query and all of it is as if
/// it were not there; a malformed value of one parameter is as if that parameter were not there.
pub(super) fn parse_query(query: &str) -> (Option<String>, Duration, bool) {
    let Some(pairs) = pairs(query) else {
        return (None, TIMEOUT, true);
    };
    let get = |name: &str| {
        let value = pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    };
    let reference = get("ref").or_else(|| get("version")).map(str::to_owned);
    let timeout = get("timeout").and_then(timeout).unwrap_or(TIMEOUT);
    let submodules = get("submodules").and_then(boolean).unwrap_or(true);
    (reference, timeout, submodules)
}

fn pairs(query: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        if pair.contains(';') {
            return None;
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((unescape(key)?, unescape(value)?));
    }
    Some(pairs)
}

/// Resolves `+` and `%XX`; none when two digits do not follow the percent sign.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut unescaped = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        unescaped.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    Some(String::from_utf8_lossy(&unescaped).into_owned())
}

/// Whole seconds, or a duration as Go writes it; none unless it is more than nothing.
fn timeout(text: &str) -> Option<Duration> {
    let duration = match text.parse::<i64>() {
        Ok(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
        Err(_) => go_duration(text),
    };
    duration.filter(|duration| !duration.is_zero())
}

/// A duration such as `1h15m30.5s`; none when it is malformed, negative, or more nanoseconds than an `i64` holds.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (whole, behind) = digits(rest);
        let (fraction, behind) = behind.strip_prefix('.').map_or(("", behind), digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = behind
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(behind.len());
        let (name, behind) = behind.split_at(end);
        let unit = unit(name)?;
        let whole = if whole.is_empty() {
            0
        } else {
            whole.parse::<u64>().ok()?
        };
        total = total
            .checked_add(whole.checked_mul(unit)?)?
            .checked_add(part(fraction, unit))
            .filter(|total| i64::try_from(*total).is_ok())?;
        rest = behind;
    }
    Some(Duration::from_nanos(total))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

fn unit(name: &str) -> Option<u64> {
    Some(match name {
        "ns" => 1,
        // The micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        _ => return None,
    })
}

/// The nanoseconds of the digits behind a point, in the floating-point arithmetic of Go. Digits after the first that does
/// not fit into a number are not looked at.
fn part(digits: &str, unit: u64) -> u64 {
    let (mut fraction, mut scale) = (0_i64, 1.0);
    for digit in digits.bytes() {
        let longer = fraction
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(i64::from(digit - b'0')));
        let Some(longer) = longer else {
            break;
        };
        fraction = longer;
        scale *= 10.0;
    }
    (fraction as f64 * (unit as f64 / scale)) as u64
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}
