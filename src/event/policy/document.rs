//! A policy document, typed.
//!
//! Invariant: nothing is dropped. A member that IAM does not have is named; a shape that cannot be
//! read is an error that says in which statement and member.
//!
//! Must not judge: what a statement means for a caller is [`super::evaluate`]'s.

use std::fmt;

use serde_json::{Map, Value};

use super::condition::Condition;
use super::json;
use super::principal::PolicyPrincipal;
use super::text::{bounded, quoted_id};

/// Longest text read: twice what KMS takes (32 KB).
pub const MAX_BYTES: usize = 64 * 1024;
/// Most statements read; more do not fit into what KMS takes.
pub const MAX_STATEMENTS: usize = 512;
/// Most conditions of one statement read: comparing policies pairs them, so their number is paid twice.
pub const MAX_CONDITIONS: usize = 64;

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Longer than any key policy.
    #[error("the policy has {bytes} bytes, more than {MAX_BYTES}; KMS takes 32 KB")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// More statements than fit into a key policy.
    #[error("the policy has {count} statements, more than {MAX_STATEMENTS}")]
    TooManyStatements {
        /// How many.
        count: usize,
    },
    /// The text is no JSON, or no unambiguous one.
    #[error("the policy is not JSON: {reason}")]
    NotJson {
        /// What the reader met, and at which line and column.
        reason: String,
    },
    /// A part is not what a policy has there.
    #[error("{place}: {member} {reason}")]
    Shape {
        /// `the policy`, or the statement.
        place: String,
        /// The member.
        member: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Whether a statement opens or closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Lets in, as far as no Deny shuts out.
    Allow,
    /// Shuts out, whatever allows.
    Deny,
}

/// What a statement lists, or what it leaves out of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed<T> {
    /// These (`Principal`, `Action`, `Resource`).
    Only(Vec<T>),
    /// All but these (`NotPrincipal`, `NotAction`, `NotResource`).
    AllBut(Vec<T>),
}

/// A statement's place and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatementName {
    /// From 1, in the order of the document.
    pub number: usize,
    /// Its `Sid`.
    pub sid: Option<String>,
}

impl fmt::Display for StatementName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sid {
            Some(sid) => write!(f, "statement {}", quoted_id(sid)),
            None => write!(f, "statement {}", self.number),
        }
    }
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Where it stands.
    pub name: StatementName,
    /// Opens or closes.
    pub effect: Effect,
    /// Whom it is about.
    pub principals: Listed<PolicyPrincipal>,
    /// The principals as written, services as `service:NAME`; none of a `NotPrincipal`.
    pub written_principals: Vec<String>,
    /// Patterns of actions, with their service.
    pub actions: Listed<String>,
    /// Patterns of resources. A key policy says `*`, which is its key.
    pub resources: Listed<String>,
    /// Conditions, all of which must be met.
    pub conditions: Vec<Condition>,
    /// Members that no statement has.
    pub unknown_members: Vec<String>,
}

/// A key policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `Id`.
    pub id: Option<String>,
    /// Statements, in the order of the document.
    pub statements: Vec<Statement>,
    /// Members that no policy has, and a `Version` that IAM does not have.
    pub unknown_members: Vec<String>,
}

