//! The outbox: each sink is handed what is in it by itself, so that a slow one holds up no other.
//!
//! Invariant: an alert leaves the outbox when every sink has taken it, does not want it, or will never
//! take it and it stands in the dead-letter file.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::health::Health;
use crate::alert::Alert;
use crate::rule::Level;
use crate::sink::{Sink, SinkError};
use crate::store::{OutboxSeq, StateStore};
use crate::telemetry::{self, Counter, Gauge};
use crate::time::Clock;

/// How far each sink has come in the outbox. Pure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    through: Vec<Option<OutboxSeq>>,
}

impl Progress {
    /// Of so many sinks, that have nothing yet.
    #[must_use]
    pub fn new(sinks: usize) -> Self {
        Self { through: vec![None; sinks] }
    }

    /// A sink has everything up to and including `seq`; returns up to where all have.
    pub fn advance(&mut self, sink: usize, seq: Option<OutboxSeq>) -> Option<OutboxSeq> {
        if let Some(mark) = self.through.get_mut(sink) {
            *mark = seq;
        }
        self.through.iter().copied().min().flatten()
    }
}

/// What the sinks share.
pub struct Outbox {
    store: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    queued: Arc<Notify>,
    progress: Mutex<Progress>,
    dead_letters: PathBuf,
    /// Nothing more will be queued: end when all is sent.
    drained: CancellationToken,
}

impl Outbox {
    /// Nothing is sent yet.
    #[must_use]
    pub fn new(
        store: Arc<dyn StateStore>,
        clock: Arc<dyn Clock>,
        health: Arc<Health>,
        queued: Arc<Notify>,
        sinks: usize,
        dead_letters: PathBuf,
    ) -> Self {
        let progress = Mutex::new(Progress::new(sinks));
        Self { store, clock, health, queued, progress, dead_letters, drained: CancellationToken::new() }
    }

    /// Nothing more will be queued: each sink ends when it has sent all.
    pub fn nothing_more(&self) {
        self.drained.cancel();
    }

    /// Sends everything that a sink wants, in order, for as long as the run lasts.
    pub async fn drain<K: Sink>(self: Arc<Self>, index: usize, sink: K, min_level: Level, within: Duration) {
        const AT_ONCE: usize = 64;
        let mut after = None;
        loop {
            // Listening begins before the store is asked, so that no alert falls between the two.
            let mut queued = std::pin::pin!(self.queued.notified());
            queued.as_mut().enable();
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
        let all = self.progress.lock().unwrap_or_else(PoisonError::into_inner).advance(index, seq);
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
