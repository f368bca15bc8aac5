//! As much of protocol buffers as etcd's `Range` and `Put` take: length-delimited fields, and counting key-values.
//! Field numbers are those of etcd's `rpc.proto` and `kv.proto`.

use anyhow::{Context, Result, bail};
use bytes::{BufMut, Bytes, BytesMut};

const KEY: u32 = 1;
const VALUE: u32 = 2;
const RANGE_KVS: u32 = 2;
const RANGE_SERIALIZABLE: u32 = 7;
const KV_VALUE: u32 = 5;
const TXN_SUCCESS: u32 = 2;
const REQUEST_OP_PUT: u32 = 2;

const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;
/// A gRPC message is a flag (compressed or not) and a length of four bytes before its bytes.
pub(crate) const GRPC_PREFIX: usize = 5;

pub(crate) fn put(key: &[u8], value: &[u8]) -> Bytes {
    framed(|message| {
        bytes_field(message, KEY, key);
        bytes_field(message, VALUE, value);
    })
}

/// Linearizable, unless `serializable`.
pub(crate) fn range(key: &[u8], serializable: bool) -> Bytes {
    framed(|message| {
        bytes_field(message, KEY, key);
        if serializable {
            varint(message, RANGE_SERIALIZABLE << 3 | VARINT);
            varint(message, 1);
        }
    })
}

/// Many puts in one transaction without conditions.
pub(crate) fn puts(entries: &[(Bytes, Bytes)]) -> Bytes {
    framed(|message| {
        let (mut put, mut operation) = (BytesMut::new(), BytesMut::new());
        for (key, value) in entries {
            put.clear();
            operation.clear();
            bytes_field(&mut put, KEY, key);
            bytes_field(&mut put, VALUE, value);
            bytes_field(&mut operation, REQUEST_OP_PUT, &put);
            bytes_field(message, TXN_SUCCESS, &operation);
        }
    })
}

/// The value of the first key-value in a `RangeResponse`.
pub(crate) fn first_value(message: &[u8]) -> Result<Option<Bytes>> {
    let mut fields = Fields(message);
    while let Some((number, content)) = fields.next()? {
        if number == RANGE_KVS {
            let mut fields = Fields(content);
            while let Some((number, content)) = fields.next()? {
                if number == KV_VALUE {
                    return Ok(Some(Bytes::copy_from_slice(content)));
                }
            }
            return Ok(Some(Bytes::new()));
        }
    }
    Ok(None)
}

fn framed(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut message = BytesMut::with_capacity(160);
    message.put_bytes(0, GRPC_PREFIX);
    write(&mut message);
    let length = u32::try_from(message.len() - GRPC_PREFIX).expect("requests are small");
    message[1..GRPC_PREFIX].copy_from_slice(&length.to_be_bytes());
    message.freeze()
}

fn bytes_field(message: &mut BytesMut, number: u32, content: &[u8]) {
    varint(message, number << 3 | LENGTH_DELIMITED);
    varint(message, u32::try_from(content.len()).expect("requests are small"));
    message.extend_from_slice(content);
}

fn varint(message: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        message.put_u8(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    message.put_u8(value.to_le_bytes()[0]);
}

/// The fields of a message; numbers are passed over, their content is empty.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u32, &'a [u8])>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)?;
        match u32::try_from(tag & 7)? {
            VARINT => {
                self.varint()?;
                Ok(Some((number, &[])))
            }
            LENGTH_DELIMITED => {
                let length = usize::try_from(self.varint()?)?;
                let (content, rest) = self.0.split_at_checked(length).context("cut short")?;
                self.0 = rest;
                Ok(Some((number, content)))
            }
            kind => bail!("a field of wire type {kind}"),
        }
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().context("cut short")?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        bail!("a number of more than 64 bits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_is_framed_and_holds_key_and_value() {
        assert_eq!(&put(b"k", b"vw")[..], b"\x00\x00\x00\x00\x07\x0a\x01k\x12\x02vw");
        let long = put(b"k", &[b'x'; 200]);
        assert_eq!(long[8..11], [0x12, 0xc8, 0x01], "a length over 127 takes two bytes");
    }

    #[test]
    fn the_value_of_a_range_response_is_found() {
        // header {revision: 300}, kvs {key: "k", mod_revision: 5, value: "v"}, count 1
        let message = b"\x0a\x03\x18\xac\x02\x12\x08\x0a\x01k\x18\x05\x2a\x01v\x20\x01";
        assert_eq!(first_value(message).unwrap(), Some(Bytes::from("v")));
        assert_eq!(first_value(b"\x0a\x03\x18\xac\x02").unwrap(), None);
        assert!(first_value(b"\x12\x08\x0a").is_err());
    }
}
