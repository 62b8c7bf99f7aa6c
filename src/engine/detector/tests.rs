//! The kinds that Sigma lacks, each against its oracle: the sentence of its definition, naively.
//!
//! Records come late by up to the allowed lateness, twice, and over restarts.

mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::rate::Usual;
use crate::engine::incident::Change;
use crate::engine::lesson::{self, Lessons, Seeds};
use crate::engine::matched::{GroupKey, Match, Sample, Signal};
use crate::engine::{Engine, EngineLimits, Step};
use crate::event::EventId;
use crate::rule::detector::{Absence, Case, Escalation, NewTerms, Rate, Test, Trigger};
use crate::rule::{Detector, Level, Rule, RuleIndex, RuleMeta, RuleSet, Template};
use crate::time::{EventTime, Span};

const LATENESS: i64 = 60;
const QUIET: i64 = 40;
const DAY: i64 = 86_400;

fn secs(secs: i64) -> Span {
    Span::from_secs(secs.unsigned_abs())
}

fn at(secs: i64) -> EventTime {
    EventTime::from_millis(secs * 1000)
}

fn rules(detector: Detector) -> Arc<RuleSet> {
    Arc::new(RuleSet::of_rules(vec![Rule {
        meta: Arc::new(RuleMeta { id: "rule".to_owned(), ..RuleMeta::default() }),
        level: Level::Medium,
        group_by: vec!["term".to_owned()],
        detector,
        quiet: secs(QUIET),
        lateness: secs(LATENESS),
        summary: Template::default(),
        respond: Vec::new(),
        details: Vec::new(),
        opens: true,
        feeds: Vec::new(),
    }]))
}

/// A record: when, which group, what it says, and how late it comes.
#[derive(Clone, Copy, Debug)]
struct One {
    time: i64,
    group: u8,
    says: u8,
    late: i64,
}

fn matched(id: usize, one: One) -> Match {
    let text = format!("event-{id:03}");
    let step = Signal::Step { step: one.says % 4 % 2, bound: Vec::new() };
    let signals = [vec![Signal::Opens], vec![Signal::Closes], vec![Signal::Escalates(0)], vec![Signal::Escalates(1)]];
    Match {
        rule: RuleIndex(0),
        group: GroupKey(vec![format!("{}", one.group).into()]),
        id: EventId::new(&text),
        time: at(one.time),
        lane: "111122223333/eu-west-1".into(),
        signals: [signals[usize::from(one.says % 4)].clone(), vec![step]].concat(),
        number: None,
        facts: Default::default(),
        sample: Some(Arc::new(Sample { raw: text.into(), details: Default::default() })),
    }
}

/// The engine with a store behind it, and what a pager would have seen.
struct World {
    rules: Arc<RuleSet>,
    engine: Engine,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    last: BTreeMap<String, (Change, EventTime, EventTime, BTreeSet<String>)>,
}

impl World {
    fn of(detector: Detector) -> Self {
        let rules = rules(detector);
        let engine = Engine::new(rules.clone(), EngineLimits::default());
        Self { rules, engine, rows: BTreeMap::new(), last: BTreeMap::new() }
    }

    fn take(&mut self) {
        let step: Step = self.engine.take_step();
        for transition in step.transitions {
            let incident = &transition.snapshot.incident;
            let ids = transition.snapshot.evidence.ids.iter().map(|(_, id)| id.to_string()).collect();
            let known =
                self.last.insert(incident.id.clone(), (transition.change.clone(), incident.start, incident.end, ids));
            assert_eq!(
                known.is_none(),
                transition.change == Change::Opened,
                "{} is opened once, and first",
                incident.id
            );
        }
        for delta in step.deltas {
            match delta.value {
                Some(value) => drop(self.rows.insert(delta.key, value)),
                None => drop(self.rows.remove(&delta.key)),
            }
        }
    }

    fn restart(&mut self) {
        self.engine = Engine::new(self.rules.clone(), EngineLimits::default());
        let rows: Vec<_> = self.rows.clone().into_iter().collect();
        assert_eq!(self.engine.restore(&rows), Ok(0));
    }

