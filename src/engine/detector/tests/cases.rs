//! Cases one by one: what is told of them, and when.

use super::*;

#[test]
fn a_case_shows_the_days_left_and_grows_graver() {
    let detector = Detector::Case(Case {
        keep: secs(35 * DAY),
        deadline: Some(crate::rule::detector::Deadline { path: "days".to_owned(), default_days: 30 }),
        escalations: vec![
            Escalation { level: Level::High, when: Trigger::Record, note: "used".to_owned() },
            Escalation { level: Level::Critical, when: Trigger::Before(secs(DAY)), note: "last day".to_owned() },
        ],
    });
    let mut world = World::of(detector);
    let record = |id, time, says| matched(id, One { time, group: 0, says, late: 0 });
    let mut opens = record(1, 0, 0);
    opens.signals.push(Signal::Deadline(at(7 * DAY)));
    world.engine.apply(&opens, at(5));
    let note = |text: &str| Some(text.to_owned());
    assert_eq!(changes(&mut world), [(Change::Opened, None, note("7 days left, until 1970-01-08T00:00:00Z"))]);
    world.engine.apply(&record(2, DAY, 2), at(DAY));
    world.engine.apply(&record(3, DAY + 1, 2), at(DAY));
    let told = changes(&mut world);
    assert_eq!(told, [(Change::Escalated, Some(Level::High), note("6 days left, until 1970-01-08T00:00:00Z; used"))]);
    world.engine.observe(&"111122223333/eu-west-1".into(), at(6 * DAY + 10), at(6 * DAY + 10));
    world.engine.expire();
    let told = changes(&mut world);
    let last = note("1 day left, until 1970-01-08T00:00:00Z; used; last day");
    assert_eq!(told, [(Change::Escalated, Some(Level::Critical), last)]);
    world.engine.apply(&record(4, 6 * DAY + 20, 1), at(6 * DAY + 20));
    let told = changes(&mut world);
    assert_eq!((told.len(), &told[0].0), (1, &Change::Ended));
    assert!(told[0].2.as_deref().unwrap().starts_with("undone at 1970-01-07T00:00:20Z"));
    world.engine.observe(&"111122223333/eu-west-1".into(), at(50 * DAY), at(50 * DAY));
    world.engine.expire();
    assert!(changes(&mut world).is_empty() && world.engine.groups() == 0);
}

/// A rule that is critical from the start has no graver level, and what happens is told all the same.
#[test]
fn what_happens_to_a_case_is_told_whatever_its_level() {
    let escalation = |when, note: &str| Escalation { level: Level::Medium, when, note: note.to_owned() };
    let detector = Detector::Case(Case {
        keep: secs(35 * DAY),
        deadline: Some(crate::rule::detector::Deadline { path: "days".to_owned(), default_days: 30 }),
        escalations: vec![
            escalation(Trigger::Record, "used"),
            escalation(Trigger::Record, "gone"),
            escalation(Trigger::Before(secs(DAY / 2)), "half a day"),
        ],
    });
    let mut world = World::of(detector);
    let record = |id, time, says| matched(id, One { time, group: 0, says, late: 0 });
    let mut opens = record(1, 0, 0);
    opens.signals.push(Signal::Deadline(at(7 * DAY)));
    world.engine.apply(&opens, at(5));
    world.engine.apply(&record(2, DAY, 2), at(DAY));
    world.engine.apply(&record(3, DAY + 1, 2), at(DAY));
    world.engine.observe(&"111122223333/eu-west-1".into(), at(7 * DAY - 3600), at(7 * DAY - 3600));
    world.engine.expire();
    world.engine.apply(&record(4, 7 * DAY + 1, 3), at(7 * DAY));
    let told: Vec<_> = changes(&mut world).into_iter().map(|(change, _, note)| (change, note.unwrap())).collect();
    let until = "until 1970-01-08T00:00:00Z";
    let expected = [
        (Change::Opened, format!("7 days left, {until}")),
        (Change::Escalated, format!("6 days left, {until}; used")),
        (Change::Escalated, format!("12 hours left, {until}; used; half a day")),
        (Change::Escalated, format!("0 hours left, {until}; used; gone; half a day")),
    ];
    assert_eq!(told, expected);
}

/// A key that is pending deletion and still in use all day.
#[test]
fn a_case_with_very_many_records_is_counted_and_costs_no_more() {
    let escalation = Escalation { level: Level::Critical, when: Trigger::Record, note: String::new() };
    let case = Case { keep: secs(30 * DAY), deadline: None, escalations: vec![escalation] };
    let mut world = World::of(Detector::Case(case));
    let record = |id: usize, says| matched(id, One { time: id as i64, group: 0, says, late: 0 });
    world.engine.apply(&record(0, 0), at(0));
    for id in 1..100_000 {
        world.engine.apply(&record(id, 2), at(id as i64));
    }
    assert!(world.engine.entries() <= 600, "{}", world.engine.entries());
    world.engine.apply(&record(100_000, 1), at(100_000));
    let step = world.engine.take_step();
    let last = &step.transitions.last().unwrap();
    assert_eq!((&last.change, last.snapshot.incident.count), (&Change::Ended, 100_001));
    assert!(last.snapshot.saturated);
}

/// A record that closes a case comes after one that opened it again.
#[test]
fn a_late_record_makes_one_case_two() {
    let mut world = World::of(Detector::Case(Case { keep: secs(DAY), deadline: None, escalations: Vec::new() }));
    for (id, time, says) in [(1, 100, 0), (2, 150, 0), (3, 120, 1)] {
        world.engine.apply(&matched(id, One { time, group: 0, says, late: 0 }), at(200));
    }
    let step = world.engine.take_step();
    let told: Vec<_> = step
        .transitions
        .iter()
        .map(|one| (one.change.clone(), one.snapshot.incident.start, one.snapshot.incident.closed))
        .collect();
    let expected = [
        (Change::Opened, at(100), None),
        (Change::Updated, at(100), None),
        (Change::Ended, at(100), Some(at(120))),
        (Change::Opened, at(150), None),
    ];
    assert_eq!(told, expected);
    assert_eq!(step.transitions[0].snapshot.incident.id, step.transitions[2].snapshot.incident.id);
}

/// What belongs to a case and comes after it was told as closed: the last word counts it, and what makes
/// it graver rings.
#[test]
fn what_comes_after_the_end_of_a_case_was_told_is_told_too() {
    let escalation = |note: &str| Escalation { level: Level::Critical, when: Trigger::Record, note: note.to_owned() };
    let escalations = vec![escalation("used"), escalation("gone")];
    let mut world = World::of(Detector::Case(Case { keep: secs(DAY), deadline: None, escalations }));
    let mut apply = |id, time, says| {
        world.engine.apply(&matched(id, One { time, group: 0, says, late: 0 }), at(300));
        let told = world.engine.take_step().transitions;
        told.iter().map(|one| (one.change.clone(), one.snapshot.incident.count)).collect::<Vec<_>>()
    };
    assert_eq!(apply(1, 100, 0), [(Change::Opened, 1)]);
    assert_eq!(apply(2, 200, 1), [(Change::Ended, 2)]);
    assert_eq!(apply(3, 150, 0), [(Change::Ended, 3)]);
    assert_eq!(apply(4, 160, 2), [(Change::Escalated, 4), (Change::Ended, 4)]);
    assert_eq!(apply(4, 160, 2), []);
}
