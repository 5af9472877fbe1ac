//! Content digests: `<algorithm>:<hex>`, the form `status.artifact.digest` carries.
//!
//! Parsing checks algorithm and length, so a [`Digest`] that exists can always be compared with one that was computed.

use std::fmt;
use std::io;
use std::str::FromStr;

use sha2::Digest as _;

/// A hash function an artifact may be named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Algorithm {
    /// SHA-1; accepted for compatibility, no longer collision resistant.
    Sha1,
    /// SHA-256, what Flux uses unless told otherwise.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// BLAKE3 with 256 bits.
    Blake3,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 5] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512, Self::Blake3];

    /// The name in front of the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Blake3 => "blake3",
        }
    }

    /// How many hexadecimal characters a digest of this algorithm has.
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha1 => 40,
            Self::Sha256 | Self::Blake3 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }

    /// A fresh hash state.
    pub fn hasher(self) -> Hasher {
        Hasher(match self {
            Self::Sha1 => State::Sha1(sha1::Sha1::new()),
            Self::Sha256 => State::Sha256(sha2::Sha256::new()),
            Self::Sha384 => State::Sha384(sha2::Sha384::new()),
            Self::Sha512 => State::Sha512(sha2::Sha512::new()),
            Self::Blake3 => State::Blake3(Box::default()),
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == text)
            .ok_or_else(|| Error::Algorithm(text.to_owned()))
    }
}

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no text at all.
    #[error("empty digest")]
    Empty,
    /// No colon between algorithm and hash.
    #[error("invalid digest '{0}': expected <algorithm>:<hex>")]
    Shape(String),
    /// An algorithm this build does not have.
    #[error("unsupported digest algorithm '{0}' (supported: sha1, sha256, sha384, sha512, blake3)")]
    Algorithm(String),
    /// The part after the colon has the wrong length or characters.
    #[error("invalid digest '{0}': expected {1} lower-case hexadecimal characters")]
    Hex(String, usize),
}

/// The digest of some bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = algorithm.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest of everything `reader` yields, read in pieces of 64 KiB.
    pub fn of_reader(algorithm: Algorithm, mut reader: impl io::Read) -> io::Result<Self> {
        let mut hasher = algorithm.hasher();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(n) => hasher.update(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads a digest the way consumers of artifacts do: like [`FromStr`], and a bare 64-character hash counts as SHA-256.
    pub fn from_artifact(text: &str) -> Result<Self, Error> {
        if text.contains(':') || text.is_empty() {
            text.parse()
        } else {
            format!("sha256:{text}")
                .parse()
                .map_err(|_| Error::Shape(text.to_owned()))
        }
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash in lower-case hexadecimal.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::Empty);
        }
        let (algorithm, hex) = text.split_once(':').ok_or_else(|| Error::Shape(text.to_owned()))?;
        let algorithm: Algorithm = algorithm.parse()?;
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() != algorithm.hex_len() || !hex.bytes().all(lower_hex) {
            return Err(Error::Hex(text.to_owned(), algorithm.hex_len()));
        }
        Ok(Self {
            algorithm,
            hex: hex.to_owned(),
        })
    }
}

/// A hash being computed.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
    /// Its state is ten times as large as the others.
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha1(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
            State::Sha384(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
            State::Blake3(state) => {
                state.update(bytes);
            }
        }
    }

    /// The digest of everything taken in.
    pub fn finish(self) -> Digest {
        let (algorithm, hex) = match self.0 {
            State::Sha1(state) => (Algorithm::Sha1, hex(&state.finalize())),
            State::Sha256(state) => (Algorithm::Sha256, hex(&state.finalize())),
            State::Sha384(state) => (Algorithm::Sha384, hex(&state.finalize())),
            State::Sha512(state) => (Algorithm::Sha512, hex(&state.finalize())),
            State::Blake3(state) => (Algorithm::Blake3, hex(state.finalize().as_bytes())),
        };
        Digest { algorithm, hex }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_SHA256: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn check(text: &str, expected: Result<&str, &str>) {
        let found = Digest::from_artifact(text);
        match expected {
            Ok(printed) => assert_eq!(found.map(|d| d.to_string()), Ok(printed.to_owned()), "{text}"),
            Err(message) => assert_eq!(found.map_err(|e| e.to_string()), Err(message.to_owned()), "{text}"),
        }
    }

    #[test]
    fn texts_are_accepted_or_refused_with_a_reason() {
        check(EMPTY_SHA256, Ok(EMPTY_SHA256));
        check(&EMPTY_SHA256[7..], Ok(EMPTY_SHA256));
        check(
            "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
            Ok("sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        );
        check("", Err("empty digest"));
        check("abc", Err("invalid digest 'abc': expected <algorithm>:<hex>"));
        check(
            "sha256:abc",
            Err("invalid digest 'sha256:abc': expected 64 lower-case hexadecimal characters"),
        );
        check(
            "md5:x",
            Err("unsupported digest algorithm 'md5' (supported: sha1, sha256, sha384, sha512, blake3)"),
        );
        let upper = EMPTY_SHA256.replace('e', "E");
        check(
            &upper,
            Err(&format!(
                "invalid digest '{upper}': expected 64 lower-case hexadecimal characters"
            )),
        );
    }

    #[test]
    fn every_algorithm_hashes_what_it_is_given_in_pieces() {
        for algorithm in Algorithm::ALL {
            let mut hasher = algorithm.hasher();
            hasher.update(b"ab");
            hasher.update(b"c");
            let digest = hasher.finish();
            assert_eq!(digest, Digest::of(algorithm, b"abc"));
            assert_eq!(digest.to_string().parse(), Ok(digest.clone()));
            assert_eq!(Digest::of_reader(algorithm, &b"abc"[..]).ok(), Some(digest));
        }
        assert_eq!(
            Digest::of(Algorithm::Sha1, b"abc").to_string(),
            "sha1:a9993e364706816aba3e25717850c26c9cd0d89d"
        );
        assert_eq!(
            Digest::of(Algorithm::Blake3, b"abc").to_string(),
            "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
        );
    }
}
