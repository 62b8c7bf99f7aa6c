//! The driver: carries out what the [`Plan`] says.
//!
//! Pollers receive, one thread plans and commits, one task acknowledges, and each sink drains the
//! outbox by itself, so that a slow sink does not hold up another.
//!
//! Invariants: nothing is acknowledged before its commit returned; while the store fails, nothing
//! is received into more memory than the queue between pollers and planner holds; an alert leaves
//! the outbox when every sink has taken it or will never take it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::plan::{Accounting, Plan};
use crate::alert::Alert;
use crate::alert::redact::printable;
use crate::rule::Level;
use crate::sink::{Sink, SinkError};
use crate::source::{Delivery, Receipt, Received, Source, SourceError};
use crate::store::{Commit, OutboxSeq, StateStore};
use crate::telemetry::{self, Counter, Gauge};
use crate::time::Clock;

/// How to drive.
#[derive(Clone, Debug)]
pub struct DriveSettings {
    /// Receives at the same time.
    pub pollers: u16,
    /// Deliveries in one commit.
    pub max_batch: usize,
    /// Between two looks at what is quiet or old.
    pub tick: Duration,
    /// How long alerts are still sent after a stop.
    pub flush: Duration,
    /// Alerts in the outbox at which nothing more is received: a sink that stays down must not fill
    /// the disk. The source keeps what is not taken.
    pub max_outbox: u64,
    /// A sink that has not answered within this has failed.
    pub deliver_within: Duration,
    /// Where alerts go that a sink will never take.
    pub dead_letters: PathBuf,
}

/// What is wrong now, for `/ready`.
#[derive(Debug, Default)]
pub struct Health {
    troubles: Mutex<BTreeMap<String, String>>,
}

impl Health {
    fn set(&self, part: &str, trouble: Option<String>) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(trouble) => drop(troubles.insert(part.to_owned(), trouble)),
            None => drop(troubles.remove(part)),
        }
    }

    /// What is wrong, if anything.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<_> = troubles.iter().map(|(part, trouble)| format!("{part}: {trouble}")).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// What became of records and incidents.
    pub accounting: Accounting,
    /// Alerts still in the outbox.
    pub pending: u64,
    /// Why it ended by itself, if it did.
    pub failure: Option<String>,
}

/// The parts that a run is made of.
pub struct Parts<S, K> {
    /// Where deliveries come from.
    pub source: Arc<S>,
    /// Where alerts go, each with the least level it wants.
    pub sinks: Vec<(K, Level)>,
    /// Where state is kept.
    pub store: Arc<dyn StateStore>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What is wrong now.
    pub health: Arc<Health>,
}

/// What the planning thread is given.
enum Work {
    Batch(Vec<Delivery>),
    Tick,
}

/// What it gives on, once the commit is durable.
struct Committed {
    ack: Vec<Receipt>,
    park: Vec<(Receipt, String)>,
}

