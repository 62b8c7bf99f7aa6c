//! The engine's state as rows for the store, and back.
//!
//! Rows, all keyed by the group's hash so that a group's rows lie together:
//! `g` header, `b` bucket head, `e` entry, `s` sample; `w` watermark of a lane, and `f` when a rule
//! first saw a scope. Values are
//! postcard behind one version byte.
//!
//! Invariant: a row is written when what it holds changes, so that a commit costs what changed and
//! not what there is.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::StateDelta;
use super::bucket::{BucketHead, Entry};
use super::detector::Memory;
use super::group::Group;
use super::incident::Incident;
use super::matched::{GroupKey, Sample};
use super::watermark::Lane;
use crate::event::EventId;
use crate::rule::Rule;
use crate::time::EventTime;

/// Version of the values' encoding.
const VERSION: u8 = 2;

/// Hash of a rule's id, what it counts, and the group's values. A rule whose grouping or window
/// changed gets new groups, since its old ones mean something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId([u8; 16]);

impl GroupId {
    /// The id of a rule's group.
    #[must_use]
    pub fn of(rule: &Rule, key: &GroupKey) -> Self {
        let mut hasher = blake3::Hasher::new();
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        part(&rule.meta.id);
        for path in &rule.group_by {
            part(path);
        }
        part(&rule.detector.signature());
        for value in &key.0 {
            part(value);
        }
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        Self(id)
    }
}

/// The header row of a group.
#[derive(Serialize, Deserialize)]
struct Header {
    rule_id: String,
    key: GroupKey,
    incidents: Vec<Incident>,
    lanes: Vec<Lane>,
    saturated: bool,
    memory: Memory,
}

/// A row read back.
pub(super) enum Row {
    Group { id: GroupId, rule_id: String, group: Box<Group> },
    Head { id: GroupId, time: EventTime, head: BucketHead },
    Entry { id: GroupId, time: EventTime, event: EventId, entry: Entry },
    Sample { id: GroupId, time: EventTime, event: EventId, sample: Sample },
    Watermark { lane: Lane, mark: EventTime },
    Scope { rule_id: Arc<str>, values: Vec<Arc<str>>, first: EventTime },
}

/// A row that cannot be read back: the store is damaged or of another version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state row {key}: {reason}; move the state directory away to start afresh, or run the version that wrote it")]
pub struct RestoreError {
    key: String,
    reason: String,
}

fn key(kind: u8, id: GroupId, rest: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&id.0);
    for part in rest {
        key.extend_from_slice(part);
    }
    key
}

/// Big-endian with the sign flipped, so that keys sort by time.
fn time_bytes(time: EventTime) -> [u8; 8] {
    (time.as_millis() ^ i64::MIN).to_be_bytes()
}

fn encode(value: &impl Serialize) -> Option<Vec<u8>> {
    // Writing to memory fails only for types that postcard cannot hold; ours it can (tested by the
    // round trip), and a missing row would be seen as such.
    let mut bytes = vec![VERSION];
    bytes.extend(postcard::to_stdvec(value).ok()?);
    Some(bytes)
}

pub(super) fn header_row(id: GroupId, rule: &Rule, group: &Group) -> StateDelta {
    let header = Header {
        rule_id: rule.meta.id.clone(),
        key: group.key.clone(),
        incidents: group.incidents.clone(),
        lanes: group.lanes.iter().cloned().collect(),
        saturated: group.saturated,
        memory: group.memory.clone(),
    };
    StateDelta { key: key(b'g', id, &[]), value: encode(&header) }
}

pub(super) fn head_row(id: GroupId, time: EventTime, head: &BucketHead) -> StateDelta {
    StateDelta { key: key(b'b', id, &[&time_bytes(time)]), value: encode(head) }
}

pub(super) fn entry_row(id: GroupId, time: EventTime, event: &EventId, entry: &Entry) -> StateDelta {
    StateDelta { key: key(b'e', id, &[&time_bytes(time), event.as_str().as_bytes()]), value: encode(entry) }
}

