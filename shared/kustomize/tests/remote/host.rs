//! Git repositories and an HTTP server for the real kustomize, made from the folders of a case.

#![expect(clippy::disallowed_types, reason = "asks the real kustomize and git")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{HOSTS, WEB};

/// What kustomize prints for a case.
pub fn expected(kustomize: &str, case: &Path, root: &str) -> Result<Vec<u8>> {
    let git = tempfile::tempdir()?;
    for entry in std::fs::read_dir(case.join("repos"))? {
        let entry = entry?;
        let bare = git.path().join(entry.file_name()).with_extension("git");
        make_repository(&entry.path(), &bare)?;
    }
    let web = case.join("web");
    let proxy = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", proxy.local_addr()?);
    std::thread::spawn(move || {
        for stream in proxy.incoming() {
            // A client that goes away says so in what kustomize prints.
            drop(stream.map(|stream| answer(stream, &web)));
        }
    });
    let mut command = Command::new(kustomize);
    command
        .arg("build")
        .arg(if root == "in" { case.join("in") } else { root.into() })
        .env("HTTP_PROXY", &address)
        .env("HTTPS_PROXY", &address)
        .env("GIT_CONFIG_COUNT", HOSTS.len().to_string());
    for (at, host) in HOSTS.iter().enumerate() {
        command
            .env(
                format!("GIT_CONFIG_KEY_{at}"),
                format!("url.file://{}/.insteadOf", git.path().display()),
            )
            .env(format!("GIT_CONFIG_VALUE_{at}"), host);
    }
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "{}: {}",
        case.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// A bare repository with a commit for every directory, which is a branch, or the HEAD.
fn make_repository(directory: &Path, bare: &Path) -> Result<()> {
    let run = |tree: &Path, arguments: &[&str]| -> Result<String> {
        let mut command = Command::new("git");
        command
            .arg("--git-dir")
            .arg(bare)
            .arg("--work-tree")
            .arg(tree)
            .args(arguments);
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), "nobody")
                .env(format!("GIT_{who}_EMAIL"), "nobody@git.test")
                .env(format!("GIT_{who}_DATE"), "2020-01-01T00:00:00Z");
        }
        let output = command.current_dir(tree).output()?;
        ensure!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    let init = Command::new("git")
        .args(["init", "--quiet", "--bare", "--initial-branch=trunk"])
        .arg(bare)
        .status()?;
    ensure!(init.success(), "git init {}", bare.display());
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().replace("%2F", "/");
        let branch = if name == "HEAD" { "trunk" } else { &name };
        let tree = entry.path();
        run(&tree, &["add", "--all", "--force", "."])?;
        let written = run(&tree, &["write-tree"])?;
        let commit = run(&tree, &["commit-tree", "-m", &name, &written])?;
        run(&tree, &["update-ref", &format!("refs/heads/{branch}"), &commit])?;
    }
    Ok(())
}

/// Answers one request to the proxy: a file of the directory, or that there is none.
fn answer(mut stream: TcpStream, web: &Path) -> Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?.take(1 << 16)).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let url = request.split(' ').nth(1).unwrap_or_default();
    let path = url.strip_prefix(WEB).and_then(|path| path.split('?').next());
    match path.map(|path| std::fs::read(web.join(path))) {
        Some(Ok(content)) => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                content.len()
            )?;
            stream.write_all(&content)?;
        }
        _ => write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )?,
    }
    Ok(())
}
