//! Opens what a source delivered, down to single CloudTrail records.
//!
//! Shapes, told by content and never by name (aws-facts 2.7): a record; JSON lines or a list of any
//! of these; an S3 file `{"Records":[...]}`; EventBridge; SNS around either; a CloudWatch Logs
//! subscription, plain or base64 and gzip; the output of `lookup-events`; the direct events of KMS,
//! which become records.
//!
//! Invariant: everything in a body comes out as a record, as foreign, or as bad with its place.
//! One bad record never takes the others along.

use std::fmt;

use aws_lambda_events::event::{cloudwatch_logs::LogData, eventbridge::EventBridgeEvent};
use serde::Deserialize;
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::split::{Cut, Values};
use super::unpack::{Budget, UnpackError, from_base64, unpack};

/// What comes out of a body.
#[derive(Debug)]
pub enum Found<'a> {
    /// The text of one record.
    Record(&'a str),
    /// Understood, and nothing that rules are about (a control message, a digest, another event).
    Foreign(&'static str),
    /// Cannot be read.
    Bad {
        /// Record number and place within the body.
        place: String,
        /// Why, and what to do.
        reason: String,
    },
}

/// How much a body may hold.
#[derive(Clone, Copy, Debug)]
pub struct EnvelopeLimits {
    /// Of the body, and of what decompression makes of it over all layers together.
    pub max_bytes: usize,
    /// Of one record.
    pub max_record_bytes: usize,
    /// Envelopes inside envelopes.
    pub max_depth: usize,
}

impl Default for EnvelopeLimits {
    /// CloudTrail ends a record at 256 KB, or 1 MB where that was asked for; ours ends well above.
    fn default() -> Self {
        Self { max_bytes: 256 << 20, max_record_bytes: 4 << 20, max_depth: 6 }
    }
}

impl EnvelopeLimits {
    /// Longest document of a captured file.
    pub const MAX_DOCUMENT_BYTES: usize = 1 << 30;

    /// For the pieces of a captured file: a person is there who meant the file to be read.
    #[must_use]
    pub fn of_captures() -> Self {
        Self { max_bytes: Self::MAX_DOCUMENT_BYTES, ..Self::default() }
    }
}

/// Opens a body and hands out what is in it, in order.
///
/// # Errors
/// When nothing of the body can be read: not text, or its compression is broken.
pub fn open(body: &[u8], limits: EnvelopeLimits, visit: &mut dyn FnMut(Found<'_>)) -> Result<(), UnpackError> {
    let mut budget = Budget::new(limits.max_bytes);
    let text = unpack(body, &mut budget)?;
    open_within(&text, limits, budget, visit);
    Ok(())
}

/// [`open`] for a body that is text already.
pub fn open_text(text: &str, limits: EnvelopeLimits, visit: &mut dyn FnMut(Found<'_>)) {
    open_within(text, limits, Budget::new(limits.max_bytes), visit);
}

fn open_within(text: &str, limits: EnvelopeLimits, budget: Budget, visit: &mut dyn FnMut(Found<'_>)) {
    let mut opener = Opener { limits, budget, visit, records: 0 };
    if text.trim().is_empty() {
        opener.bad("", "the body is empty".to_owned());
    }
    opener.text(text, 0);
}

struct Opener<'v> {
    limits: EnvelopeLimits,
    budget: Budget,
    visit: &'v mut dyn FnMut(Found<'_>),
    records: usize,
}

/// The keys that tell shapes apart; everything else is skipped over.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow, rename = "Records")]
    records: Option<&'a RawValue>,
    #[serde(borrow, rename = "Events")]
    events: Option<&'a RawValue>,
    #[serde(rename = "CloudTrailEvent", default)]
    cloud_trail_event: Option<String>,
    #[serde(rename = "detail-type", default)]
    detail_type: Option<String>,
    #[serde(rename = "Type", default)]
    sns_type: Option<String>,
    #[serde(rename = "Message", default)]
    sns_message: Option<String>,
    #[serde(rename = "messageType", default)]
    logs_type: Option<String>,
    #[serde(borrow)]
    awslogs: Option<&'a RawValue>,
    #[serde(borrow, rename = "eventTime")]
    event_time: Option<&'a RawValue>,
    #[serde(borrow, rename = "eventSource")]
    event_source: Option<&'a RawValue>,
    #[serde(borrow, rename = "insightDetails")]
    insight: Option<&'a RawValue>,
    #[serde(borrow, rename = "digestStartTime")]
    digest: Option<&'a RawValue>,
    #[serde(borrow)]
    s3: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct AwsLogs {
    data: String,
}

impl Opener<'_> {
    fn bad(&mut self, place: &str, reason: String) {
        self.records += 1;
        let place = format!("record {}{place}", self.records);
        (self.visit)(Found::Bad { place, reason });
    }

    fn record(&mut self, raw: &str) {
        let max_bytes = self.limits.max_record_bytes;
        if raw.len() > max_bytes {
            return self.bad("", format!("{} bytes, more than {max_bytes}: no record of CloudTrail", raw.len()));
        }
        self.records += 1;
        (self.visit)(Found::Record(raw));
    }

    fn text(&mut self, text: &str, depth: usize) {
        if depth > self.limits.max_depth {
            self.bad("", format!("more than {} envelopes inside each other", self.limits.max_depth));
            return;
        }
        for cut in Values::new(text) {
            match cut {
                Cut::Value(value) => self.value(value, depth),
                Cut::Broken { place, reason } => {
                    self.bad(&format!(", line {} column {} (byte {})", place.line, place.column, place.offset), reason);
                }
            }
        }
    }

    fn value(&mut self, raw: &str, depth: usize) {
        // How CloudTrail begins a record: the common case costs no second look.
        if raw.starts_with("{\"eventVersion\"") {
            return self.record(raw);
        }
        if raw.starts_with('[') {
            return self.list(raw, depth);
        }
        match serde_json::from_str::<Shape<'_>>(raw) {
            Ok(shape) => self.shape(raw, &shape, depth),
            Err(error) => self.bad("", format!("an envelope with a field of the wrong type: {error}")),
        }
    }

    fn list(&mut self, raw: &str, depth: usize) {
        if depth > self.limits.max_depth {
            return self.bad("", format!("more than {} lists or envelopes inside each other", self.limits.max_depth));
        }
        // One at a time: a list of a hundred million zeros is never held.
        let each = Each { opener: self, depth: depth + 1 };
        if let Err(error) = serde_json::Deserializer::from_str(raw).deserialize_seq(each) {
            self.bad("", format!("where a list of records was expected: {error}"));
        }
    }

    fn shape(&mut self, raw: &str, shape: &Shape<'_>, depth: usize) {
        if let Some(detail_type) = &shape.detail_type {
            return self.event_bridge(raw, detail_type, depth);
        }
        if shape.insight.is_some() || shape.digest.is_some() {
            return (self.visit)(Found::Foreign("an insight or digest of CloudTrail"));
        }
        if shape.s3.is_some() {
            return self
                .bad("", "points to an S3 object instead of holding records; deliver the file itself".to_owned());
        }
        if shape.event_time.is_some() && shape.event_source.is_some() {
            return self.record(raw);
        }
        if let Some(records) = shape.records.or(shape.events) {
            return self.list(records.get(), depth);
        }
        if let Some(inner) = &shape.cloud_trail_event {
            return self.text(inner, depth + 1);
        }
        if shape.logs_type.is_some() {
            return self.logs(raw, depth);
        }
        if let Some(awslogs) = shape.awslogs {
            return self.packed_logs(awslogs.get(), depth);
        }
        match (shape.sns_type.as_deref(), &shape.sns_message) {
            (Some("Notification"), Some(message)) => self.text(message, depth + 1),
            (Some("SubscriptionConfirmation" | "UnsubscribeConfirmation"), _) => {
                (self.visit)(Found::Foreign("a confirmation of SNS"));
            }
            // Not told apart by its keys: let the decoder say what is missing.
            _ => self.record(raw),
        }
    }

    fn event_bridge(&mut self, raw: &str, detail_type: &str, depth: usize) {
        let event = match serde_json::from_str::<EventBridgeEvent<Box<RawValue>>>(raw) {
            Ok(event) => event,
            Err(error) => return self.bad("", format!("an EventBridge envelope that does not hold together: {error}")),
        };
        if detail_type.ends_with(" via CloudTrail") {
            return self.value(event.detail.get(), depth + 1);
        }
        // Which sources get here is for the bus's rule to say, as it is for records.
        match detail_type {
            "KMS CMK Deletion" | "KMS CMK Rotation" | "KMS Imported Key Material Expiration" => {
                match direct_event(&event) {
                    Some(record) => self.record(&record),
                    None => self.bad("", format!("a `{detail_type}` event without a time")),
                }
            }
            _ => {
                // A rule's input transformer or another bus may rename the detail-type; the record tells.
                let detail = serde_json::from_str::<Shape<'_>>(event.detail.get());
                match detail {
                    Ok(shape) if shape.event_time.is_some() && shape.event_source.is_some() => {
                        self.record(event.detail.get());
                    }
                    _ => (self.visit)(Found::Foreign("an EventBridge event that is not of CloudTrail")),
                }
            }
        }
    }

    fn packed_logs(&mut self, raw: &str, depth: usize) {
        let text = serde_json::from_str::<AwsLogs>(raw).map_err(|error| error.to_string()).and_then(|logs| {
            let packed = from_base64(logs.data.as_bytes()).map_err(|error| error.to_string())?;
            let text = unpack(&packed, &mut self.budget).map_err(|error| error.to_string())?;
            Ok(text.into_owned())
        });
        match text {
            Ok(text) => self.text(&text, depth + 1),
            Err(reason) => self.bad("", format!("`awslogs.data`: {reason}")),
        }
    }

    fn logs(&mut self, raw: &str, depth: usize) {
        match serde_json::from_str::<LogData>(raw) {
            Ok(data) if data.message_type == "CONTROL_MESSAGE" => {
                (self.visit)(Found::Foreign("a control message of CloudWatch Logs"));
            }
            Ok(data) => data.log_events.iter().for_each(|event| self.text(&event.message, depth + 1)),
            Err(error) => self.bad("", format!("a CloudWatch Logs message that does not hold together: {error}")),
        }
    }
}

