//! URLs of remotes and paths relative to them: a URL, and behind a line `===` a path. No password is ever shown, what is
//! shown means the same remote, and a path does not lead to another host.

use git::RemoteUrl;
use git::url::{Scheme, redact};
use url::Url;

/// A URL, and perhaps a path, of any form.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (text, relative) = text.split_once("\n===\n").unwrap_or((text, "../other"));
    let hidden = redact(text);
    assert_eq!(redact(&hidden), hidden, "{text:?}");
    for parse in [RemoteUrl::parse, RemoteUrl::parse_remote] {
        let Ok(url) = parse(text) else { continue };
        holds(&url, parse);
        let Ok(joined) = url.join(relative) else { continue };
        assert!(
            url.is_same_host(&joined) && joined.is_same_host(&url),
            "{url} {relative:?} {joined}"
        );
        assert_eq!(url.scheme(), joined.scheme());
        match joined.ssh_target() {
            Some(target) => {
                let base = url.ssh_target().expect("both are over ssh");
                assert_eq!(
                    (&target.host, target.port, &target.user),
                    (&base.host, base.port, &base.user)
                );
                let climbs = |path: &str| path.split('/').any(|name| name == "..");
                assert!(
                    !climbs(&target.path) || climbs(&base.path),
                    "{url} {relative:?} {target:?}"
                );
            }
            None => holds(&joined, RemoteUrl::parse),
        }
    }
}

fn holds(url: &RemoteUrl, parse: impl Fn(&str) -> Result<RemoteUrl, git::url::Error>) {
    assert!(url.is_same_host(url));
    let bare = Url::parse(&url.bare()).expect("what is asked is a URL");
    assert!(bare.username().is_empty() && bare.password().is_none(), "{bare}");
    if let Some(target) = url.ssh_target() {
        assert!(!target.host.is_empty(), "{target:?}");
    }
    let shown = url.to_string();
    let again = parse(&shown).unwrap_or_else(|error| panic!("what is shown is a URL: {error}"));
    assert_eq!((again.scheme(), again.bare()), (url.scheme(), url.bare()), "{shown:?}");
    assert_eq!(
        again.ssh_target().map(|target| &target.path),
        url.ssh_target().map(|target| &target.path)
    );
    assert!(again.password().expose().is_empty(), "{shown:?} has a password");
    let user = again.username().expose().as_str();
    let is_open = url.scheme() == Scheme::Ssh && user == url.username().expose();
    assert!(is_open || ["", "***"].contains(&user), "{shown:?} has a user");
    assert_eq!(again.to_string(), shown);
}
