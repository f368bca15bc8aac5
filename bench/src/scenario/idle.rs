//! What a store costs that nobody uses: 1,000 shards on three nodes.

use std::time::Duration;

use anyhow::Result;
use quorate_model::{Mode, Policy};
use serde_json::json;

use super::{Bench, Level};
use crate::measure::process;
use crate::report::{Section, Table, Verdict};
use crate::system::quorate::{Options, Quorate};

const SHARDS: u16 = 1000;
const CPU_MAX: f64 = 2.0;
const RESIDENT_MAX: f64 = 200.0;
/// After the start, until what it began is done.
const SETTLE: Duration = Duration::from_secs(10);

pub(super) fn run(bench: &Bench) -> Result<Vec<Section>> {
    let directory = bench.data.join("idle");
    let store = Quorate::start(Options {
        binary: bench.node.clone(),
        directory,
        nodes: 3,
        shards: SHARDS,
        policy: Policy::default(),
        mode: Mode::SingleLeader,
        namespaces: None,
        settings: String::new(),
    })?;
    std::thread::sleep(SETTLE);
    let watched = match bench.level {
        Level::Smoke | Level::Quick => Duration::from_secs(10),
        Level::Full => Duration::from_secs(30),
    };
    let pids = store.pids();
    let before: Vec<Duration> = pids.iter().map(|pid| process::cpu(*pid)).collect::<Result<_>>()?;
    std::thread::sleep(watched);
    let mut section = Section::new("idle", "A store of 1,000 shards that nobody uses, three nodes");
    let mut table = Table::new(&["node", "CPU, % of a core", "resident, MB"]);
    let (mut most_cpu, mut most_resident, mut data) = (0.0_f64, 0.0_f64, Vec::new());
    for ((number, pid), before) in (1..).zip(&pids).zip(before) {
        let used = process::cpu(*pid)?.saturating_sub(before);
        let cpu = used.as_secs_f64() / watched.as_secs_f64() * 100.0;
        #[expect(clippy::cast_precision_loss, reason = "megabytes for people")]
        let resident = process::resident_bytes(*pid)? as f64 / 1e6;
        table.row([format!("node-{number}"), format!("{cpu:.1}"), format!("{resident:.0}")]);
        data.push(json!({ "cpuPercent": cpu, "residentMb": resident }));
        most_cpu = most_cpu.max(cpu);
        most_resident = most_resident.max(resident);
    }
    section.table = Some(table);
    section.data = json!(data);
    section.verdicts.push(Verdict::new(
        "1,000 idle shards: CPU of the busiest node",
        format!("below {CPU_MAX} % of a core"),
        format!("{most_cpu:.1} %"),
        Some(most_cpu < CPU_MAX),
    ));
    section.verdicts.push(Verdict::new(
        "1,000 idle shards: memory of the largest node",
        format!("below {RESIDENT_MAX} MB"),
        format!("{most_resident:.0} MB"),
        Some(most_resident < RESIDENT_MAX),
    ));
    Ok(vec![section])
}
