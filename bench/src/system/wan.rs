//! Two datacenters that are apart: what their nodes send each other passes through here, and is held back or lost.
//!
//! In the namespace of each the way to the other is a TUN device, whose packets come out of the other's when they are due, in the
//! order in which they went in. Everything else goes by the bridge at once: clients, and whoever asks how it is. Its processor
//! time counts as the load generator's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tun::Tun;

use super::namespaces::Namespaces;

/// As between datacenters.
const PACKET_BYTES_MAX: usize = 1500;
/// On their way in one direction. More than windows allow: further ones are lost.
const PACKETS_MAX: usize = 65_536;
/// How soon the end is noticed.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Wan {
    links: Arc<Links>,
    router: Option<JoinHandle<Result<()>>>,
}

/// What befalls packets, in both directions.
#[derive(Debug, Default)]
struct Links {
    delay_us: AtomicU64,
    cut: AtomicBool,
    bytes: AtomicU64,
    ended: AtomicBool,
}

impl Wan {
    /// Between the first two namespaces; nothing is held back yet.
    ///
    /// # Errors
    /// Where there is no `/dev/net/tun`.
    pub(crate) fn start(namespaces: &Namespaces) -> Result<Self> {
        let links = Arc::new(Links::default());
        let names = [1, 2].map(|number| namespaces.device(number));
        let (made, all_made) = std::sync::mpsc::channel();
        let router = {
            let (links, names) = (Arc::clone(&links), names.clone());
            std::thread::Builder::new().name("wan".to_owned()).spawn(move || {
                let all = run(links, names, made);
                tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(all)
            })?
        };
        let wan = Self { links, router: Some(router) };
        all_made.recv().context("there is no TUN device (/dev/net/tun)")?;
        namespaces.lead(1, 2, &names[0])?;
        namespaces.lead(2, 1, &names[1])?;
        Ok(wan)
    }

    /// How long a packet takes, each way.
    pub(crate) fn set_one_way(&self, delay: Duration) {
        let us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.links.delay_us.store(us, Ordering::Relaxed);
    }

    /// Nothing arrives any more, and nobody is told.
    pub(crate) fn cut(&self) {
        self.links.cut.store(true, Ordering::Relaxed);
    }

    pub(crate) fn mend(&self) {
        self.links.cut.store(false, Ordering::Relaxed);
    }

    /// What has arrived since the start, both ways.
    pub(crate) fn bytes(&self) -> u64 {
        self.links.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.links.ended.store(true, Ordering::Relaxed);
        if let Some(router) = self.router.take() {
            // A router that failed was noticed by what it did not carry.
            router.join().ok();
        }
    }
}

/// Its devices go with it.
async fn run(
    links: Arc<Links>,
    names: [String; 2],
    made: std::sync::mpsc::Sender<()>,
) -> Result<()> {
    let device = |name: &String| -> Result<Arc<Tun>> {
        let mtu = i32::try_from(PACKET_BYTES_MAX)?;
        let tun = Tun::builder().name(name).mtu(mtu).build()?.pop().context("a device")?;
        Ok(Arc::new(tun))
    };
    let [one, other] = [device(&names[0])?, device(&names[1])?];
    // Nobody waits any more when making them took too long.
    made.send(()).ok();
    let mut tasks = tokio::task::JoinSet::new();
    for (from, to) in [(&one, &other), (&other, &one)] {
        let (queue, packets) = mpsc::channel(PACKETS_MAX);
        tasks.spawn(take(Arc::clone(from), Arc::clone(&links), queue));
        tasks.spawn(deliver(Arc::clone(to), Arc::clone(&links), packets));
    }
    while !links.ended.load(Ordering::Relaxed) {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

async fn take(from: Arc<Tun>, links: Arc<Links>, queue: mpsc::Sender<(Instant, Vec<u8>)>) {
    let mut packet = [0; PACKET_BYTES_MAX];
    while let Ok(length) = from.recv(&mut packet).await {
        if links.cut.load(Ordering::Relaxed) {
            continue;
        }
        let delay = Duration::from_micros(links.delay_us.load(Ordering::Relaxed));
        // A queue that is full loses packets, as queues do.
        queue.try_send((Instant::now() + delay, packet[..length].to_vec())).ok();
    }
}

async fn deliver(to: Arc<Tun>, links: Arc<Links>, mut queue: mpsc::Receiver<(Instant, Vec<u8>)>) {
    while let Some((due, packet)) = queue.recv().await {
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        // What was under way when the line broke is lost, too.
        if !links.cut.load(Ordering::Relaxed) && to.send(&packet).await.is_ok() {
            links.bytes.fetch_add(packet.len() as u64, Ordering::Relaxed);
        }
    }
}
