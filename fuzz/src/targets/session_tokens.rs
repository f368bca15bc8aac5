//! Tokens of sessions, which come from clients: what is accepted survives being written again.

use std::fmt::Write;

use quorate_model::StoreId;
use quorate_node::session::Token;

use crate::input::Input;

const STORE: StoreId = StoreId(0);
const SHARDS: usize = 16;

pub(super) fn check(input: &[u8]) {
    let mut input = Input(input);
    if input.byte() == 0 {
        read(input.rest());
    } else {
        read(sealed(input.rest()).as_bytes());
    }
}

fn sealed(content: &[u8]) -> String {
    let mut text = "qs1.".to_owned();
    let checksum = crc32c::crc32c(content).to_be_bytes();
    for byte in content.iter().chain(&checksum) {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    text
}

fn read(text: &[u8]) {
    match Token::decode(text, STORE, SHARDS) {
        Ok(token) => {
            let again = token.clone().encode();
            assert_eq!(Token::decode(again.as_bytes(), STORE, SHARDS), Ok(token));
        }
        // The answer to the client.
        Err(refusal) => assert!(refusal.to_string().starts_with("BADTOKEN ")),
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    // The store, one shard, what is known of it, nothing else.
    let content = [&[0, 1, 3, 5, 200, 7, 9, 9], [0; 16].as_slice()].concat();
    let text = sealed(&content);
    vec![[&[1], content.as_slice()].concat(), [&[0], text.as_bytes()].concat()]
}
