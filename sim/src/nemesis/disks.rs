//! Disks that stall, slow down, fail, fill up, rot and disappear; power that goes.

use std::io;

use bytes::Bytes;
use quorate_model::GroupId;
use quorate_storage::disk::simulated::Target;
use quorate_storage::state::Rows;
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::Storm;
use crate::cluster::Cluster;
use crate::machine::MachineId;
use crate::workload::COLD;

impl Cluster {
    pub(super) fn lose_power(&mut self, id: MachineId) {
        if self.machines[id.0].is_running() {
            let node = self.machines[id.0].node;
            self.machines[id.0].lose_power(&mut self.random);
            self.after_death(id, node);
        }
    }

    pub(super) fn stall_disk(&mut self, id: MachineId) {
        self.machines[id.0].disk.stall(true);
        let longest = if self.random.random_bool(0.2) { 30_000 } else { 5_000 };
        self.later(50..longest, Storm::DiskRecovers { machine: id });
    }

    pub(super) fn slow_disk(&mut self, id: MachineId) {
        self.machines[id.0].disk_slower = self.random.random_range(5..=100);
        self.later(100..8_000, Storm::DiskRecovers { machine: id });
    }

    pub(super) fn fail_sync(&mut self, id: MachineId) {
        if self.machines[id.0].is_running() {
            self.machines[id.0].disk.fail_next(Target::Sync, io::ErrorKind::Other);
        }
    }

    pub(super) fn fail_write(&mut self, id: MachineId) {
        if self.machines[id.0].is_running() {
            self.machines[id.0].disk.fail_next(Target::Write, io::ErrorKind::Other);
        }
    }

    /// What is there stays; nothing can grow.
    pub(super) fn fill_disk(&mut self, id: MachineId) {
        let disk = &self.machines[id.0].disk;
        let used: u64 = disk.lengths().values().sum();
        disk.set_capacity(Some(used));
        self.later(200..5_000, Storm::DiskRecovers { machine: id });
    }

    pub(super) fn disk_recovers(&mut self, id: MachineId) {
        let machine = &mut self.machines[id.0];
        machine.disk.stall(false);
        machine.disk.set_capacity(None);
        machine.disk_slower = 1;
    }

    /// The process goes down, and a bit of its log flips before it comes back. As a lost volume it costs a replica.
    pub(super) fn flip_bit(&mut self, id: MachineId, left: u32) {
        if !self.may_wipe(id) {
            if left > 0 {
                self.later(50..400, Storm::FlipBit { machine: id, left: left - 1 });
            }
            return;
        }
        self.checkers.acknowledged_writes.lose(self.machines[id.0].node);
        self.kill(id);
        let seed = self.random.random();
        let disk = &self.machines[id.0].disk;
        // The newest batch is the one that a flipped bit could make look torn.
        let flipped = if self.random.random_bool(0.5) {
            disk.flip_newest_bit(seed)
        } else {
            disk.flip_any_bit(seed)
        };
        self.checkers.rots(self.machines[id.0].node);
        self.replicas_lost = true;
        self.mark(|| format!("flipped {flipped:?}"));
    }

    /// A bit flips in a row of a key that nobody reads: what a client reads before the replicas are compared may be wrong, and no
    /// protocol between replicas can help that.
    pub(super) fn flip_row(&mut self, id: MachineId) {
        let Some(row) = self.cold_row(id) else { return };
        let (byte, bit) = (self.random.random_range(0..64), self.random.random_range(0..8));
        let flipped = self.machines[id.0].state.flip_bit(&row, byte, bit);
        self.mark(|| format!("flipped byte {byte} of {row:?}: {flipped}"));
    }

    pub(super) fn fail_row(&mut self, id: MachineId) {
        let Some(row) = self.cold_row(id) else { return };
        self.mark(|| format!("unreadable: {row:?}"));
        self.machines[id.0].state.fail_row(row);
        self.replicas_lost = true;
    }

    /// As a damaged log a wrong row costs a replica.
    fn cold_row(&mut self, id: MachineId) -> Option<Bytes> {
        if !self.may_wipe(id) {
            return None;
        }
        let rows = self.machines[id.0].state.range(&[], &[0xff], usize::MAX).ok()?;
        let cold = |row: &Bytes| row.windows(COLD.len()).any(|text| text == COLD);
        let rows: Vec<Bytes> = rows.into_iter().map(|(row, _)| row).filter(cold).collect();
        let row = rows.choose(&mut self.random)?.clone();
        let group = u32::from_be_bytes(row[..4].try_into().ok()?);
        self.checkers.divergence.spoil(GroupId::from_number(group)?);
        Some(row)
    }

    /// A volume is lost, but never so many that nobody could know what was acknowledged: the replicas of every group
    /// outnumber the losses only while the earlier loss is repaired.
    pub(super) fn wipe(&mut self, id: MachineId) {
        if !self.may_wipe(id) {
            return;
        }
        let node = self.machines[id.0].node;
        self.checkers.identities.lose(node);
        self.checkers.acknowledged_writes.lose(node);
        self.machines[id.0].wipe(&mut self.random);
        self.replicas_lost = true;
        self.wiped += 1;
        self.after_death(id, node);
    }
}
