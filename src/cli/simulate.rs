//! `kmswatch simulate`: lives through simulated worlds, each with its own mixture of crashes and faults,
//! and says whether anything was lost or told twice as something else.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Exit, say};
use crate::sim::{Broken, Summary, run as live};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Worlds to live through
    #[arg(long, default_value_t = 1000, value_name = "N")]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
    /// Threads; as many as there are processors without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

/// Runs it.
///
/// # Errors
/// When the outcome cannot be printed.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let threads = args
        .threads
        .map_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get), usize::from);
    let (summary, broken) = lives(args.from, args.seeds, threads);
    for broken in &broken {
        say(&broken.to_string());
    }
    writeln!(std::io::stdout(), "{summary}; {} did not hold", broken.len())?;
    Ok(if broken.is_empty() { Exit::Clean } else { Exit::Findings })
}

/// After so many broken worlds no more are needed.
const ENOUGH: u64 = 5;

/// Lives through worlds; the broken ones come in the order of their seeds.
#[must_use]
pub fn lives(from: u64, count: u64, threads: usize) -> (Summary, Vec<Broken>) {
    let (next, failures) = (AtomicU64::new(from), AtomicU64::new(0));
    let worker = || {
        let (mut all, mut broken) = (Summary::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from.saturating_add(count) || failures.load(Ordering::Relaxed) >= ENOUGH {
                return (all, broken);
            }
            match live(seed) {
                Ok(summary) => all.add(&summary),
                Err(one) => {
                    failures.fetch_add(1, Ordering::Relaxed);
                    broken.push(one);
                }
            }
        }
    };
    let mut summary = Summary::default();
    let mut broken = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        for (one, failed) in workers.into_iter().filter_map(|worker| worker.join().ok()) {
            summary.add(&one);
            broken.extend(failed);
        }
    });
    broken.sort_by_key(|one| one.seed);
    (summary, broken)
}
