//! The expressions: a text is read once, and every `${…}` in it is replaced.
//!
//! The grammar is that of drone's envsubst in Flux's version, which differs from a shell's in ways that manifests rely
//! on or trip over: a default is taken for every one of `= := :- :+ :?`, `$$` is one dollar wherever it stands outside
//! of an expression, `$VAR` is plain text, and what a shell would forgive is an error here.

use super::{MAX_TEXT, pattern};

/// How deep expressions may nest in each other's parameters.
const MAX_DEPTH: usize = 64;

/// What is wrong with an expression. The words are Flux's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The expression is malformed behind the name of its variable.
    #[error("bad substitution")]
    BadSubstitution,
    /// Behind the name stands something that begins no operator, or nothing at all.
    #[error("missing closing brace")]
    MissingClosingBrace,
    /// Behind `${` stands no name.
    #[error("unable to parse variable name")]
    VariableName,
    /// A parameter of the expression is missing or does not end.
    #[error("unable to parse substitution within function")]
    FuncSubstitution,
    /// The variable is not set, and strict mode asks that it is.
    #[error("variable not set (strict mode): {0:?}")]
    NotSet(String),
    /// A substring begins or ends inside a character.
    #[error("substring of variable {0:?} cuts a character in two")]
    CutCharacter(String),
    /// A bound that the controller sets.
    #[error("{0}")]
    Limit(&'static str),
}

/// The variables: the value for a name, none for a variable whose absence is an error.
type Lookup<'v> = dyn Fn(&str) -> Option<&'v str> + 'v;

/// The text with every expression replaced.
///
/// What is malformed anywhere is told before what cannot be evaluated, wherever that stands.
pub(super) fn expand<'v>(text: &str, lookup: &Lookup<'v>) -> Result<String, Cause> {
    if !text.contains('$') {
        return Ok(text.to_owned());
    }
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
        lookup,
        failed: None,
    };
    let mut out = String::with_capacity(text.len());
    while reader.at < text.len() {
        out.push_str(&reader.literal(|_| true, Escapes::Dollar));
        if reader.open() {
            out.push_str(&reader.expression()?);
        }
        if out.len() > MAX_TEXT {
            return Err(Cause::Limit("the text grows too long"));
        }
    }
    reader.failed.map_or(Ok(out), Err)
}

/// What a pair of characters may stand for one of in literal text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    None,
    /// `$$`
    Dollar,
    /// `$$`, `\/` and `\\`
    All,
}

struct Reader<'t, 'v, 'l> {
    text: &'t str,
    at: usize,
    depth: usize,
    lookup: &'l Lookup<'v>,
    /// The first expression that is well-formed but has no value.
    failed: Option<Cause>,
}

