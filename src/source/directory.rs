//! A directory that is watched for new capture files: the source that needs no AWS.
//!
//! A file is taken once it has stopped growing. What is done is kept in a ledger outside of the
//! watched directory, by path, size and time of change, so that a restart does not read it again
//! and a changed file is read anew.
//!
//! Invariant: a file enters the ledger only when it is acknowledged or parked.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::capture::files_under;
use super::{Delivery, Receipt, Received, Source, SourceError};
use crate::time::EventTime;

/// How to watch.
#[derive(Clone, Debug)]
pub struct DirectorySettings {
    /// What is watched, with everything below it.
    pub path: PathBuf,
    /// Where the ledger is kept.
    pub ledger: PathBuf,
    /// Between two looks.
    pub scan: Duration,
    /// Larger files are parked.
    pub max_file_bytes: u64,
    /// End when everything there was read, instead of waiting for more.
    pub once: bool,
}

/// A watched directory.
#[derive(Debug)]
pub struct DirectorySource {
    settings: DirectorySettings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    done: HashSet<Version>,
    handed_out: HashMap<Receipt, Version>,
    /// Handed out as soon as the pipeline asks for them.
    ready: VecDeque<Version>,
    /// As seen at the last look: taken when it is the same again.
    seen: HashMap<PathBuf, Version>,
}

/// A file as it was at one time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Version {
    path: PathBuf,
    bytes: u64,
    changed_millis: i64,
}

impl Version {
    fn of(path: PathBuf) -> Option<Self> {
        let about = std::fs::metadata(&path).ok()?;
        let changed = about.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Self { path, bytes: about.len(), changed_millis: i64::try_from(changed.as_millis()).ok()? })
    }

    /// As a line of the ledger; JSON, since paths may hold anything.
    fn line(&self) -> String {
        serde_json::json!([self.path.to_string_lossy(), self.bytes, self.changed_millis]).to_string()
    }

    fn receipt(&self) -> Receipt {
        Receipt(self.line())
    }

    fn parse(line: &str) -> Option<Self> {
        let (path, bytes, changed_millis) = serde_json::from_str::<(PathBuf, u64, i64)>(line).ok()?;
        Some(Self { path, bytes, changed_millis })
    }
}

