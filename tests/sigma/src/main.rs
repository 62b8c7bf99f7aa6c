//! Rule by rule and record by record: does kmswatch match what another Sigma engine matches?

mod differences;
mod records;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use differences::{KEYWORDS_IN_A_MAP, KNOWN, has_keywords_in_a_map};
use kmswatch::event::derive::{derive, uses_of};
use kmswatch::event::record::decode;
use kmswatch::rule::{RuleSet, RuleText};
use kmswatch::source::capture::files_under;
use rsigma_eval::Engine;
use rsigma_eval::event::JsonEvent;
use rsigma_parser::{SigmaRule, parse_sigma_yaml};
use serde_json::Value;

/// One detection, in both engines.
struct Compared {
    title: String,
    file: String,
    ours: RuleSet,
    theirs: Engine,
    own: Vec<Value>,
    /// The other engine never meets it.
    beyond: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rules, captures @ ..] = arguments.as_slice() else {
        eprintln!("usage: compare RULES_DIR RECORDS...");
        return ExitCode::from(2);
    };
    match compare(rules, captures) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn compare(folder: &str, captures: &[String]) -> Result<bool, String> {
    let (rules, left_out, broken) = load(folder)?;
    let (records, unreadable) = records::of_captures(captures)?;
    let mut agreed = (0_usize, 0_usize);
    let mut unmatched = Vec::new();
    let mut found: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let mut unexplained = Vec::new();
    for rule in &rules {
        let mut matched = 0;
        for record in records.iter().chain(&rule.own) {
            let (ours, theirs) = (ours(&rule.ours, record), self::theirs(&rule.theirs, record));
            let Some(ours) = ours else { continue };
            if ours == theirs {
                agreed.0 += 1;
                agreed.1 += usize::from(ours);
                matched += usize::from(ours);
                continue;
            }
            let known = KNOWN.iter().find(|known| self::theirs(&rule.theirs, &(known.rewrite)(record)) == ours);
            let never = (rule.beyond && ours).then_some(KEYWORDS_IN_A_MAP);
            match known.map(|known| known.reason).or(never) {
                Some(reason) => {
                    let said = format!(
                        "{}: {}",
                        rule.title,
                        if ours { "only kmswatch matches" } else { "only the other matches" }
                    );
                    found.entry(reason.to_owned()).or_insert((0, said)).0 += 1;
                }
                None => unexplained.push((rule, record, ours)),
            }
        }
        if matched == 0 {
            unmatched.push(format!("{} ({})", rule.title, rule.file));
        }
    }
    println!(
        "{} detections compared over {} records of captures and {} made of the rules",
        rules.len(),
        records.len(),
        rules.iter().map(|rule| rule.own.len()).sum::<usize>()
    );
    println!("{} times both said the same, {} times of them that the record matches", agreed.0, agreed.1);
    println!(
        "not compared: {} correlations and filters, {} detections that read fields of kmswatch, {unreadable} unreadable records",
        left_out.0, left_out.1
    );
    for (reason, (count, example)) in &found {
        println!("known difference, {count} times: {reason}\n  first: {example}");
    }
    for title in &unmatched {
        println!("never matched by either: {title}");
    }
    for error in &broken {
        println!("does not load: {error}");
    }
    for (rule, record, ours) in unexplained.iter().take(20) {
        let who = if *ours { "only kmswatch matches" } else { "only the other matches" };
        println!("DIFFERENCE {} ({}): {who}\n  {record}", rule.title, rule.file);
    }
    println!("{} differences without an explanation, {} rules that do not load", unexplained.len(), broken.len());
    Ok(unexplained.is_empty() && broken.is_empty())
}

type Loaded = (Vec<Compared>, (usize, usize), Vec<String>);

fn load(folder: &str) -> Result<Loaded, String> {
    let (mut rules, mut left_out, mut broken) = (Vec::new(), (0, 0), Vec::new());
    for path in files_under(Path::new(folder)).map_err(|error| error.to_string())? {
        if !path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml") {
            continue;
        }
        let file = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{file}: {error}"))?;
        let parsed = parse_sigma_yaml(&text).map_err(|error| format!("{file}: {error}"))?;
        left_out.0 += parsed.correlations.len() + parsed.filters.len();
        broken.extend(parsed.errors.iter().map(|error| format!("{file}: {error}")));
        for rule in parsed.rules {
            // The document alone, so that each is compared by itself.
            let document = text.split("\n---\n").find(|document| document.contains(&rule.title)).unwrap_or(&text);
            if document.contains(" kms.") {
                left_out.1 += 1;
                continue;
            }
            match compile(&file, document, &rule) {
                Ok(compared) => rules.push(compared),
                Err(error) => broken.push(error),
            }
        }
    }
    Ok((rules, left_out, broken))
}

fn compile(file: &str, document: &str, rule: &SigmaRule) -> Result<Compared, String> {
    let text = RuleText { path: file.to_owned(), text: document.to_owned() };
    let compiled = RuleSet::compile(&[text]);
    let said = || compiled.diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let ours = compiled.rules.ok_or_else(|| said())?;
    let beyond = rule.detection.named.values().any(has_keywords_in_a_map);
    let mut theirs = Engine::new();
    theirs.add_rule(rule).map_err(|error| format!("{file}: the other engine: {error}"))?;
    Ok(Compared { title: rule.title.clone(), file: file.to_owned(), ours, theirs, own: records::of_rule(rule), beyond })
}

/// Whether kmswatch matches; nothing for what is no CloudTrail record.
fn ours(rules: &RuleSet, record: &Value) -> Option<bool> {
    let raw = record.to_string();
    let mut record = decode(&raw, &rules.projection).ok()?;
    let mut out = Vec::new();
    Some(uses_of(&record).iter().any(|used| {
        derive(&mut record, used);
        rules.matches(&record.fields, record.raw, &mut out);
        !out.is_empty()
    }))
}

fn theirs(engine: &Engine, record: &Value) -> bool {
    !engine.evaluate(&JsonEvent::borrow(record)).is_empty()
}
