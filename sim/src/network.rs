//! The simulated network: every message is delayed, and may be lost, duplicated or overtaken; links may be cut, in
//! one direction or both, and clogged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_model::{NodeId, Time};
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
}

pub(crate) struct Network {
    weather: Weather,
    /// From, to.
    cut: BTreeSet<(NodeId, NodeId)>,
    clogged: BTreeMap<(NodeId, NodeId), Time>,
}

impl Weather {
    pub(crate) fn draw(random: &mut ChaCha8Rng) -> Self {
        let rough = random.random_bool(0.5);
        Self {
            delay_min: Duration::from_micros(random.random_range(50..=1_000)),
            delay_mean: Duration::from_micros(
                random.random_range(200..=if rough { 30_000 } else { 2_000 }),
            ),
            lost: if rough { random.random_range(0..=200) } else { 0 },
            duplicated: if rough { random.random_range(0..=200) } else { 0 },
        }
    }

    pub(crate) const fn calm() -> Self {
        Self {
            delay_min: Duration::from_micros(100),
            delay_mean: Duration::from_micros(300),
            lost: 0,
            duplicated: 0,
        }
    }
}

impl Network {
    pub(crate) const fn new(weather: Weather) -> Self {
        Self { weather, cut: BTreeSet::new(), clogged: BTreeMap::new() }
    }

    /// When copies of a message sent at `now` arrive: none when it is lost.
    pub(crate) fn arrivals(
        &self,
        random: &mut ChaCha8Rng,
        now: Time,
        from: NodeId,
        to: NodeId,
    ) -> Vec<Time> {
        if self.cut.contains(&(from, to)) || random.random_ratio(self.weather.lost, 1_000) {
            return Vec::new();
        }
        let copies = 1 + usize::from(random.random_ratio(self.weather.duplicated, 1_000));
        let floor = self.clogged.get(&(from, to)).copied().unwrap_or(now).max(now);
        (0..copies).map(|_| floor.after(self.delay(random))).collect()
    }

    /// Whether a connection between the two could be made and kept.
    pub(crate) fn connected(&self, one: NodeId, other: NodeId) -> bool {
        !self.cut.contains(&(one, other)) && !self.cut.contains(&(other, one))
    }

    pub(crate) fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    /// Nothing arrives before `until`; then everything does.
    pub(crate) fn clog(&mut self, from: NodeId, to: NodeId, until: Time) {
        self.clogged.insert((from, to), until);
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.clogged.clear();
    }

    pub(crate) fn calm(&mut self) {
        self.heal();
        self.weather = Weather::calm();
    }

    /// The minimum plus an exponentially distributed rest.
    fn delay(&self, random: &mut ChaCha8Rng) -> Duration {
        let uniform: f64 = random.random_range(f64::EPSILON..1.0);
        self.weather.delay_min + self.weather.delay_mean.mul_f64(-uniform.ln())
    }
}