impl DirectorySource {
    /// Reads the ledger and looks whether the directory is there.
    ///
    /// # Errors
    /// When either cannot be read.
    pub fn open(settings: DirectorySettings) -> Result<Self, SourceError> {
        if !settings.path.is_dir() {
            return Err(SourceError::Fatal(format!("{}: no such directory to watch", settings.path.display())));
        }
        let ledger = match std::fs::read_to_string(&settings.ledger) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(SourceError::Fatal(format!("{}: {error}", settings.ledger.display()))),
        };
        // A torn last line is a file that is read again: harmless.
        let done = ledger.lines().filter_map(Version::parse).collect();
        Ok(Self { settings, state: Mutex::new(State { done, ..State::default() }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next file to read, marked as handed out. Looks at the directory only when everything that
    /// the last look found is handed out: a look costs as much as there are files.
    fn next(&self) -> Result<Option<Version>, SourceError> {
        if let Some(version) = self.state().ready.pop_front() {
            return Ok(Some(version));
        }
        let files = files_under(&self.settings.path).map_err(|error| SourceError::Retry(error.to_string()))?;
        let mut guard = self.state();
        let state = &mut *guard;
        let mut seen = HashMap::new();
        for path in files {
            let unfinished = path.extension().is_some_and(|end| end == "tmp" || end == "part");
            let Some(version) = Version::of(path).filter(|_| !unfinished) else { continue };
            if state.done.contains(&version) || state.handed_out.contains_key(&version.receipt()) {
                continue;
            }
            // What is there when a drain begins is taken as finished.
            if self.settings.once || state.seen.get(&version.path) == Some(&version) {
                state.handed_out.insert(version.receipt(), version.clone());
                state.ready.push_back(version);
            } else {
                seen.insert(version.path.clone(), version);
            }
        }
        state.seen = seen;
        Ok(state.ready.pop_front())
    }

    fn read(&self, version: &Version) -> Result<Vec<u8>, String> {
        if version.bytes > self.settings.max_file_bytes {
            return Err(format!("larger than {} bytes", self.settings.max_file_bytes));
        }
        let file = std::fs::File::open(&version.path).map_err(|error| error.to_string())?;
        let mut body = Vec::new();
        file.take(self.settings.max_file_bytes).read_to_end(&mut body).map_err(|error| error.to_string())?;
        Ok(body)
    }

    fn finish(&self, receipts: &[Receipt]) -> Result<(), SourceError> {
        let mut state = self.state();
        let versions: Vec<_> = receipts.iter().filter_map(|receipt| state.handed_out.get(receipt).cloned()).collect();
        append(&self.settings.ledger, &versions)
            .map_err(|error| SourceError::Retry(format!("{}: {error}", self.settings.ledger.display())))?;
        for receipt in receipts {
            state.handed_out.remove(receipt);
        }
        state.done.extend(versions);
        Ok(())
    }
}

fn append(ledger: &Path, versions: &[Version]) -> std::io::Result<()> {
    if let Some(parent) = ledger.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(ledger)?;
    let lines: String = versions.iter().map(|version| version.line() + "\n").collect();
    file.write_all(lines.as_bytes())?;
    file.sync_data()
}

impl Source for DirectorySource {
    async fn receive(&self) -> Result<Received, SourceError> {
        let Some(version) = self.next()? else {
            if self.settings.once && self.state().handed_out.is_empty() {
                return Ok(Received::End);
            }
            tokio::time::sleep(self.settings.scan).await;
            return Ok(Received::Batch(Vec::new()));
        };
        let label = version.path.display().to_string();
        let sent_at = Some(EventTime::from_millis(version.changed_millis));
        // What cannot be read is handed on with the reason as its body: the pipeline parks it, tells
        // of it and counts it like any other unreadable body.
        let body = self.read(&version).unwrap_or_else(|reason| format!("cannot be read: {reason}").into_bytes());
        Ok(Received::Batch(vec![Delivery { body, receipt: version.receipt(), label, sent_at, receive_count: 1 }]))
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<Vec<Receipt>, SourceError> {
        self.finish(receipts)?;
        Ok(Vec::new())
    }

    /// The file stays where it is; the ledger keeps it from being read again until it changes.
    async fn park(&self, receipt: &Receipt) -> Result<(), SourceError> {
        self.finish(std::slice::from_ref(receipt))
    }

    async fn close(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(dir: &Path, once: bool) -> DirectorySource {
        let settings = DirectorySettings {
            path: dir.join("watched"),
            ledger: dir.join("state/done"),
            scan: Duration::from_millis(500),
            max_file_bytes: 100,
            once,
        };
        DirectorySource::open(settings).unwrap()
    }

    async fn receive(source: &DirectorySource) -> Option<Delivery> {
        match source.receive().await.unwrap() {
            Received::Batch(mut batch) => batch.pop(),
            Received::End => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_taken_when_it_stops_growing_and_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("watched")).unwrap();
        let file = dir.path().join("watched/a.json");
        let watched = source(dir.path(), false);
        assert!(receive(&watched).await.is_none());
        std::fs::write(&file, "{}").unwrap();
        assert!(receive(&watched).await.is_none(), "seen for the first time");
        std::fs::write(&file, "{}{}").unwrap();
        assert!(receive(&watched).await.is_none(), "it grew");
        let delivery = receive(&watched).await.unwrap();
        assert_eq!(delivery.body, b"{}{}");
        assert!(receive(&watched).await.is_none(), "handed out");
        watched.ack(&[delivery.receipt]).await.unwrap();
        let again = source(dir.path(), true);
        assert!(matches!(again.receive().await.unwrap(), Received::End), "done, also after a restart");
        std::fs::write(&file, "{}{}{}").unwrap();
        assert!(receive(&again).await.is_some(), "a changed file is another");
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_takes_everything_and_ends() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("watched/deep")).unwrap();
        std::fs::write(dir.path().join("watched/deep/a"), "{}").unwrap();
        std::fs::write(dir.path().join("watched/.hidden"), "{}").unwrap();
        std::fs::write(dir.path().join("watched/b.part"), "{}").unwrap();
        std::fs::write(dir.path().join("watched/large"), "x".repeat(101)).unwrap();
        let drain = source(dir.path(), true);
        let (first, second) = (receive(&drain).await.unwrap(), receive(&drain).await.unwrap());
        assert!(first.label.ends_with("deep/a"));
        assert_eq!(second.body, b"cannot be read: larger than 100 bytes");
        assert!(receive(&drain).await.is_none(), "waits for what is handed out");
        drain.ack(&[first.receipt]).await.unwrap();
        drain.park(&second.receipt).await.unwrap();
        assert!(matches!(drain.receive().await.unwrap(), Received::End));
        assert!(
            DirectorySource::open(DirectorySettings { path: dir.path().join("nowhere"), ..drain.settings.clone() })
                .is_err()
        );
    }
}