impl Policy {
    /// Reads a policy's text.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_BYTES {
            return Err(PolicyError::TooLarge { bytes: text.len() });
        }
        let value = json::read(text).map_err(|error| PolicyError::NotJson { reason: error.to_string() })?;
        Self::of_value(&value)
    }

    /// Reads a policy that is JSON already. Members given twice can no more be seen.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn of_value(value: &Value) -> Result<Self, PolicyError> {
        let place = "the policy";
        let Value::Object(members) = value else {
            return Err(shape(place, "document", "is not an object with a Statement"));
        };
        let mut id = None;
        let mut statements = None;
        let mut unknown_members = Vec::new();
        let mut has_variables = false;
        each_member(members, place, |name, value| {
            match name.to_ascii_lowercase().as_str() {
                "version" => match text(place, name, value)? {
                    // Only this version knows variables.
                    "2012-10-17" => has_variables = true,
                    "2008-10-17" => {}
                    other => unknown_members.push(format!("Version {}", bounded(other))),
                },
                "id" => id = Some(text(place, name, value)?.to_owned()),
                "statement" => statements = Some(value),
                _ => unknown_members.push(bounded(name)),
            }
            Ok(())
        })?;
        let Some(statements) = statements else { return Err(shape(place, "Statement", "is missing")) };
        let statements = one_or_many(statements);
        if statements.len() > MAX_STATEMENTS {
            return Err(PolicyError::TooManyStatements { count: statements.len() });
        }
        let statements = (statements.iter().enumerate())
            .map(|(at, statement)| Statement::read(at + 1, statement, has_variables))
            .collect::<Result<_, _>>()?;
        Ok(Self { id, statements, unknown_members })
    }

    /// The policy that KMS gives a key when none is given by API: the account's IAM policies decide.
    #[must_use]
    pub fn default_of(account: &str) -> Self {
        let statement = Statement {
            name: StatementName { number: 1, sid: Some("Enable IAM User Permissions".to_owned()) },
            effect: Effect::Allow,
            principals: Listed::Only(vec![PolicyPrincipal::of_aws(account)]),
            written_principals: vec![format!("arn:aws:iam::{account}:root")],
            actions: Listed::Only(vec!["kms:*".to_owned()]),
            resources: Listed::Only(vec!["*".to_owned()]),
            conditions: Vec::new(),
            unknown_members: Vec::new(),
        };
        Self { id: Some("key-default-1".to_owned()), statements: vec![statement], unknown_members: Vec::new() }
    }
}

impl Statement {
    fn read(number: usize, value: &Value, has_variables: bool) -> Result<Self, PolicyError> {
        let place = format!("statement {number}");
        let Value::Object(members) = value else { return Err(shape(&place, "Statement", "is not an object")) };
        let sid = match member(members, "Sid") {
            Some(Value::String(sid)) if !sid.is_empty() => Some(sid.clone()),
            Some(Value::String(_)) | None => None,
            Some(_) => return Err(shape(&place, "Sid", "is not a text")),
        };
        let place = match &sid {
            Some(sid) => format!("{place} {}", quoted_id(sid)),
            None => place,
        };
        let mut parts = Parts::default();
        each_member(members, &place, |name, value| parts.take(&place, name, value, has_variables))?;
        let missing = |member: &str| shape(&place, member, "is missing");
        Ok(Self {
            name: StatementName { number, sid },
            effect: parts.effect.ok_or_else(|| missing("Effect"))?,
            principals: parts.principals.ok_or_else(|| missing("Principal"))?,
            written_principals: parts.written,
            actions: parts.actions.ok_or_else(|| missing("Action"))?,
            // KMS wants it, but it can only mean the key.
            resources: parts.resources.unwrap_or_else(|| Listed::Only(vec!["*".to_owned()])),
            conditions: parts.conditions,
            unknown_members: parts.unknown,
        })
    }
}

#[derive(Default)]
struct Parts {
    effect: Option<Effect>,
    principals: Option<Listed<PolicyPrincipal>>,
    written: Vec<String>,
    actions: Option<Listed<String>>,
    resources: Option<Listed<String>>,
    conditions: Vec<Condition>,
    unknown: Vec<String>,
}

impl Parts {
    fn take(&mut self, place: &str, name: &str, value: &Value, has_variables: bool) -> Result<(), PolicyError> {
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "sid" => {}
            "effect" => {
                let effect = text(place, name, value)?;
                self.effect = Some(match effect.to_ascii_lowercase().as_str() {
                    "allow" => Effect::Allow,
                    "deny" => Effect::Deny,
                    _ => return Err(shape(place, name, &format!("is {}, not Allow or Deny", quoted_id(effect)))),
                });
            }
            "principal" | "notprincipal" => {
                let named = principals(place, name, value)?;
                let who = named.iter().map(|(who, _)| who.clone()).collect();
                let is_not = lower == "notprincipal";
                if !is_not {
                    self.written = named.into_iter().map(|(_, written)| written).collect();
                }
                put(&mut self.principals, is_not, who).ok_or_else(|| both(place, "Principal"))?;
            }
            "action" | "notaction" => {
                let actions = texts(place, name, value)?;
                put(&mut self.actions, lower == "notaction", actions).ok_or_else(|| both(place, "Action"))?;
            }
            "resource" | "notresource" => {
                let resources = texts(place, name, value)?;
                put(&mut self.resources, lower == "notresource", resources).ok_or_else(|| both(place, "Resource"))?;
            }
            "condition" => self.conditions = conditions(place, value, has_variables)?,
            _ => self.unknown.push(bounded(name)),
        }
        Ok(())
    }
}

