//! One row of an answer: one call on one key, and everything that an auditor asks of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::change::Changing;
use super::history::{History, KeyName};
use super::person::{Person, client_of, person_of};
use super::purpose;
use super::question::Outcome;
use crate::alert::redact::Redaction;
use crate::event::derive::Use;
use crate::event::field::{Fields, core, derived};
use crate::event::operation::Class;
use crate::event::record::Record;
use crate::keys::expect::{Call, judge};
use crate::keys::inventory::{Domain, Inventory};
use crate::keys::picture::version::Stamp;
use crate::time::EventTime;

/// A row; the parent module says what each field is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "documented as the fields of the JSON lines, in the parent module")]
pub struct Row {
    pub event_time: EventTime,
    pub event_id: String,
    pub human: Option<String>,
    pub human_evidence: Option<&'static str>,
    pub principal: String,
    pub principal_type: String,
    pub session: Option<String>,
    pub account: Option<String>,
    pub operation: String,
    pub class: String,
    pub key: Option<String>,
    pub key_role: Option<&'static str>,
    pub alias: Option<String>,
    pub domain: Option<String>,
    pub region: Option<String>,
    pub recipient_account: Option<String>,
    pub context: BTreeMap<String, String>,
    pub change: Option<String>,
    pub source: Option<String>,
    pub source_kind: String,
    pub vpc_endpoint: Option<String>,
    pub via: Option<String>,
    pub client: Option<&'static str>,
    pub user_agent: Option<String>,
    pub outcome: Outcome,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub denied_by: Option<String>,
    pub expected: Option<bool>,
    pub expected_reason: Option<String>,
    pub ticket: Option<String>,
    pub shared_event_id: Option<String>,
    pub same_call: Vec<String>,
    pub addendum: Option<String>,
    pub addendum_of: Option<String>,
    pub found: Vec<Found>,
    pub copies: u64,
    pub copies_differ: bool,
}

/// Where a record was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Found {
    /// Input file, as given.
    pub file: Arc<str>,
    /// Number of the record in it, from 1.
    pub record: u64,
}

/// Longest text of a record in a row: what a caller chooses ends somewhere.
const MAX_CHARS: usize = 512;

/// The beginning of a text, with a mark where it was cut.
#[must_use]
pub fn clip(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}\u{2026}", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What a row is made against.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// What records say of names.
    pub history: &'a History,
    /// What the bank says of keys.
    pub inventory: &'a Inventory,
    /// What of contexts is kept back.
    pub redaction: Redaction,
}

/// One use of one key, its derived fields filled in.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The record.
    pub record: &'a Record<'a>,
    /// Who and which key.
    pub used: &'a Use,
    /// The key, as far as it can be told.
    pub name: Option<&'a KeyName>,
    /// `REGION:ACCOUNT` of the record.
    pub place: &'a str,
    /// Domain of the key.
    pub domain: Option<&'a Domain>,
    /// How it ended.
    pub outcome: Outcome,
    /// What the operation is for.
    pub class: Class,
    /// Where it was found.
    pub file: &'a Arc<str>,
    /// Number in the file.
    pub number: u64,
}

