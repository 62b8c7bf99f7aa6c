//! What one key's policy and grants expect of its use: lines, each with where it came from, and
//! notes on what no line can say.

use std::collections::{BTreeMap, BTreeSet};

use super::statement::{Statement, cryptographic, is_account, statements};
use crate::event::key::arn_parts;
use crate::event::principal::role_of_session;
use crate::keys::snapshot::{GrantFacts, KeyFacts};

/// One line of expected use.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub principals: BTreeSet<String>,
    /// Empty means every cryptographic one.
    pub operations: BTreeSet<String>,
    pub context: BTreeMap<String, String>,
    pub via: BTreeSet<String>,
    pub from: BTreeSet<String>,
    pub vpc_endpoints: BTreeSet<String>,
}

/// Where a line came from and where it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// Empty means any.
    pub regions: BTreeSet<String>,
    /// Statements and grants.
    pub sources: BTreeSet<String>,
}

/// What came of one key, or of all keys of a domain.
#[derive(Clone, Debug, Default)]
pub(super) struct Drawing {
    pub lines: BTreeMap<Line, Origin>,
    pub notes: BTreeSet<String>,
    /// Accounts whose IAM policies decide.
    pub delegated: BTreeSet<String>,
}

impl Drawing {
    fn line(&mut self, line: Line, regions: BTreeSet<String>, source: String) {
        let mut one = Drawing::default();
        one.lines.insert(line, Origin { regions, sources: BTreeSet::from([source]) });
        self.absorb(one);
    }

    pub fn absorb(&mut self, other: Self) {
        for (line, origin) in other.lines {
            match self.lines.get_mut(&line) {
                None => drop(self.lines.insert(line, origin)),
                Some(known) => {
                    match known.regions.is_empty() || origin.regions.is_empty() {
                        true => known.regions.clear(),
                        false => known.regions.extend(origin.regions),
                    }
                    known.sources.extend(origin.sources);
                }
            }
        }
        self.notes.extend(other.notes);
        self.delegated.extend(other.delegated);
    }
}

/// Lines that one statement, or the grants of one grantee, may make; beyond it encryption contexts
/// are left out.
const MAX_CONTEXTS: usize = 16;
/// Names in a note; more are counted.
const MAX_NAMED: usize = 5;

/// Draws what a key's policy and grants say. A document tells of the policy alone, and that is no
/// refusal of KMS.
pub(super) fn draw(facts: &KeyFacts, expect_accounts: bool, is_document: bool) -> Drawing {
    let parts = arn_parts(&facts.arn);
    let mut pen = Pen {
        key: &facts.arn,
        account: parts.map(|parts| parts.account),
        region: parts.map(|parts| parts.region).filter(|region| !region.is_empty()),
        partition: facts.arn.split(':').nth(1).filter(|_| parts.is_some()).unwrap_or("aws"),
        expect_accounts,
        drawing: Drawing::default(),
    };
    match facts.policy.as_deref().map(statements) {
        Some(Some(statements)) => statements.iter().for_each(|statement| pen.statement(statement)),
        Some(None) => pen.note(format!("the policy of {} is none that can be read", facts.arn)),
        None => {}
    }
    pen.grants(&facts.grants);
    let refused = facts.unknown.iter().filter(|(what, _)| !is_document && what.as_str() != "rotation");
    for (what, why) in refused {
        pen.note(format!("{what} of {} not known: {why}", facts.arn));
    }
    pen.drawing
}

struct Pen<'k> {
    key: &'k str,
    account: Option<&'k str>,
    region: Option<&'k str>,
    partition: &'k str,
    expect_accounts: bool,
    drawing: Drawing,
}

