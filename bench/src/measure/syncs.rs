//! How often processes make the disk durable: `perf stat` counts their fsync, fdatasync and msync (Cassandra maps its commit
//! log), the same way for all.
//!
//! It needs perf and the right to use it (root). Without it a system is asked for its own count, where it has one.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

const EVENTS: &str =
    "syscalls:sys_enter_fsync,syscalls:sys_enter_fdatasync,syscalls:sys_enter_msync";

/// A count under way.
#[derive(Debug)]
pub(crate) struct Count {
    perf: Child,
}

/// Whether syncs can be counted here.
pub(crate) fn available() -> bool {
    Command::new("perf")
        .args(["stat", "-e", EVENTS, "-p", &std::process::id().to_string(), "--", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Count {
    pub(crate) fn start(pids: &[u32]) -> Result<Self> {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let perf = Command::new("perf")
            .args(["stat", "-x", ",", "-e", EVENTS, "-p", &pids.join(",")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start perf")?;
        Ok(Self { perf })
    }

    pub(crate) fn finish(self) -> Result<u64> {
        // At an interrupt perf prints what it counted, and ends.
        let pid = self.perf.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().context("stop perf")?;
        let output = self.perf.wait_with_output()?;
        sum(&String::from_utf8_lossy(&output.stderr)).context("perf counted nothing")
    }
}

fn sum(report: &str) -> Option<u64> {
    let counts: Vec<u64> = report
        .lines()
        .filter(|line| line.contains("sys_enter_"))
        .filter_map(|line| line.split(',').next()?.parse().ok())
        .collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_calls_are_summed() {
        let report =
            "12,,syscalls:sys_enter_fsync,100,100.00,,\n30,,syscalls:sys_enter_fdatasync,1,1,,\n";
        assert_eq!(sum(report), Some(42));
        assert_eq!(sum("<not counted>,,syscalls:sys_enter_fsync,0,0,,\n"), None);
    }
}
