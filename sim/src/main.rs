//! `quorate-sim`: runs seeds on every core, says what broke and how to repeat it; or shows that planted bugs are found.

mod hunt;
mod sweep;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use quorate_sim::Kind;

/// What the command line asks for.
struct Arguments {
    kind: Kind,
    seeds: u64,
    from: u64,
    /// Instead of a number of seeds.
    duration: Option<Duration>,
    /// A bug's name, or `all`.
    planted: Option<String>,
}

fn main() -> ExitCode {
    quorate_sim::keep_panics();
    match arguments() {
        Ok(arguments) => match &arguments.planted {
            Some(name) => hunt::run(arguments.kind, name, arguments.from, arguments.seeds),
            None => sweep::run(arguments.kind, arguments.from, arguments.seeds, arguments.duration),
        },
        Err(error) => {
            eprintln!("quorate-sim: {error:#}");
            eprintln!(
                "usage: quorate-sim --mode single-leader|leaderless|multi-leader --seeds N [--from S] [--minutes M] [--planted all|NAME]"
            );
            ExitCode::from(2)
        }
    }
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut arguments =
        Arguments { kind: Kind::SingleLeader, seeds: 1, from: 1, duration: None, planted: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} takes a value"))?;
        match word.as_str() {
            "--mode" => arguments.kind = value.parse().map_err(anyhow::Error::msg)?,
            "--seeds" => arguments.seeds = value.parse().context("--seeds takes a number")?,
            "--from" => arguments.from = value.parse().context("--from takes a number")?,
            "--minutes" => {
                let minutes: f64 = value.parse().context("--minutes takes a number")?;
                arguments.duration = Some(Duration::try_from_secs_f64(minutes * 60.0)?);
            }
            "--planted" => arguments.planted = Some(value),
            _ => bail!("unknown argument {word}"),
        }
    }
    Ok(arguments)
}
