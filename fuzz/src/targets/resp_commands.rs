//! Arbitrary words to the reading of commands: keys are among the words, and an answer is one line.

use bytes::{Bytes, BytesMut};
use quorate_node::resp::commands::{Command, parse};
use quorate_node::resp::{Protocol, Reply, encode};

pub(super) fn check(input: &[u8]) {
    let text = Bytes::copy_from_slice(input);
    let words: Vec<Bytes> =
        text.split(|byte| *byte == b'\n').map(|word| text.slice_ref(word)).collect();
    let reply = match parse(&words) {
        Ok(parsed) => match parsed.command {
            Command::Fixed(reply) => reply,
            Command::Data(data) => {
                assert!(data.operation.keys().iter().all(|key| words.contains(key)));
                return;
            }
            Command::Keyspace(_)
            | Command::Wait(_)
            | Command::Quorum(_)
            | Command::Session(_)
            | Command::Transaction(_)
            | Command::Connection(_)
            | Command::Client(_)
            | Command::Server(_)
            | Command::Cluster(_) => return,
        },
        Err(error) => Reply::Error(error.to_string()),
    };
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut out = BytesMut::new();
        encode(&reply, protocol, &mut out);
        assert!(out.ends_with(b"\r\n"));
        if let Reply::Error(_) = reply {
            assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    [
        "set\nkey\nvalue\npx\n100\nnx\nget",
        "mset\na\n1\nb\n2",
        "hset\nh\nf\nv\ng\nw",
        "hscan\nh\n0\nmatch\n*\ncount\n5\nnovalues",
        "zadd\nz\n1\nm",
        "once\ntoken\nincrby\na\n5",
        "session\nreads\nnearest",
        "quorum\n2\neach_quorum",
        "vset\nk\nv\ncontext\n01ab",
        "wait\n1\n100",
        "waitaof\n1\n1\n100",
        "client\nsetname\nme",
        "cluster\ngetkeysinslot\n7\n10",
        "config\nget\n*",
        "expireat\na\n1700000000\ngt",
        "sintercard\n2\na\nb\nlimit\n3",
        "delex\na\nifeq\nx",
        "copy\na\nb\nreplace",
        "scan\n0\nmatch\n*a*\ncount\n10\ntype\nstring",
        "hello\n3\nauth\nuser\nword\nsetname\nme",
        "command\ndocs\nget",
        "info\nall",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
