//! The dialling side of a link: connects, says who it is, sends what waits, and connects again.
//!
//! The end of a connection tells something: when a new one is refused, or another process answers, the process that
//! was there is dead, and the driver hears of it at once instead of after a timeout.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quorate_group::host::Input;
use quorate_model::NodeId;
use rand::RngExt;
use tokio::net::tcp::OwnedReadHalf;

use super::frame::{FrameError, HANDSHAKE_BYTES_MAX, Kind};
use super::links::{Links, Me, log_end};
use super::peers::Peer;
use super::socket::{self, Connection};
use super::stream::{self, Reader, StreamError};
use super::wire::{Answer, Hello, Lane, Refusal, Welcome};
use crate::driver::Event;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// A connection that lived this long ended for a reason of its own: dial again without a pause.
const LASTED: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(super) enum GreetError {
    #[error("cannot connect")]
    Dial(#[source] std::io::Error),
    #[error("the handshake failed")]
    Stream(#[from] StreamError),
    #[error("the handshake took too long")]
    Timeout,
    #[error("the peer refuses the connection")]
    Refused(#[source] Refusal),
    #[error("another node is there: {0}")]
    OtherNode(NodeId),
}

/// Keeps one lane to one peer connected until the peer is over.
pub(super) async fn keep_connected(links: Links, peer: Arc<Peer>, lane: Lane) {
    let over = peer.over.clone();
    tokio::select! {
        () = over.cancelled() => {}
        () = links.shared.over.cancelled() => {}
        never = reconnect(&links, &peer, lane) => match never {},
    }
    peer.lost(lane);
}

async fn reconnect(links: &Links, peer: &Peer, lane: Lane) -> std::convert::Infallible {
    let mut backoff = BACKOFF_FIRST;
    // Whether there was a connection whose end has not been explained yet.
    let mut was_up = false;
    loop {
        let kick = peer.kick.notified();
        match connect(links, peer, lane).await {
            Ok((connection, welcome)) => {
                let before = Instant::now();
                note_process(links, peer, lane, &welcome);
                let error = run(links, peer, lane, connection).await;
                peer.lost(lane);
                log_end(peer.id, lane, &error);
                was_up = true;
                if before.elapsed() >= LASTED {
                    backoff = BACKOFF_FIRST;
                    continue;
                }
            }
            Err(error) => {
                if was_up && lane == Lane::Replication && error.means_death() {
                    was_up = false;
                    tracing::info!(peer = %peer.id, "a peer's process is gone");
                    links.shared.inbox.report(Event::Input(Input::PeerRefused { peer: peer.id }));
                }
                let error: &dyn std::error::Error = &error;
                tracing::trace!(peer = %peer.id, ?lane, error, "no link");
            }
        }
        let jitter = rand::rng().random_range(0.75..1.25);
        tokio::select! {
            () = tokio::time::sleep(backoff.mul_f64(jitter)) => {}
            () = kick => {}
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Dials the peer where it was last known to be, then where the topology says.
async fn connect(links: &Links, peer: &Peer, lane: Lane) -> Result<(Greeted, Welcome), GreetError> {
    let mut failure = GreetError::Timeout;
    let addresses = peer.dial_addresses();
    let several = addresses.len() > 1;
    for address in addresses {
        match greet(&links.shared.me, &address, Some(peer.id), lane).await {
            Ok(greeted) => return Ok(greeted),
            Err(error) if several && failure.means_death() && !error.means_death() => {}
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// A connection whose other side is known.
pub(super) struct Greeted {
    reader: Reader<OwnedReadHalf>,
    writer: tokio::net::tcp::OwnedWriteHalf,
}

/// Connects to an address and says who this is; `to` is whom it means to reach.
pub(super) async fn greet(
    me: &Me,
    address: &str,
    to: Option<NodeId>,
    lane: Lane,
) -> Result<(Greeted, Welcome), GreetError> {
    let connection = socket::dial(address).await.map_err(GreetError::Dial)?;
    tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(me, connection, to, lane))
        .await
        .unwrap_or(Err(GreetError::Timeout))
}

async fn handshake(
    me: &Me,
    connection: Connection,
    to: Option<NodeId>,
    lane: Lane,
) -> Result<(Greeted, Welcome), GreetError> {
    let (from, mut writer) = connection.into_split();
    let mut reader = Reader::new(from, HANDSHAKE_BYTES_MAX);
    let addresses = me.addresses.clone();
    let hello = Hello { store: me.store, from: me.node, to, addresses, lane, boot: me.boot };
    stream::write_one(&mut writer, Kind::Hello, &hello).await?;
    let frame = reader.one().await?;
    if frame.kind == Kind::Refusal {
        return Err(match frame.decode().map_err(StreamError::Frame)? {
            Refusal::OtherNode { actual } => GreetError::OtherNode(actual),
            refusal @ (Refusal::OtherStore | Refusal::Yourself | Refusal::TooMany) => {
                GreetError::Refused(refusal)
            }
        });
    }
    let welcome: Welcome = stream::expect(&frame, Kind::Welcome)?;
    if to.is_some_and(|to| to != welcome.node) {
        return Err(GreetError::OtherNode(welcome.node));
    }
    reader.trust();
    Ok((Greeted { reader, writer }, welcome))
}

/// Another process than the one that was there: the old one is dead.
fn note_process(links: &Links, peer: &Peer, lane: Lane, welcome: &Welcome) {
    peer.announce(&welcome.addresses);
    if lane != Lane::Replication {
        return;
    }
    let before = peer.boot.swap(welcome.boot, Ordering::Relaxed);
    if before != 0 && before != welcome.boot {
        tracing::info!(peer = %peer.id, "a peer's process was replaced");
        links.shared.inbox.report(Event::Input(Input::PeerRefused { peer: peer.id }));
    }
}

/// Sends and receives until the connection fails.
async fn run(links: &Links, peer: &Peer, lane: Lane, connection: Greeted) -> StreamError {
    let Greeted { mut reader, mut writer } = connection;
    let outbox = peer.lane(lane);
    outbox.open();
    tracing::debug!(peer = %peer.id, ?lane, "a link is up");
    if lane == Lane::Replication {
        links.shared.established.notify_one();
    }
    let writing = stream::drain(outbox, &mut writer);
    tokio::select! {
        error = writing => error,
        error = take_answers(peer, &mut reader) => error,
    }
}

async fn take_answers(peer: &Peer, reader: &mut Reader<OwnedReadHalf>) -> StreamError {
    let mut frames = Vec::new();
    loop {
        if let Err(error) = reader.read(&mut frames).await {
            return error;
        }
        for frame in frames.drain(..) {
            // Nothing else comes back to the side that dialled.
            match stream::expect::<Answer>(&frame, Kind::Answer) {
                Ok(answer) => peer.answered(answer.number, answer.result),
                Err(error) => return error,
            }
        }
    }
}

impl GreetError {
    /// Whether the process that was there before cannot be there any more.
    fn means_death(&self) -> bool {
        match self {
            Self::Dial(error) => error.kind() == ErrorKind::ConnectionRefused,
            Self::OtherNode(_) => true,
            Self::Stream(
                StreamError::Closed
                | StreamError::Io(_)
                | StreamError::Frame(
                    FrameError::Magic
                    | FrameError::Version(_)
                    | FrameError::Kind(_)
                    | FrameError::Group(_)
                    | FrameError::TooLong { .. }
                    | FrameError::Checksum
                    | FrameError::Body,
                ),
            )
            | Self::Timeout
            | Self::Refused(_) => false,
        }
    }
}
