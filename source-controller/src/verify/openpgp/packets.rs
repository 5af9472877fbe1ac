//! OpenPGP data is a row of packets, each with its kind and its length in front.
//!
//! They are cut apart here, and each is parsed by the library for itself: a packet that cannot be parsed, of which old key rings
//! have many, is then known by its kind and does not take the rest with it.

use pgp::packet::PacketHeader;
use pgp::types::{PacketLength, Tag};

/// The most packets of one block that are looked at: a key with every signature of a large web of trust has some thousand.
const MAX_PACKETS: usize = 16_384;

/// Data that is no row of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Between two packets.
    #[error("it is not a row of OpenPGP packets")]
    Row,
    /// In one that has to be read.
    #[error("it holds an OpenPGP packet that cannot be read")]
    Packet,
    /// Too many.
    #[error("it holds more than {MAX_PACKETS} OpenPGP packets")]
    TooMany,
}

/// A packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    header: PacketHeader,
    body: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Its kind.
    pub fn tag(&self) -> Tag {
        self.header.tag()
    }

    /// What is in it, read by one of the library's parsers; nothing if it is not as it should be.
    pub fn parse<T>(&self, parse: impl FnOnce(PacketHeader, &'a [u8]) -> pgp::errors::Result<T>) -> Option<T> {
        parse(self.header, self.body).ok()
    }
}

/// The packets of some data. After the first that has no end, or one too many, there is nothing more.
pub fn packets(data: &[u8]) -> impl Iterator<Item = Result<Packet<'_>, Malformed>> {
    let mut rest = data;
    let mut count = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        count += 1;
        let packet = if count > MAX_PACKETS {
            Err(Malformed::TooMany)
        } else {
            next(rest)
        };
        rest = packet.as_ref().map_or([].as_slice(), |(_, rest)| *rest);
        Some(packet.map(|(packet, _)| packet))
    })
}

fn next(data: &[u8]) -> Result<(Packet<'_>, &[u8]), Malformed> {
    let mut rest = data;
    let header = PacketHeader::try_from_reader(&mut rest).map_err(|_| Malformed::Row)?;
    // Other lengths are for data that is written while it comes about, which neither keys nor signatures are.
    let PacketLength::Fixed(length) = header.packet_length() else {
        return Err(Malformed::Row);
    };
    let length = usize::try_from(length).map_err(|_| Malformed::Row)?;
    let (body, rest) = rest.split_at_checked(length).ok_or(Malformed::Row)?;
    Ok((Packet { header, body }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(data: &[u8], expected: &[Result<(Tag, usize), Malformed>]) {
        let found = packets(data).map(|packet| packet.map(|packet| (packet.tag(), packet.body.len())));
        assert_eq!(found.collect::<Vec<_>>(), expected, "{data:02x?}");
    }

    #[test]
    fn packets_of_both_forms_are_cut_by_their_lengths() {
        check(&[], &[]);
        check(
            &[0xcd, 2, b'h', b'i', 0xc2, 0],
            &[Ok((Tag::UserId, 2)), Ok((Tag::Signature, 0))],
        );
        check(
            &[0xb4, 1, b'h', 0x88, 0],
            &[Ok((Tag::UserId, 1)), Ok((Tag::Signature, 0))],
        );
        check(&[0xb5, 0, 1, b'h'], &[Ok((Tag::UserId, 1))]);
    }

    #[test]
    fn the_row_ends_where_it_is_broken() {
        check(b"text", &[Err(Malformed::Row)]);
        check(&[0xcd], &[Err(Malformed::Row)]);
        check(&[0xcd, 0, 0xcd, 3, b'h'], &[Ok((Tag::UserId, 0)), Err(Malformed::Row)]);
        check(&[0xcd, 0xff, 0xff, 0xff, 0xff, 0xff], &[Err(Malformed::Row)]);
        check(&[0xb7, b'h'], &[Err(Malformed::Row)]);
        check(&[0xcd, 0xe0, b'h'], &[Err(Malformed::Row)]);
        let many = [0xcd, 0].repeat(MAX_PACKETS + 2);
        assert_eq!(packets(&many).count(), MAX_PACKETS + 1);
        assert!(matches!(packets(&many).last(), Some(Err(Malformed::TooMany))));
    }
}
