//! `kustomize-build DIR` prints what `kustomize build DIR` prints. Errors go to standard error with exit status 1, and then
//! nothing is on standard output.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use kustomize::{DirFiles, LoadRestriction, Options, Reorder};

/// Builds a kustomization and prints the objects.
#[derive(Parser)]
#[command(name = "kustomize-build", version)]
struct Arguments {
    /// The directory of the kustomization.
    #[arg(default_value = ".")]
    directory: PathBuf,

    /// Write to this file instead of standard output.
    #[arg(short, long)]
    output: Option<PathBuf>,

    /// Which files may be read: those in or below a kustomization's directory, or all.
    #[arg(long, value_enum, default_value_t = Restrictor::RootOnly)]
    load_restrictor: Restrictor,

    /// The order of the objects when the kustomization has no sortOptions.
    #[arg(long, value_enum, default_value_t = Order::Legacy)]
    reorder: Order,

    /// Label every object with what built it.
    #[arg(long)]
    enable_managedby_label: bool,

    /// Not supported: Helm charts are not rendered.
    #[arg(long, hide = true)]
    enable_helm: bool,

    /// Not supported: only the plugins built into kustomize run.
    #[arg(long, hide = true)]
    enable_alpha_plugins: bool,

    /// Not supported: only the plugins built into kustomize run.
    #[arg(long, hide = true)]
    enable_exec: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Restrictor {
    #[value(name = "LoadRestrictionsRootOnly")]
    RootOnly,
    #[value(name = "LoadRestrictionsNone")]
    None,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    Legacy,
    None,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let refused = [
        (arguments.enable_helm, "--enable-helm"),
        (arguments.enable_alpha_plugins, "--enable-alpha-plugins"),
        (arguments.enable_exec, "--enable-exec"),
    ];
    if let Some((_, flag)) = refused.iter().find(|(given, _)| *given) {
        return Err(format!("{flag}: not supported yet"));
    }
    let options = Options {
        load_restriction: match arguments.load_restrictor {
            Restrictor::RootOnly => LoadRestriction::RootOnly,
            Restrictor::None => LoadRestriction::None,
        },
        reorder: match arguments.reorder {
            Order::Legacy => Reorder::Legacy,
            Order::None => Reorder::None,
        },
        managed_by_label: arguments.enable_managedby_label,
        ..Options::default()
    };
    let (files, dir) = open(&arguments.directory)?;
    let objects = kustomize::build(&files, &dir, &options).map_err(|error| error.to_string())?;
    let text = yaml::to_string_all(objects.iter().map(|built| &built.object));
    match &arguments.output {
        Some(path) => std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display())),
        None => std::io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| error.to_string()),
    }
}

/// The whole file system, since bases may be anywhere, and the directory's path in it.
fn open(directory: &Path) -> Result<(DirFiles, String), String> {
    let fail = |error: std::io::Error| format!("{}: {error}", directory.display());
    let absolute = directory.canonicalize().map_err(fail)?;
    let root = cap_std::fs::Dir::open_ambient_dir("/", cap_std::ambient_authority()).map_err(fail)?;
    let path = absolute
        .to_str()
        .ok_or_else(|| format!("{}: the path is not UTF-8", directory.display()))?;
    Ok((DirFiles::new(root), path.trim_start_matches('/').to_owned()))
}
