//! A disk in memory that fails in every way a disk fails, for tests and the simulation.
//!
//! Deterministic: the caller decides when an operation completes, and gives the entropy of a crash as a seed. Handles
//! are clones of one disk, so that a test keeps one while the log owns another, and the disk outlives the log.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Completion, Disk, FileName, Operation, OperationId};

/// What a disk writes whole or not at all.
pub const UNIT_BYTES: usize = 512;

/// A handle to a disk.
#[derive(Clone, Default)]
pub struct Simulated(Arc<Mutex<State>>);

/// Which operations an injected failure hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    Create,
    Write,
    Sync,
    Remove,
    Any,
}

#[derive(Default)]
struct State {
    files: BTreeMap<FileName, File>,
    queue: VecDeque<(OperationId, Operation)>,
    failures: Vec<Injected>,
    capacity_bytes: Option<u64>,
    stalled: bool,
    syncs: u64,
}

struct Injected {
    target: Target,
    kind: io::ErrorKind,
    /// How many operations of the kind succeed before.
    skip: u64,
}

#[derive(Default)]
struct File {
    durable: Vec<u8>,
    /// Units written since the last sync.
    volatile: BTreeMap<u64, Vec<u8>>,
    length: usize,
}

impl Simulated {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries out the oldest operation that was submitted. `None` when there is none or the disk is stalled.
    #[must_use]
    pub fn complete_next(&self) -> Option<Completion> {
        let mut state = self.state();
        if state.stalled {
            return None;
        }
        let (id, operation) = state.queue.pop_front()?;
        let result = state.carry_out(&operation);
        Some(Completion { id, result })
    }

