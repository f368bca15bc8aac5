//! Reading and writing frames on one connection.

use std::io;

use bytes::BytesMut;
use quorate_group::host::Failure;
use quorate_model::GroupId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::frame::{self, BODY_BYTES_MAX, Frame, FrameError, Kind};
use super::outbox::{Outbox, Outgoing};
use super::wire::Answer;

/// How much is encoded before it is written.
const WRITE_BYTES: usize = 256 << 10;
const READ_BYTES: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("closed by the peer")]
    Closed,
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the peer sent what cannot be read")]
    Frame(#[from] FrameError),
}

/// Takes frames off a connection, as many at a time as have arrived.
#[derive(Debug)]
pub(super) struct Reader<R> {
    from: R,
    buffer: BytesMut,
    body_bytes_max: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(from: R, body_bytes_max: usize) -> Self {
        Self { from, buffer: BytesMut::new(), body_bytes_max }
    }

    /// The peer has said who it is: it may send more at a time.
    pub(super) fn trust(&mut self) {
        self.body_bytes_max = BODY_BYTES_MAX;
    }

    /// Waits for at least one frame and moves all that are there to the empty `into`. Cancel-safe.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(super) async fn read(&mut self, into: &mut Vec<Frame>) -> Result<(), StreamError> {
        loop {
            while let Some(frame) = frame::parse(&mut self.buffer, self.body_bytes_max)? {
                into.push(frame);
            }
            if !into.is_empty() {
                return Ok(());
            }
            self.buffer.reserve(READ_BYTES);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Err(StreamError::Closed);
            }
        }
    }

    /// Waits for one frame of a handshake.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub(super) async fn one(&mut self) -> Result<Frame, StreamError> {
        loop {
            if let Some(frame) = frame::parse(&mut self.buffer, self.body_bytes_max)? {
                return Ok(frame);
            }
            self.buffer.reserve(1024);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Err(StreamError::Closed);
            }
        }
    }
}

/// Writes one frame of a handshake.
///
/// # Errors
/// The connection is of no use any more.
pub(super) async fn write_one<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    body: &T,
) -> Result<(), StreamError> {
    let mut bytes = BytesMut::new();
    frame::encode(&mut bytes, kind, GroupId::Meta, body)?;
    to.write_all(&bytes).await?;
    Ok(())
}

/// Reads the body of a handshake's frame.
///
/// # Errors
/// [`FrameError::Body`] when the frame is of another kind.
pub(super) fn expect<T: DeserializeOwned>(frame: &Frame, kind: Kind) -> Result<T, StreamError> {
    if frame.kind == kind { Ok(frame.decode()?) } else { Err(FrameError::Body.into()) }
}

/// Writes what comes into `outbox` until the connection fails.
pub(super) async fn drain(outbox: &Outbox, to: &mut (impl AsyncWrite + Unpin)) -> StreamError {
    let mut bytes = BytesMut::new();
    loop {
        let Some(items) = outbox.take(WRITE_BYTES).await else { return StreamError::Closed };
        for item in items {
            if let Err(error) = encode(&mut bytes, item) {
                return error.into();
            }
        }
        if let Err(error) = to.write_all(&bytes).await {
            return error.into();
        }
        bytes.clear();
        if bytes.capacity() > 4 * WRITE_BYTES {
            bytes = BytesMut::new();
        }
    }
}

fn encode(bytes: &mut BytesMut, item: Outgoing) -> Result<(), FrameError> {
    match item {
        Outgoing::Message { group, message } => {
            frame::encode(bytes, Kind::Message, group, &message)
        }
        Outgoing::Leaders(leaders) => {
            frame::encode(bytes, Kind::Leaders, GroupId::Meta, leaders.as_ref())
        }
        Outgoing::Request(forwarded) => {
            frame::encode(bytes, Kind::Request, forwarded.request.group(), forwarded.as_ref())
        }
        Outgoing::Answer(answer) => {
            let encoded = frame::encode(bytes, Kind::Answer, GroupId::Meta, answer.as_ref());
            let Err(error) = encoded else { return Ok(()) };
            let result = Err(Failure::Invalid(format!("the answer cannot be sent on: {error}")));
            let short = Answer { number: answer.number, result };
            frame::encode(bytes, Kind::Answer, GroupId::Meta, &short)
        }
    }
}
