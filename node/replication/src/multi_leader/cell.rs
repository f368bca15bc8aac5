//! One cell between datacenters: the values that no known write has replaced, and what each datacenter has added.
//!
//! Changes come once and in their turn, so a write need only say what it replaces, and a cell keeps nothing of what is gone: no
//! tombstones. What a write has not seen it leaves, so an update that is concurrent with a removal stays.
//!
//! Amounts count from the first that stands, in *runs*: what an origin added, as one sum. Whoever replaces a run says how far he
//! has seen it, and what its origin adds at the same time still counts. A run ends where its origin itself has seen it replaced.

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{ActorId, Dot, Hlc, VersionVector, WallTime};
use serde::{Deserialize, Serialize};

use crate::causal::{Content, Sibling};

const ENTRY_BYTES: usize = 16;
const SIBLING_BYTES: usize = 40;
const RUN_BYTES: usize = 64;

/// See the module. Two cells to which the same was applied read the same.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// Values and members, sorted by dot.
    siblings: Vec<Sibling>,
    /// Sorted by origin, one for each.
    runs: Vec<Run>,
}

/// What one origin has added, since some write of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Run {
    pub origin: ActorId,
    /// Its first and its last addition,
    pub since: u64,
    pub through: u64,
    /// and what all came to.
    pub sum: i128,
    /// When they go with the value that they were added to.
    pub expiry: Option<WallTime>,
    /// Replaced through this one, which came to so much.
    pub replaced: Option<(u64, i128)>,
}

/// How far whoever replaces an origin's additions has seen them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seen {
    pub origin: ActorId,
    pub since: u64,
    pub through: u64,
    pub sum: i128,
}

/// What a write replaces.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Over {
    /// All that its origin had applied, but where a client says what it has read.
    pub known: Option<VersionVector>,
    pub runs: Vec<Seen>,
}

/// One write of a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Write {
    Put {
        content: Content,
        over: Over,
    },
    Remove {
        over: Over,
    },
    /// What its origin has added since a write of its own.
    Add {
        since: u64,
        sum: i128,
        expiry: Option<WallTime>,
    },
}

impl Cell {
    /// Of a value that stands alone: what most cells are.
    #[must_use]
    pub fn of(sibling: Sibling) -> Self {
        Self { siblings: vec![sibling], runs: Vec::new() }
    }

    /// Carries out a write, in its turn. `before` is what its origin knew when it made it. Twice does no harm.
    pub fn apply(&mut self, dot: Dot, at: Hlc, write: &Write, before: &VersionVector) {
        match write {
            Write::Put { content, over } => {
                self.replace(dot, over, before);
                if let Err(place) = self.place(dot) {
                    self.siblings.insert(place, Sibling { dot, at, content: content.clone() });
                }
            }
            Write::Remove { over } => self.replace(dot, over, before),
            Write::Add { since, sum, expiry } => self.add(dot, *since, *sum, *expiry),
        }
    }

    /// What a write replaces that comes after all that is here, or after what a client has read.
    #[must_use]
    pub fn over(&self, known: Option<&VersionVector>) -> Over {
        let seen = |run: &&Run| {
            let last = Dot { actor: run.origin, counter: run.through };
            !run.is_over() && known.is_none_or(|known| known.covers(last))
        };
        let of = |run: &Run| Seen {
            origin: run.origin,
            since: run.since,
            through: run.through,
            sum: run.sum,
        };
        Over { known: known.cloned(), runs: self.runs.iter().filter(seen).map(of).collect() }
    }

    /// What this origin adds as `dot`. `None` where the sum has no room.
    #[must_use]
    pub fn addition(&self, dot: Dot, by: i64, expiry: Option<WallTime>) -> Option<Write> {
        let run = self.runs.iter().find(|run| run.origin == dot.actor);
        let (since, before) = run.map_or((dot.counter, 0), |run| (run.since, run.sum));
        Some(Write::Add { since, sum: before.checked_add(i128::from(by))?, expiry })
    }

