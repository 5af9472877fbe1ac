//! Version 1 of Git's protocol, which is version 0 with a line in front that says so.
//!
//! The library understands versions 0 and 2. Here the line is left out of what a server says first, before the library reads it;
//! from there on the two are the same. How a server answers to a request for objects is no matter of this.

use std::io::{self, Cursor, Read};

/// What announces the service over http. The end of a message follows.
const SERVICE: &[u8] = b"# service=";
/// The line.
const VERSION: &[u8] = b"version 1";
/// Lines that are longer than this, in bytes, are none of those two.
const LONGEST: usize = 64;

/// What a server says first, without the line.
pub struct Announcement<R> {
    source: R,
    /// What was read to look for the line, as far as it is not read again.
    head: Cursor<Vec<u8>>,
    has_begun: bool,
}

impl<R: Read> Announcement<R> {
    /// What `source` has to say, which is at its beginning.
    pub fn new(source: R) -> Self {
        Self {
            source,
            head: Cursor::default(),
            has_begun: false,
        }
    }

    fn begin(&mut self) -> io::Result<Vec<u8>> {
        let mut said = Vec::new();
        let mut line = self.line(&mut said)?;
        if line.starts_with(SERVICE) && self.line(&mut said)?.is_empty() {
            line = self.line(&mut said)?;
        }
        if line.trim_ascii_end() == VERSION {
            said.truncate(said.len().saturating_sub(4 + line.len()));
        }
        Ok(said)
    }

    /// Reads a frame, which is four digits and a line, and gives the line. Of a long one only the digits are read.
    fn line(&mut self, said: &mut Vec<u8>) -> io::Result<Vec<u8>> {
        let mut digits = Vec::new();
        self.source.by_ref().take(4).read_to_end(&mut digits)?;
        let length = std::str::from_utf8(&digits).ok();
        let length = length.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let length = length.unwrap_or_default().saturating_sub(4);
        let mut line = Vec::new();
        if length <= LONGEST {
            self.source.by_ref().take(length as u64).read_to_end(&mut line)?;
        }
        said.extend_from_slice(&digits);
        said.extend_from_slice(&line);
        Ok(line)
    }
}

impl<R: Read> Read for Announcement<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.has_begun {
            self.head = Cursor::new(self.begin()?);
            self.has_begun = true;
        }
        match self.head.read(buffer)? {
            0 => self.source.read(buffer),
            n => Ok(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives what it has byte by byte, as slow connections do.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = buffer.len().min(1);
            self.0.read(&mut buffer[..n])
        }
    }

    fn check(said: &str, expected: &str) {
        let (mut whole, mut slow) = (String::new(), String::new());
        Announcement::new(said.as_bytes()).read_to_string(&mut whole).unwrap();
        let mut source = Announcement::new(Slow(said.as_bytes()));
        source.read_to_string(&mut slow).unwrap();
        assert_eq!([whole.as_str(), slow.as_str()], [expected; 2], "{said}");
    }

    #[test]
    fn the_line_of_version_1_is_left_out() {
        let refs = format!(
            "0075{} HEAD\0multi_ack shallow side-band-64k agent=git/2.39.5\n0000",
            "a".repeat(40)
        );
        let service = "001e# service=git-upload-pack\n0000";
        check(&format!("000eversion 1\n{refs}"), &refs);
        check(&format!("000dversion 1{refs}"), &refs);
        check(&format!("{service}000eversion 1\n{refs}"), &format!("{service}{refs}"));
        check("000eversion 1\n", "");
    }

    #[test]
    fn everything_else_stays() {
        let refs = format!("003d{} refs/heads/name\n0000", "a".repeat(40));
        let service = "001e# service=git-upload-pack\n";
        for said in [
            "",
            "00",
            "0000",
            "000e",
            "000evers",
            "no frames at all",
            "ffff",
            "\u{fffd}\u{fffd}",
            "000eversion 2\n000bls-refs0000",
            "000fversion 10\n0000",
            "000eversion 2\n000eversion 1\n0000",
            "0036ERR access denied or repository not exported: /app",
            &refs,
            &format!("{refs}000eversion 1\n"),
            service,
            &format!("{service}0000{refs}"),
            &format!("{service}0000000eversion 2\n0000"),
            &format!("{service}000cmore....0000000eversion 1\n"),
        ] {
            check(said, said);
        }
    }
}
