//! An inventory proposed from what KMS, or policy documents, say: for a person to review.
//!
//! Invariants: the same keys give the same text, in whatever order they come; it parses as an
//! inventory, whatever stands in names, tags and policies; each line says where it came from; who is
//! let in by IAM policies is never taken for expected unless asked for.
//!
//! Must not: decide what is right. What is allowed may be more than what is meant.

mod domain;
mod draw;
mod statement;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

pub use domain::DomainBy;
use draw::{Drawing, Line, Origin, draw};
use yaml::{comment, list, quoted};

use crate::event::key::{KeyRef, arn_parts};
use crate::keys::snapshot::KeyFacts;
use crate::time::EventTime;

/// How an inventory is proposed.
#[derive(Clone, Debug, Default)]
pub struct ProposalSettings {
    /// What makes a domain.
    pub domain_by: DomainBy,
    /// Expects everybody of an account to which a key policy delegates, until the line is narrowed.
    pub expect_accounts: bool,
}

/// An inventory in the making.
#[derive(Clone, Debug, Default)]
pub struct Proposal {
    settings: ProposalSettings,
    keys: Vec<Key>,
    aws_managed: usize,
    read: Option<(EventTime, EventTime)>,
}

/// A key, and what was drawn from what is known of it.
#[derive(Clone, Debug)]
struct Key {
    /// ARN, id or alias.
    name: String,
    id: Option<String>,
    account: Option<String>,
    aliases: BTreeSet<String>,
    /// The domain asked for, if any.
    domain: Option<String>,
    /// What a reviewer should see of it.
    about: Vec<String>,
    drawing: Drawing,
}

/// What a proposal came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposed {
    /// The inventory.
    pub text: String,
    /// Keys in it.
    pub keys: usize,
    /// Domains in it.
    pub domains: usize,
    /// Lines of expected use.
    pub lines: usize,
    /// Domains with a key whose policy leaves the decision to IAM.
    pub delegated: usize,
    /// Keys that AWS manages, which are left out.
    pub aws_managed: usize,
}

