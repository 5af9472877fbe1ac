//! Remote bases and files behind URLs: folder cases `tests/remote/NAME`, and what is refused in which words.
//!
//! A case is the directory `in`, or the URL in the file `url`; `repos/NAME/REFERENCE` is what Git has, `web` is what an HTTP
//! server has, and `expected.yaml` is what has to come out. The library gets them through a `Fetch` over these directories.
//! kustomize, which the expectations come from, gets real Git repositories and a real server instead:
//!
//! ```text
//! UPDATE_EXPECTED=/path/to/kustomize cargo test -p kustomize --test remote
//! ```
//!
//! With `KUSTOMIZE=/path/to/kustomize` the expectations are compared with what it says.

#[path = "remote/host.rs"]
mod host;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use cap_std::{ambient_authority, fs::Dir};
use kustomize::{
    Builder, Built, DirFiles, Fetch, FetchError, Files, Limits, LoadRestriction, MemoryFiles, Options, Remote, Reorder,
    Repository,
};

/// Where the repositories of a case are said to be.
const HOSTS: [&str; 5] = [
    "https://git.test/org/",
    "https://user@git.test/org/",
    "ssh://git@git.test/org/",
    "git@git.test:org/",
    "http://web.test/org/",
];

/// Where the files of a case are said to be, in any case of letters.
const WEB: &str = "http://web.test/";

/// Repositories and files of a case.
struct Folder(PathBuf);

impl Fetch for Folder {
    fn repository(&self, repository: &Repository) -> Result<Rc<dyn Files>, FetchError> {
        let name = HOSTS.iter().find_map(|host| repository.url.strip_prefix(host));
        let name = name.ok_or_else(|| FetchError("no such host".to_owned()))?;
        let name = name.strip_suffix(".git").unwrap_or(name);
        let reference = repository.reference.as_deref().unwrap_or("HEAD").replace('/', "%2F");
        let directory = self.0.join("repos").join(name).join(reference);
        match Dir::open_ambient_dir(directory, ambient_authority()) {
            Ok(directory) => Ok(Rc::new(DirFiles::new(directory))),
            Err(error) => Err(FetchError(error.to_string())),
        }
    }

    fn file(&self, url: &str, _: u64) -> Result<Vec<u8>, FetchError> {
        let path = url.to_lowercase();
        let path = path.strip_prefix(WEB).unwrap_or("no such host");
        let path = path.split('?').next().unwrap_or_default();
        std::fs::read(self.0.join("web").join(path)).map_err(|error| FetchError(error.to_string()))
    }
}

/// What the library prints for a case.
fn built(case: &Path, root: &str) -> Result<String> {
    let files = DirFiles::new(Dir::open_ambient_dir(case, ambient_authority())?);
    let options = Options {
        reorder: Reorder::Legacy,
        ..Options::default()
    };
    let folder = Folder(case.to_owned());
    let built = Builder::new(&files, &options).fetch(&folder).build(root)?;
    ensure!(!built.fetched.is_empty(), "nothing was fetched");
    Ok(yaml::to_string_all(built.objects.iter().map(|built| &built.object)))
}

#[test]
fn every_case_gives_what_kustomize_gives() -> Result<()> {
    let update = std::env::var("UPDATE_EXPECTED").ok();
    let mut cases = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/remote"))? {
        let case = entry?.path();
        if !case.is_dir() {
            continue;
        }
        cases += 1;
        let url = std::fs::read_to_string(case.join("url"));
        let root = url.as_deref().map_or("in", str::trim);
        let file = case.join("expected.yaml");
        if let Some(kustomize) = &update {
            std::fs::write(&file, host::expected(kustomize, &case, root)?)?;
        }
        let expected = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        if let Ok(kustomize) = std::env::var("KUSTOMIZE") {
            let said = String::from_utf8(host::expected(&kustomize, &case, root)?)?;
            assert_eq!(said, expected, "kustomize on {}", case.display());
        }
        let text = built(&case, root).with_context(|| case.display().to_string())?;
        assert_eq!(text, expected, "{}", case.display());
    }
    ensure!(cases >= 5, "only {cases} cases found");
    Ok(())
}

const MAP: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: m}}\n";

