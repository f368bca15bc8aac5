//! What the log promises, one fact at a time.

use std::io::ErrorKind;

use bytes::Bytes;
use quorate_model::{GroupId, LogIndex, NodeId, Position, ShardId, Term};

use super::*;
use crate::disk::simulated::{Simulated, Target};
use crate::disk::{FileName, Operation};

const SHARD: GroupId = GroupId::Shard(ShardId(3));
const SETTINGS: Settings = Settings { segment_bytes: 8 << 10 };

fn open(disk: &Simulated) -> (Log<Simulated>, Recovered) {
    Log::open(disk.clone(), SETTINGS).unwrap()
}

fn position(term: u64, index: u64) -> Position {
    Position { term: Term(term), index: LogIndex(index) }
}

fn entry(term: u64, index: u64, payload: impl Into<Bytes>) -> Record {
    let body = Body::Entry {
        position: position(term, index),
        kind: EntryKind(1),
        payload: payload.into(),
    };
    Record { group: SHARD, body }
}

fn start(term: u64, index: u64) -> Record {
    let body = Body::Start { position: position(term, index), payload: Bytes::from_static(b"c") };
    Record { group: SHARD, body }
}

fn settle(log: &mut Log<Simulated>, disk: &Simulated) {
    while log.submit().is_some() || disk.pending() > 0 {
        if let Some(completion) = disk.complete_next() {
            log.completed(completion).unwrap();
        }
    }
    assert!(log.is_idle());
}

fn filled(entries: u64, bytes: usize) -> (Simulated, Log<Simulated>) {
    let disk = Simulated::new();
    let mut log = open(&disk).0;
    for index in 1..=entries {
        log.append(entry(1, index, vec![7; bytes]));
        settle(&mut log, &disk);
    }
    (disk, log)
}

fn indexes(log: &Log<Simulated>, from: u64) -> Vec<u64> {
    let entries = log.read(SHARD, LogIndex(from), usize::MAX).unwrap();
    entries.iter().map(|entry| entry.0.index.0).collect()
}

#[test]
fn a_batch_that_the_file_ends_in_is_torn_and_takes_no_memory() {
    use super::batch::{Header, Rest, encode, first, rest};
    use super::codec::{Continuation, Parts, Stored};
    let entry = Body::Entry {
        position: Position { term: Term(1), index: LogIndex(1) },
        kind: EntryKind(1),
        payload: Bytes::from(vec![7; 300_000]),
    };
    let record = Record { group: GroupId::Meta, body: entry };
    let mut parts = Parts::default();
    parts.push(&Stored { record, continuation: Continuation::Drops });
    let header = Header {
        salt: 1,
        id: BatchId(1),
        oldest: SegmentNumber(1),
        previous: 0,
        body_bytes: 0,
        records: 1,
        checksum: 0,
    };
    let whole: Bytes = encode(header, parts).parts.concat().into();
    let batch::First::Header(header) = first(&whole[..512]) else { panic!("a header") };
    assert!(matches!(rest(&header, &whole), Rest::Whole(_)));
    for units in 1..whole.len() / 512 {
        assert!(matches!(rest(&header, &whole.slice(..units * 512)), Rest::Torn), "{units}");
    }
}

#[test]
fn a_batch_is_durable_only_when_its_sync_is_complete() {
    let disk = Simulated::new();
    let mut log = open(&disk).0;
    let batch = log.append(entry(1, 1, "a"));
    assert_eq!(log.submit(), Some(batch));
    let write = disk.complete_next().unwrap();
    assert_eq!(log.completed(write).unwrap(), None);
    assert_eq!(log.durable(), BatchId(0));
    let sync = disk.complete_next().unwrap();
    assert_eq!(log.completed(sync).unwrap(), Some(batch));
}

#[test]
fn one_batch_is_under_way_at_a_time_and_takes_all_groups_along() {
    let disk = Simulated::new();
    let mut log = open(&disk).0;
    let first = log.append(entry(1, 1, "a"));
    assert_eq!(log.submit(), Some(first));
    let second = log.append(entry(1, 2, "b"));
    let meta = Record { group: GroupId::Meta, body: Body::HardState { term: Term(1), vote: None } };
    assert_eq!(log.append(meta), second);
    assert_eq!(log.submit(), None, "the first is under way");
    let syncs = disk.syncs();
    settle(&mut log, &disk);
    assert_eq!(disk.syncs(), syncs + 2, "one sync for each batch");
}

#[test]
fn a_failed_sync_stops_the_log_for_good() {
    let disk = Simulated::new();
    let mut log = open(&disk).0;
    log.append(entry(1, 1, "a"));
    log.submit().unwrap();
    disk.fail_next(Target::Sync, ErrorKind::Other);
    let write = disk.complete_next().unwrap();
    log.completed(write).unwrap();
    let sync = disk.complete_next().unwrap();
    assert!(matches!(log.completed(sync), Err(LogError::Disk { what: "sync", .. })));
    log.append(entry(1, 2, "b"));
    assert_eq!(log.submit(), None);
    assert_eq!(disk.pending(), 0, "nothing is tried again");
}

