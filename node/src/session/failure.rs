//! Failures as answers: the prefix tells a client library what to do, the rest tells people what is true.

use quorate_group::host::Failure;

use super::order::Access;

/// TRYAGAIN and CLUSTERDOWN are retried by cluster clients, so they are only given when nothing was changed.
pub(super) fn text(failure: &Failure, access: Access) -> String {
    match (failure, access) {
        (Failure::Unknown, Access::Write) => format!("UNKNOWN {failure}"),
        (Failure::Unknown, Access::Read) => "TRYAGAIN not answered in time".to_owned(),
        (Failure::TimedOut { .. }, _) => {
            format!("TRYAGAIN {failure}, and no leader answers; nothing was changed")
        }
        (Failure::Behind { .. }, _) => format!("TRYAGAIN {failure}"),
        (Failure::Lacking { .. }, _) => format!("BEHIND {failure}; nothing was changed"),
        (Failure::PositionLost { .. }, _) => {
            format!("LOST {failure}; the session goes on without it")
        }
        (Failure::Home { .. } | Failure::HomeSilent { .. }, _) => {
            format!("HOMEDOWN {failure}; nothing was changed")
        }
        (Failure::NoQuorum { .. }, _) => format!("NOQUORUM {failure}"),
        (Failure::Overloaded, _) => format!("TRYAGAIN {failure}; nothing was changed"),
        (
            Failure::NotLeader { .. }
            | Failure::NoLeader { .. }
            | Failure::NotHosted { .. }
            | Failure::Filling { .. }
            | Failure::Damaged(_),
            _,
        ) => format!("CLUSTERDOWN {failure}; nothing was changed"),
        (Failure::EpochMoved { .. } | Failure::AlreadyBootstrapped | Failure::Invalid(_), _) => {
            format!("ERR {failure}")
        }
    }
}
