//! Free ports on loopback, for processes that must be told theirs.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;

/// Ports that were free at once. Somebody else may take one before it is used; the process then says so and ends.
pub(crate) fn free(count: usize) -> Result<Vec<u16>> {
    let listeners: std::io::Result<Vec<_>> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    listeners?.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
