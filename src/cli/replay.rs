//! `kmswatch replay`: incidents in captured files.
//!
//! Files are read in parallel; their matches are merged by event time before the engine sees them,
//! so that the result does not depend on the number of threads or the order of files.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::captures::{captures, picture, read_all, seeds, tell};
use super::{Exit, rules, say};
use crate::alert::redact::Redaction;
use crate::pipeline::plan::analyze::Analyzer;
use crate::pipeline::replay::{Reader, Window, incidents};
use crate::report::replay as report;
use crate::rule::Level;
use crate::time::EventTime;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and folders of captures; `-` for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Folder of rules; the shipped rules without it
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Key inventory: domains and who is expected to use them
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// What KMS said of its keys (`kmswatch keys import`), beside what the captures say
    #[arg(long = "snapshot", value_name = "FILE")]
    snapshots: Vec<PathBuf>,
    /// What rules learnt from earlier captures, as `keys learn --seeds` writes it
    #[arg(long, value_name = "FILE")]
    seeds: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Print to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only records from this time on (2026-01-02T03:04:05Z)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<EventTime>,
    /// Only records before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<EventTime>,
    /// Only incidents of this level and above
    #[arg(long, default_value = "informational", value_parser = parse_level)]
    level: Level,
    /// Keep encryption-context values in the alerts
    #[arg(long)]
    no_redaction: bool,
    /// Threads that read files; as many as there are processors without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Incidents, a table by rule, the account of every record
    Table,
    /// The alert as text, one screen each
    Text,
    /// One alert a line, as the sinks send it
    Jsonl,
}

pub(super) fn parse_time(text: &str) -> Result<EventTime, String> {
    EventTime::parse(text).map_err(|error| error.to_string())
}

fn parse_level(text: &str) -> Result<Level, String> {
    text.parse()
}

/// Runs it.
///
/// # Errors
/// When a path cannot be read at all, or the output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let inventory = Arc::new(rules::inventory(args.keys.as_deref())?);
    let rules = Arc::new(rules::load(args.rules.as_deref(), &inventory)?);
    let lessons = args.seeds.as_deref().map(|path| seeds(path, &rules)).transpose()?.unwrap_or_default();
    let files = captures(&args.paths)?;
    let analyzer = Analyzer { rules: rules.clone(), inventory };
    let picture = picture(&files, &args.snapshots, args.threads)?;
    let reader = Reader::new(analyzer, picture, Window { since: args.since, until: args.until });
    let results = read_all(&files, &reader, args.threads);
    let mut accounting = crate::pipeline::plan::Accounting::default();
    let mut failed = false;
    for (file, result) in files.iter().zip(&results) {
        accounting += result.accounting;
        failed |= result.failure.is_some();
        tell(&file.path, result);
    }
    let redaction = if args.no_redaction { Redaction::None } else { Redaction::default() };
    let mut alerts = incidents(&rules, results, &lessons, redaction);
    alerts.retain(|alert| alert.level >= args.level);

    let text = match args.format {
        Format::Table => report::table(&alerts, &accounting, files.len()),
        Format::Text => alerts.iter().map(|alert| crate::alert::text::render(alert) + "\n").collect(),
        Format::Jsonl => alerts.iter().map(|alert| crate::alert::json::line(alert) + "\n").collect(),
    };
    write_out(args.out.as_deref(), &text)?;
    if args.format != Format::Table {
        say(report::account(&accounting).trim_end());
    }
    Ok(if failed {
        Exit::Failed
    } else if alerts.is_empty() {
        Exit::Clean
    } else {
        Exit::Findings
    })
}

pub(super) fn write_out(path: Option<&Path>, text: &str) -> anyhow::Result<()> {
    match path {
        Some(path) => std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display())),
        None => Ok(std::io::stdout().lock().write_all(text.as_bytes())?),
    }
}
