//! Coordinating a read: all replicas are asked, and answered is what as many as asked for know together.
//!
//! Whoever is found to be behind is told. Where the read promises not to be gone back behind, its answer waits until as
//! many as it asked for know it (INV-96).

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::planted::{self, Bug};
use quorate_model::{Level, Need, NodeId, Time};

use super::kernel::Kernel;
use super::replica::Progress;
use super::{CellKey, Cells, Found, Message, PersistId, ReadRepair, Refused, RequestId};
use crate::causal::{Cell, CellDigest};

#[derive(Debug)]
pub(super) struct Reading {
    /// `None` once it is answered.
    request: Option<RequestId>,
    keys: Vec<CellKey>,
    /// What this replica knew when it asked: what those who answer `Same` know, too.
    asked: Vec<Cell>,
    /// What those who answered know together.
    merged: Vec<Cell>,
    answers: BTreeMap<NodeId, Vec<CellDigest>>,
    /// Enough have answered: what they know together is what this read tells, whatever others say later. Else the
    /// acknowledgement of a repair could be one of less.
    settled: Option<Vec<CellDigest>>,
    /// Told what they lacked, and those of them who have it since.
    told: BTreeSet<NodeId>,
    repaired: BTreeSet<NodeId>,
    need: Need,
    repair: ReadRepair,
    /// Through which persist this replica knows its part durably.
    own: PersistId,
    resend_at: Time,
    deadline: Time,
}

impl Reading {
    pub(super) fn begin(
        kernel: &mut Kernel,
        cells: &dyn Cells,
        number: u64,
        request: RequestId,
        keys: Vec<CellKey>,
        level: Level,
        repair: ReadRepair,
    ) -> Result<Self, Refused> {
        let need = kernel.need(level)?;
        let asked: Vec<Cell> =
            keys.iter().map(|key| kernel.cell(cells, key).unwrap_or_default()).collect();
        let (now, settings) = (kernel.now, &kernel.settings);
        let reading = Self {
            request: Some(request),
            merged: asked.clone(),
            asked,
            answers: BTreeMap::new(),
            settled: None,
            told: BTreeSet::new(),
            repaired: BTreeSet::new(),
            need,
            repair,
            own: kernel.durable_through(&keys),
            keys,
            resend_at: now.after(settings.resend),
            deadline: now.after(settings.request_timeout),
        };
        reading.ask(kernel, number);
        Ok(reading)
    }

    pub(super) const fn own(&self) -> PersistId {
        self.own
    }

    pub(super) fn due(&mut self, kernel: &mut Kernel, number: u64) {
        let Some(request) = self.request else { return };
        if self.deadline <= kernel.now {
            let answered = self.answers.len();
            let refused = Refused::NoQuorum { answered, needed: self.need.count() };
            kernel.answer(request, Err(refused));
            self.request = None;
        } else if self.resend_at <= kernel.now {
            self.resend_at = kernel.now.after(kernel.settings.resend);
            self.ask(kernel, number);
            // A repair that was lost is told again.
            self.told.clear();
        }
    }

    pub(super) fn stored(&mut self, from: NodeId) {
        self.repaired.insert(from);
    }

    pub(super) fn fetched(&mut self, from: NodeId, found: &[Found]) {
        if found.len() != self.keys.len() || self.answers.contains_key(&from) {
            return;
        }
        let told = found.iter().zip(&self.asked).map(|(found, asked)| match found {
            Found::Same => asked,
            Found::Other(cell) => cell,
        });
        let told: Vec<&Cell> = told.collect();
        if !told.iter().all(|cell| cell.is_well_formed()) {
            return;
        }
        self.answers.insert(from, told.iter().map(|cell| cell.digest()).collect());
        if self.settled.is_none() {
            for (merged, told) in self.merged.iter_mut().zip(told) {
                merged.merge(told);
            }
        }
    }

    pub(super) fn go_on(
        &mut self,
        kernel: &mut Kernel,
        cells: &dyn Cells,
        number: u64,
    ) -> Progress {
        if self.settled.is_none() {
            self.settle(kernel, cells);
        } else if self.own <= kernel.persisted {
            self.repaired.insert(kernel.id);
        }
        if let Some(merged) = self.settled.take() {
            self.tell_those_behind(kernel, &merged, number);
            if let Some(request) = self.request
                && self.is_done(&merged)
            {
                kernel.answer(request, Ok(self.merged.clone()));
                self.request = None;
            }
            self.settled = Some(merged);
        }
        // Whoever answers late may be behind, too: it is told when it does.
        let all = self.answers.len() >= kernel.owners.len();
        match self.request {
            Some(_) => Progress::Until(self.resend_at.min(self.deadline)),
            None if all || self.resend_at <= kernel.now => Progress::Done,
            None => Progress::Until(self.resend_at),
        }
    }

    /// Once enough have answered: this replica takes over what they know, as the others will.
    fn settle(&mut self, kernel: &mut Kernel, cells: &dyn Cells) {
        if self.own <= kernel.persisted {
            self.answers.entry(kernel.id).or_insert_with(|| digests(&self.asked));
        }
        let answered: BTreeSet<NodeId> = self.answers.keys().copied().collect();
        if self.request.is_none() || !self.need.is_met(&answered) {
            return;
        }
        for cell in &mut self.merged {
            kernel.resolve(cell);
        }
        let differing = self.keys.iter().zip(&self.merged).zip(&self.asked);
        let news: Vec<(CellKey, Cell)> = differing
            .filter(|((_, merged), asked)| merged != asked)
            .map(|((key, merged), _)| (key.clone(), merged.clone()))
            .collect();
        if !news.is_empty() {
            // Not taken: this replica counts for nothing any more.
            self.own = kernel.merge(cells, &news).unwrap_or(PersistId::NEVER);
        }
        if self.own <= kernel.persisted {
            self.repaired.insert(kernel.id);
        }
        self.settled = Some(digests(&self.merged));
    }

    /// INV-96
    fn is_done(&self, merged: &Vec<CellDigest>) -> bool {
        let knowing = self.answers.iter().filter(|(_, digests)| *digests == merged);
        let mut know: BTreeSet<NodeId> = knowing.map(|(node, _)| *node).collect();
        know.extend(&self.repaired);
        match self.repair {
            ReadRepair::Blocking => self.need.is_met(&know) || planted::is(Bug::RepairLater),
            ReadRepair::Background => true,
        }
    }

    fn ask(&self, kernel: &mut Kernel, number: u64) {
        let cells: Vec<(CellKey, CellDigest)> =
            self.keys.iter().cloned().zip(digests(&self.asked)).collect();
        for to in kernel.others() {
            if !self.answers.contains_key(&to) {
                kernel.send(to, Message::Fetch { number, cells: cells.clone() });
            }
        }
    }

    fn tell_those_behind(&mut self, kernel: &mut Kernel, merged: &[CellDigest], number: u64) {
        for (node, known) in &self.answers {
            let behind = *known != merged && *node != kernel.id;
            if !behind || self.repaired.contains(node) || !self.told.insert(*node) {
                continue;
            }
            let cells: Vec<(CellKey, Cell)> = self
                .keys
                .iter()
                .zip(&self.merged)
                .zip(known.iter().zip(merged))
                .filter(|(_, (known, merged))| known != merged)
                .map(|((key, cell), _)| (key.clone(), cell.clone()))
                .collect();
            kernel.counts.read_repairs += cells.len() as u64;
            kernel.send(*node, Message::Store { number, cells });
        }
    }
}

fn digests(cells: &[Cell]) -> Vec<CellDigest> {
    cells.iter().map(Cell::digest).collect()
}
