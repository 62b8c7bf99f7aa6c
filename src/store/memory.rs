//! A store in memory: for tests, and for runs that need not survive.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Commit, OutboxSeq, Restored, StateStore, StoreError};
use crate::alert::Alert;

/// Rows and outbox in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    outbox: BTreeMap<OutboxSeq, Alert>,
    next: OutboxSeq,
}

impl MemoryStore {
    fn held(&self) -> MutexGuard<'_, Held> {
        // No code panics while it holds the lock, so what a poisoned one guards is whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for MemoryStore {
    fn restore(&self) -> Result<Restored, StoreError> {
        Ok(Restored { rows: self.held().rows.clone().into_iter().collect() })
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut held = self.held();
        for delta in &commit.deltas {
            match &delta.value {
                Some(value) => held.rows.insert(delta.key.clone(), value.clone()),
                None => held.rows.remove(&delta.key),
            };
        }
        for alert in &commit.outbox {
            let seq = held.next;
            held.next += 1;
            held.outbox.insert(seq, alert.clone());
        }
        Ok(())
    }

    fn pending(&self, after: Option<OutboxSeq>, limit: usize) -> Result<Vec<(OutboxSeq, Alert)>, StoreError> {
        let from = after.map_or(0, |seq| seq.saturating_add(1));
        Ok(self.held().outbox.range(from..).take(limit).map(|(seq, alert)| (*seq, alert.clone())).collect())
    }

    fn pending_len(&self) -> Result<u64, StoreError> {
        Ok(self.held().outbox.len() as u64)
    }

    fn delivered(&self, through: OutboxSeq) -> Result<(), StoreError> {
        self.held().outbox.retain(|seq, _| *seq > through);
        Ok(())
    }
}
