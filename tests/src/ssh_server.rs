//! A Git server over ssh: the real `sshd` on a loopback port, for repositories made and changed by the real git (see
//! [`crate::repo`]). It runs as the user who runs the tests, who is also the one that logs in.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::port;
use crate::process::{Process, Spec};
use crate::repo::{self, Repo};
use crate::wait;

/// How long `sshd` may take to listen.
const START: Duration = Duration::from_secs(20);
/// Where `sshd` keeps nothing, but wants to be able to when root starts it.
const PRIVILEGE_SEPARATION: &str = "/run/sshd";
/// The kinds of keys the server has of its own, as `ssh-keygen` calls them.
const HOST_KEYS: [&str; 2] = ["ed25519", "ecdsa"];

/// How a server differs from the usual one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Lines of `sshd_config` that count before the usual ones.
    pub config: Vec<String>,
    /// The kinds of its own keys (`ed25519`, `ecdsa-384`, `rsa-2048`); none means the usual two, `ed25519` and `ecdsa`.
    pub host_keys: Vec<String>,
    /// Whether the server's ed25519 key has a certificate for 127.0.0.1, see [`SshServer::authority`].
    pub certificate: bool,
}

/// A Git server over ssh on a free port. Ends with this value; its repositories go with it.
#[derive(Debug)]
pub struct SshServer {
    root: TempDir,
    port: u16,
    user: String,
    host_keys: Vec<String>,
    process: Process,
}

impl SshServer {
    /// Starts a server that takes keys and speaks the newest Git protocol.
    pub fn start() -> Result<Self> {
        Self::start_with(&Options::default())
    }

    /// Starts a server that differs.
    pub fn start_with(options: &Options) -> Result<Self> {
        repo::require_git()?;
        let program = program()?;
        let root = tempfile::Builder::new().prefix("ssh-server-").tempdir()?;
        let at = root.path();
        let host_keys = match options.host_keys.as_slice() {
            [] => HOST_KEYS.map(str::to_owned).to_vec(),
            kinds => kinds.to_vec(),
        };
        for kind in &host_keys {
            let (file, (kind, bits)) = (format!("host-{kind}"), kind_and_bits(kind));
            let mut arguments = vec!["-q", "-t", kind, "-N", "", "-C", "", "-f", &file];
            arguments.extend(bits.iter().flat_map(|bits| ["-b", bits]));
            keygen(at, &arguments)?;
        }
        let mut lines = options.config.clone();
        if options.certificate {
            keygen(at, &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "authority"])?;
            let certify = [
                "-q",
                "-s",
                "authority",
                "-I",
                "host",
                "-h",
                "-n",
                "127.0.0.1",
                "host-ed25519.pub",
            ];
            keygen(at, &certify)?;
            lines.push(format!(
                "HostCertificate {}",
                at.join("host-ed25519-cert.pub").display()
            ));
        }
        fs::write(at.join("authorized_keys"), "")?;
        let port = port::free()?;
        let key = |kind: &String| format!("HostKey {}", at.join(format!("host-{kind}")).display());
        lines.extend(host_keys.iter().map(key));
        lines.extend([
            format!("Port {port}"),
            "ListenAddress 127.0.0.1".to_owned(),
            format!("AuthorizedKeysFile {}", at.join("authorized_keys").display()),
            // The directory for temporary files is open to everybody.
            "StrictModes no".to_owned(),
            "UsePAM no".to_owned(),
            "PermitRootLogin yes".to_owned(),
            "PasswordAuthentication no".to_owned(),
            "KbdInteractiveAuthentication no".to_owned(),
            "PidFile none".to_owned(),
            "UseDNS no".to_owned(),
        ]);
        if !options.config.iter().any(|line| line.starts_with("AcceptEnv")) {
            lines.push("AcceptEnv GIT_PROTOCOL".to_owned());
        }
        fs::write(at.join("sshd_config"), lines.join("\n") + "\n")?;
        let user = output(Command::new("id").arg("-un"))?;
        if user == "root" {
            fs::create_dir_all(PRIVILEGE_SEPARATION)?;
        }
        let process = Process::spawn(&Spec {
            name: "sshd".to_owned(),
            program,
            args: ["-D", "-e", "-f", "sshd_config"].map(Into::into).to_vec(),
            env: Vec::new(),
            dir: at.to_owned(),
            log: at.join("log"),
        })?;
        let server = Self {
            root,
            port,
            user,
            host_keys,
            process,
        };
        server.await_listening()?;
        Ok(server)
    }

    fn await_listening(&self) -> Result<()> {
        wait::blocking(START, "sshd to listen", || {
            self.process.must_run()?;
            Ok(TcpStream::connect(("127.0.0.1", self.port)).ok().map(drop))
        })
    }

    /// Makes an empty repository with a working copy to commit from.
    pub fn create(&self, name: &str) -> Result<Repo> {
        Repo::create(self.root.path(), name, self.repository_url(name))
    }

    /// The address of a repository.
    pub fn repository_url(&self, name: &str) -> String {
        let path = self.root.path().join(name);
        format!("ssh://{}@127.0.0.1:{}{}.git", self.user, self.port, path.display())
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new private key of a kind (`ed25519`, `ecdsa-384`, `rsa-2048`) that may log in; encrypted unless the passphrase is empty.
    pub fn authorize(&self, kind: &str, passphrase: &str) -> Result<String> {
        let (private, public) = new_key(kind, passphrase, &[])?;
        let mut file = fs::File::options()
            .append(true)
            .open(self.root.path().join("authorized_keys"))?;
        writeln!(file, "{public}")?;
        Ok(private)
    }

    /// What `known_hosts` has to say for the server to be known by all its keys.
    pub fn known_hosts(&self) -> Result<String> {
        let lines = self.host_keys.iter().map(|kind| self.known_host(kind));
        Ok(lines.collect::<Result<Vec<_>>>()?.join(""))
    }

    /// The line of `known_hosts` for one of its keys.
    pub fn known_host(&self, kind: &str) -> Result<String> {
        Ok(format!("[127.0.0.1]:{} {}\n", self.port, self.host_key(kind)?))
    }

    /// The public half of one of its keys.
    pub fn host_key(&self, kind: &str) -> Result<String> {
        self.read(&format!("host-{kind}.pub"))
    }

    /// The public key that signed the server's certificate, where it has one.
    pub fn authority(&self) -> Result<String> {
        self.read("authority.pub")
    }

    /// What `sshd` said.
    pub fn log(&self) -> Result<String> {
        self.read("log")
    }

    fn read(&self, name: &str) -> Result<String> {
        let file = self.root.path().join(name);
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(text.trim_end().to_owned())
    }
}

