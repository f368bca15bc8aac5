//! One cell: the values that no known write has replaced, and everything that is known to have been written.
//!
//! A dotted version vector set (Almeida and others 2014), with four kinds of content, so that registers, counters
//! and the members of sets are one type: a value, a removal that competes with values by its time, an amount to add, and a
//! member's presence. Keeps INV-92 and INV-93.

use bytes::Bytes;
use quorate_model::{ActorId, Dot, Hlc, VersionVector, WallTime};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// What an entry of a context and a sibling without its content take, roughly.
const ENTRY_BYTES: usize = 16;
const SIBLING_BYTES: usize = 40;

/// See the module. Two cells of one key that know the same are equal.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// Every write of this cell that is known, also of what is no longer there.
    context: VersionVector,
    /// Sorted by dot; each is covered by the context.
    siblings: Vec<Sibling>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Sibling {
    pub dot: Dot,
    /// With the dot it is the unique write id by which the last writer wins.
    pub at: Hlc,
    pub content: Content,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Content {
    Value {
        value: Bytes,
        expiry: Option<WallTime>,
    },
    /// Added to the value, or to zero where there is none. All amounts count, whoever wins among the values. Wider than what
    /// clients see, so that the parts of a sum that fits always fit.
    Amount(i128),
    /// Nothing, since this time: a removal that competes with values by its time.
    Removed,
    /// A set's member is there. It goes only by what has observed it: discarded by its time, another addition would go with a
    /// removal that has seen neither.
    Member,
}

/// What a coordinator does to a cell of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// In place of everything that `context` covers; of everything that the coordinator knows, without one.
    Put { content: Content, context: Option<Context> },
    /// On top of what the coordinator added before.
    Add(i64),
    /// Without what `context` covers; without all that the coordinator knows, without one.
    /// Where the last writer wins, a removal is put instead ([`Content::Removed`]): what it leaves must have its time, else what
    /// stands depends on the order of arrival.
    Remove { context: Option<Context> },
}

/// What a client has read: the vector says what its write is to replace, the time what it is to come after.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Context {
    pub known: VersionVector,
    pub newest: Hlc,
}

/// Equal for cells that know the same; else different, but for one pair in 2^64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CellDigest(pub u64);

/// What a merge brought.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Merged {
    pub changed: bool,
    /// Dots that stood for two writes: somebody used one twice (INV-90), and one of the writes is lost.
    pub reused_dots: usize,
}

impl Cell {
    /// Carries out a change as `dot`, a new one of this replica's.
    ///
    /// # Panics
    /// When the dot is not newer than everything known of its actor (INV-90), or the time is not later than what is known and
    /// what the client has read (INV-93). Ask [`Cell::takes`] first.
    pub fn change(&mut self, dot: Dot, at: Hlc, change: Change) {
        // INV-90
        assert!(self.takes(dot, change.context()), "a dot is used once");
        let newest = self.newest().into_iter();
        let newest = newest.chain(change.context().map(|context| context.newest)).max();
        // INV-93
        assert!(newest.is_none_or(|newest| at > newest), "a write is later than what it follows");
        let content = match change {
            Change::Put { content, context } => {
                self.forget(context.as_ref());
                Some(content)
            }
            Change::Remove { context } => {
                self.forget(context.as_ref());
                None
            }
            Change::Add(amount) => {
                Some(Content::Amount(self.take_amount(dot.actor) + i128::from(amount)))
            }
        };
        self.context.include(dot);
        if let Some(content) = content {
            self.insert(Sibling { dot, at, content });
        }
    }

    /// Whether `dot` is newer than all that this cell and `context` know of its actor: else the context is none that this
    /// actor's replica ever gave out.
    #[must_use]
    pub fn takes(&self, dot: Dot, context: Option<&Context>) -> bool {
        let known = context.map_or(0, |context| context.known.counter(dot.actor));
        dot.counter > known.max(self.context.counter(dot.actor))
    }

    /// Takes over what `other` knows of the same cell.
    pub fn merge(&mut self, other: &Self) -> Merged {
        let mut merged = Merged::default();
        let kept = self.siblings.len();
        self.siblings
            .retain(|ours| !other.context.covers(ours.dot) || other.place(ours.dot).is_ok());
        merged.changed = self.siblings.len() < kept || !self.context.covers_all(&other.context);
        for theirs in &other.siblings {
            match self.place(theirs.dot) {
                Ok(at) if self.siblings[at] == *theirs => {}
                Ok(at) => {
                    // All replicas must come to one of the two; stopping would stop all of them.
                    merged.reused_dots += 1;
                    merged.changed |= self.siblings[at] < *theirs;
                    self.siblings[at] = self.siblings[at].clone().max(theirs.clone());
                }
                Err(_) if self.context.covers(theirs.dot) => {}
                Err(_) => {
                    self.insert(theirs.clone());
                    merged.changed = true;
                }
            }
        }
        self.context.join(&other.context);
        merged
    }

