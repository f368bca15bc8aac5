//! Along which links changes come to a datacenter. It is the one who takes that chooses from whom; a change that comes by two ways
//! is taken once (INV-107), so nothing goes in circles, whatever anybody believes of the topology.
//!
//! Around a datacenter that does not answer others give what it would have given (INV-110).

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{Datacenter, Links};

use super::Wanted;

/// What one datacenter knows of the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Routes {
    pub here: Datacenter,
    /// All, this one among them.
    pub all: BTreeSet<Datacenter>,
    pub links: Links,
    /// Whether to go around those that do not answer.
    pub reroute: bool,
}

impl Routes {
    /// From whom this one takes what, when these do not answer, and these have what comes from nobody else.
    pub(super) fn sources(
        &self,
        silent: &BTreeSet<Datacenter>,
        offer: &BTreeSet<Datacenter>,
    ) -> BTreeMap<Datacenter, Wanted> {
        let declared = self.declared();
        if !self.reroute {
            return declared;
        }
        let mut sources = declared.clone();
        for lost in declared.keys().filter(|source| silent.contains(*source)) {
            for around in self.around(lost, silent) {
                sources.insert(around, Wanted::All);
            }
        }
        let offered = offer.iter().filter(|source| **source != self.here);
        sources.extend(offered.map(|source| (source.clone(), Wanted::All)));
        sources
    }

    pub(super) fn declared(&self) -> BTreeMap<Datacenter, Wanted> {
        match &self.links {
            Links::AllToAll => self.others().map(|other| (other.clone(), Wanted::Own)).collect(),
            Links::Circular(ring) => {
                let before = self.before(ring, &self.here);
                before.into_iter().map(|before| (before, Wanted::All)).collect()
            }
            Links::Star { hub } if *hub == self.here => {
                self.others().map(|other| (other.clone(), Wanted::Own)).collect()
            }
            Links::Star { hub } => [(hub.clone(), Wanted::All)].into(),
        }
    }

    /// Who gives what this one would have.
    fn around(&self, lost: &Datacenter, silent: &BTreeSet<Datacenter>) -> BTreeSet<Datacenter> {
        let answers = |other: &&Datacenter| !silent.contains(*other) && *other != lost;
        match &self.links {
            Links::Circular(ring) => {
                let mut at = lost.clone();
                for _ in ring {
                    let Some(before) = self.before(ring, &at) else { break };
                    if before == self.here {
                        break;
                    }
                    if answers(&&before) {
                        return [before].into();
                    }
                    at = before;
                }
                BTreeSet::new()
            }
            // Without a hub nobody has what all wrote.
            Links::Star { hub } if hub == lost => self.others().filter(answers).cloned().collect(),
            Links::AllToAll | Links::Star { .. } => {
                self.others().find(answers).into_iter().cloned().collect()
            }
        }
    }

    /// In the ring, of those that there are. One that the ring does not name comes last.
    fn before(&self, ring: &[Datacenter], whom: &Datacenter) -> Option<Datacenter> {
        let named = ring.iter().filter(|one| self.all.contains(*one));
        let others = self.all.iter().filter(|one| !ring.contains(one));
        let ring: Vec<&Datacenter> = named.chain(others).collect();
        let at = ring.iter().position(|one| *one == whom)?;
        let before = ring[(at + ring.len() - 1) % ring.len()];
        (before != whom).then(|| before.clone())
    }

    fn others(&self) -> impl Iterator<Item = &Datacenter> {
        self.all.iter().filter(|other| **other != self.here)
    }
}
