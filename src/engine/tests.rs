//! The engine against its oracle: the design's sentence about incidents, written naively.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::matched::Signal;
use super::*;
use crate::event::EventId;
use crate::rule::detector::{Aggregate, Bound, Bounds, Present, Test};
use crate::rule::{Level, RuleMeta, Template};

const QUIET_SECS: i64 = 40;
const LATENESS_SECS: u64 = 100_000;

fn rule(detector: Detector, lateness_secs: u64) -> Rule {
    Rule {
        meta: Arc::new(RuleMeta { id: format!("{detector:?}"), ..RuleMeta::default() }),
        level: Level::High,
        group_by: vec!["kms.principal".to_owned()],
        detector,
        quiet: Span::from_secs(QUIET_SECS as u64),
        lateness: Span::from_secs(lateness_secs),
        summary: Template::default(),
        respond: Vec::new(),
        details: Vec::new(),
        opens: true,
        feeds: Vec::new(),
    }
}

fn rules(detector: Detector, lateness_secs: u64) -> Arc<RuleSet> {
    Arc::new(RuleSet::of_rules(vec![rule(detector, lateness_secs)]))
}

const TIMESPAN_SECS: i64 = 20;

fn window(test: Test) -> Detector {
    Detector::Window { timespan: Span::from_secs(TIMESPAN_SECS as u64), test }
}

fn events(bounds: Bounds) -> Detector {
    window(Test::EventCount(bounds))
}

fn distinct(least: f64) -> Detector {
    window(Test::ValueCount { path: "kms.object".to_owned(), bounds: Bounds::at_least(least) })
}

fn detectors() -> Vec<Detector> {
    let names = |count: usize| ["a", "b", "c"].into_iter().take(count).map(str::to_owned).collect::<Vec<_>>();
    let number = |how, bounds| window(Test::Number { path: "n".to_owned(), how, bounds });
    let all = Present::All(vec![Present::Step(0), Present::Step(1)]);
    let but = Present::All(vec![Present::Step(0), Present::Not(Box::new(Present::Step(1)))]);
    vec![
        Detector::Every,
        events(Bounds::at_least(3.0)),
        events(Bounds(vec![Bound::Lte(2.0)])),
        events(Bounds(vec![Bound::Gt(1.0), Bound::Lt(4.0), Bound::Neq(2.0)])),
        distinct(3.0),
        number(Aggregate::Sum, Bounds::at_least(8.0)),
        number(Aggregate::Average, Bounds(vec![Bound::Gt(2.5)])),
        number(Aggregate::Percentile(50.0), Bounds(vec![Bound::Eq(2.0)])),
        number(Aggregate::Percentile(90.0), Bounds(vec![Bound::Gte(3.5)])),
        window(Test::Temporal { rules: names(2), present: all }),
        window(Test::Temporal { rules: names(2), present: but }),
        window(Test::Ordered { rules: names(3), variables: Vec::new() }),
        window(Test::Ordered { rules: names(3), variables: vec!["who".to_owned()] }),
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
        signals: vec![Signal::Value(format!("value-{value}").into())],
        number: Some(f64::from(value)),
        facts: Default::default(),
        sample: Some(Arc::new(matched::Sample { raw: text.into(), details: Default::default() })),
    }
}

/// The step that a value stands for, and who takes it; the second step binds nobody.
fn step_of(value: u8) -> (u8, Option<u8>) {
    (value % 3, (value % 3 != 1).then_some(value / 3))
}

fn matched_by(detector: &Detector, secs: i64, id: u32, value: u8) -> Match {
    let mut one = matched(secs, id, value);
    if let Detector::Window { test, .. } = detector {
        let (step, who) = step_of(value);
        let who = who.map(|who| format!("{who}").into());
        match test {
            Test::EventCount(_) | Test::Number { .. } => one.signals.clear(),
            Test::ValueCount { .. } => {}
            Test::Temporal { .. } => one.signals = vec![Signal::Step { step: value % 2, bound: Vec::new() }],
            Test::Ordered { variables, .. } if variables.is_empty() => {
                one.signals = vec![Signal::Step { step, bound: Vec::new() }];
            }
            Test::Ordered { .. } => one.signals = vec![Signal::Step { step, bound: vec![who] }],
        }
    }
    one
}

