//! A client that writes and reads all the while, through redis-rs, and says afterwards what it saw.
//!
//! It runs where the nodes' addresses can be reached. It stops when its standard input ends, reads every key once
//! more, and prints one JSON line: [`report::Report`].

mod client;
mod history;
mod report;
mod workload;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use client::Client;

/// `quorate-load HOST:PORT[,HOST:PORT...] KEYS [plain]`
#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quorate-load: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let nodes = arguments.next().context("which nodes? HOST:PORT[,HOST:PORT...]")?;
    let keys: u32 =
        arguments.next().context("how many keys?")?.parse().context("how many keys?")?;
    let nodes = nodes.split(',').map(|node| format!("redis://{node}")).collect();
    let client = match arguments.next().as_deref() {
        Some("plain") => Client::plain(nodes).context("connect")?,
        Some(other) => bail!("{other:?} is no kind of client"),
        None => Client::cluster(nodes).await.context("connect")?,
    };
    let report = workload::run(client, keys, Duration::from_secs(60)).await?;
    #[expect(clippy::print_stdout, reason = "the report is this program's output")]
    {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}
