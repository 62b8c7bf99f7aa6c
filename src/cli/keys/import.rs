//! `kmswatch keys import`: asks KMS, or reads policy documents; writes a snapshot and proposes an
//! inventory.

use std::io::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::ProgressBar;

use super::super::run::{SystemClock, sdk_loader};
use super::super::{Exit, Usage, say};
use super::documents::{self, Documents};
use super::lines;
use crate::alert::redact::printable;
use crate::config::AwsSettings;
use crate::keys::pattern::NamePattern;
use crate::keys::snapshot::{self, KeyFacts};
use crate::kms::Place;
use crate::kms::journal::{Journal, Question};
use crate::kms::pace::DEFAULT_PER_SECOND;
use crate::kms::survey::Survey;
use crate::report::inventory::{DomainBy, Proposal, ProposalSettings, Proposed};
use crate::time::{Clock as _, EventTime};

/// An answer of KMS comes within this.
const KMS_WITHIN: Duration = Duration::from_secs(15);
/// Requests about one key, unless it has very many grants.
const REQUESTS_A_KEY: u64 = 6;

/// What was typed.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Region to ask; may be given several times. Else the one of environment or profile
    #[arg(long = "region", value_name = "REGION")]
    regions: Vec<String>,
    /// Profile of the shared AWS configuration, one an account; may be given several times
    #[arg(long = "profile", value_name = "NAME")]
    profiles: Vec<String>,
    /// Another endpoint, like that of an emulator
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// At most so many requests a second to each account and Region, a tenth of them at once
    #[arg(long, value_name = "NUMBER", default_value_t = DEFAULT_PER_SECOND)]
    per_second: NonZeroU32,
    /// Keep what KMS says here, one key a line; a start after a crash goes on from FILE.partial
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
    /// Begin anew instead of going on from FILE.partial
    #[arg(long, requires = "snapshot")]
    fresh: bool,
    /// Read key policy documents instead of asking KMS: files, and folders of *.json
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = ASKING)]
    policies: Vec<PathBuf>,
    /// Which document is which key's: CSV or YAML with file, key, alias, domain
    #[arg(long, value_name = "FILE", requires = "policies")]
    map: Option<PathBuf>,
    /// Read a snapshot of an earlier import instead of asking KMS
    #[arg(long, value_name = "FILE", conflicts_with_all = ASKING, conflicts_with_all = ["policies", "snapshot"])]
    read_snapshot: Option<PathBuf>,
    /// Write the inventory here instead of to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Overwrite files that are there
    #[arg(long)]
    force: bool,
    /// The tag whose value names a key's domain
    #[arg(long, value_name = "TAG")]
    domain_tag: Option<String>,
    /// A domain for keys whose alias fits, like 'alias/pay-*=payments'; may be given several times
    #[arg(long = "domain-alias", value_name = "PATTERN=DOMAIN", value_parser = domain_alias)]
    domain_aliases: Vec<(NamePattern, String)>,
    /// Expect everybody of an account whose IAM policies decide, until the line is narrowed
    #[arg(long)]
    expect_accounts: bool,
}

const ASKING: [&str; 5] = ["regions", "profiles", "endpoint_url", "per_second", "fresh"];

const AFTER_HELP: &str = "\
The inventory lists whom key policies and grants name. Most policies leave the decision to IAM (`root` of the account),
and then nobody is named: use of such a key would be told of as unexpected. Either list whom IAM lets in, or begin with
--expect-accounts, which expects everybody of the account, and narrow those lines domain by domain.

What it needs on AWS: deploy/iam/import-policy.json. It changes nothing there.
Exit codes: 0 all known, 1 something could not be attributed to a key, 2 wrong usage, 3 could not be done.";

fn domain_alias(text: &str) -> Result<(NamePattern, String), String> {
    let (pattern, domain) = text.split_once('=').ok_or("write PATTERN=DOMAIN, like 'alias/pay-*=payments'")?;
    let domain = domain.trim();
    if !pattern.starts_with("alias/") || domain.is_empty() {
        return Err("write PATTERN=DOMAIN, like 'alias/pay-*=payments'".to_owned());
    }
    Ok((NamePattern::new(pattern), domain.to_owned()))
}