/// Runs until `stop`, or until the source ends or fails for good.
pub async fn drive<S, K>(parts: Parts<S, K>, plan: Plan, settings: DriveSettings, stop: CancellationToken) -> Ended
where
    S: Source + 'static,
    K: Sink + 'static,
{
    let Parts { source, sinks, store, clock, health } = parts;
    let (work, receiver) = mpsc::channel::<Work>(usize::from(settings.pollers) * 2);
    let (committed, acks) = mpsc::channel::<Committed>(64);
    let queued = Arc::new(Notify::new());
    let failure = Arc::new(Mutex::new(None));

    let mut pollers = JoinSet::new();
    for _ in 0..settings.pollers {
        pollers.spawn(poll(source.clone(), work.clone(), stop.clone(), health.clone(), failure.clone()));
    }
    let ticking = stop.child_token();
    let ticker = tokio::spawn(tick(work, settings.tick, ticking.clone()));
    let planner = Planner {
        plan,
        store: store.clone(),
        clock: clock.clone(),
        health: health.clone(),
        stop: stop.clone(),
        max_batch: settings.max_batch,
        max_outbox: settings.max_outbox,
        queued: queued.clone(),
        total: Accounting::default(),
    };
    // A thread of its own: it blocks on the store, and lives as long as the run. Should it end
    // early, by a defect even, receiving must not go on.
    let (planned, accounting) = tokio::sync::oneshot::channel();
    let over = stop.clone().drop_guard();
    std::thread::spawn(move || {
        let ended = planner.run(receiver, &committed);
        drop(over);
        planned.send(ended)
    });
    let acknowledger = tokio::spawn(acknowledge(source.clone(), acks));

    let outbox = Arc::new(Outbox {
        store: store.clone(),
        clock,
        health,
        queued,
        through: Mutex::new(vec![None; sinks.len()]),
        dead_letters: settings.dead_letters.clone(),
        drained: CancellationToken::new(),
    });
    let mut drains = JoinSet::new();
    for (index, (sink, min_level)) in sinks.into_iter().enumerate() {
        drains.spawn(outbox.clone().drain(index, sink, min_level, settings.deliver_within));
    }

    // The source ended, failed or was stopped: what was received is still planned and acknowledged.
    while pollers.join_next().await.is_some() {}
    ticking.cancel();
    let _ = ticker.await;
    let (accounting, planned) = match accounting.await {
        Ok(ended) => ended,
        Err(_) => (Accounting::default(), Err("planning ended by a defect, please report it".to_owned())),
    };
    let _ = acknowledger.await;
    if tokio::time::timeout(CLOSE_WITHIN, source.close()).await.is_err() {
        tracing::warn!("what was in hand could not be given back in time; it comes again by itself");
    }

    outbox.drained.cancel();
    let flushed = async { while drains.join_next().await.is_some() {} };
    if tokio::time::timeout(settings.flush, flushed).await.is_err() {
        tracing::warn!("alerts are left in the outbox; the next run sends them");
    }
    let pending = store.pending_len().unwrap_or(0);
    let failure = failure.lock().unwrap_or_else(PoisonError::into_inner).take().or(planned.err());
    Ended { accounting, pending, failure }
}

/// How long a stop waits for receives that are under way: a little more than the longest poll.
const LAST_RECEIVE: Duration = Duration::from_secs(21);

/// How long giving back may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

async fn poll<S: Source>(
    source: Arc<S>,
    work: mpsc::Sender<Work>,
    stop: CancellationToken,
    health: Arc<Health>,
    failure: Arc<Mutex<Option<String>>>,
) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    loop {
        if stop.is_cancelled() {
            return;
        }
        let mut receiving = std::pin::pin!(source.receive());
        let received = tokio::select! {
            received = &mut receiving => received,
            // A receive that is given up may still be answered, and what it would have brought stays
            // hidden until its visibility runs out: better to wait for it.
            () = stop.cancelled() => match tokio::time::timeout(LAST_RECEIVE, receiving).await {
                Ok(received) => received,
                Err(_) => return,
            },
        };
        match received {
            Ok(Received::End) => return,
            Ok(Received::Batch(batch)) => {
                backoff.reset();
                health.set("source", None);
                // Waits while the planner is behind: that is the back-pressure.
                if !batch.is_empty() && work.send(Work::Batch(batch)).await.is_err() {
                    return;
                }
            }
            Err(SourceError::Retry(reason)) => {
                Counter::ReceiveErrors.add(1);
                let pause = backoff.pause(fastrand::f64());
                tracing::warn!(%reason, pause_millis = pause.as_millis(), "receiving failed");
                health.set("source", Some(reason));
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(SourceError::Fatal(reason)) => {
                tracing::error!(%reason, "the source cannot be used");
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
                stop.cancel();
                return;
            }
        }
    }
}

async fn tick(work: mpsc::Sender<Work>, every: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(every);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if work.send(Work::Tick).await.is_err() {
            return;
        }
    }
}

/// The thread that owns the plan. Blocking, for the store is.
struct Planner {
    plan: Plan,
    store: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    stop: CancellationToken,
    max_batch: usize,
    max_outbox: u64,
    queued: Arc<Notify>,
    total: Accounting,
}

