//! Arbitrary words to the reading of commands: it never panics, and what it answers is one line.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use quorate_node::resp::commands::{Command, parse};
use quorate_node::resp::{Protocol, Reply, encode};

fuzz_target!(|text: &[u8]| {
    let text = Bytes::copy_from_slice(text);
    let words: Vec<Bytes> =
        text.split(|byte| *byte == b'\n').map(|word| text.slice_ref(word)).collect();
    let reply = match parse(&words) {
        Ok(parsed) => match parsed.command {
            Command::Fixed(reply) => reply,
            Command::Data(data) => {
                // Every key is one of the words.
                assert!(data.operation.keys().iter().all(|key| words.contains(key)));
                return;
            }
            Command::Keyspace(_)
            | Command::Wait(_)
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
});
