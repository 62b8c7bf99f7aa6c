//! `kmswatch keys`: what has to do with the key inventory.

mod learn;

use super::Exit;

/// What to do with it.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Propose an inventory from captures, or compare one with them
    Learn(learn::Args),
}

/// Runs it.
///
/// # Errors
/// As the subcommand says.
pub fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Learn(args) => learn::run(args),
    }
}
