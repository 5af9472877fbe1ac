//! A gzip stream that spends no time on what cannot be made smaller.
//!
//! The input is cut into blocks of one size. One that looks like noise (images, archives, encrypted files) is stored as it
//! is, at the speed of memory; everything else is deflated. What a block looks like is decided by whole numbers alone, so the
//! same input gives the same bytes on every machine, however it is cut into writes.
//!
//! The header carries no name and no time.

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use std::io::{self, Write};

/// Part of the artifact's identity: another level gives another digest for the same tree.
const LEVEL: u32 = 6;
/// The header without flags, time and level hints; the last byte is the code for "unknown system", which Go writes
/// everywhere (RFC 1952, 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// What is decided about at a time, in bytes.
const BLOCK: usize = 128 * 1024;
/// What is tried to deflate of a block that looks like noise, in bytes.
const SAMPLE: usize = 16 * 1024;
/// The longest stored block, in bytes (RFC 1951, 3.2.4).
const STORED: usize = u16::MAX as usize;
/// Compressed bytes handed on at a time.
const OUTPUT: usize = 32 * 1024;

/// A gzip stream being written.
pub(crate) struct Gzip<W: Write> {
    writer: W,
    deflate: Compress,
    /// Whether the compressor took something since its last flush.
    dirty: bool,
    /// Made when the first block looks like noise: a compressor takes a third of a megabyte, and few trees have such blocks.
    trial: Option<Compress>,
    crc: Crc,
    block: Vec<u8>,
    output: Vec<u8>,
    begun: bool,
}

impl<W: Write> Gzip<W> {
    /// Starts a stream; nothing is written yet.
    pub(crate) fn new(writer: W) -> Self {
        Gzip {
            writer,
            deflate: Compress::new(Compression::new(LEVEL), false),
            dirty: false,
            trial: None,
            crc: Crc::new(),
            block: Vec::with_capacity(BLOCK),
            output: Vec::with_capacity(OUTPUT),
            begun: false,
        }
    }

    /// Writes what is left and the trailer, and hands back the writer.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.end_block()?;
        self.deflate(&[], FlushCompress::Finish)?;
        self.writer.write_all(&self.crc.sum().to_le_bytes())?;
        // The size modulo 2^32, which is what the format has room for.
        self.writer.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.writer)
    }

    fn end_block(&mut self) -> io::Result<()> {
        if !self.begun {
            self.writer.write_all(&HEADER)?;
            self.begun = true;
        }
        let block = std::mem::take(&mut self.block);
        self.crc.update(&block);
        if self.is_noise(&block)? {
            self.store(&block)?;
        } else {
            self.deflate(&block, FlushCompress::None)?;
            self.dirty |= !block.is_empty();
        }
        self.block = block;
        self.block.clear();
        Ok(())
    }

    /// Whether a block cannot be made smaller: all bytes are about as frequent, and nothing is repeated near by.
    fn is_noise(&mut self, block: &[u8]) -> io::Result<bool> {
        if block.len() < SAMPLE || !is_even(block) {
            return Ok(false);
        }
        let (sample, _) = block.split_at(SAMPLE);
        let trial = self
            .trial
            .get_or_insert_with(|| Compress::new(Compression::fast(), false));
        trial.reset();
        let mut size = 0;
        loop {
            self.output.clear();
            let taken = usize::try_from(trial.total_in()).unwrap_or(SAMPLE);
            let rest = sample.get(taken..).unwrap_or_default();
            let status = trial.compress_vec(rest, &mut self.output, FlushCompress::Finish)?;
            size += self.output.len();
            if matches!(status, Status::StreamEnd) {
                return Ok(size >= SAMPLE - SAMPLE / 64);
            }
        }
    }

    /// Writes stored blocks. After a full flush the compressor refers to nothing before it, so others may stand between.
    fn store(&mut self, block: &[u8]) -> io::Result<()> {
        if std::mem::take(&mut self.dirty) {
            self.deflate(&[], FlushCompress::Full)?;
        }
        for stored in block.chunks(STORED) {
            let length = u16::try_from(stored.len()).unwrap_or(u16::MAX);
            self.writer.write_all(&[0])?;
            self.writer.write_all(&length.to_le_bytes())?;
            self.writer.write_all(&(!length).to_le_bytes())?;
            self.writer.write_all(stored)?;
        }
        Ok(())
    }

    fn deflate(&mut self, input: &[u8], flush: FlushCompress) -> io::Result<()> {
        let begin = self.deflate.total_in();
        loop {
            self.output.clear();
            let taken = usize::try_from(self.deflate.total_in() - begin).unwrap_or(input.len());
            let rest = input.get(taken..).unwrap_or_default();
            let status = self.deflate.compress_vec(rest, &mut self.output, flush)?;
            self.writer.write_all(&self.output)?;
            let all_in = self.deflate.total_in() - begin == input.len() as u64;
            let all_out = self.output.len() < self.output.capacity();
            let done = match flush {
                FlushCompress::Finish => matches!(status, Status::StreamEnd),
                _ => all_in && all_out,
            };
            if done {
                return Ok(());
            }
        }
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BLOCK - self.block.len();
        let (now, _) = bytes.split_at(bytes.len().min(room));
        self.block.extend_from_slice(now);
        if self.block.len() == BLOCK {
            self.end_block()?;
        }
        Ok(now.len())
    }

    /// Does nothing: a block is compressed as a whole.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether all bytes are about as frequent as in noise: the sum of the squares of their counts, which is least for equal
