//! The systems that are measured: three processes each, on this machine, with their data on the same disk.

pub(crate) mod cassandra;
pub(crate) mod etcd;
mod http;
pub(crate) mod namespaces;
pub(crate) mod ports;
mod process;
pub(crate) mod quorate;
pub(crate) mod redis;
pub(crate) mod wan;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What a lost server had, out of its successor's way. Deleting a gigabyte would disturb the disk while others are measured.
fn put_aside(directory: &Path) -> std::io::Result<()> {
    std::fs::rename(directory, directory.with_extension("aside"))
}

/// Waits for a condition; says at the deadline what it was that did not come true.
pub(crate) fn await_condition(
    what: &str,
    timeout: Duration,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    let begin = Instant::now();
    loop {
        let outcome = holds();
        if matches!(outcome, Ok(true)) {
            return Ok(begin.elapsed());
        }
        if begin.elapsed() > timeout {
            let why = outcome.err().map(|error| format!(": {error:#}")).unwrap_or_default();
            bail!("{what} did not come true in {} s{why}", timeout.as_secs());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}
