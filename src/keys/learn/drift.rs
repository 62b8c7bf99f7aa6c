//! Drift: where what was seen departs from an inventory, and what of the inventory was never seen.
//!
//! Every use is judged by the inventory itself, so what is listed here is what the rules would tell.

use std::collections::{BTreeMap, BTreeSet};

use super::bounded::{Bounded, Merge, Ranked};
use super::history::{Ended, Seen};
use super::support::Support;
use crate::keys::expect::{Call, Gap, gap, judge, nearest};
use crate::keys::inventory::{DIRECT, Domain, Inventory, Known};
use crate::keys::pattern::NamePattern;

/// In what a use departs from the line that comes nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Its principal must never use the domain.
    Never,
    /// No line is for its principal.
    Principal,
    /// None of those of its principal is for its operation.
    Operation,
    /// Through another service.
    Service,
    /// In another Region.
    Region,
    /// From another network.
    Network,
    /// At another time.
    Time,
    /// With another encryption context.
    Context,
}

impl Kind {
    /// In a table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Principal => "principal",
            Self::Operation => "operation",
            Self::Service => "service",
            Self::Region => "region",
            Self::Network => "network",
            Self::Time => "time",
            Self::Context => "context",
        }
    }
}

/// A departure.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Departure {
    /// Domain of the key.
    pub domain: String,
    /// The key.
    pub key: String,
    /// In what.
    pub kind: Kind,
    /// Who.
    pub principal: String,
    /// What for.
    pub operation: String,
    /// The service, Region, network, hour or name that is new; never a value of the context.
    pub detail: String,
}

impl Ranked for Departure {
    fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(self.kind.as_str().as_bytes());
        [&self.domain, &self.key, &self.principal, &self.operation, &self.detail]
            .into_iter()
            .for_each(|text| part(text.as_bytes()));
    }
}

/// What of a line was seen.
#[derive(Clone, Debug, Default, PartialEq)]
struct Met {
    support: Support,
    principals: BTreeSet<usize>,
    operations: BTreeSet<usize>,
    via: BTreeSet<usize>,
}

/// Departures from an inventory, and what of it was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drift {
    departures: Bounded<Departure, Support, 20_000>,
    strangers: Bounded<String, Support, 20_000>,
    /// By domain and line.
    met: BTreeMap<(usize, usize), Met>,
}

/// What of an inventory was never seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// The domain.
    pub domain: String,
    /// Line of the file.
    pub line: u64,
    /// The whole line, or these of its principals, operations or services.
    pub what: String,
}

impl Drift {
    /// Notes one use.
    pub fn note(&mut self, seen: &Seen<'_>, inventory: &Inventory, known: &dyn Fn() -> Known) {
        let (Some(name), Some(key)) = (seen.cryptographic_key(), &seen.used.key) else { return };
        if seen.ended != Ended::Done {
            return;
        }
        let call = Call::of(seen.used, seen.operation, seen.fields, seen.time);
        let Some(domain) = inventory.domain_of(key, call.account(), known) else {
            if let Some(support) = self.strangers.entry(name.to_owned()) {
                support.note(seen.time);
            }
            return;
        };
        let index = inventory.domains.iter().position(|other| std::ptr::eq(other, domain)).unwrap_or(usize::MAX);
        for (at, line) in domain.expect.iter().enumerate().filter(|(_, line)| gap(line, &call).is_none()) {
            let fitting = |patterns: &[NamePattern], names: &[&str]| {
                let fits = |pattern: &NamePattern| names.iter().any(|name| pattern.matches(name));
                patterns.iter().enumerate().filter(|(_, pattern)| fits(pattern)).map(|(at, _)| at).collect::<Vec<_>>()
            };
            let met = self.met.entry((index, at)).or_default();
            met.support.note(seen.time);
            met.principals.extend(fitting(&line.principals, &[call.principal()]));
            met.operations.extend(fitting(&line.operations, &call.names()));
            met.via.extend(fitting(&line.via, &[call.via().unwrap_or(DIRECT)]));
        }
        let is_expected = judge(domain, &call, inventory).is_none_or(|judgement| judgement.expected);
        if !is_expected && let Some(support) = self.departures.entry(departure(domain, &call, name)) {
            support.note(seen.time);
        }
    }

