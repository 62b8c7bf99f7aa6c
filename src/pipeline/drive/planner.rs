//! The thread that owns the plan: carries out what the [`Conductor`] says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::Work;
use crate::alert::redact::printable;
use crate::pipeline::backoff::Backoff;
use crate::pipeline::health::Health;
use crate::pipeline::plan::Accounting;
use crate::pipeline::plan::conduct::{Action, Conductor, Input, Released};
use crate::pipeline::plan::reload::Reload;
use crate::store::StateStore;
use crate::telemetry::{self, Counter, Gauge};
use crate::time::Clock;

/// The thread that owns the plan. Blocking, for the store is.
pub(super) struct Planner {
    pub(super) conductor: Conductor,
    pub(super) store: Arc<dyn StateStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) health: Arc<Health>,
    pub(super) stop: CancellationToken,
    pub(super) max_batch: usize,
    pub(super) max_outbox: u64,
    pub(super) queued: Arc<Notify>,
}

impl Planner {
    /// What became of everything, and why it ended before the work did, if so.
    pub(super) fn run(
        mut self,
        mut work: mpsc::Receiver<Work>,
        released: &mpsc::Sender<Released>,
    ) -> (Accounting, Result<(), String>) {
        while let Some(first) = work.blocking_recv() {
            for input in self.gather(first, &mut work) {
                match self.carry_out(input) {
                    Some(done) if done.ack.is_empty() && done.park.is_empty() => {}
                    Some(done) => drop(released.blocking_send(done)),
                    // Stopped while the store failed: nothing of this is acknowledged, all of it comes again.
                    None => return (self.conductor.total(), Err(UNCOMMITTED.to_owned())),
                }
            }
        }
        (self.conductor.total(), Ok(()))
    }

    /// What is waiting shares one commit; other rules wait until it is durable.
    fn gather(&self, first: Work, work: &mut mpsc::Receiver<Work>) -> VecDeque<Input> {
        let mut batch = Vec::new();
        let mut inputs = VecDeque::new();
        let mut next = Some(first);
        while let Some(item) = next.take() {
            match item {
                Work::Batch(deliveries) => batch.extend(deliveries),
                Work::Tick => {}
                Work::Reload(asked) => {
                    inputs.push_back(Input::Reload(asked));
                    break;
                }
            }
            if batch.len() < self.max_batch {
                next = work.try_recv().ok();
            }
        }
        inputs.push_front(if batch.is_empty() { Input::Tick } else { Input::Received(batch) });
        inputs
    }

    /// Carries an input out to its end; nothing when stopped before that.
    fn carry_out(&mut self, input: Input) -> Option<Released> {
        if matches!(input, Input::Received(_)) {
            self.room_in_outbox()?;
        }
        if let Input::Reload(reload) = &input {
            tell(reload);
        }
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let mut actions = VecDeque::from(self.conductor.take(input, self.clock.now()).ok()?);
        let mut all = Released::default();
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Commit => {
                    let outcome = self.commit(&mut backoff)?;
                    actions.extend(self.conductor.take(outcome, self.clock.now()).ok()?);
                }
                Action::Release(released) => {
                    self.count(&released);
                    all = released;
                }
            }
        }
        Some(all)
    }

    /// Tries to make durable what is in hand; nothing when it is not and the run was stopped.
    fn commit(&self, backoff: &mut Backoff) -> Option<Input> {
        let Err(error) = self.store.commit(self.conductor.in_hand()?) else {
            self.health.set("store", None);
            return Some(Input::Committed);
        };
        Counter::CommitErrors.add(1);
        tracing::error!(%error, "nothing is acknowledged until this is mended");
        self.health.set("store", Some(error.to_string()));
        if self.stop.is_cancelled() {
            return None;
        }
        std::thread::sleep(backoff.pause(fastrand::f64()));
        Some(Input::NotCommitted)
    }

    fn count(&self, released: &Released) {
        telemetry::count(&released.accounting);
        telemetry::count_suppressed(&released.suppressed);
        let (groups, entries) = self.conductor.plan().held();
        Gauge::Groups.set(groups as u64);
        Gauge::Entries.set(entries as u64);
        let (keys, forgotten) = self.conductor.plan().keys_held();
        Gauge::Keys.set(keys as u64);
        Gauge::KeysForgotten.set(forgotten);
        for (_, reason) in &released.park {
            tracing::warn!(reason = printable(reason), "a delivery cannot be read and is left to the dead-letter path");
        }
        if released.alerts {
            self.queued.notify_waiters();
        }
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
}

fn tell(reload: &Reload) {
    match reload {
        Reload::Swap { rules, .. } => {
            Counter::RuleReloads.add(1);
            Gauge::Rules.set(rules.rules.len() as u64);
            tracing::info!(rules = rules.rules.len(), "going on with other rules");
        }
        Reload::Snapshot(keys) => tracing::info!(keys = keys.len(), "KMS was asked about its keys"),
        Reload::Refused { path, reason } => {
            Counter::RuleReloadsRefused.add(1);
            let (path, reason) = (printable(path), printable(reason));
            tracing::error!(path, reason, "changed rules are refused; the old stay");
        }
    }
}

/// Why a run that was stopped failed all the same.
const UNCOMMITTED: &str = "stopped while the store could not be written or the outbox was full; what was in hand is \
                           not acknowledged and comes again";
