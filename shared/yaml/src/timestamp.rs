//! Timestamps: what Go's YAML libraries take for one, and how it looks after they have been through JSON.

/// `text` as RFC 3339 with nanoseconds when it is a timestamp in one of the four forms the Go libraries know:
/// `2001-12-14`, `2001-12-14 21:59:43.1`, `2001-12-14T21:59:43Z` and the same with a small `t`. The zone is kept.
pub(crate) fn parse(text: &str) -> Option<String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits != 4 || text.as_bytes().get(4) != Some(&b'-') {
        return None;
    }
    let mut cursor = Cursor { rest: text };
    let year = cursor.number(4)?;
    cursor.literal('-')?;
    let month = cursor.short_number()?;
    cursor.literal('-')?;
    let day = cursor.short_number()?;
    if !(1..=12).contains(&month) || day < 1 || day > days_in(month, year) {
        return None;
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    match cursor.rest.chars().next() {
        None => Some(format!("{date}T00:00:00Z")),
        Some('T' | 't') => {
            cursor.skip(1);
            let time = cursor.time()?;
            let zone = cursor.zone()?;
            cursor.rest.is_empty().then(|| format!("{date}T{time}{zone}"))
        }
        Some(' ') => {
            cursor.rest = cursor.rest.trim_start_matches(' ');
            let time = cursor.time()?;
            cursor.rest.is_empty().then(|| format!("{date}T{time}Z"))
        }
        Some(_) => None,
    }
}

fn days_in(month: u32, year: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

struct Cursor<'a> {
    rest: &'a str,
}

impl Cursor<'_> {
    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn literal(&mut self, expected: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    fn number(&mut self, digits: usize) -> Option<u32> {
        let text = self.rest.get(..digits)?;
        let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())??;
        self.skip(digits);
        Some(number)
    }

    /// One digit, or two when the second is one as well.
    fn short_number(&mut self) -> Option<u32> {
        let second_is_digit = self.rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        self.number(if second_is_digit { 2 } else { 1 })
    }

    fn time(&mut self) -> Option<String> {
        let hour = self.short_number()?;
        self.literal(':')?;
        let minute = self.short_number()?;
        self.literal(':')?;
        let second = self.short_number()?;
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let mut fraction = String::new();
        let bytes = self.rest.as_bytes();
        if matches!(bytes.first(), Some(b'.' | b',')) && bytes.get(1).is_some_and(u8::is_ascii_digit) {
            let digits: String = self.rest[1..].chars().take_while(char::is_ascii_digit).collect();
            self.skip(1 + digits.len());
            let kept = digits[..digits.len().min(9)].trim_end_matches('0');
            if !kept.is_empty() {
                fraction = format!(".{kept}");
            }
        }
        Some(format!("{hour:02}:{minute:02}:{second:02}{fraction}"))
    }

    fn zone(&mut self) -> Option<String> {
        if self.literal('Z').is_some() {
            return Some("Z".to_owned());
        }
        let sign = self.rest.chars().next().filter(|c| matches!(c, '+' | '-'))?;
        self.skip(1);
        let hours = self.number(2)?;
        self.literal(':')?;
        let minutes = self.number(2)?;
        // Go reads 24 hours and 60 minutes of offset, but refuses to write 24 hours: then it is plain text for us.
        let offset = hours * 60 + minutes;
        if hours > 24 || minutes > 60 || offset >= 24 * 60 {
            return None;
        }
        Some(if offset == 0 {
            "Z".to_owned()
        } else {
            format!("{sign}{:02}:{:02}", offset / 60, offset % 60)
        })
    }
}

#[cfg(test)]
mod tests {
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(super::parse(text).as_deref(), expected, "{text}");
    }

    #[test]
    fn the_four_forms_become_rfc_3339() {
        check("2001-12-14", Some("2001-12-14T00:00:00Z"));
        check("2001-1-4", Some("2001-01-04T00:00:00Z"));
        check("2001-12-14t21:59:43.10-05:00", Some("2001-12-14T21:59:43.1-05:00"));
        check("2001-12-14T1:2:3Z", Some("2001-12-14T01:02:03Z"));
        check(
            "2001-12-14 21:59:43.123456789123",
            Some("2001-12-14T21:59:43.123456789Z"),
        );
        check("2001-12-14   21:59:43", Some("2001-12-14T21:59:43Z"));
        check("2001-12-14T00:00:00+00:00", Some("2001-12-14T00:00:00Z"));
    }

    #[test]
    fn anything_else_is_text() {
        for text in [
            "2001",
            "2001-13-01",
            "2001-02-29",
            "2001-12-14T",
            "2001-12-14 21:59:43 -5",
            "2001-12-14T25:00:00Z",
        ] {
            check(text, None);
        }
        check("2001-12-14T21:59:43", None);
        check("20011-12-14", None);
        check("2001-12-14x", None);
        check("2004-02-29", Some("2004-02-29T00:00:00Z"));
        check("2001-12-é", None);
    }
}
