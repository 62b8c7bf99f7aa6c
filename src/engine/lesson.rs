//! Lessons: what matches of captures teach rules that learn from history, in little, and as text.
//!
//! Of new terms a lesson holds the first and last instant of each stretch of time (all that
//! [`super::detector::new_terms`] would keep of the matches themselves), of rates a count for each
//! cell. So a month of captures becomes a small file that a replay or a service learns from in the
//! same words.
//!
//! Invariant: lessons of parts that share no record, merged in any order, are the lessons of the
//! whole. In the file each rule stands with the hash of its text: a rule that says something else
//! now would learn something that was never so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::matched::{GroupKey, Match};
use super::shape::{Shape, cell_of};
use super::watermark::Lane;
use crate::event::EventId;
use crate::rule::{Detector, RuleIndex, RuleSet};
use crate::time::{EventTime, Span};

/// What one group of a rule learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lesson {
    /// The rule.
    pub rule: RuleIndex,
    /// The group's values.
    pub group: GroupKey,
    /// Accounts and Regions.
    pub lanes: BTreeSet<Lane>,
    /// Time of the last match.
    pub last: EventTime,
    /// What.
    pub taught: Taught,
}

/// What there is to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taught {
    /// Instants at which a term was seen.
    Times(BTreeSet<EventTime>),
    /// How many matches a cell had.
    Cells(BTreeMap<i64, u64>),
}

/// Lessons of many groups, merged as captures are read.
#[derive(Clone, Debug, Default)]
pub struct Lessons(BTreeMap<(RuleIndex, GroupKey), Noted>);

/// What is noted of a group.
#[derive(Clone, Debug, Default)]
struct Noted {
    lanes: BTreeSet<Lane>,
    last: Option<EventTime>,
    /// By stretch: first and last instant.
    stretches: BTreeMap<i64, (EventTime, EventTime)>,
    cells: BTreeMap<i64, u64>,
}

impl Lesson {
    /// The earliest instant of a term.
    #[must_use]
    pub fn first(&self) -> Option<EventTime> {
        match &self.taught {
            Taught::Times(times) => times.first().copied(),
            Taught::Cells(_) => None,
        }
    }
}

impl Lessons {
    /// What matches teach, each event ID of a cell once. Matches of rules that do not learn from
    /// history are passed over.
    #[must_use]
    pub fn of(rules: &RuleSet, matches: &[Match]) -> Self {
        let mut lessons = Self::default();
        let mut counted: BTreeSet<(RuleIndex, &GroupKey, &EventId)> = BTreeSet::new();
        for matched in matches {
            let Some(rule) = rules.rules.get(matched.rule.0 as usize) else { continue };
            if !matches!(rule.detector, Detector::NewTerms(_) | Detector::Rate(_)) {
                continue;
            }
            let noted = lessons.0.entry((matched.rule, matched.group.clone())).or_default();
            noted.lanes.insert(matched.lane.clone());
            noted.last = noted.last.max(Some(matched.time));
            match &rule.detector {
                Detector::NewTerms(_) => noted.note(matched.time, stretch(Shape::of(rule).quiet)),
                Detector::Rate(rate) if counted.insert((matched.rule, &matched.group, &matched.id)) => {
                    *noted.cells.entry(cell_of(matched.time, rate.every)).or_default() += 1;
                }
                _ => {}
            }
        }
        lessons
    }

    /// Takes in the lessons of other records.
    pub fn merge(&mut self, other: Self) {
        for (group, theirs) in other.0 {
            let mine = self.0.entry(group).or_default();
            mine.lanes.extend(theirs.lanes);
            mine.last = mine.last.max(theirs.last);
            for (stretch, (first, last)) in theirs.stretches {
                let known = mine.stretches.entry(stretch).or_insert((first, last));
                *known = (known.0.min(first), known.1.max(last));
            }
            for (cell, count) in theirs.cells {
                *mine.cells.entry(cell).or_default() += count;
            }
        }
    }

    /// The lessons, by rule and group.
    #[must_use]
    pub fn into_vec(self) -> Vec<Lesson> {
        let lesson = |((rule, group), noted): ((RuleIndex, GroupKey), Noted)| {
            let times = || noted.stretches.values().flat_map(|(first, last)| [*first, *last]).collect();
            let taught =
                if noted.cells.is_empty() { Taught::Times(times()) } else { Taught::Cells(noted.cells.clone()) };
            Lesson { rule, group, lanes: noted.lanes.clone(), last: noted.last.unwrap_or(EventTime::MIN), taught }
        };
        self.0.into_iter().map(lesson).collect()
    }
}

impl Noted {
    fn note(&mut self, time: EventTime, width: Span) {
        let (first, last) = self.stretches.entry(cell_of(time, width)).or_insert((time, time));
        *first = (*first).min(time);
        *last = (*last).max(time);
    }
}

