//! Where the objects go: standard output, a file, or a file for each in a directory.
//!
//! Nothing is written before everything is known to be writable in principle: names that two objects share, or that would
//! lead out of the directory, are errors. What they are called is kustomize's way.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use cap_std::fs::Dir;
use kustomize::{BuiltObject, Objects, file_names};
use serde_json::Value;

/// How many bytes are written at once.
const BUFFER: usize = 1 << 16;

/// Writes the objects to `path`, to standard output if that is empty.
///
/// # Errors
/// What cannot be written, and why.
pub(crate) fn write(objects: Objects, path: &OsStr) -> Result<(), String> {
    let path = Path::new(path);
    if path.is_dir() {
        return write_each(&objects.collect::<Vec<_>>(), path);
    }
    if path.as_os_str().is_empty() {
        let written = write_all(objects, std::io::stdout().lock());
        return written.map_err(|error| format!("standard output: {error}"));
    }
    let written = File::create(path).and_then(|file| write_all(objects, file));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes one object after the other, so that only one at a time is there as text.
fn write_all(objects: Objects, out: impl Write) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, out);
    for (at, built) in objects.enumerate() {
        if at > 0 {
            out.write_all(b"---\n")?;
        }
        out.write_all(yaml::to_string(&built.object).as_bytes())?;
    }
    out.flush()
}

fn write_each(objects: &[BuiltObject], path: &Path) -> Result<(), String> {
    let names = file_names(objects);
    check(objects, &names)?;
    let fail = |name: &str, error: std::io::Error| format!("{}: {error}", path.join(name).display());
    let dir = Dir::open_ambient_dir(path, cap_std::ambient_authority()).map_err(|error| fail("", error))?;
    for (built, name) in objects.iter().zip(&names) {
        dir.write(name, yaml::to_string(&built.object))
            .map_err(|error| fail(name, error))?;
    }
    Ok(())
}

fn check(objects: &[BuiltObject], names: &[String]) -> Result<(), String> {
    let mut seen: BTreeMap<&str, &BuiltObject> = BTreeMap::new();
    for (built, name) in objects.iter().zip(names) {
        if name.contains('/') {
            return Err(format!(
                "{}: '{name}' is no name of a file: write to a file instead of a directory",
                title(built)
            ));
        }
        if let Some(other) = seen.insert(name, built) {
            return Err(format!(
                "{} and {} would both be written to '{name}': write to a file instead of a directory",
                title(other),
                title(built)
            ));
        }
    }
    Ok(())
}

fn title(built: &BuiltObject) -> String {
    let text = |pointer: &str| built.object.pointer(pointer).and_then(Value::as_str);
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    format!("{} '{}'", kind.unwrap_or("object"), name.unwrap_or_default())
}
