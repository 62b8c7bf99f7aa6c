//! `kmswatch explain`: why a record was told of, or was not.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::captures::{Capture, captures, survey};
use super::{Exit, Usage, picture, rules, say};
use crate::alert::redact::{Redaction, printable};
use crate::event::envelope::{EnvelopeLimits, Found, open};
use crate::event::record::decode;
use crate::pipeline::plan::analyze::Analyzer;
use crate::report::explain::rules::is_named;
use crate::report::explain::{Explainer, Options, Report, text};
use crate::rule::RuleSet;
use crate::rule::diagnostic::nearest;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File with the record, in any shape that `replay` reads; `-` for standard input
    #[arg(value_name = "EVENT")]
    event: PathBuf,
    /// Only the record with this eventID
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    /// Explain so many records of a file that has more
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// Folder of rules, or one file; the shipped rules without it
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Key inventory: domains and who is expected to use them
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Only the rules with this id, or with this in their title, each item of them
    #[arg(long, value_name = "ID_OR_TITLE")]
    rule: Option<String>,
    /// Also rules that are far from matching
    #[arg(long)]
    all: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// What KMS said of its keys (`kmswatch keys import`)
    #[arg(long = "snapshot", value_name = "FILE")]
    snapshots: Vec<PathBuf>,
    /// Captures that tell what had happened to the key before
    #[arg(long, value_name = "PATH", num_args = 1..)]
    captures: Vec<PathBuf>,
    /// Show encryption-context values
    #[arg(long)]
    no_redaction: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One object
    Json,
}

/// Unreadable records told of one by one.
const MAX_UNREADABLE: usize = 20;

/// Runs it.
///
/// # Errors
/// When something cannot be read, or no such record is in it.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let inventory = Arc::new(rules::inventory(args.keys.as_deref())?);
    let rules = Arc::new(rules::load(args.rules.as_deref(), &inventory)?);
    check_rule(&rules, args.rule.as_deref())?;
    let event = captures(std::slice::from_ref(&args.event))?;
    let before = captures(&args.captures)?;
    let mut context = picture::Read::until(None);
    context.snapshots(&args.snapshots)?;
    context.captures(&before);
    // What the records themselves change is known when they are read, as in the service.
    survey(&event, None).tell(&mut context.picture);
    let analyzer = Analyzer { rules, inventory };
    let redaction = if args.no_redaction { Redaction::None } else { Redaction::default() };
    let explainer = Explainer {
        analyzer: &analyzer,
        picture: &context.picture,
        has_context: !(before.is_empty() && args.snapshots.is_empty()),
        options: Options { all: args.all, rule: args.rule.clone(), redaction },
    };
    let report = explain(&explainer, &event, args)?;
    let mut out = std::io::stdout().lock();
    match args.format {
        Format::Text => out.write_all(text::render(&report).as_bytes())?,
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
    }
    for reason in &report.unreadable {
        say(&format!("{}: {reason}", args.event.display()));
    }
    Ok(match report.has_matches() {
        _ if context.incomplete || !report.unreadable.is_empty() => Exit::Failed,
        true => Exit::Findings,
        false => Exit::Clean,
    })
}

fn explain(explainer: &Explainer<'_>, files: &[Capture], args: &Args) -> anyhow::Result<Report> {
    let mut report = Report { schema: Report::SCHEMA, ..Report::default() };
    let (mut records, mut foreign) = (0_u64, 0_u64);
    let bad = |report: &mut Report, reason: String| {
        if args.event_id.is_none() && report.unreadable.len() < MAX_UNREADABLE {
            report.unreadable.push(printable(&reason));
        }
    };
    for file in files {
        let read = file.pieces(&mut |piece| {
            let limits = EnvelopeLimits { max_bytes: usize::MAX >> 1, ..EnvelopeLimits::default() };
            let opened = open(piece, limits, &mut |found| match found {
                Found::Foreign(_) => foreign += 1,
                Found::Bad { place, reason } => bad(&mut report, format!("{place}: {reason}")),
                Found::Record(raw) => {
                    records += 1;
                    match decode(raw, &explainer.analyzer.rules.projection) {
                        Err(error) => bad(&mut report, format!("record {records}: {error}")),
                        Ok(record) if args.event_id.as_deref().is_some_and(|id| record.id.as_str() != id) => {}
                        Ok(_) if report.records.len() >= usize::from(args.limit) => report.left_off += 1,
                        Ok(record) => report.records.push(explainer.explain(record)),
                    }
                }
            });
            if let Err(error) = opened {
                bad(&mut report, error.to_string());
            }
        });
        read?;
    }
    if let (true, Some(id)) = (report.records.is_empty(), &args.event_id) {
        let message = format!("{}: none of its {records} records has the eventID {id}", args.event.display());
        anyhow::bail!(Usage(message));
    }
    if report.records.is_empty() && report.unreadable.is_empty() {
        anyhow::bail!("{}: no CloudTrail record in it ({foreign} other messages)", args.event.display());
    }
    Ok(report)
}

/// A misspelt rule must not look like one that does not match.
fn check_rule(rules: &RuleSet, wanted: Option<&str>) -> anyhow::Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    let metas = || rules.rules.iter().map(|rule| &rule.meta).chain(rules.outlines().map(|(outline, _)| &outline.meta));
    if metas().any(|meta| is_named(meta, wanted)) {
        return Ok(());
    }
    let near = nearest(wanted, metas().flat_map(|meta| [meta.title.as_str(), meta.id.as_str()]));
    let near = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
    anyhow::bail!(Usage(format!("no rule has '{wanted}' as its id or in its title{near}")))
}
