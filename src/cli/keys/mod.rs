//! `kmswatch keys`: what is known of keys, and the inventory of them. One file a subcommand.

mod documents;
pub mod import;
pub mod learn;
pub(super) mod lines;
pub mod show;

use super::Exit;

/// What was typed after `keys`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Propose an inventory from KMS or from key policy documents, and keep a snapshot
    Import(import::Args),
    /// Propose an inventory from captures, or compare one with them
    Learn(learn::Args),
    /// Show what is known of a key, or of all keys
    Show(show::Args),
}

/// Runs it.
///
/// # Errors
/// As the subcommand's.
pub fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Import(args) => import::run(args),
        Command::Learn(args) => learn::run(args),
        Command::Show(args) => show::run(args),
    }
}