    /// Takes over another datacenter's cell, that is whole. Each knows so much of all cells.
    pub fn merge(&mut self, known: &VersionVector, other: &Self, theirs: &VersionVector) {
        let gone = |dot: Dot| theirs.covers(dot) && other.place(dot).is_err();
        self.siblings.retain(|sibling| !gone(sibling.dot));
        for sibling in &other.siblings {
            if let Err(place) = self.place(sibling.dot)
                && !known.covers(sibling.dot)
            {
                self.siblings.insert(place, sibling.clone());
            }
        }
        let has = |run: &Run| other.runs.iter().any(|theirs| theirs.origin == run.origin);
        self.runs.retain(|run| !theirs.covers(run.last()) || has(run));
        for run in &other.runs {
            match self.runs.binary_search_by_key(&run.origin, |ours| ours.origin) {
                Ok(at) => self.runs[at].merge(run),
                Err(_) if known.covers(run.last()) => {}
                Err(at) => self.runs.insert(at, run.clone()),
            }
        }
    }

    /// Without values that this does not cover. Sums are as they are: what is added twice counts once.
    #[must_use]
    pub fn within(mut self, known: &VersionVector) -> Self {
        self.siblings.retain(|sibling| known.covers(sibling.dot));
        self
    }

    /// What has expired goes, as it does everywhere.
    pub fn expire(&mut self, now: WallTime) {
        let lives = |expiry: Option<WallTime>| expiry.is_none_or(|at| at > now);
        self.siblings.retain(|sibling| match &sibling.content {
            Content::Value { expiry, .. } => lives(*expiry),
            Content::Amount(_) | Content::Removed | Content::Member => true,
        });
        self.runs.retain(|run| lives(run.expiry));
    }

    #[must_use]
    pub fn siblings(&self) -> &[Sibling] {
        &self.siblings
    }

    /// What was added and not replaced, by whom.
    pub fn amounts(&self) -> impl Iterator<Item = (&Run, i128)> {
        self.runs.iter().filter(|run| !run.is_over()).map(|run| {
            let replaced = run.replaced.map_or(0, |(_, sum)| sum);
            (run, run.sum - replaced)
        })
    }

    /// Whether there is nothing to be kept of it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.siblings.is_empty() && self.runs.is_empty()
    }

    /// The value that stands alone, with nothing added.
    #[must_use]
    pub fn alone(&self) -> Option<&Sibling> {
        match (self.siblings.as_slice(), self.runs.as_slice()) {
            ([sibling], []) => Some(sibling),
            _ => None,
        }
    }

    /// What stands here, for whoever writes with a context of his own.
    #[must_use]
    pub fn known(&self) -> VersionVector {
        let siblings = self.siblings.iter().map(|sibling| sibling.dot);
        siblings.chain(self.runs.iter().map(Run::last)).collect()
    }

    /// Roughly what it takes in memory and on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of =
            |sibling: &Sibling| SIBLING_BYTES + value_of(&sibling.content).map_or(0, Bytes::len);
        RUN_BYTES * self.runs.len() + self.siblings.iter().map(of).sum::<usize>()
    }

    /// Whether it is as this type keeps it. What comes from outside must be asked.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let value = |sibling: &Sibling| sibling.dot.counter > 0 && is_value(&sibling.content);
        self.siblings.is_sorted_by(|one, next| one.dot < next.dot)
            && self.siblings.iter().all(value)
            && self.runs.is_sorted_by(|one, next| one.origin < next.origin)
            && self.runs.iter().all(|run| 0 < run.since && run.since <= run.through)
    }

    fn replace(&mut self, dot: Dot, over: &Over, before: &VersionVector) {
        let known = over.known.as_ref().unwrap_or(before);
        let replaces = |dot: Dot| known.covers(dot) || planted::is(Bug::ReplaceUnseen);
        self.siblings.retain(|sibling| !replaces(sibling.dot) || sibling.dot == dot);
        for seen in &over.runs {
            let run = self.runs.iter_mut().find(|run| run.origin == seen.origin);
            if let Some(run) = run.filter(|run| run.since == seen.since)
                && run.replaced.is_none_or(|(through, _)| through < seen.through)
            {
                run.replaced = Some((seen.through, seen.sum));
            }
        }
        // Its own origin begins another one; but where it is filled with, what came before comes again.
        let ends = |run: &Run| run.origin == dot.actor && run.through < dot.counter;
        self.runs.retain(|run| !(ends(run) && run.is_over()));
    }

    fn add(&mut self, dot: Dot, since: u64, sum: i128, expiry: Option<WallTime>) {
        let (origin, through) = (dot.actor, dot.counter);
        let begun = Run { origin, since, through, sum, expiry, replaced: None };
        match self.runs.binary_search_by_key(&origin, |run| run.origin) {
            Ok(at) if self.runs[at].since < since => self.runs[at] = begun,
            Ok(at) if self.runs[at].since == since && self.runs[at].through < through => {
                let run = &mut self.runs[at];
                let before = if planted::is(Bug::AddTwice) { run.sum } else { 0 };
                (run.through, run.sum, run.expiry) = (through, before + sum, expiry);
            }
            Ok(_) => {}
            Err(at) => self.runs.insert(at, begun),
        }
    }

    fn place(&self, dot: Dot) -> Result<usize, usize> {
        self.siblings.binary_search_by_key(&dot, |sibling| sibling.dot)
    }
}

