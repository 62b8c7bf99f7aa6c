//! Judges one use of a key against its domain: expected or not, and why, in words.
//!
//! Only uses are judged: cryptographic operations, and whatever operations a domain's own lines
//! name. Administration has rules of its own.

pub mod parts;

use std::fmt;
use std::net::IpAddr;

use super::context_of;
use super::exception::BreakGlass;
use super::inventory::{DIRECT, Domain, Expect, Inventory};
use super::pattern::NamePattern;
use crate::event::derive::Use;
use crate::event::field::{Fields, core};
use crate::event::key::{KeyRole, arn_parts};
use crate::event::operation::{Class, class_of};
use crate::time::EventTime;

/// A verdict with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether the domain expects this use.
    pub expected: bool,
    /// Why, for a person. One that begins `never:` broke a `never` line.
    pub reason: String,
    /// The ticket of the leave without which the use would not be expected.
    pub ticket: Option<String>,
}

/// One use, as lines of expected use look at it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    principal: &'a str,
    account: Option<&'a str>,
    operation: &'a str,
    /// The names an operation may be listed under.
    names: [&'a str; 2],
    is_cryptographic: bool,
    via: Option<&'a str>,
    fields: &'a Fields<'a>,
    source: Option<&'a str>,
    endpoint: Option<&'a str>,
    issued_to: Option<&'a str>,
    region: Option<&'a str>,
    time: EventTime,
}

/// What of a line a use does not meet. In this order they are asked, so the last is the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap<'l> {
    /// It is for others.
    Principal,
    /// For other operations.
    Operation,
    /// Through other services.
    Via,
    /// With the credentials of another function, or of none.
    IssuedTo,
    /// In other Regions.
    Region,
    /// From other networks and endpoints.
    Network,
    /// At other times.
    Time,
    /// With another value, or any, of this name in the encryption context.
    Context(&'l str),
}

impl Gap<'_> {
    /// How much of the line is met before it.
    const fn met(self) -> u8 {
        match self {
            Self::Principal => 0,
            Self::Operation => 1,
            Self::Via => 2,
            Self::IssuedTo => 3,
            Self::Region => 4,
            Self::Network => 5,
            Self::Time => 6,
            Self::Context(_) => 7,
        }
    }
}

impl<'a> Call<'a> {
    /// The use of a record at `time`.
    #[must_use]
    pub fn of(used: &'a Use, operation: &'a str, fields: &'a Fields<'a>, time: EventTime) -> Self {
        let role = used.key.as_ref().map(|key| key.role).unwrap_or_default();
        Self {
            principal: &used.principal.canonical,
            account: used.principal.account.as_deref(),
            operation,
            names: names_of(operation, role),
            is_cryptographic: class_of(operation) == Class::Cryptographic,
            via: used.principal.via.as_deref(),
            fields,
            source: fields.text(core::SOURCE_IP),
            endpoint: fields.text(core::VPC_ENDPOINT),
            issued_to: fields.text(core::ISSUED_TO),
            region: fields.text(core::AWS_REGION),
            time,
        }
    }

    /// Who.
    #[must_use]
    pub fn principal(&self) -> &'a str {
        self.principal
    }

    /// The caller's account.
    #[must_use]
    pub fn account(&self) -> Option<&'a str> {
        self.account
    }

    /// What was called.
    #[must_use]
    pub fn operation(&self) -> &'a str {
        self.operation
    }

    /// The names that the operation goes by in grants and expectations.
    #[must_use]
    pub fn names(&self) -> [&'a str; 2] {
        self.names
    }

    /// The record's fields.
    #[must_use]
    pub fn fields(&self) -> &'a Fields<'a> {
        self.fields
    }

    /// When.
    #[must_use]
    pub fn time(&self) -> EventTime {
        self.time
    }

    /// The service that forwarded it.
    #[must_use]
    pub fn via(&self) -> Option<&'a str> {
        self.via
    }

    /// The address it came from, or what stands in its place.
    #[must_use]
    pub fn source(&self) -> Option<&'a str> {
        self.source
    }

    /// The VPC endpoint it came through.
    #[must_use]
    pub fn endpoint(&self) -> Option<&'a str> {
        self.endpoint
    }

    /// The resource whose credentials the call was made with.
    #[must_use]
    pub fn issued_to(&self) -> Option<&'a str> {
        self.issued_to
    }

    /// The Region called.
    #[must_use]
    pub fn region(&self) -> Option<&'a str> {
        self.region
    }

    /// Whether the use comes from one of the networks, or through one of the endpoints. Of a call
    /// that a service made no network is known.
    fn comes_from(&self, line: &Expect) -> bool {
        if line.from.is_empty() && line.vpc_endpoints.is_empty() {
            return true;
        }
        let address = self.source.and_then(|source| source.parse::<IpAddr>().ok());
        address.is_some_and(|address| line.from.iter().any(|network| network.contains(&address)))
            || self.endpoint.is_some_and(|given| line.vpc_endpoints.iter().any(|pattern| pattern.matches(given)))
    }
}

