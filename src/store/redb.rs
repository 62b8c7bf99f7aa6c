//! The embedded durable store: one redb file, one writer.
//!
//! Invariant: one write transaction a [`Commit`], with immediate durability, so that after a crash
//! all of it is there or nothing. The file carries a format number; a newer one is refused rather
//! than misread.
//!
//! Must not: know what a row means. Keys and values are the engine's.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use redb::{Error, StorageError, TableDefinition};

use super::{Commit, OutboxSeq, Restored, StateStore, StoreError};
use crate::alert::{Alert, json};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const STATE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("state");
/// Alerts as JSON: readable by the next version, which may have more fields.
const OUTBOX: TableDefinition<'_, u64, &str> = TableDefinition::new("outbox");

/// Number of the layout above.
const FORMAT: u64 = 1;
const META_FORMAT: &str = "format";
/// Kept apart from the outbox, which may be empty: a sequence number is never used twice.
const META_NEXT: &str = "next";
/// redb's page cache. Rows are also held by the engine, so that this serves the tree's inner pages.
const CACHE_BYTES: usize = 64 << 20;

/// How the file is opened; the simulated world opens one that fails.
pub type Create = Box<dyn Fn(&Path) -> Result<Database, DatabaseError> + Send + Sync>;

/// State and outbox in a file.
pub struct RedbStore {
    path: PathBuf,
    create: Create,
    /// `None` after an I/O error, for redb refuses to go on with the handle that saw one; the next
    /// call opens the file again.
    database: RwLock<Option<Database>>,
}

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the store, or makes it with the folders above it.
    ///
    /// # Errors
    /// Busy when another process has it, Format when the file is no store or a newer one's, Io else.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| classify(path, error.into()))?;
        }
        Self::open_with(path, Box::new(|path| Builder::new().set_cache_size(CACHE_BYTES).create(path)))
    }

    /// Opens it by other means.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(path: &Path, create: Create) -> Result<Self, StoreError> {
        let database = open_database(path, &create)?;
        Ok(Self { path: path.to_owned(), create, database: RwLock::new(Some(database)) })
    }

    /// Runs `work`; a failed handle is dropped so that the next call starts afresh.
    fn with<T>(&self, work: impl Fn(&Database) -> Result<T, Error>) -> Result<T, StoreError> {
        let failed = {
            let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
            match guard.as_ref().map(&work) {
                Some(Ok(done)) => return Ok(done),
                Some(Err(error)) => Some(classify(&self.path, error)),
                None => None,
            }
        };
        let mut guard = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failed {
            *guard = None;
            return Err(error);
        }
        let database = match guard.take() {
            Some(reopened_meanwhile) => reopened_meanwhile,
            None => open_database(&self.path, &self.create)?,
        };
        match work(&database) {
            Ok(done) => {
                *guard = Some(database);
                Ok(done)
            }
            Err(error) => Err(classify(&self.path, error)),
        }
    }
}

fn open_database(path: &Path, create: &Create) -> Result<Database, StoreError> {
    let database = create(path).map_err(|error| classify_open(path, error))?;
    let found = prepare(&database).map_err(|error| classify(path, error))?;
    if found > FORMAT {
        return Err(StoreError::Format {
            path: path.display().to_string(),
            reason: format!(
                "it has format {found} and this kmswatch knows formats up to {FORMAT}; run the newer kmswatch that \
                 wrote it, or give another [state] dir"
            ),
        });
    }
    Ok(database)
}

/// Makes the tables of a new file; returns the file's format.
fn prepare(database: &Database) -> Result<u64, Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let found = {
        let mut meta = transaction.open_table(META)?;
        let found = meta.get(META_FORMAT)?.map(|format| format.value());
        if found.is_none() {
            meta.insert(META_FORMAT, FORMAT)?;
        }
        found.unwrap_or(FORMAT)
    };
    if found <= FORMAT {
        transaction.open_table(STATE)?;
        transaction.open_table(OUTBOX)?;
    }
    transaction.commit()?;
    Ok(found)
}

fn write_commit(database: &Database, commit: &Commit) -> Result<(), Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut state = transaction.open_table(STATE)?;
        for delta in &commit.deltas {
            match &delta.value {
                Some(value) => state.insert(delta.key.as_slice(), value.as_slice())?,
                None => state.remove(delta.key.as_slice())?,
            };
        }
    }
    if !commit.outbox.is_empty() {
        let mut meta = transaction.open_table(META)?;
        let mut outbox = transaction.open_table(OUTBOX)?;
        let mut next = meta.get(META_NEXT)?.map_or(0, |next| next.value());
        for alert in &commit.outbox {
            outbox.insert(next, json::line(alert).as_str())?;
            next += 1;
        }
        meta.insert(META_NEXT, next)?;
    }
    transaction.commit()?;
    Ok(())
}

impl StateStore for RedbStore {
    fn restore(&self) -> Result<Restored, StoreError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let state = transaction.open_table(STATE)?;
            let mut rows = Vec::new();
            for row in state.iter()? {
                let (key, value) = row?;
                rows.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(Restored { rows })
        })
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        if commit.deltas.is_empty() && commit.outbox.is_empty() {
            return Ok(());
        }
        self.with(|database| write_commit(database, commit))
    }

    fn pending(&self, after: Option<OutboxSeq>, limit: usize) -> Result<Vec<(OutboxSeq, Alert)>, StoreError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let outbox = transaction.open_table(OUTBOX)?;
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut found = Vec::new();
            for row in outbox.range::<u64>((from, Bound::Unbounded))?.take(limit) {
                let (seq, line) = row?;
                let alert = serde_json::from_str(line.value()).map_err(|error| {
                    Error::Corrupted(format!("alert {} of the outbox cannot be read: {error}", seq.value()))
                })?;
                found.push((seq.value(), alert));
            }
            Ok(found)
        })
    }

    fn pending_len(&self) -> Result<u64, StoreError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            Ok(transaction.open_table(OUTBOX)?.len()?)
        })
    }

    fn delivered(&self, through: OutboxSeq) -> Result<(), StoreError> {
        self.with(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.open_table(OUTBOX)?.retain_in(..=through, |_, _| false)?;
            transaction.commit()?;
            Ok(())
        })
    }
}

fn classify_open(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Busy { path: path.display().to_string() },
        // What redb says of a file that does not begin like one of its own.
        DatabaseError::Storage(StorageError::Io(io)) if io.kind() == std::io::ErrorKind::InvalidData => {
            format_error(path, "it is not a kmswatch state store")
        }
        other => classify(path, other.into()),
    }
}

fn classify(path: &Path, error: Error) -> StoreError {
    let shown = path.display().to_string();
    match error {
        Error::DatabaseAlreadyOpen => StoreError::Busy { path: shown },
        Error::Corrupted(what) => format_error(path, &format!("it is damaged ({what})")),
        Error::UpgradeRequired(version) => format_error(path, &format!("it is a redb file of version {version}")),
        wrong @ (Error::TableTypeMismatch { .. } | Error::TableIsMultimap(_) | Error::TypeDefinitionChanged { .. }) => {
            format_error(path, &format!("it is another program's redb file ({wrong})"))
        }
        other => StoreError::Io {
            path: shown,
            reason: format!("{other}; see that the folder exists, is writable, and that the disk has room"),
        },
    }
}

fn format_error(path: &Path, what: &str) -> StoreError {
    StoreError::Format {
        path: path.display().to_string(),
        reason: format!(
            "{what}; restore it from a backup, or move it away to start without memory of open incidents (records \
             still in the queue open them again)"
        ),
    }
}

#[cfg(test)]
mod tests;
