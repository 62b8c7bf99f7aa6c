//! The driver: carries out what the [`Plan`] says.
//!
//! Pollers receive, one thread plans and commits, one task acknowledges, and each sink drains the
//! outbox by itself, so that a slow sink does not hold up another.
//!
//! Invariants: nothing is acknowledged before its commit returned; while the store fails, nothing
//! is received into more memory than the queue between pollers and planner holds; an alert leaves
//! the outbox when every sink has taken it or will never take it.

mod planner;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use planner::Planner;

use super::backoff::Backoff;
use super::health::Health;
use super::outbox::Outbox;
use super::plan::conduct::{Conductor, Released};
use super::plan::reload::Reload;
use super::plan::{Accounting, Plan};
use crate::rule::Level;
use crate::sink::Sink;
use crate::source::{Delivery, Received, Source, SourceError};
use crate::store::StateStore;
use crate::telemetry::Counter;
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
    /// Other rules, as they come.
    pub reloads: Option<mpsc::Receiver<Reload>>,
}

/// What the planning thread is given.
enum Work {
    Batch(Vec<Delivery>),
    Tick,
    Reload(Reload),
}

/// Runs until `stop`, or until the source ends or fails for good.
pub async fn drive<S, K>(parts: Parts<S, K>, plan: Plan, settings: DriveSettings, stop: CancellationToken) -> Ended
where
    S: Source + 'static,
    K: Sink + 'static,
{
    let Parts { source, sinks, store, clock, health, reloads } = parts;
    let (work, receiver) = mpsc::channel::<Work>(usize::from(settings.pollers) * 2);
    let (released, acks) = mpsc::channel::<Released>(64);
    let queued = Arc::new(Notify::new());
    let failure = Arc::new(Mutex::new(None));

    let mut pollers = JoinSet::new();
    for _ in 0..settings.pollers {
        pollers.spawn(poll(source.clone(), work.clone(), stop.clone(), health.clone(), failure.clone()));
    }
    let ticking = stop.child_token();
    let reloader = reloads.map(|reloads| tokio::spawn(hand_on(reloads, work.clone(), ticking.clone())));
    let ticker = tokio::spawn(tick(work, settings.tick, ticking.clone()));
    let planner = Planner {
        conductor: Conductor::new(plan),
        store: store.clone(),
        clock: clock.clone(),
        health: health.clone(),
        stop: stop.clone(),
        max_batch: settings.max_batch,
        max_outbox: settings.max_outbox,
        queued: queued.clone(),
    };
    // A thread of its own: it blocks on the store, and lives as long as the run. Should it end
    // early, by a defect even, receiving must not go on.
    let (planned, accounting) = tokio::sync::oneshot::channel();
    let over = stop.clone().drop_guard();
    std::thread::spawn(move || {
        let ended = planner.run(receiver, &released);
        drop(over);
        planned.send(ended)
    });
    let acknowledger = tokio::spawn(acknowledge(source.clone(), acks));

    let outbox =
        Arc::new(Outbox::new(store.clone(), clock, health, queued, sinks.len(), settings.dead_letters.clone()));
    let mut drains = JoinSet::new();
    for (index, (sink, min_level)) in sinks.into_iter().enumerate() {
        drains.spawn(outbox.clone().drain(index, sink, min_level, settings.deliver_within));
    }

    // The source ended, failed or was stopped: what was received is still planned and acknowledged.
    while pollers.join_next().await.is_some() {}
    ticking.cancel();
    let _ = ticker.await;
    if let Some(reloader) = reloader {
        let _ = reloader.await;
    }
    let (accounting, planned) = match accounting.await {
        Ok(ended) => ended,
        Err(_) => (Accounting::default(), Err("planning ended by a defect, please report it".to_owned())),
    };
    let _ = acknowledger.await;
    if tokio::time::timeout(CLOSE_WITHIN, source.close()).await.is_err() {
        tracing::warn!("what was in hand could not be given back in time; it comes again by itself");
    }

    outbox.nothing_more();
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

/// Acknowledges what is committed; what the source did not take is tried again a few times, then
/// left to come again.
async fn acknowledge<S: Source>(source: Arc<S>, mut acks: mpsc::Receiver<Released>) {
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

/// Brings other rules to the planner as long as there is one.
async fn hand_on(mut reloads: mpsc::Receiver<Reload>, work: mpsc::Sender<Work>, stop: CancellationToken) {
    loop {
        let reload = tokio::select! {
            () = stop.cancelled() => return,
            reload = reloads.recv() => reload,
        };
        let Some(reload) = reload else { return };
        if work.send(Work::Reload(reload)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
