//! An HTTP server that answers with bytes of the test's choosing, proper or not, and Git's protocol as far as hostile
//! servers have to speak it. One request for each connection, which ends with the answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

/// What is answered to a request. An error ends the connection.
type Answer = dyn Fn(&Asked, &mut TcpStream) -> std::io::Result<()> + Send + Sync;

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Asked {
    /// Whether references are asked for in the new protocol.
    pub fn is_listing(&self) -> bool {
        self.body.starts_with(b"0014command=ls-refs")
    }
}

/// A running server. Ends with this value; answers that nobody waits for end by themselves.
#[derive(Debug)]
pub struct RawServer {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl RawServer {
    /// Starts a server on a free port.
    pub fn start(
        answer: impl Fn(&Asked, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let server = Self {
            address: listener.local_addr()?,
            over: Arc::default(),
            asked: Arc::default(),
        };
        let (over, asked) = (Arc::clone(&server.over), Arc::clone(&server.asked));
        let answer: Arc<Answer> = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), false) = (stream, over.load(Ordering::Relaxed)) else {
                    return;
                };
                let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
                // A client that has seen enough hangs up.
                std::thread::spawn(move || serve(stream, &*answer, &asked));
            }
        });
        Ok(server)
    }

    /// Its address, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far as `METHOD path`, oldest first.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the one that waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, answer: &Answer, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (method, path) = (word(), word());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or_default();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    log.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(format!("{method} {path}"));
    answer(&Asked { method, path, body }, &mut stream)?;
    stream.shutdown(std::net::Shutdown::Write)
}

/// The head of a good answer of a kind (`advertisement` or `result`), whose body ends with the connection.
pub fn head(kind: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-{kind}\r\nConnection: close\r\n\r\n")
}

/// A frame of Git's protocol.
pub fn frame(content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut framed = format!("{:04x}", content.len() + 4).into_bytes();
    framed.extend_from_slice(content);
    framed
}

/// What a server of the new protocol says first.
pub fn greeting() -> Vec<u8> {
    let mut bytes = frame("# service=git-upload-pack\n");
    bytes.extend(b"0000");
    for line in [
        "version 2\n",
        "agent=git/test\n",
        "ls-refs=unborn\n",
        "fetch=shallow\n",
        "object-format=sha1\n",
    ] {
        bytes.extend(frame(line));
    }
    bytes.extend(b"0000");
    bytes
}

/// Objects as a server sends them: in frames of the first channel.
pub fn packfile(pack: &[u8]) -> Vec<u8> {
    let mut bytes = frame("packfile\n");
    for chunk in pack.chunks(60_000) {
        bytes.extend(frame([&[1], chunk].concat()));
    }
    bytes.extend(b"0000");
    bytes
}

/// Repeats something until nobody listens any more.
pub fn forever(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let many = bytes.repeat(1 + 60_000 / bytes.len().max(1));
    loop {
        stream.write_all(&many)?;
    }
}

/// Says something byte by byte, one at each interval.
pub fn drip(stream: &mut TcpStream, bytes: &[u8], interval: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    for byte in bytes {
        stream.write_all(&[*byte])?;
        // The pace of this server is what is wrong with it.
        std::thread::sleep(interval);
    }
    Ok(())
}

/// What a server of the new protocol that has these references (`id name`) and these objects says to a question: the kind of
/// its answer, as for [`head`], and the answer.
pub fn answer_to(asked: &Asked, references: &[String], pack: &[u8]) -> (&'static str, Vec<u8>) {
    if asked.method == "GET" {
        return ("advertisement", greeting());
    }
    if !asked.is_listing() {
        return ("result", packfile(pack));
    }
    let mut listing: Vec<u8> = references.iter().flat_map(|line| frame(format!("{line}\n"))).collect();
    listing.extend(b"0000");
    ("result", listing)
}

/// Answers as a server of the new protocol that has these references (`id name`) and these objects.
pub fn repository(
    references: &[String],
    pack: &[u8],
) -> impl Fn(&Asked, &mut TcpStream) -> std::io::Result<()> + use<> {
    let (references, pack) = (references.to_vec(), pack.to_vec());
    move |asked, stream| {
        let (kind, answer) = answer_to(asked, &references, &pack);
        stream.write_all(head(kind).as_bytes())?;
        stream.write_all(&answer)
    }
}