fn put<T>(slot: &mut Option<Listed<T>>, is_not: bool, items: Vec<T>) -> Option<()> {
    let listed = if is_not { Listed::AllBut(items) } else { Listed::Only(items) };
    slot.replace(listed).is_none().then_some(())
}

fn both(place: &str, member: &str) -> PolicyError {
    shape(place, member, &format!("and Not{member} are both given"))
}

fn shape(place: &str, member: &str, reason: &str) -> PolicyError {
    PolicyError::Shape { place: place.to_owned(), member: bounded(member), reason: reason.to_owned() }
}

fn member<'v>(members: &'v Map<String, Value>, wanted: &str) -> Option<&'v Value> {
    members.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}

/// Each member once: two that differ in case only could be read one way here and another by IAM.
fn each_member<'v>(
    members: &'v Map<String, Value>,
    place: &str,
    mut take: impl FnMut(&'v str, &'v Value) -> Result<(), PolicyError>,
) -> Result<(), PolicyError> {
    let mut seen = std::collections::BTreeSet::new();
    for (name, value) in members {
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(shape(place, name, "is given twice"));
        }
        take(name, value)?;
    }
    Ok(())
}

fn one_or_many(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        one => std::slice::from_ref(one),
    }
}

fn text<'v>(place: &str, member: &str, value: &'v Value) -> Result<&'v str, PolicyError> {
    value.as_str().ok_or_else(|| shape(place, member, "is not a text"))
}

fn texts(place: &str, member: &str, value: &Value) -> Result<Vec<String>, PolicyError> {
    let items = one_or_many(value);
    items.iter().map(|item| text(place, member, item).map(str::to_owned)).collect()
}

/// `*`, a text, or a map of kinds to one or many; each with how it is written.
fn principals(place: &str, member: &str, value: &Value) -> Result<Vec<(PolicyPrincipal, String)>, PolicyError> {
    let Value::Object(kinds) = value else {
        let named = texts(place, member, value)?;
        return Ok(named.into_iter().map(|text| (PolicyPrincipal::of_aws(&text), text)).collect());
    };
    let mut found = Vec::new();
    each_member(kinds, place, |kind, value| {
        let prefix =
            if kind.eq_ignore_ascii_case("aws") { String::new() } else { format!("{}:", kind.to_ascii_lowercase()) };
        for text in texts(place, &format!("{member}.{}", bounded(kind)), value)? {
            found.push((PolicyPrincipal::of_kind(kind, &text), format!("{prefix}{text}")));
        }
        Ok(())
    })?;
    Ok(found)
}

fn conditions(place: &str, value: &Value, has_variables: bool) -> Result<Vec<Condition>, PolicyError> {
    let Value::Object(operators) = value else { return Err(shape(place, "Condition", "is not an object")) };
    let mut found = Vec::new();
    each_member(operators, place, |operator, keys| {
        let here = format!("Condition.{}", bounded(operator));
        let Value::Object(keys) = keys else { return Err(shape(place, &here, "is not an object")) };
        each_member(keys, place, |key, values| {
            let here = format!("{here}.{}", bounded(key));
            let values = one_or_many(values).iter().map(|value| match value {
                Value::String(text) => Ok(text.clone()),
                Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
                _ => Err(shape(place, &here, "has a value that is no text")),
            });
            found.push(Condition::new(operator, key, values.collect::<Result<_, _>>()?, has_variables));
            Ok(())
        })
    })?;
    if found.len() > MAX_CONDITIONS {
        return Err(shape(place, "Condition", &format!("has {} conditions, more than {MAX_CONDITIONS}", found.len())));
    }
    Ok(found)
}
