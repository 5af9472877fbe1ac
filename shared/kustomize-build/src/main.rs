//! `kustomize-build DIR|URL` prints what `kustomize build DIR|URL` prints.
//!
//! The exit code is kustomize's: 1 for every error, and then nothing is on standard output. Nothing of kustomize's other
//! commands is here.

mod account;
mod arguments;
mod command_line;
mod network;
mod output;
mod refused;
mod ssh;

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use cap_std::fs::Dir;
use kustomize::{Builder, DirFiles, Fetch, Files, MemoryFiles};

use account::{Account, ToldFetch, ToldFiles};
use arguments::Arguments;
use network::Network;

fn main() -> ExitCode {
    let arguments = match Arguments::of_process() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    for notice in &arguments.notices {
        eprintln!("{notice}");
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let (files, dir) = open(&arguments.target)?;
    let network = Network::new(&arguments.remote);
    if !arguments.verbose {
        return build(arguments, &*files, &dir, &network).map(drop);
    }
    let account = Account::open();
    let files = ToldFiles::new(files, "/".to_owned(), Rc::clone(&account));
    let network = ToldFetch::new(&network, Rc::clone(&account));
    let objects = build(arguments, &files, &dir, &network)?;
    account.close(objects);
    Ok(())
}

/// Builds and writes. Returns how many objects there were.
fn build(arguments: &Arguments, files: &dyn Files, dir: &str, network: &dyn Fetch) -> Result<usize, String> {
    let options = arguments.options();
    let mut builder = Builder::new(files, &options);
    if !arguments.remote.no_remote_bases {
        builder = builder.fetch(network);
    }
    let objects = builder.objects(dir).map_err(|error| error.to_string())?;
    for warning in &objects.warnings {
        eprintln!("{warning}");
    }
    let count = objects.len();
    output::write(objects, &arguments.output)?;
    Ok(count)
}

/// The files to build from, and what to build in them: for a directory the whole file system, since bases may be anywhere;
/// for a URL nothing.
fn open(target: &str) -> Result<(Rc<dyn Files>, String), String> {
    if kustomize::is_remote(target) {
        return Ok((Rc::new(MemoryFiles::default()), target.to_owned()));
    }
    let fail = |reason: &dyn Display| format!("must build at directory: '{target}': {reason}");
    if target.is_empty() {
        return Err(fail(&"the path is empty"));
    }
    let directory = Path::new(target).canonicalize().map_err(|error| fail(&error))?;
    if !directory.is_dir() {
        return Err(fail(&"not a directory"));
    }
    let path = directory.to_str().ok_or_else(|| fail(&"the path is not UTF-8"))?;
    let root = Dir::open_ambient_dir("/", cap_std::ambient_authority()).map_err(|error| fail(&error))?;
    Ok((Rc::new(DirFiles::new(root)), path.to_owned()))
}