impl<'t, 'v> Reader<'t, 'v, '_> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    fn open(&mut self) -> bool {
        self.eat("${")
    }

    /// Text up to the next expression or the first character that is not accepted.
    fn literal(&mut self, accept: impl Fn(char) -> bool, escapes: Escapes) -> String {
        let mut out = String::new();
        while let Some(c) = self.peek() {
            let rest = self.rest();
            if rest.starts_with("${") {
                break;
            }
            let escaped = (escapes != Escapes::None && rest.starts_with("$$"))
                || (escapes == Escapes::All && (rest.starts_with("\\/") || rest.starts_with("\\\\")));
            if escaped {
                out.push(rest.as_bytes()[1].into());
                self.at += 2;
            } else if accept(c) {
                out.push(c);
                self.at += c.len_utf8();
            } else {
                break;
            }
        }
        out
    }

    /// A parameter: one run of text that is not empty, or one expression.
    fn parameter(&mut self, accept: impl Fn(char) -> bool, escapes: Escapes) -> Result<String, Cause> {
        if self.open() {
            return self.expression();
        }
        let start = self.at;
        let text = self.literal(accept, escapes);
        if self.at == start {
            Err(Cause::FuncSubstitution)
        } else {
            Ok(text)
        }
    }

    fn close(&mut self) -> Result<(), Cause> {
        if self.eat("}") {
            Ok(())
        } else {
            Err(Cause::BadSubstitution)
        }
    }

    fn name(&mut self) -> &'t str {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// An expression behind its `${`, up to and with its `}`.
    fn expression(&mut self) -> Result<String, Cause> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Cause::Limit("expressions nest too deep"));
        }
        let value = self.function();
        self.depth -= 1;
        value
    }

    fn function(&mut self) -> Result<String, Cause> {
        if self.eat("#") {
            let name = self.name();
            if name.is_empty() {
                return Err(Cause::BadSubstitution);
            }
            self.close()?;
            return Ok(self.value(name).len().to_string());
        }
        let name = self.name();
        if name.is_empty() {
            return Err(Cause::VariableName);
        }
        match self.peek() {
            Some('}') => {
                self.at += 1;
                Ok(self.value(name).to_owned())
            }
            Some(':') => match self.rest().chars().nth(1) {
                Some('=' | '-' | '?' | '+') => {
                    self.at += 2;
                    self.default(name)
                }
                Some(c) if c.is_ascii() => {
                    self.at += 1;
                    self.substring(name)
                }
                _ => Err(Cause::BadSubstitution),
            },
            Some('=') => {
                self.at += 1;
                self.default(name)
            }
            Some(',' | '^') => self.casing(name),
            Some('/') => self.replace(name),
            Some(operator @ ('#' | '%')) => self.trim(name, operator),
            _ => Err(Cause::MissingClosingBrace),
        }
    }

    fn value(&mut self, name: &str) -> &'v str {
        (self.lookup)(name).unwrap_or_else(|| {
            self.fail(Cause::NotSet(name.to_owned()));
            ""
        })
    }

    fn fail(&mut self, cause: Cause) {
        self.failed.get_or_insert(cause);
    }

    /// `${v:=text}` and its kin: the text when the variable is empty or not set. Everything inside is read, and has to
    /// be right, even when it is not needed.
    fn default(&mut self, name: &str) -> Result<String, Cause> {
        let mut text = String::new();
        while !self.eat("}") {
            text.push_str(&self.parameter(|c| c != '}', Escapes::None)?);
        }
        match (self.lookup)(name) {
            Some(value) if !value.is_empty() => Ok(value.to_owned()),
            _ => Ok(text),
        }
    }

    /// `${v:from}` and `${v:from:length}`, in bytes. What is no number gives the whole value.
    fn substring(&mut self, name: &str) -> Result<String, Cause> {
        let from = self.parameter(|c| c != ':' && c != '}', Escapes::None)?;
        let mut length = None;
        if !self.eat("}") {
            if self.peek() != Some(':') {
                return Err(Cause::BadSubstitution);
            }
            while self.eat(":") {}
            length = Some(self.parameter(|c| c != '}', Escapes::None)?);
            self.close()?;
        }
        let value = self.value(name);
        let Ok(from) = from.parse::<i64>() else {
            return Ok(value.to_owned());
        };
        let size = i64::try_from(value.len()).unwrap_or(i64::MAX);
        let from = if from < 0 { (size + from).max(0) } else { from };
        let to = match length {
            None => size,
            Some(length) => {
                let Ok(length) = length.parse::<i64>() else {
                    return Ok(value.to_owned());
                };
                let to = from.saturating_add(length);
                if length < 0 && to < size {
                    // Flux stops in a panic here.
                    self.fail(Cause::BadSubstitution);
                }
                to.min(size)
            }
        };
        if from >= to {
            return Ok(String::new());
        }
        let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
        let part = value.get(range);
        if part.is_none() {
            self.fail(Cause::CutCharacter(name.to_owned()));
        }
        Ok(part.unwrap_or_default().to_owned())
    }

    /// `${v^}`, `${v^^}`, `${v,}`, `${v,,}`; a mix of the two characters changes nothing.
    fn casing(&mut self, name: &str) -> Result<String, Cause> {
        let rest = self.rest();
        let operator_length = rest.bytes().take(2).take_while(|b| matches!(b, b',' | b'^')).count();
        let operator = &rest[..operator_length];
        self.at += operator_length;
        self.close()?;
        let value = self.value(name);
        let first = |change: fn(char) -> char| {
            let mut characters = value.chars();
            characters
                .next()
                .map(|c| change(c).to_string() + characters.as_str())
                .unwrap_or_default()
        };
        Ok(match operator {
            "^" => first(upper),
            "^^" => value.chars().map(upper).collect(),
            "," => first(lower),
            ",," => value.chars().map(lower).collect(),
            _ => value.to_owned(),
        })
    }

    /// `${v#p}`, `${v##p}`, `${v%p}`, `${v%%p}`.
    fn trim(&mut self, name: &str, operator: char) -> Result<String, Cause> {
        self.at += 1;
        let longest = self.peek() == Some(operator);
        self.at += usize::from(longest);
        let glob = self.parameter(|c| c != '}', Escapes::None)?;
        self.close()?;
        let value = self.value(name);
        if value.len() > pattern::MAX_VALUE {
            return Err(Cause::Limit("the value is too long for a pattern"));
        }
        Ok(match operator {
            '#' => pattern::trim_prefix(value, &glob, longest).to_owned(),
            _ => pattern::trim_suffix(value, &glob, longest),
        })
    }

    /// `${v/a/b}`, `${v//a/b}`, `${v/#a/b}`, `${v/%a/b}`; without `b` the first two remove and the others do nothing.
    fn replace(&mut self, name: &str) -> Result<String, Cause> {
        self.at += 1;
        let place = self.peek().filter(|c| matches!(c, '/' | '#' | '%'));
        self.at += usize::from(place.is_some());
        let from = self.parameter(|c| c != '/', Escapes::All)?;
        if self.peek() != Some('/') {
            return Err(Cause::BadSubstitution);
        }
        while self.eat("/") {}
        let to = match self.peek() {
            Some('}') => None,
            _ => Some(self.parameter(|c| c != '}', Escapes::All)?),
        };
        self.close()?;
        let value = self.value(name);
        Ok(match (place, to) {
            (Some('#'), Some(to)) if value.starts_with(&from) => value.replacen(&from, &to, 1),
            (Some('%'), Some(to)) => value
                .strip_suffix(&from)
                .map_or_else(|| value.to_owned(), |start| start.to_owned() + &to),
            (Some('#' | '%'), _) => value.to_owned(),
            (Some(_), to) => value.replace(&from, to.as_deref().unwrap_or_default()),
            (None, to) => value.replacen(&from, to.as_deref().unwrap_or_default(), 1),
        })
    }
}