#[test]
fn a_full_disk_stops_the_log_and_loses_nothing() {
    let disk = Simulated::new();
    let mut log = open(&disk).0;
    disk.set_capacity(Some(20 << 10));
    let mut acknowledged = 0;
    let failed = loop {
        log.append(entry(1, acknowledged + 1, vec![1; 900]));
        let mut outcome = Ok(None);
        while outcome.is_ok() && (log.submit().is_some() || disk.pending() > 0) {
            outcome = log.completed(disk.complete_next().unwrap());
        }
        match outcome {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&failed, LogError::Disk { what: "create", source, .. }
        if source.kind() == ErrorKind::StorageFull));
    disk.crash(1);
    let (log, recovered) = open(&disk);
    assert_eq!(recovered.damage, None);
    assert!(log.last(SHARD).index.0 >= acknowledged);
}

#[test]
fn reads_see_appended_entries_before_they_are_written() {
    let disk = Simulated::new();
    let mut log = open(&disk).0;
    for index in 1..=3 {
        log.append(entry(1, index, "x"));
    }
    assert_eq!(indexes(&log, 2), [2, 3]);
    log.append(Record { group: SHARD, body: Body::Cut { from: LogIndex(2) } });
    log.append(entry(2, 2, "y"));
    let read = log.read(SHARD, LogIndex(1), usize::MAX).unwrap();
    assert_eq!(read[1], (position(2, 2), EntryKind(1), Bytes::from_static(b"y")));
    settle(&mut log, &disk);
    assert_eq!(log.read(SHARD, LogIndex(1), usize::MAX).unwrap(), read);
    assert_eq!(log.term_at(SHARD, LogIndex(1)), Some(Term(1)));
    assert_eq!(log.term_at(SHARD, LogIndex(2)), Some(Term(2)));
    assert_eq!(log.term_at(SHARD, LogIndex(3)), None);
    assert_eq!(log.term_at(SHARD, LogIndex(0)), Some(Term(0)));
}

#[test]
fn a_read_gives_one_entry_at_least_and_stops_at_its_bound() {
    let (_, log) = filled(20, 1000);
    assert_eq!(log.read(SHARD, LogIndex(5), 1).unwrap().len(), 1);
    assert_eq!(log.read(SHARD, LogIndex(5), 3000).unwrap().len(), 3);
    assert_eq!(indexes(&log, 21), [0; 0]);
    assert_eq!(indexes(&log, 0), [0; 0], "the start is no entry");
}

#[test]
fn a_record_larger_than_a_segment_has_one_to_itself() {
    let disk = Simulated::new();
    let mut log = open(&disk).0;
    for (index, bytes) in [(1, 10), (2, 100_000), (3, 10), (4, 300_000)] {
        log.append(entry(1, index, vec![9; bytes]));
        settle(&mut log, &disk);
    }
    disk.crash(3);
    let log = open(&disk).0;
    let sizes: Vec<_> = log
        .read(SHARD, LogIndex(1), usize::MAX)
        .unwrap()
        .iter()
        .map(|entry| entry.2.len())
        .collect();
    assert_eq!(sizes, [10, 100_000, 10, 300_000]);
}

#[test]
fn what_fails_its_checksum_is_never_given_out() {
    let (disk, log) = filled(5, 100);
    for offset in 512..2 * 512 + 172 {
        if log.read(SHARD, LogIndex(2), 1).is_err() {
            break;
        }
        assert!(disk.flip_bit(&SegmentNumber::FIRST.file(), offset, 3));
    }
    let refused = log.read(SHARD, LogIndex(1), usize::MAX).unwrap_err();
    assert!(matches!(refused, LogError::Damaged { .. }), "{refused}");
    assert_eq!(indexes(&log, 3), [3, 4, 5]);
}

#[test]
fn a_missing_segment_is_damage() {
    for missing in [1, 2] {
        let (mut disk, log) = filled(30, 1000);
        drop(log);
        let file = SegmentNumber(missing).file();
        disk.perform(&Operation::Remove { file }).unwrap();
        let damage = open(&disk).1.damage.unwrap();
        assert_eq!(damage.kind, DamageKind::MissingSegment);
        assert_eq!(damage.segment, SegmentNumber(missing));
    }
}

