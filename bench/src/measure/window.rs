//! One measurement: a load, warmed up, watched for a while.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::process;
use super::syncs::Count;
use crate::load::{Latencies, Load, Shape, Target};

const WARM_UP: Duration = Duration::from_millis(1500);

/// What was measured.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    /// Microseconds, from the (intended) start to the last answer.
    pub(crate) latency: Latencies,
    /// Microseconds of processor time an operation: all servers together, and the clients.
    pub(crate) servers_cpu: f64,
    pub(crate) client_cpu: f64,
    /// fsync, fdatasync and msync an operation, all servers together; `None` where it cannot be known.
    pub(crate) syncs: Option<f64>,
    /// Why operations failed, if some did.
    pub(crate) failure: Option<String>,
}

/// Runs the load for `duration` after a warm-up, against servers with these pids.
pub(crate) fn measure(
    target: &Target,
    shape: Shape,
    pids: &[u32],
    duration: Duration,
    count_syncs: bool,
) -> Result<Sample> {
    let load = Load::start(target, shape)?;
    std::thread::sleep(WARM_UP);
    let count = if count_syncs { Some(Count::start(pids)?) } else { None };
    let own = std::process::id();
    let cpu_before = (process::cpu_of_all(pids)?, process::cpu(own)?);
    load.record();
    let (begin, done_before) = (Instant::now(), load.done());
    std::thread::sleep(duration);
    let (took, done) = (begin.elapsed(), load.done() - done_before);
    let cpu_after = (process::cpu_of_all(pids)?, process::cpu(own)?);
    let counted = count.map(Count::finish).transpose()?;
    let failure = load.reason();
    let latency = load.finish()?;
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let operations = (done as f64).max(1.0);
    let each =
        |after: Duration, before| after.saturating_sub(before).as_secs_f64() * 1e6 / operations;
    Ok(Sample {
        seconds: took.as_secs_f64(),
        per_second: operations / took.as_secs_f64(),
        latency,
        servers_cpu: each(cpu_after.0, cpu_before.0),
        client_cpu: each(cpu_after.1, cpu_before.1),
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        syncs: counted.map(|counted| counted as f64 / operations),
        failure,
    })
}
