//! Durations as Go writes and reads them, because that is what specs and statuses hold: `90s`, `1h30m`, `1.5s`.
//!
//! Reading accepts Go's whole grammar; the narrower patterns of single fields are the schema's business. Writing gives
//! Go's canonical form (`10m0s`), so that a value which passed through here compares equal to one Flux wrote.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A signed span of time with nanosecond resolution, at most about 292 years.
///
/// The sign exists because Go's type has one and an object must not become unreadable over it; fields of specs cannot
/// hold negative values, their schema forbids it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Duration {
    nanos: i64,
}

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDurationError {
    /// The text does not follow the grammar.
    #[error("invalid duration {text:?}: expected numbers with units such as 90s, 10m or 1h30m")]
    Grammar {
        /// The text as found.
        text: String,
    },
    /// A number without a unit.
    #[error("invalid duration {text:?}: missing unit, expected one of ns, us, ms, s, m, h")]
    MissingUnit {
        /// The text as found.
        text: String,
    },
    /// A unit that does not exist, such as `d`.
    #[error("invalid duration {text:?}: unknown unit {unit:?}, expected one of ns, us, ms, s, m, h")]
    UnknownUnit {
        /// The text as found.
        text: String,
        /// The part that was taken for a unit.
        unit: String,
    },
    /// The value does not fit into 64 bits of nanoseconds.
    #[error("invalid duration {text:?}: longer than 292 years")]
    Overflow {
        /// The text as found.
        text: String,
    },
}

const MICROSECOND: i64 = 1_000;
const MILLISECOND: i64 = 1_000 * MICROSECOND;
const SECOND: i64 = 1_000 * MILLISECOND;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

impl Duration {
    /// No time at all, `0s`.
    pub const ZERO: Self = Self { nanos: 0 };

    /// That many nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self { nanos }
    }

    /// That many milliseconds; saturates.
    pub const fn from_millis(millis: i64) -> Self {
        Self {
            nanos: millis.saturating_mul(MILLISECOND),
        }
    }

    /// That many seconds; saturates.
    pub const fn from_secs(secs: i64) -> Self {
        Self {
            nanos: secs.saturating_mul(SECOND),
        }
    }

    /// That many minutes; saturates.
    pub const fn from_mins(mins: i64) -> Self {
        Self {
            nanos: mins.saturating_mul(MINUTE),
        }
    }

    /// That many hours; saturates.
    pub const fn from_hours(hours: i64) -> Self {
        Self {
            nanos: hours.saturating_mul(HOUR),
        }
    }

    /// The whole value in nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.nanos
    }

    /// Whether it is exactly zero.
    pub const fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// The standard library's type; a negative value becomes zero.
    pub const fn std(self) -> std::time::Duration {
        if self.nanos < 0 {
            std::time::Duration::ZERO
        } else {
            std::time::Duration::from_nanos(self.nanos.unsigned_abs())
        }
    }
}

impl From<std::time::Duration> for Duration {
    /// Saturates at the longest value Go's type can hold.
    fn from(value: std::time::Duration) -> Self {
        Self {
            nanos: i64::try_from(value.as_nanos()).unwrap_or(i64::MAX),
        }
    }
}

impl From<Duration> for std::time::Duration {
    fn from(value: Duration) -> Self {
        value.std()
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.nanos.unsigned_abs();
        if self.nanos < 0 {
            f.write_str("-")?;
        }
        let (micro, milli, second) = (MICROSECOND as u64, MILLISECOND as u64, SECOND as u64);
        match magnitude {
            0 => f.write_str("0s"),
            n if n < micro => write!(f, "{n}ns"),
            n if n < milli => write!(f, "{}µs", decimal(n, micro)),
            n if n < second => write!(f, "{}ms", decimal(n, milli)),
            n => {
                let (minutes, rest) = (n / MINUTE as u64, n % MINUTE as u64);
                let (hours, minutes) = (minutes / 60, minutes % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                write!(f, "{}s", decimal(rest, second))
            }
        }
    }
}

/// `value / unit` as a decimal without trailing zeros; `unit` is a power of ten.
fn decimal(value: u64, unit: u64) -> String {
    let (whole, fraction) = (value / unit, value % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let digits = format!("{:0width$}", fraction, width = unit.ilog10() as usize);
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

impl FromStr for Duration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let grammar = || ParseDurationError::Grammar { text: text.to_owned() };
        let overflow = || ParseDurationError::Overflow { text: text.to_owned() };
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(grammar());
        }
        let mut total: u128 = 0;
        while !rest.is_empty() {
            let whole = leading_digits(rest);
            rest = &rest[whole.len()..];
            let fraction = match rest.strip_prefix('.') {
                Some(after) => {
                    let digits = leading_digits(after);
                    rest = &after[digits.len()..];
                    digits
                }
                None => "",
            };
            if whole.is_empty() && fraction.is_empty() {
                return Err(grammar());
            }
            let unit = &rest[..rest
                .find(|c: char| c == '.' || c.is_ascii_digit())
                .unwrap_or(rest.len())];
            rest = &rest[unit.len()..];
            let scale = match unit {
                "" => return Err(ParseDurationError::MissingUnit { text: text.to_owned() }),
                "ns" => 1,
                "us" | "µs" | "μs" => MICROSECOND,
                "ms" => MILLISECOND,
                "s" => SECOND,
                "m" => MINUTE,
                "h" => HOUR,
                _ => {
                    return Err(ParseDurationError::UnknownUnit {
                        text: text.to_owned(),
                        unit: unit.to_owned(),
                    });
                }
            } as u128;
            let whole: u128 = match whole {
                "" => 0,
                digits => digits.parse::<u64>().map_err(|_| overflow())?.into(),
            };
            total += whole * scale + fraction_nanos(fraction, scale);
            if total > u128::from(i64::MIN.unsigned_abs()) {
                return Err(overflow());
            }
        }
        let signed = if negative { -(total as i128) } else { total as i128 };
        i64::try_from(signed).map(Self::from_nanos).map_err(|_| overflow())
    }
}

