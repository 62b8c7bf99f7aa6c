//! `kmswatch evidence`: an auditor's three questions of captured files.
//!
//! Files are read twice: first for what names stood for which keys, then for the answer.

use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::captures::{Capture, PieceReader, captures, read_all};
use super::replay::parse_time;
use super::{Exit, Usage, rules, say};
use crate::alert::redact::{Redaction, printable};
use crate::keys::pattern::NamePattern;
use crate::pipeline::replay::Window;
use crate::report::evidence::history::{History, Survey, Surveyor};
use crate::report::evidence::key::Target;
use crate::report::evidence::question::{Filter, Outcome, Question};
use crate::report::evidence::reader::{Answer, Asking, FileRows, Reader, answer};
use crate::report::evidence::{csv, jsonl, lake_sql, summary, table};
use crate::time::EventTime;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    question: Asked,
}

#[derive(Debug, clap::Subcommand)]
enum Asked {
    /// Every cryptographic use of a key: who, when, what for, from where, expected or not
    WhoUsed {
        /// More keys, or the key if it is not given before the paths
        #[arg(long = "key", value_name = "KEY")]
        keys: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Every change of a key and of who may use it, attempts included
    WhoChanged {
        /// More keys, or the key if it is not given before the paths
        #[arg(long = "key", value_name = "KEY")]
        keys: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Every call that was denied, on a key or on any
    Denied {
        /// Only calls on this key; may be repeated
        #[arg(long = "key", value_name = "KEY")]
        keys: Vec<String>,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, clap::Args)]
struct How {
    /// The key (ARN, id, alias, ARN of an alias, or domain:NAME of the inventory), then files and folders of
    /// captures; `-` for standard input
    #[arg(required_unless_present = "lake_sql", value_names = ["KEY", "PATH"], num_args = 1..)]
    named: Vec<PathBuf>,
    /// Only these operations (`Decrypt`, `Generate*`); may be repeated
    #[arg(long = "operation", value_name = "PATTERN")]
    operations: Vec<String>,
    /// Only these callers: ARN, role, user, session or human, with `*` and `?`; may be repeated
    #[arg(long = "principal", value_name = "PATTERN")]
    principals: Vec<String>,
    /// Only these outcomes: success, denied, error, dry-run, throttled; may be repeated
    #[arg(long = "outcome", value_name = "OUTCOME")]
    outcomes: Vec<Outcome>,
    /// Only records from this time on (2026-01-02T03:04:05Z)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<EventTime>,
    /// Only records before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<EventTime>,
    /// Key inventory: domains and who is expected to use them
    #[arg(long = "keys", value_name = "FILE")]
    inventory: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Print to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show all encryption-context values
    #[arg(long)]
    no_redaction: bool,
    /// Refuse answers of more rows than this
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    max_rows: u64,
    /// Threads that read files; as many as there are processors without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Print the question as SQL for CloudTrail Lake instead of answering it
    #[arg(long)]
    lake_sql: bool,
    /// Event data store for --lake-sql: its id or ARN
    #[arg(long, value_name = "ID", requires = "lake_sql", value_parser = lake_sql::event_data_store)]
    event_data_store: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people: a few lines each, and a summary
    Table,
    /// For spreadsheets
    Csv,
    /// One row a line, all that is known of it
    Jsonl,
}

/// Unreadable records told of one by one, for each file; more are counted.
const MAX_TOLD: usize = 5;
/// Width of a table that goes elsewhere than to a terminal.
const PLAIN_WIDTH: usize = 120;

/// Runs it.
///
/// # Errors
/// When the question makes no sense, a path cannot be read at all, there are too many rows, or the
/// output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let (question, keys, how) = match &args.question {
        Asked::WhoUsed { keys, how } => (Question::WhoUsed, keys, how),
        Asked::WhoChanged { keys, how } => (Question::WhoChanged, keys, how),
        Asked::Denied { keys, how } => (Question::Denied, keys, how),
    };
    let (keys, paths) = key_and_paths(question, keys, how)?;
    let inventory = rules::inventory(how.inventory.as_deref())?;
    let patterns = |texts: &[String]| texts.iter().map(|text| NamePattern::new(text)).collect();
    let filter = Filter {
        operations: patterns(&how.operations),
        principals: patterns(&how.principals),
        outcomes: how.outcomes.iter().copied().collect(),
        window: Window { since: how.since, until: how.until },
    };
    filter.check(question).map_err(Usage)?;
    let target = Target::parse(&keys, &inventory).map_err(Usage)?;
    if how.lake_sql {
        let store = how.event_data_store.as_deref().unwrap_or(lake_sql::PLACEHOLDER);
        let statement = lake_sql::statement(question, &target, &filter, &inventory, store);
        super::replay::write_out(how.out.as_deref(), &statement)?;
        say(lake_sql::limits(&target).trim_end());
        return Ok(Exit::Clean);
    }
    let files = files_in_order(&paths)?;
    let history = History::of(read_all(&files, &Surveyor::default(), how.threads));
    for line in target.understood(&history, &inventory).map_err(Usage)? {
        say(&printable(&line));
    }
    if history.left_out > 0 {
        say(&format!(
            "{} names and changes of keys were left out for their number; aliases may be told wrong",
            history.left_out
        ));
    }
    let asking = Asking {
        question,
        target: &target,
        filter: &filter,
        history: &history,
        inventory: &inventory,
        redaction: if how.no_redaction { Redaction::None } else { Redaction::default() },
        max_rows: how.max_rows,
    };
    let reader = Reader::new(&asking);
    let results = read_all(&files, &reader, how.threads);
    for (file, result) in files.iter().zip(&results) {
        tell(&file.path, result);
    }
    let fitting = reader.fitting_rows();
    anyhow::ensure!(
        fitting <= how.max_rows,
        "{fitting} rows answer the question, more than {}; narrow it by --since and --until, --operation or --principal, or raise --max-rows (about 2 KB of memory each)",
        how.max_rows
    );
    let answer = answer(results);
    print(question, how, &answer, files.len())?;
    Ok(if answer.failed_files > 0 { Exit::Failed } else { Exit::Clean })
}