impl Pen<'_> {
    fn note(&mut self, text: String) {
        self.drawing.notes.insert(text);
    }

    fn here(&self) -> BTreeSet<String> {
        self.region.map(str::to_owned).into_iter().collect()
    }

    /// Names accounts other than the key's own; nothing when there are none.
    fn external<'p>(&self, principals: impl IntoIterator<Item = &'p String>) -> String {
        let Some(own) = self.account else { return String::new() };
        let accounts = principals.into_iter().filter_map(|principal| account_of(principal));
        let others: BTreeSet<_> = accounts.filter(|account| account != own).collect();
        match others.is_empty() {
            true => String::new(),
            false => format!("; EXTERNAL account {}", named(&others)),
        }
    }

    fn statement(&mut self, statement: &Statement) {
        let source = format!("policy statement {} of {}", statement.name, self.key);
        let everybody_named: BTreeSet<_> =
            statement.principals.iter().chain(&statement.services).chain(&statement.others).cloned().collect();
        let who = named(&everybody_named);
        if statement.operations.is_empty() {
            if statement.allows && statement.administers {
                let external = self.external(&statement.principals);
                self.note(format!("{source}: {who} may administer the key{external}"));
            }
            return;
        }
        let operations = match statement.all_operations {
            true => "every use".to_owned(),
            false => named(&statement.operations),
        };
        let conditions = if statement.conditions == Default::default() { "" } else { " under conditions" };
        let except = if statement.is_inverted { "everybody except " } else { "" };
        if !statement.allows {
            self.note(format!("{source} denies {operations} to {except}{who}{conditions}; `never:` can say so"));
            return;
        }
        if statement.is_inverted {
            self.note(format!("{source} allows {operations} to {except}{who}{conditions}; not listed here"));
            return;
        }
        for other in &statement.others {
            self.note(format!("{source} allows {operations} to {other}{conditions}; not listed here"));
        }
        self.principals(statement, &source, &operations);
        let (services, odd): (Vec<&String>, Vec<_>) =
            statement.services.iter().partition(|service| !service.contains(':'));
        for service in odd {
            self.note(format!("{source}: '{service}' is no service; not listed here"));
        }
        let services = services.into_iter().flat_map(|service| {
            let names = service_names(service).into_iter();
            names.map(|name| format!("service:{name}"))
        });
        self.allow(statement, services.collect(), &source);
    }

    /// Sorts the principals of an Allow into those that a line can name and those that it cannot.
    fn principals(&mut self, statement: &Statement, source: &str, operations: &str) {
        let conditions = &statement.conditions;
        let mut listed = BTreeSet::new();
        for principal in &statement.principals {
            if let Some(account) = whole_account(principal) {
                let external = self.external([principal]);
                let under = if statement.conditions == Default::default() { "" } else { " under conditions" };
                self.note(format!(
                    "{source}: IAM policies of account {account} decide on {operations}{under}; not listed here{external}"
                ));
                self.drawing.delegated.insert(account.clone());
                if self.expect_accounts {
                    listed.insert(self.everybody_of(&account));
                }
            } else if principal == "*" {
                let bounded: BTreeSet<String> = match conditions.principals.is_empty() {
                    false => conditions
                        .principals
                        .iter()
                        .filter(|pattern| is_principal(pattern))
                        .map(|one| role_of_session(one))
                        .collect(),
                    true => conditions.accounts.iter().map(|account| self.everybody_of(account)).collect(),
                };
                if bounded.is_empty() {
                    let left = named(&conditions.left_out);
                    let by = if left.is_empty() { String::new() } else { format!(" (bounded by {left})") };
                    self.note(format!("{source} allows {operations} to everybody{by}; not listed here"));
                }
                listed.extend(bounded);
            } else if is_principal(principal) {
                listed.insert(role_of_session(principal));
            } else {
                self.note(format!("{source} names {principal}, the id of a principal that is deleted"));
            }
        }
        self.allow(statement, listed, source);
    }

    fn everybody_of(&self, account: &str) -> String {
        format!("arn:{}:iam::{account}:*", self.partition)
    }

    /// Writes the lines of an Allow.
    fn allow(&mut self, statement: &Statement, principals: BTreeSet<String>, source: &str) {
        if principals.is_empty() {
            return;
        }
        let conditions = &statement.conditions;
        let mut left_out = conditions.left_out.clone();
        // `*` bounded by these is listed as what bounds it; beside names they bound once more.
        let by_principal = !conditions.principals.is_empty();
        if by_principal && !conditions.principals.iter().all(|pattern| principals.contains(pattern)) {
            left_out.insert("aws:PrincipalArn".to_owned());
        }
        let within = |principal: &String| account_of(principal).is_some_and(|of| conditions.accounts.contains(&of));
        if !conditions.accounts.is_empty() && !principals.iter().all(within) {
            left_out.insert("kms:CallerAccount".to_owned());
        }
        let mut contexts = vec![BTreeMap::new()];
        for (name, values) in &conditions.context {
            if contexts.len() * values.len() > MAX_CONTEXTS {
                left_out.insert(format!("kms:EncryptionContext:{name}, of {} values", values.len()));
                continue;
            }
            let with = |context: &BTreeMap<String, String>, value: &String| {
                let mut context = context.clone();
                context.insert(name.clone(), value.clone());
                context
            };
            contexts = contexts.iter().flat_map(|context| values.iter().map(|value| with(context, value))).collect();
        }
        let without = match left_out.is_empty() {
            true => String::new(),
            false => format!("; without its condition on {}", named(&left_out)),
        };
        let source = format!("{source}{}{without}", self.external(&principals));
        let regions = if conditions.regions.is_empty() { self.here() } else { conditions.regions.clone() };
        let via = conditions.via.iter().flat_map(|service| service_names(service)).collect::<BTreeSet<_>>();
        for context in contexts {
            let line = Line {
                principals: principals.clone(),
                operations: if statement.all_operations { BTreeSet::new() } else { statement.operations.clone() },
                context,
                via: via.clone(),
                from: conditions.from.clone(),
                vpc_endpoints: conditions.vpc_endpoints.clone(),
            };
            self.drawing.line(line, regions.clone(), source.clone());
        }
    }

    fn grants(&mut self, grants: &[GrantFacts]) {
        let mut alike: BTreeMap<(String, &BTreeSet<String>), Vec<&GrantFacts>> = BTreeMap::new();
        for grant in grants {
            alike.entry((role_of_session(&grant.grantee), &grant.operations)).or_default().push(grant);
        }
        for ((grantee, operations), grants) in alike {
            let grantee = grantee.as_str();
            let used: BTreeSet<String> =
                cryptographic().filter(|name| operations.contains(*name)).map(str::to_owned).collect();
            let external = self.external([&grantee.to_owned()]);
            let further = if operations.contains("CreateGrant") { "; may grant further" } else { "" };
            if used.is_empty() {
                let what = named(operations);
                self.note(format!("{}: {grantee} may {what} only{external}", self.grant_source(&grants)));
                continue;
            }
            let whole = whole_account(grantee);
            if let Some(account) = &whole {
                let source = self.grant_source(&grants);
                self.note(format!("{source}: IAM policies of account {account} decide; not listed here{external}"));
                self.drawing.delegated.insert(account.clone());
            } else if !is_principal(grantee) {
                self.note(format!("{}: '{grantee}' is no principal; not listed here", self.grant_source(&grants)));
            }
            let principals: BTreeSet<String> = match &whole {
                Some(account) if self.expect_accounts => BTreeSet::from([self.everybody_of(account)]),
                None if is_principal(grantee) => match grantee.strip_prefix("service:") {
                    Some(service) => service_names(service).iter().map(|name| format!("service:{name}")).collect(),
                    None => BTreeSet::from([grantee.to_owned()]),
                },
                _ => continue,
            };
            self.grants_of(&principals, &used, &grants, &format!("{further}{external}"));
        }
    }

    /// Lines for grants of the same operations to the same grantee.
    fn grants_of(
        &mut self,
        principals: &BTreeSet<String>,
        used: &BTreeSet<String>,
        grants: &[&GrantFacts],
        more: &str,
    ) {
        let mut by_context: BTreeMap<BTreeMap<String, String>, Vec<&GrantFacts>> = BTreeMap::new();
        for grant in grants {
            let context = grant.context_subset.iter().chain(&grant.context_equals);
            let context = context.map(|(name, value)| (name.clone(), value.clone())).collect();
            by_context.entry(context).or_default().push(grant);
        }
        let count = by_context.len();
        if count > MAX_CONTEXTS {
            by_context = BTreeMap::from([(BTreeMap::new(), grants.to_vec())]);
        }
        for (context, grants) in by_context {
            let without = match count > MAX_CONTEXTS {
                true => format!("; without their {count} encryption contexts"),
                false => String::new(),
            };
            let sources: BTreeSet<_> = grants.iter().filter_map(|grant| grant.source_arn.clone()).collect();
            let for_resource = match sources.is_empty() {
                true => String::new(),
                false => format!("; only for {}", named(&sources)),
            };
            let source = format!("{}{for_resource}{without}{more}", self.grant_source(&grants));
            let line = Line { principals: principals.clone(), operations: used.clone(), context, ..Line::default() };
            self.drawing.line(line, self.here(), source);
        }
    }

    /// `grant 12ab... 'name' of KEY, made 2026-01-05 by account A`, or how many.
    fn grant_source(&self, grants: &[&GrantFacts]) -> String {
        let mut sorted = grants.to_vec();
        sorted.sort_by_key(|grant| (grant.created, &grant.id));
        let one = |grant: &GrantFacts| {
            let id = short(&grant.id);
            grant.name.as_ref().map_or_else(|| id.clone(), |name| format!("{id} '{name}'"))
        };
        match sorted.as_slice() {
            [grant] => {
                let made = grant.created.map(|at| format!(" {}", day(&at.to_string()))).unwrap_or_default();
                let by = grant.issuer.as_ref().map(|by| format!(" by {}", issuer(by))).unwrap_or_default();
                let made = if made.is_empty() && by.is_empty() { String::new() } else { format!(", made{made}{by}") };
                format!("grant {} of {}{made}", one(grant), self.key)
            }
            grants => {
                let first: Vec<_> = grants.iter().take(3).map(|grant| one(grant)).collect();
                let more = grants.len().saturating_sub(first.len());
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("grants {}{more} of {}", first.join(", "), self.key)
            }
        }
    }
}

