//! What the store does when its disk fails and works again.

use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::*;
use crate::engine::StateDelta;

/// One disk for the one test here: `open_with` takes a plain function.
static FULL: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
struct Disk(FileBackend);

fn room() -> Result<(), std::io::Error> {
    if FULL.load(Ordering::SeqCst) { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

type Answer<T> = Result<T, std::io::Error>;

impl StorageBackend for Disk {
    fn len(&self) -> Answer<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Answer<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Answer<()> {
        room()?;
        self.0.set_len(len)
    }
    fn sync_data(&self) -> Answer<()> {
        room()?;
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Answer<()> {
        room()?;
        self.0.write(offset, data)
    }
    fn close(&self) -> Answer<()> {
        self.0.close()
    }
}

fn put(key: &str, value: &str) -> Commit {
    let delta = StateDelta { key: key.into(), value: Some(value.into()) };
    Commit { deltas: vec![delta], outbox: vec![crate::alert::tests::sample()] }
}

#[test]
fn a_disk_that_was_full_is_used_again_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open_with(
        &dir.path().join("state.redb"),
        Box::new(|path| {
            let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            Builder::new().create_with_backend(Disk(FileBackend::new(file)?))
        }),
    )
    .unwrap();
    store.commit(&put("a", "before")).unwrap();
    FULL.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let error = store.commit(&put("b", "lost")).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
    }
    FULL.store(false, Ordering::SeqCst);
    store.commit(&put("c", "after")).unwrap();
    let rows = store.restore().unwrap().rows;
    assert_eq!(rows, [(b"a".to_vec(), b"before".to_vec()), (b"c".to_vec(), b"after".to_vec())]);
    assert_eq!(store.pending_len().unwrap(), 2);
}