/// As wide as the stretches in which terms are remembered.
fn stretch(grace: Span) -> Span {
    Span::from_millis((grace.as_millis() / 4).max(1000))
}

/// What the first line of a file says.
const FORMAT: &str = "kmswatch-seeds";
/// Number of the layout.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    /// By id: hash of the rule's text.
    rules: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    rule: String,
    group: Vec<Arc<str>>,
    lanes: BTreeSet<Lane>,
    last: EventTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<BTreeSet<EventTime>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cells: Option<BTreeMap<i64, u64>>,
}

/// Why a file of seeds cannot be used at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}; make the file anew with `kmswatch keys learn --seeds`")]
pub struct SeedsError {
    line: usize,
    reason: String,
}

/// Lessons read back, and what was passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seeds {
    /// For rules that are as they were.
    pub lessons: Vec<Lesson>,
    /// In words: rules that are gone or changed, with how many groups they had learnt.
    pub skipped: Vec<String>,
}

/// Lessons as JSON lines: a header, then one line for each group.
#[must_use]
pub fn write(rules: &RuleSet, lessons: &[Lesson]) -> String {
    let rule_of = |lesson: &Lesson| rules.rules.get(lesson.rule.0 as usize).map(|rule| &rule.meta);
    let hashes = lessons.iter().filter_map(rule_of).map(|meta| (meta.id.clone(), meta.hash.clone())).collect();
    let mut out = json(&Header { format: FORMAT.to_owned(), version: VERSION, rules: hashes });
    for lesson in lessons {
        let Some(meta) = rule_of(lesson) else { continue };
        let (times, cells) = match &lesson.taught {
            Taught::Times(times) => (Some(times.clone()), None),
            Taught::Cells(cells) => (None, Some(cells.clone())),
        };
        let (group, lanes) = (lesson.group.0.clone(), lesson.lanes.clone());
        out.push_str(&json(&Row { rule: meta.id.clone(), group, lanes, last: lesson.last, times, cells }));
    }
    out
}

fn json(value: &impl Serialize) -> String {
    let mut line = String::new();
    // Texts, numbers and maps of texts can always be written.
    let _ = writeln!(line, "{}", serde_json::to_string(value).unwrap_or_default());
    line
}

/// Reads lessons back.
///
/// # Errors
/// When the text is no file of seeds, of another version, or a line of it cannot be read.
pub fn read(rules: &RuleSet, text: &str) -> Result<Seeds, SeedsError> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let fail = |at: usize, reason: String| SeedsError { line: at + 1, reason };
    let (at, first) = lines.next().ok_or_else(|| fail(0, "an empty file".to_owned()))?;
    let header: Header =
        serde_json::from_str(first).map_err(|error| fail(at, format!("no head of a file of seeds ({error})")))?;
    if header.format != FORMAT || header.version != VERSION {
        let found = format!("it is {} of version {}", header.format, header.version);
        return Err(fail(at, format!("{found}, and this reads {FORMAT} of version {VERSION}")));
    }
    let by_id: BTreeMap<&str, RuleIndex> =
        (0_u32..).map(RuleIndex).zip(&rules.rules).map(|(index, rule)| (rule.meta.id.as_str(), index)).collect();
    let mut seeds = Seeds::default();
    let mut skipped: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for (at, line) in lines {
        let row: Row = serde_json::from_str(line).map_err(|error| fail(at, error.to_string()))?;
        let index = by_id.get(row.rule.as_str()).copied();
        let rule = index.and_then(|index| rules.rules.get(index.0 as usize));
        let (Some(index), Some(rule)) = (index, rule) else {
            *skipped.entry((row.rule, "there is no such rule")).or_default() += 1;
            continue;
        };
        if header.rules.get(&row.rule) != Some(&rule.meta.hash) {
            *skipped.entry((rule.meta.title.clone(), "the rule was changed since")).or_default() += 1;
            continue;
        }
        let taught = match (row.times, row.cells, &rule.detector) {
            (Some(times), None, Detector::NewTerms(_)) => Taught::Times(times),
            (None, Some(cells), Detector::Rate(_)) => Taught::Cells(cells),
            _ => return Err(fail(at, format!("not what rule {} learns", row.rule))),
        };
        if row.group.len() != rule.group_by.len() {
            return Err(fail(
                at,
                format!("{} values where rule {} groups by {}", row.group.len(), row.rule, rule.group_by.len()),
            ));
        }
        seeds.lessons.push(Lesson {
            rule: index,
            group: GroupKey(row.group),
            lanes: row.lanes,
            last: row.last,
            taught,
        });
    }
    let told = |((rule, why), groups): ((String, &str), u64)| format!("{rule}: {why}; {groups} groups are not learnt");
    seeds.skipped = skipped.into_iter().map(told).collect();
    Ok(seeds)
}
