//! What the figures were measured on, so that nobody compares them with another machine's.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;

const SYNCS: usize = 300;

#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Machine {
    unix_time: u64,
    cores: usize,
    processor: String,
    memory_mb: u64,
    kernel: String,
    filesystem: String,
    /// Microseconds of an fdatasync after appending 512 bytes.
    sync_p50: f64,
    sync_p99: f64,
    /// Processes that ran or waited for a core in the last minute, ours included, before anything was measured.
    load: f64,
}

impl Machine {
    pub(super) fn this(data: &Path) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let kib: u64 =
            field(&meminfo, "MemTotal:").split(' ').next().unwrap_or("").parse().unwrap_or(0);
        let (sync_p50, sync_p99) = syncs(data)?;
        let load = fs::read_to_string("/proc/loadavg")?;
        Ok(Self {
            unix_time: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
            cores: std::thread::available_parallelism()?.get(),
            processor: field(&cpuinfo, "model name\t:").to_owned(),
            memory_mb: kib / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            filesystem: filesystem(data)?,
            sync_p50,
            sync_p99,
            load: load.split(' ').next().unwrap_or("").parse().unwrap_or(0.0),
        })
    }

    pub(super) fn markdown(&self) -> String {
        format!(
            "\n## Machine and versions\n- {} cores, {}, {} MB, Linux {}, {}\n- fdatasync after 512 bytes: \
             p50 {:.0} us, p99 {:.0} us; load average before: {:.1}\n",
            self.cores,
            self.processor,
            self.memory_mb,
            self.kernel,
            self.filesystem,
            self.sync_p50,
            self.sync_p99,
            self.load
        )
    }
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim()
}

fn filesystem(data: &Path) -> Result<String> {
    let output = Command::new("stat").args(["-f", "-c", "%T"]).arg(data).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn syncs(data: &Path) -> Result<(f64, f64)> {
    use std::io::Write;
    let path = data.join("sync");
    let mut file = fs::File::create(&path)?;
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&[7; 512])?;
        let begin = Instant::now();
        file.sync_data()?;
        took.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    fs::remove_file(&path)?;
    took.sort_by(f64::total_cmp);
    Ok((took[SYNCS / 2], took[SYNCS * 99 / 100]))
}
