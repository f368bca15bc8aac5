//! Where: positions in a replicated log and epochs of the topology. Order is their meaning.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! counter {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $type(pub u64);

        impl $type {
            pub const ZERO: Self = Self(0);

            /// The one after.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// The one before; zero stays zero.
            #[must_use]
            pub const fn previous(self) -> Self {
                Self(self.0.saturating_sub(1))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self.0)
            }
        }
    };
}

counter!(
    /// A leadership term. At most one leader per term and group.
    Term
);
counter!(
    /// An entry's index in its group's log. The first entry has index 1; 0 is "before the log".
    LogIndex
);
counter!(
    /// A version of the topology. Every change of the topology raises it by one; 0 is "not bootstrapped".
    Epoch
);

/// An entry's place in its group's log: compare with the Raft paper's up-to-date rule (section 5.4.1), which is
/// the derived order: the term decides first, then the index.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
pub struct Position {
    pub term: Term,
    pub index: LogIndex,
}

impl Position {
    pub const ZERO: Self = Self { term: Term::ZERO, index: LogIndex::ZERO };
}
