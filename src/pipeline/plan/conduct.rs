//! The conductor: in which order what a batch comes to is carried out. Inputs in, actions out; the
//! driver and the simulated world carry the same actions out.
//!
//! Invariants: receipts leave in [`Action::Release`] only after [`Input::Committed`] for the commit
//! that holds their effects; while a commit is not durable nothing else is planned, so that what is
//! in hand stays one batch.
//!
//! Must not: know whether a store is a file or a network, or how long a pause is.

use std::collections::BTreeMap;

use super::reload::Reload;
use super::{Accounting, Plan};
use crate::source::{Delivery, Receipt};
use crate::store::Commit;
use crate::time::EventTime;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Deliveries came.
    Received(Vec<Delivery>),
    /// Time passed.
    Tick,
    /// Other rules, another inventory, or news of keys.
    Reload(Reload),
    /// The commit that was asked for is durable.
    Committed,
    /// It is not, and nothing of it is.
    NotCommitted,
}

/// What to do, in the order given.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Make the commit in hand durable ([`Conductor::in_hand`]), and say whether it is.
    Commit,
    /// What is durable may be given back to the source.
    Release(Released),
}

/// What a durable commit sets free.
#[derive(Debug, Default, PartialEq)]
pub struct Released {
    /// To be acknowledged.
    pub ack: Vec<Receipt>,
    /// To be left to the source's dead-letter path, and why.
    pub park: Vec<(Receipt, String)>,
    /// What became of the records.
    pub accounting: Accounting,
    /// Matches suppressed, by ticket.
    pub suppressed: BTreeMap<String, u64>,
    /// Whether alerts wait for their sinks.
    pub alerts: bool,
}

/// A plan, and what of it is not durable yet.
pub struct Conductor {
    plan: Plan,
    in_hand: Option<(Commit, Released)>,
    total: Accounting,
}

impl Conductor {
    /// Begins with nothing in hand.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self { plan, in_hand: None, total: Accounting::default() }
    }

    /// Takes an input. While a commit is in hand only its outcome is taken; anything else then is
    /// given back, to come again.
    ///
    /// # Errors
    /// The input, when it has to wait.
    pub fn take(&mut self, input: Input, now: EventTime) -> Result<Vec<Action>, Input> {
        let planned = match (input, self.in_hand.take()) {
            (Input::Committed, Some((_, released))) => {
                self.plan.committed();
                self.total += released.accounting;
                return Ok(vec![Action::Release(released)]);
            }
            (Input::NotCommitted, Some(in_hand)) => in_hand,
            (input, Some(in_hand)) => {
                self.in_hand = Some(in_hand);
                return Err(input);
            }
            (Input::Received(deliveries), None) => {
                let planned = self.plan.batch(&deliveries, now);
                let released = Released {
                    ack: planned.ack,
                    park: planned.park,
                    accounting: planned.accounting,
                    suppressed: planned.suppressed,
                    alerts: !planned.commit.outbox.is_empty(),
                };
                (planned.commit, released)
            }
            (Input::Tick, None) => told(self.plan.tick(now)),
            (Input::Reload(reload), None) => told(self.plan.reload(reload, now)),
            // Nothing was asked, so nothing can have become durable.
            (Input::Committed | Input::NotCommitted, None) => return Ok(Vec::new()),
        };
        self.in_hand = Some(planned);
        Ok(vec![Action::Commit])
    }

    /// What has to become durable before anything else.
    #[must_use]
    pub fn in_hand(&self) -> Option<&Commit> {
        self.in_hand.as_ref().map(|(commit, _)| commit)
    }

    /// What became of everything that is durable.
    #[must_use]
    pub fn total(&self) -> Accounting {
        self.total
    }

    /// The plan, for gauges.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

fn told((commit, accounting): (Commit, Accounting)) -> (Commit, Released) {
    let alerts = !commit.outbox.is_empty();
    (commit, Released { accounting, alerts, ..Released::default() })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{delivery, plan, record};
    use super::*;

    fn now() -> EventTime {
        EventTime::parse("2026-01-05T12:00:00Z").unwrap()
    }

    #[test]
    fn nothing_is_released_before_it_is_durable_and_nothing_overtakes_it() {
        let mut conductor = Conductor::new(plan());
        let batch = vec![delivery("m1", record("e1", "DisableKey", "k-1", 0)), delivery("m2", "garbage")];
        assert_eq!(conductor.take(Input::Received(batch), now()).unwrap(), [Action::Commit]);
        assert_eq!(conductor.in_hand().unwrap().outbox.len(), 2);
        assert!(matches!(conductor.take(Input::Tick, now()), Err(Input::Tick)));
        assert_eq!(conductor.take(Input::NotCommitted, now()).unwrap(), [Action::Commit]);
        assert_eq!(conductor.total().received, 0);
        let actions = conductor.take(Input::Committed, now()).unwrap();
        let [Action::Release(released)] = actions.as_slice() else { panic!("{actions:?}") };
        assert_eq!(released.ack, [Receipt("receipt of m1".to_owned())]);
        assert_eq!((released.park.len(), released.alerts, conductor.total().received), (1, true, 2));
        assert!(conductor.in_hand().is_none());
        // An answer that nobody waits for sets nothing free.
        assert_eq!(conductor.take(Input::Committed, now()).unwrap(), []);
    }
}
