//! History: who used which key for what, through what, from where, when and how often.
//!
//! Only uses that succeeded count as use. What was denied is listed as such: a thing that somebody
//! tried for a month must not become expected by that. Calls that are no use of the key
//! (DescribeKey, GetPublicKey, administration) are not learnt either: an inventory judges them only
//! where a line names them, and who makes them first is told by rules of new terms, which learn by
//! seeds of their own.

use super::bounded::{Bounded, Merge, Ranked};
use super::general::{ANY, general};
use super::support::Support;
use super::when::Clock;
use crate::event::derive::Use;
use crate::event::field::{Fields, core};
use crate::event::key::{KeyRef, arn_parts};
use crate::event::operation::{Class, class_of};
use crate::event::record::Record;
use crate::keys::context_of;
use crate::keys::expect::names_of;
use crate::keys::inventory::DIRECT;
use crate::time::EventTime;

/// Pairs of key and principal.
const MAX_PAIRS: usize = 50_000;
/// Ways in which one principal uses one key.
const MAX_WAYS: usize = 128;
/// Addresses of one principal with one key.
const MAX_ADDRESSES: usize = 512;
/// Values of one name of the encryption context.
const MAX_VALUES: usize = 48;
/// Names of one encryption context; KMS takes no more than 8192 bytes of it.
const MAX_NAMES: usize = 12;
/// Longest name of a principal, key or context entry; AWS has none as long.
const MAX_NAME_BYTES: usize = 512;

/// One use of one record, as it is noted.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Who and which key.
    pub used: &'a Use,
    /// `eventName`.
    pub operation: &'a str,
    /// The record's fields.
    pub fields: &'a Fields<'a>,
    /// When.
    pub time: EventTime,
    /// How it ended.
    pub ended: Ended,
}

/// How a call ended, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was done.
    Done,
    /// It was refused.
    Denied,
    /// It failed otherwise, or was not meant in earnest.
    Otherwise,
}

impl<'a> Seen<'a> {
    /// Of a KMS record and one of its uses; `outcome` as in `kms.outcome`.
    #[must_use]
    pub fn of(record: &'a Record<'a>, used: &'a Use, outcome: &str) -> Self {
        let ended = match outcome {
            "success" => Ended::Done,
            "denied" => Ended::Denied,
            _ => Ended::Otherwise,
        };
        Self { used, operation: record.name(), fields: &record.fields, time: record.time, ended }
    }

    /// The key's surest name, if the use is a cryptographic one of a key.
    #[must_use]
    pub fn cryptographic_key(&self) -> Option<&'a str> {
        let key = self.used.key.as_ref().filter(|_| class_of(self.operation) == Class::Cryptographic)?;
        name_of(key).filter(|name| name.len() <= MAX_NAME_BYTES)
    }
}

/// The surest name of a key.
fn name_of(key: &KeyRef) -> Option<&str> {
    key.arn.as_deref().or(key.id.as_deref()).or(key.alias.as_deref())
}

/// A key and who uses it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// ARN of the key, else the name that there is.
    pub key: String,
    /// Canonical principal.
    pub principal: String,
}

impl Ranked for Pair {
    fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(self.key.as_bytes());
        part(self.principal.as_bytes());
    }
}

/// A way in which a principal uses a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// Operation; ReEncrypt by its half.
    pub operation: String,
    /// Forwarding service, or [`DIRECT`].
    pub via: String,
    /// Names in the encryption context; nothing when they are too many or too long to be names.
    pub names: Option<Vec<String>>,
}

impl Ranked for Way {
    fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(self.operation.as_bytes());
        part(self.via.as_bytes());
        self.names.iter().flatten().for_each(|name| part(name.as_bytes()));
    }
}

/// What was seen of a way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Habit {
    /// All of it.
    pub support: Support,
    /// By name of the encryption context: its values, made general.
    pub values: Vec<Bounded<String, Support, MAX_VALUES>>,
}

/// What one principal does with one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairHistory {
    /// All of it.
    pub support: Support,
    /// In which ways.
    pub ways: Bounded<Way, Habit, MAX_WAYS>,
    /// Direct calls by address.
    pub addresses: Bounded<String, Support, MAX_ADDRESSES>,
    /// Direct calls by VPC endpoint.
    pub endpoints: Bounded<String, Support, 64>,
    /// Direct calls that say neither.
    pub nowhere: Support,
    /// Calls by Region.
    pub regions: Bounded<String, Support, 64>,
    /// At which hours and on which days of the week.
    pub clock: Clock,
}

/// An attempt that was refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    /// On which key.
    pub key: String,
    /// By whom.
    pub principal: String,
    /// To do what.
    pub operation: String,
}

impl Ranked for Attempt {
    fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        [&self.key, &self.principal, &self.operation].into_iter().for_each(|text| part(text.as_bytes()));
    }
}

/// Where an alias pointed, latest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointed {
    /// When it was seen to.
    pub at: EventTime,
    /// The key's ARN; empty when the alias was deleted.
    pub key: String,
}

impl Default for Pointed {
    fn default() -> Self {
        Self { at: EventTime::MIN, key: String::new() }
    }
}

/// Everything that captures tell of the use of keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Cryptographic uses that succeeded.
    pub support: Support,
    /// By key and principal.
    pub pairs: Bounded<Pair, PairHistory, MAX_PAIRS>,
    /// Attempts that were refused.
    pub denied: Bounded<Attempt, Support, 5_000>,
    /// Aliases, by account and Region.
    pub aliases: Bounded<String, Pointed, 20_000>,
}

