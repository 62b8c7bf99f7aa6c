//! `kmswatch keys show`: a key's card, or the table of all keys.

use std::cell::OnceCell;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::alert::Alert;
use crate::alert::redact::{Redaction, printable};
use crate::cli::captures::{self, Capture, captures, read_all};
use crate::cli::replay::parse_time;
use crate::cli::run::{self, SystemClock};
use crate::cli::{Exit, Usage, picture, rules, say};
use crate::keys::inventory::Inventory;
use crate::pipeline::plan::analyze::Analyzer;
use crate::pipeline::replay::{Reader, Window, incidents};
use crate::report::keys::find::{Meant, find};
use crate::report::keys::{IncidentShown, Sources, card, table};
use crate::time::{Clock as _, EventTime};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// ARN, id or alias of a key; without it a table of all keys
    key: Option<String>,
    /// Key inventory: domains and who is expected to use them
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// What KMS said, as `keys import` writes it
    #[arg(long, value_name = "FILE")]
    snapshot: Vec<PathBuf>,
    /// Files and folders of captures
    #[arg(long, value_name = "PATH", num_args = 1..)]
    captures: Vec<PathBuf>,
    /// Folder of rules that find the incidents in the captures; the shipped rules without it
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Configuration of the service, whose state is read while it stands still
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// As of this time; without it the last record of the captures, else now
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<EventTime>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Show encryption-context values that grants ask for
    #[arg(long)]
    no_redaction: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One object, or a list of rows
    Json,
}

/// Runs it.
///
/// # Errors
/// When something cannot be read, or no such key is known.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let nothing = args.keys.is_none() && args.snapshot.is_empty() && args.captures.is_empty() && args.config.is_none();
    if nothing {
        anyhow::bail!(Usage("nothing to read: give --config, --captures, --snapshot or --keys".to_owned()));
    }
    let inventory = Arc::new(inventory(args)?);
    let mut read = picture::Read::until(args.at);
    if let Some(config) = &args.config {
        read.state(config)?;
    }
    read.snapshots(&args.snapshot)?;
    let files = captures(&args.captures)?;
    read.captures(&files);
    let found = found(args, &files, &inventory)?;
    let sources = Sources {
        picture: &read.picture,
        inventory: &inventory,
        incidents: &found,
        calls: &read.calls,
        at: args.at.or(read.last).unwrap_or_else(|| SystemClock.now()),
        redaction: if args.no_redaction { Redaction::None } else { Redaction::default() },
        replicas: OnceCell::new(),
    };
    let text = match &args.key {
        None => {
            let rows = table::rows(&sources);
            match args.format {
                Format::Text => table::render(&rows),
                Format::Json => serde_json::to_string_pretty(&rows)? + "\n",
            }
        }
        Some(name) => {
            let card = sources.card(&meant(&sources, name)?);
            match args.format {
                Format::Text => card::render(&card),
                Format::Json => serde_json::to_string_pretty(&card)? + "\n",
            }
        }
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(if read.incomplete { Exit::Failed } else { Exit::Clean })
}

/// The inventory that was given, else the service's.
fn inventory(args: &Args) -> anyhow::Result<Inventory> {
    match (&args.keys, &args.config) {
        (None, Some(config)) => Ok(run::watched(&run::read_settings(config)?).read()?.1),
        (path, _) => rules::inventory(path.as_deref()),
    }
}

/// The incidents in the captures.
fn found(args: &Args, files: &[Capture], inventory: &Arc<Inventory>) -> anyhow::Result<Vec<IncidentShown>> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let rules = Arc::new(rules::load(args.rules.as_deref(), inventory)?);
    let window = Window { since: None, until: args.at };
    let picture = captures::picture(files, &args.snapshot, None)?;
    let reader = Reader::new(Analyzer { rules: rules.clone(), inventory: inventory.clone() }, picture, window);
    let results = read_all(files, &reader, None);
    let shown = |alert: Alert| IncidentShown {
        time: alert.last_event_time,
        title: printable(&format!("{}: {}", alert.level, alert.rule.title)),
        id: alert.id,
        keys: alert.keys.into_iter().map(|key| key.arn).collect(),
    };
    Ok(incidents(&rules, results, &[], Redaction::default()).into_iter().map(shown).collect())
}

fn meant(sources: &Sources<'_>, name: &str) -> anyhow::Result<String> {
    match find(sources, name) {
        Meant::One(arn) => Ok(arn),
        Meant::Several(arns) => {
            let list = arns.iter().map(|arn| format!("\n  {}", printable(arn))).collect::<String>();
            anyhow::bail!(Usage(format!("'{name}' is the name of several keys; give one by its ARN:{list}")))
        }
        Meant::Nothing(near) => {
            let near: String = near.iter().map(|near| format!("\n  {}", printable(near))).collect();
            let near = if near.is_empty() { String::new() } else { format!("; is it one of these?{near}") };
            say("`kmswatch keys show` without a key lists all that are known");
            anyhow::bail!(Usage(format!("nothing is known of a key '{name}'{near}")))
        }
    }
}
