//! `kubectl quorate`: what a store is doing, on one screen; switchovers; the writes that failovers took back.
//!
//! `status`, `report` and `failovers` read. `switchover` writes one field of the resource, and `rollback replay` and
//! `delete` ask the node that keeps the file: nothing else is ever changed.
//! Nodes are asked through the API server's pod proxy, so it works wherever kubectl does.

mod failovers;
mod fetch;
mod leaderless;
mod multi_leader;
mod render;
#[cfg(test)]
mod render_test;
mod rollback;
mod switchover;
mod table;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

#[derive(Parser)]
#[command(name = "kubectl-quorate", bin_name = "kubectl quorate", version)]
#[command(
    about = "Shows what the ReplicatedStores of a cluster are doing, and moves their leaders"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// The namespace of the store; the context's own when not given.
    #[arg(long, short, global = true)]
    namespace: Option<String>,

    /// The kubeconfig context to use.
    #[arg(long, global = true)]
    context: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Conditions, datacenters, nodes and shards of a store, on one screen.
    Status { store: String },
    /// Everything that is known of a store, as JSON: the resource, its pods, what each node says. For bug reports.
    /// Neither keys nor values are in it.
    Report { store: String },
    /// The last failovers and switchovers of a store: when, how long, and what was lost.
    Failovers { store: String },
    /// Moves leaders where you want them, by spec.singleLeader.preferredLeader, and waits until they are there.
    Switchover(switchover::Args),
    /// The writes that failovers took back under durability Async.
    #[command(subcommand)]
    Rollback(rollback::Command),
}

fn main() -> ExitCode {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        // Only possible when another provider was installed before main's first line, that is, never.
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(run(Cli::parse())))
        .and_then(|text| Ok(std::io::stdout().lock().write_all(text.as_bytes())?));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let told = writeln!(std::io::stderr(), "error: {error:#}");
            if told.is_ok() { ExitCode::FAILURE } else { ExitCode::from(3) }
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<String> {
    let options = KubeConfigOptions { context: cli.context.clone(), ..Default::default() };
    let config = match Kubeconfig::read() {
        Ok(file) => Config::from_custom_kubeconfig(file, &options).await?,
        Err(_) if cli.context.is_none() => Config::infer().await?,
        Err(error) => return Err(error).context("cannot read the kubeconfig"),
    };
    let namespace = cli.namespace.unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config)?;
    match cli.command {
        Command::Status { store } => {
            let seen = fetch::see(&client, &namespace, &store).await?;
            Ok(render::screen(&seen))
        }
        Command::Failovers { store } => {
            let seen = fetch::see(&client, &namespace, &store).await?;
            Ok(failovers::table(&seen))
        }
        Command::Switchover(args) => switchover::run(&client, &namespace, &args).await,
        Command::Rollback(command) => rollback::run(&client, &namespace, &command).await,
        Command::Report { store } => {
            let seen = fetch::see(&client, &namespace, &store).await?;
            let mut text = serde_json::to_string_pretty(&seen.as_json()?)?;
            text.push('\n');
            Ok(text)
        }
    }
}
