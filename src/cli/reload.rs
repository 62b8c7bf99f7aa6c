//! Watches the rules folder and the key inventory of a running service.
//!
//! A change is taken up when the files have been the same for two looks, so that a half-written
//! one is not read; SIGHUP looks at once. What cannot be used is refused once, with its reason.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::rules;
use crate::keys::inventory::Inventory;
use crate::keys::supply::SupplyLine;
use crate::pipeline::plan::reload::Reload;
use crate::rule::RuleSet;

/// What is watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Folder of rules; the shipped ones without it.
    pub rules_dir: Option<PathBuf>,
    /// Key inventory.
    pub keys_file: Option<PathBuf>,
    /// What the configuration adds to the inventory's supply line.
    pub supply_line: SupplyLine,
}

impl Watched {
    /// Rules and inventory as they stand on disk.
    ///
    /// # Errors
    /// When either cannot be read or has mistakes.
    pub fn read(&self) -> anyhow::Result<(RuleSet, Inventory)> {
        let mut inventory = rules::inventory(self.keys_file.as_deref())?;
        inventory.supply_line.extend(self.supply_line.resources().iter().cloned());
        Ok((rules::load(self.rules_dir.as_deref(), &inventory)?, inventory))
    }

    /// What the files hold, or why they cannot be read: the same text, the same rules.
    fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        match self.rules_dir.as_deref().map(|dir| rules::texts(Some(dir))) {
            None => {}
            Some(Ok(texts)) => texts.iter().for_each(|text| {
                part(&text.path);
                part(&text.text);
            }),
            Some(Err(error)) => part(&error.to_string()),
        }
        if let Some(path) = &self.keys_file {
            part(&std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string()));
        }
        hasher.finalize().to_hex().to_string()
    }

    /// For messages.
    fn named(&self) -> String {
        let paths = [&self.rules_dir, &self.keys_file].into_iter().flatten();
        paths.map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ")
    }
}

/// Watches until stopped.
pub async fn watch(watched: Watched, every: Duration, reloads: mpsc::Sender<Reload>, stop: CancellationToken) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::error!(%error, "changed rules are not noticed");
            return;
        }
    };
    let look = |watched: Watched| tokio::task::spawn_blocking(move || watched.fingerprint());
    let Ok(mut taken) = look(watched.clone()).await else { return };
    let mut before = taken.clone();
    loop {
        let Some(at_once) = wait(&mut hangup, every, &stop).await else { return };
        let Ok(now) = look(watched.clone()).await else { return };
        let is_still = now == before;
        before.clone_from(&now);
        if now == taken || !(is_still || at_once) {
            continue;
        }
        taken = now;
        let reading = watched.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || reading.read()).await else { return };
        let reload = match read {
            Ok((rules, inventory)) => Reload::Swap { rules: Arc::new(rules), inventory: Arc::new(inventory) },
            Err(error) => {
                // One line, for subjects and summaries.
                let reason = format!("{error:#}").lines().map(str::trim).collect::<Vec<_>>().join("; ");
                Reload::Refused { path: watched.named(), reason }
            }
        };
        if reloads.send(reload).await.is_err() {
            return;
        }
    }
}

/// Until the next look; whether it was asked for. Nothing when stopped.
async fn wait(hangup: &mut Signal, every: Duration, stop: &CancellationToken) -> Option<bool> {
    // Without an interval only the signal counts.
    let pause = if every.is_zero() { Duration::from_secs(86_400) } else { every };
    tokio::select! {
        () = stop.cancelled() => None,
        () = tokio::time::sleep(pause) => Some(false),
        _ = hangup.recv() => Some(true),
    }
}
