//! Frames between nodes: a fixed header and a body, both under one checksum.
//!
//! Pure: bytes in, frames out. A length over the limit is refused before memory is taken for it.
//!
//! Header, 20 bytes: magic `QRTE`, version, kind, two zero bytes, group number, body length, CRC-32C over the
//! sixteen bytes before it and the body. Numbers are little-endian. The body is postcard.

use bytes::{Buf, Bytes, BytesMut};
use quorate_model::GroupId;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub const VERSION: u8 = 1;
/// The largest body: the largest request that a configuration allows, with room for what is around it.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// Before a peer has said who it is, it gets no more than this.
pub const HANDSHAKE_BYTES_MAX: usize = 4 << 10;

/// Room for this much more is made whatever has come.
const ROOM_BYTES: usize = 64 << 10;
const HEADER: usize = 20;
const MAGIC: [u8; 4] = *b"QRTE";

/// What a body is. Kinds are only ever added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Hello,
    Welcome,
    Refusal,
    Message,
    Leaders,
    Request,
    Answer,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub kind: Kind,
    /// The meta group where the kind has no group.
    pub group: GroupId,
    pub body: Bytes,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    #[error("not a frame of this protocol")]
    Magic,
    #[error("frame version {0} is not spoken here")]
    Version(u8),
    #[error("frame kind {0} is not known here")]
    Kind(u8),
    #[error("there is no group {0}")]
    Group(u32),
    #[error("a body of {length} bytes is over the limit of {limit}")]
    TooLong { length: usize, limit: usize },
    #[error("the checksum does not match")]
    Checksum,
    #[error("the body is not valid")]
    Body,
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Welcome => 2,
            Self::Refusal => 3,
            Self::Message => 4,
            Self::Leaders => 5,
            Self::Request => 6,
            Self::Answer => 7,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Hello,
            2 => Self::Welcome,
            3 => Self::Refusal,
            4 => Self::Message,
            5 => Self::Leaders,
            6 => Self::Request,
            7 => Self::Answer,
            _ => return None,
        })
    }
}

impl Frame {
    /// # Errors
    /// [`FrameError::Body`] when the body is not a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        postcard::from_bytes(&self.body).map_err(|_| FrameError::Body)
    }
}

/// Appends one frame to `to`.
///
/// # Errors
/// [`FrameError::TooLong`] when the body is over [`BODY_BYTES_MAX`]; `to` is as before then.
pub fn encode<T: Serialize>(
    to: &mut BytesMut,
    kind: Kind,
    group: GroupId,
    body: &T,
) -> Result<(), FrameError> {
    let start = to.len();
    to.extend_from_slice(&[0; HEADER]);
    let written = postcard::serialize_with_flavor(body, Appending(to)).is_ok();
    let length = to.len() - start - HEADER;
    if !written || length > BODY_BYTES_MAX {
        to.truncate(start);
        return Err(FrameError::TooLong { length, limit: BODY_BYTES_MAX });
    }
    let frame = &mut to[start..];
    frame[..4].copy_from_slice(&MAGIC);
    frame[4] = VERSION;
    frame[5] = kind.number();
    frame[8..12].copy_from_slice(&group.number().to_le_bytes());
    let length = u32::try_from(length).expect("checked: at most BODY_BYTES_MAX");
    frame[12..16].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&frame[..16]), &frame[HEADER..]);
    frame[16..20].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// Takes one whole frame off the front of `from`, or answers `None` when more bytes are needed; then `from` has room
/// for the rest of the frame, or for as much again as has come: what a length claims costs its sender as much.
///
/// # Errors
/// What makes the stream unusable: nothing after it can be trusted.
pub fn parse(from: &mut BytesMut, body_bytes_max: usize) -> Result<Option<Frame>, FrameError> {
    if from.len() < HEADER {
        return Ok(None);
    }
    if from[..4] != MAGIC {
        return Err(FrameError::Magic);
    }
    if from[4] != VERSION {
        return Err(FrameError::Version(from[4]));
    }
    let kind = Kind::from_number(from[5]).ok_or(FrameError::Kind(from[5]))?;
    let number = u32_at(from, 8);
    let group = GroupId::from_number(number).ok_or(FrameError::Group(number))?;
    let length = usize::try_from(u32_at(from, 12)).expect("32 bits fit");
    if length > body_bytes_max {
        return Err(FrameError::TooLong { length, limit: body_bytes_max });
    }
    if from.len() < HEADER + length {
        let missing = HEADER + length - from.len();
        from.reserve(missing.min(from.len().max(ROOM_BYTES)));
        return Ok(None);
    }
    let checksum = u32_at(from, 16);
    let body = &from[HEADER..HEADER + length];
    if crc32c::crc32c_append(crc32c::crc32c(&from[..16]), body) != checksum {
        return Err(FrameError::Checksum);
    }
    from.advance(HEADER);
    Ok(Some(Frame { kind, group, body: from.split_to(length).freeze() }))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// Lets postcard write behind what is there already, whole slices at a time.
struct Appending<'a>(&'a mut BytesMut);

impl postcard::ser_flavors::Flavor for Appending<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.extend_from_slice(&[byte]);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded() -> BytesMut {
        let mut bytes = BytesMut::new();
        let group = GroupId::from_number(3).unwrap();
        encode(&mut bytes, Kind::Message, group, &("hello", 7u64)).unwrap();
        bytes
    }

    #[test]
    fn a_frame_survives_the_way_in_any_pieces() {
        let whole = encoded();
        for cut in 0..whole.len() {
            let mut partial = BytesMut::from(&whole[..cut]);
            assert_eq!(parse(&mut partial, 100).unwrap(), None);
            partial.extend_from_slice(&whole[cut..]);
            let frame = parse(&mut partial, 100).unwrap().unwrap();
            assert_eq!(frame.kind, Kind::Message);
            assert_eq!(frame.decode::<(String, u64)>().unwrap(), ("hello".to_owned(), 7));
            assert!(partial.is_empty());
        }
    }

    #[test]
    fn no_flipped_bit_passes() {
        let whole = encoded();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(&mut flipped, 1 << 20), Ok(Some(_))), "bit {bit}");
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_from_the_header_alone() {
        let mut header = BytesMut::from(&encoded()[..HEADER]);
        let error = parse(&mut header, 3).unwrap_err();
        assert!(matches!(error, FrameError::TooLong { limit: 3, .. }));
    }
}
