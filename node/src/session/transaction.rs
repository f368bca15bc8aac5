//! What a connection keeps of a transaction until EXEC: the keys that it watches, and the commands since MULTI.
//!
//! Nothing is run before EXEC, which makes one write of everything. What goes wrong on the way spoils the transaction, so
//! that a client which sends MULTI, the commands and EXEC at once never has half of them done. A WATCH that failed spoils the next
//! transaction as well: it was to depend on what nobody looks after.

use bytes::Bytes;
use quorate_group::keyspace::fingerprint;
use quorate_group::{Operation, Value, Version};
use quorate_model::Slot;

use super::budget::Permit;
use super::shape;
use crate::resp::Reply;
use crate::resp::commands::{Shape, Spec};

/// How many commands a transaction has, at most.
pub(super) const COMMANDS_MAX: usize = 10_000;
/// How long they are together, at most: they become one log entry.
pub(super) const BYTES_MAX: usize = 16 << 20;
/// How many keys a connection watches, at most.
pub(super) const WATCHED_MAX: usize = 10_000;
/// What a command takes beside its words.
const COMMAND_BYTES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Transaction {
    watched: Vec<(Bytes, Version)>,
    watch: Watch,
    open: Option<Open>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Watch {
    #[default]
    Holds,
    Failed,
}

/// Since MULTI.
#[derive(Debug)]
struct Open {
    operations: Vec<Operation>,
    kept: Vec<Kept>,
    /// Of all keys, the watched ones included.
    slot: Option<Slot>,
    state: OpenState,
    bytes: Permit,
    /// Of every command so far: what tells this transaction from another with the same token.
    fingerprint: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OpenState {
    Sound,
    Spoiled,
}

/// How one command of a transaction is answered.
#[derive(Debug)]
pub(super) enum Kept {
    /// From what its operation was answered.
    Operation { shape: Shape, spec: &'static Spec },
    /// Without the keyspace.
    Ready(Reply),
}

/// A transaction that is to be run.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) watched: Vec<(Bytes, Version)>,
    pub(super) operations: Vec<Operation>,
    /// `None` when there is no key.
    pub(super) slot: Option<Slot>,
    pub(super) fingerprint: u64,
    pub(super) answers: Answers,
}

/// How its operations' answers become the client's, and the bytes that it takes until then.
#[derive(Debug)]
pub(super) struct Answers {
    kept: Vec<Kept>,
    _bytes: Permit,
}

/// Display is the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("ERR MULTI calls can not be nested")]
    Nested,
    #[error("ERR WATCH inside MULTI is not allowed")]
    WatchInside,
    #[error("ERR EXEC without MULTI")]
    ExecWithoutMulti,
    #[error("ERR DISCARD without MULTI")]
    DiscardWithoutMulti,
    #[error("EXECABORT Transaction discarded because of previous errors.")]
    Spoiled,
    #[error("EXECABORT Transaction discarded because a WATCH before it failed.")]
    WatchFailed,
    #[error("CROSSSLOT Keys in request don't hash to the same slot")]
    CrossSlot,
    #[error("ERR a transaction has at most {COMMANDS_MAX} commands")]
    TooManyCommands,
    #[error("ERR a transaction has at most {BYTES_MAX} bytes")]
    TooManyBytes,
    #[error("ERR a connection watches at most {WATCHED_MAX} keys")]
    TooManyWatched,
    #[error("TRYAGAIN too many bytes of requests are held by this node; nothing was changed")]
    NodeFull,
}

impl Transaction {
    /// MULTI.
    pub(super) fn begin(&mut self, bytes: Permit) -> Result<(), Refusal> {
        if self.open.is_some() {
            return Err(Refusal::Nested);
        }
        assert_eq!(bytes.bytes(), 0);
        self.open = Some(Open {
            operations: Vec::new(),
            kept: Vec::new(),
            slot: self.watched_slot(),
            state: OpenState::Sound,
            bytes,
            fingerprint: 0,
        });
        Ok(())
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// A command was refused: EXEC will run none.
    pub(super) const fn spoil(&mut self) {
        if let Some(open) = &mut self.open {
            open.state = OpenState::Spoiled;
        }
    }

    /// Keeps a command for EXEC.
    pub(super) fn keep(
        &mut self,
        words: &[Bytes],
        operation: Option<(Slot, Operation)>,
        kept: Kept,
    ) -> Result<(), Refusal> {
        let Some(open) = &mut self.open else { return Err(Refusal::ExecWithoutMulti) };
        let added = open.add(words, operation, kept);
        if added.is_err() {
            open.state = OpenState::Spoiled;
        }
        added
    }

    /// EXEC. Whatever comes of it, nothing is kept and nothing watched any more.
    pub(super) fn complete(&mut self) -> Result<Complete, Refusal> {
        let Some(open) = self.open.take() else { return Err(Refusal::ExecWithoutMulti) };
        let Self { watched, watch, open: _ } = std::mem::take(self);
        match (open.state, watch) {
            (OpenState::Spoiled, _) => return Err(Refusal::Spoiled),
            (OpenState::Sound, Watch::Failed) => return Err(Refusal::WatchFailed),
            (OpenState::Sound, Watch::Holds) => {}
        }
        let Open { operations, kept, slot, state: _, bytes, fingerprint } = open;
        let answers = Answers { kept, _bytes: bytes };
        Ok(Complete { watched, operations, slot, fingerprint, answers })
    }

    /// DISCARD.
    pub(super) fn discard(&mut self) -> Result<(), Refusal> {
        if self.open.is_none() {
            return Err(Refusal::DiscardWithoutMulti);
        }
        *self = Self::default();
        Ok(())
    }

    /// Whether a key of this slot may be watched beside the others.
    pub(super) fn may_watch(&mut self, slot: Slot, keys: usize) -> Result<(), Refusal> {
        let refusal = if self.open.is_some() {
            // As in Redis, this one mistake spoils nothing.
            return Err(Refusal::WatchInside);
        } else if self.watched_slot().is_some_and(|watched| watched != slot) {
            Refusal::CrossSlot
        } else if self.watched.len() + keys > WATCHED_MAX {
            Refusal::TooManyWatched
        } else {
            return Ok(());
        };
        self.watch_failed();
        Err(refusal)
    }

    /// A key that is watched already keeps the version that it had first.
    pub(super) fn watch(&mut self, keys: Vec<(Bytes, Version)>) {
        for (key, version) in keys {
            if self.watched.iter().all(|(watched, _)| *watched != key) {
                self.watched.push((key, version));
            }
        }
    }

    pub(super) const fn watch_failed(&mut self) {
        self.watch = Watch::Failed;
    }

    /// UNWATCH.
    pub(super) fn unwatch(&mut self) {
        self.watched.clear();
        self.watch = Watch::Holds;
    }

    /// Whether what is read may decide about what will be written.
    pub(super) const fn watches(&self) -> bool {
        !self.watched.is_empty()
    }

    fn watched_slot(&self) -> Option<Slot> {
        self.watched.first().map(|(key, _)| Slot::of_key(key))
    }
}

impl Open {
    fn add(
        &mut self,
        words: &[Bytes],
        operation: Option<(Slot, Operation)>,
        kept: Kept,
    ) -> Result<(), Refusal> {
        if self.kept.len() >= COMMANDS_MAX {
            return Err(Refusal::TooManyCommands);
        }
        let added: usize = words.iter().map(Bytes::len).sum::<usize>() + COMMAND_BYTES;
        let bytes = self.bytes.bytes() + added;
        if bytes > BYTES_MAX {
            return Err(Refusal::TooManyBytes);
        }
        if !self.bytes.resize(bytes) {
            return Err(Refusal::NodeFull);
        }
        if let Some((slot, operation)) = operation {
            if self.slot.is_some_and(|other| other != slot) {
                return Err(Refusal::CrossSlot);
            }
            self.slot = Some(slot);
            self.operations.push(operation);
        }
        let before = self.fingerprint.to_be_bytes();
        let words = words.iter().map(|word| &word[..]);
        self.fingerprint = fingerprint(std::iter::once(&before[..]).chain(words));
        self.kept.push(kept);
        Ok(())
    }
}

impl Answers {
    /// EXEC's answer.
    pub(super) fn reply(self, value: Value) -> Reply {
        let mut values = match value {
            // A watched key was changed.
            Value::Nil => return Reply::NilList,
            Value::List(values) => values.into_iter(),
            Value::Error(error) => {
                return Reply::Error(format!("EXECABORT Transaction discarded: {error}"));
            }
            Value::Ok | Value::Integer(_) | Value::Bulk(_) | Value::Status(_) => {
                unreachable!("a transaction is answered with a list")
            }
        };
        let replies = self.kept.into_iter().map(|kept| match kept {
            Kept::Ready(reply) => reply,
            Kept::Operation { shape, spec } => {
                let value = values.next().expect("an answer for each operation");
                shape::shape(shape, spec.name, value)
            }
        });
        Reply::List(replies.collect())
    }
}

#[cfg(test)]
mod tests {
    use quorate_group::Read;

    use super::super::budget::Budget;
    use super::*;
    use crate::resp::commands;

    fn operation(key: &'static str) -> (Slot, Operation) {
        let key = Bytes::from_static(key.as_bytes());
        (Slot::of_key(&key), Operation::Read(Read::Get { key }))
    }

    fn kept() -> Kept {
        let spec = commands::parse(&[Bytes::from_static(b"ping")]).unwrap().spec;
        Kept::Operation { shape: Shape::AsIs, spec }
    }

    fn open(budget: &Budget) -> Transaction {
        let mut transaction = Transaction::default();
        transaction.begin(budget.nothing()).unwrap();
        transaction
    }

    #[test]
    fn what_is_kept_counts_with_the_nodes_bytes_until_it_is_answered() {
        let budget = Budget::new(1_000);
        let mut transaction = open(&budget);
        let words = [Bytes::from_static(&[b'x'; 400])];
        transaction.keep(&words, Some(operation("a")), kept()).unwrap();
        assert_eq!(budget.taken(), 464);
        transaction.keep(&words, Some(operation("a")), kept()).unwrap();
        let full = transaction.keep(&words, Some(operation("a")), kept());
        assert_eq!(full, Err(Refusal::NodeFull));
        assert_eq!(transaction.complete().unwrap_err(), Refusal::Spoiled);
        assert_eq!(budget.taken(), 0);
        let mut transaction = open(&budget);
        transaction.keep(&words, Some(operation("a")), kept()).unwrap();
        let complete = transaction.complete().unwrap();
        assert_eq!(budget.taken(), 464);
        drop(complete);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn a_transaction_has_bounds() {
        let budget = Budget::new(usize::MAX);
        let mut transaction = open(&budget);
        for _ in 0..COMMANDS_MAX {
            transaction.keep(&[], Some(operation("a")), kept()).unwrap();
        }
        let more = transaction.keep(&[], Some(operation("a")), kept());
        assert_eq!(more, Err(Refusal::TooManyCommands));
        let mut transaction = open(&budget);
        let long = [Bytes::from(vec![0; BYTES_MAX])];
        let refused = transaction.keep(&long, Some(operation("a")), kept());
        assert_eq!(refused, Err(Refusal::TooManyBytes));
        assert_eq!(transaction.complete().unwrap_err(), Refusal::Spoiled);
        let key = Slot::of_key(b"a");
        assert_eq!(transaction.may_watch(key, WATCHED_MAX + 1), Err(Refusal::TooManyWatched));
    }

    #[test]
    fn all_keys_of_a_transaction_and_those_it_watches_share_a_slot() {
        let budget = Budget::new(usize::MAX);
        let mut transaction = Transaction::default();
        let key = Bytes::from_static(b"{a}watched");
        transaction.watch(vec![(key.clone(), Version(1))]);
        transaction.watch(vec![(key.clone(), Version(2))]);
        assert_eq!(transaction.may_watch(Slot::of_key(b"b"), 1), Err(Refusal::CrossSlot));
        transaction.unwatch();
        transaction.watch(vec![(key.clone(), Version(1))]);
        transaction.watch(vec![(key.clone(), Version(2))]);
        transaction.begin(budget.nothing()).unwrap();
        transaction.keep(&[], Some(operation("{a}other")), kept()).unwrap();
        let Complete { watched, slot, .. } = transaction.complete().unwrap();
        assert_eq!((watched, slot), (vec![(key, Version(1))], Some(Slot::of_key(b"a"))));
        transaction.begin(budget.nothing()).unwrap();
        transaction.keep(&[], Some(operation("a")), kept()).unwrap();
        let refused = transaction.keep(&[], Some(operation("b")), kept());
        assert_eq!(refused, Err(Refusal::CrossSlot));
        assert_eq!(transaction.complete().unwrap_err(), Refusal::Spoiled);
    }

    #[test]
    fn what_depended_on_a_failed_watch_is_not_run() {
        let budget = Budget::new(usize::MAX);
        let mut transaction = Transaction::default();
        transaction.watch_failed();
        transaction.begin(budget.nothing()).unwrap();
        assert_eq!(transaction.complete().unwrap_err(), Refusal::WatchFailed);
        transaction.begin(budget.nothing()).unwrap();
        assert!(transaction.complete().is_ok(), "only the next one");
        transaction.watch_failed();
        transaction.unwatch();
        transaction.begin(budget.nothing()).unwrap();
        assert!(transaction.complete().is_ok());
    }
}
