//! Simulated worlds: nothing lost, nothing doubled, whatever fails.

use kmswatch::cli::simulate::lives;
use kmswatch::sim::run;

/// Worlds lived through in every run of the tests; `kmswatch simulate --seeds 10000` for more.
const SEEDS: u64 = 1000;

#[test]
fn a_thousand_worlds_hold() {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (all, broken) = lives(0, SEEDS, threads);
    assert!(broken.is_empty(), "{}", broken[0]);
    println!("{all}");
    assert_eq!(all.seeds, SEEDS);
    // Worlds in which nothing happens prove nothing.
    assert!(all.crashes > SEEDS && all.faults > 10 * SEEDS && all.incidents > 2 * SEEDS, "{all}");
}

#[test]
fn a_seed_is_a_world() {
    assert_eq!(run(7).unwrap(), run(7).unwrap());
}
