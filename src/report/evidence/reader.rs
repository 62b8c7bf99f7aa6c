//! The second reading: takes the records that answer the question and makes rows of them, then puts
//! the rows of all files together.
//!
//! Invariant: every record is counted once, as of KMS, of another service, or unreadable; what the
//! question would be about but no key can be told for is counted too, never silently left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::history::{History, KeyName};
use super::key::{Named, Target};
use super::question::{Filter, Outcome, Question};
use super::row::{Row, Seen, Setting};
use crate::alert::redact::Redaction;
use crate::event::derive::{KMS_SOURCE, Use, derive, uses_of};
use crate::event::envelope::{EnvelopeLimits, Found, open};
use crate::event::field::{FieldValue, Projection, core, derived};
use crate::event::key::{KeyRef, arn_parts};
use crate::event::operation::Class;
use crate::event::record::{Record, decode};
use crate::keys::expect::short_name;
use crate::keys::inventory::{Domain, Inventory};
use crate::keys::picture::change::{place_of, stamp_of};
use crate::time::EventTime;

/// A question with all that it is answered against.
#[derive(Debug)]
pub struct Asking<'a> {
    /// What is asked.
    pub question: Question,
    /// Of which keys.
    pub target: &'a Target,
    /// Narrowed how.
    pub filter: &'a Filter,
    /// What records say of names.
    pub history: &'a History,
    /// What the bank says of keys.
    pub inventory: &'a Inventory,
    /// What of contexts is kept back.
    pub redaction: Redaction,
    /// Rows held at most, over all files.
    pub max_rows: u64,
}

/// Reads files against a question; shared by threads.
#[derive(Debug)]
pub struct Reader<'a> {
    asking: &'a Asking<'a>,
    projection: Projection,
    rows: AtomicU64,
}

/// A key that was asked for.
struct Located<'a> {
    name: Option<KeyName>,
    domain: Option<&'a Domain>,
}

/// The account of the records read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Everything in the files.
    pub read: u64,
    /// Calls of KMS.
    pub kms: u64,
    /// Records of other services, and what are no records (digests, control messages).
    pub other: u64,
    /// What could not be read.
    pub unreadable: u64,
    /// Calls of the kind asked about whose record tells no key.
    pub keyless: u64,
    /// Records that fit the question, copies included.
    pub fitting: u64,
    /// First and last event time of all records.
    pub period: Option<(EventTime, EventTime)>,
}

/// What a file came to.
#[derive(Debug, Default)]
pub struct FileRows {
    /// Its rows.
    pub rows: Vec<Row>,
    /// Its records.
    pub counts: Counts,
    /// The first unreadable records, with their places.
    pub unreadable: Vec<String>,
    /// Why it could not be read to its end.
    pub failure: Option<String>,
    file: Option<Arc<str>>,
    pieces_before: u64,
}

impl FileRows {
    /// Notes that the file could not be read to its end.
    pub fn failed(&mut self, reason: String) {
        self.counts.read += 1;
        self.bad(reason.clone());
        self.failure = Some(reason);
    }

    fn bad(&mut self, reason: String) {
        const MAX_KEPT: usize = 100;
        self.counts.unreadable += 1;
        if self.unreadable.len() < MAX_KEPT {
            self.unreadable.push(reason);
        }
    }
}

impl<'a> Reader<'a> {
    /// A reader that has read nothing.
    #[must_use]
    pub fn new(asking: &'a Asking<'a>) -> Self {
        Self { asking, projection: Projection::fixed(), rows: AtomicU64::new(0) }
    }

    /// Reads one piece of a file.
    pub fn read(&self, file: &Path, piece: &[u8], result: &mut FileRows) {
        let mut number = result.pieces_before;
        let limits = EnvelopeLimits::of_captures();
        let opened = open(piece, limits, &mut |found| {
            number += 1;
            result.counts.read += 1;
            match found {
                Found::Foreign(_) => result.counts.other += 1,
                Found::Bad { place, reason } => result.bad(format!("{place}: {reason}")),
                Found::Record(raw) => match decode(raw, &self.projection) {
                    Ok(record) => self.record(record, file, number, result),
                    Err(error) => result.bad(format!("record {number}: {error}")),
                },
            }
        });
        if let Err(error) = opened {
            result.counts.read += 1;
            result.bad(error.to_string());
        }
        result.pieces_before = number;
    }

