//! A client of the Redis protocol that does nothing but write requests and count their replies.
//!
//! One for Quorate, Redis and Valkey, so that a difference between them is theirs. It parses only as much of a reply
//! as it takes to know that it was the expected one.

use anyhow::{Context, Result, bail};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Debug)]
pub(crate) struct Resp {
    stream: TcpStream,
    out: Vec<u8>,
    input: BytesMut,
}

/// One reply, as far as anybody here looks at it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    Text(Bytes),
    Error(String),
    Integer(i64),
    Bulk(Bytes),
    Null,
}

impl Resp {
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, out: Vec::with_capacity(4096), input: BytesMut::with_capacity(16_384) })
    }

    /// Adds a command to those that `flush` sends.
    pub(crate) fn queue(&mut self, arguments: &[&[u8]]) {
        encode(&mut self.out, arguments);
    }

    pub(crate) async fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    /// The next reply.
    pub(crate) async fn reply(&mut self) -> Result<Reply> {
        loop {
            if let Some(reply) = parse(&mut self.input)? {
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }

    /// Whether something of the next reply is there already.
    pub(super) fn has_reply(&self) -> bool {
        !self.input.is_empty()
    }

    /// One command, one reply.
    pub(crate) async fn call(&mut self, arguments: &[&[u8]]) -> Result<Reply> {
        self.queue(arguments);
        self.flush().await?;
        self.reply().await
    }
}

fn encode(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    number(out, b'*', arguments.len());
    for argument in arguments {
        number(out, b'$', argument.len());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

fn number(out: &mut Vec<u8>, kind: u8, value: usize) {
    use std::io::Write;
    out.push(kind);
    write!(out, "{value}\r\n").expect("a vector takes everything");
}

fn parse(input: &mut BytesMut) -> Result<Option<Reply>> {
    let Some(end) = input.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let line = &input[1..end];
    let reply = match input[0] {
        b'+' => Reply::Text(Bytes::copy_from_slice(line)),
        b'-' => Reply::Error(String::from_utf8_lossy(line).into_owned()),
        b':' => Reply::Integer(integer(line)?),
        b'_' => Reply::Null,
        b'$' => {
            let length = integer(line)?;
            let Ok(length) = usize::try_from(length) else {
                input.advance(end + 2);
                return Ok(Some(Reply::Null));
            };
            if input.len() < end + 2 + length + 2 {
                return Ok(None);
            }
            input.advance(end + 2);
            let bulk = input.split_to(length).freeze();
            input.advance(2);
            return Ok(Some(Reply::Bulk(bulk)));
        }
        kind => bail!("a reply of kind {:?} was not expected", char::from(kind)),
    };
    input.advance(end + 2);
    Ok(Some(reply))
}

fn integer(line: &[u8]) -> Result<i64> {
    Ok(std::str::from_utf8(line)?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut out = Vec::new();
        encode(&mut out, &[b"GET", b"key"]);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
    }

    #[test]
    fn replies_are_taken_one_by_one_and_only_when_whole() {
        let mut input = BytesMut::from(&b"+OK\r\n:2\r\n$-1\r\n-ERR no\r\n$3\r\nab"[..]);
        let mut replies = Vec::new();
        while let Some(reply) = parse(&mut input).unwrap() {
            replies.push(reply);
        }
        let expected = [
            Reply::Text(Bytes::from("OK")),
            Reply::Integer(2),
            Reply::Null,
            Reply::Error("ERR no".to_owned()),
        ];
        assert_eq!(replies, expected);
        input.extend_from_slice(b"c\r\n");
        assert_eq!(parse(&mut input).unwrap(), Some(Reply::Bulk(Bytes::from("abc"))));
        assert!(input.is_empty());
    }
}
