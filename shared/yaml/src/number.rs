//! Numbers as Go prints them: `encoding/json` on the way into JSON, `strconv` on the way into YAML.

use serde_json::{Number, Value};

/// The JSON number for `f`; `None` when it has none. A whole number below 1e21 is printed by Go without exponent or
/// fraction, as the shortest digits that mean it with zeros behind them, so whoever reads that text sees an integer if it fits
/// 64 bits. Above 2^53 that need not be the number itself.
pub(crate) fn to_json(f: f64) -> Option<Value> {
    if !f.is_finite() {
        return None;
    }
    if f.fract() == 0.0 && f.abs() < 1e21 {
        let digits = f.to_string();
        let integer = digits.parse::<i64>().map(Value::from);
        if let Ok(integer) = integer.or_else(|_| digits.parse::<u64>().map(Value::from)) {
            return Some(integer);
        }
    }
    Number::from_f64(f).map(Value::Number)
}

/// The text of a JSON number in YAML output.
pub(crate) fn text(number: &Number) -> String {
    if let Some(i) = number.as_i64() {
        return i.to_string();
    }
    if let Some(u) = number.as_u64() {
        return u.to_string();
    }
    let f = number.as_f64().unwrap_or_default();
    match to_json(f) {
        Some(Value::Number(n)) if n.is_i64() || n.is_u64() => n.to_string(),
        _ => shortest(&format!("{f:e}")),
    }
}

/// Go's `strconv.FormatFloat(f, 'g', -1, bits)` from Rust's shortest exponent form (`-1.5e-7`).
pub(crate) fn shortest(exponent_form: &str) -> String {
    let (sign, rest) = match exponent_form.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", exponent_form),
    };
    let (mantissa, exponent) = rest.split_once('e').unwrap_or((rest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    if !(-4..6).contains(&exponent) {
        let (first, fraction) = digits.split_at(1.min(digits.len()));
        let dot = if fraction.is_empty() { "" } else { "." };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{dot}{fraction}e{exponent_sign}{:02}", exponent.abs());
    }
    if exponent < 0 {
        let zeros = "0".repeat((-exponent - 1) as usize);
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        format!("{sign}{digits}{}", "0".repeat(whole - digits.len()))
    } else {
        format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(f: f64, expected: &str) {
        let number = match to_json(f) {
            Some(Value::Number(n)) => n,
            other => panic!("{f} became {other:?}"),
        };
        assert_eq!(text(&number), expected, "{f}");
    }

    #[test]
    fn whole_numbers_lose_fraction_and_exponent() {
        check(1.0, "1");
        check(-0.0, "0");
        check(1e3, "1000");
        check(1.5e10, "15000000000");
        check(9_007_199_254_740_993.0, "9007199254740992");
        check(18_446_744_073_709_549_568.0, "18446744073709550000");
        check(-9_223_372_036_854_775_808.0, "-9.223372036854776e+18");
    }

    #[test]
    fn other_numbers_follow_the_six_digit_rule() {
        check(1.5, "1.5");
        check(0.1, "0.1");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
        check(-1.25e-7, "-1.25e-07");
        check(100_000.5, "100000.5");
        check(1_234_567.5, "1.2345675e+06");
        check(1e20, "1e+20");
        check(1.2345678901234568e22, "1.2345678901234568e+22");
        check(1e100, "1e+100");
    }

    #[test]
    fn infinities_have_no_json_form() {
        assert_eq!(to_json(f64::INFINITY), None);
        assert_eq!(to_json(f64::NAN), None);
    }
}
