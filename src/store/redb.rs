//! The embedded store: one file, one writer, every commit on disk when it returns.

use std::path::{Path, PathBuf};

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
};

use super::{Commit, OutboxSeq, Restored, StateStore, StoreError};
use crate::alert::Alert;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const STATE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("state");
const OUTBOX: TableDefinition<'_, u64, &str> = TableDefinition::new("outbox");

/// Number of the tables' format.
const FORMAT: u64 = 1;

/// A store in one file.
#[derive(Debug)]
pub struct RedbStore {
    path: PathBuf,
    database: Database,
}

impl RedbStore {
    /// Opens the file, or makes it with the folders above it.
    ///
    /// # Errors
    /// When it cannot be opened, is in use, or is of another format.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let io = |reason: String| StoreError::Io { path: path.display().to_string(), reason };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| io(error.to_string()))?;
        }
        let database = Database::create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::Busy { path: path.display().to_string() },
            DatabaseError::UpgradeRequired(version) => StoreError::Format {
                path: path.display().to_string(),
                reason: format!("file format {version} of another version; run the kmswatch that wrote it"),
            },
            error @ DatabaseError::Storage(redb::StorageError::Corrupted(_)) => StoreError::Format {
                path: path.display().to_string(),
                reason: format!("{error}; restore it from a backup, or move it away to start afresh"),
            },
            error => io(error.to_string()),
        })?;
        let store = Self { path: path.to_owned(), database };
        store.check_format()?;
        Ok(store)
    }

    fn io(&self, error: impl Into<redb::Error>) -> StoreError {
        StoreError::Io { path: self.path.display().to_string(), reason: error.into().to_string() }
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        let found = {
            let mut meta = transaction.open_table(META).map_err(|error| self.io(error))?;
            transaction.open_table(STATE).map_err(|error| self.io(error))?;
            transaction.open_table(OUTBOX).map_err(|error| self.io(error))?;
            let found = meta.get("format").map_err(|error| self.io(error))?.map(|guard| guard.value());
            if found.is_none() {
                meta.insert("format", FORMAT).map_err(|error| self.io(error))?;
            }
            found.unwrap_or(FORMAT)
        };
        if found != FORMAT {
            let reason = format!("format {found}, this version reads {FORMAT}; run the kmswatch that wrote it");
            return Err(StoreError::Format { path: self.path.display().to_string(), reason });
        }
        transaction.commit().map_err(|error| self.io(error))
    }

    fn begin(&self) -> Result<redb::WriteTransaction, StoreError> {
        let mut transaction = self.database.begin_write().map_err(|error| self.io(error))?;
        transaction
            .set_durability(Durability::Immediate)
            .map_err(|error| StoreError::Io { path: self.path.display().to_string(), reason: error.to_string() })?;
        Ok(transaction)
    }
}

impl StateStore for RedbStore {
    fn restore(&self) -> Result<Restored, StoreError> {
        let transaction = self.database.begin_read().map_err(|error| self.io(error))?;
        let state = transaction.open_table(STATE).map_err(|error| self.io(error))?;
        let mut rows = Vec::new();
        for row in state.iter().map_err(|error| self.io(error))? {
            let (key, value) = row.map_err(|error| self.io(error))?;
            rows.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(Restored { rows })
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        if commit.deltas.is_empty() && commit.outbox.is_empty() {
            return Ok(());
        }
        let transaction = self.begin()?;
        {
            let mut state = transaction.open_table(STATE).map_err(|error| self.io(error))?;
            for delta in &commit.deltas {
                match &delta.value {
                    Some(value) => state.insert(delta.key.as_slice(), value.as_slice()).map(drop),
                    None => state.remove(delta.key.as_slice()).map(drop),
                }
                .map_err(|error| self.io(error))?;
            }
            let mut outbox = transaction.open_table(OUTBOX).map_err(|error| self.io(error))?;
            let mut meta = transaction.open_table(META).map_err(|error| self.io(error))?;
            // Numbers are never given twice, also when the outbox was empty in between.
            let mut next = meta.get("next").map_err(|error| self.io(error))?.map_or(0, |guard| guard.value());
            for alert in &commit.outbox {
                outbox.insert(next, crate::alert::json::line(alert).as_str()).map_err(|error| self.io(error))?;
                next += 1;
            }
            meta.insert("next", next).map_err(|error| self.io(error))?;
        }
        transaction.commit().map_err(|error| self.io(error))
    }

    fn pending(&self, after: Option<OutboxSeq>, limit: usize) -> Result<Vec<(OutboxSeq, Alert)>, StoreError> {
        let transaction = self.database.begin_read().map_err(|error| self.io(error))?;
        let outbox = transaction.open_table(OUTBOX).map_err(|error| self.io(error))?;
        let from = after.map_or(0, |seq| seq.saturating_add(1));
        let mut pending = Vec::new();
        for row in outbox.range(from..).map_err(|error| self.io(error))?.take(limit) {
            let (seq, line) = row.map_err(|error| self.io(error))?;
            let alert = serde_json::from_str(line.value()).map_err(|error| StoreError::Format {
                path: self.path.display().to_string(),
                reason: format!("alert {} of the outbox cannot be read: {error}", seq.value()),
            })?;
            pending.push((seq.value(), alert));
        }
        Ok(pending)
    }

    fn pending_len(&self) -> Result<u64, StoreError> {
        let transaction = self.database.begin_read().map_err(|error| self.io(error))?;
        let outbox = transaction.open_table(OUTBOX).map_err(|error| self.io(error))?;
        outbox.len().map_err(|error| self.io(error))
    }

    fn delivered(&self, through: OutboxSeq) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        {
            let mut outbox = transaction.open_table(OUTBOX).map_err(|error| self.io(error))?;
            outbox.retain_in(..=through, |_, _| false).map_err(|error| self.io(error))?;
        }
        transaction.commit().map_err(|error| self.io(error))
    }
}