    /// All records as they come, each third twice, with restarts; then the end of time.
    fn run(&mut self, records: &[One], restarts: &[bool]) {
        let mut order: Vec<(i64, usize)> =
            records.iter().enumerate().map(|(id, one)| (one.time + one.late, id)).collect();
        order
            .extend(order.clone().into_iter().step_by(3).map(|(time, id)| (time.min(records[id].time + LATENESS), id)));
        order.sort_unstable();
        for (count, (_, id)) in order.into_iter().enumerate() {
            self.engine.apply(&matched(id, records[id]), EventTime::MAX);
            if count % 2 == 0 {
                self.engine.expire();
            }
            self.take();
            if restarts.get(count).copied().unwrap_or(false) {
                self.restart();
            }
        }
    }

    fn finish(&mut self) {
        self.engine.observe(&"111122223333/eu-west-1".into(), at(10_000_000_000), EventTime::MAX);
        self.engine.expire();
        self.take();
        assert_eq!((self.engine.groups(), self.engine.entries()), (0, 0), "nothing is kept for ever");
    }

    fn standing(&self) -> impl Iterator<Item = &(Change, EventTime, EventTime, BTreeSet<String>)> {
        self.last.values().filter(|(change, ..)| !matches!(change, Change::Merged(_)))
    }
}

fn records(span: i64, groups: u8, count: usize) -> impl Strategy<Value = Vec<One>> {
    let one = (0..span, 0..groups, any::<u8>(), 0..=LATENESS);
    prop::collection::vec(one.prop_map(|(time, group, says, late)| One { time, group, says, late }), 1..count)
}

