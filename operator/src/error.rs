//! What can go wrong in a reconcile, and whether trying again helps.

use std::time::Duration;

use crate::client::NodeError;

/// Whether the same attempt may succeed later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Persistence {
    /// Tried again with growing pauses.
    Transient,
    /// Only a change of the resource or of the cluster helps. Tried again seldom, for the cluster may change unseen.
    Terminal,
}

/// What was being done to the API server when it refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Read,
    List,
    Apply,
    Delete,
    Label,
    Scale,
    Grow,
    UpdateStatus,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {verb} {kind} {name}")]
    Api {
        verb: Verb,
        kind: String,
        name: String,
        #[source]
        source: kube::Error,
    },
    #[error(
        "{kind} {name} exists and does not belong to this store: remove it, or give the store another name"
    )]
    Foreign { kind: String, name: String },
    #[error("cannot {what}")]
    Node {
        what: &'static str,
        #[source]
        source: NodeError,
    },
    #[error("cannot {what}: none of the nodes that could take it has an address")]
    NoNode { what: &'static str },
    #[error("the reconcile took longer than {} s", .0.as_secs())]
    Deadline(Duration),
    #[error("{kind} {name} cannot be written as JSON")]
    Encode {
        kind: String,
        name: String,
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        match self {
            Self::Api { verb, source: kube::Error::Api(status), .. } => match status.code {
                // A patch that names the uid of a predecessor is called invalid; the next look sees the successor.
                422 if matches!(verb, Verb::Label | Verb::Scale | Verb::Grow) => {
                    Persistence::Transient
                }
                // Invalid, forbidden: the same request gets the same answer.
                400 | 403 | 422 => Persistence::Terminal,
                // Conflicts, absence, overload: the next look sees another world.
                _ => Persistence::Transient,
            },
            Self::Foreign { .. } | Self::Encode { .. } => Persistence::Terminal,
            Self::Api { .. } | Self::Node { .. } | Self::NoNode { .. } | Self::Deadline(_) => {
                Persistence::Transient
            }
        }
    }

    /// The error with its causes in one sentence, for conditions and events.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        text
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Apply => "apply",
            Self::Delete => "delete",
            Self::Label => "label",
            Self::Scale => "scale",
            Self::Grow => "enlarge",
            Self::UpdateStatus => "update the status of",
        })
    }
}

/// How long to wait before the attempt after `failures` in a row.
#[must_use]
pub fn pause_after(persistence: Persistence, failures: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(30);
    const SELDOM: Duration = Duration::from_secs(60);
    match persistence {
        Persistence::Transient => {
            (FIRST * 2u32.saturating_pow(failures.saturating_sub(1).min(10))).min(LONGEST)
        }
        Persistence::Terminal => SELDOM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!(pause_after(Persistence::Transient, 1), Duration::from_millis(500));
        assert_eq!(pause_after(Persistence::Transient, 3), Duration::from_secs(2));
        assert_eq!(pause_after(Persistence::Transient, u32::MAX), Duration::from_secs(30));
    }
}
