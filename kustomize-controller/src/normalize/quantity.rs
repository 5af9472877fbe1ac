//! Quantities (`500m`, `1.5Gi`, `1e3`) in the one spelling the API server stores, so that a manifest that spells a
//! quantity differently is no drift.

/// How many decimal digits fit the fast path of the Go type, which keeps some spellings as they were.
const FAST_DIGITS: i32 = 18;
/// The finest scale: nano.
const NANO: i32 = -9;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `n u m "" k M G T P E`
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`
    BinarySi,
    /// `e3`
    DecimalExponent,
}

/// The canonical spelling; none when `text` is no quantity.
pub(super) fn canonical(text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let (negative, unsigned) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let zeros = unsigned.bytes().take_while(|b| *b == b'0').count();
    let rest = &unsigned[zeros..];
    if rest.is_empty() {
        return Some("0".to_owned());
    }
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let (exponent, format) = interpret(suffix)?;
    let number = if whole.is_empty() { "0" } else { whole };
    if is_kept(number, fraction, exponent, format) {
        return Some(text.to_owned());
    }
    // Beyond this many digits the value is far outside of what the API server accepts.
    let joined = format!("{number}{fraction}");
    let magnitude: i128 = joined.parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    let (mut value, mut scale) = match format {
        Format::BinarySi => (magnitude.checked_mul(1 << exponent)?, -places),
        Format::DecimalSi | Format::DecimalExponent => (magnitude, exponent.checked_sub(places)?),
    };
    if value == 0 {
        return Some("0".to_owned());
    }
    // What is finer than nano is rounded away from zero.
    while scale < NANO {
        value = value / 10 + i128::from(value % 10 != 0);
        scale += 1;
    }
    while value % 10 == 0 {
        value /= 10;
        scale += 1;
    }
    let sign = if negative { "-" } else { "" };
    if format == Format::BinarySi
        && let Some(whole) = whole_value(value, scale).filter(|whole| *whole >= 1024)
    {
        return Some(format!("{sign}{}", binary(whole.min(i128::from(i64::MAX)))));
    }
    let format = if format == Format::BinarySi {
        Format::DecimalSi
    } else {
        format
    };
    Some(format!("{sign}{}", decimal(value, scale, format)?))
}

/// Whether the Go type keeps the text it was parsed from.
fn is_kept(whole: &str, fraction: &str, exponent: i32, format: Format) -> bool {
    let length = |s: &str| i32::try_from(s.len()).unwrap_or(i32::MAX);
    let shifted = format!("{whole}{fraction}");
    match format {
        Format::BinarySi => {
            let precision = 15_i32.saturating_sub(length(whole)) - exponent * 3 / 10 - 1;
            let value: i64 = shifted.parse().unwrap_or(0);
            fraction.is_empty() && precision >= 0 && exponent % 10 == 0 && value & 7 != 0
        }
        Format::DecimalSi | Format::DecimalExponent => {
            let scale = exponent.saturating_sub(length(fraction));
            length(&shifted) <= FAST_DIGITS
                && scale >= NANO
                && scale % 3 == 0
                && !shifted.ends_with("000")
                && !shifted.starts_with('0')
        }
    }
}

fn interpret(suffix: &str) -> Option<(i32, Format)> {
    Some(match suffix {
        "n" => (-9, Format::DecimalSi),
        "u" => (-6, Format::DecimalSi),
        "m" => (-3, Format::DecimalSi),
        "" => (0, Format::DecimalSi),
        "k" => (3, Format::DecimalSi),
        "M" => (6, Format::DecimalSi),
        "G" => (9, Format::DecimalSi),
        "T" => (12, Format::DecimalSi),
        "P" => (15, Format::DecimalSi),
        "E" => (18, Format::DecimalSi),
        "Ki" => (10, Format::BinarySi),
        "Mi" => (20, Format::BinarySi),
        "Gi" => (30, Format::BinarySi),
        "Ti" => (40, Format::BinarySi),
        "Pi" => (50, Format::BinarySi),
        "Ei" => (60, Format::BinarySi),
        _ => (suffix.strip_prefix(['e', 'E'])?.parse().ok()?, Format::DecimalExponent),
    })
}

fn whole_value(value: i128, scale: i32) -> Option<i128> {
    let power = 10_i128.checked_pow(u32::try_from(scale).ok()?)?;
    value.checked_mul(power)
}

fn binary(mut value: i128) -> String {
    const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut at = 0;
    while value % 1024 == 0 && at + 1 < SUFFIXES.len() {
        value /= 1024;
        at += 1;
    }
    format!("{value}{}", SUFFIXES[at])
}

fn decimal(value: i128, scale: i32, format: Format) -> Option<String> {
    // The exponent has to be a multiple of three.
    let excess = scale.rem_euclid(3);
    let value = value.checked_mul(10_i128.pow(excess.unsigned_abs()))?;
    let scale = scale - excess;
    let suffix = match (format, scale) {
        (_, 0) => String::new(),
        (Format::DecimalExponent, _) => format!("e{scale}"),
        (_, -9) => "n".to_owned(),
        (_, -6) => "u".to_owned(),
        (_, -3) => "m".to_owned(),
        (_, 3) => "k".to_owned(),
        (_, 6) => "M".to_owned(),
        (_, 9) => "G".to_owned(),
        (_, 12) => "T".to_owned(),
        (_, 15) => "P".to_owned(),
        (_, 18) => "E".to_owned(),
        // Go has no suffix for more than exa and writes none: 1e21 becomes 1 there. Such a value is nonsense anyway.
        _ => String::new(),
    };
    Some(format!("{value}{suffix}"))
}

#[cfg(test)]
mod tests {
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(super::canonical(text).as_deref(), expected, "{text}");
    }

    #[test]
    fn decimal_quantities() {
        check("0", Some("0"));
        check("00.0", Some("0"));
        check("1", Some("1"));
        check("1000m", Some("1"));
        check("1500m", Some("1500m"));
        check("0.5", Some("500m"));
        check("0.1", Some("100m"));
        check("1.5", Some("1500m"));
        check("100000", Some("100k"));
        check("12000", Some("12k"));
        check("1024", Some("1024"));
        check("-0.5", Some("-500m"));
        check("0.0000000001", Some("1n"));
        check("1e3", Some("1e3"));
        check("12e2", Some("1200"));
        check("1E", Some("1E"));
        check("+1", Some("+1"));
    }

    #[test]
    fn binary_quantities() {
        check("1Ki", Some("1Ki"));
        check("1024Ki", Some("1Mi"));
        check("1536Mi", Some("1536Mi"));
        check("1.5Gi", Some("1536Mi"));
        check("0.1Gi", Some("107374182400m"));
        check("0.5Ki", Some("512"));
        check("128Mi", Some("128Mi"));
        check("2048Mi", Some("2Gi"));
    }

    #[test]
    fn what_is_no_quantity() {
        for text in ["", "abc", "1kg", "1 Gi", "Ki", "1e", "1.5.5", "ten"] {
            let expected = if text == "Ki" { Some("0") } else { None };
            check(text, expected);
        }
    }
}
