//! The thread that owns the plan: plans what came, commits it, and only then gives it on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Committed, Work};
use crate::alert::redact::printable;
use crate::pipeline::backoff::Backoff;
use crate::pipeline::health::Health;
use crate::pipeline::plan::reload::Reload;
use crate::pipeline::plan::{Accounting, Plan};
use crate::source::Delivery;
use crate::store::{Commit, StateStore};
use crate::telemetry::{self, Counter, Gauge};
use crate::time::Clock;

/// The thread that owns the plan. Blocking, for the store is.
pub(super) struct Planner {
    pub(super) plan: Plan,
    pub(super) store: Arc<dyn StateStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) health: Arc<Health>,
    pub(super) stop: CancellationToken,
    pub(super) max_batch: usize,
    pub(super) max_outbox: u64,
    pub(super) queued: Arc<Notify>,
    pub(super) total: Accounting,
}

impl Planner {
    /// What became of everything, and why it ended before the work did, if so.
    pub(super) fn run(
        mut self,
        mut work: mpsc::Receiver<Work>,
        committed: &mpsc::Sender<Committed>,
    ) -> (Accounting, Result<(), String>) {
        while let Some(first) = work.blocking_recv() {
            let mut batch = Vec::new();
            let mut reload = None;
            let mut next = Some(first);
            // What is waiting shares one commit; other rules wait until it is durable.
            while let Some(work_item) = next.take() {
                match work_item {
                    Work::Batch(deliveries) => batch.extend(deliveries),
                    Work::Tick => {}
                    Work::Reload(asked) => {
                        reload = Some(asked);
                        break;
                    }
                }
                if batch.len() < self.max_batch {
                    next = work.try_recv().ok();
                }
            }
            let mut done = if batch.is_empty() { self.tick() } else { self.batch(&batch) };
            if let (Some(_), Some(reload)) = (&done, reload)
                && self.reload(reload).is_none()
            {
                done = None;
            }
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
        telemetry::count_suppressed(&planned.suppressed);
        Some(Committed { ack: planned.ack, park: planned.park })
    }

    fn reload(&mut self, reload: Reload) -> Option<()> {
        match &reload {
            Reload::Swap { rules, .. } => {
                Counter::RuleReloads.add(1);
                Gauge::Rules.set(rules.rules.len() as u64);
                tracing::info!(rules = rules.rules.len(), "going on with other rules");
            }
            Reload::Snapshot(keys) => tracing::info!(keys = keys.len(), "KMS was asked about its keys"),
            Reload::Refused { path, reason } => {
                Counter::RuleReloadsRefused.add(1);
                tracing::error!(
                    path = printable(path),
                    reason = printable(reason),
                    "changed rules are refused; the old stay"
                );
            }
        }
        let (commit, accounting) = self.plan.reload(reload, self.clock.now());
        self.commit(&commit, accounting)
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
        let (keys, forgotten) = self.plan.keys_held();
        Gauge::Keys.set(keys as u64);
        Gauge::KeysForgotten.set(forgotten);
        if !commit.outbox.is_empty() {
            self.queued.notify_waiters();
        }
        Some(())
    }
}

/// Why a run that was stopped failed all the same.
const UNCOMMITTED: &str = "stopped while the store could not be written or the outbox was full; what was in hand is \
                           not acknowledged and comes again";
