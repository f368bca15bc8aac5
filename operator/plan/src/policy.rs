//! From what the resource declares of durability, log format and sessions to the policy that the topology carries.
//!
//! Every default is resolved here, so that the nodes get the same policy from every way of writing the same thing.

use std::time::Duration;

use quorate_api::{self as api, InSyncSpec, ReadYourWritesMethod, SessionsSpec, SingleLeaderSpec};
use quorate_model::{
    Durability, InSyncPolicy, LogFormat, OnLoss, Policy, ReadPreference, ReadYourWrites,
    SessionPolicy,
};

use crate::SpecError;

const SLOW_AFTER_MIN: Duration = Duration::from_millis(100);
const SLOW_AFTER_MAX: Duration = Duration::from_secs(3_600);
const SESSION_SPAN_MIN: Duration = Duration::from_millis(1);
const SESSION_SPAN_MAX: Duration = Duration::from_secs(24 * 3_600);
const REPLICA_WAIT_MAX: Duration = Duration::from_secs(10);
const WINDOW: Duration = Duration::from_secs(60);

/// `block` is where it is declared.
///
/// # Errors
/// The first thing that is wrong, as a sentence for users.
pub(crate) fn of(block: &str, single: &SingleLeaderSpec) -> Result<Policy, SpecError> {
    Ok(Policy {
        durability: durability(single.durability),
        in_sync: in_sync(block, single)?,
        log_format: log_format(single.log_format),
        sessions: single
            .sessions
            .as_ref()
            .map_or_else(|| Ok(SessionPolicy::default()), |given| sessions(block, given))?,
    })
}

/// As users write it.
#[must_use]
pub(crate) const fn declared(durability: Durability) -> api::Durability {
    match durability {
        Durability::Async => api::Durability::Async,
        Durability::SemiSync => api::Durability::SemiSync,
        Durability::Sync => api::Durability::Sync,
        Durability::Quorum => api::Durability::Quorum,
    }
}

/// As users write it.
#[must_use]
pub(crate) const fn declared_format(format: LogFormat) -> api::LogFormat {
    match format {
        LogFormat::Statement => api::LogFormat::Statement,
        LogFormat::Logical => api::LogFormat::Logical,
        LogFormat::Wal => api::LogFormat::Wal,
    }
}

const fn durability(declared: api::Durability) -> Durability {
    match declared {
        api::Durability::Async => Durability::Async,
        api::Durability::SemiSync => Durability::SemiSync,
        api::Durability::Sync => Durability::Sync,
        api::Durability::Quorum => Durability::Quorum,
    }
}

const fn log_format(declared: api::LogFormat) -> LogFormat {
    match declared {
        api::LogFormat::Statement => LogFormat::Statement,
        api::LogFormat::Logical => LogFormat::Logical,
        api::LogFormat::Wal => LogFormat::Wal,
    }
}

fn in_sync(block: &str, single: &SingleLeaderSpec) -> Result<InSyncPolicy, SpecError> {
    let wrong = |problem| Err(SpecError::Policy { field: format!("{block}.inSync"), problem });
    let given = match (&single.in_sync, single.durability) {
        (Some(_), api::Durability::Async | api::Durability::Quorum) => {
            return wrong(" belongs to durability SemiSync and Sync: remove it");
        }
        (Some(given), api::Durability::SemiSync | api::Durability::Sync) => given.clone(),
        (None, _) => InSyncSpec::default(),
    };
    let count = given.count.unwrap_or(1);
    let (count, on_loss) = match single.durability {
        api::Durability::SemiSync if count < 1 || count >= single.replicas => {
            return wrong(".count must be at least 1 and below replicas: correct one of them");
        }
        api::Durability::SemiSync => (count, given.on_loss.unwrap_or(api::OnLoss::Replace)),
        api::Durability::Sync if given.count.is_some() => {
            return wrong(".count belongs to SemiSync: Sync takes every replica, so remove it");
        }
        api::Durability::Sync => match given.on_loss {
            Some(api::OnLoss::Replace) => {
                return wrong(".onLoss Replace has nobody to take under Sync: use Block or Shrink");
            }
            Some(given @ (api::OnLoss::Shrink | api::OnLoss::Block)) => (1, given),
            None => (1, api::OnLoss::Block),
        },
        // They have no set: the one form keeps the policy from changing with what it does not say.
        api::Durability::Async | api::Durability::Quorum => (1, api::OnLoss::Replace),
    };
    let on_loss = match on_loss {
        api::OnLoss::Replace => OnLoss::Replace,
        api::OnLoss::Shrink => OnLoss::Shrink,
        api::OnLoss::Block => OnLoss::Block,
    };
    let slow_after_ms = match &given.slow_after {
        Some(text) => {
            let field = format!("{block}.inSync.slowAfter");
            bounded(field, text, SLOW_AFTER_MIN, SLOW_AFTER_MAX)?
        }
        None => InSyncPolicy::default().slow_after_ms,
    };
    Ok(InSyncPolicy { count: u16::try_from(count).unwrap_or(1), on_loss, slow_after_ms })
}

