//! The accepting side of a link: checks who dials, hands what arrives to the driver, sends answers back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use quorate_group::host::{Failure, Reply};
use quorate_model::NodeId;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::frame::{Frame, HANDSHAKE_BYTES_MAX, Kind};
use super::links::{Links, log_end};
use super::outbox::{NotTaken, Outbox, Outgoing, message_bytes};
use super::peers::Peer;
use super::socket;
use super::stream::{self, Reader, StreamError};
use super::wire::{Answer, Forwarded, Hello, Lane, Leaders, Refusal, Welcome};
use crate::driver::{AnswerTo, Asked, Event, Stream};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections that have not said who they are, and those that have.
const CONNECTIONS_MAX: usize = 4_096;

/// Numbers inbound connections, so that the streams of each are told apart; 0 is this node itself.
static SOURCES: AtomicU64 = AtomicU64::new(1);

/// Answers requests that came over one connection.
#[derive(Clone, Debug)]
pub struct Answers {
    outbox: Arc<Outbox>,
}

/// Accepts links until they are closed.
pub async fn accept(links: Links, listener: TcpListener) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = tokio::select! {
            () = links.shared.over.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((connection, _)) => {
                let (links, open) = (links.clone(), Arc::clone(&open));
                tokio::spawn(async move {
                    let crowded = open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX;
                    let over = links.shared.over.clone();
                    tokio::select! {
                        () = over.cancelled() => {}
                        () = serve(links, connection, crowded) => {}
                    }
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: accepting again at once would spin.
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept a link");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(links: Links, connection: TcpStream, crowded: bool) {
    let Ok(connection) = socket::accepted(connection) else { return };
    let (from, mut writer) = connection.into_split();
    let mut reader = Reader::new(from, HANDSHAKE_BYTES_MAX);
    let greeting = greet(&links, &mut reader, &mut writer, crowded);
    let (hello, peer) = match tokio::time::timeout(HANDSHAKE_TIMEOUT, greeting).await {
        Ok(Ok(Some(met))) => met,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, "a connection was not a link");
            return;
        }
        Err(_) => return,
    };
    reader.trust();
    peer.inbound.fetch_add(1, Ordering::Relaxed);
    let error = match hello.lane {
        Lane::Replication | Lane::Bulk => receive(&links, hello.from, &mut reader).await,
        Lane::Requests => answer(&links, reader, writer).await,
    };
    peer.inbound.fetch_sub(1, Ordering::Relaxed);
    log_end(hello.from, hello.lane, &error);
    // The process that dialled may be gone: whoever dials it finds out at once, not after the pause between dials.
    peer.kick.notify_waiters();
}

/// `None` when the connection was refused.
async fn greet(
    links: &Links,
    reader: &mut Reader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
    crowded: bool,
) -> Result<Option<(Hello, Arc<Peer>)>, StreamError> {
    let frame = reader.one().await?;
    let hello: Hello = stream::expect(&frame, Kind::Hello)?;
    let me = links.me();
    let refusal = if hello.store != me.store {
        Some(Refusal::OtherStore)
    } else if hello.from == me.node {
        Some(Refusal::Yourself)
    } else if hello.to.is_some_and(|to| to != me.node) {
        Some(Refusal::OtherNode { actual: me.node })
    } else if crowded {
        Some(Refusal::TooMany)
    } else {
        None
    };
    let peer = if refusal.is_none() { links.met(hello.from, &hello.addresses) } else { None };
    let Some(peer) = peer else {
        let refusal = refusal.unwrap_or(Refusal::TooMany);
        tracing::debug!(from = %hello.from, %refusal, "refused a link");
        stream::write_one(writer, Kind::Refusal, &refusal).await?;
        return Ok(None);
    };
    let welcome = Welcome { node: me.node, addresses: me.addresses.clone(), boot: me.boot };
    stream::write_one(writer, Kind::Welcome, &welcome).await?;
    Ok(Some((hello, peer)))
}

/// Takes messages until the connection fails.
async fn receive(links: &Links, from: NodeId, reader: &mut Reader<OwnedReadHalf>) -> StreamError {
    let mut frames = Vec::new();
    let mut events = Vec::new();
    loop {
        if let Err(error) = reader.read(&mut frames).await {
            return error;
        }
        for frame in frames.drain(..) {
            match message(links, from, &frame) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => {}
                Err(error) => return error,
            }
        }
        if !events.is_empty() {
            links.shared.inbox.deliver(&mut events).await;
        }
    }
}

fn message(links: &Links, from: NodeId, frame: &Frame) -> Result<Option<Event>, StreamError> {
    match frame.kind {
        Kind::Message => {
            let message = frame.decode()?;
            let bytes = message_bytes(&message);
            Ok(Some(Event::Message { from, group: frame.group, message, bytes }))
        }
        Kind::Leaders => {
            let leaders: Leaders = frame.decode()?;
            links.hear_of(&leaders.moved);
            links.shared.hear.leaders(from, leaders);
            Ok(None)
        }
        Kind::Hello | Kind::Welcome | Kind::Refusal | Kind::Request | Kind::Answer => {
            Err(super::frame::FrameError::Body.into())
        }
    }
}

/// Takes requests and sends their answers until the connection fails.
async fn answer(
    links: &Links,
    mut reader: Reader<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
) -> StreamError {
    let source = SOURCES.fetch_add(1, Ordering::Relaxed);
    let outbox = Arc::new(Outbox::closed());
    outbox.open();
    let answers = Answers { outbox: Arc::clone(&outbox) };
    let error = tokio::select! {
        error = stream::drain(&outbox, &mut writer) => error,
        error = take_requests(links, source, &mut reader, &answers) => error,
    };
    drop(outbox.close());
    links.shared.inbox.report(Event::SourceGone(source));
    error
}

async fn take_requests(
    links: &Links,
    source: u64,
    reader: &mut Reader<OwnedReadHalf>,
    answers: &Answers,
) -> StreamError {
    let mut frames = Vec::new();
    loop {
        if let Err(error) = reader.read(&mut frames).await {
            return error;
        }
        for frame in frames.drain(..) {
            match stream::expect(&frame, Kind::Request) {
                Ok(forwarded) => ask(links, source, forwarded, answers),
                Err(error) => return error,
            }
        }
    }
}

fn ask(links: &Links, source: u64, forwarded: Forwarded, answers: &Answers) {
    let Forwarded { number, generation, request } = forwarded;
    let stream = generation.map(|generation| Stream { source, group: request.group(), generation });
    let answer = AnswerTo::Peer { answers: answers.clone(), number };
    let inbox = &links.shared.inbox;
    let asked = Asked { id: inbox.next_id(), request: request.into(), stream, answer };
    if let Err(asked) = inbox.ask(Box::new(asked)) {
        asked.answer.send(Err(Failure::Overloaded));
    }
}

impl Answers {
    /// Sends an answer back. When there is no room for it the connection ends, so that the asker is not left waiting.
    pub fn send(&self, number: u64, result: Result<Reply, Failure>) {
        let answer = Outgoing::Answer(Box::new(Answer { number, result }));
        match self.outbox.push(answer) {
            Ok(()) | Err(NotTaken::Closed) => {}
            Err(NotTaken::Full) => self.outbox.fail(),
        }
    }
}
