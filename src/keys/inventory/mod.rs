//! The inventory: key domains, their keys, and who is expected to use them. Read from YAML.
//!
//! ```yaml
//! domains:
//!   - name: token-vault
//!     tier: critical
//!     owner: payments-oncall
//!     keys:
//!       - {alias: alias/banking-token-vault-key, arn: "arn:aws:kms:...:key/..."}
//!       - {tag: {data-domain: token-vault}}      # every key that has these tags
//!     expect:                                    # all that one line gives must fit
//!       - principals: ["arn:aws:iam::111122223333:role/banking-payments-role"]
//!         operations: [Encrypt, Decrypt]
//!         context: {purpose: tokenisation}       # or several values: {purpose: [a, "b-*"]}
//!         via: [lambda.amazonaws.com]            # `direct` is a call that no service forwarded
//!         issued_to: ["arn:aws:lambda:eu-west-1:111122223333:function:tokenise"]
//!         from: [10.20.0.0/16]                   # or one of vpc_endpoints: [vpce-...]
//!         regions: [eu-west-1]
//!         days: mon-fri
//!         hours: 07:00-19:00
//!         timezone: Europe/Brussels
//!     never: ["arn:aws:iam::*:role/developer-*"]
//!     attested: true            # or decoy: true, retired: true
//! complete: true                 # every key is in a domain, so the use of another one is told
//! accounts: ["111122223333"]     # of the organisation
//! approved_regions: [eu-west-1]  # that keys may be copied or moved to
//! placeholders: {break_glass: ["arn:aws:iam::111122223333:role/break-glass"]}
//! supply_line: ["arn:aws:cloudtrail:eu-west-1:111122223333:trail/main"]
//! break_glass:
//!   - {ticket: INC-4711, principals: ["arn:..."], domains: [token-vault], operations: [Decrypt],
//!      start: 2026-01-05T22:00:00Z, until: 2026-01-06T02:00:00Z, reason: failed batch}
//! suppressions:
//!   - {rule: 6b0e..., principals: ["arn:..."], keys: [alias/test-*], until: 2026-02-01T00:00:00Z,
//!      ticket: CHG-1, reason: migration}
//! ```
//!
//! Invariant: a key belongs to at most one domain; a file with any mistake is refused, each mistake
//! with its line and column.

mod build;
mod file;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;

use super::exception::{BreakGlass, Suppression, Told};
use super::pattern::NamePattern;
use super::schedule::Schedule;
use super::supply::SupplyLine;
use crate::event::key::{KeyRef, arn_parts};

/// Key domains as the bank sees them. The default knows none.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// In file order.
    pub domains: Vec<Domain>,
    /// Every key is meant to be in a domain.
    pub is_complete: bool,
    /// Accounts of the organisation; with none listed nobody is trusted or not.
    pub accounts: BTreeSet<String>,
    /// Regions that keys may be copied or moved to; with none listed all are.
    pub approved_regions: BTreeSet<String>,
    /// Named lists of values that rules refer to.
    pub placeholders: BTreeMap<String, Vec<String>>,
    /// What kmswatch itself lives by.
    pub supply_line: SupplyLine,
    /// Leave given under a ticket, in file order.
    pub break_glass: Vec<BreakGlass>,
    /// What is not counted, in file order.
    pub suppressions: Vec<Suppression>,
    by_name: BTreeMap<String, Named>,
    by_tags: Vec<(BTreeMap<String, NamePattern>, usize)>,
    aliases: BTreeMap<String, String>,
}

/// What a name of a key leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    domain: usize,
    /// The inventory knows the key's ARN too.
    has_arn: bool,
    /// Accounts of the ARNs that the inventory gives with this name.
    accounts: BTreeSet<String>,
}

/// What is known of a key beside what a record says: its names and tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// ARN, where the record had an alias only.
    pub arn: Option<String>,
    /// Names, `alias/...`.
    pub aliases: Vec<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// Keys that protect one kind of data, and their expected use.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Unique name.
    pub name: String,
    /// How much hangs on it, in the bank's own words.
    pub tier: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Who may do what.
    pub expect: Vec<Expect>,
    /// Who must never, whatever `expect` says.
    pub never: Vec<NamePattern>,
    /// Where the keys stand.
    pub standing: Standing,
    /// Names of its keys, for placeholders.
    pub key_names: Vec<String>,
}

/// What is peculiar about the keys of a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Every use that can be attested must carry an attestation document of a Nitro enclave.
    pub attested: bool,
    /// Bait: nobody uses them.
    pub decoy: bool,
    /// Kept for old data only: nobody encrypts under them.
    pub retired: bool,
}

