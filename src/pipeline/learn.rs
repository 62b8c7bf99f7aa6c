//! Learning from captures: the same files as a replay reads, into history instead of incidents.
//!
//! Invariant: each record counts once, whichever file and thread it comes by.

use std::sync::Arc;

use super::plan::analyze::{Analysis, Analyzer};
use super::replay::{FileResult, SeenRecords, Window, read_piece};
use crate::event::derive::{KMS_SOURCE, derive, uses_of};
use crate::event::field::{Projection, derived};
use crate::event::record::{Record, decode};
use crate::keys::inventory::{Inventory, Known};
use crate::keys::learn::Learning;
use crate::keys::learn::history::Seen;
use crate::keys::picture::Picture;
use crate::keys::picture::change::place_of;

/// Reads pieces of captures into [`FileResult::learnt`]; shared by threads.
#[derive(Debug)]
pub struct Learner {
    /// Rules that learn too, if they are to.
    analyzer: Option<Analyzer>,
    projection: Arc<Projection>,
    /// To compare with.
    inventory: Option<Arc<Inventory>>,
    /// What is known of keys at the time of each record.
    picture: Picture,
    window: Window,
    seen: SeenRecords,
}

impl Learner {
    /// A learner that has seen nothing. The rules of `analyzer` get their matches as in a replay;
    /// uses are compared with `inventory`.
    #[must_use]
    pub fn new(
        analyzer: Option<Analyzer>,
        inventory: Option<Arc<Inventory>>,
        picture: Picture,
        window: Window,
    ) -> Self {
        let projection = analyzer
            .as_ref()
            .map_or_else(|| Arc::new(Projection::fixed()), |analyzer| Arc::new(analyzer.rules.projection.clone()));
        Self { analyzer, projection, inventory, picture, window, seen: SeenRecords::default() }
    }

    /// Reads one piece of a file.
    pub fn read(&self, piece: &[u8], result: &mut FileResult) {
        read_piece(piece, result, &mut |raw, number, result| self.record(raw, number, result));
    }

    fn record(&self, raw: &str, number: u64, result: &mut FileResult) {
        let mut record = match decode(raw, &self.projection) {
            Ok(record) => record,
            Err(error) => return result.bad(format!("record {number}: {error}")),
        };
        let is_kms = record.source() == KMS_SOURCE;
        let is_read = |analyzer: &Analyzer| analyzer.rules.wants(record.source(), record.name());
        let is_wanted = is_kms || self.analyzer.as_ref().is_some_and(is_read);
        if !is_wanted || !self.window.covers(record.time) {
            result.accounting.filtered += 1;
            return;
        }
        if !self.seen.note(&record) {
            result.accounting.duplicate += 1;
            return;
        }
        result.accounting.applied += 1;
        if is_kms {
            self.note(&mut record, result);
        }
        if let Some(analyzer) = &self.analyzer
            && let Analysis::Read(reading) = analyzer.analyze(record, &self.picture)
        {
            reading.matches.into_iter().for_each(|matched| result.keep(matched));
        }
    }

    fn note(&self, record: &mut Record<'_>, result: &mut FileResult) {
        let learnt: &mut Learning = result.learnt.get_or_insert_with(Box::default);
        for used in uses_of(record) {
            derive(record, &used);
            let outcome = record.fields.text(derived::OUTCOME).unwrap_or_default();
            let known = || match &used.key {
                Some(key) => self.picture.known(key, &place_of(record), record.time),
                None => Known::default(),
            };
            let inventory = self.inventory.as_deref();
            learnt.note(&Seen::of(record, &used, outcome), inventory, &known);
        }
    }
}
