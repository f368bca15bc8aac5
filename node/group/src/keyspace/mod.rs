//! The state machine of a shard: operations evaluated into row changes and answers.
//!
//! A leader evaluates a write against its state and its [`Overlay`] (what it proposed and has not applied), and
//! proposes the row images ([`Effects`]); every replica applies them blindly, so that replicas cannot differ by what they
//! compute. Nothing here knows of terms, quorums or disks.
//!
//! Expiry goes through the log: time is stamped by the leader, and a linearizable read that finds a key whose time has come
//! has it removed before it answers, so that no later leader with a slower clock can bring it back.

mod causal;
mod combine;
mod decimal;
pub(crate) mod digest;
mod editor;
mod effects;
pub(crate) mod encoding;
mod evaluate;
mod fields;
mod glob;
mod layers;
mod layout;
mod lost;
mod overlay;
mod random;
mod read;
mod scan;
mod tokens;
mod view;

pub use causal::{
    Away, CONFLICTS_MAX, Conflict, Conflicting, HandOver, Known, Leaders, Portion, Standing, Taken,
    are_settled, away, change_of, check_scripts, filled, hand_over, hands_over, is_a_cell,
    known_by, last_conflicts, name_of, standing, take,
};
pub(crate) use decimal::integer_of;
pub use effects::{DecodeError, Effects, RowChange};
pub use evaluate::{
    Context, Evaluated, KEPT_ANSWER_BYTES_MAX, TOKEN_BYTES_MAX, TOKENS_MAX, evaluate,
};
pub use fields::{ANSWER_BYTES_MAX, ELEMENTS_MAX};
pub(crate) use fields::{Answer, Field, check_elements};
pub use glob::matches;
pub use layout::{FIELD_BYTES_MAX, KEY_BYTES_MAX, STRING_BYTES_MAX};
pub use lost::{LostOutcome, LostWrite, lost_writes};
pub use overlay::Overlay;
pub(crate) use random::Random;
pub use read::{Expired, ReadOutcome, read};
pub(crate) use read::{part, time_to_live};
pub use tokens::fingerprint;
pub use view::{View, next_due};

#[cfg(test)]
mod tests;
