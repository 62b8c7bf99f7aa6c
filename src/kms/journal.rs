//! A snapshot file in the making: `NAME.partial` beside it, one line a key as it is answered.
//!
//! After a crash the next start reads it and goes on; when all are asked, the lines are put in order
//! and in place at once.
//!
//! Invariant: the snapshot file is never half-written, and a journal is never taken for that of
//! another question.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::keys::snapshot::{KeyFacts, line};
use crate::time::EventTime;

/// What an import asks for; a journal of another question is not gone on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Profiles and Regions, in words.
    pub places: Vec<String>,
    /// Another endpoint, like that of an emulator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
}

/// The first line of a journal.
#[derive(Serialize, Deserialize)]
struct Heading {
    question: Question,
    began: EventTime,
}

/// The last: all is in it, and only putting it in place was left to do.
const COMPLETE: &str = "complete";

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system says no.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// Somebody else is at it.
    #[error("{0}: another import is writing it")]
    InUse(PathBuf),
    /// It was begun for something else.
    #[error("{path} was begun on {began} for {was}; ask for the same to go on with it, or begin anew with --fresh")]
    OtherQuestion {
        /// The journal.
        path: PathBuf,
        /// When.
        began: EventTime,
        /// Its places.
        was: String,
    },
}

/// A journal that is open.
#[derive(Debug)]
pub struct Journal {
    target: PathBuf,
    path: PathBuf,
    file: File,
    /// Where each key's line is: offset and length, its end included.
    lines: BTreeMap<String, (u64, u64)>,
    end: u64,
    began: EventTime,
}

fn beside(target: &Path, ending: &str) -> PathBuf {
    let mut name = target.file_name().map(OsString::from).unwrap_or_default();
    name.push(ending);
    target.with_file_name(name)
}

impl Journal {
    /// Opens the journal of a snapshot file, or begins one. With `fresh` what is there is given up.
    ///
    /// # Errors
    /// When the file cannot be used, is in use, or is that of another question.
    pub fn open(target: &Path, question: &Question, now: EventTime, fresh: bool) -> Result<Self, JournalError> {
        let path = beside(target, ".partial");
        let fail = |error| JournalError::File { path: path.clone(), error };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse(path)),
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        let (heading, lines, end) = match fresh {
            true => (None, BTreeMap::new(), 0),
            false => read(&file).map_err(fail)?,
        };
        let mut journal = Self { target: target.to_owned(), path, file, lines, end, began: now };
        match heading {
            Some(heading) if heading.question == *question => journal.began = heading.began,
            Some(heading) => {
                let was = heading.question.places.join(", ");
                return Err(JournalError::OtherQuestion { path: journal.path, began: heading.began, was });
            }
            None => {
                (journal.end, journal.lines) = (0, BTreeMap::new());
                let heading = Heading { question: question.clone(), began: now };
                // Texts and an instant always have a JSON form.
                let heading = serde_json::to_string(&heading).unwrap_or_default();
                journal.write(&heading)?;
            }
        }
        Ok(journal)
    }

    /// When it was begun.
    #[must_use]
    pub fn began(&self) -> EventTime {
        self.began
    }

    /// Keys answered so far.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.lines.len()
    }

    /// The keys answered, to look up in while more are written.
    #[must_use]
    pub fn known(&self) -> BTreeSet<String> {
        self.lines.keys().cloned().collect()
    }

    fn error(&self, error: io::Error) -> JournalError {
        JournalError::File { path: self.path.clone(), error }
    }

    /// Appends one line, and gives up what a torn write left after the last whole one.
    fn write(&mut self, text: &str) -> Result<(u64, u64), JournalError> {
        let bytes = format!("{text}\n");
        let written = self
            .file
            .set_len(self.end)
            .and_then(|()| self.file.seek(SeekFrom::Start(self.end)))
            .and_then(|_| self.file.write_all(bytes.as_bytes()));
        written.map_err(|error| self.error(error))?;
        let place = (self.end, bytes.len() as u64);
        self.end += place.1;
        Ok(place)
    }

    /// Keeps an answer. A crash of the process does not lose it; one of the machine may, and then
    /// the key is asked again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, facts: &KeyFacts) -> Result<(), JournalError> {
        let place = self.write(&line(facts))?;
        self.lines.insert(facts.arn.clone(), place);
        Ok(())
    }

    /// Puts the snapshot in place, its keys in order of their ARNs, and ends the journal.
    ///
    /// # Errors
    /// When it cannot be written; the journal stays.
    pub fn finish(mut self) -> Result<(), JournalError> {
        let sorted = beside(&self.target, ".sorted");
        let fail = |error| JournalError::File { path: sorted.clone(), error };
        let mut out = BufWriter::new(File::create(&sorted).map_err(fail)?);
        for (at, length) in self.lines.values() {
            self.file.seek(SeekFrom::Start(*at)).map_err(|error| self.error(error))?;
            io::copy(&mut (&self.file).take(*length), &mut out).map_err(fail)?;
        }
        let out = out.into_inner().map_err(|error| fail(error.into_error()))?;
        out.sync_all().map_err(fail)?;
        // From here on the journal is not gone on with, whatever happens before it is removed.
        self.write(&format!("\"{COMPLETE}\""))?;
        self.file.sync_all().map_err(|error| self.error(error))?;
        let in_place = |error| JournalError::File { path: self.target.clone(), error };
        std::fs::rename(&sorted, &self.target).map_err(in_place)?;
        if let Some(folder) = self.target.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(in_place)?;
        }
        std::fs::remove_file(&self.path).map_err(|error| self.error(error))
    }
}

