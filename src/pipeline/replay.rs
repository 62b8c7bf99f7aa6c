//! A replay: matches of many files, merged by event time, through the same engine as live ones.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dashmap::DashSet;

use super::plan::Accounting;
use super::plan::analyze::{Analysis, Analyzer, lane_of};
use super::plan::recent::RecordKey;
use crate::alert::make::make;
use crate::alert::redact::Redaction;
use crate::alert::{Alert, Status};
use crate::engine::incident::{Change, MAX_SAMPLES};
use crate::engine::lesson::{Lesson, Lessons};
use crate::engine::matched::{GroupKey, Match, Sample};
use crate::engine::{Engine, EngineLimits, Transition};
use crate::event::EventId;
use crate::event::envelope::{EnvelopeLimits, Found, open};
use crate::event::record::{Record, decode};
use crate::keys::learn::Learning;
use crate::keys::picture::Picture;
use crate::rule::{RuleIndex, RuleSet};
use crate::time::{EventTime, Span};

/// Which records are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// From this time on.
    pub since: Option<EventTime>,
    /// Before this time.
    pub until: Option<EventTime>,
}

impl Window {
    /// Whether a record of that time is read.
    #[must_use]
    pub fn covers(&self, time: EventTime) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

/// What a file came to.
#[derive(Debug, Default)]
pub struct FileResult {
    /// Its records.
    pub accounting: Accounting,
    /// The first unreadable records, with their places.
    pub unreadable: Vec<String>,
    /// Why it could not be read to its end.
    pub failure: Option<String>,
    matches: Vec<Match>,
    kept: Kept,
    /// Time of the latest record, whether a rule matched it or not.
    last: Option<EventTime>,
    /// Records of earlier pieces, so that their numbers go on.
    pieces_before: u64,
    /// What a [`super::learn::Learner`] learnt of it.
    pub learnt: Option<Box<Learning>>,
}

/// Opens a piece and hands each record, with its number in the file, to `record`.
pub(super) fn read_piece(piece: &[u8], result: &mut FileResult, record: &mut dyn FnMut(&str, u64, &mut FileResult)) {
    let mut number = result.pieces_before;
    let limits = EnvelopeLimits::of_captures();
    let opened = open(piece, limits, &mut |found| {
        number += 1;
        result.accounting.received += 1;
        match found {
            Found::Foreign(_) => result.accounting.filtered += 1,
            Found::Bad { place, reason } => result.bad(format!("{place}: {reason}")),
            Found::Record(raw) => record(raw, number, result),
        }
    });
    if let Err(error) = opened {
        result.accounting.received += 1;
        result.bad(error.to_string());
    }
    result.pieces_before = number;
}

impl FileResult {
    /// Notes that the file could not be read to its end.
    pub fn failed(&mut self, reason: String) {
        self.accounting.received += 1;
        self.accounting.parked += 1;
        self.unreadable.push(reason.clone());
        self.failure = Some(reason);
    }

    pub(super) fn bad(&mut self, reason: String) {
        const MAX_KEPT: usize = 100;
        self.accounting.parked += 1;
        if self.unreadable.len() < MAX_KEPT {
            self.unreadable.push(reason);
        }
    }

    /// Keeps a match; its record's text only while it is among the earliest of its stretch.
    pub(super) fn keep(&mut self, matched: Match) {
        let position = self.matches.len();
        let displaced = self.kept.add(&matched, position);
        self.matches.push(matched);
        if let Some(matched) = displaced.and_then(|position| self.matches.get_mut(position)) {
            forget_text(matched);
        }
    }
}

/// The matches whose records are kept as evidence: the earliest few of each rule, group and minute,
/// since a busy caller has millions. Time decides and not the order of reading, so that files and
/// threads do not show.
#[derive(Debug, Default)]
struct Kept(HashMap<(RuleIndex, i64), HashMap<GroupKey, Earliest>>);

/// Positions of matches, by time and id.
type Earliest = BTreeMap<(EventTime, EventId), usize>;

impl Kept {
    /// Adds the match at `position`; returns the position of the one that has to go for it.
    fn add(&mut self, matched: &Match, position: usize) -> Option<usize> {
        let minute = matched.time.as_millis().div_euclid(60_000);
        let groups = self.0.entry((matched.rule, minute)).or_default();
        let Some(earliest) = groups.get_mut(&matched.group) else {
            let first = BTreeMap::from([((matched.time, matched.id.clone()), position)]);
            groups.insert(matched.group.clone(), first);
            return None;
        };
        let full = earliest.len() >= MAX_SAMPLES;
        let is_later =
            earliest.last_key_value().is_some_and(|((time, id), _)| (*time, id) < (matched.time, &matched.id));
        if full && is_later {
            return Some(position);
        }
        let replaced = earliest.insert((matched.time, matched.id.clone()), position);
        if replaced.is_some() || earliest.len() <= MAX_SAMPLES {
            return replaced;
        }
        earliest.pop_last().map(|(_, position)| position)
    }
}

/// The fields that templates read stay.
fn forget_text(matched: &mut Match) {
    if let Some(sample) = &matched.sample {
        matched.sample = Some(Arc::new(Sample { raw: "".into(), details: sample.details.clone() }));
    }
}

/// Reads pieces of captures against rules; shared by threads.
#[derive(Debug)]
pub struct Reader {
    analyzer: Analyzer,
    picture: Picture,
    window: Window,
    seen: SeenRecords,
}

/// Which records were read already. A copy of one beyond those remembered is told by its group.
#[derive(Debug, Default)]
pub(super) struct SeenRecords(DashSet<RecordKey>);

/// Records remembered to tell copies by.
const MAX_SEEN: usize = 20_000_000;

impl SeenRecords {
    /// Notes a record; whether it is the first of its kind.
    pub(super) fn note(&self, record: &Record<'_>) -> bool {
        let key = RecordKey::of(&record.id, &lane_of(record));
        !(self.0.contains(&key) || (self.0.len() < MAX_SEEN && !self.0.insert(key)))
    }
}

impl Reader {
    /// A reader that has seen no record, and knows this of keys.
    #[must_use]
    pub fn new(analyzer: Analyzer, picture: Picture, window: Window) -> Self {
        Self { analyzer, picture, window, seen: SeenRecords::default() }
    }

