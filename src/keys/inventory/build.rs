//! From what was typed to what it means; every mistake with its place.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_saphyr::Spanned;

use super::file::{BreakGlassFile, DomainFile, ExpectFile, InventoryFile, KeyFile, SuppressionFile, Texts};
use super::{Domain, Expect, Inventory, InventoryError, Named, Standing, of_account};
use crate::event::key::{KeyRef, arn_parts};
use crate::event::operation::OPERATIONS;
use crate::keys::exception::{BreakGlass, Suppression};
use crate::keys::pattern::NamePattern;
use crate::keys::schedule::{Schedule, ScheduleError};
use crate::keys::supply::Resource;

/// Of YAML: an account may have 100,000 keys in one Region, each with some fifty nodes.
const MAX_NODES: usize = 8_000_000;

/// The known name nearest to what was typed. Comparing costs the product of the lengths, so a long
/// text is compared by how it begins.
fn nearest<'n>(typed: &str, known: impl Iterator<Item = &'n str>) -> &'n str {
    let typed: String = typed.chars().take(128).collect();
    known.min_by_key(|known| strsim::damerau_levenshtein(known, &typed)).unwrap_or("")
}

impl Inventory {
    /// Reads an inventory; `path` is only for messages.
    ///
    /// # Errors
    /// Every mistake found, with its place.
    pub fn parse(path: &str, text: &str) -> Result<Self, InventoryError> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_events: 3 * MAX_NODES },
        };
        let file: InventoryFile = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
            let what = error.without_snippet().to_string();
            InventoryError { mistakes: vec![format!("{path}:{line}:{column}: {what}")] }
        })?;
        let mut builder = Builder { path, inventory: Self::default(), names: BTreeSet::new(), mistakes: Vec::new() };
        for domain in file.domains {
            builder.domain(domain);
        }
        builder.organisation(file.accounts, file.approved_regions);
        builder.supply_line(&file.supply_line);
        for leave in file.break_glass {
            builder.break_glass(leave);
        }
        for suppression in file.suppressions {
            builder.suppression(suppression);
        }
        builder.inventory.placeholders = file.placeholders;
        builder.inventory.is_complete = file.complete;
        if builder.mistakes.is_empty() {
            Ok(builder.inventory)
        } else {
            Err(InventoryError { mistakes: builder.mistakes })
        }
    }
}

struct Builder<'p> {
    path: &'p str,
    inventory: Inventory,
    /// Of the domains so far.
    names: BTreeSet<String>,
    mistakes: Vec<String>,
}

