//! The submodules of a commit, fetched and mounted in its tree.
//!
//! What `.gitmodules` says was written by strangers: paths that lead out of the tree or into `.git`, URLs that are no http,
//! https or ssh address, and more or deeper nesting than anybody needs are refused. Each submodule is fetched as the exact
//! commit that the tree names, within the time and the bytes of the operation. Credentials go to the host of the repository
//! that names the submodule (same scheme, host and port) and to no other; the authorities to trust and the proxy count for
//! every submodule, as they tell nobody who asks and as the network is the same for all of them.
//!
//! Of a part of a tree only those submodules are fetched that reach into it.
//!
//! As for git, an entry of `.gitmodules` without a submodule in the tree, or one with `update = none`, counts for nothing; a
//! submodule without an entry stays an empty directory.

use gix::ObjectId;
use gix::config::File;
use gix::config::file::Metadata;
use gix::config::parse::Events;

use crate::client::{Commit, Error, Found, Means, Request};
use crate::conversation::Conversation;
use crate::credentials::Credentials;
use crate::reference::Reference;
use crate::stop::Stop;
use crate::tree::{Tree, What};
use crate::trouble::Allowance;
use crate::url::RemoteUrl;

/// Where they are written down.
const FILE: &str = ".gitmodules";
/// No such file is larger.
const MAX_FILE: u64 = 1 << 20;
/// How deep submodules may be nested; Flux stops there, too.
const MAX_DEPTH: usize = 10;
/// How many there may be in all.
const MAX_COUNT: usize = 200;

/// An entry of `.gitmodules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Where it is in the tree.
    pub path: String,
    /// Where it comes from, as it is written: perhaps relative to the repository that names it.
    pub url: String,
}

/// Fetches what a commit names and mounts it.
pub fn mount(
    request: &Request,
    means: &Means,
    stop: &Stop,
    allowance: &Allowance,
    tree: &mut Tree,
) -> Result<(), Error> {
    let mut operation = Operation {
        means,
        stop,
        allowance,
        sparse: &request.sparse,
        count: 0,
    };
    operation.mount(request, tree, "", 1)
}

struct Operation<'a> {
    means: &'a Means,
    stop: &'a Stop,
    allowance: &'a Allowance,
    sparse: &'a [String],
    count: usize,
}

impl Operation<'_> {
    fn mount(&mut self, request: &Request, tree: &mut Tree, within: &str, depth: usize) -> Result<(), Error> {
        for Module { path, url } in named(tree).map_err(|detail| refused(within, &detail))? {
            let shown = match within {
                "" => path.clone(),
                within => format!("{within}/{path}"),
            };
            let Some(id) = pinned(tree, &path).map_err(|detail| refused(&shown, &detail))? else {
                continue;
            };
            if !is_wanted(self.sparse, &shown) {
                continue;
            }
            if depth > MAX_DEPTH {
                return Err(refused(
                    &shown,
                    &format!("submodules are nested more than {MAX_DEPTH} levels deep"),
                ));
            }
            self.count += 1;
            if self.count > MAX_COUNT {
                return Err(refused(&shown, &format!("there are more than {MAX_COUNT} submodules")));
            }
            let request = wanted(request, &url, id).map_err(|detail| refused(&shown, &detail))?;
            let found = Conversation::hold(&request, self.means, self.stop, self.allowance);
            let commit = match found.map_err(|error| refused(&shown, &error.to_string()))? {
                Found::Commit(commit) => *commit,
                Found::Unmoved(_) => continue,
            };
            let Commit { tree: mut module, .. } = commit;
            self.mount(&request, &mut module, &shown, depth + 1)?;
            tree.mount(&path, module);
        }
        Ok(())
    }
}

/// Whether a file of the submodule at this path may begin with one of these texts.
fn is_wanted(sparse: &[String], path: &str) -> bool {
    let directory = format!("{path}/");
    let leads_there = |text: &String| directory.starts_with(text.as_str()) || text.starts_with(&directory);
    sparse.is_empty() || sparse.iter().any(leads_there)
}

fn refused(path: &str, detail: &str) -> Error {
    Error::Failed(match path {
        "" => format!("submodules cannot be read: {detail}"),
        path => format!("submodule '{path}': {detail}"),
    })
}

/// The request for a submodule of what another request was for.
fn wanted(parent: &Request, url: &str, id: ObjectId) -> Result<Request, String> {
    let remote = remote(&parent.remote, url)?;
    let mut credentials = if parent.remote.is_same_host(&remote) {
        parent.credentials.clone()
    } else {
        parent.credentials.for_other_hosts()
    };
    // As for git, what the URL says counts where nobody else says who asks.
    let in_url = Credentials::of_url(&remote).authorization;
    credentials.authorization = credentials.authorization.or(in_url);
    Ok(Request {
        credentials,
        timeout: parent.timeout,
        limits: parent.limits,
        cancel: parent.cancel.clone(),
        ..Request::new(
            remote,
            Reference::Commit {
                id: id.to_string(),
                branch: None,
                name: None,
            },
        )
    })
}

