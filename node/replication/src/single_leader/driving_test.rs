//! Drives one replica by hand: inputs in, outputs compared. The others are played by the test.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use quorate_model::{LogIndex, NodeId, Position, Term, Time};

use super::{
    AppendResult, Configuration, Entry, HardState, Input, Message, Output, Payload, PersistId,
    ProposalId, Replica, Restored, Settings, Waiting, When,
};

pub(super) struct Driven {
    pub(super) replica: Replica,
    pub(super) now: Time,
    issued: Option<PersistId>,
}

pub(super) const fn node(id: u128) -> NodeId {
    NodeId(id)
}

pub(super) fn nodes(ids: impl IntoIterator<Item = u128>) -> BTreeSet<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

pub(super) const fn position(term: u64, index: u64) -> Position {
    Position { term: Term(term), index: LogIndex(index) }
}

pub(super) fn entry(term: u64, index: u64) -> Entry {
    let payload = Payload::Command(Bytes::from(format!("{term}/{index}")));
    Entry { position: position(term, index), payload }
}

pub(super) fn configuration(
    voters: impl IntoIterator<Item = u128>,
    learners: impl IntoIterator<Item = u128>,
) -> Configuration {
    Configuration { learners: nodes(learners), ..Configuration::of(nodes(voters)) }
}

/// Entries 1, 2, ... of these terms, held by a replica whose hard state has the last of them.
pub(super) fn restored(voters: Configuration, terms: &[u64]) -> Restored {
    let entries = terms.iter().zip(1..).map(|(term, index)| entry(*term, index)).collect();
    let term = Term(terms.last().copied().unwrap_or(0));
    Restored {
        hard_state: HardState { term, vote: None },
        base_configuration: voters,
        entries,
        ..Restored::default()
    }
}

pub(super) const fn matched(term: u64, round: u64, index: u64) -> Message {
    let result = AppendResult::Matched(LogIndex(index));
    Message::AppendReply { term: Term(term), round, result }
}

pub(super) fn append(
    term: u64,
    previous: Position,
    entries: impl IntoIterator<Item = Entry>,
    committed: u64,
) -> Message {
    Message::Append {
        term: Term(term),
        previous,
        entries: entries.into_iter().collect(),
        committed: LogIndex(committed),
        round: 1,
    }
}

/// What is sent, to whom.
pub(super) fn sent(outputs: &[Output]) -> Vec<(NodeId, Message)> {
    let messages = outputs.iter().filter_map(|output| {
        let Output::Send { to, message, .. } = output else { return None };
        Some((*to, message.clone()))
    });
    messages.collect()
}

pub(super) fn applied(outputs: &[Output]) -> Vec<u64> {
    let entries = outputs.iter().filter_map(|output| {
        let Output::Apply { entries } = output else { return None };
        Some(entries.iter().map(|entry| entry.index().0))
    });
    entries.flatten().collect()
}

impl Driven {
    pub(super) fn new(id: u128, restored: Restored) -> Self {
        Self::with(id, restored, Settings::default())
    }

    pub(super) fn with(id: u128, restored: Restored, settings: Settings) -> Self {
        let now = Time(1_000_000_000);
        let replica = Replica::new(node(id), settings, 7, restored, now);
        Self { replica, now, issued: None }
    }

    /// Replica 1 of 1, 2, 3, with an empty log.
    pub(super) fn first_of_three() -> Self {
        Self::new(1, restored(configuration([1, 2, 3], []), &[]))
    }

    /// Replica 1 of these, elected in the term after the log's last, with its first entry on its disk and nothing
    /// acknowledged by others.
    pub(super) fn elected(restored: Restored, settings: Settings) -> Self {
        let mut driven = Self::with(1, restored, settings);
        let others: Vec<NodeId> =
            driven.replica.configuration().voters.iter().copied().filter(|n| n.0 != 1).collect();
        driven.expire();
        let term = driven.replica.term().next();
        for other in &others {
            driven.receive(other.0, Message::PreVoteReply { term, granted: true });
        }
        driven.persist();
        for other in &others {
            driven.receive(other.0, Message::VoteReply { term, granted: true });
        }
        driven.persist();
        assert_eq!(driven.replica.leader(), Some(node(1)));
        driven
    }

    /// The leader of 1, 2, 3 in term 1, its first entry committed and applied.
    pub(super) fn established() -> Self {
        let mut driven =
            Self::elected(restored(configuration([1, 2, 3], []), &[]), Settings::default());
        driven.receive(2, matched(1, 1, 1));
        driven.receive(3, matched(1, 1, 1));
        driven.step(Input::Applied { index: LogIndex(1) });
        assert!(driven.replica.is_leading());
        driven
    }

    /// One input, with nothing else at hand that could be sent with it.
    pub(super) fn step(&mut self, input: Input) -> Vec<Output> {
        let request = matches!(input, Input::Propose { .. } | Input::Read { .. });
        self.replica.step(self.now, input);
        let mut outputs: Vec<Output> = std::iter::from_fn(|| self.replica.pop_output()).collect();
        if request {
            self.replica.step(self.now, Input::Dispatch);
            outputs.extend(std::iter::from_fn(|| self.replica.pop_output()));
        }
        for output in &outputs {
            if let Output::Persist { id, .. } = output {
                self.issued = Some(*id);
            }
        }
        outputs
    }

    pub(super) fn receive(&mut self, from: u128, message: Message) -> Vec<Output> {
        self.step(Input::Message { from: node(from), message })
    }

    /// Everything issued is durable.
    pub(super) fn persist(&mut self) -> Vec<Output> {
        let Some(id) = self.issued.take() else { return Vec::new() };
        self.step(Input::Persisted { id })
    }

    pub(super) fn pass(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }

    /// Time passes to the deadline.
    pub(super) fn expire(&mut self) -> Vec<Output> {
        self.now = self.now.max(self.replica.deadline().at);
        self.step(Input::Tick)
    }

    pub(super) fn propose(&mut self, id: u64) -> Vec<Output> {
        let command = Bytes::from(vec![0; 100]);
        self.step(Input::Propose { id: ProposalId(id), command })
    }

    /// A heartbeat that this follower answers, and nobody else.
    pub(super) fn begin_round_answered(&mut self, by: u128) -> Vec<Output> {
        let mut outputs = self.heartbeat();
        let round = rounds(&outputs).max().unwrap_or(1);
        let (term, last) = (self.replica.term().0, self.replica.last().index.0);
        outputs.extend(self.receive(by, matched(term, round, last)));
        outputs
    }

    /// What the leader sends until its next heartbeat and with it.
    pub(super) fn heartbeat(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        loop {
            let why = self.replica.deadline().why;
            outputs.extend(self.expire());
            if why == Waiting::Heartbeat {
                return outputs;
            }
        }
    }

    /// The newest round that the leader has begun, from what it sends at its next heartbeat.
    pub(super) fn begin_round(&mut self) -> u64 {
        let outputs = self.heartbeat();
        rounds(&outputs).max().expect("a heartbeat was sent")
    }
}

fn rounds(outputs: &[Output]) -> impl Iterator<Item = u64> {
    sent(outputs).into_iter().filter_map(|(_, message)| {
        let (Message::Append { round, .. } | Message::SnapshotOffer { round, .. }) = message else {
            return None;
        };
        Some(round)
    })
}

/// Waits for the first persist.
pub(super) const FIRST: When = When::Persisted(PersistId(1));
