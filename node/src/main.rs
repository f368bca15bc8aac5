//! `quorate-node`: the command line of a node and of a store on one machine.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use quorate_node::config::{Config, ConfigError, LogFormat, Overrides};
use quorate_node::node::{self, Announcement, NodeError, Stop};
use quorate_node::{EXIT_CONFIGURATION, EXIT_CUT_SHORT, EXIT_FAILURE, dev};
use quorate_storage::data_directory::DataDirectoryError;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A node of a replicated key-value store that speaks Redis
#[derive(Parser)]
#[command(name = "quorate-node", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one node
    Run(Box<RunArguments>),
    /// Run a whole store on this machine, without Kubernetes
    Dev(Box<dev::Options>),
}

#[derive(clap::Args)]
struct RunArguments {
    /// The YAML file to read first; environment variables and flags win over it
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    /// Print one JSON line on standard output once the node has started
    #[arg(long)]
    announce: bool,
    /// End when standard input is closed, at once; stop in order when it says `stop`
    #[arg(long)]
    exit_with_parent: bool,
}

fn main() -> ExitCode {
    // To clear a huge page takes whoever touches it first up to six milliseconds. Where the system refuses, it is as it was.
    rustix::thread::disable_transparent_huge_pages(true).ok();
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run(*arguments),
        Command::Dev(options) => develop(*options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; there is nobody left to tell then.
            drop(writeln!(std::io::stderr(), "quorate-node: {error:#}"));
            ExitCode::from(exit_code(&error))
        }
    }
}

fn run(arguments: RunArguments) -> anyhow::Result<()> {
    let text = match &arguments.config {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?,
        None => String::new(),
    };
    let config = Config::parse(&text, arguments.overrides)?;
    log(&config.log_level, config.log_format);
    let announce = arguments.announce;
    let exit_with_parent = arguments.exit_with_parent;
    runtime()?.block_on(async move {
        let stop = stop(exit_with_parent)?;
        node::run(config, |node| announced(announce, node), stop).await?;
        Ok(())
    })
}

fn develop(options: dev::Options) -> anyhow::Result<()> {
    log(options.log_level(), LogFormat::Text);
    runtime()?.block_on(async move {
        let mut out = std::io::stdout();
        dev::run(options, &mut out).await?;
        Ok(())
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

fn log(level: &str, format: LogFormat) {
    let filter = EnvFilter::new(level);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

fn announced(wanted: bool, node: &Announcement) {
    if wanted && let Ok(line) = serde_json::to_string(node) {
        // Whoever asked for the line may be gone; the node is there all the same.
        drop(writeln!(std::io::stdout(), "{line}"));
    }
}

/// Resolves at the first signal, or when the parent says so; the second signal ends the process.
fn stop(exit_with_parent: bool) -> anyhow::Result<impl Future<Output = Stop>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let (told, mut tell) = tokio::sync::mpsc::channel(1);
    // Kept open in any case, so that only who was told says so.
    let kept = told.clone();
    if exit_with_parent {
        std::thread::Builder::new()
            .name("parent".to_owned())
            .spawn(move || heed_parent(&told))
            .context("cannot start a thread")?;
    }
    Ok(async move {
        let _kept = kept;
        let how = tokio::select! {
            _ = terminate.recv() => Stop::HandOver,
            _ = interrupt.recv() => Stop::HandOver,
            _ = tell.recv() => Stop::AtOnce,
        };
        tracing::info!(?how, "stopping");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("a second signal: ending at once");
            std::process::exit(EXIT_CUT_SHORT);
        });
        how
    })
}

/// Data is safe at any moment, so when the parent is gone the process just ends.
fn heed_parent(told: &tokio::sync::mpsc::Sender<()>) {
    for line in std::io::stdin().lock().lines() {
        if line.is_ok_and(|line| line == "stop") {
            // Told once is enough.
            told.try_send(()).ok();
        }
    }
    std::process::exit(0);
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let configuration = error.downcast_ref::<ConfigError>().is_some()
        || error.downcast_ref::<dev::DevError>().is_some_and(dev::DevError::is_usage)
        || matches!(
            error.downcast_ref::<NodeError>(),
            Some(NodeError::Data(DataDirectoryError::OtherStore { .. }) | NodeError::Listen { .. })
        );
    if configuration { EXIT_CONFIGURATION } else { EXIT_FAILURE }
}