/// What a line does not meet of a use; nothing when it expects it.
#[must_use]
pub fn gap<'l>(line: &'l Expect, call: &Call<'_>) -> Option<Gap<'l>> {
    let any = |patterns: &[NamePattern], name: Option<&str>| {
        patterns.is_empty() || name.is_some_and(|name| patterns.iter().any(|pattern| pattern.matches(name)))
    };
    if !line.principals.iter().any(|pattern| pattern.matches(call.principal)) {
        return Some(Gap::Principal);
    }
    let for_operation = match line.operations.is_empty() {
        true => call.is_cryptographic,
        false => line.operations.iter().any(|pattern| fits(pattern, call.names)),
    };
    if !for_operation {
        return Some(Gap::Operation);
    }
    if !any(&line.via, Some(call.via.unwrap_or(DIRECT))) {
        return Some(Gap::Via);
    }
    if !any(&line.issued_to, call.issued_to) {
        return Some(Gap::IssuedTo);
    }
    if !any(&line.regions, call.region) {
        return Some(Gap::Region);
    }
    if !call.comes_from(line) {
        return Some(Gap::Network);
    }
    if line.schedule.as_ref().is_some_and(|schedule| !schedule.covers(call.time)) {
        return Some(Gap::Time);
    }
    context_gap(line, call.fields).map(Gap::Context)
}

/// Judges; nothing for an operation that is no use of the key.
#[must_use]
pub fn judge(domain: &Domain, call: &Call<'_>, inventory: &Inventory) -> Option<Judgement> {
    let listed = domain.expect.iter().any(|line| line.operations.iter().any(|pattern| fits(pattern, call.names)));
    if !call.is_cryptographic && !listed {
        return None;
    }
    let against = match domain.never.iter().find(|pattern| pattern.matches(call.principal)) {
        Some(pattern) => {
            let who = short_name(call.principal);
            Some(format!("never: {who} fits `{pattern}`, which must never use a key of {}", domain.name))
        }
        None => nearest(domain, call).map(|(line, gap)| unmet(domain, line, gap, call, inventory)),
    };
    let Some(against) = against else {
        let reason = format!("{} is expected in {} for {}", short_name(call.principal), domain.name, call.operation);
        return Some(Judgement { expected: true, reason, ticket: None });
    };
    let concerned =
        || inventory.break_glass.iter().filter(|leave| leave.concerns(call.principal, &domain.name, call.names));
    if let Some(leave) = concerned().find(|leave| leave.holds(call.time)) {
        let reason = given(leave, call);
        return Some(Judgement { expected: true, reason, ticket: Some(leave.ticket.clone()) });
    }
    let over = concerned().filter(|leave| leave.until <= call.time).max_by_key(|leave| leave.until);
    let over = over.map(|leave| format!("; its break-glass access {} ended {}", leave.ticket, leave.until));
    Some(Judgement { expected: false, reason: against + &over.unwrap_or_default(), ticket: None })
}

/// The line that comes nearest to a use, and what of it is not met; nothing when one is met whole.
#[must_use]
pub fn nearest<'d>(domain: &'d Domain, call: &Call<'_>) -> Option<(Option<&'d Expect>, Gap<'d>)> {
    let mut best: Option<(Option<&Expect>, Gap<'_>)> = None;
    for line in &domain.expect {
        let gap = gap(line, call)?;
        // Of several as near the first counts.
        if best.is_none_or(|(_, nearest)| nearest.met() < gap.met()) {
            best = Some((Some(line), gap));
        }
    }
    best.or(Some((None, Gap::Principal)))
}

