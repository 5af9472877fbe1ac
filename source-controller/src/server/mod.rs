//! Serves the stored files over HTTP, and nothing else.
//!
//! GET and HEAD with `ETag`, `Last-Modified`, conditional requests and single ranges. A path is four plain names that lead to
//! a regular file; whatever is in it is sent as it lies on the disk: consumers check the digest of the bytes they get, so no
//! content encoding is ever applied. `GET /` answers 200, which is what the readiness probe asks; there are no listings.
//!
//! Slow clients are bounded by [`patience`]. The server starts only once this process leads: who is not the leader has no files
//! to give.

pub mod patience;

use std::io::{self, Seek, SeekFrom};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use cap_std::fs::Dir;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use crate::storage::path::{is_artifact, is_file_name};

/// How a date is written in HTTP.
const HTTP_DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";

/// The routes over a storage root.
pub fn router(root: Dir) -> Router {
    Router::new().fallback(serve).with_state(Arc::new(root))
}

async fn serve(State(root): State<Arc<Dir>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response();
    }
    if uri.path() == "/" {
        return StatusCode::OK.into_response();
    }
    let Some(path) = path(uri.path()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let opened = tokio::task::spawn_blocking(move || open(&root, &path)).await;
    let file = match opened.map_err(io::Error::other).and_then(|file| file) {
        Ok(file) => file,
        Err(error) => {
            let is_absent = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
            if !is_absent {
                tracing::error!(error = %error, path = uri.path(), "cannot serve artifact");
            }
            let status = if is_absent {
                StatusCode::NOT_FOUND
            } else {
                StatusCode::INTERNAL_SERVER_ERROR
            };
            return status.into_response();
        }
    };
    answer(&method, &headers, file)
}

/// The path relative to the root: kind, namespace, name and the file of an artifact, plain names all. Nothing that is served
/// needs an escape.
fn path(of_request: &str) -> Option<String> {
    let path = of_request.strip_prefix('/')?;
    let (directory, file) = path.rsplit_once('/')?;
    let is_served = directory.split('/').count() == 3 && directory.split('/').all(is_file_name) && is_artifact(file);
    is_served.then(|| path.to_owned())
}

/// A file that is open.
struct Opened {
    file: std::fs::File,
    size: u64,
    modified: SystemTime,
}

fn open(root: &Dir, path: &str) -> io::Result<Opened> {
    // A link, wherever it leads, is not ours.
    if !root.symlink_metadata(path)?.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let file = root.open(path)?;
    let metadata = file.metadata()?;
    Ok(Opened {
        size: metadata.len(),
        modified: metadata.modified()?.into_std(),
        file: file.into_std(),
    })
}

/// What is known of a file before its content is read.
struct Facts {
    size: u64,
    etag: String,
    modified: u64,
    date: String,
}

impl Facts {
    fn new(opened: &Opened) -> Self {
        let age = opened.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        let modified = age.as_secs();
        let date = jiff::Timestamp::from_second(i64::try_from(modified).unwrap_or(i64::MAX)).unwrap_or_default();
        // A file that is replaced has another time, to the nanosecond.
        let etag = format!("\"{:x}-{:x}\"", age.as_nanos(), opened.size);
        Self {
            size: opened.size,
            etag,
            modified,
            date: date.strftime(HTTP_DATE).to_string(),
        }
    }

    /// Whether the client has this very file already.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        match text(headers, IF_NONE_MATCH) {
            // Where there is a tag the date does not count.
            Some(tags) => tags
                .split(',')
                .map(|tag| tag.trim().trim_start_matches("W/"))
                .any(|tag| tag == "*" || tag == self.etag),
            None => text(headers, IF_MODIFIED_SINCE)
                .and_then(seconds)
                .is_some_and(|since| self.modified <= since),
        }
    }

    /// Whether the client wants a file that was here once, and not this one.
    fn is_another(&self, headers: &HeaderMap) -> bool {
        match text(headers, IF_MATCH) {
            Some(tags) => !tags.split(',').map(str::trim).any(|tag| tag == "*" || tag == self.etag),
            None => text(headers, IF_UNMODIFIED_SINCE)
                .and_then(seconds)
                .is_some_and(|since| self.modified > since),
        }
    }

    /// The range that is asked for, if ranges still make sense to the client.
    fn range(&self, headers: &HeaderMap) -> Range {
        let unchanged = match text(headers, IF_RANGE) {
            None => true,
            Some(tag) if tag.starts_with('"') => tag == self.etag,
            Some(date) => seconds(date) == Some(self.modified),
        };
        match text(headers, RANGE) {
            Some(range) if unchanged => Range::parse(range, self.size),
            _ => Range::Whole,
        }
    }
}

