//! `kmswatch check`: every mistake in rules, with file, line and column.

use std::io::Write as _;
use std::path::PathBuf;

use super::{Exit, rules};
use crate::report::check::{Counts, Looked, json, text};
use crate::rule::RuleSet;
use crate::rule::placeholders::Placeholders;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of rules, or one file; the shipped rules without it
    rules: Option<PathBuf>,
    /// Key inventory to check too
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// How to say it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Warnings end it as errors do; notes never
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// As a compiler does
    Text,
    /// One document for other tools
    Json,
}

/// Runs it.
///
/// # Errors
/// When something cannot be read.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let texts = rules::texts(args.rules.as_deref())?;
    let inventory = rules::inventory(args.keys.as_deref())?;
    let compiled = RuleSet::compile_with(&texts, &Placeholders::of(&inventory));
    let opening = compiled.rules.map_or(0, |rules| rules.rules.iter().filter(|rule| rule.opens).count());
    let domains = args.keys.as_ref().map(|_| inventory.domains.len());
    let looked = Looked { files: texts.len(), rules: opening, domains };
    let said = match args.format {
        Format::Text => text(&compiled.diagnostics, looked),
        Format::Json => json(&compiled.diagnostics, looked),
    };
    std::io::stdout().lock().write_all(said.as_bytes())?;
    let Counts { errors, warnings, .. } = Counts::of(&compiled.diagnostics);
    Ok(if errors > 0 || (args.deny_warnings && warnings > 0) { Exit::Invalid } else { Exit::Clean })
}
