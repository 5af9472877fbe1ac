//! `cluster [--dir DIR]` starts a control plane with the project's CRDs and keeps it until its standard input ends, or
//! until SIGINT or SIGTERM. The first line of its output is the working directory, which tests take in
//! `SLUICE_CONTROL_PLANE`; the kubeconfig is in there.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use tests::checkout::WorkDir;
use tests::cluster::Cluster;
use tokio::signal::unix::{SignalKind, signal};

/// Starts a control plane with the project's CRDs and keeps it until standard input ends
#[derive(Debug, Parser)]
struct Args {
    /// Working directory, kept afterwards; a new one below .sluice/ otherwise
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let dir = match Args::parse().dir {
        Some(dir) => WorkDir::fixed(std::path::absolute(dir)?)?,
        None => WorkDir::create("test", "control-plane")?,
    };
    let path = dir.path().to_path_buf();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let end = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = end_of_input() => {}
        }
    };
    let run = async {
        let cluster = Cluster::own_in(dir).await?;
        println!("{}", path.display());
        eprintln!("KUBECONFIG={}", cluster.kubeconfig().display());
        std::future::pending::<()>().await;
        drop(cluster);
        anyhow::Ok(())
    };
    tokio::select! {
        result = run => result,
        () = end => Ok(()),
    }
}

/// Reads in a thread of its own, which does not hold up the end of the process.
async fn end_of_input() {
    let (sender, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = sender.send(());
    });
    let _ = end.await;
}
