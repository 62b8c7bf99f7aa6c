//! The engine against its oracle: the design's sentence about incidents, written naively.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::event::EventId;
use crate::event::field::derived;
use crate::rule::{Detector, Level, RuleMeta, Template};

const QUIET_SECS: i64 = 40;
const LATENESS_SECS: u64 = 100_000;

fn rule(detector: Detector, lateness_secs: u64) -> Rule {
    Rule {
        meta: Arc::new(RuleMeta { id: format!("{detector:?}"), ..RuleMeta::default() }),
        level: Level::High,
        group_by: vec![("kms.principal".to_owned(), derived::PRINCIPAL)],
        detector,
        quiet: Span::from_secs(QUIET_SECS as u64),
        lateness: Span::from_secs(lateness_secs),
        summary: Template::default(),
        respond: Vec::new(),
    }
}

fn rules(detector: Detector, lateness_secs: u64) -> Arc<RuleSet> {
    Arc::new(RuleSet::of_rules(vec![rule(detector, lateness_secs)]))
}

fn detectors() -> [Detector; 3] {
    let timespan = Span::from_secs(20);
    [
        Detector::Every,
        Detector::EventCount { threshold: 3, timespan },
        Detector::ValueCount { field: derived::OBJECT, threshold: 3, timespan },
    ]
}

fn at(secs: i64) -> EventTime {
    EventTime::from_millis(secs * 1000)
}

fn matched(secs: i64, id: u32, value: u8) -> Match {
    let text = format!("event-{id}");
    Match {
        rule: RuleIndex(0),
        group: GroupKey(vec!["somebody".into()]),
        id: EventId::new(&text),
        time: at(secs),
        lane: "111122223333/eu-west-1".into(),
        value: Some(format!("value-{value}").into()),
        facts: Default::default(),
        sample: Some(Arc::new(matched::Sample { raw: text.into(), details: BTreeMap::new() })),
    }
}

/// Evidence of an incident as a set: what must not depend on the order.
type Found = BTreeSet<BTreeSet<String>>;

/// "A match qualifies when the window of `timespan` that ends at it meets the condition. An
/// incident is a maximal chain of qualifying matches with gaps of at most `quiet`. Its evidence is
/// every match inside the windows of its qualifying matches."
fn oracle(detector: &Detector, matches: &[(i64, u32, u8)]) -> Found {
    let all: BTreeSet<_> = matches.iter().copied().collect();
    let timespan = if *detector == Detector::Every { 0 } else { 20 };
    let window = |end: i64| all.iter().filter(move |(time, ..)| end - timespan <= *time && *time <= end);
    let qualifies = |end: i64| match detector {
        Detector::Every => true,
        Detector::EventCount { .. } => window(end).count() >= 3,
        Detector::ValueCount { .. } => window(end).map(|(_, _, value)| value).collect::<BTreeSet<_>>().len() >= 3,
    };
    let mut chains: Vec<Vec<i64>> = Vec::new();
    for time in all.iter().map(|(time, ..)| *time).filter(|time| qualifies(*time)) {
        match chains.last_mut() {
            Some(chain) if time - chain.last().unwrap() <= QUIET_SECS => chain.push(time),
            _ => chains.push(vec![time]),
        }
    }
    chains
        .iter()
        .map(|chain| chain.iter().flat_map(|end| window(*end)).map(|(_, id, _)| format!("event-{id}")).collect())
        .collect()
}

/// Follows transitions as a pager would: the last word on each incident.
#[derive(Default)]
struct Pager(BTreeMap<String, (Change, Snapshot)>);

impl Pager {
    fn take(&mut self, step: &Step) {
        for transition in &step.transitions {
            let id = transition.snapshot.incident.id.clone();
            let known = self.0.insert(id.clone(), (transition.change.clone(), transition.snapshot.clone()));
            assert_eq!(known.is_none(), transition.change == Change::Opened, "{id} is opened once, and first");
        }
    }

    fn found(&self) -> Found {
        let standing = self.0.values().filter(|(change, _)| !matches!(change, Change::Merged(_)));
        standing
            .map(|(_, snapshot)| {
                assert_eq!(snapshot.incident.count, snapshot.evidence.ids.len() as u64);
                snapshot.evidence.ids.iter().map(|(_, id)| id.to_string()).collect()
            })
            .collect()
    }
}

/// Ends everything and returns what the pager saw.
fn finish(engine: &mut Engine, pager: &mut Pager) -> Found {
    engine.observe(&"111122223333/eu-west-1".into(), at(10_000_000), EventTime::MAX);
    engine.expire();
    pager.take(&engine.take_step());
    assert_eq!((engine.groups(), engine.entries()), (0, 0), "nothing is kept for ever");
    pager.found()
}

fn run(detector: &Detector, matches: &[(i64, u32, u8)]) -> Found {
    let mut engine = Engine::new(rules(detector.clone(), LATENESS_SECS), EngineLimits::default());
    let mut pager = Pager::default();
    for (secs, id, value) in matches {
        engine.apply(&matched(*secs, *id, *value), EventTime::MAX);
        engine.expire();
        pager.take(&engine.take_step());
    }
    finish(&mut engine, &mut pager)
}

