//! Formats that a host alone writes, on its disk and in snapshots: what is read survives being written again.

use quorate_group::host::Stored;

use crate::input::Input;

const VERSION: u8 = 1;

pub(super) fn check(input: &[u8]) {
    let mut input = Input(input);
    let number = usize::from(input.byte());
    let Some(format) = Stored::ALL.get(number) else {
        // As it is, with a version byte of its own.
        let bytes = input.rest();
        for format in Stored::ALL {
            if let Some(again) = format.reencoded(bytes) {
                assert_eq!(bytes[0], VERSION);
                assert_eq!(format.reencoded(&again), Some(again));
            }
        }
        return;
    };
    let bytes = [&[VERSION], input.rest()].concat();
    let Some(again) = format.reencoded(&bytes) else { return };
    assert_eq!(format.reencoded(&again), Some(again), "{format:?}");
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    // Zeros are small numbers and empty lists, so of most formats they are one that is whole.
    let mut seeds: Vec<Vec<u8>> =
        (0..5).map(|format| [&[format], [0; 64].as_slice()].concat()).collect();
    seeds.push([&[0xff, VERSION], [0; 64].as_slice()].concat());
    seeds
}