/// What a URL in `.gitmodules` means.
fn remote(parent: &RemoteUrl, url: &str) -> Result<RemoteUrl, String> {
    if url.starts_with('-') || url.chars().any(char::is_control) {
        return Err(format!("its URL {url:?} is refused"));
    }
    if url.starts_with("./") || url.starts_with("../") {
        return parent.join(url).map_err(|error| error.to_string());
    }
    let remote = RemoteUrl::parse_remote(url).map_err(|error| error.to_string())?;
    let is_option = remote.ssh_target().is_some_and(|target| {
        target.host.starts_with('-') || target.user.as_ref().is_some_and(|user| user.starts_with('-'))
    });
    if is_option {
        return Err(format!("its URL {url:?} is refused"));
    }
    Ok(remote)
}

/// The commit that the tree names at a path; nothing when something else is there. Links on the way count as something else.
fn pinned(tree: &Tree, path: &str) -> Result<Option<ObjectId>, String> {
    let mut here = tree.root();
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        let entries = tree.directory(here).map_err(|damage| damage.to_string())?;
        let Some(entry) = entries.iter().find(|entry| entry.name == part.as_bytes()) else {
            return Ok(None);
        };
        match entry.what {
            What::Directory => here = entry.node,
            What::Module if parts.peek().is_none() => return Ok(Some(entry.node.id())),
            What::Module | What::File { .. } | What::Link => return Ok(None),
        }
    }
    Ok(None)
}

/// The entries of the tree's `.gitmodules`, which has to be a file.
fn named(tree: &Tree) -> Result<Vec<Module>, String> {
    let entries = tree.directory(tree.root()).map_err(|damage| damage.to_string())?;
    let is_file = |what| matches!(what, What::File { .. });
    let Some(file) = entries
        .iter()
        .find(|entry| entry.name == FILE.as_bytes() && is_file(entry.what))
    else {
        return Ok(Vec::new());
    };
    let size = tree.size(file.node).map_err(|damage| damage.to_string())?;
    if size > MAX_FILE {
        return Err(format!("{FILE} has {size} bytes, more than {MAX_FILE}"));
    }
    let mut content = Vec::new();
    tree.content(file.node, &mut content)
        .map_err(|damage| damage.to_string())?;
    modules(&content)
}

/// The entries of a file `.gitmodules`, each path once.
///
/// # Errors
/// It is no file of this form, or a path or a name in it leads out of the tree or into `.git`.
pub fn modules(content: &[u8]) -> Result<Vec<Module>, String> {
    let events = Events::from_bytes(content, None).map_err(|error| format!("{FILE}: {error}"))?;
    let file = File::from_parse_events_no_includes(events, Metadata::api());
    let mut modules: Vec<Module> = Vec::new();
    for section in file.sections_by_name("submodule").into_iter().flatten() {
        let name = section
            .header()
            .subsection_name()
            .map(ToString::to_string)
            .unwrap_or_default();
        let value = |key: &str| section.value(key).map(|value| value.to_string());
        if value("update").is_some_and(|update| update == "none") {
            continue;
        }
        // Git passes over what lacks one of them.
        let (Some(path), Some(url)) = (value("path"), value("url")) else {
            continue;
        };
        if !is_inside(&path) || name.split(['/', '\\']).any(|part| part == "..") {
            return Err(format!("{FILE}: submodule {name:?} with the path {path:?} is refused"));
        }
        // The last one counts, as in any configuration of git.
        modules.retain(|module| module.path != path);
        modules.push(Module { path, url });
    }
    Ok(modules)
}

