//! The log on real files.

use std::sync::mpsc;
use std::time::Duration;

use quorate_model::{GroupId, LogIndex, Position, Term};

use super::files::Files;
use super::*;
use crate::log::{BatchId, Body, EntryKind, Log, Record, Settings};

const SETTINGS: Settings = Settings { segment_bytes: 64 << 10 };
const DEADLINE: Duration = Duration::from_secs(30);

fn open(directory: &std::path::Path) -> (Files, mpsc::Receiver<Completion>) {
    let (sender, receiver) = mpsc::channel();
    let on_completion = Box::new(move |completion| drop(sender.send(completion)));
    (Files::open(directory, on_completion).unwrap(), receiver)
}

fn settle(log: &mut Log<Files>, completions: &mpsc::Receiver<Completion>) {
    loop {
        log.submit();
        if log.is_idle() {
            return;
        }
        log.completed(completions.recv_timeout(DEADLINE).unwrap()).unwrap();
    }
}

#[test]
fn a_log_on_files_rolls_releases_and_opens_again() {
    let directory = tempfile::tempdir().unwrap();
    let group = GroupId::Meta;
    for round in 0..3_u64 {
        let (files, completions) = open(directory.path());
        let (mut log, recovered) = Log::open(files, SETTINGS).unwrap();
        assert_eq!(recovered.damage, None);
        assert_eq!(log.last(group).index, LogIndex(round * 100));
        for index in round * 100 + 1..=round * 100 + 100 {
            let position = Position { term: Term(1), index: LogIndex(index) };
            let payload = Bytes::from(vec![index as u8; 5000]);
            let kind = EntryKind(0);
            log.append(Record { group, body: Body::Entry { position, kind, payload } });
            if index % 10 == 0 {
                let start = Position { term: Term(1), index: LogIndex(index - 5) };
                let payload = Bytes::new();
                log.append(Record { group, body: Body::Start { position: start, payload } });
            }
            settle(&mut log, &completions);
        }
        assert!(log.durable() > BatchId(round * 100));
        assert!(log.bytes() < 8 * SETTINGS.segment_bytes, "{}", log.bytes());
        let read = log.read(group, LogIndex(round * 100 + 96), usize::MAX).unwrap();
        assert_eq!(read.len(), 5);
        assert!(read.iter().all(|(at, _, payload)| *payload == vec![at.index.0 as u8; 5000]));
    }
}

#[test]
fn a_create_fills_the_file_with_zeros() {
    let directory = tempfile::tempdir().unwrap();
    let (mut files, completions) = open(directory.path());
    let file = FileName("a".to_owned());
    files.submit(OperationId(1), Operation::Create { file: file.clone(), bytes: 5 << 20 });
    completions.recv_timeout(DEADLINE).unwrap().result.unwrap();
    assert_eq!(files.length(&file).unwrap(), 5 << 20);
    assert_eq!(files.read(&file, (5 << 20) - 3, 100).unwrap(), [0; 3].as_slice());
    let parts = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"two")];
    files.submit(OperationId(2), Operation::Write { file: file.clone(), offset: 7, parts });
    files.submit(OperationId(3), Operation::Sync { file: file.clone() });
    for id in [2, 3] {
        let completion = completions.recv_timeout(DEADLINE).unwrap();
        assert_eq!(completion.id, OperationId(id));
        completion.result.unwrap();
    }
    assert_eq!(files.read(&file, 6, 8).unwrap(), b"\0onetwo\0".as_slice());
    assert_eq!(files.list().unwrap(), std::slice::from_ref(&file));
    files.submit(OperationId(4), Operation::Remove { file: file.clone() });
    completions.recv_timeout(DEADLINE).unwrap().result.unwrap();
    assert!(files.read(&file, 0, 1).is_err());
    assert_eq!(files.list().unwrap(), []);
}

#[test]
fn what_a_removed_file_held_is_in_no_later_one() {
    let directory = tempfile::tempdir().unwrap();
    let (mut files, _completions) = open(directory.path());
    let file = |name: u64| FileName(name.to_string());
    for (round, bytes) in [100_000, 5 << 20, 3 << 20, 512].into_iter().enumerate() {
        let file = file(round as u64);
        files.perform(&Operation::Create { file: file.clone(), bytes }).unwrap();
        assert_eq!(files.length(&file).unwrap(), bytes);
        let read = files.read(&file, 0, 10 << 20).unwrap();
        assert!(read.len() as u64 == bytes && read.iter().all(|byte| *byte == 0));
        let parts = vec![Bytes::from(vec![7; usize::try_from(bytes).unwrap()])];
        files.perform(&Operation::Write { file: file.clone(), offset: 0, parts }).unwrap();
        files.perform(&Operation::Remove { file }).unwrap();
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "one is kept, not all");
}

#[test]
fn a_missing_file_is_an_error_that_arrives() {
    let directory = tempfile::tempdir().unwrap();
    let (mut files, completions) = open(directory.path());
    files.submit(OperationId(1), Operation::Sync { file: FileName("none".to_owned()) });
    let completion = completions.recv_timeout(DEADLINE).unwrap();
    assert_eq!(completion.result.unwrap_err().kind(), io::ErrorKind::NotFound);
}