    fn record(&self, mut record: Record<'_>, file: &Path, number: u64, result: &mut FileRows) {
        let counts = &mut result.counts;
        let (first, last) = counts.period.unwrap_or((record.time, record.time));
        counts.period = Some((first.min(record.time), last.max(record.time)));
        if record.source() != KMS_SOURCE {
            counts.other += 1;
            return;
        }
        counts.kms += 1;
        let Asking { question, filter, .. } = self.asking;
        let name = record.name();
        let concerns = filter.wants_time(record.time) && question.is_about(name) && filter.wants_operation(name);
        if !concerns || (*question == Question::Denied && record.fields.text(core::ERROR_CODE).is_none()) {
            return;
        }
        let place = place_of(&record);
        let (mut fits, mut is_keyless) = (false, false);
        for used in self.uses(&record, &place) {
            let is_lost =
                used.key.is_none() && !self.asking.target.is_everything() && record.name() != "GenerateRandom";
            let located = self.locate(&record, &used, &place);
            if located.is_none() && !is_lost {
                continue;
            }
            derive(&mut record, &used);
            let outcome = outcome_of(&record);
            let is_asked = *question != Question::Denied || outcome == Outcome::Denied;
            if !is_asked || !filter.wants_outcome(outcome) || !self.wants_caller(&record, &used) {
                return;
            }
            let Some(Located { name, domain }) = located else {
                is_keyless = true;
                continue;
            };
            fits = true;
            // Past the limit rows are counted only, so that the message can say how many there are.
            if self.rows.fetch_add(1, Ordering::Relaxed) >= self.asking.max_rows {
                result.rows = Vec::new();
                continue;
            }
            let file = result.file.get_or_insert_with(|| file.to_string_lossy().into());
            let (name, class) = (name.as_ref(), class_of(&record));
            let seen = Seen { record: &record, used: &used, name, place: &place, domain, outcome, class, file, number };
            result.rows.push(Row::of(seen, self.setting()));
        }
        result.counts.fitting += u64::from(fits);
        result.counts.keyless += u64::from(is_keyless);
    }

    fn setting(&self) -> Setting<'_> {
        let Asking { history, inventory, redaction, .. } = self.asking;
        Setting { history, inventory, redaction: *redaction }
    }

    /// The rows that fit, those beyond the limit included.
    #[must_use]
    pub fn fitting_rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// The uses of a record, and what else it concerns: the key that an alias is moved off, a replica
    /// that is made, further keys among the resources of a change.
    fn uses(&self, record: &Record<'_>, place: &str) -> Vec<Use> {
        let mut uses = uses_of(record);
        let is_use = crate::event::operation::class_of(record.name()) == Class::Cryptographic;
        if is_use || self.asking.target.is_everything() {
            return uses;
        }
        let Some(first) = uses.first().cloned() else { return uses };
        let naming = [
            core::RESOURCE_ARN,
            core::RESOURCE_ARN_LOWER,
            core::RESPONSE_KEY_ID,
            core::CREATED_KEY_ARN,
            core::REQUEST_KEY_ID,
            core::REQUEST_TARGET_KEY_ID,
        ];
        let named = naming.iter().flat_map(|id| record.fields.values(*id)).filter_map(FieldValue::as_str);
        let mut arns: Vec<String> = named
            .filter(|arn| arn_parts(arn).is_some_and(|parts| parts.resource.starts_with("key/")))
            .take(MAX_KEYS)
            .map(str::to_owned)
            .collect();
        if let Some(alias) = record.fields.text(core::REQUEST_ALIAS_NAME) {
            let alias = (place.to_owned(), alias.to_owned());
            arns.extend(self.asking.history.key_before(&alias, &stamp_of(record)).map(str::to_owned));
        }
        if record.name() == "ReplicateKey" {
            let whole = serde_json::from_str::<serde_json::Value>(record.raw).unwrap_or_default();
            let replica = whole.pointer("/responseElements/replicaKeyMetadata/arn");
            arns.extend(replica.and_then(serde_json::Value::as_str).map(str::to_owned));
        }
        for arn in arns {
            let is_known = uses.iter().any(|used| used.key.as_ref().and_then(|key| key.arn.as_ref()) == Some(&arn));
            if let (false, Some(parsed)) = (is_known, KeyRef::parse(&arn)) {
                let alias = first.key.as_ref().and_then(|key| key.alias.clone());
                uses.push(Use { key: Some(KeyRef { alias, ..parsed }), ..first.clone() });
            }
        }
        uses
    }

    /// Which key a use is of, if it is one that was asked for.
    fn locate(&self, record: &Record<'_>, used: &Use, place: &str) -> Option<Located<'a>> {
        let Asking { target, history, inventory, .. } = self.asking;
        let key = used.key.as_ref();
        let name = key.and_then(|key| history.resolve(key, place, record.time, inventory));
        let account = used.principal.account.as_deref();
        let known = |key| history.known(key, name.as_ref(), record.time);
        let domain = key.and_then(|key| inventory.domain_of(key, account, &|| known(key)));
        let alias = key.and_then(|key| key.alias.as_deref());
        let named = Named { name: name.as_ref(), alias, place, domain, time: record.time };
        target.fits(named, history).then_some(Located { name, domain })
    }

    /// By canonical name, ARN, the last part of either, session and human.
    fn wants_caller(&self, record: &Record<'_>, used: &Use) -> bool {
        let filter = self.asking.filter;
        if filter.principals.is_empty() {
            return true;
        }
        let text = |id| record.fields.text(id).map(str::to_owned);
        let canonical = &used.principal.canonical;
        let short = arn_parts(canonical).map(|parts| parts.resource.to_owned());
        let last = short.as_ref().and_then(|short| short.rsplit('/').next()).map(str::to_owned);
        let whole = serde_json::from_str(record.raw).unwrap_or_default();
        let person = super::person::person_of(&whole, &record.fields, &used.principal).map(|person| person.name);
        let names =
            [Some(canonical.clone()), text(core::IDENTITY_ARN), short, last, used.principal.session.clone(), person];
        let names: Vec<String> = names.into_iter().flatten().chain([short_name(canonical)]).collect();
        filter.wants_principal(names.iter().map(String::as_str))
    }
}

