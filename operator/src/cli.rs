//! The command line: parses, starts the runtime, turns the outcome into an exit code.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::{crds, health, run};

#[derive(Parser)]
#[command(name = "quorate-operator", version, about = "Runs ReplicatedStores on Kubernetes")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reconcile stores until told to stop.
    Run(RunArgs),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
    /// Ask a URL and end with 0 when it answers 200. The chart's test runs it.
    Probe {
        /// Such as http://quorate-http.quorate.svc:8080/readyz
        url: http::Uri,
    },
}

#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Watch this namespace only; all of them when not given.
    #[arg(long, env = "QUORATE_NAMESPACE")]
    pub namespace: Option<String>,

    /// Where health and metrics are served.
    #[arg(long, default_value = "[::]:8080", env = "QUORATE_HTTP")]
    pub http: SocketAddr,

    /// The name of the Lease by which replicas of the operator elect one.
    #[arg(long, default_value = "quorate-operator")]
    pub lease: String,

    /// Reconcile without being elected. Only for a single replica.
    #[arg(long)]
    pub no_leader_election: bool,

    /// The namespace of the Lease: the operator's own.
    #[arg(long, default_value = "default", env = "QUORATE_POD_NAMESPACE")]
    pub pod_namespace: String,

    /// This replica's name in the Lease and in events.
    #[arg(long, default_value = "quorate-operator", env = "QUORATE_POD_NAME")]
    pub pod_name: String,

    #[arg(long, default_value = "text", env = "QUORATE_LOG_FORMAT")]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

/// The whole process after its TLS provider is installed.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => {
            start_logs(args.log_format);
            with_runtime(run::run(args))
        }
        Command::Crds => print_crds(),
        Command::Probe { url } => with_runtime(health::probe(url)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if tracing::enabled!(tracing::Level::ERROR) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
        // The other commands have no log.
        Err(error) => match writeln!(std::io::stderr(), "quorate-operator: {error:#}") {
            Ok(()) => ExitCode::FAILURE,
            Err(_) => ExitCode::from(3),
        },
    }
}

fn with_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

fn print_crds() -> anyhow::Result<()> {
    Ok(std::io::stdout().lock().write_all(crds::yaml()?.as_bytes())?)
}

fn start_logs(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => logs.json().init(),
        LogFormat::Text => logs.init(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
