//! Which replication a run is of.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    SingleLeader,
    Leaderless,
    MultiLeader,
}

/// All there are.
pub(crate) const KINDS: [Kind; 3] = [Kind::SingleLeader, Kind::Leaderless, Kind::MultiLeader];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SingleLeader => "single-leader",
            Self::Leaderless => "leaderless",
            Self::MultiLeader => "multi-leader",
        })
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        KINDS.into_iter().find(|kind| kind.to_string() == text).ok_or_else(|| {
            format!(
                "mode {text} is not there; there are {}",
                KINDS.map(|kind| kind.to_string()).join(", ")
            )
        })
    }
}