/// Whether a path stays in the tree and out of `.git`.
fn is_inside(path: &str) -> bool {
    path.split('/')
        .all(|part| !matches!(part, "" | "." | "..") && !part.eq_ignore_ascii_case(".git") && !part.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Proxy;

    /// The modules as `path url`, or the message.
    fn check(content: &str, expected: Result<&[&str], &str>) {
        let found = modules(content.as_bytes());
        let found = found.map(|modules| {
            modules
                .iter()
                .map(|m| format!("{} {}", m.path, m.url))
                .collect::<Vec<_>>()
        });
        let expected = expected.map(|lines| lines.iter().map(|line| (*line).to_owned()).collect());
        assert_eq!(found, expected.map_err(str::to_owned), "{content}");
    }

    #[test]
    fn entries_are_read_as_git_reads_them() {
        check("", Ok(&[]));
        check(
            "[submodule \"one\"]\n\tpath = lib/one\n\turl = ../one.git\n\tbranch = main\n# x\n[other]\npath = x\n",
            Ok(&["lib/one ../one.git"]),
        );
        check("[submodule \"a\"]\npath = a\n[submodule \"b\"]\nurl = u\n", Ok(&[]));
        check("[submodule \"a\"]\npath = a\nurl = u\nupdate = none\n", Ok(&[]));
        check(
            "[submodule \"a\"]\npath = a\nurl = u\n[submodule \"b\"]\npath = a\nurl = v\n",
            Ok(&["a v"]),
        );
    }

    #[test]
    fn paths_that_leave_the_tree_are_refused() {
        for path in ["../x", "/etc", "a/../../x", "a//b", ".git", "a/.GIT/hooks", "./a", ""] {
            let content = format!("[submodule \"m\"]\npath = \"{path}\"\nurl = ../x\n");
            let text = format!(".gitmodules: submodule \"m\" with the path {path:?} is refused");
            check(&content, Err(&text));
        }
        let text = ".gitmodules: submodule \"../../x\" with the path \"a\" is refused";
        check("[submodule \"../../x\"]\npath = a\nurl = ../x\n", Err(text));
        assert!(modules(b"[submodule\npath").is_err());
    }

    /// The remote of a submodule of `https://host/org/app.git`, or the message.
    fn check_remote(url: &str, expected: Result<&str, &str>) {
        let parent = RemoteUrl::parse("https://host/org/app.git").unwrap();
        let found = remote(&parent, url).map(|url| url.to_string());
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{url}");
    }

    #[test]
    fn only_addresses_of_servers_are_followed() {
        check_remote("../lib.git", Ok("https://host/org/lib.git"));
        check_remote("https://other/lib", Ok("https://other/lib"));
        check_remote("git@other:lib", Ok("git@other:lib"));
        let refused = |url: &str, scheme: &str| {
            let text =
                format!("failed to parse url '{url}': scheme '{scheme}' is not supported: use http, https or ssh");
            check_remote(url, Err(&text));
        };
        refused("file:///etc", "file");
        refused("git://host/x", "git");
        check_remote(
            "/srv/x",
            Err("failed to parse url '/srv/x': relative URL without a base"),
        );
        check_remote("--upload-pack=id", Err("its URL \"--upload-pack=id\" is refused"));
        check_remote(
            "ssh://-oProxyCommand=id/x",
            Err("its URL \"ssh://-oProxyCommand=id/x\" is refused"),
        );
        check_remote("https://host/a\nb", Err("its URL \"https://host/a\\nb\" is refused"));
    }

    #[test]
    fn submodules_are_wanted_where_files_of_theirs_may_be() {
        let wanted = |texts: &[&str]| {
            let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
            is_wanted(&texts, "mods/inner")
        };
        for texts in [
            &[][..],
            &[""],
            &["mods"],
            &["mods/in"],
            &["mods/inner/"],
            &["mods/inner/a/b"],
            &["x", "m"],
        ] {
            assert!(wanted(texts), "{texts:?}");
        }
        for texts in [&["deploy"][..], &["mods/innermost"], &["inner"]] {
            assert!(!wanted(texts), "{texts:?}");
        }
    }

    #[test]
    fn credentials_stay_with_their_host() {
        let mut parent = Request::new(RemoteUrl::parse("https://host/org/app").unwrap(), Reference::any(None));
        parent.credentials = Credentials {
            authorities: Some(b"PEM".to_vec()),
            proxy: Some(Proxy::new("http://proxy", "", "").unwrap()),
            ..Credentials::bearer("t0ken")
        };
        let id = ObjectId::null(gix::hash::Kind::Sha1);
        for (url, sent) in [
            ("../lib", Some("Bearer t0ken")),
            ("https://host/other", Some("Bearer t0ken")),
            ("https://me:pw@host/other", Some("Bearer t0ken")),
            ("https://host:444/x", None),
            ("http://host/x", None),
            ("https://host.evil/x", None),
            ("https://evil/x", None),
            ("https://u:w@evil/x", Some("Basic dTp3")),
        ] {
            let Credentials {
                authorization,
                authorities,
                proxy,
                ..
            } = wanted(&parent, url, id).unwrap().credentials;
            assert_eq!(
                authorization.as_ref().map(|value| value.expose().as_str()),
                sent,
                "{url}"
            );
            assert_eq!(authorities.as_deref(), Some(&b"PEM"[..]), "{url}");
            assert_eq!(proxy, parent.credentials.proxy, "{url}");
        }
    }
}