fn sessions(block: &str, given: &SessionsSpec) -> Result<SessionPolicy, SpecError> {
    let reads = match given.read_from {
        api::ReadFrom::Leader => ReadPreference::Leader,
        api::ReadFrom::Replica => ReadPreference::Replica,
    };
    let staleness = given.max_staleness.as_ref().map(|text| {
        let field = format!("{block}.sessions.maxStaleness");
        bounded(field, text, SESSION_SPAN_MIN, SESSION_SPAN_MAX)
    });
    let wait = given.replica_wait.as_ref().map(|text| {
        let field = format!("{block}.sessions.replicaWait");
        bounded(field, text, Duration::ZERO, REPLICA_WAIT_MAX)
    });
    Ok(SessionPolicy {
        reads,
        read_your_writes: read_your_writes(block, given)?,
        monotonic: given.monotonic_reads,
        consistent_prefix: given.consistent_prefix,
        staleness_ms_max: staleness.transpose()?,
        wait_ms: wait.transpose()?.unwrap_or_else(|| SessionPolicy::default().wait_ms),
    })
}

fn read_your_writes(block: &str, given: &SessionsSpec) -> Result<ReadYourWrites, SpecError> {
    let given = &given.read_your_writes;
    Ok(match given.method {
        ReadYourWritesMethod::Off => ReadYourWrites::Off,
        ReadYourWritesMethod::Position => ReadYourWrites::Position,
        ReadYourWritesMethod::Window => {
            let field = format!("{block}.sessions.readYourWrites.window");
            let window = given
                .window
                .as_ref()
                .map(|text| bounded(field, text, SESSION_SPAN_MIN, SESSION_SPAN_MAX))
                .transpose()?;
            ReadYourWrites::Window { ms: window.unwrap_or_else(|| millis(WINDOW)) }
        }
        ReadYourWritesMethod::Owner => match given.owner_keys.as_deref() {
            Some([]) | None => {
                return Err(SpecError::Policy {
                    field: format!("{block}.sessions.readYourWrites.ownerKeys"),
                    problem: " is missing: method Owner needs patterns of keys",
                });
            }
            Some(patterns) => ReadYourWrites::Owner { patterns: patterns.to_vec() },
        },
    })
}

fn bounded(field: String, text: &str, min: Duration, max: Duration) -> Result<u64, SpecError> {
    match span(text) {
        Some(span) if (min..=max).contains(&span) => Ok(millis(span)),
        Some(_) | None => Err(SpecError::Span { field, text: text.to_owned(), min, max }),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A span of time as Kubernetes writes it, without fractions: `1h30m`, `500ms`.
fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let unit_ends = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_ends);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(milliseconds)?))?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(single: Value) -> Result<Policy, String> {
        let single: SingleLeaderSpec = serde_json::from_value(single).unwrap();
        of("spec.singleLeader", &single).map_err(|error| error.to_string())
    }

    #[test]
    fn spans_are_read_as_kubernetes_writes_them() {
        for (text, ms) in [
            ("100ms", Some(100)),
            ("1h30m", Some(5_400_000)),
            ("2s5ms", Some(2_005)),
            ("", None),
            ("5", None),
            ("1d", None),
            ("ms", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(span(text).map(millis), ms, "{text}");
        }
    }

    #[test]
    fn what_is_not_said_is_the_models_default() {
        assert_eq!(policy(json!({})), Ok(Policy::default()));
        assert_eq!(policy(json!({"sessions": {}})), Ok(Policy::default()));
    }

    #[test]
    fn sync_blocks_unless_told_otherwise_and_semi_sync_replaces() {
        let on_loss = |durability: &str| {
            policy(json!({"durability": durability})).map(|policy| policy.in_sync.on_loss)
        };
        assert_eq!(on_loss("Sync"), Ok(OnLoss::Block));
        assert_eq!(on_loss("SemiSync"), Ok(OnLoss::Replace));
    }

    #[test]
    fn what_the_schema_should_have_refused_is_refused_with_its_field() {
        for (single, field) in [
            (json!({"inSync": {"count": 1}}), "spec.singleLeader.inSync belongs"),
            (json!({"durability": "SemiSync", "inSync": {"count": 3}}), "inSync.count"),
            (json!({"durability": "Sync", "inSync": {"count": 1}}), "inSync.count"),
            (json!({"durability": "Sync", "inSync": {"onLoss": "Replace"}}), "inSync.onLoss"),
            (json!({"durability": "SemiSync", "inSync": {"slowAfter": "1ms"}}), "slowAfter"),
            (json!({"sessions": {"readYourWrites": {"method": "Owner"}}}), "ownerKeys"),
            (json!({"sessions": {"maxStaleness": "soon"}}), "maxStaleness"),
        ] {
            let refused = policy(single.clone()).unwrap_err();
            assert!(refused.contains(field), "{single}: {refused}");
        }
    }

    #[test]
    fn sessions_are_carried_over() {
        let sessions = json!({
            "readFrom": "Replica", "monotonicReads": false, "maxStaleness": "5s",
            "replicaWait": "20ms", "readYourWrites": {"method": "Window"},
        });
        let expected = SessionPolicy {
            reads: ReadPreference::Replica,
            read_your_writes: ReadYourWrites::Window { ms: 60_000 },
            monotonic: false,
            consistent_prefix: true,
            staleness_ms_max: Some(5_000),
            wait_ms: 20,
        };
        assert_eq!(policy(json!({"sessions": sessions})).unwrap().sessions, expected);
    }
}