/// Chains of instants with gaps of at most `quiet`, each with the records of its instants.
fn chains(instants: &BTreeMap<i64, BTreeSet<String>>, quiet: i64) -> BTreeSet<BTreeSet<String>> {
    let mut found: Vec<(i64, BTreeSet<String>)> = Vec::new();
    for (time, ids) in instants {
        match found.last_mut() {
            Some((last, all)) if time - *last <= quiet => {
                *last = *time;
                all.extend(ids.clone());
            }
            _ => found.push((*time, ids.clone())),
        }
    }
    found.into_iter().map(|(_, ids)| ids).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// "A match qualifies when its term was not seen in the `history` before it, the grace of a
    /// record that may still come left out, and the scope was first seen `learn` before it."
    #[test]
    fn new_terms(list in records(3000, 3, 30), restarts in prop::collection::vec(any::<bool>(), 60)) {
        let (history, learn, grace) = (400, 300, QUIET + LATENESS);
        let mut world = World::of(Detector::NewTerms(NewTerms { history: secs(history), learn: secs(learn), per: vec![] }));
        world.run(&list, &restarts);
        world.finish();
        let first = list.iter().map(|one| one.time).min().unwrap();
        let mut expected = BTreeSet::new();
        for group in 0..3 {
            let mut instants: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
            let of_group = || list.iter().enumerate().filter(|(_, one)| one.group == group);
            for (id, one) in of_group() {
                let seen = of_group().any(|(_, other)| one.time - history <= other.time && other.time < one.time - grace);
                if !seen && first + learn <= one.time {
                    instants.entry(one.time).or_default().insert(format!("event-{id:03}"));
                }
            }
            expected.extend(chains(&instants, grace));
        }
        let found: BTreeSet<_> = world.standing().map(|(.., ids)| ids.clone()).collect();
        prop_assert_eq!(found, expected);
    }

    /// "A chain of steps in order, each within the window; its evidence begins with the first step." What
    /// no first step precedes is dropped soon, and is missed by nobody.
    #[test]
    fn steps_in_order(list in records(3000, 1, 40), restarts in prop::collection::vec(any::<bool>(), 60)) {
        let timespan = 200;
        let test = Test::Ordered { rules: vec!["a".into(), "b".into()], variables: Vec::new() };
        let mut world = World::of(Detector::Window { timespan: secs(timespan), test });
        world.run(&list, &restarts);
        world.finish();
        let step = |one: &One| one.says % 4 % 2;
        let window = |end: i64| list.iter().enumerate().filter(move |(_, one)| end - timespan <= one.time && one.time <= end);
        let mut instants: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
        for one in &list {
            let firsts = window(one.time).filter(|(_, one)| step(one) == 0).map(|(_, one)| one.time);
            let Some(first) = firsts.min() else { continue };
            if window(one.time).any(|(_, one)| step(one) == 1 && one.time >= first) {
                let ids = window(one.time).filter(|(_, one)| one.time >= first).map(|(id, _)| format!("event-{id:03}"));
                instants.entry(one.time).or_default().extend(ids);
            }
        }
        let expected = chains(&instants, timespan);
        let found: BTreeSet<_> = world.standing().map(|(.., ids)| ids.clone()).collect();
        prop_assert_eq!(found, expected);
    }

    /// "An absence begins `after` the last of two neighbours that are further apart, when what came
    /// without such a gap before it had come for `steady`."
    #[test]
    fn absence(list in records(3000, 2, 25), restarts in prop::collection::vec(any::<bool>(), 60)) {
        let (after, steady) = (100, 50);
        let mut world = World::of(Detector::Absence(Absence { after: secs(after), steady: secs(steady), forget: secs(1000) }));
        world.run(&list, &restarts);
        world.finish();
        let mut expected = Vec::new();
        for group in 0..2 {
            let times: BTreeSet<i64> = list.iter().filter(|one| one.group == group).map(|one| one.time).collect();
            let mut since = times.first().copied();
            let next = times.iter().skip(1).copied().chain([i64::MAX]);
            for (time, next) in times.iter().zip(next).filter(|(time, next)| next - **time > after) {
                expected.extend((since.unwrap() + steady <= *time).then_some(at(*time + after)));
                since = Some(next);
            }
        }
        expected.sort_unstable();
        let mut found: Vec<_> = world.standing().map(|(change, start, ..)| {
            assert_eq!(*change, Change::Ended);
            *start
        }).collect();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
    }

    /// "A case is opened by the first record that opens it, and closed by the next that undoes it."
    #[test]
    fn cases(list in records(400, 2, 25), restarts in prop::collection::vec(any::<bool>(), 60)) {
        let escalation = |level| Escalation { level, when: Trigger::Record, note: String::new() };
        let detector = Detector::Case(Case {
            keep: secs(10_000),
            deadline: None,
            escalations: vec![escalation(Level::High), escalation(Level::Critical)],
        });
        let mut world = World::of(detector);
        world.run(&list, &restarts);
        let mut expected = BTreeSet::new();
        for group in 0..2 {
            let mut instants: BTreeMap<i64, BTreeSet<u8>> = BTreeMap::new();
            for one in list.iter().filter(|one| one.group == group) {
                instants.entry(one.time).or_default().insert(one.says % 4);
            }
            let mut open: Option<(i64, u64)> = None;
            for (time, says) in instants {
                let graver_now = u64::from(says.contains(&2)) | u64::from(says.contains(&3)) << 1;
                if says.contains(&1) && let Some((start, graver)) = open.take() {
                    let graver = graver | graver_now;
                    expected.insert((group, start, Some(time), graver));
                }
                if says.contains(&0) && open.is_none() {
                    open = Some((time, 0));
                }
                if let Some((_, graver)) = &mut open {
                    *graver |= graver_now;
                }
            }
            expected.extend(open.map(|(start, graver)| (group, start, None, graver)));
        }
        // What was closed is let go soon after; here it is asked for before that.
        let found: BTreeSet<_> = world.engine.slots.values().flat_map(|slot| {
            let group: u8 = slot.group.key.0[0].parse().unwrap();
            let incidents = slot.group.incidents.iter();
            incidents.map(move |incident| {
                let closed = incident.closed.map(|time| time.as_millis() / 1000);
                (group, incident.start.as_millis() / 1000, closed, incident.escalated)
            }).collect::<Vec<_>>()
        }).collect();
        let last = list.iter().map(|one| one.time).max().unwrap();
        let kept = |case: &&(u8, i64, Option<i64>, u64)| case.2.is_none_or(|closed| closed + QUIET + LATENESS >= last);
        prop_assert_eq!(found.iter().filter(kept).collect::<Vec<_>>(), expected.iter().filter(kept).collect::<Vec<_>>());
        let open = expected.iter().filter(|case| case.2.is_none()).count();
        prop_assert_eq!(world.standing().filter(|(change, ..)| *change != Change::Ended).count(), open);
        world.finish();
        prop_assert!(world.standing().all(|(change, ..)| *change == Change::Ended));
    }

    /// "A record qualifies when its cell holds, with it, as many as a spike has; the end of a cell
    /// when it held as few as a drop." By days, so that weeks are short.
    #[test]
    fn rate(days in prop::collection::vec(prop::collection::vec((0..DAY, 0..=LATENESS), 0..7), 20..45),
            restarts in prop::collection::vec(any::<bool>(), 200)) {
        let rate = Rate { every: secs(DAY), history: secs(28 * DAY), weeks: 2, spike: Some(1.0), times: None, drop: Some(1.0), least: 2 };
        let one = |day: usize, time: i64, late: i64| One { time: day as i64 * DAY + time, group: 0, says: 0, late };
        let mut list: Vec<One> = days.iter().enumerate().flat_map(|(day, times)| times.iter().map(move |(time, late)| one(day, *time, *late))).collect();
        list.extend((0..days.len()).step_by(7).map(|day| one(day, 0, 0)));
        let mut world = World::of(Detector::Rate(rate.clone()));
        world.run(&list, &restarts);
        world.finish();
        let cell = |time: i64| time.div_euclid(DAY);
        let count = |day: i64| list.iter().filter(|one| cell(one.time) == day).count() as u64;
        let first = list.iter().map(|one| cell(one.time)).min().unwrap();
        let last = list.iter().map(|one| one.time).max().unwrap();
        let usual = |day: i64| {
            let weeks = (1..5).map(|week| day - 7 * week).filter(|earlier| *earlier > first && *earlier >= day - 28);
            Usual::of(weeks.map(count).collect(), 2)
        };
        let mut instants: BTreeSet<i64> = BTreeSet::new();
        for one in &list {
            let so_far = list.iter().filter(|other| cell(other.time) == cell(one.time) && other.time <= one.time).count();
            let limit = usual(cell(one.time)).and_then(|usual| usual.spike(&rate));
            instants.extend(limit.filter(|limit| so_far as f64 >= *limit).map(|_| one.time));
        }
        for day in first..=cell(last + 28 * DAY) {
            instants.extend(usual(day).filter(|usual| usual.is_drop(&rate, count(day))).map(|_| (day + 1) * DAY));
        }
        let mut expected: Vec<(EventTime, EventTime)> = Vec::new();
        for time in instants.into_iter().map(at) {
            match expected.last_mut() {
                Some((_, end)) if time - *end <= secs(DAY) => *end = time,
                _ => expected.push((time, time)),
            }
        }
        let mut found: Vec<_> = world.standing().map(|(_, start, end, _)| (*start, *end)).collect();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
    }
}