    /// Reads one piece of a file.
    pub fn read(&self, piece: &[u8], result: &mut FileResult) {
        read_piece(piece, result, &mut |raw, number, result| self.record(raw, number, result));
    }

    fn record(&self, raw: &str, number: u64, result: &mut FileResult) {
        let record = match decode(raw, &self.analyzer.rules.projection) {
            Ok(record) => record,
            Err(error) => return result.bad(format!("record {number}: {error}")),
        };
        let outside = !self.window.covers(record.time);
        if outside || !self.analyzer.rules.wants(record.source(), record.name()) {
            result.accounting.filtered += 1;
            result.last = result.last.max((!outside).then_some(record.time));
            return;
        }
        result.last = result.last.max(Some(record.time));
        if !self.seen.note(&record) {
            result.accounting.duplicate += 1;
            return;
        }
        result.accounting.applied += 1;
        if let Analysis::Read(reading) = self.analyzer.analyze(record, &self.picture) {
            result.accounting.suppressed += reading.suppressed.len() as u64;
            reading.matches.into_iter().for_each(|matched| result.keep(matched));
        }
    }
}

/// What the matches of a file teach.
#[must_use]
pub fn lessons(rules: &RuleSet, result: &mut FileResult) -> Lessons {
    Lessons::of(rules, &std::mem::take(&mut result.matches))
}

/// The incidents of all files after `lessons` of earlier ones, each once in its final state, by first event time and id.
#[must_use]
pub fn incidents(
    rules: &Arc<RuleSet>,
    results: Vec<FileResult>,
    lessons: &[Lesson],
    redaction: Redaction,
) -> Vec<Alert> {
    let end = results.iter().filter_map(|result| result.last).max();
    let mut matches: Vec<Match> = results.into_iter().flat_map(|result| result.matches).collect();
    matches.sort_by(|a, b| (a.time, &a.id, a.rule, &a.group).cmp(&(b.time, &b.id, b.rule, &b.group)));
    // Each file kept its own earliest; of all together fewer are.
    let mut kept = Kept::default();
    for position in 0..matches.len() {
        let has_text = |matched: &&Match| matched.sample.as_ref().is_some_and(|sample| !sample.raw.is_empty());
        let displaced = matches.get(position).filter(has_text).and_then(|matched| kept.add(matched, position));
        if let Some(matched) = displaced.and_then(|position| matches.get_mut(position)) {
            forget_text(matched);
        }
    }
    // In order of time nothing is late, so every lane may be carried along at once.
    let limits =
        EngineLimits { idle: Span::ZERO, max_groups: 2_000_000, max_entries: 20_000_000, ..EngineLimits::default() };
    let mut engine = Engine::new(rules.clone(), limits).without_rows();
    engine.learn(lessons);
    let mut last: BTreeMap<String, Transition> = BTreeMap::new();
    let mut keep = |transitions: Vec<Transition>| {
        for transition in transitions {
            last.insert(transition.snapshot.incident.id.clone(), transition);
        }
    };
    for (count, matched) in matches.iter().enumerate() {
        engine.apply(matched, matched.time);
        if count % 1024 == 1023 {
            engine.pass_time(matched.time);
            engine.expire();
            keep(engine.take_step().transitions);
        }
    }
    if let Some(end) = end {
        engine.pass_time(end);
        engine.expire();
        engine.conclude();
    }
    keep(engine.take_step().transitions);
    keep(engine.open());
    let mut alerts: Vec<Alert> = last
        .values()
        .filter(|transition| !matches!(transition.change, Change::Merged(_)))
        .filter_map(|transition| {
            let mut alert = make(rules.rules.get(transition.rule.0 as usize)?, transition, redaction);
            if transition.change != Change::Ended {
                alert.status = Status::Open;
            }
            Some(alert)
        })
        .collect();
    alerts.sort_by(|a, b| (a.first_event_time, &a.id).cmp(&(b.first_event_time, &b.id)));
    alerts
}
