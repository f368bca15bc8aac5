//! The Redis serialization protocol: bytes to commands and answers to bytes.
//!
//! Pure: no socket, no clock, no state but the connection's own half-read request. Every size is checked against
//! [`Limits`] before memory is taken for it. Texts of errors are those of Redis 7, since clients match on them.

pub mod commands;
mod encoder;
mod inline;
mod integer;
mod limits;
mod parser;
mod reply;

pub use commands::{Command, CommandError};
pub use encoder::encode;
pub use integer::parse_integer;
pub use limits::Limits;
pub use parser::{Parser, ProtocolError, Request};
pub use reply::{Protocol, Reply};

#[cfg(test)]
mod encoder_test;
#[cfg(test)]
mod parser_test;