impl History {
    /// Notes one use.
    pub fn note(&mut self, seen: &Seen<'_>) {
        if seen.ended == Ended::Done {
            self.note_alias(seen);
        }
        let Some(key) = seen.cryptographic_key() else { return };
        let principal = &seen.used.principal.canonical;
        if principal.len() > MAX_NAME_BYTES {
            return;
        }
        match seen.ended {
            Ended::Done => {
                self.support.note(seen.time);
                let pair = Pair { key: key.to_owned(), principal: principal.clone() };
                if let Some(history) = self.pairs.entry(pair) {
                    history.note(seen);
                }
            }
            Ended::Denied => {
                let attempt =
                    Attempt { key: key.to_owned(), principal: principal.clone(), operation: seen.operation.to_owned() };
                if let Some(support) = self.denied.entry(attempt) {
                    support.note(seen.time);
                }
            }
            Ended::Otherwise => {}
        }
    }

    fn note_alias(&mut self, seen: &Seen<'_>) {
        let Some(key) = &seen.used.key else { return };
        let (Some(arn), Some(alias)) = (&key.arn, &key.alias) else { return };
        let Some(parts) = arn_parts(arn).filter(|_| arn.len() + alias.len() <= MAX_NAME_BYTES) else { return };
        // A moved alias lists the key it left too; the one it went to is what was typed.
        let target = seen.fields.text(core::REQUEST_TARGET_KEY_ID).and_then(|typed| typed.rsplit('/').next());
        let now = match (seen.operation, target, &key.id) {
            ("DeleteAlias", _, _) => String::new(),
            (_, Some(target), Some(id)) => format!("{}{target}", arn.strip_suffix(id.as_str()).unwrap_or(arn)),
            _ => arn.clone(),
        };
        let place = format!("{} {} {alias}", parts.account, parts.region);
        if let Some(pointed) = self.aliases.entry(place) {
            pointed.merge(Pointed { at: seen.time, key: now });
        }
    }
}

impl PairHistory {
    fn note(&mut self, seen: &Seen<'_>) {
        let time = seen.time;
        self.support.note(time);
        self.clock.note(time);
        let via = seen.used.principal.via.as_deref();
        if let Some(support) = seen.fields.text(core::AWS_REGION).and_then(|text| self.regions.entry(text.to_owned())) {
            support.note(time);
        }
        if via.is_none() {
            self.note_place(seen);
        }
        let role = seen.used.key.as_ref().map(|key| key.role).unwrap_or_default();
        let [_, operation] = names_of(seen.operation, role);
        let mut context: Vec<_> = context_of(seen.fields).collect();
        context.sort_unstable();
        let is_named = context.len() <= MAX_NAMES && context.iter().all(|(name, _)| name.len() <= MAX_NAME_BYTES);
        let way = Way {
            operation: operation.to_owned(),
            via: via.unwrap_or(DIRECT).to_owned(),
            names: is_named.then(|| context.iter().map(|(name, _)| (*name).to_owned()).collect()),
        };
        let Some(habit) = self.ways.entry(way) else { return };
        habit.support.note(time);
        habit.values.resize_with(if is_named { context.len() } else { 0 }, Bounded::default);
        for ((name, value), values) in context.into_iter().zip(&mut habit.values) {
            if let Some(support) = values.entry(general(name, value)) {
                support.note(time);
            }
        }
    }

    fn note_place(&mut self, seen: &Seen<'_>) {
        let address = seen.fields.text(core::SOURCE_IP).and_then(|text| text.parse::<std::net::IpAddr>().ok());
        let endpoint = seen.fields.text(core::VPC_ENDPOINT).filter(|text| text.starts_with("vpce-"));
        // Through an endpoint the endpoint says more than the address behind it.
        let support = match (endpoint, address) {
            (Some(endpoint), _) => self.endpoints.entry(endpoint.to_owned()),
            (None, Some(address)) => self.addresses.entry(address.to_string()),
            (None, None) => Some(&mut self.nowhere),
        };
        if let Some(support) = support {
            support.note(seen.time);
        }
    }
}

impl Habit {
    /// The values of the names of its way.
    pub fn values_of<'h>(
        &'h self,
        way: &'h Way,
    ) -> impl Iterator<Item = (&'h str, &'h Bounded<String, Support, MAX_VALUES>)> {
        way.names.iter().flatten().map(String::as_str).zip(&self.values)
    }
}

/// Whether values of a name say nothing: one of them was no kind.
#[must_use]
pub fn has_any<const MAX: usize>(values: &Bounded<String, Support, MAX>) -> bool {
    values.get(&ANY.to_owned()).is_some()
}

impl Merge for Habit {
    fn merge(&mut self, other: Self) {
        self.support.merge(other.support);
        self.values.resize_with(self.values.len().max(other.values.len()), Bounded::default);
        for (mine, others) in self.values.iter_mut().zip(other.values) {
            mine.merge(others);
        }
    }
}

impl Merge for PairHistory {
    fn merge(&mut self, other: Self) {
        self.support.merge(other.support);
        self.ways.merge(other.ways);
        self.addresses.merge(other.addresses);
        self.endpoints.merge(other.endpoints);
        self.nowhere.merge(other.nowhere);
        self.regions.merge(other.regions);
        self.clock.merge(other.clock);
    }
}

impl Merge for Pointed {
    fn merge(&mut self, other: Self) {
        if *self < other {
            *self = other;
        }
    }
}

impl Merge for History {
    fn merge(&mut self, other: Self) {
        self.support.merge(other.support);
        self.pairs.merge(other.pairs);
        self.denied.merge(other.denied);
        self.aliases.merge(other.aliases);
    }
}