/// counts, is at most a sixteenth above that.
fn is_even(block: &[u8]) -> bool {
    let mut counts = [0u64; 256];
    for byte in block {
        counts[usize::from(*byte)] += 1;
    }
    let size = block.len() as u64;
    let squares: u64 = counts.iter().map(|count| count * count).sum();
    squares * 256 <= size * size / 16 * 17 + 256 * size
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    /// Bytes without any order, the same every time (xorshift).
    fn noise(size: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .flatten()
        .take(size)
        .collect()
    }

    fn text(size: usize) -> Vec<u8> {
        (0..)
            .flat_map(|number: u32| format!("line {number}\n").into_bytes())
            .take(size)
            .collect()
    }

    fn compress(input: &[u8], step: usize) -> Vec<u8> {
        let mut gzip = Gzip::new(Vec::new());
        for piece in input.chunks(step.max(1)) {
            gzip.write_all(piece).unwrap();
        }
        gzip.finish().unwrap()
    }

    /// The size of the stream in percent of the input's, at most.
    #[track_caller]
    fn check(input: &[u8], percent: usize) {
        let stream = compress(input, usize::MAX);
        let mut read = Vec::new();
        GzDecoder::new(&*stream).read_to_end(&mut read).unwrap();
        assert!(read == input, "it reads back as something else");
        assert!(
            stream.len() <= input.len() * percent / 100 + 64,
            "{} of {}",
            stream.len(),
            input.len()
        );
        for step in [1000, BLOCK - 1, BLOCK + 1] {
            assert!(compress(input, step) == stream, "it depends on how it is cut: {step}");
        }
    }

    #[test]
    fn what_has_order_is_made_smaller_and_noise_is_no_larger() {
        check(b"", 0);
        check(b"a", 100);
        check(&text(BLOCK * 3 + 17), 40);
        check(&noise(100, 1), 100);
        check(&noise(BLOCK * 3 + 17, 1), 101);
        check(
            &[noise(BLOCK, 1), text(BLOCK), noise(BLOCK * 2, 2), text(5)].concat(),
            90,
        );
    }

    #[test]
    fn noise_that_repeats_itself_is_made_smaller() {
        check(&noise(4096, 1).repeat(256), 10);
        check(&[text(BLOCK / 2), noise(BLOCK / 2, 1)].concat().repeat(4), 70);
    }

    #[test]
    fn half_of_the_bytes_are_no_noise() {
        let letters: Vec<u8> = noise(BLOCK * 2, 1).iter().map(|byte| b'a' + byte % 16).collect();
        check(&letters, 60);
    }
}
