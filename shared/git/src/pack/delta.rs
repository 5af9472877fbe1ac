//! Deltas: how to make an object out of another one.

use super::Error;
use super::data::Take;

/// What a copy without a size copies.
const DEFAULT_COPY: usize = 0x10000;

/// What a delta says first: how large its base is, and what it makes of it. Beside it, where the instructions begin.
pub fn sizes(delta: &[u8]) -> Result<(u64, u64, usize), Error> {
    let (base, first) = size(delta)?;
    let (result, second) = size(delta.get(first..).unwrap_or_default())?;
    Ok((base, result, first + second))
}

fn size(bytes: &[u8]) -> Result<(u64, usize), Error> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok((value, at + 1));
        }
    }
    Err(broken())
}

fn broken() -> Error {
    Error::damaged("a delta cannot be understood")
}

/// Passes on what a delta makes of a base: as many bytes as it says, or it fails.
pub fn apply(base: &[u8], delta: &[u8], take: &mut Take<'_>) -> Result<(), Error> {
    let (base_size, mut left, start) = sizes(delta)?;
    if base_size != base.len() as u64 {
        return Err(Error::damaged("a delta is for another base"));
    }
    let mut instructions = delta.get(start..).unwrap_or_default().iter();
    while let Some(&instruction) = instructions.next() {
        let part = if instruction & 0x80 != 0 {
            let mut number = |bits: std::ops::Range<u32>| {
                let (mut value, mut shift) = (0usize, 0);
                for bit in bits {
                    if instruction & (1 << bit) != 0 {
                        value |= usize::from(*instructions.next()?) << shift;
                    }
                    shift += 8;
                }
                Some(value)
            };
            let from = number(0..4).ok_or_else(broken)?;
            let length = match number(4..7).ok_or_else(broken)? {
                0 => DEFAULT_COPY,
                length => length,
            };
            from.checked_add(length).and_then(|to| base.get(from..to))
        } else {
            let length = usize::from(instruction);
            let rest = instructions.as_slice();
            let part = rest.get(..length).filter(|_| length > 0);
            instructions = rest.get(length..).unwrap_or_default().iter();
            part
        };
        let part = part.ok_or_else(broken)?;
        left = left.checked_sub(part.len() as u64).ok_or_else(broken)?;
        take(part)?;
    }
    if left == 0 { Ok(()) } else { Err(broken()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a delta makes of `0123456789`, or nothing if it is refused.
    fn check(delta: &[u8], expected: Option<&str>) {
        let mut out = Vec::new();
        let mut take = |part: &[u8]| {
            out.extend_from_slice(part);
            Ok(())
        };
        let made = apply(b"0123456789", delta, &mut take).ok();
        let found = made.map(|()| String::from_utf8(out).unwrap());
        assert_eq!(found.as_deref(), expected, "{delta:?}");
    }

    #[test]
    fn instructions_copy_and_insert() {
        check(&[10, 3, 0x91, 2, 3], Some("234"));
        check(&[10, 3, 0x90, 3], Some("012"));
        check(&[10, 5, 2, b'a', b'b', 0x91, 7, 3], Some("ab789"));
        check(&[10, 0], Some(""));
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        check(&[], None);
        check(&[0x80], None);
        check(&[0x80; 12], None);
        check(&[9, 1, 1, b'a'], None);
        // Too much, too little, behind the end, cut off, reserved.
        check(&[10, 1, 2, b'a', b'b'], None);
        check(&[10, 3, 2, b'a', b'b'], None);
        check(&[10, 3, 0x91, 8, 3], None);
        check(&[10, 3, 0x91, 8], None);
        check(&[10, 3, 5, b'a'], None);
        check(&[10, 1, 0], None);
    }
}
