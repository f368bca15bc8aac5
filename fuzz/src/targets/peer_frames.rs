//! Frames between nodes: no frame is given out whose checksum is wrong, a stream is read the same however it is split, and
//! what a body is read as survives being written again.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use quorate_group::host::{Failure, OrderId, PeerMessage, ReadLevel, Reply, Request};
use quorate_group::{Operation, Read, Value, Write};
use quorate_model::{
    Addresses, Epoch, GroupId, LogIndex, NodeId, Position, ShardId, StoreId, Term,
};
use quorate_node::peer::frame::{self, BODY_BYTES_MAX, Frame, HANDSHAKE_BYTES_MAX, Kind};
use quorate_node::peer::wire::{Answer, Forwarded, Hello, Lane, Leaders, Refusal, Remote, Welcome};
use quorate_replication::single_leader::{Entry, Message, Payload};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::input::Input;

const HEADER_BYTES: usize = 20;
/// By number, from 1 on.
const KINDS: u8 = 7;

pub(super) fn check(input: &[u8]) {
    let mut input = Input(input);
    let mode = input.byte();
    if mode == 0 {
        let piece = usize::from(input.byte()).max(1);
        let whole = stream(input.0, usize::MAX, BODY_BYTES_MAX);
        let split = stream(input.0, piece, BODY_BYTES_MAX);
        assert_eq!(whole, split);
        whole.0.iter().for_each(read);
        // Before a peer has said who it is.
        stream(input.0, piece, HANDSHAKE_BYTES_MAX);
    } else {
        // A body under a checksum that is right.
        let bytes = framed(1 + (mode - 1) % KINDS, input.rest());
        let (frames, refused) = stream(&bytes, usize::MAX, BODY_BYTES_MAX);
        assert!(frames.len() == 1 && !refused);
        read(&frames[0]);
    }
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"QRTE".to_vec();
    bytes.extend([frame::VERSION, kind, 0, 0, 1, 0, 0, 0]);
    bytes.extend(u32::try_from(body.len()).expect("inputs are short").to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes), body);
    bytes.extend(checksum.to_le_bytes());
    bytes.extend(body);
    bytes
}

/// The frames, and whether the stream was refused in the end.
fn stream(bytes: &[u8], piece_bytes: usize, body_bytes_max: usize) -> (Vec<Frame>, bool) {
    let (mut buffer, mut frames, mut at) = (BytesMut::new(), Vec::new(), 0);
    for piece in bytes.chunks(piece_bytes) {
        buffer.extend_from_slice(piece);
        loop {
            match frame::parse(&mut buffer, body_bytes_max) {
                Ok(Some(frame)) => {
                    let (head, rest) = bytes[at..].split_at(HEADER_BYTES);
                    let body = &rest[..frame.body.len()];
                    let checksum = crc32c::crc32c_append(crc32c::crc32c(&head[..16]), body);
                    assert_eq!(head[16..], checksum.to_le_bytes(), "INV-44");
                    assert!(body == frame.body && body.len() <= body_bytes_max);
                    at += HEADER_BYTES + body.len();
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

fn read(frame: &Frame) {
    match frame.kind {
        Kind::Hello => again::<Hello>(frame),
        Kind::Welcome => again::<Welcome>(frame),
        Kind::Refusal => again::<Refusal>(frame),
        Kind::Message => again::<PeerMessage>(frame),
        Kind::Leaders => again::<Leaders>(frame),
        Kind::Request => {
            again::<Forwarded>(frame);
            if let Ok(Forwarded { request, .. }) = frame.decode() {
                let _group = (request.group(), request.writes(), request.bytes());
                drop(Request::from(request));
            }
        }
        Kind::Answer => again::<Answer>(frame),
    }
}

fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(frame: &Frame) {
    let Ok(read) = frame.decode::<T>() else { return };
    let mut bytes = BytesMut::new();
    if frame::encode(&mut bytes, frame.kind, frame.group, &read).is_err() {
        return;
    }
    let written = frame::parse(&mut bytes, BODY_BYTES_MAX).expect("just written");
    let written = written.expect("whole");
    assert_eq!(written.decode::<T>().as_ref(), Ok(&read));
}

/// As the second mode takes it.
fn body<T: Serialize>(kind: u8, body: &T) -> Vec<u8> {
    postcard::to_extend(body, vec![kind]).expect("these types always serialize to memory")
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let at = |port: u16| format!("10.0.0.7:{port}");
    let addresses =
        Addresses { peer: at(7400), plain: at(6379), cluster: at(6380), admin: at(7480) };
    let position = Position { term: Term(3), index: LogIndex(70_000) };
    let hello = Hello {
        store: StoreId(9),
        from: NodeId(1),
        to: Some(NodeId(2)),
        addresses: addresses.clone(),
        lane: Lane::Replication,
        boot: 77,
    };
    let welcome = Welcome { node: NodeId(2), addresses: addresses.clone(), boot: 78 };
    let payload = Payload::Command(Bytes::from_static(b"a command"));
    let append = Message::Append {
        term: Term(3),
        previous: position,
        entries: vec![Entry { position, payload }],
        committed: LogIndex(69_999),
        round: 4,
    };
    let chunk = PeerMessage::SnapshotChunk {
        position,
        stream: 5,
        number: 1,
        last: false,
        order: OrderId { term: Term(3), number: 2 },
        checksum: 1,
        payload: Bytes::from_static(b"rows"),
    };
    let leaders =
        Leaders { leads: vec![(GroupId::Meta, Term(3))], moved: vec![(NodeId(3), addresses)] };
    let shard = ShardId(0);
    let request = Remote::Execute {
        shard,
        operation: Operation::Write(nested_write()),
        level: ReadLevel::Linearizable,
    };
    let forwarded = Forwarded { number: 6, generation: Some(1), request };
    let read_topology = Forwarded { number: 7, generation: None, request: Remote::ReadTopology };
    let value = Value::List(vec![Value::Integer(1), Value::Bulk(Bytes::from_static(b"x"))]);
    let answer = Answer { number: 6, result: Ok(Reply::Value { value, position: Some(position) }) };
    let moved = Failure::EpochMoved { expected: Epoch(1), current: Epoch(2) };
    let failed = Answer { number: 7, result: Err(moved) };

    let mut whole = BytesMut::new();
    frame::encode(&mut whole, Kind::Hello, GroupId::Meta, &hello).expect("short");
    let message = PeerMessage::Replication(append.clone());
    frame::encode(&mut whole, Kind::Message, GroupId::Shard(shard), &message).expect("short");
    vec![
        [&[0, 7], whole.as_ref()].concat(),
        body(1, &hello),
        body(2, &welcome),
        body(3, &Refusal::OtherNode { actual: NodeId(4) }),
        body(4, &PeerMessage::Replication(append)),
        body(4, &chunk),
        body(5, &leaders),
        body(6, &forwarded),
        body(6, &read_topology),
        body(7, &answer),
        body(7, &failed),
    ]
}

fn nested_write() -> Write {
    let write = Write::Transaction {
        watched: Vec::new(),
        operations: vec![
            Operation::Write(Write::Increment { key: Bytes::from_static(b"a"), by: 7 }),
            Operation::Read(Read::Get { key: Bytes::from_static(b"a") }),
        ],
    };
    Write::Once {
        token: Bytes::from_static(b"token"),
        fingerprint: 8,
        write: Box::new(write),
        answer: None,
    }
}
