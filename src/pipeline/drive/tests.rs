//! The driver among parts that fail.

use std::collections::VecDeque;

use super::*;
use crate::alert::Alert;
use crate::alert::redact::Redaction;
use crate::pipeline::plan::Limits;
use crate::rule::{RuleSet, RuleText};
use crate::sink::SinkError;
use crate::source::Receipt;
use crate::store::Commit;
use crate::store::OutboxSeq;
use crate::store::memory::MemoryStore;
use crate::store::{Restored, StoreError};
use crate::time::EventTime;

const RULE: &str = "title: disabled
id: 11111111-2222-4333-8444-000000000001
level: high
logsource: {product: aws}
detection: {a: {eventSource: kms.amazonaws.com, eventName: DisableKey}, condition: a}
---
title: unreadable
id: 11111111-2222-4333-8444-000000000002
level: low
logsource: {product: aws}
detection: {a: {eventSource: kmswatch.internal, eventName: BodyParked}, condition: a}
";

fn plan() -> Plan {
    let rules = RuleSet::compile(&[RuleText { path: "f/r.yml".into(), text: RULE.into() }]).rules.unwrap();
    Plan::new(Arc::new(rules), Arc::default(), Limits::default(), Redaction::default())
}

/// What happened, in order, over all parts.
type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, what: impl Into<String>) {
    log.lock().unwrap().push(what.into());
}

struct FixedClock;
impl Clock for FixedClock {
    fn now(&self) -> EventTime {
        EventTime::parse("2026-01-05T12:00:00Z").unwrap()
    }
}

struct FakeSource {
    log: Log,
    batches: Mutex<VecDeque<Vec<Delivery>>>,
    ends: bool,
    /// Acknowledgements that are not taken at first.
    stubborn: Mutex<u32>,
}

impl Source for FakeSource {
    async fn receive(&self) -> Result<Received, SourceError> {
        let next = self.batches.lock().unwrap().pop_front();
        match next {
            Some(batch) => Ok(Received::Batch(batch)),
            None if self.ends => Ok(Received::End),
            None => std::future::pending().await,
        }
    }
    async fn ack(&self, receipts: &[Receipt]) -> Result<Vec<Receipt>, SourceError> {
        let mut stubborn = self.stubborn.lock().unwrap();
        if *stubborn > 0 && !receipts.is_empty() {
            *stubborn -= 1;
            return Ok(receipts.to_vec());
        }
        receipts.iter().for_each(|receipt| note(&self.log, format!("ack {}", receipt.0)));
        Ok(Vec::new())
    }
    async fn park(&self, receipt: &Receipt) -> Result<(), SourceError> {
        note(&self.log, format!("park {}", receipt.0));
        Ok(())
    }
    async fn close(&self) {
        note(&self.log, "close");
    }
}

struct FakeStore {
    log: Log,
    inner: MemoryStore,
    failures: Mutex<u32>,
    defect: bool,
}

impl StateStore for FakeStore {
    fn restore(&self) -> Result<Restored, StoreError> {
        self.inner.restore()
    }
    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        assert!(!self.defect || commit.outbox.is_empty(), "a defect");
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 && !commit.outbox.is_empty() {
            *failures -= 1;
            note(&self.log, "commit failed");
            return Err(StoreError::Io { path: "state".into(), reason: "disk full".into() });
        }
        if !commit.outbox.is_empty() {
            note(&self.log, "commit");
        }
        self.inner.commit(commit)
    }
    fn pending(&self, after: Option<OutboxSeq>, limit: usize) -> Result<Vec<(OutboxSeq, Alert)>, StoreError> {
        self.inner.pending(after, limit)
    }
    fn pending_len(&self) -> Result<u64, StoreError> {
        self.inner.pending_len()
    }
    fn delivered(&self, through: OutboxSeq) -> Result<(), StoreError> {
        self.inner.delivered(through)
    }
}

struct FakeSink {
    name: &'static str,
    log: Log,
    failures: Mutex<u32>,
    refuses: bool,
    /// Answers that never come.
    hangs: Mutex<u32>,
}