/// Hands the items of a list on.
struct Each<'o, 'v> {
    opener: &'o mut Opener<'v>,
    depth: usize,
}

impl<'de> Visitor<'de> for Each<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<&RawValue>()? {
            self.opener.value(item.get(), self.depth);
        }
        Ok(())
    }
}

/// A direct KMS event as a record: `eventName` is the detail-type, there is no caller, and
/// `serviceEventDetails` holds the detail (aws-facts 1.6).
fn direct_event(event: &EventBridgeEvent<Box<RawValue>>) -> Option<String> {
    let time = event.time?;
    let resources: Vec<_> = event
        .resources
        .iter()
        .flatten()
        .map(|arn| serde_json::json!({ "ARN": arn, "type": "AWS::KMS::Key", "accountId": event.account }))
        .collect();
    let record = serde_json::json!({
        "eventVersion": "0",
        "eventID": event.id,
        "eventTime": time.to_rfc3339(),
        "eventSource": "kms.amazonaws.com",
        "eventName": event.detail_type,
        "eventType": "AwsKmsEvent",
        "awsRegion": event.region,
        "recipientAccountId": event.account,
        "userIdentity": { "type": "AWSService", "invokedBy": "kms.amazonaws.com" },
        "resources": resources,
        "serviceEventDetails": serde_json::from_str::<serde_json::Value>(event.detail.get()).ok()?,
    });
    Some(record.to_string())
}

#[cfg(test)]
mod tests;
