//! A server of artifacts that is not to be trusted: for the kustomize controller, which downloads what a source's
//! status points to. It serves bytes, lies about them, or never ends.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use sha2::{Digest, Sha256};

use crate::web::Server;

/// What is served at a path.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// This status.
    Status(u16),
    /// These bytes, but the connection is cut after so many of them.
    Cut(Vec<u8>, usize),
    /// These bytes after a wait.
    Slow(Vec<u8>, Duration),
    /// Random bytes without end (and without a length).
    Endless,
}

/// A server of artifacts on a free port.
#[derive(Debug)]
pub struct ArtifactServer {
    server: Server,
    state: Arc<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    content: Mutex<BTreeMap<String, Content>>,
    asked: Mutex<Vec<String>>,
}

impl ArtifactServer {
    /// Starts an empty server: every path is 404.
    pub fn start() -> Result<Self> {
        let state = Arc::new(Shelf::default());
        let server = Server::start(Router::new().fallback(answer).with_state(state.clone()))?;
        Ok(Self { server, state })
    }

    /// The address of a path, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// Serves this at the path from now on.
    pub fn serve(&self, path: &str, content: Content) {
        self.state
            .content
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.to_owned(), content);
    }

    /// The paths asked for so far, oldest first.
    pub fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes the port and every connection.
    pub fn down(&self) {
        self.server.down();
    }

    /// Listens again.
    pub fn up(&self) -> Result<()> {
        self.server.up()
    }
}

async fn answer(State(state): State<Arc<Shelf>>, uri: Uri) -> Response {
    let path = uri.path().to_owned();
    let content = state
        .content
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&path)
        .cloned();
    state.asked.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    match content {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(Content::Status(status)) => StatusCode::from_u16(status)
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            .into_response(),
        Some(Content::Bytes(bytes)) => bytes.into_response(),
        Some(Content::Slow(bytes, delay)) => {
            tokio::time::sleep(delay).await;
            bytes.into_response()
        }
        Some(Content::Cut(bytes, after)) => {
            let length = bytes.len();
            let start = Bytes::from(bytes).slice(..after.min(length));
            let cut = async {
                // What was given before is sent as soon as there is nothing more to give for once.
                tokio::task::yield_now().await;
                Err(std::io::Error::other("cut"))
            };
            let body = Body::from_stream(futures::stream::iter([Ok(start)]).chain(futures::stream::once(cut)));
            ([(header::CONTENT_LENGTH, length)], body).into_response()
        }
        Some(Content::Endless) => {
            let chunks = futures::stream::repeat_with(|| {
                let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(64 * 1024).collect();
                Ok::<_, Infallible>(Bytes::from(bytes))
            });
            Body::from_stream(chunks).into_response()
        }
    }
}

/// A tar.gz of regular files with fixed metadata. Paths are written as given, also those that lead out of the archive.
pub fn tar_gz(files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = TarGz::new();
    for (path, content) in files {
        archive.file(path, content)?;
    }
    archive.finish()
}

/// Builds a tar.gz with whatever a stranger could put into one.
pub struct TarGz {
    builder: tar::Builder<GzEncoder<Vec<u8>>>,
}

impl std::fmt::Debug for TarGz {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TarGz").finish_non_exhaustive()
    }
}

impl Default for TarGz {
    fn default() -> Self {
        Self::new()
    }
}

impl TarGz {
    /// An empty archive.
    pub fn new() -> Self {
        Self {
            builder: tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast())),
        }
    }

    /// Adds a file; the path is not checked.
    pub fn file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let header = header(path, tar::EntryType::Regular, content.len() as u64)?;
        Ok(self.builder.append(&header, content)?)
    }

    /// Adds a link of this type (`Symlink`, `Link`).
    pub fn link(&mut self, path: &str, target: &str, kind: tar::EntryType) -> Result<()> {
        let mut header = header(path, kind, 0)?;
        write_name(&mut header.as_old_mut().linkname, target)?;
        header.set_cksum();
        Ok(self.builder.append(&header, std::io::empty())?)
    }

    /// Adds a file of so many zero bytes, which compress to almost nothing.
    pub fn zeros(&mut self, path: &str, length: u64) -> Result<()> {
        let header = header(path, tar::EntryType::Regular, length)?;
        Ok(self.builder.append(&header, std::io::repeat(0).take(length))?)
    }

    /// The bytes of the archive.
    pub fn finish(self) -> Result<Vec<u8>> {
        let mut gzip = self.builder.into_inner()?;
        gzip.flush()?;
        Ok(gzip.finish()?)
    }
}

fn header(path: &str, kind: tar::EntryType, size: u64) -> Result<tar::Header> {
    let mut header = tar::Header::new_gnu();
    // The checked setter refuses the paths that hostile archives are about.
    write_name(&mut header.as_old_mut().name, path)?;
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(header)
}

fn write_name(field: &mut [u8], name: &str) -> Result<()> {
    let target = field
        .get_mut(..name.len())
        .ok_or_else(|| anyhow::anyhow!("{name} is too long for a tar header"))?;
    target.copy_from_slice(name.as_bytes());
    Ok(())
}

/// The digest of an artifact as a status has it, `sha256:HEX`.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn content_is_served_cut_or_refused_as_told() -> Result<()> {
        crate::use_ring();
        let server = ArtifactServer::start()?;
        let bytes = tar_gz(&[("a.yaml", b"a: 1\n"), ("../out", b"x")])?;
        server.serve("/good.tar.gz", Content::Bytes(bytes.clone()));
        server.serve("/cut.tar.gz", Content::Cut(bytes.clone(), 10));
        server.serve("/gone.tar.gz", Content::Status(410));
        let client = reqwest::Client::new();
        let get = |path: &str| client.get(server.url(path)).send();
        assert_eq!(get("/good.tar.gz").await?.bytes().await?, bytes);
        assert!(get("/cut.tar.gz").await?.bytes().await.is_err());
        assert_eq!(get("/gone.tar.gz").await?.status(), 410);
        assert_eq!(get("/other").await?.status(), 404);
        let mut endless = {
            server.serve("/e", Content::Endless);
            get("/e").await?
        };
        let mut length = 0;
        while length < 1 << 20 {
            length += endless.chunk().await?.map_or(0, |chunk| chunk.len());
        }
        Ok(())
    }

    #[test]
    fn an_archive_holds_what_was_put_in() -> Result<()> {
        let mut archive = TarGz::new();
        archive.file("../up", b"x")?;
        archive.link("l", "/etc/passwd", tar::EntryType::Symlink)?;
        archive.zeros("big", 1 << 20)?;
        let bytes = archive.finish()?;
        assert!(bytes.len() < 16 * 1024);
        let mut reader = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let names = reader
            .entries()?
            .map(|entry| Ok(String::from_utf8_lossy(&entry?.path_bytes()).into_owned()))
            .collect::<Result<Vec<_>>>()?;
        assert_eq!(names, ["../up", "l", "big"]);
        Ok(())
    }
}
