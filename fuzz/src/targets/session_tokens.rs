//! Tokens of sessions, which come from clients: what is accepted survives being written again.

use std::fmt::Write;

use quorate_model::StoreId;
use quorate_node::session::Token;

use crate::input::Input;

const STORE: StoreId = StoreId(0);
const SHARDS: usize = 16;
const VERSIONS: u8 = 3;

pub(super) fn check(input: &[u8]) {
    let mut input = Input(input);
    match input.byte() {
        0 => read(input.rest()),
        byte => read(sealed(1 + (byte - 1) % VERSIONS, input.rest()).as_bytes()),
    }
}

fn sealed(version: u8, content: &[u8]) -> String {
    let mut text = format!("qs{version}.");
    let checksum = crc32c::crc32c(content).to_be_bytes();
    for byte in content.iter().chain(&checksum) {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    text
}

fn read(text: &[u8]) {
    match Token::decode(text, STORE, SHARDS) {
        Ok(token) => {
            let again = token.clone().encode().expect("it is no longer than it was");
            assert_eq!(Token::decode(again.as_bytes(), STORE, SHARDS), Ok(token));
        }
        // The answer to the client.
        Err(refusal) => assert!(refusal.to_string().starts_with("BADTOKEN ")),
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    // The store, one shard, what is known of it, nothing else.
    let content = [&[0, 1, 3, 5, 200, 7, 9, 9], [0; 16].as_slice()].concat();
    // And, of several leaders: from `dc`, what that has of the shard, and nothing else.
    let leaders = [&content[..19], &[2, b'd', b'c', 1, 3, 1, 7, 9, 0]].concat();
    let text = sealed(1, &content);
    vec![
        [&[1], content.as_slice()].concat(),
        [&[3], leaders.as_slice()].concat(),
        [&[0], text.as_bytes()].concat(),
    ]
}