/// One line of expected use; all that is given must fit.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// Canonical principals.
    pub principals: Vec<NamePattern>,
    /// Operations; empty means every cryptographic one.
    pub operations: Vec<NamePattern>,
    /// Encryption context: name, and the values of which one must fit.
    pub context: Vec<(String, Vec<NamePattern>)>,
    /// Calling services, or [`DIRECT`]; empty means directly or through any.
    pub via: Vec<NamePattern>,
    /// ARNs of the resources, like functions, whose credentials the call may be made with
    /// (`inScopeOf.credentialsIssuedTo`); empty means any, and calls that do not say.
    pub issued_to: Vec<NamePattern>,
    /// Networks of the caller; with none, and no endpoints, from anywhere.
    pub from: Vec<IpNet>,
    /// VPC endpoints; a call fits by its network or by its endpoint.
    pub vpc_endpoints: Vec<NamePattern>,
    /// Regions called; empty means any.
    pub regions: Vec<NamePattern>,
    /// When; without it at any time.
    pub schedule: Option<Schedule>,
    /// Where the line stands in its file.
    pub line: u64,
}

/// Stands among the calling services for a call that none forwarded.
pub const DIRECT: &str = "direct";

/// What is wrong with an inventory file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryError {
    /// One `path:line:column: what` each.
    pub mistakes: Vec<String>,
}

impl fmt::Display for InventoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistakes.join("\n"))
    }
}

impl std::error::Error for InventoryError {}

impl Inventory {
    /// The domain of a key, by its surest name.
    ///
    /// Ids and aliases say nothing of the account: an alias of the same name in another account is
    /// another key. So they count only where no ARN can decide, and only for a key of the caller's
    /// own account. `known` is asked only when the record's names do not decide.
    #[must_use]
    pub fn domain_of(&self, key: &KeyRef, caller_account: Option<&str>, known: &dyn Fn() -> Known) -> Option<&Domain> {
        if let Some(arn) = &key.arn
            && let Some(named) = self.by_name.get(arn)
        {
            return self.domains.get(named.domain);
        }
        let owner = key.account().or(caller_account);
        let own = key.account().is_none_or(|owner| caller_account.is_none_or(|caller| caller == owner));
        let names = [key.id.as_deref(), key.alias.as_deref()].into_iter().flatten();
        let found = names.filter_map(|name| self.by_id_or_alias(name, key, owner, own)).next();
        if let Some(domain) = found {
            return self.domains.get(domain);
        }
        if self.by_name.is_empty() && self.by_tags.is_empty() {
            return None;
        }
        let known = known();
        let by_arn = known.arn.as_ref().and_then(|arn| self.by_name.get(arn)).map(|named| named.domain);
        let mut aliases = known.aliases.iter();
        let by_alias = || aliases.find_map(|alias| self.by_id_or_alias(alias, key, owner, own));
        let by_tags = || {
            let fits = |wanted: &BTreeMap<String, NamePattern>| {
                wanted.iter().all(|(name, value)| known.tags.get(name).is_some_and(|given| value.matches(given)))
            };
            // Anybody may tag his own key, so tags of a stranger's say nothing.
            let ours = own || owner.is_some_and(|owner| self.accounts.contains(owner));
            self.by_tags.iter().find(|(wanted, _)| ours && fits(wanted)).map(|(_, domain)| *domain)
        };
        self.domains.get(by_arn.or_else(by_alias).or_else(by_tags)?)
    }

    /// A multi-Region id is the same key in every Region of its account; any other name beside which
    /// the inventory gives an ARN means that ARN and no other.
    fn by_id_or_alias(&self, name: &str, key: &KeyRef, owner: Option<&str>, own: bool) -> Option<usize> {
        if let Some(named) = owner.and_then(|owner| self.by_name.get(&of_account(owner, name))) {
            return Some(named.domain);
        }
        let named = self.by_name.get(name)?;
        let of_same_account = owner.is_none_or(|owner| named.accounts.contains(owner));
        let fits = match named.has_arn {
            true => key.arn.is_none() || (name.starts_with("mrk-") && of_same_account),
            false => own,
        };
        fits.then_some(named.domain)
    }

    /// Whether an account is of the organisation; nothing when none is listed.
    #[must_use]
    pub fn trusts(&self, account: &str) -> Option<bool> {
        (!self.accounts.is_empty()).then(|| self.accounts.contains(account))
    }

    /// The alias that the inventory gives for a key.
    #[must_use]
    pub fn alias_of(&self, key: &KeyRef) -> Option<&str> {
        let name = key.arn.as_deref().or(key.id.as_deref())?;
        self.aliases.get(name).map(String::as_str)
    }

    /// A key by what a person calls it: its ARNs in the inventory when it is named by alias or id.
    #[must_use]
    pub fn arns_of(&self, name: &str) -> Vec<&str> {
        let is_arn = |candidate: &&String| arn_parts(candidate).is_some_and(|parts| parts.resource.starts_with("key/"));
        let called = |arn: &&String| {
            arn.as_str() == name
                || arn.rsplit('/').next() == Some(name)
                || self.aliases.get(*arn).is_some_and(|alias| alias == name)
        };
        self.by_name.keys().filter(is_arn).filter(called).map(String::as_str).collect()
    }

    /// The suppression that keeps a match from being counted.
    #[must_use]
    pub fn suppresses(&self, told: Told<'_>) -> Option<&Suppression> {
        self.suppressions.iter().find(|suppression| suppression.covers(told))
    }
}

/// An alias that is given by its ARN is the one of that account.
fn of_account(account: &str, alias: &str) -> String {
    format!("{account} {alias}")
}
