//! The bounds of client connections.

use std::time::Duration;

use crate::resp::Limits;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// What a request may consist of.
    pub limits: Limits,
    /// How many client connections the node takes; more are told so and closed.
    pub connections_max: usize,
    /// How many requests of one connection may be unanswered; beyond it the connection is not read.
    pub requests_inflight_max: usize,
    /// How many bytes of requests and answers one connection may hold; beyond it the connection is not read.
    pub connection_bytes_max: usize,
    /// How many bytes of requests all connections may hold together; beyond it requests get an error.
    pub node_bytes_max: usize,
    /// A connection that is silent for this long is closed; `None` keeps it for ever, as Redis does.
    pub idle_timeout: Option<Duration>,
    /// How long what is in flight may take to finish when the node stops.
    pub drain_timeout: Duration,
    /// How many keys KEYS may return.
    pub keys_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            connections_max: 10_000,
            requests_inflight_max: 1_024,
            connection_bytes_max: 4 << 20,
            node_bytes_max: 1 << 30,
            idle_timeout: None,
            drain_timeout: Duration::from_secs(5),
            keys_max: 1_000_000,
        }
    }
}
