//! What kind of run a seed gives: drawn from the seed, so that seeds differ in kind ("swarm testing") and not only in detail.

use std::time::Duration;

use quorate_group::host;
use quorate_replication::single_leader;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::nemesis::Menu;
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
    pub(crate) menu: Menu,
    pub(crate) pause_max: Duration,
    pub(crate) drift_ppm_max: u32,
    pub(crate) topology_every: Option<Duration>,
    pub(crate) disk_latency: Duration,
    pub(crate) host: host::Settings,
}

impl Options {
    pub(crate) fn draw(random: &mut ChaCha8Rng) -> Self {
        let machines = *pick(random, &[3, 3, 3, 4, 5]);
        let long = random.random_bool(0.02);
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
            stormy: Duration::from_secs(if long {
                random.random_range(30..=150)
            } else {
                random.random_range(3..=12)
            }),
            settle: Duration::from_secs(60),
            fault_every: Duration::from_millis(random.random_range(200..=3_000)),
            menu: Menu::draw(random),
            pause_max: Duration::from_secs(if long { 60 } else { 3 }),
            drift_ppm_max: *pick(random, &[0, 500, 500, 10_000]),
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
        snapshot_bytes_per_second: *pick(random, &[0, 20_000]),
        log_held_bytes: *pick(random, &[0, 20_000]),
        ..host::Settings::default()
    }
}

pub(crate) fn pick<'a, T>(random: &mut ChaCha8Rng, from: &'a [T]) -> &'a T {
    &from[random.random_range(0..from.len())]
}
