//! CONFIG GET and SET: what a Redis with these guarantees would be configured to.

use bytes::Bytes;
use quorate_group::keyspace;

use crate::resp::Reply;
use crate::session::{Port, Settings};

pub(crate) fn config_get(settings: &Settings, port: Port, patterns: &[Bytes]) -> Reply {
    let found = parameters(settings, port)
        .into_iter()
        .filter(|(name, _)| patterns.iter().any(|pattern| takes(pattern, name)))
        .map(|(name, value)| (Reply::text(name), Reply::text(value)));
    Reply::Map(found.collect())
}

/// Setting a parameter to what it is changes nothing and is accepted; all else is the operator's.
pub(crate) fn config_set(settings: &Settings, port: Port, pairs: &[(Bytes, Bytes)]) -> Reply {
    let parameters = parameters(settings, port);
    for (name, value) in pairs {
        let known =
            parameters.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        let shown = String::from_utf8_lossy(name);
        match known {
            None => {
                return Reply::Error(format!(
                    "ERR Unknown option or number of arguments for CONFIG SET - '{shown}'"
                ));
            }
            Some((_, current)) if current.as_bytes() == value => {}
            Some(_) => {
                return Reply::Error(format!(
                    "ERR CONFIG SET failed (possibly related to argument '{shown}') - can't set immutable config: \
                     settings belong to the operator"
                ));
            }
        }
    }
    Reply::Ok
}

fn takes(pattern: &[u8], name: &str) -> bool {
    keyspace::matches(&pattern.to_ascii_lowercase(), name.as_bytes())
}

fn parameters(settings: &Settings, port: Port) -> Vec<(&'static str, String)> {
    let yes_or_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let timeout = settings.idle_timeout.map_or(0, |timeout| timeout.as_secs());
    vec![
        ("appendfsync", "always".to_owned()),
        ("appendonly", yes_or_no(true)),
        ("cluster-enabled", yes_or_no(port == Port::Cluster)),
        ("cluster-require-full-coverage", yes_or_no(false)),
        ("databases", "1".to_owned()),
        ("maxclients", settings.connections_max.to_string()),
        ("maxmemory", "0".to_owned()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("min-replicas-max-lag", "10".to_owned()),
        ("min-replicas-to-write", "0".to_owned()),
        ("notify-keyspace-events", String::new()),
        ("proto-max-bulk-len", settings.limits.bulk_bytes_max.to_string()),
        ("requirepass", String::new()),
        ("save", String::new()),
        ("slowlog-log-slower-than", "-1".to_owned()),
        ("slowlog-max-len", "0".to_owned()),
        ("tcp-keepalive", "300".to_owned()),
        ("timeout", timeout.to_string()),
    ]
}
