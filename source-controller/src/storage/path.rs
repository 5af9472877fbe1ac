//! Where artifacts lie and under which address they are found.
//!
//! `<root>/gitrepository/<namespace>/<name>/<commit>.tar.gz`, and the same path behind the advertised host. The file name
//! depends on the commit alone: other ignore rules at the same commit replace the file under the same URL.

/// How the names of artifacts end.
const ARTIFACT: &str = ".tar.gz";
/// How the names of files begin that this controller has not finished.
const TEMPORARY: &str = ".tmp-";

/// The directory of one object's artifacts, relative to the storage's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    directory: String,
}

impl Place {
    /// The place of an object; the kind is written in lower case.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            directory: format!("{}/{namespace}/{name}", kind.to_lowercase()),
        }
    }

    /// The directory, relative to the root.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// The path of a file in it, as `status.artifact.path` carries it.
    pub fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.directory)
    }

    /// The name of the file at that path; nothing when the path leads elsewhere.
    pub fn file<'a>(&self, path: &'a str) -> Option<&'a str> {
        let file = path.strip_prefix(&self.directory)?.strip_prefix('/')?;
        is_file_name(file).then_some(file)
    }
}

/// Whether a component can be the name of a stored file or directory; names with a dot in front are ours.
pub fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0', '%'])
}

/// Whether a name is that of an artifact that is finished: neither a lock, nor what a process has left half written.
pub fn is_artifact(name: &str) -> bool {
    is_file_name(name) && name.ends_with(ARTIFACT)
}

/// The name under which an artifact is written before it has its own.
pub fn temporary(artifact: &str) -> String {
    format!("{TEMPORARY}{artifact}")
}

/// The name of the artifact that a file was to become when it is finished, if it is such a file: one of this
/// controller's, or one of Flux's, which have a random number behind the name.
pub fn unfinished(name: &str) -> Option<&str> {
    if let Some(artifact) = name.strip_prefix(TEMPORARY) {
        return Some(artifact);
    }
    let artifact = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (artifact.len() < name.len() && is_artifact(artifact)).then_some(artifact)
}

/// The name of the file for a commit.
pub fn file_name(hash: &str) -> String {
    format!("{hash}{ARTIFACT}")
}

/// The base of every artifact's URL.
///
/// `advertised` is taken as it is, with `http://` in front unless it has a scheme. Where it is empty the address that is
/// listened on serves: an empty host becomes `localhost`, and all interfaces become the name of this host.
pub fn base_url(advertised: &str, listen: &str, hostname: &str) -> String {
    let address = if advertised.is_empty() {
        let (host, port) = listen.rsplit_once(':').unwrap_or((listen, ""));
        let host = match host {
            "" => "localhost",
            "0.0.0.0" if !hostname.is_empty() => hostname,
            other => other,
        };
        if port.is_empty() || port == "80" {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        }
    } else {
        advertised.trim_end_matches('/').to_owned()
    };
    if address.starts_with("http://") || address.starts_with("https://") {
        address
    } else {
        format!("http://{address}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(advertised: &str, listen: &str, expected: &str) {
        assert_eq!(base_url(advertised, listen, "pod-0"), expected);
    }

    #[test]
    fn the_advertised_address_is_taken_as_it_is() {
        check(
            "source-controller.flux-system.svc.cluster.local.",
            ":9090",
            "http://source-controller.flux-system.svc.cluster.local.",
        );
        check(
            "https://artifacts.example.com/",
            ":9090",
            "https://artifacts.example.com",
        );
        check("127.0.0.1:21790", "127.0.0.1:21790", "http://127.0.0.1:21790");
    }

    #[test]
    fn without_one_the_address_that_is_listened_on_serves() {
        check("", ":9090", "http://localhost:9090");
        check("", "0.0.0.0:9090", "http://pod-0:9090");
        check("", "10.0.0.1:80", "http://10.0.0.1");
    }

    #[test]
    fn a_path_belongs_to_its_place_or_not_at_all() {
        let place = Place::new("GitRepository", "ns", "app");
        assert_eq!(place.path("abc.tar.gz"), "gitrepository/ns/app/abc.tar.gz");
        assert_eq!(place.file("gitrepository/ns/app/abc.tar.gz"), Some("abc.tar.gz"));
        for other in [
            "gitrepository/ns/other/abc.tar.gz",
            "gitrepository/ns/app/../x",
            "gitrepository/ns/app/",
            "/etc/x",
            "",
        ] {
            assert_eq!(place.file(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_not_finished_says_what_it_was_to_become() {
        assert_eq!(unfinished(&temporary("abc.tar.gz")), Some("abc.tar.gz"));
        assert_eq!(unfinished("abc.tar.gz2418549247"), Some("abc.tar.gz"));
        for other in [
            "abc.tar.gz",
            "abc.tar.gz.lock",
            "123",
            "abc.tgz5",
            "abc.tar.gz5x",
            ".tar.gz5",
            "",
        ] {
            assert_eq!(unfinished(other), None, "{other}");
        }
        for (name, expected) in [("abc.tar.gz", true), (".tmp-abc.tar.gz", false), ("abc.tar.gz5", false)] {
            assert_eq!(is_artifact(name), expected, "{name}");
        }
    }
}
