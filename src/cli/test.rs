//! `kmswatch test`: runs the examples that rules carry, through the same path as live records.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use super::{Exit, Usage, rules};
use crate::alert::redact::Redaction;
use crate::keys::inventory::Inventory;
use crate::pipeline::plan::{Limits, Plan};
use crate::report::examples::{Case, Tested, junit, table};
use crate::rule::example::{Example, Examples};
use crate::rule::placeholders::Placeholders;
use crate::rule::{Rule, RuleSet, RuleText};
use crate::source::{Delivery, Receipt};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of rules, or one file; the shipped rules without it
    rules: Option<PathBuf>,
    /// Key inventory for the examples that bring none of their own
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Only rules whose title, id or path contains this, upper or lower case
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write the result as JUnit XML too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print the examples as JSON instead, one a line, for other tools
    #[arg(long)]
    print: bool,
}

/// Runs it.
///
/// # Errors
/// When something cannot be read, or the rules have mistakes.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let inventory = Arc::new(rules::inventory(args.keys.as_deref())?);
    let rules = Arc::new(rules::load(args.rules.as_deref(), &inventory)?);
    let mut sets = Sets::new(rules.clone(), rules::texts(args.rules.as_deref())?);
    let chosen = chosen(&rules, args.filter.as_deref())?;
    let mut out = std::io::stdout().lock();
    if args.print {
        for (rule, examples) in chosen {
            print(rule, examples, &mut out)?;
        }
        return Ok(Exit::Clean);
    }
    let mut tested = Vec::new();
    for (rule, examples) in chosen {
        tested.push(test(&mut sets, rule, examples, &inventory)?);
    }
    out.write_all(table(&tested).as_bytes())?;
    if let Some(path) = &args.junit {
        let xml = junit(&tested).with_context(|| format!("{}: no JUnit XML", path.display()))?;
        std::fs::write(path, xml).with_context(|| path.display().to_string())?;
    }
    let failed = tested.iter().flat_map(|rule| &rule.cases).any(|case| case.failure.is_some());
    Ok(if failed { Exit::Findings } else { Exit::Clean })
}

/// The rules that open incidents, with their examples, as far as asked for.
fn chosen<'r>(rules: &'r RuleSet, filter: Option<&str>) -> anyhow::Result<Vec<(&'r Rule, &'r Examples)>> {
    let wanted = filter.map(str::to_lowercase);
    let has = |text: &str| wanted.as_ref().is_none_or(|wanted| text.to_lowercase().contains(wanted));
    let all = rules.rules.iter().zip(&rules.examples).filter(|(rule, _)| rule.opens);
    let chosen: Vec<_> =
        all.filter(|(rule, _)| has(&rule.meta.title) || has(&rule.meta.id) || has(&rule.meta.path)).collect();
    if chosen.is_empty() {
        // A misspelt filter must not look like success.
        let filter = filter.unwrap_or_default();
        anyhow::bail!(Usage(format!("no rule that opens incidents has '{filter}' in its title, id or path")));
    }
    Ok(chosen)
}

fn test(sets: &mut Sets, rule: &Rule, examples: &Examples, inventory: &Arc<Inventory>) -> anyhow::Result<Tested> {
    let mut cases = Vec::new();
    for (list, fires) in [(&examples.fires, true), (&examples.silent, false)] {
        for (number, example) in list.iter().enumerate() {
            let outcome = try_example(sets, &rule.meta.id, example, inventory)?;
            let failure = match (outcome.unreadable, outcome.fired == fires) {
                (Some(reason), _) => Some(format!("cannot be read: {reason}")),
                (None, true) => None,
                (None, false) if fires => Some("should open an incident and does not".to_owned()),
                (None, false) => Some("should stay silent and opens an incident".to_owned()),
            };
            cases.push(Case { fires, number, place: example.place, failure });
        }
    }
    let meta = &rule.meta;
    let (path, title, family) = (meta.path.clone(), meta.title.clone(), meta.family.clone());
    Ok(Tested { path, title, family, level: rule.level, cases })
}

/// The rules, and the same with the lists of the inventories that examples bring.
struct Sets {
    rules: Arc<RuleSet>,
    /// Empty when no rule asks for a list.
    texts: Vec<RuleText>,
    made: Vec<(Placeholders, Arc<RuleSet>)>,
}

impl Sets {
    fn new(rules: Arc<RuleSet>, mut texts: Vec<RuleText>) -> Self {
        if !texts.iter().any(|text| text.text.contains("|expand")) {
            texts.clear();
        }
        Self { rules, texts, made: Vec::new() }
    }

    fn with(&mut self, inventory: &Inventory) -> Arc<RuleSet> {
        if self.texts.is_empty() {
            return self.rules.clone();
        }
        let placeholders = Placeholders::of(inventory);
        if let Some((_, made)) = self.made.iter().find(|(known, _)| *known == placeholders) {
            return made.clone();
        }
        let made = RuleSet::compile_with(&self.texts, &placeholders).rules.map_or(self.rules.clone(), Arc::new);
        self.made.push((placeholders, made.clone()));
        made
    }
}

struct Outcome {
    fired: bool,
    unreadable: Option<String>,
}

fn try_example(
    sets: &mut Sets,
    rule_id: &str,
    example: &Example,
    inventory: &Arc<Inventory>,
) -> anyhow::Result<Outcome> {
    let (rules, inventory) = match &example.keys {
        Some(keys) => {
            let inventory = Inventory::parse("keys of an example", keys).map_err(|error| Usage(error.to_string()))?;
            (sets.with(&inventory), Arc::new(inventory))
        }
        None => (sets.rules.clone(), inventory.clone()),
    };
    let mut plan = Plan::new(rules, inventory, Limits::default(), Redaction::None);
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

fn print(rule: &Rule, examples: &Examples, out: &mut impl std::io::Write) -> anyhow::Result<()> {
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
    Ok(())
}
