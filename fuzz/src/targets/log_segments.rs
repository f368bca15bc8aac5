//! Segments of a log, as any bytes: an entry is given out only where its record stands in a segment, whole, with the right checksum;
//! a log that opens opens again with the same content, and a damaged one is left as it is.
//!
//! In the second mode the input is what stands under the checksums: records get theirs, batches theirs and their place
//! in the chain. So what a record says is arbitrary, though it is as it was written.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::{GroupId, LogIndex, NodeId, Position, ShardId, Term};
use quorate_storage::disk::simulated::Simulated;
use quorate_storage::disk::{Disk, FileName, Operation};
use quorate_storage::log::{Body, EntryKind, Log, Record, RecoveredGroup, Settings};

use crate::input::{Input, put_part};

const UNIT: usize = 512;
const SETTINGS: Settings = Settings { segment_bytes: 4 << 10 };
const FILES_MAX: usize = 4;
/// What a batch's first unit has room for behind its fields.
const FIELDS: usize = 36;
const ROOM: usize = UNIT - FIELDS - 4;

pub(super) fn check(input: &[u8]) {
    let mut input = Input(input);
    let forged = input.byte() != 0;
    let mut files = Vec::new();
    while !input.0.is_empty() && files.len() < FILES_MAX {
        files.push(input.part().to_vec());
    }
    if forged {
        files = forge(&files);
    }
    let mut disk = Simulated::new();
    for (number, content) in files.iter().enumerate() {
        let file = FileName(format!("{:010}.log", number + 1));
        let create = Operation::Create { file: file.clone(), bytes: content.len() as u64 };
        disk.perform(&create).expect("nothing fails unasked");
        let parts = vec![Bytes::copy_from_slice(content)];
        disk.perform(&Operation::Write { file: file.clone(), offset: 0, parts })
            .expect("nothing fails unasked");
        disk.perform(&Operation::Sync { file }).expect("nothing fails unasked");
    }
    let before = contents(&disk);
    let Ok((log, recovered)) = Log::open(disk.clone(), SETTINGS) else { return };
    read_all(&log, &recovered.groups, &files);
    let damaged = recovered.damage.is_some();
    drop(log);
    if damaged {
        assert!(contents(&disk) == before, "INV-41: a damaged log is left as it is");
    }
    let (_, again) = Log::open(disk, SETTINGS).expect("it opened before");
    assert_eq!(again.groups, recovered.groups);
    assert_eq!(again.damage, recovered.damage);
    assert!(damaged || again.torn.is_none(), "a torn tail was cut");
}

fn contents(disk: &Simulated) -> BTreeMap<FileName, Bytes> {
    let files = disk.list().expect("nothing fails unasked");
    let read = |file: &FileName| disk.read(file, 0, usize::MAX).expect("nothing fails unasked");
    files.iter().map(|file| (file.clone(), read(file))).collect()
}

fn read_all(log: &Log<Simulated>, groups: &BTreeMap<GroupId, RecoveredGroup>, files: &[Vec<u8>]) {
    for (id, group) in groups {
        let Some((first, _)) = group.entries.first() else { continue };
        let entries = log.read(*id, first.index, usize::MAX).expect("it was whole at opening");
        let heads: Vec<_> = entries.iter().map(|(position, kind, _)| (*position, *kind)).collect();
        assert_eq!(heads, group.entries);
        for (position, kind, payload) in entries {
            let written = record(1, *id, &entry_fields(position, kind, &payload));
            let stands = |file: &Vec<u8>| file.windows(written.len()).any(|at| at == written);
            assert!(files.iter().any(stands), "INV-44: the entry {position:?} stands nowhere");
        }
    }
}

fn entry_fields(position: Position, kind: EntryKind, payload: &[u8]) -> Vec<u8> {
    let mut fields = position.term.0.to_le_bytes().to_vec();
    fields.extend(position.index.0.to_le_bytes());
    fields.push(kind.0);
    fields.extend(payload);
    fields
}