    /// How many operations wait for their completion.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.state().queue.len()
    }

    /// Stops or resumes completions.
    pub fn stall(&self, stalled: bool) {
        self.state().stalled = stalled;
    }

    /// The next operation of this kind fails.
    pub fn fail_next(&self, target: Target, kind: io::ErrorKind) {
        self.fail_after(0, target, kind);
    }

    /// Of this kind, `skip` operations succeed and the next one fails.
    pub fn fail_after(&self, skip: u64, target: Target, kind: io::ErrorKind) {
        self.state().failures.push(Injected { target, kind, skip });
    }

    /// The disk is full (`StorageFull`) when its files would exceed this. `None`: it never is.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity_bytes = bytes;
    }

    /// Nothing can be added to its files.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let state = self.state();
        state.capacity_bytes.is_some_and(|capacity| state.bytes() >= capacity)
    }

    /// Power is lost: of what was not synced, every unit is there or not, as the seed decides. What was submitted and not
    /// completed may have reached the disk in the same way. Submitted operations are forgotten.
    pub fn crash(&self, seed: u64) {
        let mut dice = Dice(seed);
        let mut state = self.state();
        let queue = std::mem::take(&mut state.queue);
        state.lose_power(queue, &mut dice);
        state.after_restart();
    }

    /// The process dies, the machine does not: everything carried out so far stays readable (though not durable), and of the
    /// submitted operations the first few were carried out, as the seed decides.
    pub fn restart(&self, seed: u64) {
        let mut state = self.state();
        let queue = std::mem::take(&mut state.queue);
        let done = Dice(seed).below(queue.len() as u64 + 1);
        for (_, operation) in queue.iter().take(usize::try_from(done).unwrap_or(usize::MAX)) {
            // A dead process hears of no failure.
            drop(state.carry_out(operation));
        }
        state.after_restart();
    }

    /// Flips one bit of what is durable. False when the file does not reach that far.
    #[must_use]
    pub fn flip_bit(&self, file: &FileName, offset: u64, bit: u8) -> bool {
        let mut state = self.state();
        let Some(file) = state.files.get_mut(file) else { return false };
        let Some(byte) = usize::try_from(offset).ok().and_then(|at| file.durable.get_mut(at))
        else {
            return false;
        };
        *byte ^= 1 << (bit % 8);
        true
    }

    /// Flips a bit, as the seed decides, of what was written and is durable: where. `None` when nothing is.
    #[must_use]
    pub fn flip_any_bit(&self, seed: u64) -> Option<(FileName, u64)> {
        let mut dice = Dice(seed);
        let units = self.written_units();
        let chosen = match units.len() as u64 {
            0 => return None,
            count => usize::try_from(dice.below(count)).ok()?,
        };
        self.flip_in(units.into_iter().nth(chosen)?, &mut dice)
    }

    /// Flips a bit of what was written last, if the newest file has the greatest name. `None` when nothing was written.
    #[must_use]
    pub fn flip_newest_bit(&self, seed: u64) -> Option<(FileName, u64)> {
        self.flip_in(self.written_units().pop()?, &mut Dice(seed))
    }

    fn flip_in(
        &self,
        (file, begin, bytes): (FileName, u64, u64),
        dice: &mut Dice,
    ) -> Option<(FileName, u64)> {
        // Half of the time a byte that says something: most of a small batch is padding.
        let mut offset = begin + dice.below(bytes);
        if dice.below(2) == 0 {
            let state = self.state();
            let unit = (begin..begin + bytes)
                .zip(state.files.get(&file)?.durable.iter().skip(usize::try_from(begin).ok()?));
            let telling: Vec<u64> =
                unit.filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
            offset = telling[usize::try_from(dice.below(telling.len() as u64)).ok()?];
        }
        let bit = u8::try_from(dice.below(8)).ok()?;
        self.flip_bit(&file, offset, bit).then_some((file, offset))
    }

    /// Durable units that are not zeros: file, begin, length.
    fn written_units(&self) -> Vec<(FileName, u64, u64)> {
        let mut units = Vec::new();
        for (name, file) in &self.state().files {
            for (unit, content) in file.durable.chunks(UNIT_BYTES).enumerate() {
                let overwritten = file.volatile.contains_key(&(unit as u64));
                if !overwritten && content.iter().any(|byte| *byte != 0) {
                    units.push((name.clone(), (unit * UNIT_BYTES) as u64, content.len() as u64));
                }
            }
        }
        units
    }

    /// The files and how long each is.
    #[must_use]
    pub fn lengths(&self) -> BTreeMap<FileName, u64> {
        self.state().files.iter().map(|(name, file)| (name.clone(), file.length as u64)).collect()
    }

    /// How many syncs were carried out.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Everything is gone, as on a new volume.
    pub fn wipe(&self) {
        let mut state = self.state();
        state.files.clear();
        state.queue.clear();
        state.after_restart();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for Simulated {
    fn submit(&mut self, id: OperationId, operation: Operation) {
        self.state().queue.push_back((id, operation));
    }

    fn perform(&mut self, operation: &Operation) -> io::Result<()> {
        let mut state = self.state();
        assert!(state.queue.is_empty(), "perform is for opening, while nothing is submitted");
        state.carry_out(operation)
    }

    fn list(&self) -> io::Result<Vec<FileName>> {
        Ok(self.state().files.keys().cloned().collect())
    }

    fn length(&self, file: &FileName) -> io::Result<u64> {
        let state = self.state();
        Ok(state.files.get(file).ok_or(io::ErrorKind::NotFound)?.length as u64)
    }

    fn read(&self, file: &FileName, offset: u64, bytes_max: usize) -> io::Result<Bytes> {
        let state = self.state();
        let file = state.files.get(file).ok_or(io::ErrorKind::NotFound)?;
        Ok(file.read(usize::try_from(offset).unwrap_or(usize::MAX), bytes_max))
    }
}

impl State {
    fn carry_out(&mut self, operation: &Operation) -> io::Result<()> {
        if let Some(kind) = self.injected(operation) {
            return Err(kind.into());
        }
        let grown = self.grown_bytes(operation);
        if self.capacity_bytes.is_some_and(|capacity| grown > 0 && self.bytes() + grown > capacity)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match operation {
            Operation::Create { file, bytes } => {
                let length = usize::try_from(*bytes).unwrap_or(usize::MAX);
                let zeros = File { durable: vec![0; length], volatile: BTreeMap::new(), length };
                self.files.insert(file.clone(), zeros);
            }
            Operation::Write { file, offset, parts } => {
                let at = usize::try_from(*offset).unwrap_or(usize::MAX);
                self.file(file)?.write(at, &parts.concat());
            }
            Operation::Sync { file } => {
                self.file(file)?.sync();
                self.syncs += 1;
            }
            Operation::Remove { file } => {
                self.files.remove(file).ok_or(io::ErrorKind::NotFound)?;
            }
            Operation::Truncate { file, bytes } => {
                let length = usize::try_from(*bytes).unwrap_or(usize::MAX);
                let file = self.file(file)?;
                file.sync();
                file.durable.truncate(length);
                file.length = file.durable.len();
            }
        }
        Ok(())
    }

    fn injected(&mut self, operation: &Operation) -> Option<io::ErrorKind> {
        let hit = |target: Target| match target {
            Target::Create => matches!(operation, Operation::Create { .. }),
            Target::Write => matches!(operation, Operation::Write { .. }),
            Target::Sync => matches!(operation, Operation::Sync { .. }),
            Target::Remove => matches!(operation, Operation::Remove { .. }),
            Target::Any => true,
        };
        for (at, failure) in self.failures.iter_mut().enumerate() {
            if !hit(failure.target) {
                continue;
            }
            if failure.skip == 0 {
                return Some(self.failures.remove(at).kind);
            }
            failure.skip -= 1;
        }
        None
    }

    fn lose_power(&mut self, queue: VecDeque<(OperationId, Operation)>, dice: &mut Dice) {
        for (_, operation) in queue {
            match &operation {
                // Under way: its units are among those that may be there.
                Operation::Write { .. } => drop(self.carry_out(&operation)),
                // The name or its absence may have become durable.
                Operation::Create { .. }
                | Operation::Remove { .. }
                | Operation::Truncate { .. } => {
                    if dice.coin() {
                        drop(self.carry_out(&operation));
                    }
                }
                // Not completed: nothing is promised.
                Operation::Sync { .. } => {}
            }
        }
        for file in self.files.values_mut() {
            file.lose_power(dice);
        }
    }

    fn after_restart(&mut self) {
        self.stalled = false;
        self.failures.clear();
    }

    fn file(&mut self, name: &FileName) -> io::Result<&mut File> {
        self.files.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.length as u64).sum()
    }

    fn grown_bytes(&self, operation: &Operation) -> u64 {
        match operation {
            Operation::Create { bytes, .. } => *bytes,
            Operation::Write { file, offset, parts } => {
                let length = self.files.get(file).map_or(0, |file| file.length as u64);
                let end = offset + parts.iter().map(|part| part.len() as u64).sum::<u64>();
                end.saturating_sub(length)
            }
            Operation::Sync { .. } | Operation::Remove { .. } | Operation::Truncate { .. } => 0,
        }
    }
}

