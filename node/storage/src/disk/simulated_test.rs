//! What a crash of the simulated disk keeps, and how it fails.

use super::simulated::*;
use super::*;

fn file() -> FileName {
    FileName("f".to_owned())
}

fn write(disk: &mut Simulated, offset: u64, bytes: &[u8]) {
    let parts = vec![Bytes::copy_from_slice(bytes)];
    disk.perform(&Operation::Write { file: file(), offset, parts }).unwrap();
}

#[test]
fn a_crash_keeps_whole_units_in_any_combination() {
    let mut kept = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let mut disk = Simulated::new();
        disk.perform(&Operation::Create { file: file(), bytes: 2048 }).unwrap();
        write(&mut disk, 0, &[1; 2048]);
        disk.perform(&Operation::Sync { file: file() }).unwrap();
        write(&mut disk, 100, &[2; 1300]);
        let read = disk.read(&file(), 99, 1302).unwrap();
        assert!(read[0] == 1 && read[1301] == 1 && read[1..1301].iter().all(|byte| *byte == 2));
        disk.crash(seed);
        let read = disk.read(&file(), 0, 9999).unwrap();
        let units: Vec<bool> = [150, 600, 1100].iter().map(|at| read[*at] == 2).collect();
        assert_eq!(read[100..512].iter().all(|byte| *byte == 2), units[0]);
        assert!(read[..100].iter().chain(&read[1400..]).all(|byte| *byte == 1));
        kept.insert(units);
    }
    assert_eq!(kept.len(), 8);
}

#[test]
fn a_flipped_bit_is_one_that_was_written() {
    let mut disk = Simulated::new();
    assert_eq!(disk.flip_any_bit(1), None);
    disk.perform(&Operation::Create { file: file(), bytes: 2048 }).unwrap();
    write(&mut disk, 512, &[1; 512]);
    assert_eq!(disk.flip_any_bit(1), None, "it is not durable");
    disk.perform(&Operation::Sync { file: file() }).unwrap();
    let (_, offset) = disk.flip_any_bit(1).unwrap();
    assert!((512..1024).contains(&offset));
    assert_ne!(disk.read(&file(), offset, 1).unwrap()[0], 1);
}

#[test]
fn a_stalled_disk_completes_nothing_and_a_full_one_refuses_growth() {
    let mut disk = Simulated::new();
    disk.submit(OperationId(1), Operation::Create { file: file(), bytes: 10 });
    disk.stall(true);
    assert!(disk.complete_next().is_none());
    disk.stall(false);
    disk.complete_next().unwrap().result.unwrap();
    disk.set_capacity(Some(10));
    write(&mut disk, 0, &[1; 10]);
    let parts = vec![Bytes::from_static(&[1])];
    let grow = Operation::Write { file: file(), offset: 10, parts };
    assert_eq!(disk.perform(&grow).unwrap_err().kind(), io::ErrorKind::StorageFull);
}
