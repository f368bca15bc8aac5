//! `identity.json` of a data directory.

use std::path::Path;

use quorate_model::{NodeId, StoreId};
use quorate_storage::data_directory::{FORMAT_VERSION, Identity};

pub(super) fn check(input: &[u8]) {
    let file = Path::new("identity.json");
    let Ok(identity) = Identity::parse(input, file) else { return };
    assert!(identity.format <= FORMAT_VERSION);
    let again = serde_json::to_vec(&identity).expect("plain fields");
    assert_eq!(Identity::parse(&again, file).ok(), Some(identity));
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let identity = Identity { format: FORMAT_VERSION, node: NodeId(7), store: StoreId(9) };
    vec![
        serde_json::to_vec_pretty(&identity).expect("plain fields"),
        br#"{"format": 2, "nodes": []}"#.to_vec(),
    ]
}
