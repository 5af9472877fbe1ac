//! A place where things are signed: a Git repository, a GnuPG home and a folder for SSH keys of their own.

#![expect(clippy::disallowed_types, reason = "asks the real gpg, git and ssh-keygen")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use api::source::GitVerificationMode;
use jiff::Timestamp;
use source_controller::verify::{self, Signed, TagOf};

/// What makes and undoes itself with the workshop.
pub struct Workshop {
    dir: tempfile::TempDir,
}

/// An object of the repository.
#[derive(Clone)]
pub struct Object {
    pub id: String,
    pub raw: Vec<u8>,
}

impl Object {
    pub fn signed(&self) -> Signed<'_> {
        Signed {
            id: &self.id,
            raw: &self.raw,
        }
    }

    /// The object as somebody else would have it.
    pub fn with(&self, from: &str, to: &str) -> Self {
        let raw = String::from_utf8(self.raw.clone()).unwrap();
        assert!(raw.contains(from), "{from:?} is not in {raw}");
        Self {
            id: self.id.clone(),
            raw: raw.replacen(from, to, 1).into_bytes(),
        }
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let mut kill = self.command("gpgconf");
        let _ = kill.args(["--kill", "all"]).status();
    }
}

impl Workshop {
    /// With a repository of SHA-1.
    pub fn new() -> Self {
        Self::with_format("sha1")
    }

    /// With a repository of `sha1` or `sha256`.
    pub fn with_format(format: &str) -> Self {
        let shop = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for folder in ["repo", "gnupg", "ssh"] {
            std::fs::create_dir(shop.path(folder)).unwrap();
        }
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(shop.path("gnupg"), private).unwrap();
        shop.git(&["init", "--quiet", &format!("--object-format={format}")]);
        shop
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path("repo"))
            .env("GNUPGHOME", self.path("gnupg"))
            .env("HOME", self.dir.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }

    /// Runs a program that has to succeed, and returns what it writes.
    fn run(&self, program: &str, args: &[&str], input: &str) -> Vec<u8> {
        std::fs::write(self.path("input"), input).unwrap();
        let input = std::fs::File::open(self.path("input")).unwrap();
        let output = self.command(program).args(args).stdin(input).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {error}");
        output.stdout
    }

    // Git.

    pub fn git(&self, args: &[&str]) -> String {
        let who = ["-c", "user.name=Alice", "-c", "user.email=alice@example.com"];
        let output = self.run("git", &[&who, args].concat(), "");
        String::from_utf8(output).unwrap().trim().to_owned()
    }

    pub fn object(&self, kind: &str, name: &str) -> Object {
        Object {
            id: self.git(&["rev-parse", name]),
            raw: self.run("git", &["cat-file", kind, name], ""),
        }
    }

    /// Puts an object into the repository as it is.
    pub fn store(&self, kind: &str, raw: &str) -> Object {
        let id = self.run("git", &["hash-object", "-t", kind, "-w", "--stdin"], raw);
        Object {
            id: String::from_utf8(id).unwrap().trim().to_owned(),
            raw: raw.as_bytes().to_vec(),
        }
    }

    /// An empty commit; `sign` are the settings to sign it with.
    pub fn commit(&self, sign: &[&str]) -> Object {
        let how: &[&str] = if sign.is_empty() { &[] } else { &["-S"] };
        let commit = ["commit", "--quiet", "--allow-empty", "-m", "subject\n\nbody\n"];
        self.git(&[sign, &commit, how].concat());
        self.object("commit", "HEAD")
    }

    /// An annotated tag of `HEAD`; `sign` are the settings to sign it with.
    pub fn tag(&self, name: &str, sign: &[&str]) -> Object {
        let how = if sign.is_empty() { "-a" } else { "-s" };
        self.git(&[sign, &["tag", how, "-m", "release", name]].concat());
        self.object("tag", name)
    }

    /// What Git says of a commit's signature: `G` is a good one.
    pub fn judgement(&self, commit: &Object) -> String {
        self.git(&["log", "-1", "--format=%G?", &commit.id])
    }

    // GnuPG.

    pub fn gpg(&self, args: &[&str]) -> Vec<u8> {
        self.gpg_with(args, "")
    }

    fn gpg_with(&self, args: &[&str], input: &str) -> Vec<u8> {
        let quiet = [
            "--batch",
            "--quiet",
            "--no-tty",
            "--yes",
            "--pinentry-mode=loopback",
            "--passphrase=",
        ];
        self.run("gpg", &[&quiet, args].concat(), input)
    }

    /// Answers gpg's questions about a key, one per line.
    pub fn edit_key(&self, key: &str, answers: &str) {
        let edit = ["--no-batch", "--expert", "--command-fd=0", "--edit-key", key];
        self.gpg_with(&edit, answers);
    }

