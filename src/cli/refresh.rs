//! What KMS says of its keys, for a running service: a snapshot file at the start, and questions
//! ever after.

use std::path::Path;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::keys::{import::surveys, lines};
use crate::config::KeysRefreshSettings;
use crate::keys::snapshot::KeyFacts;
use crate::kms::refresh::refresh;
use crate::pipeline::plan::Plan;
use crate::pipeline::plan::reload::Reload;
use crate::store::StateStore;

/// Keys in one commit.
const KEYS_A_COMMIT: usize = 256;

/// Puts a snapshot file into the plan and its state; how many keys it holds. What the stream has
/// told since stays as it is.
///
/// # Errors
/// When the file cannot be read or the state cannot be written.
pub(super) fn take_snapshot_file(path: &Path, plan: &mut Plan, store: &dyn StateStore) -> anyhow::Result<usize> {
    let mut waiting: Vec<KeyFacts> = Vec::new();
    let mut count = 0;
    let mut commit = |keys: &mut Vec<KeyFacts>| -> anyhow::Result<()> {
        store.commit(&plan.take_snapshot(keys))?;
        keys.clear();
        Ok(())
    };
    lines::each(path, |facts| {
        count += 1;
        waiting.push(facts);
        if waiting.len() < KEYS_A_COMMIT { Ok(()) } else { commit(&mut waiting) }
    })?;
    commit(&mut waiting)?;
    Ok(count)
}

/// Asks KMS and hands what it says to the plan, until stopped.
pub(super) async fn start(settings: KeysRefreshSettings, reloads: mpsc::Sender<Reload>, stop: CancellationToken) {
    let surveys = surveys(&settings.places, settings.endpoint_url.as_deref(), settings.per_second).await;
    let (asked, mut answers) = mpsc::channel(1);
    let asking = refresh(surveys, settings.every, asked, stop);
    let handing = async {
        while let Some(keys) = answers.recv().await {
            if reloads.send(Reload::Snapshot(keys)).await.is_err() {
                // Closed, so that whoever asks hears of it.
                answers.close();
                return;
            }
        }
    };
    tokio::join!(asking, handing);
}