pub(super) fn sample_row(id: GroupId, time: EventTime, event: &EventId, sample: &Sample) -> StateDelta {
    StateDelta { key: key(b's', id, &[&time_bytes(time), event.as_str().as_bytes()]), value: encode(sample) }
}

pub(super) fn watermark_row(lane: &Lane, mark: EventTime) -> StateDelta {
    let mut key = vec![b'w'];
    key.extend_from_slice(lane.as_bytes());
    StateDelta { key, value: encode(&mark) }
}

pub(super) fn scope_row(rule_id: &Arc<str>, values: &[Arc<str>], first: EventTime) -> StateDelta {
    let mut hasher = blake3::Hasher::new();
    for part in std::iter::once(rule_id).chain(values) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let key = [&b"f"[..], hasher.finalize().as_bytes()].concat();
    StateDelta { key, value: encode(&(rule_id, values, first)) }
}

/// The removal of a row that the other functions wrote.
pub(super) fn removal(row: StateDelta) -> StateDelta {
    StateDelta { value: None, ..row }
}

/// Removes everything of a bucket.
pub(super) fn bucket_removals<'a>(
    id: GroupId,
    time: EventTime,
    events: impl Iterator<Item = &'a EventId> + 'a,
) -> impl Iterator<Item = StateDelta> + 'a {
    let at = time_bytes(time);
    let of_events = events.flat_map(move |event| {
        [b'e', b's'].map(|kind| StateDelta { key: key(kind, id, &[&at, event.as_str().as_bytes()]), value: None })
    });
    std::iter::once(StateDelta { key: key(b'b', id, &[&at]), value: None }).chain(of_events)
}

/// Reads a row back.
pub(super) fn read(key: &[u8], value: &[u8]) -> Result<Row, RestoreError> {
    let fail = |reason: &str| RestoreError {
        key: key.iter().take(40).map(|byte| format!("{byte:02x}")).collect(),
        reason: reason.to_owned(),
    };
    let (kind, rest) = key.split_first().ok_or_else(|| fail("empty key"))?;
    if *kind == b'w' {
        let lane = std::str::from_utf8(rest).map_err(|_| fail("lane is not text"))?;
        return Ok(Row::Watermark { lane: lane.into(), mark: decode(value).map_err(|reason| fail(&reason))? });
    }
    if *kind == b'f' {
        let (rule_id, values, first) = decode(value).map_err(|reason| fail(&reason))?;
        return Ok(Row::Scope { rule_id, values, first });
    }
    let (id, rest) = rest.split_first_chunk::<16>().ok_or_else(|| fail("key too short"))?;
    let id = GroupId(*id);
    if *kind == b'g' {
        let header: Header = decode(value).map_err(|reason| fail(&reason))?;
        let mut group = Group::new(header.key, header.memory);
        group.incidents = header.incidents;
        group.lanes = header.lanes.into_iter().collect();
        group.saturated = header.saturated;
        return Ok(Row::Group { id, rule_id: header.rule_id, group: Box::new(group) });
    }
    let (time, event) = rest.split_first_chunk::<8>().ok_or_else(|| fail("key too short"))?;
    let time = EventTime::from_millis(i64::from_be_bytes(*time) ^ i64::MIN);
    let event = || std::str::from_utf8(event).map(EventId::new).map_err(|_| fail("event ID is not text"));
    Ok(match kind {
        b'b' => Row::Head { id, time, head: decode(value).map_err(|reason| fail(&reason))? },
        b'e' => Row::Entry { id, time, event: event()?, entry: decode(value).map_err(|reason| fail(&reason))? },
        b's' => Row::Sample { id, time, event: event()?, sample: decode(value).map_err(|reason| fail(&reason))? },
        _ => return Err(fail("unknown kind of row")),
    })
}

fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, String> {
    match value.split_first() {
        Some((&VERSION, bytes)) => postcard::from_bytes(bytes).map_err(|error| error.to_string()),
        Some((version, _)) => Err(format!("written as version {version}, this reads version {VERSION}")),
        None => Err("empty value".to_owned()),
    }
}