/// Which of the words are keys, and which are paths: without `--key` the first is the key, where the
/// question is about one; of denied calls it is one when it is no path and spelt like a key.
fn key_and_paths(question: Question, keys: &[String], how: &How) -> anyhow::Result<(Vec<String>, Vec<PathBuf>)> {
    let (mut keys, mut paths) = (keys.to_vec(), how.named.clone());
    let is_key = |text: &str| {
        ["arn:", "alias/", "domain:", "mrk-"].iter().any(|start| text.starts_with(start))
            || text.split('-').count() == 5
    };
    let first = paths.first().map(|path| (path.exists(), path.to_string_lossy().into_owned()));
    if let Some((is_there, text)) = first.filter(|_| keys.is_empty())
        && (question != Question::Denied || (!is_there && is_key(&text)))
    {
        keys.push(text);
        paths.remove(0);
    }
    if keys.is_empty() && question != Question::Denied {
        anyhow::bail!(Usage("which key? Name it before the paths, or by --key".to_owned()));
    }
    if paths.is_empty() && !how.lake_sql {
        anyhow::bail!(Usage("in which captures? Name files or folders after the key".to_owned()));
    }
    Ok((keys, paths))
}

/// Each file once and in order of name, so that the order of the arguments does not show.
fn files_in_order(paths: &[PathBuf]) -> anyhow::Result<Vec<Capture>> {
    let mut files = captures(paths)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}

fn print(question: Question, how: &How, answer: &Answer, files: usize) -> anyhow::Result<()> {
    let summary = summary::render(question, answer, files);
    let mut out: Box<dyn Write> = match &how.out {
        Some(path) => {
            let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            Box::new(std::io::BufWriter::new(file))
        }
        None => Box::new(std::io::BufWriter::new(std::io::stdout().lock())),
    };
    match how.format {
        Format::Table => {
            let width = if how.out.is_some() { PLAIN_WIDTH } else { terminal_width() };
            table::write(&mut out, &answer.rows, width)?;
            let gap = if answer.rows.is_empty() { "" } else { "\n" };
            write!(out, "{gap}{}", table::fit(&summary, width))?;
        }
        Format::Csv => csv::write(&mut out, question, &answer.rows)?,
        Format::Jsonl => jsonl::write(&mut out, question, &answer.rows)?,
    }
    out.flush()?;
    if how.format != Format::Table {
        say(summary.trim_end());
    }
    Ok(())
}

fn terminal_width() -> usize {
    if !std::io::stdout().is_terminal() {
        return PLAIN_WIDTH;
    }
    console::Term::stdout().size_checked().map_or(PLAIN_WIDTH, |(_, columns)| usize::from(columns))
}

fn tell(file: &Path, result: &FileRows) {
    for reason in result.unreadable.iter().take(MAX_TOLD) {
        say(&format!("{}: {}", printable(&file.to_string_lossy()), printable(reason)));
    }
    let told = result.unreadable.len().min(MAX_TOLD) as u64;
    if result.counts.unreadable > told {
        say(&format!(
            "{}: and {} more unreadable records",
            printable(&file.to_string_lossy()),
            result.counts.unreadable - told
        ));
    }
}

impl PieceReader for Surveyor {
    type Output = Survey;

    fn read(&self, _: &Path, piece: &[u8], output: &mut Survey) {
        Surveyor::read(self, piece, output);
    }

    /// The second reading tells of it.
    fn failed(&self, _: &mut Survey, _: String) {}
}

impl PieceReader for Reader<'_> {
    type Output = FileRows;

    fn read(&self, file: &Path, piece: &[u8], output: &mut FileRows) {
        Reader::read(self, file, piece, output);
    }

    fn failed(&self, output: &mut FileRows, reason: String) {
        output.failed(reason);
    }
}
