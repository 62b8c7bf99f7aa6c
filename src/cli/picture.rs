//! Reads what is known of keys for people who ask: snapshots, captures, the service's state.

use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use super::captures::Capture;
use super::keys::lines::each;
use super::{Usage, run, say};
use crate::event::derive::{KMS_SOURCE, uses_of};
use crate::event::envelope::{EnvelopeLimits, Found, open};
use crate::event::field::{Projection, core};
use crate::event::operation::{Class, class_of};
use crate::event::record::{Record, decode};
use crate::keys::picture::change::{changes_of, stamp_of};
use crate::keys::picture::{Picture, Used};
use crate::pipeline::plan::analyze::lane_of;
use crate::pipeline::survey::whole_picture;
use crate::store::redb::RedbStore;
use crate::store::{StateStore as _, StoreError};
use crate::time::EventTime;

/// What is known of keys, and whether all of it could be read.
#[derive(Debug)]
pub struct Read {
    /// What is known.
    pub picture: Picture,
    /// How often a principal used a key, each record counted once.
    pub calls: BTreeMap<(String, String), u64>,
    /// Event time of the last record of the captures.
    pub last: Option<EventTime>,
    /// Something could not be read; it was told of.
    pub incomplete: bool,
    until: Option<EventTime>,
    seen: HashSet<u64>,
}

/// Records remembered to tell copies by: of some events CloudTrail writes two. Beyond that copies
/// count twice, which only the number of calls shows.
const MAX_SEEN: usize = 20_000_000;

impl Read {
    /// Nothing is known yet; records after an instant will be left out.
    #[must_use]
    pub fn until(until: Option<EventTime>) -> Self {
        Self {
            until,
            picture: whole_picture(),
            calls: BTreeMap::new(),
            last: None,
            incomplete: false,
            seen: HashSet::new(),
        }
    }

    /// Reads snapshots as `keys import` writes them.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn snapshots(&mut self, paths: &[PathBuf]) -> anyhow::Result<()> {
        for path in paths {
            each(path, |facts| {
                self.picture.take_snapshot(&facts);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Reads captures, in any order.
    pub fn captures(&mut self, captures: &[Capture]) {
        let projection = Projection::fixed();
        for capture in captures {
            let mut unreadable = 0_u64;
            let read = capture.pieces(&mut |piece| {
                let limits = EnvelopeLimits { max_bytes: usize::MAX >> 1, ..EnvelopeLimits::default() };
                let opened = open(piece, limits, &mut |found| match found {
                    Found::Record(raw) => match decode(raw, &projection) {
                        Ok(record) => self.note(&record),
                        Err(_) => unreadable += 1,
                    },
                    Found::Foreign(_) => {}
                    Found::Bad { .. } => unreadable += 1,
                });
                unreadable += u64::from(opened.is_err());
            });
            if let Err(error) = read {
                say(&error.to_string());
                self.incomplete = true;
            }
            if unreadable > 0 {
                let what = "records cannot be read and are left out; `kmswatch replay` says which";
                say(&format!("{}: {unreadable} {what}", capture.path.display()));
            }
        }
    }

    /// Reads the state of the service that a configuration is of, while it stands still.
    ///
    /// # Errors
    /// When the service runs, or its state cannot be read.
    pub fn state(&mut self, config: &Path) -> anyhow::Result<()> {
        let settings = run::read_settings(config)?;
        let path = settings.state_dir.join("state.redb");
        if !path.exists() {
            anyhow::bail!(Usage(format!("{}: no state; has the service run here?", path.display())));
        }
        let store = RedbStore::open(&path).map_err(|error| match error {
            StoreError::Busy { path } => anyhow::anyhow!(
                "{path} is in use by a running kmswatch; stop it, or work on a copy made while it stands still, or give --captures and --snapshot instead"
            ),
            other => other.into(),
        })?;
        for (key, value) in store.restore()?.rows.iter().filter(|(key, _)| Picture::owns(key)) {
            self.picture.restore(key, value)?;
        }
        Ok(())
    }

    /// Notes what a record says of keys.
    fn note(&mut self, record: &Record<'_>) {
        if self.until.is_some_and(|until| record.time > until) {
            return;
        }
        self.last = self.last.max(Some(record.time));
        let stamp = stamp_of(record);
        for change in changes_of(record) {
            self.picture.apply(&stamp, change);
        }
        let is_use = record.source() == KMS_SOURCE && class_of(record.name()) == Class::Cryptographic;
        if !is_use || record.fields.text(core::ERROR_CODE).is_some() {
            return;
        }
        let mut hasher = std::hash::DefaultHasher::new();
        (record.id.as_str(), &*lane_of(record)).hash(&mut hasher);
        let is_copy = self.seen.len() < MAX_SEEN && !self.seen.insert(hasher.finish());
        for used in uses_of(record) {
            let Some(arn) = used.key.as_ref().and_then(|key| key.arn.clone()) else { continue };
            let principal = used.principal.canonical;
            let operation = record.name().to_owned();
            self.picture.note_use(&Used {
                key: arn.clone(),
                principal: principal.clone(),
                operation,
                time: record.time,
            });
            if !is_copy {
                *self.calls.entry((arn, principal)).or_default() += 1;
            }
        }
    }
}