impl Planner {
    /// What became of everything, and why it ended before the work did, if so.
    fn run(
        mut self,
        mut work: mpsc::Receiver<Work>,
        committed: &mpsc::Sender<Committed>,
    ) -> (Accounting, Result<(), String>) {
        while let Some(first) = work.blocking_recv() {
            let mut batch = Vec::new();
            let mut next = Some(first);
            // What is waiting shares one commit.
            while let Some(work_item) = next.take() {
                if let Work::Batch(deliveries) = work_item {
                    batch.extend(deliveries);
                }
                if batch.len() < self.max_batch {
                    next = work.try_recv().ok();
                }
            }
            let done = if batch.is_empty() { self.tick() } else { self.batch(&batch) };
            match done {
                Some(done) if done.ack.is_empty() && done.park.is_empty() => {}
                Some(done) => drop(committed.blocking_send(done)),
                // Stopped while the store failed: nothing of this is acknowledged, all of it comes again.
                None => return (self.total, Err(UNCOMMITTED.to_owned())),
            }
        }
        (self.total, Ok(()))
    }

    fn tick(&mut self) -> Option<Committed> {
        let (commit, accounting) = self.plan.tick(self.clock.now());
        self.commit(&commit, accounting)?;
        Some(Committed { ack: Vec::new(), park: Vec::new() })
    }

    fn batch(&mut self, deliveries: &[Delivery]) -> Option<Committed> {
        self.room_in_outbox()?;
        let planned = self.plan.batch(deliveries, self.clock.now());
        for (_, reason) in &planned.park {
            tracing::warn!(reason = printable(reason), "a delivery cannot be read and is left to the dead-letter path");
        }
        self.commit(&planned.commit, planned.accounting)?;
        Some(Committed { ack: planned.ack, park: planned.park })
    }

    /// Waits until the sinks have taken enough of the outbox; nothing when stopped before that.
    fn room_in_outbox(&self) -> Option<()> {
        let full = || self.store.pending_len().is_ok_and(|pending| pending >= self.max_outbox);
        if full() {
            let trouble = format!("full with {} alerts: nothing is received until sinks take some", self.max_outbox);
            tracing::error!("the outbox is {trouble}");
            self.health.set("outbox", Some(trouble));
        }
        while full() {
            if self.stop.is_cancelled() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.health.set("outbox", None);
        Some(())
    }

    /// Makes a commit durable, however often it takes; nothing when stopped before it was.
    fn commit(&mut self, commit: &Commit, accounting: Accounting) -> Option<()> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        while let Err(error) = self.store.commit(commit) {
            Counter::CommitErrors.add(1);
            tracing::error!(%error, "nothing is acknowledged until this is mended");
            self.health.set("store", Some(error.to_string()));
            if self.stop.is_cancelled() {
                return None;
            }
            std::thread::sleep(backoff.pause(fastrand::f64()));
        }
        self.health.set("store", None);
        self.plan.committed();
        self.total += accounting;
        telemetry::count(&accounting);
        let (groups, entries) = self.plan.held();
        Gauge::Groups.set(groups as u64);
        Gauge::Entries.set(entries as u64);
        if !commit.outbox.is_empty() {
            self.queued.notify_waiters();
        }
        Some(())
    }
}

/// Why a run that was stopped failed all the same.
const UNCOMMITTED: &str = "stopped while the store could not be written or the outbox was full; what was in hand is \
                           not acknowledged and comes again";

/// Acknowledges what is committed; what the source did not take is tried again a few times, then
/// left to come again.
async fn acknowledge<S: Source>(source: Arc<S>, mut acks: mpsc::Receiver<Committed>) {
    const TRIES: u32 = 6;
    while let Some(mut done) = acks.recv().await {
        while let Ok(more) = acks.try_recv() {
            done.ack.extend(more.ack);
            done.park.extend(more.park);
        }
        let mut left = done.ack;
        let all = left.len() as u64;
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        for _ in 0..TRIES {
            match source.ack(&left).await {
                Ok(failed) => left = failed,
                Err(error) => tracing::warn!(%error, "acknowledging failed"),
            }
            if left.is_empty() {
                break;
            }
            Counter::AcknowledgeErrors.add(1);
            tokio::time::sleep(backoff.pause(fastrand::f64())).await;
        }
        Counter::DeliveriesAcknowledged.add(all - left.len() as u64);
        for (receipt, _) in done.park {
            Counter::DeliveriesParked.add(1);
            if let Err(error) = source.park(&receipt).await {
                tracing::warn!(%error, "parking failed; the delivery comes again by itself");
            }
        }
    }
}

