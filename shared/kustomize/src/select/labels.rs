//! Kubernetes label selectors: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.

use std::collections::BTreeMap;

use crate::Error;

/// A parsed selector; all requirements have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Parses a selector; the empty one matches everything.
    ///
    /// # Errors
    /// Quotes the selector and says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fail = |why: &str| Error::new(format!("unable to parse selector '{text}': {why}"));
        let mut requirements = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (requirement, after) = requirement(rest).map_err(|why| fail(&why))?;
            requirements.push(requirement);
            rest = match after.strip_prefix(',') {
                Some(next) if next.trim().is_empty() => return Err(fail("found nothing after ','")),
                Some(next) => next.trim_start(),
                None if after.is_empty() => after,
                None => return Err(fail(&format!("found '{after}', expected: ',' or end"))),
            };
        }
        Ok(Self { requirements })
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether a set of labels matches.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            let number = || value.and_then(|value| value.parse::<i64>().ok());
            match &requirement.operator {
                Operator::Exists => value.is_some(),
                Operator::Missing => value.is_none(),
                Operator::In(values) => value.is_some_and(|value| values.contains(value)),
                Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Operator::Greater(bound) => number().is_some_and(|number| number > *bound),
                Operator::Less(bound) => number().is_some_and(|number| number < *bound),
            }
        })
    }
}

/// Characters that end a word.
fn is_special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<') || c.is_whitespace()
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(is_special).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn requirement(text: &str) -> Result<(Requirement, &str), String> {
    if let Some(rest) = text.strip_prefix('!') {
        let (key, rest) = word(rest.trim_start());
        check_key(key)?;
        return Ok((
            Requirement {
                key: key.to_owned(),
                operator: Operator::Missing,
            },
            rest,
        ));
    }
    let (key, rest) = word(text);
    check_key(key)?;
    let done = |operator, rest| {
        Ok((
            Requirement {
                key: key.to_owned(),
                operator,
            },
            rest,
        ))
    };
    if rest.is_empty() || rest.starts_with(',') {
        return done(Operator::Exists, rest);
    }
    for (sign, negated) in [("==", false), ("!=", true), ("=", false)] {
        if let Some(rest) = rest.strip_prefix(sign) {
            let (value, rest) = word(rest.trim_start());
            check_value(value)?;
            let values = vec![value.to_owned()];
            return done(
                if negated {
                    Operator::NotIn(values)
                } else {
                    Operator::In(values)
                },
                rest,
            );
        }
    }
    for (sign, make) in [(">", Operator::Greater as fn(i64) -> Operator), ("<", Operator::Less)] {
        if let Some(rest) = rest.strip_prefix(sign) {
            let (value, rest) = word(rest.trim_start());
            let bound = value.parse().map_err(|_| format!("'{value}' is no integer"))?;
            return done(make(bound), rest);
        }
    }
    let (operator, after) = word(rest);
    let negated = match operator {
        "in" => false,
        "notin" => true,
        other => return Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
    };
    let Some((inner, rest)) = after.strip_prefix('(').and_then(|after| after.split_once(')')) else {
        return Err(format!("found '{after}', expected: '(' … ')'"));
    };
    let values: Vec<String> = inner.split(',').map(|value| value.trim().to_owned()).collect();
    values.iter().try_for_each(|value| check_value(value))?;
    done(
        if negated {
            Operator::NotIn(values)
        } else {
            Operator::In(values)
        },
        rest.trim_start(),
    )
}

fn is_name(text: &str) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.len() <= 63
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let prefix_fits = prefix.is_none_or(|prefix| {
        !prefix.is_empty()
            && prefix.len() <= 253
            && prefix.split('.').all(|part| {
                let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_digit() || c.is_ascii_lowercase());
                edge(part.bytes().next())
                    && edge(part.bytes().last())
                    && part
                        .bytes()
                        .all(|c| c.is_ascii_digit() || c.is_ascii_lowercase() || c == b'-')
            })
    });
    if prefix_fits && is_name(name) {
        Ok(())
    } else {
        Err(format!("'{key}' is no label key"))
    }
}

fn check_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_name(value) {
        Ok(())
    } else {
        Err(format!("'{value}' is no label value"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: &str, expected: Option<bool>) {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned()), ("x.y/n".to_owned(), "5".to_owned())]);
        assert_eq!(
            LabelSelector::parse(selector)
                .ok()
                .map(|parsed| parsed.matches(&labels)),
            expected,
            "{selector}"
        );
    }

    #[test]
    fn requirements_hold_together() {
        check("", Some(true));
        check("a=b", Some(true));
        check("a == b, x.y/n", Some(true));
        check("a!=b", Some(false));
        check("c!=b", Some(true));
        check("a in (b, c),!d", Some(true));
        check("a notin (b)", Some(false));
        check("x.y/n>4", Some(true));
        check("x.y/n < 5", Some(false));
    }

    #[test]
    fn malformed_selectors_are_refused() {
        check("a=b,", None);
        check("a in b", None);
        check("=b", None);
        check("a b", None);
        check("a=b=c", None);
        check("A_/x", None);
    }
}
