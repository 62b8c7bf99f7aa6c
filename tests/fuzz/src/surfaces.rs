//! The hostile surfaces: each takes any bytes and panics when kmswatch does, or when it breaks a
//! promise (accounts that do not close, an error without a place).

use std::sync::{Arc, LazyLock};

use kmswatch::alert::redact::{Redaction, deceives};
use kmswatch::alert::{Alert, text};
use kmswatch::engine::lesson;
use kmswatch::event::derive::{derive, uses_of};
use kmswatch::event::envelope::{EnvelopeLimits, Found, open};
use kmswatch::event::policy::{Access, Policy, diff};
use kmswatch::event::record::{RecordError, decode};
use kmswatch::keys::inventory::Inventory;
use kmswatch::keys::picture::Picture;
use kmswatch::keys::picture::change::changes_of;
use kmswatch::keys::snapshot;
use kmswatch::pipeline::plan::analyze::{Analysis, Analyzer};
use kmswatch::pipeline::plan::{Limits, Plan, Planned};
use kmswatch::rule::{RuleSet, RuleText, pack};
use kmswatch::source::{Delivery, Receipt};
use kmswatch::time::EventTime;

/// The rules that are shipped.
pub static RULES: LazyLock<Arc<RuleSet>> =
    LazyLock::new(|| Arc::new(RuleSet::compile(&pack::shipped()).rules.expect("shipped rules compile")));

/// When deliveries come.
pub fn now() -> EventTime {
    EventTime::parse("2026-01-05T12:00:00Z").expect("a time")
}

/// A plan with the shipped rules and nothing else.
pub fn plan(limits: Limits) -> Plan {
    Plan::new(RULES.clone(), Arc::new(Inventory::default()), limits, Redaction::default())
}

/// A delivery of a body.
pub fn delivery(body: &[u8]) -> Delivery {
    Delivery {
        body: body.to_vec(),
        receipt: Receipt("receipt".to_owned()),
        label: "message".to_owned(),
        sent_at: None,
        receive_count: 1,
    }
}

/// A body: as an envelope, and through the plan. What came of it.
pub fn delivered(bytes: &[u8]) -> Planned {
    let envelope = EnvelopeLimits { max_bytes: 1 << 20, ..EnvelopeLimits::default() };
    let (mut found, mut bad) = (0_u64, 0_u64);
    let opened = open(bytes, envelope, &mut |one| {
        found += 1;
        if let Found::Bad { place, reason } = one {
            bad += 1;
            assert!(place.starts_with("record ") && !reason.is_empty(), "{place}: {reason}");
        }
    });
    if let Err(error) = &opened {
        assert!(!error.to_string().is_empty());
        (found, bad) = (found + 1, bad + 1);
    }
    let mut plan = plan(Limits { envelope, ..Limits::default() });
    let planned = plan.batch(&[delivery(bytes)], now());
    let accounting = planned.accounting;
    assert!(accounting.closes(), "{accounting:?}");
    assert_eq!(accounting.received, found, "{accounting:?}");
    assert!(accounting.parked >= bad, "{accounting:?}");
    assert_eq!(planned.park.len(), usize::from(accounting.parked > 0), "unreadable is parked, and nothing else");
    assert_eq!(planned.ack.len() + planned.park.len(), 1);
    planned.commit.outbox.iter().for_each(shown);
    planned
}

/// See [`delivered`].
pub fn envelope(bytes: &[u8]) {
    drop(delivered(bytes));
}

/// What people see of an alert holds nothing that does more than show itself.
pub fn shown(alert: &Alert) {
    let rendered = text::render(alert);
    let safe = |text: &str| !text.chars().any(deceives);
    assert!(rendered.lines().all(safe), "{rendered:?}");
    let (subject, short) = (text::subject(alert), text::short(alert));
    assert!(subject.len() <= 99 && subject.chars().all(|c| c.is_ascii() && !c.is_ascii_control()), "{subject:?}");
    assert!(short.chars().count() <= 160 && safe(&short), "{short:?}");
    assert!(alert.event_ids.iter().all(|id| safe(id)), "{:?}", alert.event_ids);
    assert!(alert.respond.iter().all(|command| safe(command)), "{:?}", alert.respond);
}

/// One record: decoded, derived, read against the rules, and for what it says of keys.
pub fn record(bytes: &[u8]) {
    let Ok(raw) = std::str::from_utf8(bytes) else { return };
    let decoded = match decode(raw, &RULES.projection) {
        Ok(decoded) => decoded,
        Err(RecordError::Json(reason)) => return assert!(reason.contains("line "), "{reason}"),
        Err(error) => return assert!(error.to_string().contains('`'), "{error}"),
    };
    for used in uses_of(&decoded) {
        derive(&mut decoded.clone(), &used);
    }
    drop(changes_of(&decoded));
    let analyzer = Analyzer { rules: RULES.clone(), inventory: Arc::new(Inventory::default()) };
    if let Analysis::Read(reading) = analyzer.analyze(decoded, &Picture::default()) {
        for matched in &reading.matches {
            assert!(matched.group.0.iter().all(|value| value.chars().count() <= 512));
            assert!(matched.lane.chars().count() <= 64);
        }
    }
}

/// A key policy: read, put into words, and compared with none and with itself.
pub fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Policy::parse(text) {
        Ok(policy) => {
            let owner = Some("111122223333");
            drop(Access::of(&policy, owner));
            drop(diff(None, &policy, owner).lines());
            assert!(diff(Some(&policy), &policy, owner).is_empty());
        }
        Err(error) => {
            assert!(error.to_string().contains("policy") || error.to_string().contains("statement"), "{error}")
        }
    }
}

/// A rule file.
pub fn rule(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let compiled = RuleSet::compile(&[RuleText { path: "family/rule.yml".into(), text: text.to_owned() }]);
    assert!(compiled.rules.is_some() || !compiled.diagnostics.is_empty());
    for diagnostic in &compiled.diagnostics {
        let shown = diagnostic.to_string();
        assert!(shown.starts_with("family/rule.yml:"), "{shown}");
    }
}

/// An inventory.
pub fn inventory(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = Inventory::parse("keys.yml", text) {
        assert!(error.mistakes.iter().all(|mistake| mistake.starts_with("keys.yml")), "{:?}", error.mistakes);
        assert!(!error.mistakes.is_empty());
    }
}

/// The lines of a snapshot; what was read is told to a picture.
pub fn snapshot(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match snapshot::read("snapshot.jsonl", text) {
        Ok(keys) => {
            let mut picture = Picture::default();
            keys.values().for_each(|facts| picture.take_snapshot(facts));
        }
        Err(error) => assert!(error.to_string().starts_with("snapshot.jsonl:"), "{error}"),
    }
}

/// Seeds.
pub fn seeds(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match lesson::read(&RULES, text) {
        Ok(seeds) => drop(plan(Limits::default()).learn(&seeds.lessons, Vec::new())),
        Err(error) => assert!(error.to_string().starts_with("line "), "{error}"),
    }
}
