//! Why a store does not have a command: what only stores with leaders offer, and what only those without.
//!
//! What operations on keys it has is decided where they are evaluated.

/// Display is the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "ERR a leaderless store has no transactions: no replica knows for certain what a key holds"
    )]
    Transaction,
    #[error("EXECABORT Transaction discarded: a leaderless store has no transactions")]
    Exec,
    #[error(
        "ERR a leaderless store has no followers to wait for: QUORUM says how many replicas answer"
    )]
    Wait,
    #[error(
        "ERR a leaderless store has no leader and no followers: its sessions have READ-YOUR-WRITES POSITION or OFF, and \
         MONOTONIC ON or OFF; QUORUM says how many replicas answer"
    )]
    Session,
    #[error("ERR QUORUM is for leaderless stores")]
    Quorum,
}
