//! Processor time and memory of a process, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The unit of `/proc/<pid>/stat`: 1/100 s wherever Linux runs today (`getconf CLK_TCK`).
const TICK: Duration = Duration::from_millis(10);
const UTIME: usize = 13;
const STIME: usize = 14;

/// Processor time that a process used in all its threads, its user's and the kernel's.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    ticks(&stat).map(|ticks| TICK * ticks).context("/proc/<pid>/stat is not as proc(5) says")
}

pub(crate) fn cpu_of_all(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| cpu(*pid)).sum()
}

/// Resident memory, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    kibibytes(&status, "VmRSS:").map(|kib| kib * 1024).context("no VmRSS")
}

fn ticks(stat: &str) -> Option<u32> {
    // The second field is the program's name in parentheses, which may hold spaces.
    let rest = stat.get(stat.rfind(')')? + 2..)?;
    let mut fields = rest.split(' ');
    let utime: u32 = fields.nth(UTIME - 2)?.parse().ok()?;
    let stime: u32 = fields.nth(STIME - UTIME - 1)?.parse().ok()?;
    Some(utime + stime)
}

fn kibibytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_summed_whatever_the_name() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 3 4 20 0 8 0 1 2 3";
        assert_eq!(ticks(stat), Some(300));
    }

    #[test]
    fn resident_memory_is_found() {
        assert_eq!(kibibytes("VmHWM:\t 9 kB\nVmRSS:\t    1234 kB\n", "VmRSS:"), Some(1234));
    }

    #[test]
    fn this_process_has_both() {
        assert!(cpu(std::process::id()).is_ok());
        assert!(resident_bytes(std::process::id()).unwrap() > 0);
    }
}