/// What the sinks share.
struct Outbox {
    store: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    queued: Arc<Notify>,
    /// How far each sink has come.
    through: Mutex<Vec<Option<OutboxSeq>>>,
    dead_letters: PathBuf,
    /// Nothing more will be queued: end when all is sent.
    drained: CancellationToken,
}

impl Outbox {
    async fn drain<K: Sink>(self: Arc<Self>, index: usize, sink: K, min_level: Level, within: Duration) {
        const AT_ONCE: usize = 64;
        let mut after = None;
        loop {
            let queued = self.queued.notified();
            let ending = self.drained.is_cancelled();
            let pending = match self.on_store(move |store| store.pending(after, AT_ONCE)).await {
                Ok(pending) => pending,
                Err(reason) => {
                    tracing::error!(%reason, "the outbox cannot be read");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            if pending.is_empty() {
                if ending {
                    return;
                }
                tokio::select! {
                    () = queued => {}
                    () = self.drained.cancelled() => {}
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
                continue;
            }
            for (seq, alert) in pending {
                if alert.level < min_level {
                    Counter::AlertsBelowLevel.add(1);
                } else {
                    self.deliver(&sink, &alert, within).await;
                }
                after = Some(seq);
            }
            self.advance(index, after).await;
        }
    }

    /// Hands an alert over, however often it takes.
    async fn deliver<K: Sink>(&self, sink: &K, alert: &Alert, within: Duration) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(60));
        loop {
            // A connection that hangs would otherwise hold back every later alert without a word.
            let tried = tokio::time::timeout(within, sink.deliver(alert)).await;
            match tried.unwrap_or_else(|_| Err(SinkError::Retry(format!("no answer within {within:?}")))) {
                Ok(()) => {
                    Counter::AlertsDelivered.add(1);
                    let delay = self.clock.now() - alert.last_event_time;
                    metrics::histogram!(telemetry::END_TO_END_SECS)
                        .record(Duration::from_millis(delay.as_millis()).as_secs_f64());
                    self.health.set(sink.name(), None);
                    tracing::info!(
                        sink = sink.name(),
                        id = alert.id,
                        status = alert.status.as_str(),
                        rule = alert.rule.title,
                        "alert delivered"
                    );
                    return;
                }
                Err(SinkError::Permanent(reason)) => {
                    Counter::AlertsDeadLettered.add(1);
                    tracing::error!(sink = sink.name(), id = alert.id, %reason, "the sink will never take this alert");
                    match self.dead_letter(sink.name(), alert, &reason) {
                        Ok(()) => return,
                        Err(error) => tracing::error!(%error, "the dead-letter file cannot be written; trying again"),
                    }
                }
                Err(SinkError::Retry(reason)) => {
                    Counter::DeliveryErrors.add(1);
                    tracing::warn!(sink = sink.name(), id = alert.id, %reason, "an alert was not delivered; trying again");
                    self.health.set(sink.name(), Some(reason));
                }
            }
            tokio::time::sleep(backoff.pause(fastrand::f64())).await;
        }
    }

    fn dead_letter(&self, sink: &str, alert: &Alert, reason: &str) -> std::io::Result<()> {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.dead_letters)?;
        let line = serde_json::json!({ "sink": sink, "reason": reason, "alert": alert });
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()
    }

    /// Notes how far a sink has come, and forgets what all of them have.
    async fn advance(&self, index: usize, seq: Option<OutboxSeq>) {
        let all = {
            let mut through = self.through.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(mark) = through.get_mut(index) {
                *mark = seq;
            }
            through.iter().copied().min().flatten()
        };
        let Some(all) = all else { return };
        if let Err(reason) = self.on_store(move |store| store.delivered(all)).await {
            tracing::warn!(%reason, "delivered alerts stay in the outbox and may be sent again");
        }
        if let Ok(pending) = self.on_store(|store| store.pending_len()).await {
            Gauge::OutboxPending.set(pending);
        }
    }

    async fn on_store<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn StateStore) -> Result<T, crate::store::StoreError> + Send + 'static,
    ) -> Result<T, String> {
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || ask(&*store)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