impl Sink for FakeSink {
    fn name(&self) -> &str {
        self.name
    }
    async fn deliver(&self, alert: &Alert) -> Result<(), SinkError> {
        if self.refuses {
            return Err(SinkError::Permanent("never".into()));
        }
        let hangs = {
            let mut hangs = self.hangs.lock().unwrap();
            let now = *hangs > 0;
            *hangs = hangs.saturating_sub(1);
            now
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures = failures.saturating_sub(1);
            return Err(SinkError::Retry("down".into()));
        }
        note(&self.log, format!("{} {}", self.name, alert.rule.title));
        Ok(())
    }
}

fn delivery(receipt: &str, body: &str) -> Delivery {
    Delivery {
        body: body.as_bytes().to_vec(),
        receipt: Receipt(receipt.into()),
        label: receipt.into(),
        sent_at: None,
        receive_count: 1,
    }
}

const DISABLE: &str = r#"{"eventVersion":"1.11","eventID":"e1","eventTime":"2026-01-05T11:00:00Z","eventSource":"kms.amazonaws.com","eventName":"DisableKey","awsRegion":"eu-west-1","recipientAccountId":"111122223333"}"#;

struct World {
    log: Log,
    store_failures: u32,
    stubborn: u32,
    defect: bool,
    max_outbox: u64,
    ends: bool,
    sinks: Vec<(FakeSink, Level)>,
    dir: tempfile::TempDir,
    health: Arc<Health>,
    stop: CancellationToken,
}

