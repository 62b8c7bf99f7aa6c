//! Alerts as JSON lines in a file, on disk when delivered.

use std::io::Write as _;
use std::path::PathBuf;

use super::{Sink, SinkError};
use crate::alert::Alert;
use crate::alert::json::line;

/// A file that is appended to; opened anew for each alert, so that it can be rotated.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
}

impl FileSink {
    /// Appends to `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn append(&self, line: &str) -> std::io::Result<()> {
        if let Some(parent) = self.path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()
    }
}

impl Sink for FileSink {
    fn name(&self) -> &str {
        "file"
    }

    async fn deliver(&self, alert: &Alert) -> Result<(), SinkError> {
        self.append(&line(alert)).map_err(|error| SinkError::Retry(format!("{}: {error}", self.path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_appended_and_survive_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/alerts.jsonl");
        let sink = FileSink::new(path.clone());
        let alert = crate::alert::tests::sample();
        sink.deliver(&alert).await.unwrap();
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        sink.deliver(&alert).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(serde_json::from_str::<Alert>(text.trim_end()).unwrap(), alert);
        let blocked = FileSink::new(dir.path().to_owned());
        assert!(matches!(blocked.deliver(&alert).await, Err(SinkError::Retry(_))));
    }
}
