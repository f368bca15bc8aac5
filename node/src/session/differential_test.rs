//! The same commands to a real `redis-server` and to a session: the same bytes must come back.
//!
//! Where no `redis-server` is installed there is nothing to compare with, and the tests say so and pass.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::memory_store::{DEADLINE, MemoryStore};
use super::{Ends, Port, Sessions, Settings};
use crate::resp::Protocol;

struct RedisServer {
    child: Child,
    directory: TempDir,
}

impl RedisServer {
    fn start() -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--databases", "1"])
            .arg("--unixsocket")
            .arg(directory.path().join("socket"))
            .arg("--dir")
            .arg(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .inspect_err(|error| eprintln!("nothing to compare with: redis-server: {error}"))
            .ok()?;
        Some(Self { child, directory })
    }

    async fn connect(&self) -> Peer<UnixStream> {
        let socket = self.directory.path().join("socket");
        let stream = tokio::time::timeout(DEADLINE, connected(&socket)).await.unwrap();
        Peer { stream, markers: 0 }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The server makes its socket some time after its start.
async fn connected(socket: &Path) -> UnixStream {
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return stream,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

fn session() -> Peer<tokio::io::DuplexStream> {
    let (stream, other) = tokio::io::duplex(1 << 20);
    let sessions = Sessions::new(MemoryStore::new(3, 1), Settings::default());
    let ends = Ends { peer: "peer".to_owned(), local: "local".to_owned() };
    let halves = tokio::io::split(other);
    tokio::spawn(sessions.serve(halves, Port::Plain, ends, CancellationToken::new()));
    Peer { stream, markers: 0 }
}

struct Peer<S> {
    stream: S,
    markers: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// What comes back before the answer to an ECHO behind it.
    async fn ask(&mut self, line: &str) -> String {
        self.markers += 1;
        let marker = format!("marker-{}", self.markers);
        let mut wire: Vec<u8> = line.split(" ; ").flat_map(|part| array(&words(part))).collect();
        wire.extend(array(&[b"ECHO".to_vec(), marker.clone().into_bytes()]));
        self.stream.write_all(&wire).await.unwrap();
        let end = format!("${}\r\n{marker}\r\n", marker.len());
        let mut got = Vec::new();
        let reading = async {
            while !got.ends_with(end.as_bytes()) {
                assert!(self.stream.read_buf(&mut got).await.unwrap() > 0, "closed after {line}");
            }
        };
        tokio::time::timeout(DEADLINE, reading).await.unwrap();
        got.truncate(got.len() - end.len());
        String::from_utf8_lossy(&got).into_owned()
    }
}

fn array(words: &[Vec<u8>]) -> Vec<u8> {
    let mut wire = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        wire.extend(format!("${}\r\n", word.len()).into_bytes());
        wire.extend(word);
        wire.extend(b"\r\n");
    }
    wire
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split_ascii_whitespace()
        .map(|word| if word == "''" { Vec::new() } else { word.as_bytes().to_vec() })
        .collect()
}

async fn compare(protocol: Protocol, lines: impl IntoIterator<Item = String>) {
    let Some(server) = RedisServer::start() else { return };
    let (mut redis, mut ours) = (server.connect().await, session());
    if protocol == Protocol::Resp3 {
        // Each says who it is.
        assert_ne!(redis.ask("hello 3").await, ours.ask("hello 3").await);
    }
    let mut different = Vec::new();
    for line in lines {
        let (expected, got) = (redis.ask(&line).await, ours.ask(&line).await);
        if comparable(&line, &expected) != comparable(&line, &got) {
            different.push(format!("{line}\n  redis {expected:?}\n  ours  {got:?}"));
        }
    }
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

/// The lines of an answer, in an order of their own where the order of its elements says nothing.
fn comparable<'a>(line: &str, answer: &'a str) -> Vec<&'a str> {
    let mut lines: Vec<&str> = answer.split("\r\n").collect();
    let command = line.split(' ').next().unwrap_or_default().to_lowercase();
    let unordered = UNORDERED.contains(&command.as_str()) || line.starts_with("command list");
    if unordered {
        lines.sort_unstable();
    }
    lines
}

const UNORDERED: [&str; 14] = [
    "hgetall",
    "hkeys",
    "hvals",
    "hrandfield",
    "hscan",
    "smembers",
    "srandmember",
    "spop",
    "sscan",
    "sinter",
    "sunion",
    "sdiff",
    "scan",
    "keys",
];

/// Answers that both must give alike, run in order on one connection. A line is one command, or several with ` ; ` between.
const SCRIPT: &str = include_str!("differential.txt");

const SCRIPT_OF_TYPES: &str = include_str!("differential_types.txt");

fn lines_of(script: &str) -> impl Iterator<Item = String> {
    script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_is_answered_as_by_redis() {
    compare(Protocol::Resp2, lines_of(SCRIPT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashes_and_sets_are_answered_as_by_redis_in_both_protocols() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        compare(protocol, lines_of(SCRIPT_OF_TYPES)).await;
    }
}

/// Commands on few keys and awkward values, in an order that a seed decides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_commands_are_answered_as_by_redis() {
    for seed in 1..=4u64 {
        compare(Protocol::Resp2, random_lines(seed, 2000)).await;
    }
}

fn random_lines(seed: u64, count: usize) -> Vec<String> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % bound as u64).unwrap()
    };
    let mut lines = Vec::new();
    for _ in 0..count {
        let template = TEMPLATES[below(TEMPLATES.len())];
        let line: Vec<&str> = template
            .split(' ')
            .map(|word| match word {
                "K" => KEYS[below(KEYS.len())],
                "V" => VALUES[below(VALUES.len())],
                "N" => NUMBERS[below(NUMBERS.len())],
                "O" => OPTIONS[below(OPTIONS.len())],
                "T" => TIMES[below(TIMES.len())],
                other => other,
            })
            .collect();
        lines.push(line.join(" "));
    }
    lines
}

