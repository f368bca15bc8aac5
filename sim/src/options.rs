//! What kind of run a seed gives: drawn from the seed, so that seeds differ in kind ("swarm testing") and not only in detail.

use std::time::Duration;

use quorate_group::host;
use quorate_replication::single_leader;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::network::Weather;

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) machines: usize,
    pub(crate) shards: u16,
    pub(crate) replicas: usize,
    pub(crate) clients: usize,
    pub(crate) keys: usize,
    pub(crate) weather: Weather,
    /// How long faults go on before everything heals.
    pub(crate) stormy: Duration,
    /// How long the healed cluster has to become whole.
    pub(crate) settle: Duration,
    pub(crate) fault_every: Duration,
    pub(crate) faults: Faults,
    pub(crate) topology_every: Option<Duration>,
    pub(crate) disk_latency: Duration,
    pub(crate) host: host::Settings,
}

/// Which faults may happen in a run, and how often one against the others. 0: never.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    pub(crate) kill: u32,
    pub(crate) power_loss: u32,
    pub(crate) pause: u32,
    pub(crate) cut: u32,
    pub(crate) cut_one_way: u32,
    pub(crate) isolate: u32,
    pub(crate) clog: u32,
    pub(crate) stall_disk: u32,
    pub(crate) fail_sync: u32,
    pub(crate) wipe: u32,
    pub(crate) handover: u32,
    pub(crate) jump_clock: u32,
}

impl Options {
    pub(crate) fn draw(random: &mut ChaCha8Rng) -> Self {
        let machines = *pick(random, &[3, 3, 3, 4, 5]);
        let mut weight =
            |max: u32| if random.random_bool(0.5) { random.random_range(1..=max) } else { 0 };
        let faults = Faults {
            kill: weight(8),
            power_loss: weight(8),
            pause: weight(5),
            cut: weight(5),
            cut_one_way: weight(5),
            isolate: weight(5),
            clog: weight(3),
            stall_disk: weight(3),
            fail_sync: weight(2),
            wipe: weight(2),
            handover: weight(3),
            jump_clock: weight(2),
        };
        let topology_every = random
            .random_bool(0.5)
            .then(|| Duration::from_millis(random.random_range(500..=4_000)));
        Self {
            machines,
            shards: random.random_range(1..=2),
            replicas: 3,
            clients: random.random_range(2..=6),
            keys: random.random_range(2..=6),
            weather: Weather::draw(random),
            stormy: Duration::from_secs(random.random_range(3..=12)),
            settle: Duration::from_secs(60),
            fault_every: Duration::from_millis(random.random_range(200..=3_000)),
            faults,
            topology_every,
            disk_latency: Duration::from_micros(random.random_range(50..=5_000)),
            host: settings(random),
        }
    }
}

/// Small bounds, so that every limit is met within seconds.
fn settings(random: &mut ChaCha8Rng) -> host::Settings {
    host::Settings {
        replication: single_leader::Settings {
            append_bytes_max: *pick(random, &[200, 4_000, 1 << 20]),
            inflight_appends_max: *pick(random, &[1, 4, 16]),
            cache_bytes_max: *pick(random, &[500, 10_000]),
            ..single_leader::Settings::default()
        },
        request_timeout: Duration::from_secs(2),
        flush_bytes: *pick(random, &[500, 5_000]),
        segment_bytes: *pick(random, &[8_192, 65_536]),
        log_kept_bytes: *pick(random, &[500, 10_000]),
        snapshot_chunk_bytes: *pick(random, &[64, 1_000]),
        snapshot_chunks_inflight: *pick(random, &[1, 4]),
        ..host::Settings::default()
    }
}

pub(crate) fn pick<'a, T>(random: &mut ChaCha8Rng, from: &'a [T]) -> &'a T {
    &from[random.random_range(0..from.len())]
}
