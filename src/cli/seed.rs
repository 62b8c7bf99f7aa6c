//! `kmswatch seed`: teaches the service from captures what is usual, before it starts or while it
//! stands still, so that new terms and rates need not learn for weeks.

use std::path::PathBuf;
use std::sync::Arc;

use super::captures::{captures, read_all, seeds, survey, tell};
use super::{Exit, run, say};
use crate::engine::lesson::Lessons;
use crate::pipeline::plan::analyze::Analyzer;
use crate::pipeline::plan::{Accounting, Plan};
use crate::pipeline::replay::{Reader, Window, lessons};
use crate::pipeline::survey::whole_picture;
use crate::report::replay::account;
use crate::rule::RuleSet;
use crate::store::StateStore as _;
use crate::store::redb::RedbStore;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and folders of captures; `-` for standard input
    #[arg(required_unless_present = "seeds", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// What rules learnt from captures, as `keys learn --seeds` writes it
    #[arg(long, value_name = "FILE")]
    seeds: Option<PathBuf>,
    /// Configuration of the service, whose state is taught
    #[arg(long, value_name = "FILE", env = "KMSWATCH_CONFIG")]
    config: PathBuf,
}

/// Runs it.
///
/// # Errors
/// When configuration, rules or state cannot be used, or the service is running.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let settings = run::read_settings(&args.config)?;
    let (rules, inventory) = run::watched(&settings).read()?;
    let (rules, inventory) = (Arc::new(rules), Arc::new(inventory));
    // Opened first: reading captures for an hour to find the service running would be a pity.
    let store = RedbStore::open(&settings.state_dir.join("state.redb"))?;
    let mut plan = Plan::new(rules.clone(), inventory.clone(), settings.limits, settings.redaction);
    plan.restore(&store.restore()?)?;
    let mut taught = args.seeds.as_deref().map(|path| seeds(path, &rules)).transpose()?.unwrap_or_default();
    let files = captures(&args.paths)?;
    let survey = survey(&files, None);
    let mut picture = whole_picture();
    survey.clone().tell(&mut picture);
    let reader = Reader::new(Analyzer { rules: rules.clone(), inventory }, picture, Window::default());
    let mut results = read_all(&files, &reader, None);
    let mut accounting = Accounting::default();
    let mut learnt = Lessons::default();
    for (file, result) in files.iter().zip(&mut results) {
        accounting += result.accounting;
        tell(&file.path, result);
        learnt.merge(lessons(&rules, result));
    }
    let failed = results.iter().any(|result| result.failure.is_some());
    taught.extend(learnt.into_vec());
    let (learnt, commit) = plan.learn(&taught, survey.changes());
    store.commit(&commit)?;
    say(account(&accounting).trim_end());
    say(&format!("{} rules learn from history; {learnt} groups of them learnt", learners(&rules)));
    Ok(if failed { Exit::Failed } else { Exit::Clean })
}

fn learners(rules: &RuleSet) -> usize {
    use crate::rule::Detector;
    rules.rules.iter().filter(|rule| matches!(rule.detector, Detector::NewTerms(_) | Detector::Rate(_))).count()
}