/// Applies with a restart from the written rows wherever `restarts` says.
fn run_with_restarts(detector: &Detector, matches: &[(i64, u32, u8)], restarts: &[bool]) -> Found {
    let rules = rules(detector.clone(), LATENESS_SECS);
    let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut engine = Engine::new(rules.clone(), EngineLimits::default());
    let mut pager = Pager::default();
    for (index, (secs, id, value)) in matches.iter().enumerate() {
        engine.apply(&matched(*secs, *id, *value), EventTime::MAX);
        let step = engine.take_step();
        pager.take(&step);
        for delta in step.deltas {
            match delta.value {
                Some(value) => drop(rows.insert(delta.key, value)),
                None => drop(rows.remove(&delta.key)),
            }
        }
        if restarts.get(index).copied().unwrap_or(false) {
            engine = Engine::new(rules.clone(), EngineLimits::default());
            let stored: Vec<_> = rows.clone().into_iter().collect();
            assert_eq!(engine.restore(&stored), Ok(0));
        }
    }
    finish(&mut engine, &mut pager)
}

fn matches() -> impl Strategy<Value = Vec<(i64, u32, u8)>> {
    // Few seconds and ids, so that windows touch, instants are shared and IDs repeat.
    prop::collection::vec((0_i64..300, 0_u8..5), 1..40)
        .prop_map(|list| list.into_iter().zip(0_u32..).map(|((secs, value), id)| (secs, id, value)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn incidents_are_the_oracle_s_in_any_order_and_number(
        (sorted, shuffled) in matches().prop_flat_map(|list| {
            let twice: Vec<_> = list.iter().chain(list.iter().step_by(3)).copied().collect();
            (Just(list), Just(twice).prop_shuffle())
        }),
        restarts in prop::collection::vec(any::<bool>(), 60),
    ) {
        let mut in_order = sorted.clone();
        in_order.sort_unstable();
        for detector in detectors() {
            let expected = oracle(&detector, &sorted);
            prop_assert_eq!(run(&detector, &in_order), expected.clone(), "in order, {:?}", &detector);
            prop_assert_eq!(run(&detector, &shuffled), expected.clone(), "shuffled, {:?}", &detector);
            prop_assert_eq!(run_with_restarts(&detector, &shuffled, &restarts), expected, "restarts, {:?}", &detector);
        }
    }

    #[test]
    fn limits_hold_whatever_comes(groups in prop::collection::vec((0_u32..30, 0_i64..5000), 1..80)) {
        let limits = EngineLimits { max_groups: 5, max_entries: 12, max_entries_per_group: 3, ..EngineLimits::default() };
        let mut engine = Engine::new(rules(Detector::Every, 10), limits);
        for (id, (group, secs)) in (0_u32..).zip(groups) {
            let mut one = matched(secs, id, 0);
            one.group = GroupKey(vec![format!("g{group}").into()]);
            engine.apply(&one, EventTime::MAX);
            prop_assert!(engine.groups() <= 5 && engine.entries() <= 12);
        }
    }
}

fn changes(step: &Step) -> Vec<(Change, u64)> {
    step.transitions.iter().map(|t| (t.change.clone(), t.snapshot.incident.count)).collect()
}

#[test]
fn a_burst_opens_at_the_threshold_and_counts_everything() {
    let timespan = Span::from_secs(60);
    let mut engine = Engine::new(rules(Detector::EventCount { threshold: 50, timespan }, 10), EngineLimits::default());
    let mut told = Vec::new();
    for id in 0..566_u32 {
        engine.apply(&matched(i64::from(id) / 30, id, 0), EventTime::MAX);
        told.extend(changes(&engine.take_step()));
    }
    assert_eq!(told[0], (Change::Opened, 50));
    assert_eq!(told[1..], [(Change::Updated, 100), (Change::Updated, 200), (Change::Updated, 400)]);
    engine.observe(&"111122223333/eu-west-1".into(), at(5000), EventTime::MAX);
    engine.expire();
    assert_eq!(changes(&engine.take_step()), [(Change::Ended, 566)]);
}

/// Found by the property test: the bucket came after the window that it lies in had qualified.
#[test]
fn a_match_inside_a_window_that_qualified_already_is_evidence() {
    let timespan = Span::from_secs(20);
    let detector = Detector::ValueCount { field: derived::OBJECT, threshold: 3, timespan };
    let matches = [(10, 0, 0), (11, 1, 1), (15, 2, 2), (13, 3, 0)];
    assert_eq!(run(&detector, &matches), oracle(&detector, &matches));
}

#[test]
fn a_late_record_joins_two_incidents_into_the_first() {
    let mut engine = Engine::new(rules(Detector::Every, 1000), EngineLimits::default());
    engine.apply(&matched(100, 1, 0), at(100));
    engine.apply(&matched(180, 2, 0), at(180));
    let opened = engine.take_step();
    assert_eq!(changes(&opened), [(Change::Opened, 1), (Change::Opened, 1)]);
    let first = opened.transitions[0].snapshot.incident.id.clone();
    engine.apply(&matched(140, 3, 0), at(190));
    let joined = engine.take_step();
    assert_eq!(changes(&joined), [(Change::Merged(first.clone()), 1), (Change::Updated, 3)]);
    assert_eq!(joined.transitions[1].snapshot.incident.id, first);
    assert_eq!(joined.transitions[0].snapshot.incident.id, opened.transitions[1].snapshot.incident.id);
}

#[test]
fn a_record_after_the_allowed_lateness_is_told_and_marked() {
    let mut engine = Engine::new(rules(Detector::Every, 60), EngineLimits::default());
    let lane: Lane = "111122223333/eu-west-1".into();
    engine.observe(&lane, at(10_000), at(10_000));
    assert_eq!(engine.apply(&matched(100, 1, 0), at(10_000)), Applied::Late);
    assert_eq!(engine.apply(&matched(100, 1, 0), at(10_000)), Applied::Duplicate);
    engine.expire();
    assert_eq!(engine.apply(&matched(110, 2, 0), at(10_001)), Applied::Late);
    let step = engine.take_step();
    assert_eq!(changes(&step), [(Change::Opened, 1), (Change::Updated, 2)]);
    assert!(step.transitions[0].snapshot.evidence.late);
}

#[test]
fn one_lagging_region_is_not_late_for_another() {
    let mut engine = Engine::new(rules(Detector::Every, 60), EngineLimits::default());
    engine.observe(&"111122223333/eu-west-2".into(), at(90_000), at(90_000));
    assert_eq!(engine.apply(&matched(83_000, 1, 0), at(90_000)), Applied::Counted);
    // Two hours without a word, and the lane is carried along.
    engine.pass_time(at(98_000));
    assert_eq!(engine.apply(&matched(10, 2, 0), at(98_000)), Applied::Late);
}

#[test]
fn beyond_the_cap_matches_are_counted_and_values_still_tell_apart() {
    let timespan = Span::from_secs(60);
    let limits = EngineLimits { max_entries_per_group: 5, ..EngineLimits::default() };
    let mut engine =
        Engine::new(rules(Detector::ValueCount { field: derived::OBJECT, threshold: 4, timespan }, 10), limits);
    for id in 0..20_u32 {
        engine.apply(&matched(1, id, 0), at(1));
    }
    assert_eq!(engine.entries(), 5);
    assert!(engine.take_step().transitions.is_empty());
    for (id, value) in (20_u32..).zip(1_u8..4) {
        engine.apply(&matched(2, id, value), at(2));
    }
    let step = engine.take_step();
    assert_eq!(changes(&step), [(Change::Opened, 23)]);
    assert!(step.transitions[0].snapshot.saturated);
}

#[test]
fn what_is_given_up_at_a_limit_is_ended_and_counted() {
    let limits = EngineLimits { max_groups: 1, ..EngineLimits::default() };
    let mut engine = Engine::new(rules(Detector::Every, 10), limits);
    let mut other = matched(2, 2, 0);
    other.group = GroupKey(vec!["another".into()]);
    engine.apply(&matched(1, 1, 0), at(1));
    engine.apply(&other, at(2));
    let step = engine.take_step();
    assert_eq!(changes(&step), [(Change::Opened, 1), (Change::Opened, 1), (Change::Ended, 1)]);
    assert!(step.transitions[2].snapshot.saturated);
    assert_eq!(step.evicted, BTreeMap::from([(RuleIndex(0), 1)]));
}

#[test]
fn rows_of_a_changed_rule_are_dropped_and_those_of_another_version_refused() {
    let mut engine = Engine::new(rules(Detector::Every, 10), EngineLimits::default());
    engine.apply(&matched(1, 1, 0), at(1));
    let rows: Vec<_> = engine.take_step().deltas.into_iter().map(|delta| (delta.key, delta.value.unwrap())).collect();
    let mut changed = rules(Detector::Every, 10).rules[0].clone();
    changed.group_by.push(("kms.key_arn".to_owned(), derived::KEY_ARN));
    let changed = Arc::new(RuleSet::of_rules(vec![changed]));
    let mut restored = Engine::new(changed, EngineLimits::default());
    assert_eq!(restored.restore(&rows), Ok(1));
    assert_eq!(restored.groups(), 0);
    let removed: BTreeSet<_> =
        restored.take_step().deltas.into_iter().filter(|d| d.value.is_none()).map(|d| d.key).collect();
    let of_group: BTreeSet<_> = rows.iter().map(|(key, _)| key.clone()).filter(|key| key[0] != b'w').collect();
    assert_eq!(removed, of_group);

    let newer: Vec<_> = rows.iter().map(|(key, value)| (key.clone(), [&[9], &value[1..]].concat())).collect();
    let error = Engine::new(rules_again(), EngineLimits::default()).restore(&newer).unwrap_err().to_string();
    assert!(error.contains("version 9"), "{error}");
}

fn rules_again() -> Arc<RuleSet> {
    rules(Detector::Every, 10)
}