impl Row {
    /// Makes the row of a use.
    #[must_use]
    pub fn of(seen: Seen<'_>, setting: Setting<'_>) -> Self {
        let Seen { record, used, .. } = seen;
        let fields = &record.fields;
        let whole = serde_json::from_str::<Value>(record.raw).unwrap_or_default();
        let text = |id| fields.text(id).map(|text| clip(text, MAX_CHARS));
        let of = |pointer: &str| whole.pointer(pointer).and_then(Value::as_str).map(|text| clip(text, MAX_CHARS));
        let person = person_of(&whole, fields, &used.principal);
        let (human, human_evidence) = match person {
            Some(Person { name, evidence }) => (Some(clip(&name, MAX_CHARS)), Some(evidence)),
            None => (None, None),
        };
        let call = Call::of(used, record.name(), fields, record.time);
        let judgement = seen.domain.and_then(|domain| judge(domain, &call, setting.inventory));
        let key = used.key.clone().unwrap_or_default();
        let source_kind = text(derived::SOURCE_KIND).unwrap_or_else(|| "unknown".to_owned());
        let stamp = Stamp { time: record.time, event: record.id.as_str().to_owned() };
        let is_use = seen.class == Class::Cryptographic;
        let change = (!is_use).then(|| seen.change(&whole, &stamp, setting.history)).flatten();
        let attempt = |words: String| if seen.outcome == Outcome::Success { words } else { format!("tried: {words}") };
        Self {
            event_time: record.time,
            event_id: record.id.as_str().to_owned(),
            human,
            human_evidence,
            principal: clip(&used.principal.canonical, MAX_CHARS),
            principal_type: clip(&used.principal.kind, MAX_CHARS),
            session: used.principal.session.as_deref().map(|session| clip(session, MAX_CHARS)),
            account: used.principal.account.as_deref().map(|account| clip(account, MAX_CHARS)),
            operation: clip(record.name(), MAX_CHARS),
            class: seen.class.as_str().to_owned(),
            key: seen.key_text(),
            key_role: fields
                .text(derived::KEY_ROLE)
                .map(|role| if role == "source" { "source" } else { "destination" }),
            alias: seen.alias(setting),
            domain: seen.domain.map(|domain| domain.name.clone()),
            region: text(core::AWS_REGION),
            recipient_account: text(core::RECIPIENT_ACCOUNT),
            context: purpose::shown(&whole, key.role, seen.domain, setting.redaction),
            change: change.map(attempt),
            source: text(core::SOURCE_IP),
            vpc_endpoint: text(core::VPC_ENDPOINT),
            via: used.principal.via.as_deref().map(|via| clip(via, MAX_CHARS)),
            client: client_of(fields.text(core::USER_AGENT), &source_kind),
            source_kind,
            user_agent: text(core::USER_AGENT),
            outcome: seen.outcome,
            error_code: text(core::ERROR_CODE),
            error_message: text(core::ERROR_MESSAGE),
            denied_by: (seen.outcome == Outcome::Denied).then(|| denied_by(fields)).flatten(),
            expected: judgement.as_ref().map(|judgement| judgement.expected),
            expected_reason: judgement.as_ref().map(|judgement| clip(&judgement.reason, MAX_CHARS)),
            ticket: judgement.and_then(|judgement| judgement.ticket),
            shared_event_id: text(core::SHARED_EVENT_ID),
            same_call: Vec::new(),
            addendum: of("/addendum/reason"),
            addendum_of: of("/addendum/originalEventID"),
            found: vec![Found { file: seen.file.clone(), record: seen.number }],
            copies: 1,
            copies_differ: false,
        }
    }
}

impl Seen<'_> {
    fn change(&self, whole: &Value, stamp: &Stamp, history: &History) -> Option<String> {
        let place = self.name.map_or(self.place, |name| name.place.as_str());
        let operation = self.record.name();
        Changing { operation, whole, key: self.name, place, stamp, history }.in_words()
    }

    /// ARN where the record or the history has one, else whatever the record calls the key.
    fn key_text(&self) -> Option<String> {
        let key = self.used.key.as_ref();
        let arn = key.and_then(|key| key.arn.clone()).filter(|arn| {
            // Of a change that concerns another key than it names, the key asked for is shown.
            self.name.is_none() || KeyName::from_arn(arn).as_ref() == self.name
        });
        let told = || self.name.map(KeyName::arn);
        let typed = || key.and_then(|key| key.id.clone().or_else(|| key.alias.clone()));
        arn.or_else(told).or_else(typed).map(|text| clip(&text, MAX_CHARS))
    }

    /// The name that the record uses, else the key's at that time, else the inventory's.
    fn alias(&self, setting: Setting<'_>) -> Option<String> {
        let key = self.used.key.as_ref();
        let typed = key.and_then(|key| key.alias.clone());
        let stood = || {
            let name = self.name?;
            setting.history.aliases_of(name, self.record.time).next().map(|(_, alias)| alias.clone())
        };
        let listed = || key.and_then(|key| setting.inventory.alias_of(key)).map(str::to_owned);
        typed.or_else(stood).or_else(listed).map(|alias| clip(&alias, MAX_CHARS))
    }
}

/// Whose policy denied, from the message (aws-facts 2.5); CloudTrail has no field for it.
fn denied_by(fields: &Fields<'_>) -> Option<String> {
    const KINDS: [&str; 8] = [
        "identity-based policy",
        "resource-based policy",
        "service control policy",
        "resource control policy",
        "VPC endpoint policy",
        "permissions boundary",
        "session policy",
        "access policy",
    ];
    let message = fields.text(core::ERROR_MESSAGE).unwrap_or_default();
    let kind = || KINDS.into_iter().find(|kind| message.contains(kind));
    if message.contains("explicit deny") {
        return Some(
            kind().map_or_else(|| "an explicit deny".to_owned(), |kind| format!("an explicit deny in a {kind}")),
        );
    }
    if let Some(kind) = kind() {
        let is_missing = message.contains(&format!("no {kind} allows"));
        return Some(if is_missing { format!("no {kind} allows it") } else { format!("a {kind}") });
    }
    if fields.text(core::ERROR_CODE) == Some("VpceAccessDenied") {
        return Some("a VPC endpoint policy".to_owned());
    }
    message
        .contains("does not exist in this region, or you are not allowed")
        .then(|| "the key does not exist here or no policy allows it".to_owned())
}
