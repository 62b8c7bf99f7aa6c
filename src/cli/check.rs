//! `kmswatch check`: every mistake in rules, with file, line and column.

use std::io::Write as _;
use std::path::PathBuf;

use super::{Exit, rules};
use crate::rule::RuleSet;
use crate::rule::diagnostic::Severity;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of rules, or one file; the shipped rules without it
    rules: Option<PathBuf>,
    /// Key inventory to check too
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// When something cannot be read.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let texts = rules::texts(args.rules.as_deref())?;
    let inventory = rules::inventory(args.keys.as_deref())?;
    let compiled = RuleSet::compile(&texts);
    let mut out = std::io::stdout().lock();
    for diagnostic in &compiled.diagnostics {
        writeln!(out, "{diagnostic}")?;
    }
    let errors = compiled.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    let warnings = compiled.diagnostics.len() - errors;
    let opening = compiled.rules.map_or(0, |rules| rules.rules.len());
    writeln!(out, "{} files, {opening} rules, {errors} errors, {warnings} warnings", texts.len())?;
    if args.keys.is_some() {
        writeln!(out, "{} key domains", inventory.domains.len())?;
    }
    Ok(if errors > 0 { Exit::Invalid } else { Exit::Clean })
}
