//! `kmswatch replay`: incidents in captured files.
//!
//! Files are read in parallel; their matches are merged by event time before the engine sees them,
//! so that the result does not depend on the number of threads or the order of files.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Exit, Usage, rules, say};
use crate::alert::redact::{Redaction, printable};
use crate::engine::lesson::{self, Lesson};
use crate::pipeline::plan::analyze::Analyzer;
use crate::pipeline::replay::{FileResult, PieceReader, Reader, Window, incidents};
use crate::report::replay as report;
use crate::rule::{Level, RuleSet};
use crate::source::capture::{files_under, read_pieces};
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

/// A document larger than this is not read whole.
const MAX_DOCUMENT_BYTES: usize = 1 << 30;
/// Unreadable records told of one by one, for each file; more are counted.
const MAX_TOLD: usize = 5;

/// Runs it.
///
/// # Errors
/// When a path cannot be read at all, or the output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let inventory = Arc::new(rules::inventory(args.keys.as_deref())?);
    let rules = Arc::new(rules::load(args.rules.as_deref(), &inventory)?);
    let lessons = args.seeds.as_deref().map(|path| seeds(path, &rules)).transpose()?.unwrap_or_default();
    let files = files(&args.paths)?;
    let analyzer = Analyzer { rules: rules.clone(), inventory };
    let reader = Reader::new(analyzer, Window { since: args.since, until: args.until });
    let results = read_all(&files, &reader, args.threads);
    let mut accounting = crate::pipeline::plan::Accounting::default();
    let mut failed = false;
    for (file, result) in files.iter().zip(&results) {
        accounting += result.accounting;
        failed |= result.failure.is_some();
        tell(file, result);
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

/// The files that were meant, those of folders included.
pub(super) fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            files.push(path.clone());
        } else {
            files.extend(files_under(path).map_err(|error| Usage(error.to_string()))?);
        }
    }
    Ok(files)
}

fn workers(wanted: Option<u16>) -> usize {
    let available = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    wanted.map_or_else(available, usize::from)
}

/// What a file of seeds teaches rules; what was passed over is told.
pub(super) fn seeds(path: &Path, rules: &RuleSet) -> anyhow::Result<Vec<Lesson>> {
    let fail = |error: String| Usage(format!("{}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| fail(error.to_string()))?;
    let mut text = String::new();
    let read = file.take(MAX_DOCUMENT_BYTES as u64 + 1).read_to_string(&mut text);
    if read.map_err(|error| fail(error.to_string()))? > MAX_DOCUMENT_BYTES {
        anyhow::bail!(fail(format!("longer than {MAX_DOCUMENT_BYTES} bytes")));
    }
    let seeds = lesson::read(rules, &text).map_err(|error| fail(error.to_string()))?;
    for skipped in &seeds.skipped {
        say(&format!("{}: {}", path.display(), printable(skipped)));
    }
    Ok(seeds.lessons)
}

/// Reads all files, a few at a time; results are in the order of the files.
pub(super) fn read_all(files: &[PathBuf], reader: &dyn PieceReader, threads: Option<u16>) -> Vec<FileResult> {
    let results = Mutex::new(Vec::new());
    read_each(files, reader, threads, &|index, result| {
        results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Reads all files, a few at a time, and hands what each came to on to `done`, in any order.
pub(super) fn read_each(
    files: &[PathBuf],
    reader: &dyn PieceReader,
    threads: Option<u16>,
    done: &(dyn Fn(usize, FileResult) + Sync),
) {
    let threads = workers(threads);
    let progress = progress_bar(files.len());
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(index) else { return };
            done(index, read_one(file, reader));
            progress.inc(1);
        }
    };
    std::thread::scope(|scope| {
        (0..threads.min(files.len().max(1))).for_each(|_| drop(scope.spawn(work)));
    });
    progress.finish_and_clear();
}

fn read_one(file: &Path, reader: &dyn PieceReader) -> FileResult {
    let mut result = FileResult::default();
    let mut visit = |piece: &[u8]| reader.read(piece, &mut result);
    let read = if file.as_os_str() == "-" {
        read_pieces(Path::new("standard input"), std::io::stdin().lock(), MAX_DOCUMENT_BYTES, &mut visit)
    } else {
        match std::fs::File::open(file) {
            Ok(opened) => read_pieces(file, opened, MAX_DOCUMENT_BYTES, &mut visit),
            Err(error) => {
                Err(crate::source::capture::CaptureError::Io { path: file.to_owned(), reason: error.to_string() })
            }
        }
    };
    if let Err(error) = read {
        result.failed(error.to_string());
    }
    result
}

fn progress_bar(files: usize) -> ProgressBar {
    use std::io::IsTerminal as _;
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} files {elapsed}");
    ProgressBar::new(files as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

pub(super) fn tell(file: &Path, result: &FileResult) {
    for reason in result.unreadable.iter().take(MAX_TOLD) {
        say(&format!("{}: {}", file.display(), printable(reason)));
    }
    let told = result.unreadable.len().min(MAX_TOLD) as u64;
    if result.accounting.parked > told {
        say(&format!("{}: and {} more unreadable records", file.display(), result.accounting.parked - told));
    }
}

fn write_out(path: Option<&Path>, text: &str) -> anyhow::Result<()> {
    match path {
        Some(path) => std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display())),
        None => Ok(std::io::stdout().lock().write_all(text.as_bytes())?),
    }
}