fn changes(world: &mut World) -> Vec<(Change, Option<Level>, Option<String>)> {
    let step = world.engine.take_step();
    let told = step.transitions.into_iter();
    told.map(|one| (one.change, one.snapshot.incident.level, one.snapshot.incident.note)).collect()
}

#[test]
fn a_silent_lane_is_an_absence_soon_and_a_busy_one_with_a_backlog_is_not() {
    let detector = Detector::Absence(Absence { after: secs(600), steady: Span::ZERO, forget: secs(DAY) });
    let mut world = World::of(detector);
    let record = |id, time| matched(id, One { time, group: 0, says: 0, late: 0 });
    world.engine.apply(&record(1, 1000), at(1005));
    world.engine.pass_time(at(1600));
    world.engine.expire();
    assert!(changes(&mut world).is_empty());
    world.engine.pass_time(at(1005 + 600 + LATENESS + 1));
    world.engine.expire();
    let told = changes(&mut world);
    assert_eq!((told.len(), &told[0].0), (1, &Change::Opened));
    assert!(told[0].2.as_deref().unwrap().starts_with("nothing since 1970-01-01T00:16:40Z"));
    world.engine.apply(&record(2, 3000), at(3001));
    assert_eq!(changes(&mut world)[0].0, Change::Ended);
    // An hour behind, and still speaking.
    world.engine.apply(&record(3, 3100), at(7000));
    world.engine.pass_time(at(7010));
    world.engine.expire();
    assert!(changes(&mut world).is_empty());
}

/// Twice the usual is a month's end; what is read in bulk is many times as much.
#[test]
fn a_spike_may_have_to_be_many_times_the_usual() {
    let rate = |times| Rate {
        every: secs(DAY),
        history: secs(35 * DAY),
        weeks: 3,
        spike: Some(8.0),
        times,
        drop: None,
        least: 5,
    };
    let usual = Usual::of(vec![990, 1000, 1010], 3).unwrap();
    let at_least = |times| usual.spike(&rate(times)).unwrap();
    assert!(at_least(None) < 2000.0 && at_least(Some(1.0)) < 2000.0);
    assert!((at_least(Some(3.0)) - 3000.0).abs() < 1e-9);
    let few = Usual::of(vec![4, 4, 4], 3).unwrap();
    assert!(few.spike(&rate(Some(3.0))).unwrap() > 12.0, "of few the spread decides");
}

