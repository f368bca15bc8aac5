//! What somebody has applied and this one has not, and whether it comes.

use std::time::Duration;

use quorate_model::{Dot, Time, VersionVector};

/// What has come to this one,
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) expected: &'a VersionVector,
    /// and of which dots a change is held that waits for another origin's, which is judged itself.
    pub(super) holds: &'a dyn Fn(Dot) -> bool,
}

#[derive(Clone, Default, Debug)]
pub(super) struct Lacking {
    /// What was there at some time of which some was not here,
    there: Option<(Time, VersionVector)>,
    /// what was here when that was looked at last,
    here: Option<(Time, VersionVector)>,
    /// and whether some of it had not come on by then.
    stands: bool,
}

impl Lacking {
    /// Since when, of what is not known by now.
    pub(super) fn since(&self, known: &VersionVector) -> Option<Time> {
        self.there.as_ref().filter(|(_, there)| !known.covers_all(there)).map(|(since, _)| *since)
    }

    /// Whether some origin's part of it has not come on for so long: until all of it is here. After a cut much is lacking for long, and comes.
    pub(super) fn stands(
        &mut self,
        now: Time,
        patience: Duration,
        there: &VersionVector,
        here: Here<'_>,
    ) -> bool {
        let Here { expected, holds } = here;
        if self.there.as_ref().is_some_and(|(_, there)| expected.covers_all(there)) {
            *self = Self::default();
        }
        if self.there.is_none() && !expected.covers_all(there) {
            self.there = Some((now, there.clone()));
        }
        let Some((_, there)) = &self.there else { return false };
        let (since, before) = self.here.get_or_insert_with(|| (now, expected.clone()));
        if since.after(patience) <= now {
            let mut lacking = there.dots().filter(|dot| !expected.covers(*dot));
            let comes = lacking.all(|Dot { actor, .. }| {
                let counter = expected.counter(actor);
                counter > before.counter(actor) || holds(Dot { actor, counter: counter + 1 })
            });
            self.stands |= !comes;
            self.here = Some((now, expected.clone()));
        }
        self.stands
    }

    /// While the line is cut, or nothing is taken, nothing can come: what does is judged from now on.
    pub(super) fn begins_anew(&mut self) {
        self.here = None;
    }
}