    /// Discards every value but that of the highest write id, and answers how many those were. Amounts and members stay.
    pub fn keep_last_writer(&mut self) -> usize {
        let competes = |sibling: &Sibling| sibling.content.competes();
        let id = |sibling: &Sibling| (sibling.at, sibling.dot);
        let last = self.siblings.iter().filter(|one| competes(one)).map(id).max();
        let before = self.siblings.len();
        self.siblings.retain(|one| !competes(one) || Some(id(one)) == last);
        before - self.siblings.len()
    }

    /// Whether everything that `other` knows is known here.
    #[must_use]
    pub fn knows(&self, other: &Self) -> bool {
        let replaced =
            |ours: &Sibling| other.context.covers(ours.dot) && other.place(ours.dot).is_err();
        self.context.covers_all(&other.context) && !self.siblings.iter().any(replaced)
    }

    #[must_use]
    pub const fn known(&self) -> &VersionVector {
        &self.context
    }

    /// What a client that reads this cell knows.
    #[must_use]
    pub fn context(&self) -> Context {
        Context { known: self.context.clone(), newest: self.newest().unwrap_or_default() }
    }

    /// The latest time of what is there.
    #[must_use]
    pub fn newest(&self) -> Option<Hlc> {
        self.siblings.iter().map(|sibling| sibling.at).max()
    }

    #[must_use]
    pub fn siblings(&self) -> &[Sibling] {
        &self.siblings
    }

    /// How many values are concurrent. Amounts and members are no such values.
    #[must_use]
    pub fn values(&self) -> usize {
        self.siblings.iter().filter(|one| one.content.competes()).count()
    }

    /// Whether nothing but the knowledge of removals is left.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.siblings.iter().all(|sibling| sibling.content == Content::Removed)
    }

    /// Of what is known: a dot stands for its content.
    #[must_use]
    pub fn digest(&self) -> CellDigest {
        // At once: for so few bytes a hash that is fed piece by piece costs several times as much.
        let mut known =
            Vec::with_capacity(16 * (self.context.len() + 1) + 24 * self.siblings.len());
        let mut add = |number: u64| known.extend_from_slice(&number.to_be_bytes());
        for Dot { actor, counter } in self.context.dots() {
            add(actor.0);
            add(counter);
        }
        // No dot has the counter zero: what follows is not of the context.
        add(0);
        add(0);
        for Sibling { dot, at, content: _ } in &self.siblings {
            add(dot.actor.0);
            add(dot.counter);
            add(at.0);
        }
        CellDigest(xxh3_64(&known))
    }

    /// Roughly what it takes in memory and on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let siblings = self.siblings.iter().map(|one| SIBLING_BYTES + one.content.bytes());
        ENTRY_BYTES * self.context.len() + siblings.sum::<usize>()
    }

    /// Whether it is as this type keeps it. What comes from outside must be asked.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.context.is_well_formed()
            && self.siblings.is_sorted_by(|one, next| one.dot < next.dot)
            && self.siblings.iter().all(|one| one.dot.counter > 0 && self.context.covers(one.dot))
    }

    /// Drops what is covered, and takes what somebody else has seen for seen.
    fn forget(&mut self, context: Option<&Context>) {
        match context {
            Some(Context { known, newest: _ }) => {
                self.siblings.retain(|sibling| !known.covers(sibling.dot));
                self.context.join(known);
            }
            None => self.siblings.clear(),
        }
    }

    /// What this actor has added so far, which goes: exactly those siblings, since a vector that covers them would cover the
    /// values that the actor wrote before, too.
    fn take_amount(&mut self, actor: ActorId) -> i128 {
        let mut sum = 0;
        self.siblings.retain(|sibling| match sibling.content {
            Content::Amount(amount) if sibling.dot.actor == actor => {
                sum += amount;
                false
            }
            Content::Amount(_) | Content::Value { .. } | Content::Removed | Content::Member => true,
        });
        sum
    }

    fn place(&self, dot: Dot) -> Result<usize, usize> {
        self.siblings.binary_search_by_key(&dot, |sibling| sibling.dot)
    }

    fn insert(&mut self, sibling: Sibling) {
        let at = self.siblings.partition_point(|known| known.dot < sibling.dot);
        self.siblings.insert(at, sibling);
    }
}

impl Content {
    /// Beside what every sibling takes.
    const fn bytes(&self) -> usize {
        match self {
            Self::Value { value, .. } => value.len(),
            Self::Amount(_) | Self::Removed | Self::Member => 0,
        }
    }

    /// Whether only the last writer's stays where that is the policy.
    #[must_use]
    pub const fn competes(&self) -> bool {
        match self {
            Self::Value { .. } | Self::Removed => true,
            Self::Amount(_) | Self::Member => false,
        }
    }
}

impl Change {
    /// Roughly what it adds to a cell.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let content = match self {
            Self::Put { content, .. } => content.bytes(),
            Self::Add(_) | Self::Remove { .. } => 0,
        };
        let context = self.context().map_or(0, |context| context.known.len());
        ENTRY_BYTES * (1 + context) + SIBLING_BYTES + content
    }

    #[must_use]
    pub const fn context(&self) -> Option<&Context> {
        match self {
            Self::Put { context, .. } | Self::Remove { context } => context.as_ref(),
            Self::Add(_) => None,
        }
    }
}
