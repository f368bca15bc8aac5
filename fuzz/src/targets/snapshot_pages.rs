//! Pages of a snapshot: what is taken off them is what was put on them, and a store takes all rows of a stream or none.

use bytes::{Bytes, BytesMut};
use quorate_storage::state::bulk::{Ingest, put_row, take_row};
use quorate_storage::state::model::Store;
use quorate_storage::state::{Rows, StateStore};

use crate::input::{Input, put_part};

const PREFIX: &[u8] = b"prefix00";
const END: &[u8] = b"prefix01";

pub(super) fn check(input: &[u8]) {
    let mut input = Input(input);
    let store = Store::new();
    let mut ingest = store.ingest(Bytes::from_static(PREFIX), Bytes::from_static(END));
    let mut sent = Vec::new();
    while !input.0.is_empty() {
        let page = Bytes::copy_from_slice(input.part());
        sent.extend(rows(page.clone()));
        ingest.push(page);
    }
    ingest.finish();
    let finished = ingest.finished();
    let stored = store.range(PREFIX, END, usize::MAX).expect("a model is readable");
    match finished {
        Ok(Some(count)) => {
            let under = |row: &Bytes| Bytes::from([PREFIX, row].concat());
            let sent: Vec<_> =
                sent.iter().map(|(row, value)| (under(row), value.clone())).collect();
            assert_eq!(stored, sent);
            assert_eq!(count, stored.len() as u64);
        }
        Ok(None) => panic!("a model's ingestion ends at once"),
        Err(_) => assert!(stored.is_empty()),
    }
}

/// The rows of a page as far as it is one.
fn rows(mut page: Bytes) -> Vec<(Bytes, Bytes)> {
    let mut found = Vec::new();
    while !page.is_empty() {
        let before = page.clone();
        let Some((row, value)) = take_row(&mut page) else { break };
        let mut again = BytesMut::new();
        put_row(&mut again, &row, &value);
        assert_eq!(again, before[..before.len() - page.len()]);
        found.push((row, value));
    }
    found
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let (mut first, mut second) = (BytesMut::new(), BytesMut::new());
    put_row(&mut first, b"a", b"");
    put_row(&mut first, b"b", &[7; 300]);
    put_row(&mut second, b"bb", b"value");
    let mut input = Vec::new();
    put_part(&mut input, &first);
    put_part(&mut input, &second);
    vec![input]
}
