//! Calls of the program in a folder of their own.

#![expect(clippy::disallowed_types, reason = "runs the program")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A folder that goes away with this value, and a place in it to call from.
pub struct Folder {
    _temporary: Option<TempDir>,
    path: PathBuf,
}

/// How a call ended.
#[derive(Debug)]
pub struct Call {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Call {
    /// Asserts all of it.
    #[track_caller]
    pub fn is(&self, code: i32, out: &str, err: &str) {
        assert_eq!((self.code, self.out.as_str(), self.err.as_str()), (code, out, err));
    }
}

impl Folder {
    /// An empty folder.
    pub fn new() -> Result<Self> {
        let temporary = tempfile::tempdir()?;
        let path = temporary.path().canonicalize()?;
        Ok(Self {
            _temporary: Some(temporary),
            path,
        })
    }

    /// A folder in it, for as long as this one is there.
    pub fn below(&self, name: &str) -> Folder {
        Folder {
            _temporary: None,
            path: self.path.join(name),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, with the folders it needs.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        Ok(fs::write(path, content)?)
    }

    /// The content of a file.
    pub fn read(&self, path: &str) -> Result<String> {
        Ok(fs::read_to_string(self.path.join(path))?)
    }

    /// The names in a folder, sorted.
    pub fn names(&self, path: &str) -> Result<Vec<String>> {
        let entries = fs::read_dir(self.path.join(path))?;
        let mut names = entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    /// Calls the program here.
    pub fn call(&self, arguments: &[&str]) -> Result<Call> {
        self.call_with(arguments, &[])
    }

    /// Calls the program with environment variables of its own.
    pub fn call_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Call> {
        let output = Command::new(env!("CARGO_BIN_EXE_kustomize-build"))
            .args(arguments)
            .current_dir(&self.path)
            .env_remove("KUSTOMIZE_ENABLE_MANAGEDBY_LABEL")
            .env("NO_PROXY", "127.0.0.1,localhost")
            .envs(environment.iter().copied())
            .output()?;
        Ok(Call {
            code: output.status.code().context("killed")?,
            out: String::from_utf8(output.stdout)?,
            err: String::from_utf8(output.stderr)?,
        })
    }

    /// Asserts that a call prints this and succeeds.
    #[track_caller]
    pub fn prints(&self, arguments: &[&str], expected: &str) -> Result<()> {
        self.call(arguments)?.is(0, expected, "");
        Ok(())
    }

    /// Asserts that a call fails with this error and prints nothing.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str], expected: &str) -> Result<()> {
        self.call(arguments)?.is(1, "", expected);
        Ok(())
    }
}