const KEYS: [&str; 4] = ["{t}a", "{t}b", "{t}c", "{t}d"];
const VALUES: [&str; 12] =
    ["''", "0", "1", "-7", "10", "3.5", "abc", "9223372036854775807", "007", "1e3", "x", "hello"];
const NUMBERS: [&str; 11] = [
    "0",
    "1",
    "-1",
    "2",
    "5",
    "-3",
    "100",
    "9223372036854775807",
    "-9223372036854775808",
    "x",
    "2.5",
];
const TIMES: [&str; 5] = ["4102444800", "4102444900", "1", "4102444800000", "x"];
const OPTIONS: [&str; 8] = ["NX", "XX", "GET", "KEEPTTL", "nx", "XX GET", "GET KEEPTTL", "PERSIST"];
const TEMPLATES: &[&str] = &[
    "set K V",
    "set K V",
    "set K V O",
    "set K V O O",
    "set K V EXAT T",
    "set K V PXAT 4102444800000 O",
    "setnx K V",
    "getset K V",
    "get K",
    "get K",
    "getdel K",
    "getex K",
    "getex K EXAT 4102444800",
    "getex K PERSIST",
    "mget K K K",
    "mset K V K V",
    "msetnx K V K V",
    "append K V",
    "strlen K",
    "getrange K N N",
    "substr K N N",
    "setrange K 3 V",
    "setrange K 0 V",
    "incr K",
    "decr K",
    "incrby K N",
    "decrby K N",
    "del K",
    "del K K",
    "unlink K",
    "exists K K K",
    "touch K K",
    "type K",
    "expireat K T",
    "expireat K T NX",
    "expireat K T XX",
    "expireat K T GT",
    "expireat K T LT",
    "pexpireat K 4102444850000",
    "persist K",
    "expiretime K",
    "pexpiretime K",
    "hset K V V",
    "hset K V V V V",
    "hset K V N",
    "hsetnx K V V",
    "hget K V",
    "hmget K V V",
    "hgetall K",
    "hkeys K",
    "hvals K",
    "hlen K",
    "hexists K V",
    "hstrlen K V",
    "hdel K V V V",
    "hincrby K V N",
    "hincrbyfloat K V N",
    "hrandfield K 100 withvalues",
    "hrandfield K N V",
    "sadd K V",
    "sadd K V V V",
    "srem K V V",
    "smembers K",
    "sismember K V",
    "smismember K V V",
    "scard K",
    "spop K 100",
    "spop K 0",
    "srandmember K 100",
    "smove K K V",
    "sinter K K",
    "sunion K K K",
    "sdiff K K",
    "sintercard 2 K K LIMIT N",
    "sintercard N K K",
    "sinterstore K K K",
    "sunionstore K K K",
    "sdiffstore K K K",
    "rename K K",
    "renamenx K K",
    "copy K K",
    "copy K K REPLACE",
];