type Read = (Option<Heading>, BTreeMap<String, (u64, u64)>, u64);

/// What a journal holds up to its last whole line. A line that cannot be read ends it: what comes
/// after is asked again. A journal that was complete, or has no heading, holds nothing.
fn read(file: &File) -> io::Result<Read> {
    let mut reader = BufReader::new(file);
    let mut buffer = Vec::new();
    let (mut heading, mut lines, mut end) = (None, BTreeMap::new(), 0);
    loop {
        buffer.clear();
        let length = reader.read_until(b'\n', &mut buffer)? as u64;
        if buffer.pop_if(|last| *last == b'\n').is_none() {
            break;
        }
        if heading.is_none() {
            let Ok(read) = serde_json::from_slice::<Heading>(&buffer) else { break };
            heading = Some(read);
        } else if serde_json::from_slice::<String>(&buffer).is_ok_and(|word| word == COMPLETE) {
            return Ok((None, BTreeMap::new(), 0));
        } else {
            // Read whole, for a line that is torn inside must not come into a snapshot.
            let Ok(facts) = serde_json::from_slice::<KeyFacts>(&buffer) else { break };
            lines.insert(facts.arn, (end, length));
        }
        end += length;
    }
    Ok((heading, lines, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::snapshot;

    fn at(text: &str) -> EventTime {
        EventTime::parse(text).unwrap()
    }

    fn question(region: &str) -> Question {
        Question { places: vec![region.to_owned()], endpoint_url: None }
    }

    fn key(id: &str) -> KeyFacts {
        let text = format!(r#"{{"arn":"arn:aws:kms:eu-west-1:111122223333:key/{id}","as_of":"2026-01-05T10:00:00Z"}}"#);
        serde_json::from_str(&text).unwrap()
    }

    fn open(target: &Path, region: &str, fresh: bool) -> Result<Journal, JournalError> {
        Journal::open(target, &question(region), at("2026-01-05T10:00:00Z"), fresh)
    }

    #[test]
    fn a_torn_end_is_dropped_wherever_it_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("keys.jsonl");
        let path = folder.path().join("keys.jsonl.partial");
        let mut journal = open(&target, "eu-west-1", false).unwrap();
        journal.append(&key("b")).unwrap();
        journal.append(&key("a")).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let ends: Vec<_> = (0..whole.len()).filter(|at| whole[*at] == b'\n').map(|at| at + 1).collect();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut journal = open(&target, "eu-west-1", false).unwrap();
            let kept = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(journal.answered(), kept.saturating_sub(1), "cut at {cut}");
            journal.append(&key("c")).unwrap();
            drop(journal);
            let journal = open(&target, "eu-west-1", false).unwrap();
            assert!(
                journal.known().contains(&key("c").arn) && journal.answered() == kept.saturating_sub(1) + 1,
                "cut at {cut}"
            );
        }
        let torn_inside = String::from_utf8(whole).unwrap().replace("/b\",\"as_of", "/b\"\u{0},\"as_of");
        std::fs::write(&path, torn_inside).unwrap();
        assert_eq!(open(&target, "eu-west-1", false).unwrap().answered(), 0, "and what comes after is asked again");
    }

    #[test]
    fn it_is_put_in_place_in_order_and_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("keys.jsonl");
        std::fs::write(&target, "old").unwrap();
        let mut journal = open(&target, "eu-west-1", false).unwrap();
        for id in ["b", "a"] {
            journal.append(&key(id)).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "old");
        assert!(matches!(open(&target, "eu-west-1", true), Err(JournalError::InUse(_))));
        journal.finish().unwrap();
        let text = std::fs::read_to_string(&target).unwrap();
        assert_eq!(text, format!("{}\n{}\n", snapshot::line(&key("a")), snapshot::line(&key("b"))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_journal_is_gone_on_with_for_the_same_question_only() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("keys.jsonl");
        open(&target, "eu-west-1", false).unwrap().append(&key("a")).unwrap();
        let error = open(&target, "eu-west-2", false).unwrap_err().to_string();
        assert!(error.contains("for eu-west-1") && error.contains("--fresh"), "{error}");
        assert_eq!(open(&target, "eu-west-1", false).unwrap().answered(), 1);
        assert_eq!(open(&target, "eu-west-2", true).unwrap().answered(), 0);
        assert!(open(&target, "eu-west-1", false).is_err(), "what was begun anew is of the new question");

        let mut journal = open(&target, "eu-west-2", false).unwrap();
        journal.append(&key("a")).unwrap();
        journal.write("\"complete\"").unwrap();
        drop(journal);
        assert_eq!(open(&target, "eu-west-1", false).unwrap().answered(), 0, "complete: what it asked is past");
    }
}