fn outcome_of(record: &Record<'_>) -> Outcome {
    record.fields.text(derived::OUTCOME).and_then(|text| text.parse().ok()).unwrap_or(Outcome::Error)
}

fn class_of(record: &Record<'_>) -> Class {
    match record.fields.text(derived::CLASS) {
        // Direct events of KMS are in no table of operations.
        Some("destruction") => Class::Destruction,
        Some("rotation") => Class::Rotation,
        _ => crate::event::operation::class_of(record.name()),
    }
}

/// The answer.
#[derive(Debug, Default)]
pub struct Answer {
    /// By event time, event ID, and the key's part.
    pub rows: Vec<Row>,
    /// The account of all files.
    pub counts: Counts,
    /// Copies of records that other records are, among those that fit.
    pub copies: u64,
    /// Files that could not be read to their end.
    pub failed_files: u64,
}

/// No call has as many keys.
const MAX_KEYS: usize = 16;

/// Places told of a record that was delivered many times.
const MAX_PLACES: usize = 8;

/// Puts the rows of all files together, copies of a record into one.
#[must_use]
pub fn answer(results: Vec<FileRows>) -> Answer {
    let mut answer = Answer::default();
    let mut rows: Vec<Row> = Vec::new();
    for result in results {
        let counts = &mut answer.counts;
        counts.read += result.counts.read;
        counts.kms += result.counts.kms;
        counts.other += result.counts.other;
        counts.unreadable += result.counts.unreadable;
        counts.keyless += result.counts.keyless;
        counts.fitting += result.counts.fitting;
        let periods = [counts.period, result.counts.period].into_iter().flatten();
        counts.period = periods.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        answer.failed_files += u64::from(result.failure.is_some());
        rows.extend(result.rows);
    }
    rows.sort_by(|a, b| identity(a).cmp(&identity(b)).then_with(|| a.found.cmp(&b.found)));
    let mut records = BTreeSet::new();
    for row in rows {
        let lane = (row.recipient_account.clone(), row.region.clone());
        records.insert((row.event_time, row.event_id.clone(), row.operation.clone(), lane));
        match answer.rows.last_mut() {
            Some(last) if identity(last) == identity(&row) => take_copy(last, row),
            _ => answer.rows.push(row),
        }
    }
    answer.copies = answer.counts.fitting.saturating_sub(records.len() as u64);
    link(&mut answer.rows);
    answer
}

/// What makes two rows one: the same record, for the same key. Copies for several accounts are
/// records of their own, and so is another call under an ID that is not its own.
type Identity<'r> =
    (EventTime, &'r str, &'r str, [Option<&'r str>; 2], std::cmp::Reverse<Option<&'r str>>, Option<&'r str>);

fn identity(row: &Row) -> Identity<'_> {
    let lane = [row.recipient_account.as_deref(), row.region.as_deref()];
    let role = std::cmp::Reverse(row.key_role);
    (row.event_time, &row.event_id, &row.operation, lane, role, row.key.as_deref())
}

fn take_copy(row: &mut Row, copy: Row) {
    let bare = |row: &Row| Row { found: Vec::new(), copies: 0, copies_differ: false, ..row.clone() };
    row.copies_differ |= bare(row) != bare(&copy);
    row.copies += copy.copies;
    row.found.extend(copy.found);
    row.found.truncate(MAX_PLACES);
}

/// Tells rows that are one cross-account call of each other: two records, one `sharedEventID`.
fn link(rows: &mut [Row]) {
    let mut calls: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows.iter() {
        if let Some(shared) = &row.shared_event_id {
            calls.entry(shared).or_default().insert(&row.event_id);
        }
    }
    let others = |row: &Row| {
        let ids = row.shared_event_id.as_deref().and_then(|shared| calls.get(shared));
        ids.into_iter()
            .flatten()
            .filter(|id| **id != row.event_id)
            .map(|id| (*id).to_owned())
            .take(MAX_PLACES)
            .collect()
    };
    let linked: Vec<Vec<String>> = rows.iter().map(others).collect();
    for (row, same_call) in rows.iter_mut().zip(linked) {
        row.same_call = same_call;
    }
}

/// Keys named in an answer, for its summary.
#[must_use]
pub fn keys_of(rows: &[Row]) -> usize {
    rows.iter().filter_map(|row| row.key.as_deref()).filter_map(KeyName::from_arn).collect::<BTreeSet<_>>().len()
}
