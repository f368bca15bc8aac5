//! What one other datacenter gives, and how far it came.

use std::collections::VecDeque;
use std::time::Duration;

use quorate_model::{LogIndex, NodeId, Time, VersionVector};

use super::lacking::{Here, Lacking};
use super::{Cursor, Wanted};

#[derive(Clone, Debug)]
pub(super) struct Feed {
    pub(super) wanted: Wanted,
    /// Which of its nodes is asked.
    pub(super) asks: usize,
    /// Of what it was asked last; zero while it is not to be heard.
    pub(super) number: u64,
    /// What was asked for has begun to come.
    pub(super) begun: bool,
    /// Somebody there has said something since it was asked last.
    pub(super) answered: bool,
    /// Something has come that does not follow on what was taken.
    pub(super) missing: bool,
    /// Who gives.
    pub(super) giver: Option<NodeId>,
    /// Through where what it gave is dealt with; and when it last gave all that it has, or its own, through where.
    pub(super) at: Option<Cursor>,
    all: Option<Cursor>,
    own: Option<Cursor>,
    /// The same for what was on its way to be applied: through where, and what is known then.
    under_way: VecDeque<(LogIndex, VersionVector)>,
    applied: LogIndex,
    /// When it is asked again if it says nothing.
    pub(super) ask_at: Time,
    pub(super) heard: Time,
    /// What it has applied.
    pub(super) known: VersionVector,
    /// Since when its log has not gone back as far as this one lacks.
    pub(super) behind: Option<Time>,
    /// Since when there has been no room for what it gives, which waits for something else.
    pub(super) full: Option<Time>,
    /// It did not answer for long, and has not come as far again as this one was when it did.
    back: Option<VersionVector>,
    /// What it has applied and this one has not.
    lacking: Lacking,
}

impl Feed {
    /// `at` is where it was left.
    pub(super) fn new(wanted: Wanted, now: Time, at: Option<Cursor>) -> Self {
        Self {
            wanted,
            asks: 0,
            number: 0,
            begun: false,
            answered: false,
            missing: false,
            giver: None,
            at,
            all: None,
            own: None,
            under_way: VecDeque::new(),
            applied: LogIndex::ZERO,
            ask_at: now,
            heard: now,
            known: VersionVector::default(),
            behind: None,
            full: None,
            back: None,
            lacking: Lacking::default(),
        }
    }

    /// What comes until then is not heard.
    pub(super) fn ask_again(&mut self, at: Time) {
        (self.number, self.begun, self.missing, self.ask_at) = (0, false, false, at);
        // What was given before comes first, whoever gives from now on.
        let mut before = VersionVector::default();
        self.under_way.iter().for_each(|(_, known)| before.join(known));
        self.under_way = [(LogIndex::ZERO, before)].into();
        self.applied = LogIndex::ZERO;
    }

    /// It is asked again then, and heard until then: what is missing may have been overtaken.
    pub(super) fn misses(&mut self, at: Time) {
        if !self.missing {
            (self.missing, self.ask_at) = (true, self.ask_at.min(at));
        }
    }

    pub(super) fn want(&mut self, wanted: Wanted, now: Time) {
        match wanted {
            Wanted::Own => {
                self.all = self.at;
                let further = |own: &Cursor| {
                    self.at.is_none_or(|at| at.log == own.log && at.through < own.through)
                };
                self.at = self.own.filter(further).or(self.at);
            }
            // What it did not want before it has passed over.
            Wanted::All => (self.own, self.at) = (self.at, self.all),
        }
        (self.wanted, self.full) = (wanted, None);
        self.ask_again(now);
    }

    /// It says what it has applied.
    pub(super) fn says(
        &mut self,
        now: Time,
        known: &VersionVector,
        here: &VersionVector,
        silent: bool,
    ) {
        if silent {
            (self.back, self.full) = (Some(here.clone()), None);
        }
        (self.heard, self.answered) = (now, true);
        self.known.clone_from(known);
        if self.back.as_ref().is_some_and(|back| self.known.covers_all(back)) {
            self.back = None;
        }
    }

    pub(super) fn is_silent(&self, now: Time, silence: Duration) -> bool {
        self.heard.after(silence) <= now
    }

    /// Whether it has what others have again after it did not answer.
    pub(super) const fn is_back(&self) -> bool {
        self.back.is_none()
    }

    /// Whether it has something that this one lacks, and some of that does not come for so long, though the line was heard and what
    /// came was taken.
    pub(super) fn withholds(
        &mut self,
        now: Time,
        patience: Duration,
        takes: bool,
        here: Here<'_>,
    ) -> bool {
        // While it is not asked it need not say anything.
        if !takes || self.number != 0 && self.is_silent(now, patience) {
            self.lacking.begins_anew();
        }
        self.lacking.stands(now, patience, &self.known, here)
    }

    /// For how long it has had something that is not known here.
    pub(super) fn lag(&self, now: Time, known: &VersionVector) -> Duration {
        self.lacking.since(known).map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Everything that it gave through there is held, known, or on its way to be applied: then this is known.
    pub(super) fn took(&mut self, at: Cursor, known: VersionVector) {
        (self.at, self.full) = (Some(at), None);
        self.under_way.push_back((at.through, known));
    }

    /// Through where that is applied, of what was given since it was asked last; and whether that is further than before.
    pub(super) fn applied(&mut self, known: &VersionVector) -> (LogIndex, bool) {
        let before = self.applied;
        while let Some((at, _)) = self.under_way.pop_front_if(|(_, one)| known.covers_all(one)) {
            self.applied = at;
        }
        (self.applied, self.applied > before)
    }
}
