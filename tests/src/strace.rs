//! A program under `strace`: which system calls it makes on which files, thread by thread and in order, and what it
//! does when one of them fails.
//!
//! The traced program stays what the harness started, with its process id and its signals; the tracer is a process
//! beside it that ends with it. A machine where nobody may trace is an error, never a trace without calls.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What writes, flushes, renames and makes directories. A question mark stands before what not every processor has.
const CALLS: &str = "trace=write,writev,pwrite64,pwritev,ftruncate,fallocate,copy_file_range,sendfile,fsync,fdatasync,\
                     sync_file_range,?rename,renameat,renameat2,?mkdir,mkdirat";
/// What the names of the traces begin with; the number of the thread comes behind.
const TRACE: &str = "trace.";

/// A completed system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its arguments as they are printed: descriptors as `12</path>`, names in quotes, contents left out.
    pub arguments: String,
    /// What it returned as it is printed, as `0` or `-1 EIO (Input/output error)`.
    pub result: String,
}

impl Call {
    /// The path of the file that its first descriptor stands for.
    pub fn path(&self) -> Option<&str> {
        let (number, rest) = self.arguments.split_once('<')?;
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then_some(rest.split_once('>')?.0)
    }
}

/// Makes a folder below `dir` where the program `name` of `bin_dir` lies as one that runs under `strace`; `rules` are
/// more of its options (`--inject=…`). The traces are written to `dir`.
///
/// # Errors
/// `strace` is not installed, or must not trace here.
pub fn wrap(bin_dir: &Path, name: &str, dir: &Path, rules: &[&str]) -> Result<PathBuf> {
    may_trace()?;
    let bin = dir.join("traced");
    fs::create_dir_all(&bin)?;
    let script = format!(
        "#!/bin/sh\nexec strace -D -ff --seccomp-bpf -y -s 0 -e '{CALLS}' -e signal=none {} -o '{}' '{}' \"$@\"\n",
        rules.join(" "),
        dir.join(TRACE.trim_end_matches('.')).display(),
        bin_dir.join(name).display(),
    );
    let file = bin.join(name);
    fs::write(&file, script)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(bin)
}

/// One clear line where `strace` is missing, or is not let.
fn may_trace() -> Result<()> {
    let mut command = Command::new("strace");
    let tried = command
        .args(["-f", "--seccomp-bpf", "-qq", "-e", "trace=none", "true"])
        .stdin(Stdio::null());
    let output = match tried.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("strace is not installed; install your system's package strace")
        }
        output => output.context("cannot start strace")?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "strace must not trace here ({}); in a container, allow it the system call ptrace (--cap-add SYS_PTRACE)",
            said.trim().lines().last().unwrap_or_default()
        );
    }
    Ok(())
}

/// The calls that the traces in `dir` hold so far, by thread.
pub fn calls(dir: &Path) -> Result<Vec<Vec<Call>>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TRACE) {
            // Names of files need not be text.
            let text = fs::read(entry.path())?;
            threads.push(String::from_utf8_lossy(&text).lines().filter_map(parse).collect());
        }
    }
    Ok(threads)
}

/// Reads `name(arguments) = result`. What is no call, and what has not returned yet, says nothing.
fn parse(line: &str) -> Option<Call> {
    let (call, result) = line.rsplit_once(" = ")?;
    let (name, arguments) = call.trim_end().strip_suffix(')')?.split_once('(')?;
    Some(Call {
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        result: result.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(&str, Option<&str>, &str)>) {
        let call = parse(line);
        let found = call.as_ref().map(|call| (&*call.name, call.path(), &*call.result));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn a_call_has_a_name_a_path_and_a_result() {
        check("fsync(12</a/b (c)>) = 0", Some(("fsync", Some("/a/b (c)"), "0")));
        check(
            "write(12</a/b>, \"\"..., 65536)        = 65536",
            Some(("write", Some("/a/b"), "65536")),
        );
        check(
            "fsync(7</a>) = -1 EIO (Input/output error) (INJECTED)",
            Some(("fsync", Some("/a"), "-1 EIO (Input/output error) (INJECTED)")),
        );
        check("mkdir(\"/a\", 0700) = 0", Some(("mkdir", None, "0")));
        check("write(12</a/b>, \"\"..., 65536", None);
        check("+++ exited with 0 +++", None);
    }

    #[test]
    fn what_a_program_does_is_found_in_its_order() -> Result<()> {
        let dir = tempfile::tempdir()?;
        fs::create_dir(dir.path().join("real"))?;
        let real = dir.path().join("real/program");
        fs::write(&real, "#!/bin/sh\necho 1 > \"$1/a\"\nmv \"$1/a\" \"$1/b\"\n")?;
        fs::set_permissions(&real, fs::Permissions::from_mode(0o755))?;
        let bin = wrap(&dir.path().join("real"), "program", dir.path(), &[])?;
        let status = Command::new(bin.join("program")).arg(dir.path()).status()?;
        assert!(status.success());
        let written = format!("{}/a", dir.path().display());
        let all = calls(dir.path())?;
        let mut flat = all.iter().flatten();
        assert!(
            flat.clone()
                .any(|call| call.name == "write" && call.path() == Some(&written)),
            "{all:?}"
        );
        assert!(
            flat.any(|call| call.name.starts_with("rename") && call.arguments.contains("/a\"")),
            "{all:?}"
        );
        Ok(())
    }
}
