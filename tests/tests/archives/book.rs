//! A tar by the book, which is POSIX's of 1988 with the extended headers of 2001, and the choices artifacts make where the book
//! leaves one. It is written for the comparison alone and shares nothing with the writer that is tested.

const BLOCK: usize = 512;

/// A file or a directory.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its path; the root is `.`.
    pub name: &'a [u8],
    /// What a file holds, and whether it may be run; nothing for a directory.
    pub file: Option<(&'a [u8], bool)>,
}

/// The archive of these members, in this order.
pub fn tar(members: &[Member<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for member in members {
        let (kind, mode, content) = match member.file {
            None => (b'5', 0o750, &b""[..]),
            Some((content, false)) => (b'0', 0o600, content),
            Some((content, true)) => (b'0', 0o700, content),
        };
        let (prefix, name) = match parts(member.name) {
            Some((prefix, name)) => (prefix, name.to_vec()),
            None => {
                let record = record(member.name);
                out.extend(header(b"", &extension_name(member.name), b'x', 0, record.len()));
                padded(&mut out, &record);
                (&b""[..], shortened(member.name))
            }
        };
        out.extend(header(prefix, &name, kind, mode, content.len()));
        padded(&mut out, content);
    }
    out.extend([0; 2 * BLOCK]);
    out
}

fn padded(out: &mut Vec<u8>, content: &[u8]) {
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// The two fields that a name goes into: up to 100 bytes behind a slash, up to 155 before it, cut as late as possible. Neither
/// holds anything but ASCII.
fn parts(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= 100 {
        return Some((b"", name));
    }
    let mut slashes = name.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let (at, _) = slashes.rfind(|(at, _)| (1..=155).contains(at))?;
    let rest = &name[at + 1..];
    (1..=100).contains(&rest.len()).then_some((&name[..at], rest))
}

/// A header. Every field is told in octal digits that fill it but for the byte behind them.
fn header(prefix: &[u8], name: &[u8], kind: u8, mode: u32, size: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name);
    put(100, format!("{mode:07o}").as_bytes());
    // Owner and group.
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    // The time.
    put(136, b"00000000000");
    // The sum is taken as if it were blank.
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    if kind != b'x' {
        // The device.
        put(329, b"0000000");
        put(337, b"0000000");
    }
    put(345, prefix);
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// `LENGTH path=NAME`, where the length counts its own digits.
fn record(name: &[u8]) -> Vec<u8> {
    let with = |length: usize| [format!("{length} path=").as_bytes(), name, b"\n"].concat();
    let mut length = with(0).len();
    while with(length).len() != length {
        length = with(length).len();
    }
    with(length)
}

/// What stands in front of a name that needs an extension: a file of a directory beside it.
fn extension_name(name: &[u8]) -> Vec<u8> {
    let start = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let name = shortened(&[&name[..start], b"PaxHeaders.0/", &name[start..]].concat());
    without_slashes(&name).to_vec()
}

/// The ASCII in a name, as much as the field takes. What is cut off leaves no slash at the end: that would be a directory.
fn shortened(name: &[u8]) -> Vec<u8> {
    let ascii: Vec<u8> = name.iter().copied().filter(u8::is_ascii).collect();
    match ascii.get(..100) {
        Some(cut) if ascii.len() > 100 => without_slashes(cut).to_vec(),
        _ => ascii,
    }
}

fn without_slashes(name: &[u8]) -> &[u8] {
    let end = name.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    &name[..end]
}