impl World {
    fn new() -> Self {
        Self {
            log: Log::default(),
            store_failures: 0,
            stubborn: 0,
            defect: false,
            max_outbox: 100,
            ends: true,
            sinks: Vec::new(),
            dir: tempfile::tempdir().unwrap(),
            health: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    fn sink(&mut self, name: &'static str, failures: u32, refuses: bool, level: Level) {
        let sink =
            FakeSink { name, log: self.log.clone(), failures: Mutex::new(failures), refuses, hangs: Mutex::new(0) };
        self.sinks.push((sink, level));
    }

    fn dead_letters(&self) -> PathBuf {
        self.dir.path().join("dead")
    }

    async fn run(&mut self, batches: Vec<Vec<Delivery>>) -> (Ended, Vec<String>) {
        let source = FakeSource {
            log: self.log.clone(),
            batches: Mutex::new(batches.into()),
            ends: self.ends,
            stubborn: Mutex::new(self.stubborn),
        };
        let store = FakeStore {
            log: self.log.clone(),
            inner: MemoryStore::default(),
            failures: Mutex::new(self.store_failures),
            defect: self.defect,
        };
        let parts = Parts {
            reloads: None,
            source: Arc::new(source),
            sinks: std::mem::take(&mut self.sinks),
            store: Arc::new(store),
            clock: Arc::new(FixedClock),
            health: self.health.clone(),
        };
        let settings = DriveSettings {
            pollers: 2,
            max_batch: 10,
            tick: Duration::from_secs(1),
            flush: Duration::from_secs(30),
            max_outbox: self.max_outbox,
            deliver_within: Duration::from_secs(10),
            dead_letters: self.dead_letters(),
        };
        let ended = drive(parts, plan(), settings, self.stop.clone()).await;
        let log = self.log.lock().unwrap().clone();
        (ended, log)
    }
}

fn position(log: &[String], what: &str) -> usize {
    log.iter().position(|line| line == what).unwrap_or_else(|| panic!("no `{what}` in {log:?}"))
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_before_its_commit() {
    let mut world = World::new();
    world.store_failures = 2;
    world.sink("a", 0, false, Level::Low);
    let (ended, log) = world.run(vec![vec![delivery("m1", DISABLE)]]).await;
    assert_eq!(log.iter().filter(|line| *line == "commit failed").count(), 2, "{log:?}");
    assert!(position(&log, "commit") < position(&log, "ack m1"));
    assert!(position(&log, "commit") < position(&log, "a disabled"));
    assert_eq!((ended.accounting.received, ended.accounting.opened, ended.pending), (1, 1, 0));
    assert!(ended.accounting.closes() && world.health.trouble().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_the_store_fails_acknowledges_nothing() {
    let mut world = World::new();
    world.store_failures = u32::MAX;
    world.ends = false;
    let (stop, health) = (world.stop.clone(), world.health.clone());
    tokio::spawn(async move {
        while health.trouble().is_none() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    });
    let (ended, log) = world.run(vec![vec![delivery("m1", DISABLE)]]).await;
    assert!(!log.iter().any(|line| line.starts_with("ack")) && log.last().unwrap() == "close", "{log:?}");
    assert_eq!(ended.accounting.received, 0, "what was not committed is not counted");
    assert!(ended.failure.unwrap().contains("not acknowledged"), "a caller must not take it for success");
    assert!(world.health.trouble().unwrap().contains("disk full"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_parked_and_told() {
    let mut world = World::new();
    world.sink("all", 0, false, Level::Informational);
    world.sink("grave", 0, false, Level::High);
    let (ended, log) = world.run(vec![vec![delivery("poison", "garbage"), delivery("m1", DISABLE)]]).await;
    position(&log, "park poison");
    position(&log, "ack m1");
    position(&log, "all unreadable");
    position(&log, "grave disabled");
    assert!(!log.contains(&"ack poison".to_owned()) && !log.contains(&"grave unreadable".to_owned()));
    assert_eq!((ended.accounting.parked, ended.pending), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_down_holds_up_no_other_and_loses_nothing() {
    let mut world = World::new();
    world.sink("slow", 5, false, Level::Low);
    world.sink("quick", 0, false, Level::Low);
    world.sink("refusing", 0, true, Level::Low);
    let (ended, log) = world.run(vec![vec![delivery("m1", DISABLE)]]).await;
    assert!(position(&log, "quick disabled") < position(&log, "slow disabled"));
    assert_eq!(ended.pending, 0);
    let dead = std::fs::read_to_string(world.dead_letters()).unwrap();
    assert!(dead.contains("\"sink\":\"refusing\"") && dead.contains("\"reason\":\"never\""));
}

#[tokio::test(start_paused = true)]
async fn alerts_of_a_sink_that_stays_down_stay_in_the_outbox() {
    let mut world = World::new();
    world.sink("down", u32::MAX, false, Level::Low);
    let (ended, log) = world.run(vec![vec![delivery("m1", DISABLE)]]).await;
    assert_eq!(ended.pending, 1, "{log:?}");
    assert!(world.health.trouble().unwrap().starts_with("down: down"));
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_that_are_not_taken_are_tried_again() {
    let mut world = World::new();
    world.stubborn = 3;
    let (_, log) = world.run(vec![vec![delivery("m1", DISABLE)], vec![delivery("m2", DISABLE)]]).await;
    position(&log, "ack m1");
    position(&log, "ack m2");
}

#[tokio::test(start_paused = true)]
async fn a_defect_in_planning_ends_the_run_as_a_failure_and_acknowledges_nothing() {
    let mut world = World::new();
    world.defect = true;
    world.ends = false;
    let (ended, log) = world.run(vec![vec![delivery("m1", DISABLE)]]).await;
    assert!(ended.failure.unwrap().contains("defect"));
    assert_eq!(log, ["close"]);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_does_not_answer_is_asked_again() {
    let mut world = World::new();
    world.sink("hanging", 0, false, Level::Low);
    *world.sinks[0].0.hangs.lock().unwrap() = 2;
    let (ended, log) = world.run(vec![vec![delivery("m1", DISABLE)]]).await;
    position(&log, "hanging disabled");
    assert_eq!(ended.pending, 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_stops_the_intake_and_loses_nothing() {
    let mut world = World::new();
    world.max_outbox = 1;
    world.sink("slow", 3, false, Level::Low);
    let other = DISABLE.replace("e1", "e2").replace("111122223333", "444455556666").replace("11:00", "12:30");
    let batches = vec![vec![delivery("m1", DISABLE)], vec![delivery("m2", "{}"); 12], vec![delivery("m3", &other)]];
    let (ended, log) = world.run(batches).await;
    let second = log.iter().rposition(|line| line == "commit").unwrap();
    assert!(position(&log, "slow disabled") < second, "{log:?}");
    assert_eq!(ended.pending, 0);
    position(&log, "ack m3");
}
