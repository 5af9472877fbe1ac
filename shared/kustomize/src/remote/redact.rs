//! URLs without what may be a secret in them, for texts that people and logs get to see.

use std::borrow::Cow;

/// What stands in place of a secret.
const HIDDEN: &str = "***";

/// The parameters of a query that kustomize itself reads; any other may be a token or a signature.
const KNOWN: [&str; 4] = ["ref", "version", "timeout", "submodules"];

/// A text in which no URL says who asks and with which password, token or signature.
pub(crate) fn redacted(text: &str) -> Cow<'_, str> {
    const MARK: &str = "://";
    if !text.contains(MARK) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(MARK) {
        let (before, url) = rest.split_at(at + MARK.len());
        shown.push_str(before);
        let end = url
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>'))
            .unwrap_or(url.len());
        // The next URL may begin right behind this one, in one word with it.
        let end = url[..end].find(MARK).unwrap_or(end);
        push_url(&mut shown, &url[..end]);
        rest = &url[end..];
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// The URL of a repository without its password, and without the user who has it.
pub(crate) fn without_password(url: &str) -> Cow<'_, str> {
    let authority = url.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    match authority.and_then(|authority| authority.rsplit_once('@')) {
        Some((user, _)) if user.contains(':') => redacted(url),
        _ => Cow::Borrowed(url),
    }
}

/// A URL from behind the scheme.
fn push_url(shown: &mut String, url: &str) {
    let (address, query) = match url.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (url, None),
    };
    let authority = address.split('/').next().unwrap_or_default();
    match authority.split_at_checked(authority.rfind('@').unwrap_or(0)) {
        // Over ssh a user without a password is a name and no token.
        Some((user, _)) if !user.is_empty() && (user.contains(':') || !shown.ends_with("ssh://")) => {
            shown.push_str(HIDDEN);
            shown.push_str(&address[user.len()..]);
        }
        _ => shown.push_str(address),
    }
    let Some(query) = query else {
        return;
    };
    // Punctuation of the text around it.
    let end = query.trim_end_matches([':', ',', ')', ']']).len();
    for (at, pair) in query[..end].split('&').enumerate() {
        shown.push(if at == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((key, _)) if KNOWN.contains(&key) => shown.push_str(pair),
            Some((key, _)) => {
                shown.push_str(key);
                shown.push('=');
                shown.push_str(HIDDEN);
            }
            None if pair.is_empty() || KNOWN.contains(&pair) => shown.push_str(pair),
            None => shown.push_str(HIDDEN),
        }
    }
    shown.push_str(&query[end..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(redacted(text), expected);
    }

    #[test]
    fn who_asks_is_not_told() {
        check("https://user:secret@host/a/b", "https://***@host/a/b");
        check("https://token@host:8443/a@b", "https://***@host:8443/a@b");
        check("https://user:p@ss@host", "https://***@host");
        check("'ssh://git@host/a': no", "'ssh://git@host/a': no");
        check("https://a:b@c/d https://e:f@g/h", "https://***@c/d https://***@g/h");
        check("ssh://git:secret@host/a", "ssh://***@host/a");
        check("git@host:a/b", "git@host:a/b");
        check("https://host/a@v1//b", "https://host/a@v1//b");
    }

    #[test]
    fn parameters_that_kustomize_does_not_read_are_not_told() {
        check(
            "https://host/x.yaml?token=abc&ref=v1: status 404",
            "https://host/x.yaml?token=***&ref=v1: status 404",
        );
        check("[\"https://h/x?sig=a%20b\"]", "[\"https://h/x?sig=***\"]");
        check("(https://h/x?abc)", "(https://h/x?***)");
        check("https://h/x?ref=a&timeout=5", "https://h/x?ref=a&timeout=5");
        check("https://h/x?", "https://h/x?");
    }

    #[test]
    fn a_user_without_a_password_may_stay() {
        assert_eq!(without_password("https://org@host/a"), "https://org@host/a");
        assert_eq!(without_password("https://org:pass@host/a@b"), "https://***@host/a@b");
        assert_eq!(without_password("git@host:a/b"), "git@host:a/b");
    }

    #[test]
    fn texts_without_a_url_stay() {
        check("a: b@c", "a: b@c");
        check("://", "://");
        check("a://b://c:d@e", "a://b://***@e");
    }
}
