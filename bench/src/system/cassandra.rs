//! Three nodes of Cassandra, put together from its Maven artefacts when they are not there yet.
//!
//! Small heaps, for all three share this machine; every write is synced before it is acknowledged.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;

use super::namespaces::Namespaces;
use super::process::{Server, Signal};
use super::{await_condition, ports};
use crate::load::{Place, Protocol, Target, is_cassandra_whole, prepare_cassandra};

pub(crate) const VERSION: &str = "5.0.6";
const JAVA: &str = "17";
const JVMS: &str = "/usr/lib/jvm";
const HEAP: &str = "512M";
const READY_TIMEOUT: Duration = Duration::from_secs(240);
/// Of the ring of 64 bits: a third of it each.
const TOKENS: [&str; 3] = ["-9223372036854775808", "-3074457345618258603", "3074457345618258602"];

/// What Cassandra itself opens of Java 17 (its `jvm17-server.options`).
const OPENED: [&str; 12] = [
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
];
const EXPORTED: [&str; 6] = [
    "java.base/java.lang.ref",
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "jdk.attach/sun.tools.attach",
];

const LOGBACK: &str = "<configuration><appender name=\"out\" class=\"ch.qos.logback.core.ConsoleAppender\">\
    <encoder><pattern>%date %level %msg%n</pattern></encoder></appender>\
    <root level=\"WARN\"><appender-ref ref=\"out\"/></root></configuration>\n";

/// A Java that runs it, and where its jars are.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    java: PathBuf,
    jars: PathBuf,
}

/// The jars are brought below `cache` at the first time.
///
/// # Errors
/// Without Java 17, without Maven, or when the artefacts cannot be had.
pub(crate) fn install(cache: &Path) -> Result<Installed> {
    let java = java()?;
    let directory = cache.join(format!("cassandra-{VERSION}"));
    let jars = directory.join("jars");
    if jars.exists() {
        return Ok(Installed { java, jars });
    }
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("pom.xml"), pom())?;
    // Into another folder first: one that was begun is not one that is whole.
    let output = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg("-DoutputDirectory=begun")
        .current_dir(&directory)
        .stdin(Stdio::null())
        .output()
        .context("there is no Maven to bring Cassandra with")?;
    if !output.status.success() {
        bail!("Cassandra cannot be had: {}", String::from_utf8_lossy(&output.stdout).trim());
    }
    std::fs::rename(directory.join("begun"), &jars)?;
    Ok(Installed { java, jars })
}

fn pom() -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>quorate.example</groupId><artifactId>cassandra</artifactId><version>1</version>\
         <dependencies><dependency><groupId>org.apache.cassandra</groupId>\
         <artifactId>cassandra-all</artifactId><version>{VERSION}</version></dependency>\
         </dependencies></project>\n"
    )
}

/// Cassandra 5 runs on no later Java.
fn java() -> Result<PathBuf> {
    let named = format!("java-{JAVA}-");
    let folders = std::fs::read_dir(JVMS).into_iter().flatten().filter_map(Result::ok);
    folders
        .filter(|folder| folder.file_name().to_string_lossy().starts_with(&named))
        .map(|folder| folder.path().join("bin/java"))
        .find(|java| java.is_file())
        .with_context(|| format!("Java {JAVA} is not installed"))
}

#[derive(Debug)]
pub(crate) struct Cassandra {
    installed: Installed,
    directory: PathBuf,
    hosts: Vec<String>,
    /// The same at every node, as its drivers expect it.
    client_port: u16,
    peer_port: u16,
    /// Each node in a network namespace of its own, so that it can be cut off.
    namespaces: Option<Arc<Namespaces>>,
    /// `None` while it is down.
    servers: Vec<Option<Server>>,
}

impl Cassandra {
    pub(crate) fn start(
        installed: &Installed,
        directory: &Path,
        namespaces: Option<Arc<Namespaces>>,
    ) -> Result<Self> {
        let host = |number: usize| match &namespaces {
            Some(namespaces) => namespaces.address(number),
            None => format!("127.0.0.1{number}"),
        };
        let ports = ports::free(2)?;
        let mut cassandra = Self {
            installed: installed.clone(),
            directory: directory.to_owned(),
            hosts: (1..=3).map(host).collect(),
            client_port: ports[0],
            peer_port: ports[1],
            namespaces,
            servers: Vec::new(),
        };
        for at in 0..3 {
            let server = cassandra.start_server(at)?;
            cassandra.servers.push(Some(server));
        }
        // The first makes the table; whoever joins meanwhile is told of it.
        await_condition("that Cassandra has its table", READY_TIMEOUT, || {
            prepare_cassandra(&cassandra.address(0)).map(|()| true)
        })?;
        cassandra.await_ready()?;
        Ok(cassandra)
    }