    /// What gpg has as settings whenever it runs, so also when Git runs it.
    pub fn gpg_settings(&self, settings: &str) {
        std::fs::write(self.path("gnupg").join("gpg.conf"), settings).unwrap();
    }

    /// A key without subkeys. Returns its fingerprint.
    pub fn gpg_key(&self, name: &str, algorithm: &str) -> String {
        self.gpg_key_for(name, algorithm, "cert,sign", "never")
    }

    pub fn gpg_key_for(&self, name: &str, algorithm: &str, usage: &str, expire: &str) -> String {
        let user = format!("{name} <{name}@example.com>");
        self.gpg(&["--quick-generate-key", &user, algorithm, usage, expire]);
        self.fingerprints(&format!("{name}@example.com")).remove(0)
    }

    /// A further subkey. Returns its fingerprint.
    pub fn gpg_subkey(&self, key: &str, algorithm: &str, usage: &str, expire: &str) -> String {
        self.gpg(&["--quick-add-key", key, algorithm, usage, expire]);
        self.fingerprints(key).pop().unwrap()
    }

    /// Of a key and its subkeys.
    fn fingerprints(&self, key: &str) -> Vec<String> {
        let listing = self.gpg(&["--with-colons", "--with-subkey-fingerprint", "--list-keys", key]);
        let listing = String::from_utf8(listing).unwrap();
        let lines = listing.lines().filter_map(|line| line.strip_prefix("fpr:"));
        lines.map(|line| line.split(':').nth(8).unwrap().to_owned()).collect()
    }

    /// The public keys in their armor.
    pub fn gpg_export(&self, keys: &[&str]) -> Vec<u8> {
        self.gpg(&[&["--armor", "--export"], keys].concat())
    }

    // SSH.

    /// A key. Returns the path of its private part.
    pub fn ssh_key(&self, name: &str, kind: &[&str]) -> String {
        let file = self.path("ssh").join(name);
        let file = file.to_str().unwrap();
        self.run(
            "ssh-keygen",
            &[&["-q", "-N", "", "-C", name, "-f", file, "-t"], kind].concat(),
            "",
        );
        file.to_owned()
    }

    /// Its fingerprint, as ssh-keygen tells it.
    pub fn ssh_fingerprint(&self, file: &str) -> String {
        let line = self.run("ssh-keygen", &["-l", "-E", "sha256", "-f", &format!("{file}.pub")], "");
        let line = String::from_utf8(line).unwrap();
        line.split(' ').nth(1).unwrap().to_owned()
    }

    /// The armored signature of some bytes.
    pub fn ssh_sign(&self, file: &str, payload: &[u8], options: &[&str]) -> Vec<u8> {
        let payload = String::from_utf8(payload.to_vec()).unwrap();
        self.run(
            "ssh-keygen",
            &[&["-q", "-Y", "sign", "-f", file], options].concat(),
            &payload,
        )
    }
}

/// The settings to sign with an OpenPGP key.
pub fn by_gpg(key: &str) -> Vec<String> {
    settings(&["gpg.format=openpgp", &format!("user.signingKey={key}!")])
}

/// The settings to sign with an SSH key.
pub fn by_ssh(file: &str) -> Vec<String> {
    settings(&["gpg.format=ssh", &format!("user.signingKey={file}")])
}

fn settings(settings: &[&str]) -> Vec<String> {
    settings
        .iter()
        .flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()])
        .collect()
}

/// As a slice of slices, which is what everything here takes.
pub fn slices(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// The entries of a Secret.
pub fn secret(entries: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    let entries = entries
        .iter()
        .map(|(name, content)| ((*name).to_owned(), content.to_vec()));
    entries.collect()
}

/// The content of a public key's file.
pub fn public(file: &str) -> Vec<u8> {
    std::fs::read(Path::new(&format!("{file}.pub"))).unwrap()
}

/// What is said of a commit, or of a commit and its tag.
pub fn verify(
    mode: GitVerificationMode,
    keys: &BTreeMap<String, Vec<u8>>,
    commit: &Object,
    tag: Option<(&str, Option<&Object>)>,
    now: Timestamp,
) -> Result<String, verify::Error> {
    let tag = tag.map(|(name, object)| TagOf {
        name,
        object: object.map(Object::signed),
    });
    verify::verify(mode, keys, commit.signed(), tag, now).map(|verified| verified.message())
}

/// As Flux shows an OpenPGP key: the last 16 digits of its fingerprint.
pub fn id(fingerprint: &str) -> &str {
    &fingerprint[fingerprint.len() - 16..]
}