fn issuer(by: &str) -> String {
    if by.contains(':') { by.to_owned() } else { format!("account {by}") }
}

fn day(instant: &str) -> &str {
    instant.split('T').next().unwrap_or(instant)
}

/// Enough of a grant's id to find it by.
fn short(id: &str) -> String {
    let head: String = id.chars().take(12).collect();
    if head.len() < id.len() { head + "..." } else { head }
}

/// Some names, and how many more there are.
fn named(names: &BTreeSet<String>) -> String {
    let shown: Vec<_> = names.iter().take(MAX_NAMED).map(String::as_str).collect();
    match names.len().saturating_sub(MAX_NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// What the inventory takes for a principal.
fn is_principal(text: &str) -> bool {
    text.contains(':') && !role_of_session(text).contains(":assumed-role/")
}

/// The account that a principal stands for as a whole: a bare one, or its `root`.
fn whole_account(principal: &str) -> Option<String> {
    match arn_parts(principal) {
        Some(parts) if parts.resource == "root" && is_account(parts.account) => Some(parts.account.to_owned()),
        Some(_) => None,
        None => is_account(principal).then(|| principal.to_owned()),
    }
}

fn account_of(principal: &str) -> Option<String> {
    let account = arn_parts(principal).map_or(principal, |parts| parts.account);
    is_account(account).then(|| account.to_owned())
}

/// The names under which CloudTrail tells of a service that policies name with its Region:
/// `s3.eu-west-1.amazonaws.com` calls as `s3.amazonaws.com`, some under the name with the Region.
/// What Systems Manager's Parameter Store does comes as `AWS Internal` (aws-facts 2.2).
fn service_names(service: &str) -> Vec<String> {
    let endings = [".amazonaws.com.cn", ".amazonaws.com"];
    let cut = endings.iter().find_map(|ending| Some((service.strip_suffix(ending)?, *ending)));
    let Some((labels, ending)) = cut else { return vec![service.to_owned()] };
    let name = labels.split('.').next().unwrap_or(labels);
    let mut names = vec![format!("{name}{ending}"), format!("{name}.*{ending}")];
    if name == "ssm" {
        names.push("AWS Internal".to_owned());
    }
    names
}