/// The words for a use that no line expects.
fn unmet(domain: &Domain, line: Option<&Expect>, gap: Gap<'_>, call: &Call<'_>, inventory: &Inventory) -> String {
    let (who, name, operation) = (short_name(call.principal), &domain.name, call.operation);
    let expected = format!("{who} is expected in {name} for {operation}, but");
    let list = |patterns: &[NamePattern]| patterns.iter().map(NamePattern::as_str).collect::<Vec<_>>().join(", ");
    match (gap, line) {
        (Gap::Operation, _) => format!("{who} is expected in {name}, but not for {operation}"),
        (Gap::Via, _) => match call.via {
            Some(via) => format!("{expected} not via {via}"),
            None => format!("{expected} not directly"),
        },
        (Gap::IssuedTo, _) => match call.issued_to {
            Some(resource) => format!("{expected} not with the credentials of {resource}"),
            None => format!("{expected} with the credentials of a function, and the record names none"),
        },
        (Gap::Region, Some(line)) => {
            format!("{expected} in {} and not in {}", list(&line.regions), call.region.unwrap_or("an unknown Region"))
        }
        (Gap::Network, _) => {
            let endpoint = call.endpoint.map(|endpoint| format!(" through {endpoint}")).unwrap_or_default();
            format!("{expected} not from {}{endpoint}", call.source.unwrap_or("an unknown address"))
        }
        (Gap::Time, Some(line)) => {
            let when = line.schedule.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("{expected} only {when}, and not at {}", call.time)
        }
        (Gap::Context(entry), _) => {
            format!("{expected} the encryption context's `{entry}` is not what is expected")
        }
        (Gap::Principal | Gap::Region | Gap::Time, _) => stranger(&who, domain, call.principal, inventory),
    }
}

fn given(leave: &BreakGlass, call: &Call<'_>) -> String {
    let why = leave.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let who = short_name(call.principal);
    format!("break-glass: {who} may until {} under {}{why}", leave.until, leave.ticket)
}

fn stranger(who: &str, domain: &Domain, principal: &str, inventory: &Inventory) -> String {
    let elsewhere: Vec<_> = inventory
        .domains
        .iter()
        .filter(|other| other.name != domain.name)
        .filter(|other| {
            other.expect.iter().any(|line| line.principals.iter().any(|pattern| pattern.matches(principal)))
        })
        .map(|other| other.name.as_str())
        .take(3)
        .collect();
    match elsewhere.split_last() {
        None => format!("{who} is not in {}'s principals", domain.name),
        Some((last, [])) => format!("{who} is not in {}'s principals; it is in {last}'s", domain.name),
        Some((last, others)) => {
            format!("{who} is not in {}'s principals; it is in those of {} and {last}", domain.name, others.join(", "))
        }
    }
}

/// The names an operation may be listed under: ReEncrypt splits into its two halves.
#[must_use]
pub fn names_of(operation: &str, role: KeyRole) -> [&str; 2] {
    match (operation, role) {
        ("ReEncrypt", KeyRole::Source) => ["ReEncrypt", "ReEncryptFrom"],
        ("ReEncrypt", KeyRole::Destination) => ["ReEncrypt", "ReEncryptTo"],
        _ => [operation, operation],
    }
}

fn fits(pattern: &NamePattern, names: [&str; 2]) -> bool {
    names.iter().any(|name| pattern.matches(name))
}

/// The first context entry that a line wants and the call lacks. Names are compared without case,
/// as KMS condition keys are (aws-facts 7).
fn context_gap<'l>(line: &'l Expect, fields: &Fields<'_>) -> Option<&'l str> {
    let met = |name: &str, patterns: &[NamePattern]| {
        context_of(fields).any(|(given, value)| {
            given.eq_ignore_ascii_case(name) && patterns.iter().any(|pattern| pattern.matches(value))
        })
    };
    line.context.iter().find(|(name, patterns)| !met(name, patterns)).map(|(name, _)| name.as_str())
}

/// `role/banking-payments-role (111122223333)` out of an ARN, else the principal as it is.
#[must_use]
pub fn short_name(principal: &str) -> String {
    match arn_parts(principal) {
        Some(parts) => format!("{} ({})", parts.resource, parts.account),
        None => principal.to_owned(),
    }
}

impl fmt::Display for Gap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal => f.write_str("it is for other principals"),
            Self::Operation => f.write_str("it is for other operations"),
            Self::Via => f.write_str("it is for calls through other services"),
            Self::IssuedTo => f.write_str("it is for the credentials of other functions"),
            Self::Region => f.write_str("it is for other Regions"),
            Self::Network => f.write_str("it is for other networks and endpoints"),
            Self::Time => f.write_str("it is for other times"),
            Self::Context(name) => write!(f, "it wants another value of `{name}` in the encryption context"),
        }
    }
}

#[cfg(test)]
mod tests;
