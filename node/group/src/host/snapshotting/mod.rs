//! Snapshots between hosts: the rows of one group at an exact position, as a stream of bytes cut into chunks.
//!
//! The stream is a head and the rows, each `row length(4) value length(4) row value`, little-endian, without the group's
//! prefix. A chunk may end anywhere, so that one large value never makes a large message. Every chunk has a checksum
//! and a number; the receiver takes them in order and says which one it wants next, which is also how a stream goes
//! on after a loss.
//!
//! The receiver stages rows under a generation of their own and switches to it with the standing; only when that is
//! flushed does the log start anew and the protocol hear of it (INV-34).

mod receiving;
mod sending;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_model::{LogFormat, WallTime};
use quorate_replication::single_leader::Configuration;
use serde::{Deserialize, Serialize};

use super::rows;

pub(super) use receiving::{Chunk, Incoming};
pub(super) use sending::Outgoing;

/// No row and no value is longer: what claims to be is damaged.
const PART_BYTES_MAX: usize = 128 << 20;

/// What goes with the rows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Head {
    configuration: Configuration,
    keys: u64,
    time: WallTime,
    format: LogFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the snapshot's stream is malformed")]
struct Malformed;

/// Takes a stream apart again, wherever it was cut.
#[derive(Debug, Default)]
struct Parser {
    rest: BytesMut,
    head: Option<Head>,
}

fn put_head(out: &mut BytesMut, head: &Head) {
    let head = rows::encode(head);
    out.put_u32_le(length(head.len()));
    out.put_slice(&head);
}

fn put_row(out: &mut BytesMut, row: &[u8], value: &[u8]) {
    out.put_u32_le(length(row.len()));
    out.put_u32_le(length(value.len()));
    out.put_slice(row);
    out.put_slice(value);
}

fn length(length: usize) -> u32 {
    assert!(length <= PART_BYTES_MAX, "rows are bounded when they are written");
    u32::try_from(length).expect("far below 4 GiB")
}

impl Parser {
    /// The rows that are complete with these bytes.
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<(Bytes, Bytes)>, Malformed> {
        self.rest.extend_from_slice(bytes);
        if self.head.is_none() {
            let Some(length) = self.peek(0)? else { return Ok(Vec::new()) };
            if self.rest.len() < 4 + length {
                return Ok(Vec::new());
            }
            self.rest.advance(4);
            let head = self.rest.split_to(length);
            self.head = Some(rows::decode(&head).map_err(|_| Malformed)?);
        }
        let mut rows = Vec::new();
        while let (Some(row), Some(value)) = (self.peek(0)?, self.peek(4)?)
            && self.rest.len() >= 8 + row + value
        {
            self.rest.advance(8);
            let row = self.rest.split_to(row).freeze();
            rows.push((row, self.rest.split_to(value).freeze()));
        }
        Ok(rows)
    }

    /// The head, when the stream ended where a row ends.
    fn finish(&self) -> Result<Head, Malformed> {
        if self.rest.is_empty() { self.head.clone().ok_or(Malformed) } else { Err(Malformed) }
    }

    fn peek(&self, at: usize) -> Result<Option<usize>, Malformed> {
        let Some(bytes) = self.rest.get(at..at + 4) else { return Ok(None) };
        let length = u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize;
        if length <= PART_BYTES_MAX { Ok(Some(length)) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_rows() {
        let head = Head {
            configuration: Configuration::default(),
            keys: 2,
            time: WallTime(9),
            format: LogFormat::Wal,
        };
        let mut stream = BytesMut::new();
        put_head(&mut stream, &head);
        put_row(&mut stream, b"a", b"");
        put_row(&mut stream, b"bc", &[7; 300]);
        for cut in 1..stream.len() {
            let mut parser = Parser::default();
            let mut rows = parser.push(&stream[..cut]).unwrap();
            rows.extend(parser.push(&stream[cut..]).unwrap());
            assert_eq!(rows.len(), 2);
            assert_eq!(rows[1], (Bytes::from_static(b"bc"), Bytes::from(vec![7; 300])));
            assert_eq!(parser.finish(), Ok(head.clone()));
        }
    }

    #[test]
    fn an_incomplete_or_absurd_stream_is_refused() {
        let mut parser = Parser::default();
        assert_eq!(parser.push(&[1, 0]).unwrap(), Vec::new());
        assert_eq!(parser.finish(), Err(Malformed));
        assert_eq!(Parser::default().push(&[0xff; 8]), Err(Malformed));
    }
}