/// Evidence of an incident as a set: what must not depend on the order.
type Found = BTreeSet<BTreeSet<String>>;

/// "A match qualifies when the window of `timespan` that ends at it meets the condition. An
/// incident is a maximal chain of qualifying matches with gaps of at most `quiet`. Its evidence is
/// every match inside the windows of its qualifying matches."
fn oracle(detector: &Detector, matches: &[(i64, u32, u8)]) -> Found {
    let all: BTreeSet<_> = matches.iter().copied().collect();
    let timespan = if *detector == Detector::Every { 0 } else { TIMESPAN_SECS };
    let window = |end: i64| all.iter().copied().filter(move |(time, ..)| end - timespan <= *time && *time <= end);
    let qualifies = |end: i64| match detector {
        Detector::Window { test, .. } => naive(test, &window(end).collect::<Vec<_>>()),
        _ => true,
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
        .map(|chain| {
            // Of steps in order, what comes before the first is no evidence.
            let begins = |end: i64| match detector {
                Detector::Window { test: Test::Ordered { .. }, .. } => {
                    window(end).filter(|(.., value)| step_of(*value).0 == 0).map(|(time, ..)| time).min().unwrap()
                }
                _ => i64::MIN,
            };
            let evidence = |end: &i64| window(*end).filter(|(time, ..)| *time >= begins(*end)).collect::<Vec<_>>();
            chain.iter().flat_map(evidence).map(|(_, id, _)| format!("event-{id}")).collect()
        })
        .collect()
}

/// What is asked of a window, without any cleverness.
fn naive(test: &Test, window: &[(i64, u32, u8)]) -> bool {
    let values: Vec<f64> = window.iter().map(|(.., value)| f64::from(*value)).collect();
    match test {
        Test::EventCount(bounds) => bounds.hold(window.len() as f64),
        Test::ValueCount { bounds, .. } => {
            bounds.hold(window.iter().map(|(.., value)| value).collect::<BTreeSet<_>>().len() as f64)
        }
        Test::Number { how, bounds, .. } => bounds.hold(match how {
            Aggregate::Sum => values.iter().sum(),
            Aggregate::Average => values.iter().sum::<f64>() / values.len() as f64,
            Aggregate::Percentile(rank) => percentile(values, *rank),
        }),
        Test::Temporal { present, .. } => {
            present.holds(window.iter().fold(0, |steps, (.., value)| steps | 1 << (value % 2)))
        }
        Test::Ordered { variables, .. } => {
            let free = variables.is_empty();
            let of = |wanted: u8| window.iter().filter(move |(.., value)| step_of(*value).0 == wanted);
            of(0).any(|first| {
                of(1).any(|second| {
                    of(2).any(|third| {
                        let same = free || step_of(first.2).1 == step_of(third.2).1;
                        first.0 <= second.0 && second.0 <= third.0 && same
                    })
                })
            })
        }
    }
}

/// Between the two values around the rank.
fn percentile(mut values: Vec<f64>, rank: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = rank / 100.0 * (values.len() as f64 - 1.0);
    let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
    low + (high - low) * at.fract()
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
        engine.apply(&matched_by(detector, *secs, *id, *value), EventTime::MAX);
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
        engine.apply(&matched_by(detector, *secs, *id, *value), EventTime::MAX);
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
    #![proptest_config(ProptestConfig::with_cases(150))]

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
    let mut engine = Engine::new(
        rules(Detector::Window { timespan, test: Test::EventCount(Bounds::at_least(50.0)) }, 10),
        EngineLimits::default(),
    );
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
    let detector = distinct(3.0);
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

/// Found by the simulated worlds, seed 13: the end of an incident was told that was never opened.
#[test]
fn an_incident_that_one_record_opens_and_joins_is_not_told_of() {
    let detector = events(Bounds::at_least(3.0));
    let mut engine = Engine::new(rules(detector.clone(), LATENESS_SECS), EngineLimits::default());
    for (id, secs) in [(1, 104), (2, 104), (3, 104), (4, 43), (5, 45), (6, 64)] {
        engine.apply(&matched_by(&detector, secs, id, 0), EventTime::MAX);
    }
    assert_eq!(changes(&engine.take_step()), [(Change::Opened, 3)]);
    // It makes the windows that end at 45 and at 64 pass; the second reaches to 104.
    engine.apply(&matched_by(&detector, 44, 7, 0), EventTime::MAX);
    assert_eq!(changes(&engine.take_step()), [(Change::Updated, 7)]);
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
    let limits = EngineLimits { max_entries_per_group: 5, ..EngineLimits::default() };
    let mut engine = Engine::new(rules(distinct(4.0), 10), limits);
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

/// Who fills few groups of one rule with many matches must not push out the many small groups of
/// another; and who opens many groups of one rule takes only from that rule.
#[test]
fn a_flood_of_one_rule_takes_nothing_from_another() {
    let one = rules(Detector::Every, 10).rules[0].clone();
    let other = Rule { meta: Arc::new(RuleMeta { id: "another".to_owned(), ..RuleMeta::default() }), ..one.clone() };
    let both = Arc::new(RuleSet::of_rules(vec![one, other]));
    let quiet = |name: u32| Match {
        rule: RuleIndex(1),
        group: GroupKey(vec![format!("quiet {name}").as_str().into()]),
        ..matched(1, name, 0)
    };
    let flood = |group: u32, id: u32| Match {
        group: GroupKey(vec![format!("flood {group}").as_str().into()]),
        ..matched(2, 1000 + id, 0)
    };
    let of_quiet = |engine: &Engine| engine.slots.values().filter(|slot| slot.rule == RuleIndex(1)).count();

    let limits = EngineLimits { max_entries: 100, ..EngineLimits::default() };
    let mut engine = Engine::new(both.clone(), limits);
    (0..40).for_each(|name| assert_eq!(engine.apply(&quiet(name), at(1)), Applied::Counted));
    (0..300).for_each(|id| assert_eq!(engine.apply(&flood(id % 5, id), at(2)), Applied::Counted));
    assert_eq!(of_quiet(&engine), 40);
    assert!(engine.entries() <= 100);
    let step = engine.take_step();
    assert!(step.evicted[&RuleIndex(0)] > 0 && step.evicted.len() == 1, "{:?}", step.evicted);

    let limits = EngineLimits { max_groups: 100, ..EngineLimits::default() };
    let mut engine = Engine::new(both, limits);
    (0..40).for_each(|name| assert_eq!(engine.apply(&quiet(name), at(1)), Applied::Counted));
    (0..300).for_each(|id| assert_eq!(engine.apply(&flood(id, id), at(2)), Applied::Counted));
    assert_eq!((of_quiet(&engine), engine.groups()), (40, 100));
    assert_eq!(engine.take_step().evicted, BTreeMap::from([(RuleIndex(0), 240)]));
    let counted: usize = engine.slots.values().map(|slot| slot.group.entries()).sum();
    assert_eq!(engine.entries(), counted);
}

#[test]
fn rows_of_a_changed_rule_are_dropped_and_those_of_another_version_refused() {
    let mut engine = Engine::new(rules(Detector::Every, 10), EngineLimits::default());
    engine.apply(&matched(1, 1, 0), at(1));
    let rows: Vec<_> = engine.take_step().deltas.into_iter().map(|delta| (delta.key, delta.value.unwrap())).collect();
    let mut changed = rules(Detector::Every, 10).rules[0].clone();
    changed.group_by.push("kms.key_arn".to_owned());
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
