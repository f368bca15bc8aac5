//! Rollback files: what is read survives being written again, and a file is whole or refused.

use bytes::Bytes;
use quorate_model::admin::RollbackFile;
use quorate_model::{GroupId, LogIndex, ShardId, Term, WallTime};
use quorate_node::rollback::{Contents, Lost};

use crate::input::Input;

pub(super) fn check(input: &[u8]) {
    let mut input = Input(input);
    let as_it_is = input.byte() == 0;
    let mut bytes = input.rest().to_vec();
    if !as_it_is {
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
    }
    let Some(contents) = Contents::decode(&bytes) else { return };
    let again = contents.encode().expect("it was read from less");
    assert_eq!(Contents::decode(&again).as_ref(), Some(&contents));
    assert_eq!(Contents::decode(&again[..again.len() - 1]), None);
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let lost = |index| Lost { index: LogIndex(index), command: Bytes::from_static(b"a command") };
    let head = RollbackFile {
        name: "shard-2-term-3-7-8".to_owned(),
        group: GroupId::Shard(ShardId(2)),
        term: Term(3),
        first: LogIndex(7),
        last: LogIndex(8),
        writes: 2,
        bytes: 18,
        saved_at: WallTime(1_000),
        led: true,
    };
    let bytes = Contents { head, lost: vec![lost(7), lost(8)] }.encode().expect("short");
    let content = &bytes[..bytes.len() - 4];
    vec![[&[0], bytes.as_slice()].concat(), [&[1], content].concat()]
}
