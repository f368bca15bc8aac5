//! DIGEST: the XXH3 hash of a string, as Redis 8.4.

use xxhash_rust::xxh3::xxh3_64;

pub(crate) fn digest(value: &[u8]) -> u64 {
    xxh3_64(value)
}

/// As DIGEST shows it.
pub(crate) fn text(digest: u64) -> String {
    format!("{digest:016x}")
}
