//! What happens in a simulated world: records with their times, and the messages that bring them, late,
//! twice, several at once, and some that nobody can read.

use crate::time::EventTime;

/// The rules of the simulated world: one of single records, one that counts them, one that counts keys.
pub const RULES: &str = "title: disabled
id: 00000000-0000-4000-8000-000000000001
level: high
logsource: {product: aws}
detection: {a: {eventSource: kms.amazonaws.com, eventName: DisableKey}, condition: a}
kmswatch: {group-by: [kms.principal], quiet: 10m, lateness: 30m}
---
title: denied
name: denied
id: 00000000-0000-4000-8000-000000000002
logsource: {product: aws}
detection: {a: {eventSource: kms.amazonaws.com, kms.outcome: denied}, condition: a}
---
title: burst
id: 00000000-0000-4000-8000-000000000003
level: high
correlation: {type: event_count, rules: [denied], group-by: [kms.principal], timespan: 5m, condition: {gte: 3}}
kmswatch: {quiet: 10m, lateness: 30m}
---
title: keys
id: 00000000-0000-4000-8000-000000000004
level: high
correlation: {type: value_count, rules: [denied], group-by: [kms.principal], timespan: 10m, condition: {field: kms.key_arn, gte: 3}}
kmswatch: {quiet: 10m, lateness: 30m}
---
title: unreadable
id: 00000000-0000-4000-8000-000000000005
level: low
logsource: {product: aws}
detection: {a: {eventSource: kmswatch.internal, eventName: BodyParked}, condition: a}
kmswatch: {group-by: [requestParameters.label], lateness: 48h}
";

/// What was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `DisableKey`, with success.
    Disable,
    /// `Decrypt`, denied.
    Denied,
    /// `Decrypt`, with success: no rule of this world is about it.
    Decrypt,
}

/// One record.
#[derive(Clone, Debug)]
pub struct Event {
    /// eventID.
    pub id: String,
    /// Seconds since the world began.
    pub secs: i64,
    /// Who.
    pub principal: u8,
    /// On which key.
    pub key: u8,
    /// What.
    pub call: Call,
}

/// A message on its way to the queue.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Time of its earliest record, in seconds since the world began.
    pub earliest_secs: i64,
    /// Time of its latest.
    pub latest_secs: i64,
    /// What it says.
    pub body: Vec<u8>,
    /// Whether it can be read.
    pub is_poison: bool,
}

/// When the world begins.
pub const BEGIN_MILLIS: i64 = 1_767_603_600_000;
/// How late a record may come after later ones, to the second: the rules allow no more.
pub const LATENESS_SECS: i64 = 1800;
/// Things happen at whole steps, so that windows, gaps and lateness often end just where a record is.
const STEP_SECS: i64 = 300;
/// For so many steps.
const STEPS: i64 = 36;

/// So many seconds after the beginning.
#[must_use]
pub fn at(secs: i64) -> EventTime {
    EventTime::from_millis(BEGIN_MILLIS + secs * 1000)
}

/// The canonical name of a principal.
#[must_use]
pub fn principal(number: u8) -> String {
    format!("arn:aws:iam::111122223333:user/u-{number}")
}

/// What happens, and how it is told.
#[must_use]
pub fn stream(rng: &mut fastrand::Rng) -> (Vec<Event>, Vec<Sent>) {
    let events: Vec<Event> = (0..rng.usize(10..60)).map(|number| event(number, rng)).collect();
    let mut waiting: Vec<&Event> = events.iter().collect();
    rng.shuffle(&mut waiting);
    let mut sent = Vec::new();
    while !waiting.is_empty() {
        let count = rng.usize(1..=3).min(waiting.len());
        let together: Vec<&Event> = waiting.split_off(waiting.len() - count);
        let body = together.iter().map(|event| record(event)).collect::<Vec<_>>().join("\n").into_bytes();
        let secs = || together.iter().map(|event| event.secs);
        let message = Sent {
            earliest_secs: secs().min().unwrap_or_default(),
            latest_secs: secs().max().unwrap_or_default(),
            body,
            is_poison: false,
        };
        // A message wider than the lateness would be late by itself.
        if message.latest_secs - message.earliest_secs > LATENESS_SECS {
            sent.extend(together.into_iter().map(alone));
            continue;
        }
        if rng.u8(..) < 40 {
            sent.push(message.clone());
        }
        sent.push(message);
    }
    for first in events.first().into_iter().cycle().take(rng.usize(0..3)) {
        let body = format!("{}\n{{\"eventTime\": \"broken", record(first)).into_bytes();
        sent.push(Sent { body, is_poison: true, ..alone(first) });
    }
    (events, sent)
}

fn alone(event: &Event) -> Sent {
    let secs = event.secs;
    Sent { earliest_secs: secs, latest_secs: secs, body: record(event).into_bytes(), is_poison: false }
}

/// In bursts, or counting would never find enough.
fn event(number: usize, rng: &mut fastrand::Rng) -> Event {
    let burst = rng.i64(0..4) * (STEPS / 4);
    let call = match rng.u8(0..8) {
        0..2 => Call::Disable,
        2..7 => Call::Denied,
        _ => Call::Decrypt,
    };
    Event {
        id: format!("event-{number}"),
        secs: (burst + rng.i64(0..6)) * STEP_SECS,
        principal: rng.u8(0..2),
        key: rng.u8(0..4),
        call,
    }
}

fn record(event: &Event) -> String {
    let (name, error) = match event.call {
        Call::Disable => ("DisableKey", ""),
        Call::Denied => ("Decrypt", r#""errorCode":"AccessDenied","#),
        Call::Decrypt => ("Decrypt", ""),
    };
    format!(
        r#"{{"eventVersion":"1.11","eventID":"{}","eventTime":"{}","eventSource":"kms.amazonaws.com","eventName":"{name}","awsRegion":"eu-west-1","recipientAccountId":"111122223333",{error}"userIdentity":{{"type":"IAMUser","arn":"{}"}},"resources":[{{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/k-{}"}}]}}"#,
        event.id,
        at(event.secs),
        principal(event.principal),
        event.key
    )
}
