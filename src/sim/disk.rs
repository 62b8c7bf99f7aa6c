//! A disk under the real store: it can be full, fail to sync, and lose or tear at a crash whatever was
//! not synced.
//!
//! Invariant: what a sync that succeeded covers is there after any crash.

use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// What one file of the disk holds.
#[derive(Debug, Default)]
struct File {
    /// As the process sees it.
    seen: Vec<u8>,
    /// As it is after a crash, if nothing more reaches the disk.
    durable: Vec<u8>,
    /// Written and not synced, in order.
    unsynced: Vec<Write>,
    full: bool,
    /// Syncs that will fail.
    failing_syncs: u32,
    /// A handle of an earlier process must not write any more.
    generation: u64,
}

#[derive(Clone, Debug)]
enum Write {
    Bytes(usize, Vec<u8>),
    Len(usize),
}

/// A disk with one file.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<File>>);

/// The file as one process has it open.
#[derive(Debug)]
pub struct Handle {
    disk: Disk,
    generation: u64,
}

impl Write {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Len(len) => to.resize(*len, 0),
            Self::Bytes(offset, data) => {
                let end = offset + data.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                if let Some(place) = to.get_mut(*offset..end) {
                    place.copy_from_slice(data);
                }
            }
        }
    }
}

impl Disk {
    fn file(&self) -> MutexGuard<'_, File> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the file.
    #[must_use]
    pub fn open(&self) -> Handle {
        Handle { disk: self.clone(), generation: self.file().generation }
    }

    /// Whether there is room.
    pub fn set_full(&self, full: bool) {
        self.file().full = full;
    }

    /// The next syncs fail, and nobody knows what of them reached the disk.
    pub fn fail_syncs(&self, count: u32) {
        self.file().failing_syncs = count;
    }

    /// The power is cut: of what was not synced some writes are there, some are not, and some are there
    /// in part.
    pub fn crash(&self, rng: &mut fastrand::Rng) {
        let mut file = self.file();
        let unsynced = std::mem::take(&mut file.unsynced);
        let mut after = std::mem::take(&mut file.durable);
        for write in unsynced {
            match rng.u8(0..3) {
                0 => {}
                1 => write.apply(&mut after),
                _ => torn(&write, rng).apply(&mut after),
            }
        }
        file.seen.clone_from(&after);
        file.durable = after;
        file.full = false;
        file.failing_syncs = 0;
        file.generation += 1;
    }
}

/// The first sectors of a write.
fn torn(write: &Write, rng: &mut fastrand::Rng) -> Write {
    const SECTOR_BYTES: usize = 512;
    match write {
        Write::Bytes(offset, data) => {
            let sectors = data.len().div_ceil(SECTOR_BYTES);
            let kept = rng.usize(0..=sectors) * SECTOR_BYTES;
            Write::Bytes(*offset, data.iter().take(kept).copied().collect())
        }
        Write::Len(len) => Write::Len(*len),
    }
}

impl Handle {
    fn live(&self) -> Result<MutexGuard<'_, File>, Error> {
        let file = self.disk.file();
        if file.generation == self.generation { Ok(file) } else { Err(Error::other("the process is gone")) }
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.live()?.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let file = self.live()?;
        let start = usize::try_from(offset).map_err(Error::other)?;
        let found = file.seen.get(start..start + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.change(Write::Len(usize::try_from(len).map_err(Error::other)?))
    }

    fn sync_data(&self) -> Result<(), Error> {
        let mut file = self.live()?;
        if file.full {
            return Err(ErrorKind::StorageFull.into());
        }
        if file.failing_syncs > 0 {
            file.failing_syncs -= 1;
            return Err(Error::other("the disk did not answer"));
        }
        for write in std::mem::take(&mut file.unsynced) {
            write.apply(&mut file.durable);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.change(Write::Bytes(usize::try_from(offset).map_err(Error::other)?, data.to_vec()))
    }
}

impl Handle {
    fn change(&self, write: Write) -> Result<(), Error> {
        let mut file = self.live()?;
        if file.full {
            return Err(ErrorKind::StorageFull.into());
        }
        write.apply(&mut file.seen);
        file.unsynced.push(write);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_and_what_was_not_may() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let disk = Disk::default();
            let handle = disk.open();
            handle.write(0, &[1; 1024]).unwrap();
            handle.sync_data().unwrap();
            handle.write(0, &[2; 1024]).unwrap();
            handle.write(1024, &[3; 8]).unwrap();
            disk.crash(&mut rng);
            assert!(handle.write(0, &[9]).is_err(), "a process that is gone writes nothing");
            let handle = disk.open();
            let mut first = vec![0; 1024];
            handle.read(0, &mut first).unwrap();
            assert!(first.iter().all(|byte| matches!(byte, 1 | 2)));
            outcomes.insert((first.iter().filter(|byte| **byte == 2).count(), handle.len().unwrap()));
        }
        assert!(outcomes.len() > 4, "{outcomes:?}");
    }

    #[test]
    fn a_full_disk_and_a_failed_sync_say_so() {
        let disk = Disk::default();
        let handle = disk.open();
        disk.set_full(true);
        assert_eq!(handle.write(0, &[1]).unwrap_err().kind(), ErrorKind::StorageFull);
        disk.set_full(false);
        disk.fail_syncs(1);
        handle.write(0, &[1]).unwrap();
        assert!(handle.sync_data().is_err());
        handle.sync_data().unwrap();
    }
}