    fn start_server(&self, at: usize) -> Result<Server> {
        let home = self.directory.join(format!("c{}", at + 1));
        std::fs::create_dir_all(&home)?;
        let settings = home.join("cassandra.yaml");
        std::fs::write(&settings, self.settings(at, &home))?;
        std::fs::write(home.join("logback.xml"), LOGBACK)?;
        let java = &self.installed.java;
        let mut command = match &self.namespaces {
            Some(namespaces) => namespaces.command(at + 1, java),
            None => Command::new(java),
        };
        let opened = OPENED.map(|package| format!("--add-opens={package}=ALL-UNNAMED"));
        let exported = EXPORTED.map(|package| format!("--add-exports={package}=ALL-UNNAMED"));
        command
            .args([format!("-Xms{HEAP}"), format!("-Xmx{HEAP}")])
            .args(["-XX:+UseG1GC", "-XX:+AlwaysPreTouch", "-XX:+ExitOnOutOfMemoryError"])
            .args([
                "-Djdk.attach.allowAttachSelf=true",
                "-Dio.netty.tryReflectionSetAccessible=true",
            ])
            .args(opened)
            .args(exported)
            .arg("-cp")
            .arg(format!("{}:{}/*", home.display(), self.installed.jars.display()))
            .arg(format!("-Dcassandra.config=file://{}", settings.display()))
            .arg(format!("-Dcassandra.storagedir={}", home.display()))
            // Three that start together, and know their places.
            .args(["-Dcassandra.consistent.rangemovement=false", "-Dcassandra.ring_delay_ms=2000"])
            .args(["-Dcassandra.skip_wait_for_gossip_to_settle=0", "-Dcassandra-foreground=yes"])
            .arg("org.apache.cassandra.service.CassandraDaemon");
        Server::start(command, &home.join("log"))
    }

    /// As it comes, but for places, and for the promise: `batch` syncs before it acknowledges.
    fn settings(&self, at: usize, home: &Path) -> String {
        let (host, seed, token) = (&self.hosts[at], &self.hosts[0], TOKENS[at]);
        let (client_port, peer_port, home) = (self.client_port, self.peer_port, home.display());
        format!(
            "cluster_name: bench\nnum_tokens: 1\ninitial_token: {token}\nauto_bootstrap: false\n\
             partitioner: org.apache.cassandra.dht.Murmur3Partitioner\nendpoint_snitch: SimpleSnitch\n\
             seed_provider:\n  - class_name: org.apache.cassandra.locator.SimpleSeedProvider\n    \
             parameters:\n      - seeds: \"{seed}:{peer_port}\"\nlisten_address: {host}\n\
             rpc_address: {host}\nnative_transport_port: {client_port}\nstorage_port: {peer_port}\n\
             commitlog_sync: batch\ndata_file_directories: [\"{home}/data\"]\n\
             commitlog_directory: {home}/commitlog\nhints_directory: {home}/hints\n\
             saved_caches_directory: {home}/caches\ncdc_raw_directory: {home}/cdc\n"
        )
    }

    fn address(&self, at: usize) -> String {
        format!("{}:{}", self.hosts[at], self.client_port)
    }

    /// Waits until every node that runs reaches all replicas.
    pub(crate) fn await_ready(&self) -> Result<()> {
        for at in 0..self.servers.len() {
            await_condition("that Cassandra is whole", READY_TIMEOUT, || {
                is_cassandra_whole(&self.address(at))
            })?;
        }
        Ok(())
    }

    /// Every node has a replica of each key: clients are dealt out over all of them.
    pub(crate) fn target(&self, keys: Vec<Bytes>) -> Target {
        let keys: Arc<[Bytes]> = keys.into();
        let place = |at| Place { address: self.address(at), keys: Arc::clone(&keys) };
        Target { protocol: Protocol::Cassandra, places: (0..self.hosts.len()).map(place).collect() }
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.iter().flatten().map(Server::pid).collect()
    }

    pub(crate) fn kill(&mut self, at: usize) -> Result<()> {
        let mut server = self.servers[at].take().context("it runs")?;
        server.signal(Signal::Kill)?;
        server.end();
        Ok(())
    }

    pub(crate) fn start_again(&mut self, at: usize) -> Result<()> {
        self.servers[at] = Some(self.start_server(at)?);
        Ok(())
    }

    pub(crate) fn freeze(&self, at: usize) -> Result<()> {
        self.servers[at].as_ref().context("it runs")?.signal(Signal::Stop)
    }

    pub(crate) fn thaw(&self, at: usize) -> Result<()> {
        self.servers[at].as_ref().context("it runs")?.signal(Signal::Continue)
    }

    pub(crate) fn cut(&self, at: usize) -> Result<()> {
        self.namespaces()?.cut(at + 1)
    }

    pub(crate) fn mend(&self, at: usize) -> Result<()> {
        self.namespaces()?.mend(at + 1)
    }

    fn namespaces(&self) -> Result<&Namespaces> {
        self.namespaces.as_deref().context("the nodes have no namespaces")
    }
}