/// The upper case of a character where that is one character.
fn upper(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(only), None) => only,
        _ => c,
    }
}

/// The lower case of a character, the first where it is several.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let lookup = |name: &str| match name {
            "v" => Some("value"),
            "empty" => Some(""),
            "path" => Some("/usr/local/bin"),
            "word" => Some("aXbXc"),
            "upper" => Some("ABC"),
            "n" => Some("-2"),
            "e" => Some("éa"),
            _ => None,
        };
        let found = expand(text, &lookup).map_err(|cause| cause.to_string());
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
    }

    const UNSET: &str = "variable not set (strict mode): \"unset\"";
    const BAD: &str = "bad substitution";
    const BRACE: &str = "missing closing brace";
    const NAME: &str = "unable to parse variable name";
    const WITHIN: &str = "unable to parse substitution within function";

    #[test]
    fn plain_text_and_values() {
        check("", Ok(""));
        check("no expression", Ok("no expression"));
        check("a ${v} b${v}", Ok("a value bvalue"));
        check("$v $ {v} $", Ok("$v $ {v} $"));
        check("${empty}", Ok(""));
        check("${unset}", Err(UNSET));
    }

    #[test]
    fn two_dollars_are_one() {
        check("$${v}", Ok("${v}"));
        check("$$${v}", Ok("$value"));
        check("$$$${v}", Ok("$${v}"));
        check("$$ $$$ cost$$", Ok("$ $$ cost$"));
        check("${empty:=$$}", Ok("$$"));
    }

    #[test]
    fn defaults_of_every_kind_mean_the_same() {
        for operator in ["=", ":=", ":-", ":+", ":?"] {
            check(&format!("${{unset{operator}d}}"), Ok("d"));
            check(&format!("${{empty{operator}d}}"), Ok("d"));
            check(&format!("${{v{operator}d}}"), Ok("value"));
            check(&format!("${{unset{operator}}}"), Ok(""));
        }
        check("${unset:=a ${v} b}", Ok("a value b"));
        check("${unset:=${empty:-${v}}}", Ok("value"));
        check("${v:=${unset}}", Err(UNSET));
        check("${unset:=a", Err(WITHIN));
        check("${v-d}", Err(BRACE));
        check("${v+d}", Err(BRACE));
        check("${v?d}", Err(BRACE));
    }

    #[test]
    fn lengths_and_casing() {
        check("${#v} ${#empty} ${#e}", Ok("5 0 3"));
        check("${#unset}", Err(UNSET));
        check("${#v", Err(BAD));
        check("${#}", Err(BAD));
        check(
            "${v^} ${v^^} ${upper,} ${upper,,} ${empty^}",
            Ok("Value VALUE aBC abc "),
        );
        check("${v^^^}", Err(BAD));
        check("${unset^^}", Err(UNSET));
    }

    #[test]
    fn substrings_count_bytes() {
        check("${v:1} ${v:1:2} ${v:0:99} ${v:9} ${v:9:1}", Ok("alue al value  "));
        check("${v:${n}}", Ok("ue"));
        check("${v: -1}", Ok("value"));
        check("${v:x} ${v:1:x}", Ok("value value"));
        check("${v:-1}", Ok("value"));
        check("${v:1:${n}}", Err(BAD));
        check("${e:1}", Err("substring of variable \"e\" cuts a character in two"));
        check("${v:}", Err(WITHIN));
        check("${v:", Err(BAD));
        check("${v:é}", Err(BAD));
        check("${v:1:}", Err(WITHIN));
        check("${v:1${n}}", Err(BAD));
        check("${unset:1}", Err(UNSET));
    }

    #[test]
    fn patterns_are_trimmed() {
        check("${path#*/} ${path##*/}", Ok("usr/local/bin bin"));
        check("${path%/*} ${path%%/*}|", Ok("/usr/local |"));
        check("${v#x} ${v%x}", Ok("value value"));
        check("${v#${v}}", Ok(""));
        check("${v#}", Err(WITHIN));
        check("${v#a${v}}", Err(BAD));
        check("${unset##x}", Err(UNSET));
    }

    #[test]
    fn text_is_replaced() {
        check("${word/X/-} ${word//X/-} ${word//X/}", Ok("a-bXc a-b-c abc"));
        check(
            "${word/#a/-} ${word/%c/-} ${word/#X/-} ${word/%X/-}",
            Ok("-XbXc aXbX- aXbXc aXbXc"),
        );
        check("${word/#a/} ${word/%c/}", Ok("aXbXc aXbXc"));
        check("${path//\\//-}", Ok("-usr-local-bin"));
        check("${v/a/\\\\}", Ok("v\\lue"));
        check("${v/${v}/${word}}", Ok("aXbXc"));
        check("${v/a}", Err(BAD));
        check("${v//b/c", Err(BAD));
        check("${unset/a/b}", Err(UNSET));
    }

    #[test]
    fn what_is_no_expression_is_an_error() {
        check("${}", Err(NAME));
        check("${ v}", Err(NAME));
        check("${", Err(NAME));
        check("${v", Err(BRACE));
        check("${v ", Err(BRACE));
        check("${a.b}", Err(BRACE));
        check("${a[@]}", Err(BRACE));
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "${unset:=".repeat(MAX_DEPTH + 1) + &"}".repeat(MAX_DEPTH + 1);
        check(&deep, Err("expressions nest too deep"));
    }
}
