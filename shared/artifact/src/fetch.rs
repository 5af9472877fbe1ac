//! Downloads an artifact over HTTP: one attempt, its digest checked while it streams to a temporary file.
//!
//! One attempt, because waiting belongs to the caller: an [`Error`] says whether another try can help
//! ([`Error::Retryable`]), whether the artifact is simply not there yet ([`Error::NotFound`]), or neither
//! ([`Error::Fatal`]). The client is the caller's too, with its time limits and TLS settings; it must not decompress
//! transparently, since the digest is that of the bytes as sent.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use reqwest::StatusCode;
use tokio::io::AsyncWriteExt;

use crate::digest::Digest;

/// A downloaded artifact, its digest verified.
#[derive(Debug)]
pub struct Fetched {
    /// The bytes, positioned at the start. The file has no name any more and disappears with its handle.
    pub file: File,
    /// How many bytes there are.
    pub size: u64,
}

/// Why there is no artifact, by what the caller can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server does not have the file: the source is being rebuilt, or its storage was lost.
    #[error("failed to download archive from {url} (status: {status})")]
    NotFound {
        /// What was asked for.
        url: String,
        /// The status line's code and phrase.
        status: StatusCode,
    },
    /// Connection trouble or a server that is not ready: worth another attempt after a pause.
    #[error("{0}")]
    Retryable(String),
    /// The same request would end the same way.
    #[error("{0}")]
    Fatal(String),
}

/// Asks for `url` and stores the body in an unnamed file in `directory`, refusing more than `max_size` bytes and any body whose
/// digest is not `digest`.
pub async fn fetch(
    client: &reqwest::Client,
    url: &str,
    digest: &Digest,
    max_size: u64,
    directory: &Path,
) -> Result<Fetched, Error> {
    let response = client.get(url).send().await.map_err(|error| transport(&error))?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(refused(url, status));
    }
    let (mut file, computed, size) = store(response, digest, max_size, directory).await?;
    if computed != *digest {
        return Err(Error::Fatal(format!(
            "failed to verify archive: computed digest doesn't match provided '{digest}' (check whether file size exceeds max download size)"
        )));
    }
    file.seek(SeekFrom::Start(0)).map_err(|error| disk(&error))?;
    Ok(Fetched { file, size })
}

async fn store(
    mut response: reqwest::Response,
    digest: &Digest,
    max_size: u64,
    directory: &Path,
) -> Result<(File, Digest, u64), Error> {
    let file = tempfile::tempfile_in(directory).map_err(|error| disk(&error))?;
    let mut file = tokio::fs::File::from_std(file);
    let mut hasher = digest.algorithm().hasher();
    let mut size = 0;
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
        size += chunk.len() as u64;
        if size > max_size {
            return Err(Error::Fatal(format!(
                "failed to download archive: it is larger than {max_size} bytes"
            )));
        }
        hasher.update(&chunk);
        file.write_all(&chunk).await.map_err(|error| disk(&error))?;
    }
    file.flush().await.map_err(|error| disk(&error))?;
    Ok((file.into_std().await, hasher.finish(), size))
}

/// 429 and the server's own troubles pass; 501 does not, nor does anything the request itself is blamed for.
fn refused(url: &str, status: StatusCode) -> Error {
    match status {
        StatusCode::NOT_FOUND => Error::NotFound {
            url: url.to_owned(),
            status,
        },
        _ => {
            let message = format!("failed to download archive from {url} (status: {status})");
            let passes = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
            if passes || status == StatusCode::TOO_MANY_REQUESTS {
                Error::Retryable(message)
            } else {
                Error::Fatal(message)
            }
        }
    }
}

/// Every transport error may pass, except a URL no request can be built from.
fn transport(error: &reqwest::Error) -> Error {
    let mut message = format!("failed to download archive: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    if error.is_builder() {
        Error::Fatal(message)
    } else {
        Error::Retryable(message)
    }
}

/// A disk that is full now may not be so later.
fn disk(error: &io::Error) -> Error {
    Error::Retryable(format!(
        "failed to download archive: cannot write the temporary file: {error}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A server that gives each connection in turn one canned answer; returns its URL.
    fn serve(answers: Vec<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/a.tar.gz", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        url
    }

    async fn check(answer: &'static str, digest_of: &str, expected: Result<&str, Error>) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = serve(vec![answer]);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let digest = Digest::of(Algorithm::Sha256, digest_of.as_bytes());
        let temp = tempfile::tempdir().unwrap();
        let result = fetch(&client, &url, &digest, 10, temp.path()).await;
        assert_eq!(
            std::fs::read_dir(temp.path()).unwrap().count(),
            0,
            "no file is left behind"
        );
        match (result, expected) {
            (Ok(mut fetched), Ok(body)) => {
                let mut content = String::new();
                fetched.file.read_to_string(&mut content).unwrap();
                assert_eq!((content.as_str(), fetched.size), (body, body.len() as u64));
            }
            (Err(error), Err(expected)) => {
                let same_kind = std::mem::discriminant(&error) == std::mem::discriminant(&expected);
                assert!(
                    same_kind && error.to_string().replace(&url, "URL").contains(&expected.to_string()),
                    "{error:?}"
                );
            }
            (result, expected) => unreachable!("{result:?}, expected {expected:?}"),
        }
    }

    #[tokio::test]
    async fn a_body_with_the_right_digest_is_handed_out() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
            "hello",
            Ok("hello"),
        )
        .await;
    }

    #[tokio::test]
    async fn a_body_with_another_digest_is_thrown_away() {
        let message = "failed to verify archive: computed digest doesn't match provided 'sha256:";
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        check(answer, "other", Err(Error::Fatal(message.into()))).await;
    }

    #[tokio::test]
    async fn answers_are_classified() {
        let not_found = Error::NotFound {
            url: "URL".into(),
            status: StatusCode::NOT_FOUND,
        };
        check(
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "",
            Err(not_found),
        )
        .await;
        let retry = |text: &str| Err(Error::Retryable(text.into()));
        let busy = "failed to download archive from URL (status: 503 Service Unavailable)";
        check(
            "HTTP/1.1 503 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "",
            retry(busy),
        )
        .await;
        let limited = "failed to download archive from URL (status: 429 Too Many Requests)";
        check(
            "HTTP/1.1 429 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "",
            retry(limited),
        )
        .await;
        let fatal = |text: &str| Err(Error::Fatal(text.into()));
        let unknown = "failed to download archive from URL (status: 501 Not Implemented)";
        check(
            "HTTP/1.1 501 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "",
            fatal(unknown),
        )
        .await;
        let forbidden = "failed to download archive from URL (status: 403 Forbidden)";
        check(
            "HTTP/1.1 403 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "",
            fatal(forbidden),
        )
        .await;
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_or_never_ends_is_an_error() {
        let broken = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhel";
        check(
            broken,
            "hello",
            Err(Error::Retryable("failed to download archive: ".into())),
        )
        .await;
        let long = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\n01234567890123456789";
        let message = "failed to download archive: it is larger than 10 bytes";
        check(long, "hello", Err(Error::Fatal(message.into()))).await;
    }
}
