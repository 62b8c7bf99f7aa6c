//! One process of the simulated world: the real conductor and the real store's order of things, with
//! each step taken by itself so that the world can end between any two.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::disk::Disk;
use super::stream::RULES;
use crate::alert::redact::Redaction;
use crate::pipeline::outbox::Progress;
use crate::pipeline::plan::conduct::{Action, Conductor, Input};
use crate::pipeline::plan::{Limits, Plan};
use crate::rule::{RuleSet, RuleText};
use crate::source::Receipt;
use crate::store::redb::RedbStore;
use crate::store::{OutboxSeq, StateStore as _};
use crate::time::EventTime;

/// A running process.
pub struct Process {
    /// The order of things.
    pub conductor: Conductor,
    /// Its store.
    pub store: RedbStore,
    /// What came and was not looked at yet.
    pub inbox: VecDeque<Input>,
    /// What the conductor wants done, in order.
    pub actions: VecDeque<Action>,
    /// Durable, and still to be deleted.
    pub acks: VecDeque<Receipt>,
    /// Still to be left to the dead-letter path.
    pub parks: VecDeque<Receipt>,
    /// How far each pager is.
    pub after: Vec<Option<OutboxSeq>>,
    /// What all pagers have.
    pub progress: Progress,
}

/// The rules of the simulated world.
///
/// # Errors
/// When they do not compile.
pub fn rules() -> Result<Arc<RuleSet>, String> {
    let compiled = RuleSet::compile(&[RuleText { path: "sim/rules.yml".to_owned(), text: RULES.to_owned() }]);
    let diagnostics = compiled.diagnostics;
    compiled.rules.map(Arc::new).ok_or_else(|| format!("the rules have mistakes: {diagnostics:?}"))
}

impl Process {
    /// Starts from what the disk holds.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn start(disk: &Disk, rules: &Arc<RuleSet>, pagers: usize) -> Result<Self, String> {
        let store = open(disk)?;
        let mut plan = Plan::new(rules.clone(), Arc::default(), Limits::default(), Redaction::default());
        let restored = store.restore().map_err(|error| error.to_string())?;
        plan.restore(&restored).map_err(|error| error.to_string())?;
        Ok(Self {
            conductor: Conductor::new(plan),
            store,
            inbox: VecDeque::new(),
            actions: VecDeque::new(),
            acks: VecDeque::new(),
            parks: VecDeque::new(),
            after: vec![None; pagers],
            progress: Progress::new(pagers),
        })
    }

    /// Takes the next input to the conductor, if it is free.
    pub fn think(&mut self, now: EventTime) {
        if !self.actions.is_empty() || self.conductor.in_hand().is_some() {
            return;
        }
        if let Some(input) = self.inbox.pop_front() {
            match self.conductor.take(input, now) {
                Ok(actions) => self.actions.extend(actions),
                Err(input) => self.inbox.push_front(input),
            }
        }
    }

    /// Deliveries held in memory.
    #[must_use]
    pub fn held(&self) -> usize {
        let count = |input: &Input| if let Input::Received(batch) = input { batch.len() } else { 0 };
        self.inbox.iter().map(count).sum()
    }

    /// Whether nothing waits to be done.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let waits = self.inbox.is_empty() && self.acks.is_empty() && self.parks.is_empty();
        waits && self.actions.is_empty() && self.conductor.in_hand().is_none()
    }
}

/// The real store over the disk.
fn open(disk: &Disk) -> Result<RedbStore, String> {
    let disk = disk.clone();
    let create = move |_: &Path| redb::Builder::new().create_with_backend(disk.open());
    RedbStore::open_with(Path::new("simulated"), Box::new(create)).map_err(|error| error.to_string())
}