fn leading_digits(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())]
}

/// The nanoseconds of `0.<digits>` units. Digits past the eighteenth cannot make up a nanosecond.
fn fraction_nanos(digits: &str, scale: u128) -> u128 {
    let digits = &digits[..digits.len().min(18)];
    digits
        .parse::<u128>()
        .map_or(0, |value| value * scale / 10u128.pow(digits.len() as u32))
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reading `text` gives `nanos`, and writing that gives `canonical`.
    fn check(text: &str, nanos: i64, canonical: &str) {
        let parsed: Duration = text.parse().unwrap();
        assert_eq!(parsed.as_nanos(), nanos, "{text}");
        assert_eq!(parsed.to_string(), canonical, "{text}");
        assert_eq!(canonical.parse::<Duration>().unwrap(), parsed, "{text}");
    }

    fn check_error(text: &str, message: &str) {
        assert_eq!(text.parse::<Duration>().unwrap_err().to_string(), message);
    }

    #[test]
    fn every_unit_is_read_and_the_canonical_form_written() {
        check("0", 0, "0s");
        check("0s", 0, "0s");
        check("1ns", 1, "1ns");
        check("1us", 1_000, "1µs");
        check("1.5µs", 1_500, "1.5µs");
        check("250ms", 250_000_000, "250ms");
        check("0.25s", 250_000_000, "250ms");
        check("1.5s", 1_500_000_000, "1.5s");
        check("90s", 90_000_000_000, "1m30s");
        check("60s", 60_000_000_000, "1m0s");
        check("10m", 600_000_000_000, "10m0s");
        check("1h", 3_600_000_000_000, "1h0m0s");
        check("1h30m", 5_400_000_000_000, "1h30m0s");
        check("1.5h", 5_400_000_000_000, "1h30m0s");
        check("1m1h", 3_660_000_000_000, "1h1m0s");
        check("1.094752452s", 1_094_752_452, "1.094752452s");
    }

    #[test]
    fn signs_and_bare_fractions_are_read_as_go_reads_them() {
        check("-1m", -60_000_000_000, "-1m0s");
        check("+5s", 5_000_000_000, "5s");
        check(".5s", 500_000_000, "500ms");
        check("1.s", 1_000_000_000, "1s");
        check("0.1234567890123456789s", 123_456_789, "123.456789ms");
    }

    #[test]
    fn the_whole_range_is_usable_to_its_last_nanosecond() {
        check("9223372036854775807ns", i64::MAX, "2562047h47m16.854775807s");
        check("-9223372036854775808ns", i64::MIN, "-2562047h47m16.854775808s");
        check_error(
            "9223372036854775808ns",
            r#"invalid duration "9223372036854775808ns": longer than 292 years"#,
        );
        check_error(
            "9999999999h",
            r#"invalid duration "9999999999h": longer than 292 years"#,
        );
        check_error(
            "99999999999999999999s",
            r#"invalid duration "99999999999999999999s": longer than 292 years"#,
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_the_text() {
        let grammar =
            |text: &str| format!("invalid duration {text:?}: expected numbers with units such as 90s, 10m or 1h30m");
        for text in ["", "-", "s", ".s", "soon", " 5s", "--5s"] {
            check_error(text, &grammar(text));
        }
        check_error(
            "10",
            r#"invalid duration "10": missing unit, expected one of ns, us, ms, s, m, h"#,
        );
        check_error(
            "1d",
            r#"invalid duration "1d": unknown unit "d", expected one of ns, us, ms, s, m, h"#,
        );
        check_error(
            "1m-5s",
            r#"invalid duration "1m-5s": unknown unit "m-", expected one of ns, us, ms, s, m, h"#,
        );
        check_error(
            "5 m",
            r#"invalid duration "5 m": unknown unit " m", expected one of ns, us, ms, s, m, h"#,
        );
    }

    #[test]
    fn a_negative_span_waits_no_time() {
        assert_eq!(Duration::from_secs(-5).std(), std::time::Duration::ZERO);
        assert_eq!(Duration::from_mins(2).std(), std::time::Duration::from_secs(120));
        assert_eq!(
            Duration::from(std::time::Duration::from_secs(u64::MAX)).as_nanos(),
            i64::MAX
        );
    }

    #[test]
    fn json_holds_a_string_and_nothing_else() {
        assert_eq!(
            serde_json::to_value(Duration::from_mins(10)).unwrap(),
            serde_json::json!("10m0s")
        );
        assert!(serde_json::from_str::<Duration>("10").is_err());
        assert!(serde_json::from_str::<Duration>("null").is_err());
    }
}
