//! Random histories with crashes and flipped bits, compared with a model.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::{GroupId, LogIndex, NodeId, Position, ShardId, Term};

use super::*;
use crate::disk::simulated::{Dice, Simulated, Target};

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct ModelGroup {
    hard_state: Option<HardState>,
    start: Option<Start>,
    entries: Vec<(Position, EntryKind, Bytes)>,
}

type Model = BTreeMap<GroupId, ModelGroup>;

impl ModelGroup {
    fn start(&self) -> Position {
        self.start.as_ref().map_or(Position::ZERO, |start| start.position)
    }

    fn last(&self) -> Position {
        self.entries.last().map_or(self.start(), |entry| entry.0)
    }
}

struct History {
    disk: Simulated,
    log: Log<Simulated>,
    dice: Dice,
    model: Model,
    /// The model as of each batch.
    models: BTreeMap<BatchId, Model>,
    settings: Settings,
}

fn open(disk: &Simulated, settings: Settings) -> (Log<Simulated>, Recovered) {
    Log::open(disk.clone(), settings).expect("the disk answers")
}

fn read_all(log: &Log<Simulated>, recovered: &Recovered) -> Model {
    recovered
        .groups
        .iter()
        .map(|(id, group)| {
            let from = group.start.as_ref().map_or(LogIndex(1), |s| s.position.index.next());
            let entries = log.read(*id, from, usize::MAX).unwrap();
            let listed: Vec<_> = entries.iter().map(|entry| (entry.0, entry.1)).collect();
            assert_eq!(listed, group.entries, "what is listed is what is read");
            let (hard_state, start) = (group.hard_state, group.start.clone());
            (*id, ModelGroup { hard_state, start, entries })
        })
        .filter(|(_, group)| *group != ModelGroup::default())
        .collect()
}

impl History {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let settings = Settings { segment_bytes: 4096 << dice.below(4) };
        let disk = Simulated::new();
        let (log, recovered) = open(&disk, settings);
        assert!(recovered.groups.is_empty() && recovered.damage.is_none());
        Self { disk, log, dice, model: Model::new(), models: BTreeMap::new(), settings }
    }

    fn step(&mut self) {
        match self.dice.below(20) {
            0..=9 => self.append(),
            10..=12 => {
                let _submitted: Option<BatchId> = self.log.submit();
            }
            13..=18 => self.complete(),
            _ => match self.dice.below(6) {
                0 => self.crash(false),
                1 => self.crash(true),
                _ => self.complete(),
            },
        }
    }

    fn complete(&mut self) {
        if let Some(completion) = self.disk.complete_next() {
            let before = self.log.durable();
            let durable = self.log.completed(completion).unwrap();
            assert!(durable.is_none_or(|batch| batch == before.next()));
        }
    }

    fn settle(&mut self) {
        while self.log.submit().is_some() || self.disk.pending() > 0 {
            self.complete();
        }
        assert!(self.log.is_idle());
    }

    fn append(&mut self) {
        let group = GroupId::Shard(ShardId(u16::try_from(self.dice.below(3)).unwrap()));
        let body = self.body(group);
        apply(&mut self.model, group, &body);
        let batch = self.log.append(Record { group, body });
        self.models.insert(batch, self.model.clone());
        let logged = self.log.last(group);
        assert_eq!(logged, self.model.get(&group).map_or(Position::ZERO, ModelGroup::last));
    }

    fn body(&mut self, group: GroupId) -> Body {
        let state = self.model.entry(group).or_default().clone();
        let (start, last) = (state.start(), state.last());
        match self.dice.below(40) {
            0..=2 => {
                let term = state.hard_state.map_or(Term(1), |hard_state| hard_state.term.next());
                let vote = self.dice.coin().then(|| NodeId(u128::from(self.dice.roll())));
                Body::HardState { term, vote }
            }
            3 if !state.entries.is_empty() => {
                let back = self.dice.below(state.entries.len() as u64);
                Body::Cut { from: LogIndex(last.index.0 - back) }
            }
            4..=6 => {
                let payload = self.payload();
                let ahead = self.dice.below(last.index.0 - start.index.0 + 1);
                let index = LogIndex(start.index.0 + ahead);
                let held = state.entries.iter().find(|entry| entry.0.index == index);
                let position = held.map_or(start, |entry| entry.0);
                Body::Start { position, payload }
            }
            7 => {
                // A snapshot from elsewhere.
                let index = LogIndex(last.index.0 + self.dice.below(5) + 1);
                Body::Start {
                    position: Position { term: last.term.next(), index },
                    payload: self.payload(),
                }
            }
            8 if self.dice.below(4) == 0 => Body::Forget,
            _ => {
                let term = Term(last.term.0.max(1) + u64::from(self.dice.below(10) == 0));
                let position = Position { term, index: last.index.next() };
                let kind = EntryKind(u8::try_from(self.dice.below(4)).unwrap());
                Body::Entry { position, kind, payload: self.payload() }
            }
        }
    }

    fn payload(&mut self) -> Bytes {
        let length = match self.dice.below(12) {
            0..=7 => self.dice.below(100),
            8..=9 => self.dice.below(1000),
            10 => self.dice.below(3000),
            _ => self.dice.below(9000),
        };
        let zeros = self.dice.below(3) == 0;
        (0..length).map(|_| if zeros { 0 } else { self.dice.roll() as u8 }).collect()
    }

    /// Only what was durable, or with the batch under way, is there; nothing is reported as damage.
    fn crash(&mut self, power_is_lost: bool) {
        let durable = self.log.durable();
        let seed = self.dice.roll();
        if power_is_lost {
            self.disk.crash(seed);
        } else {
            self.disk.restart(seed);
        }
        while self.dice.coin() {
            // Opening fails in its middle, and power is lost in that moment.
            let kind = std::io::ErrorKind::Other;
            self.disk.fail_after(self.dice.below(4), Target::Any, kind);
            match Log::open(self.disk.clone(), self.settings) {
                Ok((_, recovered)) => assert_eq!(recovered.damage, None),
                Err(error) => assert!(matches!(error, OpenError::Prepare { .. })),
            }
            self.disk.crash(self.dice.roll());
        }
        let (log, recovered) = open(&self.disk, self.settings);
        assert_eq!(recovered.damage, None, "a crash is never taken for damage");
        let now = log.durable();
        assert!(now == durable || now == durable.next(), "{durable:?} was durable, found {now:?}");
        let expected = self.models.range(..=now).next_back();
        let expected = expected.map(|(_, model)| model.clone()).unwrap_or_default();
        self.model =
            expected.into_iter().filter(|(_, group)| *group != ModelGroup::default()).collect();
        assert_eq!(read_all(&log, &recovered), self.model);
        self.models = BTreeMap::from([(now, self.model.clone())]);
        self.log = log;
        // Power lost right after opening: what was recovered is durable.
        self.disk.crash(self.dice.roll());
        let (log, recovered) = open(&self.disk, self.settings);
        assert_eq!(log.durable(), now);
        assert_eq!(read_all(&log, &recovered), self.model);
        assert_eq!(recovered.torn, None, "a torn tail is cut for good");
        self.log = log;
    }
}