impl Builder<'_> {
    fn mistake<T>(&mut self, at: &Spanned<T>, what: &str) {
        let place = at.referenced;
        self.mistakes.push(format!("{}:{}:{}: {what}", self.path, place.line(), place.column()));
    }

    fn domain(&mut self, file: DomainFile) {
        let index = self.inventory.domains.len();
        if !self.names.insert(file.name.value.clone()) {
            self.mistake(&file.name, &format!("domain '{}' is there already", file.name.value));
        }
        for key in &file.keys {
            self.key(index, key);
        }
        let expect = file.expect.iter().map(|line| self.expect(line)).collect();
        let never = file.never.iter().map(|pattern| self.principal(pattern)).collect();
        self.inventory.domains.push(Domain {
            name: file.name.value,
            tier: file.tier,
            owner: file.owner,
            expect,
            never,
            standing: Standing { attested: file.attested, decoy: file.decoy, retired: file.retired },
            key_names: file.keys.iter().flat_map(|key| key.value.names.clone()).collect(),
        });
    }

    fn organisation(&mut self, accounts: Vec<Spanned<String>>, regions: Vec<Spanned<String>>) {
        for account in accounts {
            if account.value.len() == 12 && account.value.bytes().all(|byte| byte.is_ascii_digit()) {
                self.inventory.accounts.insert(account.value);
            } else {
                let what = format!("'{}' is no account: twelve digits, in quotes", account.value);
                self.mistake(&account, &what);
            }
        }
        for region in regions {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if region.value.contains('-') && region.value.bytes().all(plain) {
                self.inventory.approved_regions.insert(region.value);
            } else {
                let what = format!("'{}' is no Region like eu-west-1", region.value);
                self.mistake(&region, &what);
            }
        }
    }

    fn supply_line(&mut self, resources: &[Spanned<String>]) {
        for text in resources {
            match Resource::parse(&text.value) {
                Ok(resource) => self.inventory.supply_line.extend([resource]),
                Err(error) => self.mistake(text, &error.to_string()),
            }
        }
    }

    fn key(&mut self, domain: usize, key: &Spanned<KeyFile>) {
        let (mut alias, mut has_arn) = (None, false);
        let mut accounts = BTreeSet::new();
        let (mut names, mut aliases) = (Vec::new(), Vec::new());
        for name in &key.value.names {
            let Some(parsed) = KeyRef::parse(name) else {
                self.mistake(key, &format!("'{name}' is no key ARN, key id or alias (alias/...)"));
                continue;
            };
            let account = arn_parts(name).map(|parts| parts.account);
            has_arn |= parsed.arn.is_some();
            accounts.extend(account.map(str::to_owned));
            if let Some(given) = parsed.alias {
                aliases.push(account.map_or_else(|| given.clone(), |account| of_account(account, &given)));
                alias = Some(given);
            }
            names.extend([parsed.arn, parsed.id].into_iter().flatten());
        }
        if let Some(alias) = alias {
            for name in &names {
                self.inventory.aliases.insert(name.clone(), alias.clone());
            }
        }
        names.append(&mut aliases);
        match (key.value.names.is_empty(), key.value.tags.is_empty()) {
            (true, true) => self.mistake(key, "a key without a name; give arn, id or alias, or tag"),
            (false, false) => self.mistake(key, "a key by name or by tag, not both; write two entries"),
            (true, false) => {
                let tags = key.value.tags.iter().map(|(name, value)| (name.clone(), NamePattern::new(value)));
                self.inventory.by_tags.push((tags.collect(), domain));
            }
            (false, true) => {}
        }
        for name in names {
            let named = Named { domain, has_arn, accounts: accounts.clone() };
            let Some(other) = self.inventory.by_name.insert(name.clone(), named) else { continue };
            if other.domain != domain {
                let other = self.inventory.domains.get(other.domain).map_or("", |domain| &domain.name).to_owned();
                self.mistake(key, &format!("key '{name}' belongs to domain '{other}' already"));
            } else if let Some(named) = self.inventory.by_name.get_mut(&name) {
                named.has_arn |= other.has_arn;
                named.accounts.extend(other.accounts);
            }
        }
    }

    fn expect(&mut self, line: &ExpectFile) -> Expect {
        let operations = self.operations(&line.operations);
        let from = line.from.iter().filter_map(|network| self.network(network)).collect();
        let texts = |texts: &Option<Spanned<Texts>>| texts.as_ref().map(|texts| texts.value.all()).unwrap_or_default();
        let zone = line.timezone.as_ref().map(|zone| zone.value.as_str());
        let schedule = Schedule::parse(&texts(&line.days), &texts(&line.hours), zone).unwrap_or_else(|error| {
            let place = match &error {
                ScheduleError::Day(_) => line.days.as_ref().map(|at| at.referenced),
                ScheduleError::Hours(_) => line.hours.as_ref().map(|at| at.referenced),
                ScheduleError::Zone(_) => line.timezone.as_ref().map(|at| at.referenced),
            };
            let (row, column) = place.map_or((1, 1), |place| (place.line(), place.column()));
            self.mistakes.push(format!("{}:{row}:{column}: {error}", self.path));
            None
        });
        let patterns = |texts: &[String]| texts.iter().map(|text| NamePattern::new(text)).collect();
        Expect {
            principals: line.principals.iter().map(|pattern| self.principal(pattern)).collect(),
            operations,
            context: line.context.iter().map(|(name, values)| (name.clone(), patterns(&values.all()))).collect(),
            via: patterns(&line.via),
            from,
            issued_to: patterns(&line.issued_to),
            vpc_endpoints: patterns(&line.vpc_endpoints),
            regions: patterns(&line.regions),
            schedule,
            line: line.principals.first().map_or(0, |first| first.referenced.line()),
        }
    }

    fn operations(&mut self, operations: &[Spanned<String>]) -> Vec<NamePattern> {
        for operation in operations {
            let pattern = NamePattern::new(&operation.value);
            let grants = ["ReEncryptFrom", "ReEncryptTo"];
            let known = OPERATIONS.iter().map(|known| known.name).chain(grants);
            if !known.clone().any(|name| pattern.matches(name)) {
                let near = nearest(&operation.value, known);
                let what = format!("no KMS operation is called '{}'; did you mean {near}?", operation.value);
                self.mistake(operation, &what);
            }
        }
        operations.iter().map(|operation| NamePattern::new(&operation.value)).collect()
    }

    /// A network, or one address of it.
    fn network(&mut self, text: &Spanned<String>) -> Option<IpNet> {
        let value = text.value.trim();
        let network = value.parse::<IpNet>().ok().or_else(|| value.parse::<IpAddr>().ok().map(IpNet::from));
        if network.is_none() {
            self.mistake(text, &format!("'{value}' is no network like 10.20.0.0/16 and no address"));
        }
        network.map(|network| network.trunc())
    }

    fn break_glass(&mut self, file: BreakGlassFile) {
        for name in &file.domains {
            let known = self.inventory.domains.iter().map(|domain| domain.name.as_str());
            if !known.clone().any(|known| known == name.value) {
                let near = nearest(&name.value, known);
                self.mistake(name, &format!("no domain is called '{}'; did you mean '{near}'?", name.value));
            }
        }
        if file.until.value <= file.start {
            self.mistake(&file.until, "the end is not after the start");
        }
        if file.principals.is_empty() {
            self.mistake(&file.ticket, "leave for nobody; name its principals");
        }
        let leave = BreakGlass {
            principals: file.principals.iter().map(|pattern| self.principal(pattern)).collect(),
            operations: self.operations(&file.operations),
            domains: file.domains.into_iter().map(|name| name.value).collect(),
            ticket: file.ticket.value,
            start: file.start,
            until: file.until.value,
            reason: file.reason,
        };
        self.inventory.break_glass.push(leave);
    }

    fn suppression(&mut self, file: Spanned<SuppressionFile>) {
        let given = &file.value;
        if given.rule.is_none() && given.principals.is_empty() && given.keys.is_empty() {
            self.mistake(&file, "this would suppress every alert; give a rule, principals or keys");
        }
        let suppression = Suppression {
            rule: given.rule.as_ref().map(|rule| rule.value.trim().to_ascii_lowercase()),
            principals: given.principals.iter().map(|pattern| self.principal(pattern)).collect(),
            keys: given.keys.iter().map(|text| NamePattern::new(text)).collect(),
            until: given.until,
            ticket: given.ticket.clone(),
            reason: given.reason.clone(),
        };
        self.inventory.suppressions.push(suppression);
    }

    fn principal(&mut self, text: &Spanned<String>) -> NamePattern {
        let value = text.value.trim();
        if value.contains(":assumed-role/") {
            self.mistake(
                text,
                "sessions are known by their role: write arn:aws:iam::ACCOUNT:role/NAME instead of the sts ARN",
            );
        } else if value != "*" && !value.contains(':') {
            self.mistake(
                text,
                &format!("'{value}' is no principal; write an ARN, service:NAME.amazonaws.com, account:... or idc:..."),
            );
        }
        NamePattern::new(value)
    }
}
