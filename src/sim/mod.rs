//! A simulated world: clock, queue, disk and pagers that fail in every way they can, around the real
//! plan, the real store and the real order of things. One number makes one world, so that a failure is
//! found again by its seed.
//!
//! What must come out of it is computed apart, from the list of what happened ([`oracle`]).
//!
//! Invariant: nothing here asks the machine for time, chance or files.

pub mod disk;
pub mod oracle;
pub mod pager;
pub mod process;
pub mod queue;
pub mod stream;
pub mod world;

use std::fmt;

/// What a world went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Worlds.
    pub seeds: u64,
    /// Records that happened.
    pub records: u64,
    /// Messages that the queue was given.
    pub messages: u64,
    /// Times that a message was received.
    pub receives: u64,
    /// Commits that became durable.
    pub commits: u64,
    /// Crashes of the process.
    pub crashes: u64,
    /// Failures of queue, disk and pagers.
    pub faults: u64,
    /// Alerts that pagers took.
    pub delivered: u64,
    /// Incidents that had to be told, and were.
    pub incidents: u64,
    /// Most alerts that ever waited in the outbox.
    pub peak_outbox: u64,
    /// Most deliveries that the process ever held.
    pub peak_held: u64,
}

impl Summary {
    /// Together with another.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.records += other.records;
        self.messages += other.messages;
        self.receives += other.receives;
        self.commits += other.commits;
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.delivered += other.delivered;
        self.incidents += other.incidents;
        self.peak_outbox = self.peak_outbox.max(other.peak_outbox);
        self.peak_held = self.peak_held.max(other.peak_held);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} worlds: {} records in {} messages, received {} times; {} commits, {} crashes, {} faults; {} incidents, \
             {} alerts delivered; at most {} alerts waiting and {} deliveries held",
            self.seeds,
            self.records,
            self.messages,
            self.receives,
            self.commits,
            self.crashes,
            self.faults,
            self.incidents,
            self.delivered,
            self.peak_outbox,
            self.peak_held
        )
    }
}

/// A world in which something did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {what}\n  the last steps:\n    {}", steps.join("\n    "))]
pub struct Broken {
    /// Makes the same world again.
    pub seed: u64,
    /// What did not hold.
    pub what: String,
    /// What happened just before.
    pub steps: Vec<String>,
}

/// Lives through the world of a seed.
///
/// # Errors
/// What did not hold in it.
pub fn run(seed: u64) -> Result<Summary, Broken> {
    let mut world = world::World::new(seed);
    world.live().map_err(|what| Broken { seed, what, steps: world.last_steps() })
}