    /// Departures, in order.
    pub fn departures(&self) -> impl Iterator<Item = (&Departure, &Support)> {
        self.departures.iter()
    }

    /// Keys that were used and belong to no domain.
    pub fn strangers(&self) -> impl Iterator<Item = (&String, &Support)> {
        self.strangers.iter()
    }

    /// Whether there was more than could be kept.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.departures.is_partial() || self.strangers.is_partial()
    }

    /// What of the inventory was never seen: to be taken away, if the captures are long enough.
    #[must_use]
    pub fn unused(&self, inventory: &Inventory) -> Vec<Unused> {
        let mut unused = Vec::new();
        for (index, domain) in inventory.domains.iter().enumerate() {
            for (at, line) in domain.expect.iter().enumerate() {
                let mut tell = |what: String| {
                    unused.push(Unused { domain: domain.name.clone(), line: line.line, what });
                };
                let Some(met) = self.met.get(&(index, at)) else {
                    let who: Vec<_> = line.principals.iter().map(NamePattern::as_str).collect();
                    tell(format!("the line of {}", who.join(", ")));
                    continue;
                };
                let parts = [
                    ("principal", &line.principals, &met.principals),
                    ("operation", &line.operations, &met.operations),
                    ("service", &line.via, &met.via),
                ];
                for (kind, patterns, seen) in parts {
                    let missing = patterns.iter().enumerate().filter(|(at, _)| !seen.contains(at));
                    missing.for_each(|(_, pattern)| tell(format!("{kind} {pattern}")));
                }
            }
        }
        unused
    }
}

fn departure(domain: &Domain, call: &Call<'_>, key: &str) -> Departure {
    let is_never = domain.never.iter().any(|pattern| pattern.matches(call.principal()));
    let text = |text: Option<&str>| text.unwrap_or("unknown").to_owned();
    let (kind, detail) = match nearest(domain, call).map(|(_, gap)| gap) {
        _ if is_never => (Kind::Never, String::new()),
        None | Some(Gap::Principal) => (Kind::Principal, String::new()),
        Some(Gap::Operation) => (Kind::Operation, String::new()),
        Some(Gap::Via) => (Kind::Service, call.via().unwrap_or(DIRECT).to_owned()),
        Some(Gap::IssuedTo) => (Kind::Principal, text(call.issued_to())),
        Some(Gap::Region) => (Kind::Region, text(call.region())),
        Some(Gap::Network) => (Kind::Network, text(call.endpoint().or(call.source()))),
        Some(Gap::Time) => (Kind::Time, hour_of_week(call)),
        Some(Gap::Context(name)) => (Kind::Context, name.to_owned()),
    };
    Departure {
        domain: domain.name.clone(),
        key: key.to_owned(),
        kind,
        principal: call.principal().to_owned(),
        operation: call.operation().to_owned(),
        detail,
    }
}

fn hour_of_week(call: &Call<'_>) -> String {
    let civil = call.time().civil();
    civil.map_or_else(|| call.time().to_string(), |civil| format!("{:?} {:02}:00 UTC", civil.weekday(), civil.hour()))
}

impl Merge for Drift {
    fn merge(&mut self, other: Self) {
        self.departures.merge(other.departures);
        self.strangers.merge(other.strangers);
        for (line, met) in other.met {
            let mine = self.met.entry(line).or_default();
            mine.support.merge(met.support);
            mine.principals.extend(met.principals);
            mine.operations.extend(met.operations);
            mine.via.extend(met.via);
        }
    }
}
