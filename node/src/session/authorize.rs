//! Who a connection is and what it may do: the one place that decides.
//!
//! There are no users yet: everybody is the default user, without a password, and may do everything. Answers are
//! those of a Redis in that state.

use crate::resp::Limits;
use crate::resp::commands::{Command, Spec};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Identity {
    /// The default user.
    Default,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
    )]
    NoPassword,
    #[error("WRONGPASS invalid username-password pair or user is disabled.")]
    WrongPassword,
}

/// Who a new connection is before it says anything.
pub(super) const fn anonymous() -> Identity {
    Identity::Default
}

/// AUTH, or HELLO with AUTH.
///
/// # Errors
/// The answer to credentials that do not make anybody.
pub(super) fn authenticate(user: Option<&[u8]>, _password: &[u8]) -> Result<Identity, Refusal> {
    match user {
        None => Err(Refusal::NoPassword),
        Some(b"default") => Ok(Identity::Default),
        Some(_) => Err(Refusal::WrongPassword),
    }
}

/// Asked before every command.
///
/// # Errors
/// The answer to a command that the connection may not run.
pub(super) const fn authorize(
    identity: Identity,
    _spec: &Spec,
    _command: &Command,
) -> Result<(), Refusal> {
    match identity {
        Identity::Default => Ok(()),
    }
}

/// What requests of this identity may consist of.
pub(super) const fn limits(identity: Identity, limits: Limits) -> Limits {
    match identity {
        Identity::Default => limits,
    }
}
