//! Alerts as text on standard output.

use std::io::Write as _;

use super::{Sink, SinkError};
use crate::alert::Alert;
use crate::alert::text::render;

/// Standard output.
#[derive(Debug, Default)]
pub struct TerminalSink;

impl Sink for TerminalSink {
    fn name(&self) -> &str {
        "terminal"
    }

    async fn deliver(&self, alert: &Alert) -> Result<(), SinkError> {
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{}", render(alert)).and_then(|()| out.flush());
        match written {
            // Nobody reads any more: other sinks still have the alert.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                Err(SinkError::Permanent(error.to_string()))
            }
            Err(error) => Err(SinkError::Retry(error.to_string())),
            Ok(()) => Ok(()),
        }
    }
}