fn apply(model: &mut Model, group: GroupId, body: &Body) {
    let state = model.entry(group).or_default();
    match body {
        Body::Entry { position, kind, payload } => {
            state.entries.push((*position, *kind, payload.clone()));
        }
        Body::Cut { from } => state.entries.retain(|entry| entry.0.index < *from),
        Body::HardState { term, vote } => {
            state.hard_state = Some(HardState { term: *term, vote: *vote });
        }
        Body::Start { position, payload } => {
            let held = *position == state.start()
                || state.entries.iter().any(|entry| entry.0 == *position);
            state.entries.retain(|entry| held && entry.0.index > position.index);
            state.start = Some(Start { position: *position, payload: payload.clone() });
        }
        Body::Forget => {
            model.remove(&group);
        }
    }
}

#[test]
fn a_crash_keeps_what_was_durable_and_no_batch_in_part() {
    for seed in 0..120 {
        let mut history = History::new(seed);
        for _ in 0..600 {
            history.step();
        }
        history.settle();
        history.crash(true);
    }
}

#[test]
fn a_flipped_bit_is_always_reported() {
    for seed in 0..250 {
        let mut history = History::new(1_000_000 + seed);
        for _ in 0..200 {
            history.step();
        }
        history.settle();
        let Some(current) = history.log.writer.current() else { continue };
        let end = history.log.writer.end();
        let lengths: Vec<_> = history.disk.lengths().into_iter().collect();
        let written: Vec<_> = lengths.iter().filter(|(file, _)| *file <= current.file()).collect();
        let at = usize::try_from(history.dice.below(written.len() as u64)).unwrap();
        let (file, length) = written[at];
        let within = if *file == current.file() { end } else { *length };
        let (offset, bit) = (history.dice.below(within), history.dice.roll() as u8);
        assert!(history.disk.flip_bit(file, offset, bit));
        let before = history.disk.lengths();
        let (_, recovered) = open(&history.disk, history.settings);
        assert!(recovered.damage.is_some(), "seed {seed}: {file} at {offset}");
        assert_eq!(history.disk.lengths(), before, "nothing is removed");
        assert!(history.disk.flip_bit(file, offset, bit));
        let (log, recovered) = open(&history.disk, history.settings);
        assert_eq!(recovered.damage, None, "nothing was written");
        history.model.retain(|_, group| *group != ModelGroup::default());
        assert_eq!(read_all(&log, &recovered), history.model);
    }
}

#[test]
fn a_log_that_releases_stays_small() {
    let mut history = History::new(7);
    history.settings = Settings { segment_bytes: 16 << 10 };
    history.disk.wipe();
    history.log = open(&history.disk, history.settings).0;
    let cold = GroupId::Meta;
    for index in 1..=5 {
        let position = Position { term: Term(1), index: LogIndex(index) };
        let body =
            Body::Entry { position, kind: EntryKind(0), payload: Bytes::from_static(b"cold") };
        apply(&mut history.model, cold, &body);
        history.log.append(Record { group: cold, body });
    }
    for round in 1..=500 {
        let group = GroupId::Shard(ShardId(0));
        let position = Position { term: Term(1), index: LogIndex(round) };
        let payload = Bytes::from(vec![1; 900]);
        history
            .log
            .append(Record { group, body: Body::Entry { position, kind: EntryKind(0), payload } });
        if round % 4 == 0 {
            history
                .log
                .append(Record { group, body: Body::Start { position, payload: Bytes::new() } });
        }
        history.settle();
        assert!(history.log.bytes() <= 5 * (16 << 10), "round {round}: {}", history.log.bytes());
    }
    let recovered = open(&history.disk, history.settings);
    let cold_read = recovered.0.read(cold, LogIndex(1), usize::MAX).unwrap();
    assert_eq!(cold_read, history.model[&cold].entries);
}