/// Repositories by `URL` or `URL@REFERENCE`, and files by URL, in memory; and what was asked for.
#[derive(Default)]
struct Net {
    trees: Vec<(&'static str, Rc<MemoryFiles>)>,
    files: Vec<(&'static str, String)>,
    asked: RefCell<Vec<String>>,
}

impl Net {
    fn repository(mut self, name: &'static str, files: &[(&str, &str)]) -> Result<Self> {
        self.trees.push((name, Rc::new(tree(files)?)));
        Ok(self)
    }

    fn file(mut self, url: &'static str, content: &str) -> Self {
        self.files.push((url, content.to_owned()));
        self
    }
}

impl Fetch for Net {
    fn repository(&self, repository: &Repository) -> Result<Rc<dyn Files>, FetchError> {
        let name = match &repository.reference {
            Some(reference) => format!("{}@{reference}", repository.url),
            None => repository.url.clone(),
        };
        self.asked.borrow_mut().push(name.clone());
        match self.trees.iter().find(|(known, _)| *known == name) {
            Some((_, files)) => Ok(files.clone()),
            None => Err(FetchError("repository not found".to_owned())),
        }
    }

    fn file(&self, url: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
        self.asked.borrow_mut().push(url.to_owned());
        match self.files.iter().find(|(known, _)| *known == url) {
            Some((_, content)) if content.len() as u64 > limit => Err(FetchError(format!("larger than {limit} bytes"))),
            Some((_, content)) => Ok(content.clone().into_bytes()),
            None => Err(FetchError("HTTP Error: status code 404 (Not Found)".to_owned())),
        }
    }
}

fn tree(files: &[(&str, &str)]) -> Result<MemoryFiles> {
    let mut tree = MemoryFiles::default();
    for (path, content) in files {
        tree.insert(path, *content)?;
    }
    Ok(tree)
}

/// Builds a kustomization with these resources.
fn build(net: &Net, options: &Options, resources: &str) -> Result<Built, kustomize::Error> {
    let files = tree(&[("kustomization.yaml", &format!("resources: [{resources}]\n"))]).unwrap_or_default();
    Builder::new(&files, options).fetch(net).build("")
}

/// Builds a kustomization with these resources and expects an error with all these words in it.
fn refuse(net: &Net, options: &Options, resources: &str, words: &[&str]) -> Result<()> {
    let error = match build(net, options, resources) {
        Ok(built) => anyhow::bail!("built {} objects from {resources}", built.objects.len()),
        Err(error) => error.to_string(),
    };
    for word in words {
        assert!(error.contains(word), "'{word}' is not in: {error}");
    }
    assert!(!error.contains("secret"), "a secret is in: {error}");
    Ok(())
}

#[test]
fn what_may_not_be_fetched_is_refused_in_one_sentence() -> Result<()> {
    let check = |field: &str, url: &str, shown: &str| -> Result<()> {
        let files = tree(&[("app/kustomization.yaml", &format!("{field}: ['{url}']\n"))])?;
        let Err(error) = Builder::new(&files, &Options::default()).build("app") else {
            anyhow::bail!("built {url}");
        };
        let error = error.to_string();
        let words = format!("'{shown}': remote bases and files are turned off: only the files of the build are read");
        assert!(error.contains(&words), "{error}");
        assert_eq!(error.matches("turned off").count(), 1, "{error}");
        Ok(())
    };
    for url in [
        "https://git.test/org/app//base?ref=v1",
        "https://git.test/x.yaml",
        "git@git.test:org/app",
        "github.com/org/app",
        "ssh://git@git.test/org/app",
    ] {
        check("resources", url, url)?;
    }
    check("components", "git@git.test:org/app", "git@git.test:org/app")?;
    check("crds", "https://git.test/crd.json", "https://git.test/crd.json")?;
    check(
        "resources",
        "https://me:secret@git.test/org/app?ref=v1&token=secret",
        "https://***@git.test/org/app?ref=v1&token=***",
    )?;
    let error = Builder::new(&tree(&[])?, &Options::default()).build("github.com/org/app");
    let error = error.err().context("built")?.to_string();
    assert!(
        error.starts_with("'github.com/org/app': remote bases and files are turned off"),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_path_that_only_looks_like_a_url_is_read() -> Result<()> {
    let files = tree(&[
        ("kustomization.yaml", "resources: [a@b/c/d.yaml, github.com/org/x.yaml]"),
        ("a@b/c/d.yaml", MAP),
        ("github.com/org/x.yaml", &MAP.replace("name: m", "name: x")),
        ("github.com/org/app/kustomization.yaml", "resources: [m.yaml]"),
        ("github.com/org/app/m.yaml", MAP),
    ])?;
    let options = Options::default();
    assert_eq!(Builder::new(&files, &options).build("")?.objects.len(), 2);
    // With a slash in front a directory is no URL.
    assert_eq!(
        Builder::new(&files, &options)
            .build("/github.com/org/app")?
            .objects
            .len(),
        1
    );
    Ok(())
}

#[test]
fn what_is_fetched_is_asked_for_once_and_told() -> Result<()> {
    let net = Net::default()
        .repository(
            "https://git.test/org/app@v1",
            &[
                (
                    "a/kustomization.yaml",
                    "namePrefix: a-\nresources: [../m, 'https://git.test/m.yaml']",
                ),
                (
                    "b/kustomization.yaml",
                    "namePrefix: b-\nresources: [../m, 'https://git.test/m.yaml']",
                ),
                ("m/kustomization.yaml", "nameSuffix: -m\nresources: [m.yaml]"),
                ("m/m.yaml", MAP),
            ],
        )?
        .file("https://git.test/m.yaml", MAP);
    let [a, b] = ["a", "b"].map(|name| format!("git::https://git.test/org/app//{name}?ref=v1"));
    let built = build(&net, &Options::default(), &format!("'{a}', '{b}'"))?;
    assert_eq!(
        *net.asked.borrow(),
        ["https://git.test/org/app@v1", "https://git.test/m.yaml"]
    );
    let shown: Vec<_> = built.fetched.iter().map(Remote::to_string).collect();
    assert_eq!(shown, ["https://git.test/org/app?ref=v1", "https://git.test/m.yaml"]);
    assert_eq!(built.warnings.len(), 2, "{:?}", built.warnings);
    assert!(
        built
            .warnings
            .iter()
            .all(|warning| warning.contains("'git::' has no effect"))
    );
    let origins: Vec<_> = built
        .objects
        .iter()
        .filter_map(|object| object.origin.clone())
        .collect();
    let of_repository = |origin: &kustomize::Origin| {
        (origin.path.as_str(), origin.line) == ("m/m.yaml", Some(1))
            && origin.repository.as_deref() == Some("https://git.test/org/app")
            && origin.reference.as_deref() == Some("v1")
    };
    let of_file = |origin: &kustomize::Origin| {
        origin.path == "https://git.test/m.yaml" && origin.repository.is_none() && origin.line == Some(1)
    };
    let [a, a_file, b, b_file] = origins.as_slice() else {
        anyhow::bail!("{origins:?}");
    };
    assert!(
        of_repository(a) && of_repository(b) && of_file(a_file) && of_file(b_file),
        "{origins:?}"
    );
    Ok(())
}

#[test]
fn both_reasons_are_told_when_a_url_is_neither_file_nor_repository() -> Result<()> {
    let options = Options::default();
    let net = Net::default().file("https://git.test/org/page", "<html>\n<a href='x: y'>\n {</html>");
    refuse(
        &net,
        &options,
        "'https://me:secret@git.test/org/app?ref=v1&x=secret'",
        &[
            "accumulating resources: accumulation err='accumulating resources from 'https://***@git.test/org/app?ref=v1&x=***'",
            "status code 404 (Not Found) (URL is a git repository)': 'https://***@git.test/org/app?ref=v1&x=***': \
             repository not found",
        ],
    )?;
    refuse(
        &net,
        &options,
        "'https://git.test/org/page'",
        &[
            "MalformedYAMLError",
            "'https://git.test/org/page': repository not found",
        ],
    )?;
    // No repository could have this URL.
    refuse(
        &net,
        &options,
        "'https://git.test/x.yaml?sig=secret'",
        &[
            "accumulating resources from 'https://git.test/x.yaml?sig=***': 'https://git.test/x.yaml?sig=***': HTTP Error",
        ],
    )?;
    refuse(
        &net,
        &options,
        "'file:///srv/repository'",
        &["'file:///srv/repository': repositories of the machine that builds are not read"],
    )?;
    let files = tree(&[("kustomization.yaml", "components: ['https://git.test/x.yaml']")])?;
    let error = Builder::new(&files, &options).fetch(&net).build("");
    let error = error.err().context("built")?.to_string();
    assert!(
        error.contains("'https://git.test/x.yaml': not a Git repository"),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_repository_is_never_left() -> Result<()> {
    let net = Net::default().repository(
        "https://git.test/org/app",
        &[
            ("file", MAP),
            ("out/kustomization.yaml", "resources: [../../x]"),
            ("up/kustomization.yaml", "resources: [../file]"),
            ("absolute/kustomization.yaml", "resources: [/file]"),
            ("missing/kustomization.yaml", "resources: [gone.yaml]"),
            ("empty/x", ""),
            ("self/kustomization.yaml", "resources: [../self]"),
            ("one/kustomization.yaml", "resources: ['https://git.test/org/app//two']"),
            ("two/kustomization.yaml", "resources: ['https://git.test/org/app//one']"),
        ],
    )?;
    // Files of the build's own tree may be anywhere; a repository's may not.
    let options = Options {
        load_restriction: LoadRestriction::None,
        ..Options::default()
    };
    let check = |directory: &str, words: &[&str]| {
        refuse(
            &net,
            &options,
            &format!("'https://git.test/org/app//{directory}'"),
            words,
        )
    };
    check(
        "out",
        &["must be within the repo, but base '../../x' is outside 'https://git.test/org/app'"],
    )?;
    check(
        "up",
        &["security; file 'file' is not in or below 'https://git.test/org/app//up'"],
    )?;
    check(
        "absolute",
        &["https://git.test/org/app//absolute", "'/file' cannot be absolute"],
    )?;
    check(
        "missing",
        &["https://git.test/org/app//missing", "'missing/gone.yaml' doesn't exist"],
    )?;
    check(
        "empty",
        &[
            "unable to find one of 'kustomization.yaml'",
            "'https://git.test/org/app//empty'",
        ],
    )?;
    check(
        "self",
        &["cycle detected: candidate root 'https://git.test/org/app//self'"],
    )?;
    check("file", &["refers to file 'file'; expecting directory"])?;
    check("gone", &["'https://git.test/org/app//gone': 'gone' doesn't exist"])?;
    check(
        "//../x",
        &["refers to directory outside of repo 'https://git.test/org/app'"],
    )?;
    check(
        "one",
        &[
            "cycle detected: URI 'https://git.test/org/app//one' referenced by previous URI 'https://git.test/org/app//one'",
        ],
    )
}

#[test]
fn a_problem_in_a_repository_names_its_file_and_line() -> Result<()> {
    let net = Net::default()
        .repository(
            "https://me:secret@git.test/org/app@v1",
            &[
                (
                    "base/kustomization.yaml",
                    "namePrefix: a-\nresources: [m.yaml]\npatches:\n- path: p.yaml\n",
                ),
                ("base/m.yaml", &format!("# first\n{MAP}")),
                (
                    "base/p.yaml",
                    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: gone}\n",
                ),
                ("field/kustomization.yaml", "resources: []\nnamePrefixes: b-\n"),
            ],
        )?
        .file("https://git.test/bad.yaml?token=secret", "a: b\nc: d: e\n");
    let check = |resource: &str, words: &[&str]| refuse(&net, &Options::default(), &format!("'{resource}'"), words);
    let base = "https://***@git.test/org/app@v1//base";
    check(
        "https://me:secret@git.test/org/app//base?ref=v1",
        &[
            &format!("{base}/p.yaml:1"),
            &format!("patches[0] of {base}/kustomization.yaml"),
        ],
    )?;
    check(
        "https://me:secret@git.test/org/app//field?ref=v1",
        &["https://***@git.test/org/app@v1//field/kustomization.yaml:2"],
    )?;
    check(
        "https://git.test/bad.yaml?token=secret",
        &[
            "(at https://git.test/bad.yaml?token=***:2",
            "resources[0] of kustomization.yaml",
        ],
    )
}

#[test]
fn no_more_is_fetched_than_allowed() -> Result<()> {
    let base: &[(&str, &str)] = &[("kustomization.yaml", "resources: [m.yaml]"), ("m.yaml", MAP)];
    let net = Net::default()
        .repository("https://git.test/org/a", base)?
        .repository("https://git.test/org/b", base)?
        .file("https://git.test/a.yaml", MAP)
        .file("https://git.test/b.yaml", &MAP.replace("name: m", "name: b"));
    let with = |limits: Limits| Options {
        limits,
        ..Options::default()
    };
    let one = with(Limits {
        repositories: 1,
        ..Limits::default()
    });
    assert_eq!(build(&net, &one, "'https://git.test/org/a'")?.objects.len(), 1);
    refuse(
        &net,
        &one,
        "'https://git.test/org/a', 'https://git.test/org/b'",
        &["more than 1 repositories fetched (at kustomization.yaml:1:39, resources[1])"],
    )?;
    let most = MAP.len() as u64;
    let bytes = |fetched_bytes: u64| {
        with(Limits {
            fetched_bytes,
            ..Limits::default()
        })
    };
    let both = "'https://git.test/a.yaml', 'https://git.test/b.yaml'";
    assert_eq!(build(&net, &bytes(2 * most), both)?.objects.len(), 2);
    refuse(
        &net,
        &bytes(2 * most - 1),
        both,
        &[&format!("'https://git.test/b.yaml': larger than {} bytes", most - 1)],
    )
}
