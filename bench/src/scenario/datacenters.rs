//! Two datacenters of three nodes each, with a leader in each, and a line between them that holds packets back or loses them.

pub(super) mod cut;
pub(super) mod distance;
pub(super) mod exchange;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use quorate_model::{Mode, MultiLeader, Policy};

use super::Bench;
use super::fleet::KEYS;
use crate::load::probe::missing;
use crate::load::visibility::mark_all;
use crate::load::{Load, Operation, Shape, Target, keys, preload};
use crate::progress;
use crate::system::await_condition;
use crate::system::namespaces::Namespaces;
use crate::system::quorate::{DATACENTERS, Options, Quorate};
use crate::system::wan::Wan;

/// Where is written, and where that arrives.
const HERE: usize = 1;
const THERE: usize = 2;
const NODES: usize = 3 * DATACENTERS;
const CLIENTS: usize = 64;
const ONE_WAY: Duration = Duration::from_millis(80);
/// Well over what is wanted after the longest cut.
const SEEN_TIMEOUT: Duration = Duration::from_secs(300);
/// Enough that each shard has one of them.
const MARKS_TRIED: u64 = 1000;
/// So that to ask costs little of what is measured.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(500);

/// Fields are dropped in order: whoever sends before the line, and that before the namespaces.
#[derive(Debug)]
struct Datacenters {
    store: Quorate,
    wan: Wan,
    _namespaces: Arc<Namespaces>,
}

impl Datacenters {
    /// Filled here, and everything is there, too.
    fn start(bench: &Bench, name: &str) -> Result<Self> {
        progress("starting two datacenters");
        let namespaces = Arc::new(Namespaces::create()?);
        let wan = Wan::start(&namespaces)?;
        let store = Quorate::start(Options {
            binary: bench.node.clone(),
            directory: bench.data.join(name),
            nodes: NODES,
            shards: bench.shards,
            policy: Policy::default(),
            mode: Mode::MultiLeader(MultiLeader::default()),
            namespaces: Some(Arc::clone(&namespaces)),
            settings: String::new(),
        })?;
        let datacenters = Self { store, wan, _namespaces: namespaces };
        progress("filling them");
        preload(&datacenters.target(HERE)?)?;
        datacenters.wan.set_one_way(ONE_WAY);
        datacenters.await_seen()?;
        Ok(datacenters)
    }

    fn target(&self, datacenter: usize) -> Result<Target> {
        self.store.target_in(datacenter, keys::keys(KEYS))
    }

    /// As fast as this datacenter takes it.
    fn full_load(&self) -> Result<Load> {
        Load::start(&self.target(HERE)?, Shape::closed(Operation::Set, CLIENTS))
    }

    /// Until all that is written here by now is seen there: what one datacenter writes comes in order, shard by shard.
    fn await_seen(&self) -> Result<Duration> {
        let begin = Instant::now();
        let mark = format!("seen:{}:", rand::random::<u64>());
        let shards = keys::by_shard(marked(&mark, MARKS_TRIED), self.store.shards());
        let marks: Vec<Bytes> =
            shards.into_iter().filter_map(|keys| keys.into_iter().next()).collect();
        mark_all(&self.store.target_in(HERE, marks.clone())?)?;
        await_condition("that what was written is seen", SEEN_TIMEOUT, || {
            let there = self.store.target_in(THERE, marks.clone())?;
            for place in &there.places {
                if !missing(there.protocol, &place.address, &place.keys)?.is_empty() {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        Ok(begin.elapsed())
    }
}

/// Further keys, which no full load draws.
fn marked(mark: &str, count: u64) -> Vec<Bytes> {
    let marked = |key: Bytes| Bytes::from([mark.as_bytes(), &key].concat());
    keys::keys(count).into_iter().map(marked).collect()
}

/// A load of which something failed was not full.
fn finish(load: Load) -> Result<()> {
    let reason = load.reason();
    let failed = load.finish()?.failed;
    reason.map_or(Ok(()), |reason| Err(anyhow::anyhow!("{failed} writes failed: {reason}")))
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
const fn float(count: u64) -> f64 {
    count as f64
}
