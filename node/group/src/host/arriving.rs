//! What comes in from outside: to whom it goes.

use quorate_model::{GroupId, LogIndex, NodeId};
use quorate_replication::single_leader::{self, Message};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::checking::Checked;
use super::group::Task;
use super::leaderless::Coordinated;
use super::requests::{Stage, Then, Waiting, Work};
use super::snapshotting::{Chunk, Told};
use super::{Failure, Host, Input, Output, PeerMessage, ReadLevel, Request, RequestId, Turn};
use crate::Operation;

impl<D: Disk, S: StateStore> Host<D, S> {
    pub(super) fn take(&mut self, input: Input) {
        match input {
            Input::Tick => {}
            Input::Disk(completion) => self.completed(completion),
            Input::Peer { from, group, message } => self.message(from, group, message),
            Input::PeerRefused { peer } => self.peer_refused(peer),
            Input::PeerAddresses { peer, addresses } => {
                self.tell_ages_again();
                self.addresses_told(peer, addresses);
            }
            Input::Request { id, request } => self.request(id, request),
            Input::RollbackSaved { group, number } => self.rollback_saved(group, number),
            Input::Cancel { id } => {
                self.forget_coordinated(id);
                if let Some(waiting) = self.shared.requests.remove(id) {
                    self.waits_no_longer(id, &waiting);
                }
            }
            // A wall clock may go back; the time in a group's log does not.
            Input::Wall(wall) => {
                self.shared.wall = wall;
                self.shared.wall_told_at = self.shared.now;
            }
        }
    }

    fn message(&mut self, from: NodeId, group: GroupId, message: PeerMessage) {
        if from == self.shared.node() {
            return;
        }
        self.shared.hear(from);
        if let PeerMessage::Beat(beat) = &message {
            return self.beat_received(from, beat);
        }
        if let PeerMessage::Leaderless { mark, messages } = message {
            if let GroupId::Shard(shard) = group {
                self.shard_messages(from, shard, mark, messages);
            }
            return;
        }
        if let PeerMessage::Moves(reports) = message {
            return self.moves_reported(from, reports);
        }
        if let PeerMessage::Ages(ages) = message {
            return self.ages_told(from, ages);
        }
        if let PeerMessage::Behind(ages) = message {
            return self.found_behind(ages);
        }
        let hosted = self.groups.contains_key(&group);
        if !hosted {
            if is_call(&message) {
                self.called(group);
            }
            return;
        }
        if let PeerMessage::NotMember { nonce, term } = message {
            let may_go = self.groups.get(&group).is_some_and(|group| group.may_go(nonce, term));
            let mut saved = false;
            if may_go {
                self.with_group(group, |turn| saved = turn.is_saved_before_going());
            }
            // INV-66. While it is being saved, the next answer is waited for.
            if saved {
                self.retire(group);
            }
            return;
        }
        self.with_group(group, |turn| turn.message(from, message));
    }

    fn peer_refused(&mut self, peer: NodeId) {
        self.end_pacts(peer);
        self.shared.heard.remove(&peer);
        let supplied: Vec<GroupId> = self
            .groups
            .values()
            .filter(|group| group.supplies.supplied_by(peer).next().is_some())
            .map(|group| group.id)
            .collect();
        for group in supplied {
            self.with_group(group, |turn| turn.source_died(peer));
        }
        // Only its followers care.
        let groups: Vec<GroupId> = self
            .groups
            .values()
            .filter(|group| group.leadership.leader == Some(peer))
            .map(|group| group.id)
            .collect();
        for group in groups {
            self.with_group(group, |turn| {
                let input = single_leader::Input::PeerRefused { peer };
                turn.group.tasks.push_back(Task::Step(input));
            });
        }
    }

    /// An answer to a request that was never taken.
    pub(super) fn refuse(&mut self, id: RequestId, failure: Failure) {
        self.shared.outputs.push_back(Output::Reply { id, reply: Err(failure) });
    }

    fn request(&mut self, id: RequestId, request: Request) {
        // INV-55.
        if self.shared.requests.is_full() {
            return self.refuse(id, Failure::Overloaded);
        }
        match request {
            Request::Execute { shard, operation, level } => {
                self.execute(id, GroupId::Shard(shard), operation, level);
            }
            Request::Wait { shard, position, replicas, timeout_ms } => {
                self.on(id, GroupId::Shard(shard), |turn| {
                    turn.count(id, position, replicas, timeout_ms);
                });
            }
            Request::Bootstrap { topology } => self.bootstrap(id, *topology),
            Request::ProposeTopology { expected, topology } => {
                let work = Work::SetTopology { expected, topology };
                self.on(id, GroupId::Meta, |turn| turn.accept(id, work));
            }
            Request::Handover => self.hand_over(id),
            Request::ReadTopology => {
                self.on(id, GroupId::Meta, |turn| turn.accept(id, Work::ReadTopology));
            }
            Request::ReadIndex { shard } => {
                self.on(id, GroupId::Shard(shard), |turn| turn.accept(id, Work::ReadIndex));
            }
            Request::AwaitApplied { shard, index } => {
                self.on(id, GroupId::Shard(shard), |turn| turn.accept_await(id, index));
            }
            Request::ReadAt { shard, read, floor, wait_ms } => {
                self.on(id, GroupId::Shard(shard), |turn| turn.read_at(id, read, floor, wait_ms));
            }
            Request::Coordinate { shard, operation, demand, seen } => {
                self.coordinate(id, shard, Coordinated::new(operation, demand, seen));
            }
            Request::ReadKnown { shard } => {
                self.on(id, GroupId::Shard(shard), |turn| turn.accept(id, Work::ReadKnown));
            }
            Request::AwaitKnown { shard, floor, wait_ms } => {
                self.on(id, GroupId::Shard(shard), |turn| turn.await_known(id, floor, wait_ms));
            }
        }
    }

