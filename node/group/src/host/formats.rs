//! The log format of a group: what its leader's entries say, and how that changes while the store runs.
//!
//! The topology declares a format. A leader that is to write another one proposes a switch, an entry like any other, and what it
//! appends behind that has the new format. Every entry names its own format, so a log may hold all of them.
//!
//! `Wal` is written only while every member of the group is known to have this node's engine format; until then and when
//! one has another, the leader falls back to `Logical`, by a switch as well, and says why. A member that meets rows of another
//! engine all the same (it was upgraded in between) takes none of them: see `quarantine`.

use std::time::Duration;

use bytes::Bytes;
use quorate_model::{GroupId, LogFormat, NodeId};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::group::Proposal;
use super::timers::Timer;
use super::{PeerMessage, Turn};
use crate::Write;
use crate::entry::{Statement, Switch, Undeterminable, Wal};
use crate::keyspace::Evaluated;

/// How soon a switch that was not proposed, or a member that did not say its engine, is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Of how many nodes the engines are remembered. Forgetting one delays a switch to `Wal` a little.
const ENGINES_MAX: usize = 4096;

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// The entry's command for a write that was evaluated with `seed`, in the format in force.
    ///
    /// # Errors
    /// [`Undeterminable`]: it is not replicated.
    pub(super) fn command(
        &self,
        write: &Write,
        evaluated: &Evaluated,
        seed: u64,
    ) -> Result<Bytes, Undeterminable> {
        Ok(match self.log_format() {
            LogFormat::Statement => Statement::pin(write, evaluated, seed)?.encode(),
            LogFormat::Logical => evaluated.effects.encode(),
            LogFormat::Wal => {
                let engine = self.shared.settings.engine_format;
                Wal::encode(&evaluated.effects, self.group.prefix().as_array(), engine)
            }
        })
    }

    /// What this leader's next entry has: the newest switch in its log counts, applied or not.
    fn log_format(&self) -> LogFormat {
        self.group.writes.format.unwrap_or(self.group.standing.format)
    }

    /// A leader moves the format towards the declared one.
    pub(super) fn conform_format(&mut self) {
        if !self.group.leadership.leading || self.group.id == GroupId::Meta {
            return;
        }
        let Some(topology) = self.shared.following.topology() else { return };
        let declared = topology.policy.log_format;
        let held_back = match declared {
            LogFormat::Statement | LogFormat::Logical => None,
            LogFormat::Wal => self.ask_engines(),
        };
        let wanted = if held_back.is_some() { LogFormat::Logical } else { declared };
        if self.group.held_back != held_back {
            self.group.held_back = held_back;
            self.shared.status_changed = true;
        }
        if wanted != self.log_format() {
            self.propose_switch(wanted);
        }
        let settled = wanted == declared && wanted == self.log_format();
        let timer = Timer::Format(self.group.id);
        self.shared.timers.set(timer, (!settled).then(|| self.shared.now.after(RETRY)));
    }

    fn propose_switch(&mut self, format: LogFormat) {
        let before = self.group.writes.newest;
        let switch = Switch { format, engine: self.shared.settings.engine_format };
        self.propose(switch.encode(), Proposal { request: None, effects: None, taken: false });
        // Dropped, it is proposed again later.
        if self.group.writes.newest != before {
            self.group.writes.format = Some(format);
        }
    }

    /// Why rows of this engine are not for every member; asks those of whom nothing is known.
    fn ask_engines(&mut self) -> Option<String> {
        let mine = self.shared.settings.engine_format;
        let mut why = None;
        for member in self.others() {
            match self.shared.engines.get(&member) {
                Some(engine) if *engine == mine => {}
                Some(engine) => {
                    why = Some(format!(
                        "node {member} has storage engine format {engine}, the leader {mine}"
                    ));
                }
                None => {
                    let unknown = format!("the storage engine format of node {member} is unknown");
                    why = why.or(Some(unknown));
                    self.shared.send(member, self.group.id, PeerMessage::EngineQuery);
                }
            }
        }
        why
    }

    fn others(&self) -> Vec<NodeId> {
        let node = self.shared.node();
        self.group.replica.configuration().members().filter(|member| *member != node).collect()
    }

    /// A replica that learns of its leader says what its engine is: it may be another version of the program than before. One that
    /// refused rows says so as well.
    pub(super) fn tell_leader_engine(&mut self) {
        let declared = self.shared.following.topology().map(|topology| topology.policy.log_format);
        let node = self.shared.node();
        let leader = self.group.leadership.leader.filter(|leader| *leader != node);
        if let Some(leader) = leader
            && self.group.id != GroupId::Meta
            && (declared == Some(LogFormat::Wal) || self.group.standing.format == LogFormat::Wal)
        {
            self.tell_engine(leader);
        }
    }

    pub(super) fn tell_engine(&mut self, to: NodeId) {
        let format = self.shared.settings.engine_format;
        self.shared.send(to, self.group.id, PeerMessage::Engine { format });
    }

    pub(super) fn engine_told(&mut self, from: NodeId, format: u32) {
        let engines = &mut self.shared.engines;
        if engines.len() >= ENGINES_MAX && !engines.contains_key(&from) {
            engines.clear();
        }
        if engines.insert(from, format) != Some(format) {
            self.conform_format();
        }
    }
}