impl Run {
    /// Whether nothing of it counts.
    fn is_over(&self) -> bool {
        self.replaced.is_some_and(|(through, _)| through >= self.through)
    }

    const fn last(&self) -> Dot {
        Dot { actor: self.origin, counter: self.through }
    }

    fn merge(&mut self, other: &Self) {
        if self.since < other.since {
            *self = other.clone();
        } else if self.since == other.since {
            let replaced = self.replaced.max(other.replaced);
            if self.through < other.through {
                self.clone_from(other);
            }
            self.replaced = replaced;
        }
    }
}

impl Write {
    /// What it says that it replaces, but for all that its origin knew.
    #[must_use]
    pub fn replaces(&self) -> Vec<Dot> {
        match self {
            Self::Put { over, .. } | Self::Remove { over } => {
                let last = |run: &Seen| Dot { actor: run.origin, counter: run.through };
                let known = over.known.iter().flat_map(VersionVector::dots);
                known.chain(over.runs.iter().map(last)).collect()
            }
            Self::Add { .. } => Vec::new(),
        }
    }

    pub(super) fn is_well_formed(&self, dot: Dot, knows: impl Fn(Dot) -> bool) -> bool {
        let over = match self {
            Self::Put { content, over } if is_value(content) => over,
            Self::Put { .. } => return false,
            Self::Remove { over } => over,
            Self::Add { since, .. } => return 0 < *since && *since <= dot.counter,
        };
        let seen = |seen: &Seen| {
            let last = Dot { actor: seen.origin, counter: seen.through };
            0 < seen.since && seen.since <= seen.through && knows(last)
        };
        over.known.as_ref().is_none_or(|known| known.is_well_formed() && known.dots().all(&knows))
            && over.runs.iter().all(seen)
    }

    /// Roughly what it takes in memory and on the wire.
    pub(super) fn bytes(&self) -> usize {
        let of = |over: &Over| {
            let known = over.known.as_ref().map_or(0, VersionVector::len);
            ENTRY_BYTES * known + RUN_BYTES * over.runs.len()
        };
        match self {
            Self::Put { content, over } => {
                SIBLING_BYTES + value_of(content).map_or(0, Bytes::len) + of(over)
            }
            Self::Remove { over } => ENTRY_BYTES + of(over),
            Self::Add { .. } => RUN_BYTES,
        }
    }
}

const fn is_value(content: &Content) -> bool {
    matches!(content, Content::Value { .. } | Content::Member)
}

const fn value_of(content: &Content) -> Option<&Bytes> {
    match content {
        Content::Value { value, .. } => Some(value),
        Content::Amount(_) | Content::Removed | Content::Member => None,
    }
}