/// Runs it.
///
/// # Errors
/// When KMS cannot be asked, documents cannot be read, or files would be overwritten.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut writes = [&args.out, &args.snapshot].into_iter().flatten();
    if let Some(path) = writes.find(|path| !args.force && path.exists()) {
        anyhow::bail!(Usage(format!("{} is there already; --force overwrites it", path.display())));
    }
    let domain_by = DomainBy { tag: args.domain_tag.clone(), aliases: args.domain_aliases.clone() };
    let settings = ProposalSettings { domain_by, expect_accounts: args.expect_accounts };
    let mut gathered = Gathered { proposal: Proposal::new(settings), unanswered: 0, exit: Exit::Clean };
    if let Some(path) = &args.read_snapshot {
        gathered.read_snapshot(path)?;
    } else if args.policies.is_empty() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(ask(args, &mut gathered))?;
    } else {
        gathered.read_documents(args)?;
    }
    let proposed = gathered.proposal.propose();
    match &args.out {
        None => std::io::stdout().lock().write_all(proposed.text.as_bytes())?,
        Some(path) => write(path, &proposed.text, args.force)?,
    }
    summarise(&proposed, gathered.unanswered);
    Ok(gathered.exit)
}

/// What came together so far.
struct Gathered {
    proposal: Proposal,
    /// Keys of which something could not be asked.
    unanswered: usize,
    exit: Exit,
}

impl Gathered {
    fn take(&mut self, facts: &KeyFacts) {
        // A key that KMS does not rotate has nothing unsaid.
        self.unanswered += usize::from(facts.unknown.keys().any(|what| what != "rotation"));
        self.proposal.add(facts, None, None);
    }

    fn read_snapshot(&mut self, path: &Path) -> anyhow::Result<()> {
        lines::each(path, |facts| {
            self.take(&facts);
            Ok(())
        })
    }

    fn read_documents(&mut self, args: &Args) -> anyhow::Result<()> {
        let Documents { keys, unattributed } = documents::read(&args.policies, args.map.as_deref())?;
        for said in &unattributed {
            say(&printable(said));
            self.exit = Exit::Findings;
        }
        if keys.is_empty() {
            anyhow::bail!(Usage("no policy document could be attributed to a key".to_owned()));
        }
        let mut snapshot = String::new();
        let mut nameless = 0;
        for key in &keys {
            self.proposal.add(&key.facts, key.domain.as_deref(), Some(&key.source));
            match crate::event::key::arn_parts(&key.facts.arn) {
                Some(parts) if parts.resource.starts_with("key/") => {
                    snapshot.push_str(&snapshot::line(&key.facts));
                    snapshot.push('\n');
                }
                _ => nameless += 1,
            }
        }
        if let Some(path) = &args.snapshot {
            write(path, &snapshot, args.force)?;
            if nameless > 0 {
                say(&format!("{nameless} keys are known by id or alias only and are not in the snapshot"));
            }
        }
        Ok(())
    }
}

/// Asks every account and Region.
async fn ask(args: &Args, gathered: &mut Gathered) -> anyhow::Result<()> {
    let surveys = surveys(&places(args).await?, args.endpoint_url.as_deref(), args.per_second).await;
    let Some(target) = &args.snapshot else {
        for survey in &surveys {
            let asked = survey_into(
                survey,
                |_| false,
                |facts| {
                    gathered.take(&facts);
                    Ok(())
                },
            );
            asked.await.context("nothing was kept; --snapshot FILE keeps what was answered for the next start")?;
        }
        return Ok(());
    };
    let question = Question {
        places: surveys.iter().map(|survey| survey.place().to_string()).collect(),
        endpoint_url: args.endpoint_url.clone(),
    };
    let mut journal = Journal::open(target, &question, SystemClock.now(), args.fresh)?;
    if journal.answered() > 0 {
        let (answered, began) = (journal.answered(), journal.began());
        say(&format!("going on with what was begun on {began}: {answered} keys are answered; --fresh begins anew"));
    }
    let mut failed = Vec::new();
    for survey in &surveys {
        // Looked up before, and written after: the journal is not borrowed twice.
        let known = journal.known();
        let asked = survey_into(survey, |arn| known.contains(arn), |facts| Ok(journal.append(&facts)?)).await;
        if let Err(error) = asked {
            say(&format!("kmswatch: {error:#}"));
            failed.push(survey.place().to_string());
        }
    }
    if !failed.is_empty() {
        anyhow::bail!(
            "{} could not be asked; {} keys are kept for the next start",
            failed.join(", "),
            journal.answered()
        );
    }
    journal.finish()?;
    gathered.read_snapshot(target)
}

