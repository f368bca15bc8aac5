//! MULTI is not offered yet, and what follows a refused MULTI must not run as if it had not been sent.
//!
//! Clients pipeline MULTI, the commands and EXEC. Running the commands one by one after refusing MULTI would do half
//! of what an atomic whole was asked for; so everything is refused until the transaction ends.

use bytes::Bytes;

use crate::resp::Reply;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Transaction {
    #[default]
    None,
    /// MULTI was refused, EXEC or DISCARD has yet to come.
    Refused,
}

impl Transaction {
    /// The answer to a request that belongs to a transaction, or `None` when the request is to be run.
    pub(super) fn intercept(&mut self, words: &[Bytes]) -> Option<Reply> {
        let name = words.first()?;
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match self {
            Self::None if is("multi") => {
                *self = Self::Refused;
                Some(Reply::error("ERR 'multi' is not supported yet; send DISCARD to go on"))
            }
            Self::None if is("exec") => Some(Reply::error("ERR EXEC without MULTI")),
            Self::None if is("discard") => Some(Reply::error("ERR DISCARD without MULTI")),
            Self::None => None,
            Self::Refused if is("exec") => {
                *self = Self::None;
                Some(Reply::error(
                    "EXECABORT Transaction discarded: 'multi' is not supported yet, nothing was run",
                ))
            }
            Self::Refused if is("discard") => {
                *self = Self::None;
                Some(Reply::Ok)
            }
            Self::Refused if is("reset") || is("quit") => {
                *self = Self::None;
                None
            }
            Self::Refused => Some(Reply::error(
                "ERR not run: it follows a MULTI, which is not supported yet; send DISCARD to go on",
            )),
        }
    }
}
