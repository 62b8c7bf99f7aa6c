//! `kmswatch keys`: what is known of keys.

pub mod show;

use super::Exit;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what is known of a key, or of all keys
    Show(show::Args),
}

/// Runs it.
///
/// # Errors
/// Those of the subcommand.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Show(args) => show::run(args),
    }
}
