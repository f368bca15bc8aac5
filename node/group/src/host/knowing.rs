//! Of several leaders: what a session's datacenter has applied, which the session takes along, and the wait for it in another one.
//!
//! What a leader answers to `Request::ReadKnown` covers all that a session can have written or seen of the shard before: it has
//! confirmed that it leads, and has applied all that was acknowledged. Whoever has all of that has applied as well what each of
//! those writes came after (INV-108). A group that knows something knows it for good, so `Request::AwaitKnown` needs no
//! confirmation, and every later request at that leader or the next one is answered from no less.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use quorate_model::planted::{self, Bug};
use quorate_model::{Datacenter, GroupId, VersionVector};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;
use serde::{Deserialize, Serialize};

use super::requests::{Stage, Waiting};
use super::{Failure, Host, Reply, RequestId, Turn};
use crate::keyspace::Leaders;

/// What a datacenter does not have of what a session wrote or saw elsewhere. Displayed, it says where to go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lacking {
    here: Datacenter,
    /// How many writes of each other datacenter.
    of: BTreeMap<Datacenter, u64>,
    /// How many of origins that are no more: of a datacenter that was removed, or of this one before its volumes were lost.
    gone: u64,
}

impl Lacking {
    fn new(
        leaders: &Leaders,
        here: &Datacenter,
        known: &VersionVector,
        floor: &VersionVector,
    ) -> Self {
        let mut lacking = Self { here: here.clone(), of: BTreeMap::new(), gone: 0 };
        for dot in floor.dots().filter(|dot| !known.covers(*dot)) {
            let writes = dot.counter - known.counter(dot.actor);
            match leaders.whose(dot.actor) {
                Some(place) if place != here => {
                    let of = lacking.of.entry(place.clone()).or_default();
                    *of = of.saturating_add(writes);
                }
                // Whatever a client has made up of its token.
                Some(_) | None => lacking.gone = lacking.gone.saturating_add(writes),
            }
        }
        lacking
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { here, of, gone } = self;
        write!(f, "{here} does not have what this session has written or seen elsewhere")?;
        let mut before = ": ";
        for (place, writes) in of {
            write!(f, "{before}{writes} writes of {place}")?;
            before = ", ";
        }
        if !of.is_empty() {
            f.write_str("; ask there, or try again")?;
        }
        if *gone > 0 {
            let more = if of.is_empty() { ": " } else { "; and " };
            write!(
                f,
                "{more}{gone} writes of origins that are no more: if they do not come from another datacenter they are "
            )?;
            f.write_str("lost, and SESSION RESET goes on without them")?;
        }
        Ok(())
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// The read is confirmed, and applied is what was acknowledged before it came.
    pub(super) fn tell_known(&mut self, id: RequestId) {
        match self.group.exchanging.known() {
            Some(known) => self.shared.answer(id, Ok(Reply::Known(known.shown()))),
            None => self.send_elsewhere([id]),
        }
    }

    pub(super) fn await_known(&mut self, id: RequestId, floor: VersionVector, wait_ms: u64) {
        let group = self.group.id;
        let wait = Duration::from_millis(wait_ms).min(self.shared.settings.request_timeout);
        let deadline = self.shared.now.after(wait);
        self.shared
            .requests
            .insert(id, Waiting { group, deadline, stage: Stage::Knowing { floor } });
        self.group.reads.knowing.insert(id);
        if self.group.leadership.leader == Some(self.shared.node()) {
            self.release_knowing();
        } else {
            self.stop_knowing();
        }
    }

    /// Looks again at everybody who waits, after whatever was applied.
    pub(super) fn release_knowing(&mut self) {
        let (group, shared) = (&mut *self.group, &mut *self.shared);
        let Some(known) = group.exchanging.known() else { return };
        let index = group.standing.applied.index;
        group.reads.knowing.retain(|id| {
            let Some(Stage::Knowing { floor }) = shared.requests.stage(*id) else { return false };
            let reached = known.vector.covers_all(floor) || planted::is(Bug::ReadBehindSession);
            if reached {
                shared.answer(*id, Ok(Reply::Index(index)));
            }
            !reached
        });
    }

    /// This replica does not lead: it hears of nothing in time.
    pub(super) fn stop_knowing(&mut self) {
        let knowing = std::mem::take(&mut self.group.reads.knowing);
        self.send_elsewhere(knowing);
    }
}

impl<D: Disk, S: StateStore> Host<D, S> {
    /// What is true when the time is over.
    pub(super) fn lacking(&self, group: GroupId, floor: &VersionVector) -> Failure {
        let exchanging = self.groups.get(&group).map(|group| &group.exchanging);
        let leads = exchanging.and_then(|exchanging| {
            let leaders = exchanging.leaders()?;
            Some((leaders, leaders.whose(leaders.origin)?, exchanging.known()?))
        });
        let Some((leaders, here, known)) = leads else { return Failure::NoLeader { group } };
        let lacking = Box::new(Lacking::new(leaders, here, &known.vector, floor));
        Failure::Lacking { group, lacking }
    }
}

#[cfg(test)]
mod tests {
    use quorate_model::{ActorId, Dot, MultiLeaderPolicy};

    use super::*;

    fn place(name: &str) -> Datacenter {
        Datacenter::new(name).unwrap()
    }

    fn vector(of: &[(ActorId, u64)]) -> VersionVector {
        of.iter().map(|(actor, counter)| Dot { actor: *actor, counter: *counter }).collect()
    }

    #[test]
    fn what_is_lacking_is_named_with_where_to_go() {
        let [a, b, c] = ["dc-a", "dc-b", "dc-c"].map(place);
        let places = vec![a.clone(), b.clone(), c.clone()];
        let policy = MultiLeaderPolicy::default();
        let leaders = Leaders::new(Leaders::origin(&b, 1), &policy, b.clone(), places);
        let of = |place: &Datacenter, number| Leaders::origin(place, number);
        let known = vector(&[(of(&a, 1), 3), (of(&b, 1), 9)]);
        let lacking = |floor: &[(ActorId, u64)]| {
            Lacking::new(&leaders, &b, &known, &vector(floor)).to_string()
        };
        assert_eq!(
            lacking(&[(of(&a, 1), 5), (of(&a, 2), 1), (of(&c, 1), 7), (of(&b, 1), 9)]),
            "dc-b does not have what this session has written or seen elsewhere: 3 writes of dc-a, 7 writes of dc-c; ask there, \
             or try again"
        );
        let made_up = lacking(&[(of(&b, 7), u64::MAX), (of(&b, 8), u64::MAX)]);
        assert!(made_up.contains(&format!("{} writes of origins", u64::MAX)), "{made_up}");
        let gone = lacking(&[(of(&b, 7), 2), (of(&place("dc-d"), 1), 2)]);
        assert!(gone.contains("elsewhere: 4 writes of origins that are no more"), "{gone}");
        assert!(gone.contains("SESSION RESET"), "{gone}");
        let both = lacking(&[(of(&a, 1), 4), (of(&b, 7), 2)]);
        assert!(
            both.contains("1 writes of dc-a; ask there, or try again; and 2 writes of"),
            "{both}"
        );
    }
}
