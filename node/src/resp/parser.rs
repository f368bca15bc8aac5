//! Bytes to requests, as they arrive: RESP2 arrays of bulk strings and inline commands, pipelined.
//!
//! Keeps: a byte is looked at once, however the stream is split; no memory is taken for an announced size before the
//! bytes are there; after a [`ProtocolError`] the connection is to be closed, since the stream has no known begin any more.

use bytes::{Buf, Bytes, BytesMut};

use super::{Limits, inline, parse_integer};

/// The half-read request of one connection.
#[derive(Debug, Default)]
pub struct Parser {
    state: State,
    /// How far the buffer was searched for the end of a line.
    searched: usize,
    arguments: Vec<Bytes>,
    /// Bytes of the half-read request that have left the buffer.
    taken: usize,
}

/// A command's name and its arguments: never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub arguments: Vec<Bytes>,
    /// How many bytes it took on the wire.
    pub bytes: usize,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProtocolError {
    #[error("ERR Protocol error: too big inline request")]
    InlineTooLong,
    #[error("ERR Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    #[error("ERR Protocol error: too big mbulk count string")]
    CountTooLong,
    #[error("ERR Protocol error: invalid multibulk length")]
    Count,
    #[error("ERR Protocol error: unauthenticated multibulk length")]
    CountUnauthenticated,
    #[error("ERR Protocol error: expected '$', got '{0}'")]
    ExpectedBulk(char),
    #[error("ERR Protocol error: too big bulk count string")]
    LengthTooLong,
    #[error("ERR Protocol error: invalid bulk length")]
    Length,
    #[error("ERR Protocol error: unauthenticated bulk length")]
    LengthUnauthenticated,
    #[error("ERR Protocol error: request exceeds {0} bytes")]
    RequestTooLong(u32),
    /// A browser or an attacker through one: Redis closes without an answer, so that nothing of a later body is run.
    #[error("ERR Protocol error: this is HTTP")]
    Http,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// Before the first byte of a request.
    #[default]
    Begin,
    /// Within an array: so many bulk strings are still to come.
    Array { missing: u32 },
    /// Within a bulk string of this length.
    Bulk { missing: u32, length: usize },
}

impl Parser {
    /// The next whole request of `input`, which loses what was understood. `None` when more bytes are needed.
    ///
    /// # Errors
    /// See [`ProtocolError`]; its text is the answer, then the connection is to be closed.
    pub fn next(
        &mut self,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<Request>, ProtocolError> {
        loop {
            let go_on = match self.state {
                State::Begin if input.is_empty() => false,
                State::Begin if input[0] == b'*' => self.count(input, limits)?,
                State::Begin => self.inline(input, limits)?,
                State::Array { missing: 0 } => {
                    return Ok(Some(self.finish()));
                }
                State::Array { missing } => self.length(missing, input, limits)?,
                State::Bulk { missing, length } => self.bulk(missing, length, input),
            };
            if !go_on {
                return Ok(None);
            }
        }
    }

    /// How many bytes must arrive at least before anything more can be understood.
    #[must_use]
    pub fn wants(&self, input: &BytesMut) -> usize {
        match self.state {
            State::Begin | State::Array { .. } => 1,
            State::Bulk { length, .. } => (length + 2).saturating_sub(input.len()).max(1),
        }
    }

    /// How many bytes of the half-read request are held, those in `input` included.
    #[must_use]
    pub fn held(&self, input: &BytesMut) -> usize {
        self.taken + input.len()
    }

    fn count(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<bool, ProtocolError> {
        let Some(line) = self.line(input, limits, ProtocolError::CountTooLong)? else {
            return Ok(false);
        };
        let count = parse_integer(&line[1..]).ok_or(ProtocolError::Count)?;
        if count > i64::from(limits.arguments_max) {
            return Err(if limits.authenticated {
                ProtocolError::Count
            } else {
                ProtocolError::CountUnauthenticated
            });
        }
        // An array of nothing is no request and gets no answer.
        self.state = match u32::try_from(count) {
            Ok(0) | Err(_) => State::Begin,
            Ok(missing) => State::Array { missing },
        };
        if self.state == State::Begin {
            self.taken = 0;
        }
        Ok(true)
    }

    fn length(
        &mut self,
        missing: u32,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<bool, ProtocolError> {
        match input.first() {
            None => return Ok(false),
            Some(b'$') => {}
            Some(other) => return Err(ProtocolError::ExpectedBulk(char::from(*other))),
        }
        let Some(line) = self.line(input, limits, ProtocolError::LengthTooLong)? else {
            return Ok(false);
        };
        let length = parse_integer(&line[1..])
            .and_then(|length| u32::try_from(length).ok())
            .ok_or(ProtocolError::Length)?;
        if length > limits.bulk_bytes_max {
            return Err(if limits.authenticated {
                ProtocolError::Length
            } else {
                ProtocolError::LengthUnauthenticated
            });
        }
        let length = usize::try_from(length).map_err(|_| ProtocolError::Length)?;
        if self.taken + length > limits.request_bytes_max as usize {
            return Err(ProtocolError::RequestTooLong(limits.request_bytes_max));
        }
        self.state = State::Bulk { missing, length };
        Ok(true)
    }

    fn bulk(&mut self, missing: u32, length: usize, input: &mut BytesMut) -> bool {
        // Redis does not look at the two bytes after a bulk string either.
        if input.len() < length + 2 {
            return false;
        }
        self.arguments.push(input.split_to(length).freeze());
        input.advance(2);
        self.taken += length + 2;
        self.state = State::Array { missing: missing - 1 };
        true
    }

    fn inline(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<bool, ProtocolError> {
        let Some(line) = self.line(input, limits, ProtocolError::InlineTooLong)? else {
            return Ok(false);
        };
        let words = inline::split(&line).ok_or(ProtocolError::UnbalancedQuotes)?;
        if words.is_empty() {
            self.taken = 0;
            return Ok(true);
        }
        let http =
            words[0].eq_ignore_ascii_case(b"post") || words[0].eq_ignore_ascii_case(b"host:");
        if http {
            return Err(ProtocolError::Http);
        }
        self.arguments = words;
        self.state = State::Array { missing: 0 };
        Ok(true)
    }

    /// Takes a line out of the buffer, without its end. Lines are bounded like inline requests.
    fn line(
        &mut self,
        input: &mut BytesMut,
        limits: &Limits,
        too_long: ProtocolError,
    ) -> Result<Option<BytesMut>, ProtocolError> {
        let line_max = limits.inline_bytes_max as usize;
        let Some(found) = input[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = input.len();
            return if input.len() > line_max { Err(too_long) } else { Ok(None) };
        };
        let end = self.searched + found;
        self.searched = 0;
        if end > line_max {
            return Err(too_long);
        }
        let mut line = input.split_to(end);
        input.advance(1);
        self.taken += end + 1;
        // Only an array's header must end with both; a lone line feed ends an inline request too.
        match line.last() {
            Some(b'\r') => line.truncate(end - 1),
            _ if line.first() == Some(&b'*') => return Err(ProtocolError::Count),
            _ if line.first() == Some(&b'$') && self.state != State::Begin => {
                return Err(ProtocolError::Length);
            }
            _ => {}
        }
        Ok(Some(line))
    }

    fn finish(&mut self) -> Request {
        let arguments = std::mem::take(&mut self.arguments);
        let bytes = std::mem::take(&mut self.taken);
        self.state = State::Begin;
        assert!(!arguments.is_empty() && bytes > 0);
        Request { arguments, bytes }
    }
}
