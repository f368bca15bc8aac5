//! Contestants take turns under the same shape of load, A B B A, so that a noisy neighbour, and what one of them leaves behind,
//! hits all of them; what counts is the ratio within a round.

use anyhow::Result;

use super::Bench;
use crate::load::{Operation, Shape, Target};
use crate::measure::{Sample, measure};
use crate::progress;
use crate::report::Table;

#[derive(Clone, Debug)]
pub(super) struct Contestant {
    pub(super) name: String,
    pub(super) target: Target,
    pub(super) shape: Shape,
    pub(super) pids: Vec<u32>,
}

/// What one contestant did, round by round.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) samples: Vec<Sample>,
}

pub(super) fn contest(bench: &Bench, contestants: &[Contestant]) -> Result<Vec<Series>> {
    contest_after(bench, contestants, |_| Ok(()))
}

/// With something that is done before each turn of a contestant.
pub(super) fn contest_after(
    bench: &Bench,
    contestants: &[Contestant],
    mut prepare: impl FnMut(&Contestant) -> Result<()>,
) -> Result<Vec<Series>> {
    let mut all: Vec<Series> = contestants
        .iter()
        .map(|one| Series { name: one.name.clone(), shape: one.shape, samples: Vec::new() })
        .collect();
    for round in 0..bench.rounds() {
        let mut turns: Vec<_> = contestants.iter().zip(&mut all).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for (contestant, series) in turns {
            prepare(contestant)?;
            let Contestant { name, target, shape, pids } = contestant;
            let sample = measure(target, *shape, pids, bench.turn, bench.syncs)?;
            progress(&format!(
                "round {} {name:<22} {:>9.0}/s p50 {:>6.0} p99 {:>7.0} us, servers {:>5.1} client {:>4.1} us/op, {} syncs/op{}",
                round + 1,
                sample.per_second,
                sample.latency.p50,
                sample.latency.p99,
                sample.servers_cpu,
                sample.client_cpu,
                syncs(sample.syncs),
                sample
                    .failure
                    .as_ref()
                    .map(|why| format!(" FAILED {}: {why}", sample.latency.failed))
                    .unwrap_or_default(),
            ));
            series.samples.push(sample);
        }
    }
    Ok(all)
}

impl Series {
    pub(super) fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(of).collect())
    }

    fn spread(&self, of: impl Fn(&Sample) -> f64) -> (f64, f64) {
        let values: Vec<f64> = self.samples.iter().map(of).collect();
        (
            values.iter().copied().fold(f64::INFINITY, f64::min),
            values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        )
    }

    /// The median over rounds of this contestant's figure over the other's, and the least and greatest.
    pub(super) fn ratio(&self, other: &Self, of: impl Fn(&Sample) -> f64) -> Ratio {
        Ratio::of(self.samples.iter().zip(&other.samples).map(|(a, b)| of(a) / of(b)).collect())
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Ratio {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) greatest: f64,
}

impl Ratio {
    pub(super) fn of(values: Vec<f64>) -> Self {
        Self {
            least: values.iter().copied().fold(f64::INFINITY, f64::min),
            greatest: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            median: median(values),
        }
    }
}

/// One row for each series.
pub(super) fn table(all: &[Series]) -> Table {
    let head = [
        "system",
        "operation",
        "clients",
        "connections",
        "in flight each",
        "loop",
        "ops/s",
        "least to most",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "max us",
        "server CPU us/op",
        "client CPU us/op",
        "syncs/op",
        "failed",
    ];
    let mut table = Table::new(&head);
    for series in all {
        let per_second = series.spread(|sample| sample.per_second);
        let known = series.samples.iter().all(|sample| sample.syncs.is_some());
        let failed: u64 = series.samples.iter().map(|sample| sample.latency.failed).sum();
        let operation = match series.shape.alternative {
            Some(alternative) => {
                format!("{} or {}", said(series.shape.operation), said(alternative))
            }
            None => said(series.shape.operation).to_owned(),
        };
        let kind = match series.shape.rate {
            None => "closed".to_owned(),
            Some(rate) => format!("open, {rate:.0}/s"),
        };
        table.row([
            series.name.clone(),
            operation,
            series.shape.clients.to_string(),
            series.shape.clients.div_ceil(series.shape.sharing).to_string(),
            series.shape.depth.to_string(),
            kind,
            format!("{:.0}", series.median(|sample| sample.per_second)),
            format!("{:.0} to {:.0}", per_second.0, per_second.1),
            format!("{:.0}", series.median(|sample| sample.latency.p50)),
            format!("{:.0}", series.median(|sample| sample.latency.p99)),
            format!("{:.0}", series.median(|sample| sample.latency.p999)),
            format!("{:.0}", series.median(|sample| sample.latency.max)),
            format!("{:.1}", series.median(|sample| sample.servers_cpu)),
            format!("{:.1}", series.median(|sample| sample.client_cpu)),
            syncs(known.then(|| series.median(|sample| sample.syncs.unwrap_or(0.0)))),
            failed.to_string(),
        ]);
    }
    table
}

const fn said(operation: Operation) -> &'static str {
    match operation {
        Operation::Set => "SET",
        Operation::SetWait => "SET, WAIT 1",
        Operation::Get => "GET",
    }
}

fn syncs(syncs: Option<f64>) -> String {
    syncs.map_or_else(|| "not known".to_owned(), |syncs| format!("{syncs:.3}"))
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count.is_multiple_of(2) => f64::midpoint(values[count / 2 - 1], values[count / 2]),
        count => values[count / 2],
    }
}

/// The value below which this share of the values lies; the greatest for a share that few values cannot tell.
pub(super) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a short list"
    )]
    let at = (values.len() as f64 * share).ceil() as usize;
    values
        .get(at.saturating_sub(1).min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.99), 99.0);
        assert_eq!(quantile(&values[..30], 0.99), 30.0);
        assert_eq!(quantile(&values, 0.5), 50.0);
    }
}