/// Which part of a file is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Part { start: u64, length: u64 },
    Unsatisfiable,
}

impl Range {
    /// One range of bytes; what is none, or more than one, means the whole file.
    fn parse(text: &str, size: u64) -> Self {
        let Some((first, last)) = text.strip_prefix("bytes=").and_then(|spec| spec.trim().split_once('-')) else {
            return Self::Whole;
        };
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !digits(first) || !digits(last) || (first.is_empty() && last.is_empty()) {
            return Self::Whole;
        }
        // More digits than a number holds lie beyond any file.
        let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
        let (start, end) = if first.is_empty() {
            (size.saturating_sub(number(last)), size)
        } else if last.is_empty() {
            (number(first), size)
        } else if number(last) < number(first) {
            return Self::Whole;
        } else {
            (number(first), number(last).saturating_add(1).min(size))
        };
        if start >= end {
            Self::Unsatisfiable
        } else {
            Self::Part {
                start,
                length: end - start,
            }
        }
    }
}

fn answer(method: &Method, headers: &HeaderMap, mut opened: Opened) -> Response {
    let facts = Facts::new(&opened);
    let mut response = Response::new(Body::empty());
    set(&mut response, ETAG, &facts.etag);
    set(&mut response, LAST_MODIFIED, &facts.date);
    if facts.is_another(headers) {
        *response.status_mut() = StatusCode::PRECONDITION_FAILED;
        return response;
    }
    if facts.is_known(headers) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    set(&mut response, ACCEPT_RANGES, "bytes");
    let (start, length) = match facts.range(headers) {
        Range::Whole => (0, facts.size),
        Range::Part { start, length } => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(
                &mut response,
                CONTENT_RANGE,
                &format!("bytes {start}-{}/{}", start + length - 1, facts.size),
            );
            (start, length)
        }
        Range::Unsatisfiable => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            set(&mut response, CONTENT_RANGE, &format!("bytes */{}", facts.size));
            return response;
        }
    };
    set(&mut response, CONTENT_TYPE, "application/gzip");
    set(&mut response, CONTENT_LENGTH, &length.to_string());
    if *method == Method::HEAD {
        return response;
    }
    if let Err(error) = opened.file.seek(SeekFrom::Start(start)) {
        tracing::error!(error = %error, "cannot serve artifact");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let content = tokio::fs::File::from_std(opened.file).take(length);
    *response.body_mut() = Body::from_stream(ReaderStream::with_capacity(content, 64 * 1024));
    response
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Seconds since the epoch of an HTTP date.
fn seconds(date: &str) -> Option<u64> {
    let time = jiff::civil::DateTime::strptime(HTTP_DATE, date).ok()?;
    let second = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    u64::try_from(second).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use tower::ServiceExt;

    const CONTENT: &str = "0123456789";

    fn root() -> (tempfile::TempDir, Router) {
        let directory = tempfile::tempdir().unwrap();
        let app = directory.path().join("gitrepository/ns/app");
        std::fs::create_dir_all(&app).unwrap();
        std::fs::write(app.join("a.tar.gz"), CONTENT).unwrap();
        for name in [".tmp-b.tar.gz", "a.tar.gz.lock", "a.tar.gz123"] {
            std::fs::write(app.join(name), CONTENT).unwrap();
        }
        std::fs::write(directory.path().join("secret"), CONTENT).unwrap();
        std::os::unix::fs::symlink(directory.path().join("secret"), app.join("link.tar.gz")).unwrap();
        let root = Dir::open_ambient_dir(directory.path(), cap_std::ambient_authority()).unwrap();
        (directory, router(root))
    }

    async fn ask(router: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, String) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = router
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1000).await.unwrap();
        (
            parts.status.as_u16(),
            parts.headers,
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }

    async fn check(method: &str, path: &str, headers: &[(&str, &str)], status: u16, body: &str) {
        let (_directory, router) = root();
        let (found, _, content) = ask(&router, method, path, headers).await;
        assert_eq!((found, content.as_str()), (status, body), "{method} {path} {headers:?}");
    }

    const FILE: &str = "/gitrepository/ns/app/a.tar.gz";

    #[tokio::test]
    async fn files_are_served_and_nothing_else() {
        check("GET", FILE, &[], 200, CONTENT).await;
        check("HEAD", FILE, &[], 200, "").await;
        check("GET", "/", &[], 200, "").await;
        for path in [
            "/gitrepository/ns/app/",
            "/gitrepository/ns/app",
            "/gitrepository",
            "/secret",
            "/gitrepository/ns/app/b.tar.gz",
            "/gitrepository/ns/app/link.tar.gz",
            "/gitrepository/ns/app/.tmp-b.tar.gz",
            "/gitrepository/ns/app/a.tar.gz.lock",
            "/gitrepository/ns/app/a.tar.gz123",
            "/gitrepository/ns/dir.tar.gz/a.tar.gz/x",
            "/gitrepository/ns/app/../../../secret",
            "/gitrepository/ns/app/%2e%2e/app/a.tar.gz",
            "//etc/passwd",
        ] {
            check("GET", path, &[], 404, "").await;
        }
        check("POST", FILE, &[], 405, "").await;
        check("DELETE", FILE, &[], 405, "").await;
    }

    #[tokio::test]
    async fn ranges_are_cut_out() {
        check("GET", FILE, &[("range", "bytes=0-2")], 206, "012").await;
        check("GET", FILE, &[("range", "bytes=7-")], 206, "789").await;
        check("GET", FILE, &[("range", "bytes=-2")], 206, "89").await;
        check("GET", FILE, &[("range", "bytes=8-99999999999999999999")], 206, "89").await;
        check("GET", FILE, &[("range", "bytes=10-")], 416, "").await;
        for whole in ["bytes=0-1,3-4", "bytes=2-1", "lines=1-2", "bytes=-", "bytes=a-b"] {
            check("GET", FILE, &[("range", whole)], 200, CONTENT).await;
        }
        check(
            "GET",
            FILE,
            &[("range", "bytes=0-2"), ("if-range", "\"other\"")],
            200,
            CONTENT,
        )
        .await;
    }

    #[tokio::test]
    async fn what_the_client_has_is_not_sent_again() {
        let (_directory, router) = root();
        let (_, headers, _) = ask(&router, "GET", FILE, &[("accept-encoding", "gzip")]).await;
        assert!(headers.get("content-encoding").is_none());
        let header = |name: &str| headers.get(name).unwrap().to_str().unwrap();
        assert_eq!(header("content-length"), "10");
        assert_eq!(header("accept-ranges"), "bytes");
        let (tag, date) = (header("etag"), header("last-modified"));
        for (name, value, status) in [
            ("if-none-match", tag, 304),
            ("if-none-match", "*", 304),
            ("if-none-match", "\"other\"", 200),
            ("if-modified-since", date, 304),
            ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT", 200),
            ("if-modified-since", "nonsense", 200),
            ("if-match", tag, 200),
            ("if-match", "*", 200),
            ("if-match", "\"other\"", 412),
            ("if-unmodified-since", date, 200),
            ("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT", 412),
            ("if-unmodified-since", "nonsense", 200),
        ] {
            assert_eq!(
                ask(&router, "GET", FILE, &[(name, value)]).await.0,
                status,
                "{name}: {value}"
            );
        }
        let resumed = ask(&router, "GET", FILE, &[("range", "bytes=8-"), ("if-range", tag)]).await;
        assert_eq!((resumed.0, resumed.2.as_str()), (206, "89"));
    }
}
