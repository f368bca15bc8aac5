//! The Redis serialization protocol: bytes to commands and answers to bytes.
//!
//! Pure: no socket, no clock, no state but the connection's own half-read request. Every size is checked against
//! [`Limits`] before memory is taken for it.

mod limits;

pub use limits::Limits;