#[test]
fn a_batch_of_zeros_before_others_is_a_hole_and_nothing_is_written() {
    let (mut disk, log) = filled(5, 100);
    drop(log);
    let parts = vec![Bytes::from(vec![0; 512])];
    let file = SegmentNumber::FIRST.file();
    disk.perform(&Operation::Write { file: file.clone(), offset: 1024, parts }).unwrap();
    let before = disk.read(&file, 0, usize::MAX).unwrap();
    let (mut log, recovered) = open(&disk);
    assert_eq!(recovered.damage.unwrap().kind, DamageKind::Hole);
    assert_eq!(indexes(&log, 1), [1], "readable up to the damage");
    assert_eq!(log.submit(), None);
    assert_eq!(disk.read(&file, 0, usize::MAX).unwrap(), before);
    drop(log);
    let mut log = Log::start_over(disk.clone(), SETTINGS).unwrap();
    log.append(start(4, 9));
    settle(&mut log, &disk);
    assert_eq!(open(&disk).0.last(SHARD), position(4, 9));
}

#[test]
fn a_newer_format_is_refused() {
    let (mut disk, log) = filled(1, 10);
    drop(log);
    let file = SegmentNumber::FIRST.file();
    let mut unit = disk.read(&file, 0, 508).unwrap().to_vec();
    unit[4] = 2;
    let checksum = crc32c::crc32c(&unit);
    unit.extend(checksum.to_le_bytes());
    let parts = vec![Bytes::from(unit)];
    disk.perform(&Operation::Write { file, offset: 0, parts }).unwrap();
    assert!(matches!(Log::open(disk, SETTINGS), Err(OpenError::Newer { found: 2, known: 1, .. })));
}

#[test]
fn a_start_releases_and_keeps_what_goes_on() {
    let (disk, mut log) = filled(20, 500);
    let retained = log.retained_bytes(SHARD);
    log.append(start(1, 15));
    settle(&mut log, &disk);
    assert_eq!(indexes(&log, 16), [16, 17, 18, 19, 20]);
    assert_eq!(indexes(&log, 15), [0; 0]);
    assert_eq!(log.retained_bytes(SHARD), retained / 4);
    log.append(start(9, 18));
    settle(&mut log, &disk);
    assert_eq!(log.last(SHARD), position(9, 18), "another history replaces what was there");
    let (log, recovered) = open(&disk);
    assert_eq!(log.last(SHARD), position(9, 18));
    assert_eq!(recovered.groups[&SHARD].start.as_ref().unwrap().payload, "c");
}

#[test]
fn a_group_with_too_many_entries_to_rewrite_is_named() {
    let (disk, mut log) = filled(20, 1000);
    assert_eq!(log.pinned_by(), Some(SHARD));
    log.append(start(1, 20));
    settle(&mut log, &disk);
    log.append(entry(1, 21, "x"));
    settle(&mut log, &disk);
    assert_eq!(log.pinned_by(), None);
    assert!(log.bytes() <= 3 * SETTINGS.segment_bytes);
}

#[test]
fn a_forgotten_group_leaves_nothing() {
    let (disk, mut log) = filled(3, 10);
    log.append(Record { group: SHARD, body: Body::Forget });
    settle(&mut log, &disk);
    assert_eq!(log.groups().count(), 0);
    assert!(open(&disk).1.groups.is_empty());
}

#[test]
fn votes_come_back() {
    let disk = Simulated::new();
    let mut log = open(&disk).0;
    let vote = Some(NodeId(77));
    log.append(Record { group: SHARD, body: Body::HardState { term: Term(4), vote } });
    settle(&mut log, &disk);
    disk.crash(5);
    let recovered = open(&disk).1;
    assert_eq!(recovered.groups[&SHARD].hard_state, Some(HardState { term: Term(4), vote }));
}

#[test]
fn files_that_are_not_segments_are_left_alone() {
    let mut disk = Simulated::new();
    let file = FileName("lost+found".to_owned());
    disk.perform(&Operation::Create { file: file.clone(), bytes: 3 }).unwrap();
    drop(open(&disk));
    assert!(disk.lengths().contains_key(&file));
}

/// The bytes of version 1, for ever: a log that was written must open.
#[test]
fn format_version_1_is_what_it_was() {
    let disk = Simulated::new();
    let mut log = open(&disk).0;
    log.append(Record {
        group: SHARD,
        body: Body::HardState { term: Term(2), vote: Some(NodeId(5)) },
    });
    log.append(entry(2, 1, "small"));
    settle(&mut log, &disk);
    log.append(entry(2, 2, vec![3; 2000]));
    log.append(Record { group: SHARD, body: Body::Cut { from: LogIndex(2) } });
    log.append(start(2, 1));
    log.append(Record { group: GroupId::Meta, body: Body::Forget });
    settle(&mut log, &disk);
    let bytes = disk.read(&SegmentNumber::FIRST.file(), 0, 4096).unwrap();
    assert_eq!(crc32c::crc32c(&bytes), 947_819_320);
}
