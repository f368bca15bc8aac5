//! Three members of etcd, built from its Go module when it is not there yet.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;

use super::process::{Server, Signal};
use super::{await_condition, http, ports, put_aside};
use crate::load::{Place, Protocol, Target, serializable_get};

pub(crate) const VERSION: &str = "v3.6.16";
const MAIN: &str = "package main

import (
\t\"os\"

\t\"go.etcd.io/etcd/server/v3/etcdmain\"
)

func main() { etcdmain.Main(os.Args) }
";
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// The program; built below `cache` at the first time.
///
/// # Errors
/// Without Go, or when its module cannot be had.
pub(crate) fn install(cache: &Path) -> Result<PathBuf> {
    let directory = cache.join(format!("etcd-{VERSION}"));
    let binary = directory.join("etcd");
    if binary.exists() {
        return Ok(binary);
    }
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("main.go"), MAIN)?;
    let module = format!(
        "module quorate.example/etcd\n\ngo 1.24\n\nrequire go.etcd.io/etcd/server/v3 {VERSION}\n"
    );
    std::fs::write(directory.join("go.mod"), module)?;
    let output = Command::new("go")
        .args(["build", "-mod=mod", "-o", "etcd", "."])
        .current_dir(&directory)
        .stdin(Stdio::null())
        .output()
        .context("there is no Go to build etcd with")?;
    if !output.status.success() {
        bail!("etcd cannot be built: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(binary)
}

#[derive(Debug)]
pub(crate) struct Etcd {
    binary: PathBuf,
    directory: PathBuf,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    number: usize,
    client: String,
    peer: String,
    server: Option<Server>,
}

impl Etcd {
    pub(crate) fn start(binary: &Path, directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let ports = ports::free(6)?;
        let members = (1..=3)
            .zip(ports.chunks(2))
            .map(|(number, ports)| Member {
                number,
                client: format!("127.0.0.1:{}", ports[0]),
                peer: format!("127.0.0.1:{}", ports[1]),
                server: None,
            })
            .collect();
        let mut etcd = Self { binary: binary.to_owned(), directory: directory.to_owned(), members };
        for at in 0..3 {
            etcd.start_member(at, "new")?;
        }
        etcd.await_ready()?;
        Ok(etcd)
    }

    fn start_member(&mut self, at: usize, state: &str) -> Result<()> {
        let cluster: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("m{}=http://{}", member.number, member.peer))
            .collect();
        let member = &self.members[at];
        let mut command = Command::new(&self.binary);
        command
            .args(["--name", &format!("m{}", member.number)])
            .arg("--data-dir")
            .arg(self.directory.join(format!("m{}", member.number)))
            .args(["--listen-client-urls", &format!("http://{}", member.client)])
            .args(["--advertise-client-urls", &format!("http://{}", member.client)])
            .args(["--listen-peer-urls", &format!("http://{}", member.peer)])
            .args(["--initial-advertise-peer-urls", &format!("http://{}", member.peer)])
            .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", state])
            // Room for the catch-up's gigabyte; else everything is as it comes.
            .args(["--quota-backend-bytes", "8589934592", "--log-level", "error"]);
        let log = self.directory.join(format!("m{}.log", member.number));
        self.members[at].server = Some(Server::start(command, &log)?);
        Ok(())
    }

    pub(crate) fn await_ready(&self) -> Result<()> {
        await_condition("that etcd is healthy", READY_TIMEOUT, || {
            for member in &self.members {
                http::get(&member.client, "/health")?;
            }
            self.leader().map(|_| true)
        })?;
        Ok(())
    }

    /// The place of the member that leads.
    pub(crate) fn leader(&self) -> Result<usize> {
        for (at, member) in self.members.iter().enumerate() {
            if member.server.is_some() {
                let metrics = http::get(&member.client, "/metrics")?;
                if metrics.lines().any(|line| line == "etcd_server_is_leader 1") {
                    return Ok(at);
                }
            }
        }
        bail!("etcd has no leader")
    }

    /// Every client talks to the leader, which spares etcd the forwarding.
    pub(crate) fn target(&self, keys: Vec<Bytes>) -> Result<Target> {
        let address = self.members[self.leader()?].client.clone();
        Ok(Target { protocol: Protocol::Etcd, places: vec![Place { address, keys: keys.into() }] })
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(|member| member.server.as_ref()).map(Server::pid).collect()
    }

    /// The place of the leader, and where clients reach the others.
    pub(crate) fn victim(&self) -> Result<(usize, Vec<String>)> {
        let leader = self.leader()?;
        let others = (0..).zip(&self.members).filter(|(at, _)| *at != leader);
        Ok((leader, others.map(|(_, member)| member.client.clone()).collect()))
    }

    pub(crate) fn kill(&mut self, at: usize) -> Result<()> {
        let mut server = self.members[at].server.take().context("it runs")?;
        server.signal(Signal::Kill)?;
        server.end();
        Ok(())
    }

    pub(crate) fn start_again(&mut self, at: usize) -> Result<()> {
        self.start_member(at, "existing")
    }

    pub(crate) fn freeze(&self, at: usize) -> Result<()> {
        self.members[at].server.as_ref().context("it runs")?.signal(Signal::Stop)
    }

    pub(crate) fn thaw(&self, at: usize) -> Result<()> {
        self.members[at].server.as_ref().context("it runs")?.signal(Signal::Continue)
    }

    /// Replaces a follower by an empty member; returns how long it took until it answers for `known`.
    pub(crate) fn replace_follower(
        &mut self,
        known: &Bytes,
        begun: impl FnOnce(),
    ) -> Result<Duration> {
        let leader = self.leader()?;
        let at = (leader + 1) % self.members.len();
        let admin = self.members[leader].client.clone();
        let list: serde_json::Value =
            serde_json::from_str(&http::post(&admin, "/v3/cluster/member/list", "{}")?)?;
        let name = format!("m{}", self.members[at].number);
        let members = list["members"].as_array().context("a list of members")?;
        let old = members
            .iter()
            .find(|member| member["name"] == name.as_str())
            .and_then(|member| member["ID"].as_str())
            .context("the follower is a member")?;
        self.kill(at)?;
        put_aside(&self.directory.join(&name))?;
        http::post(&admin, "/v3/cluster/member/remove", &format!("{{\"ID\":\"{old}\"}}"))?;
        begun();
        let begin = Instant::now();
        let peer = format!("{{\"peerURLs\":[\"http://{}\"]}}", self.members[at].peer);
        await_condition("that the member is added", READY_TIMEOUT, || {
            http::post(&admin, "/v3/cluster/member/add", &peer).map(|_| true)
        })?;
        self.start_member(at, "existing")?;
        let client = self.members[at].client.clone();
        await_condition("that the empty member has caught up", Duration::from_secs(1200), || {
            Ok(serializable_get(&client, known)?.is_some())
        })?;
        Ok(begin.elapsed())
    }
}