fn record(tag: u8, group: GroupId, fields: &[u8]) -> Vec<u8> {
    let length = u32::try_from(9 + fields.len() + 4).expect("records are short here");
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.push(tag);
    bytes.extend(group.number().to_le_bytes());
    bytes.extend(fields);
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

/// Segments of small batches. A part's content is batches of records: how many records, then each as type, group and
/// fields.
fn forge(parts: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (mut batch, mut previous, mut previous_end) = (1_u64, 0_u32, 0_u64);
    let mut files = Vec::new();
    for (part, number) in parts.iter().zip(1_u32..) {
        let salt = crc32c::crc32c_append(previous, &number.to_le_bytes());
        let mut unit = b"QLOG".to_vec();
        unit.extend(1_u32.to_le_bytes());
        unit.extend(u64::from(number).to_le_bytes());
        unit.extend(batch.to_le_bytes());
        unit.extend(previous_end.to_le_bytes());
        unit.extend(previous.to_le_bytes());
        unit.extend(salt.to_le_bytes());
        let mut file = sealed(unit);
        let mut input = Input(part);
        while !input.0.is_empty() {
            let (mut body, mut records) = (Vec::new(), 0_u32);
            for _ in 0..1 + input.byte() % 4 {
                let group = GroupId::from_number(u32::from(input.byte() % 3)).expect("small");
                let tag = input.byte();
                let one = record(tag, group, input.part());
                if body.len() + one.len() > ROOM {
                    break;
                }
                body.extend(one);
                records += 1;
            }
            if records == 0 {
                continue;
            }
            let mut unit = b"QBAT".to_vec();
            unit.extend(salt.to_le_bytes());
            unit.extend(batch.to_le_bytes());
            unit.extend(1_u64.to_le_bytes());
            unit.extend(previous.to_le_bytes());
            unit.extend(u32::try_from(body.len()).expect("it fits a unit").to_le_bytes());
            unit.extend(records.to_le_bytes());
            unit.extend(body);
            let unit = sealed(unit);
            previous = u32::from_le_bytes(unit[UNIT - 4..].try_into().expect("four bytes"));
            batch += 1;
            file.extend(unit);
        }
        previous_end = file.len() as u64;
        files.push(file);
    }
    files
}

fn sealed(mut unit: Vec<u8>) -> Vec<u8> {
    unit.resize(UNIT - 4, 0);
    let checksum = crc32c::crc32c(&unit);
    unit.extend(checksum.to_le_bytes());
    unit
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut real = vec![0];
    real_files().iter().for_each(|file| put_part(&mut real, file));

    let position = |index| Position { term: Term(2), index: LogIndex(index) };
    let mut batches = Vec::new();
    let mut put = |tag: u8, fields: &[u8]| {
        batches.extend([0, 1, tag]);
        put_part(&mut batches, fields);
    };
    let voted = [2_u64.to_le_bytes().as_slice(), &[1], &7_u128.to_le_bytes()].concat();
    put(3, &voted);
    put(1, &entry_fields(position(1), EntryKind(1), b"one"));
    put(1, &entry_fields(position(2), EntryKind(1), b"two"));
    put(2, &2_u64.to_le_bytes());
    put(1, &entry_fields(position(2), EntryKind(1), b"other"));
    let start = [1_u64.to_le_bytes().as_slice(), &1_u64.to_le_bytes(), b"configuration"].concat();
    put(5, &start);
    put(4, &start);
    put(6, b"");
    let (first, second) = batches.split_at(batches.len() / 2);
    let mut forged = vec![1];
    put_part(&mut forged, &batches);
    let mut two = vec![1];
    put_part(&mut two, first);
    put_part(&mut two, second);
    vec![real, forged, two]
}

/// What the log itself writes, zeros at the end left out.
fn real_files() -> Vec<Vec<u8>> {
    let disk = Simulated::new();
    let (mut log, _) = Log::open(disk.clone(), SETTINGS).expect("nothing fails unasked");
    let group = GroupId::Shard(ShardId(0));
    log.append(Record { group, body: Body::HardState { term: Term(2), vote: Some(NodeId(7)) } });
    for index in 1..=9 {
        let position = Position { term: Term(2), index: LogIndex(index) };
        let payload = Bytes::from(vec![b'v'; usize::try_from(index * index * 20).expect("small")]);
        log.append(Record { group, body: Body::Entry { position, kind: EntryKind(1), payload } });
        while !log.is_idle() {
            log.submit();
            while let Some(completion) = disk.complete_next() {
                log.completed(completion).expect("nothing fails unasked");
            }
        }
    }
    let trimmed = |bytes: Bytes| {
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes[..end].to_vec()
    };
    contents(&disk).into_values().map(trimmed).filter(|file| !file.is_empty()).collect()
}
