//! The simulated network: every message is delayed, and may be lost, duplicated, overtaken or replayed long after; links
//! may be cut, in one direction or both, clogged and slow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use quorate_group::host::PeerMessage;
use quorate_model::{GroupId, NodeId, Time};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How a run's network behaves; drawn once per seed, so that seeds differ in kind and not only in detail.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    pub(crate) delay_min: Duration,
    pub(crate) delay_mean: Duration,
    /// Of 1,000 messages.
    pub(crate) lost: u32,
    pub(crate) duplicated: u32,
    /// Of 1,000 messages, how many are remembered for a late replay.
    pub(crate) remembered: u32,
}

/// A message that once was sent.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) group: GroupId,
    pub(crate) message: Box<PeerMessage>,
}

pub(crate) struct Network {
    weather: Weather,
    /// From, to.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// These and all others do not reach each other, whatever heals, until they are back.
    apart: BTreeSet<NodeId>,
    clogged: BTreeMap<(NodeId, NodeId), Time>,
    slow: BTreeMap<(NodeId, NodeId), Slow>,
    remembered: VecDeque<Remembered>,
}

#[derive(Clone, Copy)]
struct Slow {
    by: Duration,
    until: Time,
}

const REMEMBERED_MAX: usize = 64;

impl Weather {
    /// The ranges are TigerBeetle's: up to 30 % lost, up to 50 % replayed, 30 to 100 ms on average where it is rough.
    pub(crate) fn draw(random: &mut ChaCha8Rng) -> Self {
        let rough = random.random_bool(0.5);
        let far = random.random_bool(0.1);
        let mean_max = match (rough, far) {
            (_, true) => 100_000,
            (true, false) => 30_000,
            (false, false) => 2_000,
        };
        Self {
            delay_min: Duration::from_micros(random.random_range(50..=1_000)),
            delay_mean: Duration::from_micros(random.random_range(200..=mean_max)),
            lost: if rough { random.random_range(0..=300) } else { 0 },
            duplicated: if rough { random.random_range(0..=500) } else { 0 },
            remembered: if random.random_bool(0.3) { random.random_range(1..=50) } else { 0 },
        }
    }

    pub(crate) const fn calm() -> Self {
        Self {
            delay_min: Duration::from_micros(100),
            delay_mean: Duration::from_micros(300),
            lost: 0,
            duplicated: 0,
            remembered: 0,
        }
    }
}

impl Network {
    pub(crate) const fn new(weather: Weather) -> Self {
        Self {
            weather,
            cut: BTreeSet::new(),
            apart: BTreeSet::new(),
            clogged: BTreeMap::new(),
            slow: BTreeMap::new(),
            remembered: VecDeque::new(),
        }
    }

    /// When copies of a message sent at `now` arrive: none when it is lost.
    pub(crate) fn arrivals(
        &self,
        random: &mut ChaCha8Rng,
        now: Time,
        from: NodeId,
        to: NodeId,
    ) -> Vec<Time> {
        if self.is_cut(from, to) || random.random_ratio(self.weather.lost, 1_000) {
            return Vec::new();
        }
        let copies = 1 + usize::from(random.random_ratio(self.weather.duplicated, 1_000));
        let mut floor = self.clogged.get(&(from, to)).copied().unwrap_or(now).max(now);
        if let Some(slow) = self.slow.get(&(from, to)).filter(|slow| slow.until > now) {
            floor = floor.after(slow.by);
        }
        (0..copies).map(|_| floor.after(self.delay(random))).collect()
    }

    /// Keeps some messages for a late replay.
    pub(crate) fn remember(
        &mut self,
        random: &mut ChaCha8Rng,
        from: NodeId,
        to: NodeId,
        group: GroupId,
        message: &PeerMessage,
    ) {
        if self.weather.remembered == 0 || !random.random_ratio(self.weather.remembered, 1_000) {
            return;
        }
        if self.remembered.len() == REMEMBERED_MAX {
            self.remembered.pop_front();
        }
        let message = Box::new(message.clone());
        self.remembered.push_back(Remembered { from, to, group, message });
    }

    /// What was remembered, to arrive once more.
    pub(crate) fn replayed(&mut self) -> Vec<Remembered> {
        self.remembered.drain(..).collect()
    }

    /// Whether a connection between the two could be made and kept.
    pub(crate) fn connected(&self, one: NodeId, other: NodeId) -> bool {
        !self.is_cut(one, other) && !self.is_cut(other, one)
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        let parted = self.apart.contains(&from) != self.apart.contains(&to);
        parted || self.cut.contains(&(from, to))
    }

    pub(crate) fn part(&mut self, apart: BTreeSet<NodeId>) {
        self.apart = apart;
    }

    pub(crate) fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    pub(crate) fn mend(&mut self, from: NodeId, to: NodeId) {
        self.cut.remove(&(from, to));
    }

    /// Nothing arrives before `until`; then everything does.
    pub(crate) fn clog(&mut self, from: NodeId, to: NodeId, until: Time) {
        self.clogged.insert((from, to), until);
    }

    pub(crate) fn slow_down(&mut self, from: NodeId, to: NodeId, by: Duration, until: Time) {
        self.slow.insert((from, to), Slow { by, until });
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.clogged.clear();
        self.slow.clear();
    }

    pub(crate) fn calm(&mut self) {
        self.heal();
        self.apart.clear();
        self.remembered.clear();
        self.weather = Weather::calm();
    }

    /// The minimum plus an exponentially distributed rest.
    fn delay(&self, random: &mut ChaCha8Rng) -> Duration {
        let uniform: f64 = random.random_range(f64::EPSILON..1.0);
        self.weather.delay_min + self.weather.delay_mean.mul_f64(-uniform.ln())
    }
}