    fn execute(&mut self, id: RequestId, group: GroupId, operation: Operation, level: ReadLevel) {
        match (operation, level) {
            (Operation::Read(read), ReadLevel::Local) => self.on(id, group, |turn| {
                let reply = turn.read_local(&read);
                turn.shared.outputs.push_back(Output::Reply { id, reply });
            }),
            (Operation::Read(read), ReadLevel::Linearizable) => {
                self.on(id, group, |turn| turn.accept(id, Work::Read(read)));
            }
            (Operation::Write(write), ReadLevel::Linearizable | ReadLevel::Local) => {
                self.on(id, group, |turn| turn.accept(id, Work::Write(write)));
            }
        }
    }

    /// Does something for a request in a group that must be hosted.
    fn on(&mut self, id: RequestId, group: GroupId, act: impl FnOnce(&mut Turn<'_, D, S>)) {
        if self.groups.contains_key(&group) {
            self.with_group(group, act);
        } else {
            self.refuse(id, Failure::NotHosted { group });
        }
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    fn message(&mut self, from: NodeId, message: PeerMessage) {
        match message {
            PeerMessage::Replication(message) => self.replication(from, message),
            PeerMessage::SnapshotChunk {
                position,
                stream,
                number,
                last,
                checksum,
                payload,
                order,
            } => {
                let chunk = Chunk { position, stream, number, last, order, checksum, payload };
                self.chunk_received(from, chunk);
            }
            PeerMessage::SnapshotAck { stream, next, installed } => {
                self.snapshot_acked(from, stream, next, installed);
            }
            PeerMessage::SnapshotQuery { id } => self.held_asked(from, id),
            PeerMessage::SnapshotHeld { id, held } => {
                self.supply_told(from, Told::Held { id, held });
            }
            PeerMessage::SnapshotOrder(order) => self.ordered(from, order),
            PeerMessage::SnapshotStreamed { id, to, streamed } => {
                self.supply_told(from, Told::Streamed { id, to, streamed });
            }
            // Each side may abort; the numbers tell whose stream it is.
            PeerMessage::SnapshotAbort { stream } => {
                self.snapshot_refused(from, stream);
                self.snapshot_aborted(from, stream);
            }
            PeerMessage::MembershipQuery { nonce, term } => {
                self.membership_asked(from, nonce, term)
            }
            PeerMessage::NotMember { .. }
            | PeerMessage::Beat(_)
            | PeerMessage::Moves(_)
            | PeerMessage::Ages(_)
            | PeerMessage::Behind(_)
            | PeerMessage::Leaderless { .. } => {
                unreachable!("it concerns the whole host")
            }
            PeerMessage::Exchange(message) => self.exchange_message(from, *message),
            PeerMessage::Fill(message) => self.fill_message(from, *message),
            PeerMessage::EngineQuery => self.tell_engine(from),
            PeerMessage::Engine { format } => self.engine_told(from, format),
            PeerMessage::StateHash { index, hash, next } => {
                self.check_answered(from, Checked { index, hash, next });
            }
        }
    }

    fn replication(&mut self, from: NodeId, message: Message) {
        let switched = self.group.incoming.as_ref().is_some_and(|one| one.is_switched());
        // INV-33: no message between the switch to a snapshot and the protocol's word of it.
        if switched {
            return;
        }
        if is_lead(&message) {
            self.called_again();
        }
        let input = single_leader::Input::Message { from, message };
        self.group.tasks.push_back(Task::Step(input));
    }

    fn accept_await(&mut self, id: RequestId, index: LogIndex) {
        let deadline = self.shared.now.after(self.shared.settings.request_timeout);
        let stage = Stage::Applying { index, then: Then::Done };
        self.shared.requests.insert(id, Waiting { group: self.group.id, deadline, stage });
        self.await_applied(id, index);
    }
}

/// Whether only a leader says this.
fn is_lead(message: &Message) -> bool {
    match message {
        Message::Append { .. } | Message::SnapshotOffer { .. } => true,
        Message::PreVote { .. }
        | Message::PreVoteReply { .. }
        | Message::Vote { .. }
        | Message::VoteReply { .. }
        | Message::AppendReply { .. }
        | Message::TimeoutNow { .. } => false,
    }
}

fn is_call(message: &PeerMessage) -> bool {
    match message {
        PeerMessage::Replication(message) => is_lead(message),
        PeerMessage::SnapshotChunk { .. }
        | PeerMessage::SnapshotAck { .. }
        | PeerMessage::SnapshotAbort { .. }
        | PeerMessage::SnapshotQuery { .. }
        | PeerMessage::SnapshotHeld { .. }
        | PeerMessage::SnapshotOrder(_)
        | PeerMessage::SnapshotStreamed { .. }
        | PeerMessage::MembershipQuery { .. }
        | PeerMessage::NotMember { .. }
        | PeerMessage::EngineQuery
        | PeerMessage::Engine { .. }
        | PeerMessage::StateHash { .. }
        | PeerMessage::Exchange(_)
        | PeerMessage::Fill(_)
        | PeerMessage::Leaderless { .. }
        | PeerMessage::Moves(_)
        | PeerMessage::Ages(_)
        | PeerMessage::Behind(_)
        | PeerMessage::Beat(_) => false,
    }
}