/// The halves of a new key, private and public; `arguments` go to `ssh-keygen` besides.
pub fn new_key(kind: &str, passphrase: &str, arguments: &[&str]) -> Result<(String, String)> {
    let directory = tempfile::Builder::new().prefix("ssh-key-").tempdir()?;
    let (kind, bits) = kind_and_bits(kind);
    let mut all = vec!["-q", "-t", kind, "-N", passphrase, "-C", "", "-f", "key"];
    all.extend(bits.iter().flat_map(|bits| ["-b", bits]));
    all.extend(arguments);
    keygen(directory.path(), &all)?;
    let read = |name| fs::read_to_string(directory.path().join(name));
    Ok((read("key")?, read("key.pub")?.trim_end().to_owned()))
}

fn kind_and_bits(kind: &str) -> (&str, Option<&str>) {
    kind.split_once('-')
        .map_or((kind, None), |(kind, bits)| (kind, Some(bits)))
}

/// A `known_hosts` file with its hosts hashed.
pub fn hashed(known_hosts: &str) -> Result<String> {
    let directory = tempfile::Builder::new().prefix("ssh-hosts-").tempdir()?;
    let file = directory.path().join("known_hosts");
    fs::write(&file, known_hosts)?;
    keygen(directory.path(), &["-q", "-H", "-f", "known_hosts"])?;
    Ok(fs::read_to_string(file)?)
}

fn keygen(directory: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("ssh-keygen");
    output(command.args(arguments).current_dir(directory)).map(|_| ())
}

fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output();
    let output =
        output.with_context(|| format!("cannot start {program}; install your system's package openssh-client"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// `sshd` wants to be started by its full path, which is not among those of everybody.
fn program() -> Result<PathBuf> {
    let places = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];
    let found = places.iter().map(PathBuf::from).find(|place| place.is_file());
    found.context("sshd is not installed; install your system's package openssh-server")
}
