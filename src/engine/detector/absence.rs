//! When something was there: instants run together where no gap between them is an absence.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::matched::{Facts, Sample};
use crate::event::EventId;
use crate::time::{EventTime, Span};

/// When something was there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// By first instant.
    pub runs: BTreeMap<EventTime, Run>,
}

/// Instants without an absence between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The last instant.
    pub end: EventTime,
    /// The last record.
    pub last: EventId,
    /// What is told of it.
    pub facts: Arc<Facts>,
    /// What is shown of it, without its text.
    pub sample: Option<Arc<Sample>>,
}

impl Presence {
    /// Notes a record: it makes a run of its own, or lengthens and joins those it is near to.
    pub fn note(&mut self, time: EventTime, after: Span, run: impl FnOnce() -> Run) {
        let near = |(start, run): (&EventTime, &Run)| {
            (start.saturating_sub(after) <= time && time <= run.end + after).then_some(*start)
        };
        let joined: Vec<EventTime> = self.runs.iter().filter_map(near).collect();
        let mut start = time;
        let mut last: Option<Run> = None;
        for at in joined {
            let Some(run) = self.runs.remove(&at) else { continue };
            start = start.min(at);
            if last.as_ref().is_none_or(|last| (last.end, &last.last) < (run.end, &run.last)) {
                last = Some(run);
            }
        }
        let last = match last {
            Some(last) if last.end > time => last,
            Some(last) if last.end == time => {
                let here = run();
                if here.last > last.last { here } else { last }
            }
            _ => run(),
        };
        self.runs.insert(start, last);
    }
}
