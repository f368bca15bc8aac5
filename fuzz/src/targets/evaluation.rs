//! Operations as they come from peers and logs, on rows as a disk gives them back: whatever they are, evaluating them ends with
//! an answer, or with the news that the rows are damaged, and a write and its statement come to the same rows.
//!
//! What this node's own parser would have refused is refused or answered with an error here as well.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use quorate_group::entry::Statement;
use quorate_group::keyspace::{Context, Effects, Expired, View, evaluate, read};
use quorate_group::{CollectionKind, Operation, Part, Read, Write};
use quorate_model::WallTime;
use serde::{Deserialize, Serialize};

const PREFIX: &[u8] = b"prefix00";

#[derive(Serialize, Deserialize)]
struct Case {
    rows: Vec<(Bytes, Bytes)>,
    keys: u16,
    now: u32,
    seed: u64,
    operation: Operation,
}

static WRITTEN: LazyLock<BTreeMap<Bytes, Bytes>> = LazyLock::new(|| under_prefix(written_rows()));

fn under_prefix(rows: impl IntoIterator<Item = (Bytes, Bytes)>) -> BTreeMap<Bytes, Bytes> {
    let under = |row: &Bytes| Bytes::from([PREFIX, row].concat());
    rows.into_iter().map(|(row, value)| (under(&row), value)).collect()
}

pub(super) fn check(input: &[u8]) {
    let Ok(case) = postcard::from_bytes::<Case>(input) else { return };
    let Case { rows, keys, now, seed, operation } = case;
    let rows = under_prefix(rows);
    // Rows that contradict each other are promised no more than that they stop nobody.
    let as_written = rows == *WRITTEN;
    let view = View::applied(&rows, PREFIX, u64::from(keys));
    let context = Context { now: WallTime(u64::from(now)), seed };
    match operation {
        Operation::Read(one) => {
            drop(read(&one, context, &view, Expired::Hide));
        }
        Operation::Write(write) => {
            let Ok(evaluated) = evaluate(&write, context, &view) else { return };
            let effects = &evaluated.effects;
            assert_eq!(Effects::decode(effects.encode()).as_ref(), Ok(effects));
            if let Ok(statement) = Statement::pin(&write, &evaluated, seed)
                && !effects.is_empty()
                && as_written
            {
                let again = statement.evaluate(&view).expect("the same rows were read");
                assert_eq!(&again.effects, effects, "INV-68");
            }
        }
    }
}

/// What an honest store holds.
fn written_rows() -> BTreeMap<Bytes, Bytes> {
    let mut rows: BTreeMap<Bytes, Bytes> = BTreeMap::new();
    for write in &writes() {
        let context = Context { now: WallTime(1_000), seed: 3 };
        let view = View::applied(&rows, b"", 3);
        let effects = evaluate(write, context, &view).expect("rows in memory are readable").effects;
        for change in effects.changes {
            match change.value {
                Some(value) => drop(rows.insert(change.row, value)),
                None => drop(rows.remove(&change.row)),
            }
        }
    }
    rows
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let rows: Vec<(Bytes, Bytes)> = written_rows().into_iter().collect();
    writes()
        .into_iter()
        .map(Operation::Write)
        .chain(more())
        .map(|operation| {
            let rows = rows.clone();
            let case = Case { rows, keys: 3, now: 1_200, seed: 4, operation };
            postcard::to_allocvec(&case).expect("these types always serialize to memory")
        })
        .collect()
}

/// What the rows of all cases come from.
fn writes() -> Vec<Write> {
    let bytes = Bytes::from_static;
    let (hash, set, string) = (bytes(b"h"), bytes(b"s"), bytes(b"a"));
    vec![
        Write::SetFields { key: hash, pairs: vec![(bytes(b"f"), bytes(b"1"))] },
        Write::AddMembers { key: set.clone(), members: vec![bytes(b"m"), bytes(b"n")] },
        Write::Increment { key: string.clone(), by: 7 },
        Write::Expire {
            key: set.clone(),
            expiry: quorate_group::Expiry::In { ms: 500 },
            comparison: quorate_group::Comparison::Always,
        },
        Write::Once {
            token: bytes(b"token"),
            fingerprint: 1,
            write: Box::new(Write::Append { key: string.clone(), suffix: bytes(b"0") }),
            answer: None,
        },
    ]
}

fn more() -> Vec<Operation> {
    let bytes = Bytes::from_static;
    let (hash, set, string) = (bytes(b"h"), bytes(b"s"), bytes(b"a"));
    let read = |one| Operation::Read(one);
    vec![
        Operation::Write(Write::PopMembers { key: set.clone(), count: Some(1) }),
        Operation::Write(Write::RemoveExpired { count_max: 10 }),
        Operation::Write(Write::SetRange { key: string.clone(), offset: 3, bytes: bytes(b"z") }),
        Operation::Write(Write::IncrementFieldFloat {
            key: hash.clone(),
            field: bytes(b"f"),
            by: quorate_group::FloatText("1.5".to_owned()),
        }),
        Operation::Write(Write::Rename {
            from: hash.clone(),
            to: string.clone(),
            only_if_none: false,
        }),
        Operation::Write(Write::Transaction {
            watched: Vec::new(),
            operations: vec![
                Operation::Write(Write::GetDelete { key: string.clone() }),
                read(Read::Get { key: string.clone() }),
            ],
        }),
        read(Read::AllFields { key: hash.clone(), kind: CollectionKind::Hash, part: Part::Both }),
        read(Read::RandomFields {
            key: set,
            kind: CollectionKind::Set,
            count: Some(-5),
            part: Part::Fields,
        }),
        read(Read::GetRange { key: string, start: -3, end: -1 }),
        read(Read::Keys { pattern: bytes(b"[a-h]*"), count_max: 5 }),
        read(Read::ScanFields {
            key: hash,
            kind: CollectionKind::Hash,
            cursor: 0,
            pattern: Some(bytes(b"*")),
            count: 1,
            part: Part::Both,
        }),
    ]
}
