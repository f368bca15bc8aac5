//! The last failovers as a table. Pure: it shows what the operator's status remembers.

use quorate_api::FailoverStatus;

use crate::fetch::Seen;
use crate::table::Table;

pub(crate) fn table(seen: &Seen) -> String {
    let failovers = seen.store.status.iter().flat_map(|status| &status.failovers);
    let mut table = Table::new([
        "SHARD",
        "KIND",
        "TERM",
        "FROM",
        "TO",
        "DETECTED",
        "ELECTED AFTER",
        "WRITES AFTER",
        "LOST",
    ]);
    let mut none = true;
    for failover in failovers {
        none = false;
        let detected = failover.detected.0.as_millisecond();
        let elected = failover.elected.0.as_millisecond() - detected;
        table.row([
            match &failover.datacenter {
                Some(datacenter) => format!("{} in {datacenter}", failover.shard),
                None => failover.shard.to_string(),
            },
            if failover.planned { "switchover" } else { "failover" }.to_owned(),
            format!("{} > {}", failover.old_term, failover.term),
            failover.old_leader.clone().unwrap_or_else(|| "unknown".to_owned()),
            failover.new_leader.clone(),
            format!("{:.3}", failover.detected.0),
            format!("{elected} ms"),
            failover.pause_ms.map_or_else(|| "none yet".to_owned(), |pause| format!("{pause} ms")),
            lost(failover),
        ]);
    }
    if none { "No failover is remembered.\n".to_owned() } else { table.to_string() }
}

fn lost(failover: &FailoverStatus) -> String {
    let files = failover.rollback_files.join(", ");
    match failover.lost_writes {
        None => "not known until the old leader is back".to_owned(),
        Some(0) => "nothing".to_owned(),
        Some(writes) => format!("{writes} writes, kept in {files}"),
    }
}
