//! `kmswatch keys learn`: an inventory proposed from captures, with seeds for the rules that learn; or,
//! with `--diff`, where captures depart from the inventory that is there.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;

use crate::cli::captures::{Capture, captures, picture, read_each, tell};
use crate::cli::replay::parse_time;
use crate::cli::{Exit, Usage, rules, say};
use crate::engine::lesson::{self, Lessons};
use crate::keys::inventory::Inventory;
use crate::keys::learn::Learning;
use crate::keys::learn::propose::{Options, propose};
use crate::keys::learn::write::inventory;
use crate::pipeline::learn::Learner;
use crate::pipeline::plan::Accounting;
use crate::pipeline::plan::analyze::Analyzer;
use crate::pipeline::replay::{Window, lessons};
use crate::report::drift;
use crate::report::replay::account;
use crate::rule::RuleSet;
use crate::time::EventTime;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and folders of captures; `-` for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write the inventory to this file instead of standard output
    #[arg(long, value_name = "FILE", conflicts_with = "diff")]
    out: Option<PathBuf>,
    /// Write what rules of kind new-terms and rate learn to this file, for `replay` and `seed`
    #[arg(long, value_name = "FILE")]
    seeds: Option<PathBuf>,
    /// Folder of the rules that learn; the shipped rules without it
    #[arg(long, value_name = "DIR", requires = "seeds")]
    rules: Option<PathBuf>,
    /// Compare with this inventory instead of writing one
    #[arg(long, value_name = "FILE")]
    diff: Option<PathBuf>,
    /// How to print the comparison
    #[arg(long, value_enum, default_value = "table", requires = "diff")]
    format: Format,
    /// Overwrite files that are there
    #[arg(long)]
    force: bool,
    /// Only records from this time on (2026-01-02T03:04:05Z)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<EventTime>,
    /// Only records before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<EventTime>,
    /// Days on which a use must have been seen to be expected; two about a week apart are enough too
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=366))]
    least_days: u16,
    /// Weeks of steady use after which hours and days are proposed; 0 for never
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=52))]
    schedule_weeks: u32,
    /// Threads that read files; as many as there are processors without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One document for other tools
    Json,
}

/// What all files together came to.
#[derive(Default)]
struct Total {
    learning: Learning,
    lessons: Lessons,
    accounting: Accounting,
    failed: bool,
}

/// Runs it.
///
/// # Errors
/// When a path cannot be read at all, or a file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    // Asked first: to read for an hour and then not to write would be a pity.
    for path in [&args.out, &args.seeds].into_iter().flatten() {
        if !args.force && path.exists() {
            anyhow::bail!(Usage(format!("{}: is there already; give --force to overwrite it", path.display())));
        }
    }
    let known = args.diff.as_deref().map(|path| rules::inventory(Some(path))).transpose()?.map(Arc::new);
    // With an empty inventory nothing is expected, so that rules learn of every use there was.
    let inventory_of_rules = known.clone().unwrap_or_default();
    let rules = match &args.seeds {
        Some(_) => Some(Arc::new(rules::load(args.rules.as_deref(), &inventory_of_rules)?)),
        None => None,
    };
    let analyzer = rules.clone().map(|rules| Analyzer { rules, inventory: Arc::new(Inventory::default()) });
    let files = captures(&args.paths)?;
    let picture = picture(&files, &[], args.threads)?;
    let window = Window { since: args.since, until: args.until };
    let learner = Learner::new(analyzer, known.clone(), picture, window);
    let total = read(&files, &learner, rules.as_deref(), args.threads);

    let options = Options { least_days: usize::from(args.least_days), schedule_weeks: args.schedule_weeks };
    let has_drift = match &known {
        Some(known) => {
            let text = match args.format {
                Format::Table => drift::table(&total.learning.drift, known),
                Format::Json => drift::json(&total.learning.drift, known),
            };
            std::io::stdout().lock().write_all(text.as_bytes())?;
            !drift::is_none(&total.learning.drift, known)
        }
        None => {
            let proposal = propose(&total.learning.history, options);
            let text = inventory(&proposal, options);
            // A proposal that cannot be used would be found out much later.
            Inventory::parse("the proposal", &text).context("please report this")?;
            match &args.out {
                Some(path) => write(path, &text, args.force)?,
                None => std::io::stdout().lock().write_all(text.as_bytes())?,
            }
            say(&drift::of_proposal(&proposal));
            false
        }
    };
    if let (Some(path), Some(rules)) = (&args.seeds, &rules) {
        write(path, &lesson::write(rules, &total.lessons.into_vec()), args.force)?;
    }
    say(account(&total.accounting).trim_end());
    Ok(if total.failed {
        Exit::Failed
    } else if has_drift {
        Exit::Findings
    } else {
        Exit::Clean
    })
}

fn read(files: &[Capture], learner: &Learner, rules: Option<&RuleSet>, threads: Option<u16>) -> Total {
    let total = Mutex::new(Total::default());
    read_each(files, learner, threads, &|index, mut result| {
        let taught = rules.map(|rules| lessons(rules, &mut result)).unwrap_or_default();
        let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(index) {
            tell(&file.path, &result);
        }
        total.accounting += result.accounting;
        total.failed |= result.failure.is_some();
        total.lessons.merge(taught);
        if let Some(learnt) = result.learnt.take() {
            total.learning.merge(*learnt);
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a file that is not there, or that may be overwritten.
fn write(path: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            anyhow::bail!(Usage(format!("{}: is there already; give --force to overwrite it", path.display())))
        }
        other => other.with_context(|| format!("cannot write {}", path.display())),
    }
}
