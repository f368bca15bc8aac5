//! A short stable name for content: 64 bits of FNV-1a (Fowler, Noll, Vo) over its JSON.
//!
//! Not against adversaries: it only tells a changed template from an unchanged one, for as long as the store lives.

use serde::Serialize;

pub(super) fn of(content: &impl Serialize) -> String {
    let json = serde_json::to_vec(content).expect("Kubernetes objects are valid JSON");
    let hash = json.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}