impl File {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (unit, within) = (at / UNIT_BYTES, at % UNIT_BYTES);
            let (now, later) = rest.split_at(rest.len().min(UNIT_BYTES - within));
            let mut content = self.unit(unit);
            content[within..within + now.len()].copy_from_slice(now);
            self.volatile.insert(unit as u64, content);
            at += now.len();
            rest = later;
        }
        self.length = self.length.max(offset + bytes.len());
    }

    fn sync(&mut self) {
        for (unit, content) in std::mem::take(&mut self.volatile) {
            self.settle(unit, &content);
        }
        self.durable.resize(self.length, 0);
    }

    fn lose_power(&mut self, dice: &mut Dice) {
        // Half of the crashes tear at random, the others keep or lose nearly everything: all three find other bugs.
        let kept_in_16 = [8, 8, 1, 15][usize::try_from(dice.below(4)).unwrap_or(0)];
        for (unit, content) in std::mem::take(&mut self.volatile) {
            if dice.below(16) < kept_in_16 {
                self.settle(unit, &content);
            }
        }
        self.length = self.durable.len();
    }

    fn settle(&mut self, unit: u64, content: &[u8]) {
        let from = usize::try_from(unit).unwrap_or(usize::MAX) * UNIT_BYTES;
        let end = (from + UNIT_BYTES).min(self.length);
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[from..end].copy_from_slice(&content[..end - from]);
    }

    fn unit(&self, unit: usize) -> Vec<u8> {
        if let Some(content) = self.volatile.get(&(unit as u64)) {
            return content.clone();
        }
        let from = (unit * UNIT_BYTES).min(self.durable.len());
        let end = (from + UNIT_BYTES).min(self.durable.len());
        let mut content = self.durable[from..end].to_vec();
        content.resize(UNIT_BYTES, 0);
        content
    }

    fn read(&self, offset: usize, bytes_max: usize) -> Bytes {
        let end = offset.saturating_add(bytes_max).min(self.length);
        let begin = offset.min(end);
        let mut out =
            self.durable.get(begin..end.min(self.durable.len())).unwrap_or_default().to_vec();
        out.resize(end - begin, 0);
        let units = (begin / UNIT_BYTES) as u64..end.div_ceil(UNIT_BYTES) as u64;
        for (unit, content) in self.volatile.range(units) {
            let at = usize::try_from(*unit).unwrap_or(usize::MAX) * UNIT_BYTES;
            let (from, to) = (at.max(begin), (at + UNIT_BYTES).min(end));
            out[from - begin..to - begin].copy_from_slice(&content[from - at..to - at]);
        }
        out.into()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): a full-period generator of one word, enough to decide what a crash keeps.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.roll() & 1 == 1
    }
}
