//! `kmswatch test`: runs the examples that rules carry, through the same path as live records.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Exit, Usage, rules};
use crate::alert::redact::Redaction;
use crate::keys::inventory::Inventory;
use crate::pipeline::plan::{Limits, Plan};
use crate::rule::RuleSet;
use crate::rule::example::Example;
use crate::source::{Delivery, Receipt};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of rules, or one file; the shipped rules without it
    rules: Option<PathBuf>,
    /// Key inventory for the examples that bring none of their own
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Print the examples as JSON instead, one a line, for other tools
    #[arg(long)]
    print: bool,
}

/// Runs it.
///
/// # Errors
/// When something cannot be read, or the rules have mistakes.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let rules = Arc::new(rules::load(args.rules.as_deref())?);
    let inventory = Arc::new(rules::inventory(args.keys.as_deref())?);
    let mut out = std::io::stdout().lock();
    if args.print {
        print(&rules, &mut out)?;
        return Ok(Exit::Clean);
    }
    let mut failures = Vec::new();
    let mut ran = 0;
    writeln!(out, "{:<13}  {:>5}  {:>6}  RULE", "LEVEL", "FIRES", "SILENT")?;
    for (rule, examples) in rules.rules.iter().zip(&rules.examples).filter(|(rule, _)| rule.opens) {
        let mut passed = [0, 0];
        for (at, (list, wanted)) in [(&examples.fires, true), (&examples.silent, false)].into_iter().enumerate() {
            for example in list {
                ran += 1;
                let reason = try_example(&rules, &rule.meta.id, example, &inventory)?;
                if reason.fired == wanted && reason.unreadable.is_none() {
                    if let Some(count) = passed.get_mut(at) {
                        *count += 1;
                    }
                    continue;
                }
                let what = match (reason.unreadable, wanted) {
                    (Some(reason), _) => format!("cannot be read: {reason}"),
                    (None, true) => "should open an incident and does not".to_owned(),
                    (None, false) => "should stay silent and opens an incident".to_owned(),
                };
                let (path, place) = (&rule.meta.path, example.place);
                failures
                    .push(format!("{path}:{}:{}: {}: this example {what}", place.line, place.column, rule.meta.title));
            }
        }
        let cell = |at: usize, all: usize| format!("{}/{all}", passed.get(at).copied().unwrap_or(0));
        let (fires, silent) = (cell(0, examples.fires.len()), cell(1, examples.silent.len()));
        writeln!(out, "{:<13}  {fires:>5}  {silent:>6}  {}", rule.level.as_str(), rule.meta.title)?;
    }
    for failure in &failures {
        writeln!(out, "{failure}")?;
    }
    writeln!(out, "{} rules, {ran} examples, {} failed", rules.rules.len(), failures.len())?;
    Ok(if failures.is_empty() { Exit::Clean } else { Exit::Findings })
}

struct Outcome {
    fired: bool,
    unreadable: Option<String>,
}

fn try_example(
    rules: &Arc<RuleSet>,
    rule_id: &str,
    example: &Example,
    inventory: &Arc<Inventory>,
) -> anyhow::Result<Outcome> {
    let inventory = match &example.keys {
        Some(keys) => Arc::new(Inventory::parse("keys of an example", keys).map_err(|error| Usage(error.to_string()))?),
        None => inventory.clone(),
    };
    let mut plan = Plan::new(rules.clone(), inventory, Limits::default(), Redaction::None);
    let delivery = Delivery {
        body: example.records.join("\n").into_bytes(),
        receipt: Receipt(String::new()),
        label: "example".to_owned(),
        sent_at: None,
        receive_count: 1,
    };
    let end = example.end();
    let planned = plan.batch(&[delivery], end);
    let (concluded, _) = plan.conclude(end);
    let mut alerts = planned.commit.outbox.iter().chain(&concluded.outbox);
    Ok(Outcome {
        fired: alerts.any(|alert| alert.rule.id == rule_id),
        unreadable: planned.park.into_iter().next().map(|(_, reason)| reason),
    })
}

fn print(rules: &RuleSet, out: &mut impl std::io::Write) -> anyhow::Result<()> {
    for (rule, examples) in rules.rules.iter().zip(&rules.examples) {
        for (list, fires) in [(&examples.fires, true), (&examples.silent, false)] {
            for example in list {
                let records: Vec<serde_json::Value> =
                    example.records.iter().filter_map(|record| serde_json::from_str(record).ok()).collect();
                let keys: Option<serde_json::Value> =
                    example.keys.as_ref().and_then(|keys| serde_json::from_str(keys).ok());
                let line = serde_json::json!({
                    "rule_id": rule.meta.id, "title": rule.meta.title, "path": rule.meta.path, "fires": fires,
                    "keys": keys, "records": records,
                });
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(())
}