/// By way of a file, in two parts.
fn learn(world: &mut World, history: &[Match]) -> usize {
    let (early, late) = history.split_at(history.len() / 3);
    let mut lessons = Lessons::of(&world.rules, late);
    lessons.merge(Lessons::of(&world.rules, early));
    let lessons = lessons.into_vec();
    assert_eq!(lessons, Lessons::of(&world.rules, history).into_vec());
    let read = lesson::read(&world.rules, &lesson::write(&world.rules, &lessons)).unwrap();
    assert_eq!(read, Seeds { lessons, skipped: Vec::new() });
    world.engine.learn(&read.lessons)
}

#[test]
fn seeds_of_a_changed_rule_are_passed_over_and_nonsense_is_refused() {
    let new_terms = Detector::NewTerms(NewTerms { history: secs(30 * DAY), learn: secs(7 * DAY), per: vec![] });
    let rules = rules(new_terms);
    let history = [matched(1, One { time: DAY, group: 0, says: 0, late: 0 })];
    let text = lesson::write(&rules, &Lessons::of(&rules, &history).into_vec());
    let said = |text: &str| lesson::read(&rules, text).map(|seeds| (seeds.lessons.len(), seeds.skipped));
    assert_eq!(said(&text), Ok((1, vec![])));
    let changed = text.replace(r#""rules":{"rule":""#, r#""rules":{"rule":"0"#);
    assert_eq!(said(&changed), Ok((0, vec![": the rule was changed since; 1 groups are not learnt".to_owned()])));
    let gone = text.replace(r#""rule":"rule""#, r#""rule":"other""#);
    assert_eq!(said(&gone), Ok((0, vec!["other: there is no such rule; 1 groups are not learnt".to_owned()])));
    for (bad, why) in [
        (String::new(), "line 1: an empty file"),
        ("{}".to_owned(), "line 1: no head"),
        (text.replace(r#""version":1"#, r#""version":2"#), "of version 2, and this reads"),
        (text.replace("\"times\"", "\"tims\""), "line 2: not what rule rule learns"),
        (text.replace(r#""group":["#, r#""group":["x","#), "line 2: 2 values where"),
        (format!("{text}{{"), "line 3: EOF"),
    ] {
        let error = said(&bad).unwrap_err().to_string();
        assert!(error.contains(why), "{why} is not in {error}");
    }
}

#[test]
fn what_was_learnt_from_captures_is_known_and_nobody_is_told() {
    let record = |id: usize, time, group| matched(id, One { time, group, says: 0, late: 0 });
    let history: Vec<Match> = (0..40).map(|day| record(day, day as i64 * DAY, 0)).collect();
    let mut world =
        World::of(Detector::NewTerms(NewTerms { history: secs(30 * DAY), learn: secs(7 * DAY), per: vec![] }));
    assert_eq!(learn(&mut world, &history), 1);
    world.take();
    world.restart();
    world.engine.apply(&record(100, 41 * DAY, 0), at(41 * DAY));
    assert!(changes(&mut world).is_empty(), "known");
    world.engine.apply(&record(101, 41 * DAY, 1), at(41 * DAY));
    assert_eq!(changes(&mut world)[0].0, Change::Opened, "new, and learning is over");

    let rate = Rate {
        every: secs(DAY),
        history: secs(35 * DAY),
        weeks: 3,
        spike: Some(3.0),
        times: None,
        drop: Some(2.0),
        least: 5,
    };
    let mut world = World::of(Detector::Rate(rate));
    let busy = |day: usize| (0..20).map(move |n| record(day * 100 + n, day as i64 * DAY + n as i64, 0));
    let history: Vec<Match> = (0..30).flat_map(busy).collect();
    learn(&mut world, &history);
    world.take();
    let rows = world.rows.clone();
    learn(&mut world, &history);
    world.take();
    assert_eq!(world.rows, rows, "twice is once");
    world.restart();
    // Ten days without a record, in which nobody was listening, are no drop.
    for one in (40..42).flat_map(busy) {
        world.engine.apply(&one, one.time);
    }
    world.engine.expire();
    assert!(changes(&mut world).is_empty());
    for n in 0..200 {
        world.engine.apply(&record(42_000 + n, 42 * DAY + n as i64, 0), at(42 * DAY));
    }
    assert_eq!(changes(&mut world)[0].0, Change::Opened, "a spike over what was learnt");
}