impl Proposal {
    /// An inventory of no keys.
    #[must_use]
    pub fn new(settings: ProposalSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Adds a key. Its `arn` may be an id or an alias where nothing better is known; `domain` is the
    /// one that somebody said it belongs to, `source` the file it came from, if it did.
    pub fn add(&mut self, facts: &KeyFacts, domain: Option<&str>, source: Option<&str>) {
        let is_of_aws = facts.manager.as_deref() == Some("AWS")
            || (facts.manager.is_none() && facts.aliases.iter().any(|alias| alias.starts_with("alias/aws/")));
        if is_of_aws {
            self.aws_managed += 1;
            return;
        }
        let named = KeyRef::parse(&facts.arn).unwrap_or_default();
        let mut aliases = facts.aliases.clone();
        aliases.retain(|alias| KeyRef::parse(alias).is_some_and(|parsed| parsed.alias.is_some()));
        aliases.extend(named.alias.clone());
        let (first, last) = self.read.unwrap_or((facts.as_of, facts.as_of));
        self.read = Some((first.min(facts.as_of), last.max(facts.as_of)));
        self.keys.push(Key {
            name: facts.arn.clone(),
            id: named.id,
            account: arn_parts(&facts.arn).map(|parts| parts.account.to_owned()),
            aliases,
            domain: domain.map(str::to_owned).or_else(|| self.settings.domain_by.choose(facts)),
            about: about(facts, source),
            drawing: draw(facts, self.settings.expect_accounts, source.is_some()),
        });
    }

    /// The inventory.
    #[must_use]
    pub fn propose(mut self) -> Proposed {
        self.keys.sort_by(|a, b| a.name.cmp(&b.name));
        self.keys.dedup_by(|later, earlier| later.name == earlier.name);
        let domains = domain::assign(&self.keys);
        let mut members: BTreeMap<&str, Vec<&Key>> = BTreeMap::new();
        for (key, domain) in self.keys.iter().zip(&domains) {
            members.entry(domain).or_default().push(key);
        }
        let mut proposed = Proposed {
            text: self.heading(),
            keys: self.keys.len(),
            domains: members.len(),
            aws_managed: self.aws_managed,
            ..Proposed::default()
        };
        let aliases = domain::Aliases::of(&self.keys, &domains);
        for (name, keys) in members {
            let written = write_domain(&mut proposed.text, name, &keys, &aliases);
            proposed.lines += written.lines.len();
            proposed.delegated += usize::from(!written.delegated.is_empty());
        }
        proposed
    }

    fn heading(&self) -> String {
        let when = self.read.map(|(first, last)| match (day(first), day(last)) {
            (first, last) if first == last => format!(", read {first}"),
            (first, last) => format!(", read from {first} to {last}"),
        });
        let mut text = format!(
            "# Key domains proposed by `kmswatch keys import` from policies and grants{}.\n\
             # Review every line: it lists what is allowed, which may be more than is meant. A line holds for all keys of\n\
             # its domain. Once a domain is here, use that none of its lines expects is told of: where IAM policies decide,\n\
             # add whom they let in (`kmswatch keys import --help` says how to begin), or take the domain out.\n",
            when.unwrap_or_default()
        );
        if self.aws_managed > 0 {
            let _ = writeln!(text, "# Left out: {} keys that AWS manages.", self.aws_managed);
        }
        let accounts: BTreeSet<String> = self.keys.iter().filter_map(|key| key.account.clone()).collect();
        if !accounts.is_empty() {
            text.push_str("#\n# Accounts that own these keys. Once all of the organisation's are listed, the others are known as strangers:\n");
            let _ = writeln!(text, "# accounts: {}", comment(&list(&accounts)));
        }
        text.push_str(if self.keys.is_empty() { "domains: []\n" } else { "domains:\n" });
        text
    }
}

fn day(at: EventTime) -> String {
    at.to_string().split('T').next().unwrap_or_default().to_owned()
}

/// What a reviewer should see of a key beside its names.
fn about(facts: &KeyFacts, source: Option<&str>) -> Vec<String> {
    let mut about = Vec::new();
    about.extend(source.map(|source| format!("from {source}")));
    if !facts.description.is_empty() {
        about.push(format!("'{}'", facts.description));
    }
    if let Some(state) = facts.state.as_deref().filter(|state| *state != "Enabled") {
        let until = facts.deletion.map(|at| format!(" until {at}")).unwrap_or_default();
        about.push(format!("{state}{until}"));
    }
    about.extend(facts.spec.clone().filter(|spec| spec != "SYMMETRIC_DEFAULT"));
    about.extend(facts.origin.clone().filter(|origin| origin != "AWS_KMS"));
    about
}

fn write_domain(text: &mut String, name: &str, keys: &[&Key], aliases: &domain::Aliases<'_>) -> Drawing {
    let _ = writeln!(text, "  - name: {}\n    keys:", quoted(name));
    let mut all = Drawing::default();
    for key in keys {
        all.absorb(key.drawing.clone());
        let (entry, left_out) = aliases.entry(key);
        let mut about = key.about.clone();
        if !left_out.is_empty() {
            about.push(format!("also {}", left_out.join(", ")));
        }
        if !about.is_empty() {
            let _ = writeln!(text, "      # {}", comment(&about.join("; ")));
        }
        let _ = writeln!(text, "      - {entry}");
    }
    for note in &all.notes {
        let _ = writeln!(text, "    # {}", comment(note));
    }
    let regions = keys.iter().filter_map(|key| arn_parts(&key.name)).map(|parts| parts.region.to_owned()).collect();
    if all.lines.is_empty() {
        text.push_str("    # nobody is named by policy or grant\n    expect: []\n");
    } else {
        text.push_str("    expect:\n");
    }
    for (line, origin) in &all.lines {
        write_line(text, line, origin, &regions);
    }
    all
}

fn write_line(text: &mut String, line: &Line, origin: &Origin, of_domain: &BTreeSet<String>) {
    for source in &origin.sources {
        let _ = writeln!(text, "      # {}", comment(source));
    }
    let _ = writeln!(text, "      - principals: {}", list(&line.principals));
    if !line.context.is_empty() {
        let pairs: Vec<_> =
            line.context.iter().map(|(name, value)| format!("{}: {}", quoted(name), quoted(value))).collect();
        let _ = writeln!(text, "        context: {{{}}}", pairs.join(", "));
    }
    let regions = if origin.regions == *of_domain { &BTreeSet::new() } else { &origin.regions };
    let lists = [
        ("operations", &line.operations),
        ("via", &line.via),
        ("from", &line.from),
        ("vpc_endpoints", &line.vpc_endpoints),
        ("regions", regions),
    ];
    for (name, values) in lists.into_iter().filter(|(_, values)| !values.is_empty()) {
        let _ = writeln!(text, "        {name}: {}", list(values));
    }
}
