//! The menu of faults, and what of it a run may order.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    // Processes.
    /// kill -9; the operating system goes on.
    Kill,
    /// Killed again and again, soon after every start.
    RestartStorm,
    /// Killed, and gone for some seconds.
    KillForLong,
    /// The next one that is given some of what another datacenter has is killed.
    KillFilling,
    /// SIGSTOP, for up to a minute in long runs.
    Pause,
    /// Leadership is to be handed over, as before a shutdown.
    Handover,
    /// The same, and the moment its successor is told to stand the old leader hears nothing any more although it is heard: it
    /// cannot know that it is deposed, and some clients go on reading there.
    DeafHandover,
    // Disks.
    /// What was not synced is torn or lost.
    PowerLoss,
    /// The same, for all machines at once.
    Blackout,
    /// Nothing completes, for up to half a minute.
    StallDisk,
    /// Everything takes much longer.
    SlowDisk,
    FailSync,
    FailWrite,
    /// No room for anything new, for a while.
    FullDisk,
    /// A bit of the log flips while the process is down.
    FlipBit,
    /// A bit of a row flips in the state store of one machine, below every checksum.
    FlipRow,
    /// A row can no longer be read.
    FailRow,
    /// The volume is lost: another node comes back. (An old copy of a volume that is put back under its id is the one thing
    /// that no protocol survives: a restored volume is a new node, which is this fault.)
    Wipe,
    // The network.
    Cut,
    CutOneWay,
    Isolate,
    /// Nothing reaches the machine, although it is heard: who follows it goes on.
    Deafen,
    /// Two halves.
    Split,
    /// Two datacenters.
    CutDatacenters,
    /// Two halves, and one machine that reaches both.
    Bridge,
    /// A link that breaks and mends many times.
    Flap,
    Clog,
    /// FoundationDB's: machines are clogged one by one and freed in another order.
    SwizzleClog,
    SlowLink,
    /// Nothing of the meta group reaches the machine, so that it goes on by an old topology.
    LagTopology,
    /// Old messages arrive once more, perhaps after restarts of both ends.
    Replay,
    // Clocks.
    JumpClock,
    /// The wall clock goes to and fro.
    StrobeClock,
}

/// Each with the greatest weight that a run may give it.
const MENU: [(Fault, u32); 29] = [
    (Fault::Kill, 8),
    (Fault::RestartStorm, 2),
    (Fault::Pause, 5),
    (Fault::Handover, 3),
    (Fault::DeafHandover, 6),
    (Fault::PowerLoss, 8),
    (Fault::Blackout, 2),
    (Fault::StallDisk, 3),
    (Fault::SlowDisk, 3),
    (Fault::FailSync, 2),
    (Fault::FailWrite, 1),
    (Fault::FullDisk, 1),
    (Fault::FlipBit, 8),
    (Fault::FlipRow, 3),
    (Fault::FailRow, 1),
    (Fault::Wipe, 2),
    (Fault::Cut, 5),
    (Fault::CutOneWay, 5),
    (Fault::Isolate, 5),
    (Fault::Deafen, 4),
    (Fault::Split, 3),
    (Fault::Bridge, 3),
    (Fault::Flap, 2),
    (Fault::Clog, 3),
    (Fault::SwizzleClog, 2),
    (Fault::SlowLink, 3),
    (Fault::Replay, 4),
    (Fault::JumpClock, 2),
    (Fault::StrobeClock, 1),
];

const LAG_TOPOLOGY: u32 = 6;
const CUT_DATACENTERS: u32 = 12;
const KILL_FOR_LONG: u32 = 10;
const KILL_FILLING: u32 = 8;

/// Which faults may happen in a run, and how often one against the others.
#[derive(Clone, Debug)]
pub(crate) struct Menu(Vec<(Fault, u32)>);

impl Menu {
    /// Each run leaves out about half of the menu: what all faults together hide, some of them alone may show.
    pub(crate) fn draw(random: &mut ChaCha8Rng) -> Self {
        let mut chosen = Vec::new();
        for (fault, most) in MENU {
            if random.random_bool(0.5) {
                chosen.push((fault, random.random_range(1..=most)));
            }
        }
        Self(chosen)
    }

    /// Without what only groups with leaders have, or can make good, and with what only those without notice.
    pub(crate) fn without_leaders(mut self) -> Self {
        self.0.push((Fault::LagTopology, LAG_TOPOLOGY));
        self.0.retain(|(fault, _)| {
            !matches!(fault, Fault::FlipRow | Fault::Handover | Fault::DeafHandover)
        });
        self
    }

    pub(crate) fn with_datacenters(mut self) -> Self {
        self.0.push((Fault::CutDatacenters, CUT_DATACENTERS));
        self
    }

    /// Where one takes over all that another has.
    pub(crate) fn with_fillings(mut self) -> Self {
        self.0.push((Fault::KillFilling, KILL_FILLING));
        self
    }

    /// Where others stand in for whoever is gone.
    pub(crate) fn with_long_absences(mut self) -> Self {
        self.0.push((Fault::KillForLong, KILL_FOR_LONG));
        self
    }

    pub(crate) fn order(&self, random: &mut ChaCha8Rng) -> Option<Fault> {
        let total: u32 = self.0.iter().map(|(_, weight)| weight).sum();
        if total == 0 {
            return None;
        }
        let mut drawn = random.random_range(0..total);
        for (fault, weight) in &self.0 {
            if drawn < *weight {
                return Some(*fault);
            }
            drawn -= weight;
        }
        None
    }
}