/// Asks one place, and says how it goes.
async fn survey_into(
    survey: &Survey,
    known: impl Fn(&str) -> bool,
    mut take: impl FnMut(KeyFacts) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut answers = survey.begin(known).await?;
    let counts = answers.counts();
    let todo = (counts.listed - counts.known) as u64;
    say(&format!(
        "{}: {} keys, {todo} to ask, at {} requests a second about {} s",
        survey.place(),
        counts.listed,
        survey.pace().per_second(),
        (todo * REQUESTS_A_KEY).div_ceil(u64::from(survey.pace().per_second().get())),
    ));
    let bar = ProgressBar::new(todo);
    while let Some(facts) = answers.next().await? {
        take(facts)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let (pace, counts) = (survey.pace(), answers.counts());
    let gone = if counts.gone > 0 { format!(", {} gone meanwhile", counts.gone) } else { String::new() };
    let throttled =
        if pace.throttled() > 0 { format!(", {} of them throttled", pace.throttled()) } else { String::new() };
    say(&format!("{}: {} keys asked{gone}; {} requests{throttled}", survey.place(), counts.answered, pace.requests()));
    Ok(())
}

/// Every profile with every Region.
async fn places(args: &Args) -> anyhow::Result<Vec<Place>> {
    let profiles: Vec<Option<String>> = match args.profiles.is_empty() {
        true => vec![None],
        false => args.profiles.iter().cloned().map(Some).collect(),
    };
    let mut places = Vec::new();
    for profile in profiles {
        let mut regions = args.regions.clone();
        if regions.is_empty() {
            let mut loader = sdk_loader(&AwsSettings::default(), KMS_WITHIN);
            if let Some(profile) = &profile {
                loader = loader.profile_name(profile);
            }
            let region = loader.load().await.region().map(ToString::to_string);
            regions.push(region.context(Usage("which Region? give --region, or set AWS_REGION".to_owned()))?);
        }
        places.extend(regions.into_iter().map(|region| Place { profile: profile.clone(), region }));
    }
    places.sort();
    places.dedup();
    Ok(places)
}

/// A survey of each place.
pub(crate) async fn surveys(places: &[Place], endpoint_url: Option<&str>, per_second: NonZeroU32) -> Vec<Survey> {
    let mut surveys = Vec::new();
    for place in places {
        let aws = AwsSettings { region: Some(place.region.clone()), endpoint_url: endpoint_url.map(str::to_owned) };
        // Tries are counted and paced by the survey.
        let mut loader = sdk_loader(&aws, KMS_WITHIN).retry_config(aws_sdk_kms::config::retry::RetryConfig::disabled());
        if let Some(profile) = &place.profile {
            loader = loader.profile_name(profile);
        }
        let client = aws_sdk_kms::Client::new(&loader.load().await);
        surveys.push(Survey::new(place.clone(), client, per_second, Arc::new(SystemClock)));
    }
    surveys
}

/// Writes a file that was not there, or with `force` one in the place of another.
fn write(path: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(force).create_new(!force).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.with_context(|| path.display().to_string())
}

fn summarise(proposed: &Proposed, unanswered: usize) {
    let Proposed { keys, domains, lines, delegated, aws_managed, .. } = proposed;
    say(&format!(
        "{keys} keys in {domains} domains, {lines} lines of expected use; {aws_managed} keys of AWS left out"
    ));
    if unanswered > 0 {
        say(&format!("of {unanswered} keys something is not known; the reasons are in the inventory and the snapshot"));
    }
    if *delegated > 0 {
        say(&format!(
            "in {delegated} domains IAM policies decide as well: list whom they let in, or see --expect-accounts"
        ));
    }
}

/// The time of a file's last change, for documents do not say when KMS gave them.
pub(super) fn changed(path: &Path) -> EventTime {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let since = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let millis = since.and_then(|since| i64::try_from(since.as_millis()).ok());
    millis.map_or_else(|| SystemClock.now(), EventTime::from_millis)
}
