//! `kmswatch rules`: the rules as a list, and what they cover.

use std::io::Write as _;
use std::path::PathBuf;

use super::{Exit, rules};
use crate::keys::inventory::Inventory;
use crate::report::rules::{controls, coverage, entries, json, markdown, navigator, table};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of rules, or one file; the shipped rules without it
    rules: Option<PathBuf>,
    /// What to show of them
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// A line for each rule
    Table,
    /// All that each rule says of itself
    Json,
    /// A layer for the ATT&CK Navigator
    Navigator,
    /// Every call of KMS, with the rules that watch it or the reason why none does
    Coverage,
    /// Every control, with its rules
    Controls,
    /// The page rules/README.md
    Markdown,
}

/// Runs it.
///
/// # Errors
/// When the rules cannot be read or have mistakes.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let rules = rules::load(args.rules.as_deref(), &Inventory::default())?;
    let entries = entries(&rules);
    let text = match args.format {
        Format::Table => table::render(&entries),
        Format::Json => json::render(&entries),
        Format::Navigator => navigator::render(&entries),
        Format::Coverage => coverage::render(&entries),
        Format::Controls => controls::render(&entries),
        Format::Markdown => markdown::render(&entries),
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(Exit::Clean)
}
