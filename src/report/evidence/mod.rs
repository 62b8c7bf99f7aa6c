//! Evidence for auditors: who used a key, who changed it, which attempts were denied. Each answer is
//! rows, one for each call on each key, in order of event time and event ID.
//!
//! Files are read twice: first [`history`] collects what names stood for which keys at what time,
//! then [`reader`] takes the records that answer the [`question`] and makes a [`row`] of each.
//!
//! Invariants: the answer is a function of the set of records, so files, their order, copies and
//! threads do not show; memory holds the rows of the answer and not the records that were read; what
//! cannot be said (a call that names no key, a file cut off, more rows than allowed) is said to be so.
//!
//! # What is shown of an encryption context
//!
//! Names always. Values may hold what identifies a customer, and evidence is handed on; so values are
//! redacted as in alerts (`redacted:` and a hash, by which equal values can be told), except three
//! kinds that tell a purpose and no person:
//! - what AWS services write to name a resource of the account (`SecretARN`, `PARAMETER_ARN`,
//!   `aws:ebs:id`, ...); of an S3 object the bucket is shown and its key redacted;
//! - what the inventory's expected use spells out for this key's domain;
//! - an entry named `purpose`, if it is a word or a few (letters, `-`, `_`), for identifiers have digits.
//!
//! # The JSON lines
//!
//! One object for each row; fields are added, never renamed, within a `schema` number. Absent facts
//! are `null`.
//!
//! | field | |
//! |---|---|
//! | `schema`, `question` | 1; `who-used`, `who-changed`, `denied` |
//! | `event_time`, `event_id` | UTC, RFC 3339; of the record |
//! | `human`, `human_evidence` | the person or workload behind the role, and by which field of the record |
//! | `principal`, `principal_type`, `session`, `account` | canonical caller (role, not session) and its account |
//! | `operation`, `class` | the call, and what it is for (`kms.class`) |
//! | `key`, `key_role`, `alias`, `domain` | ARN, or what the record names; `source`/`destination` of ReEncrypt; alias at that time; domain of the inventory |
//! | `region`, `recipient_account` | where it was recorded |
//! | `context` | encryption context, see above |
//! | `change` | of `who-changed` and denied changes: what changed, in words |
//! | `source`, `source_kind`, `vpc_endpoint`, `via`, `client`, `user_agent` | where from: `address`, `service`, `aws-internal`, `unknown`; the forwarding service; `console`, `cli`, `sdk`, `terraform`, ... |
//! | `outcome`, `error_code`, `error_message`, `denied_by` | `success`, `denied`, `error`, `dry-run`, `throttled`; whose policy denied |
//! | `expected`, `expected_reason`, `ticket` | verdict of the inventory, why, under which break-glass ticket |
//! | `shared_event_id`, `same_call` | of a cross-account call; event IDs of its other record among these rows |
//! | `addendum`, `addendum_of` | why CloudTrail sent a supplement, and to which event |
//! | `found`, `copies`, `copies_differ` | `[{file, record}]`, the first few; how often it was delivered; whether copies disagree |

pub mod change;
pub mod csv;
pub mod history;
pub mod jsonl;
pub mod key;
pub mod lake_sql;
pub mod person;
pub mod purpose;
pub mod question;
pub mod reader;
pub mod row;
pub mod summary;
pub mod table;
#[cfg(test)]
mod tests;
