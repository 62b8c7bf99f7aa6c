//! The same question as a statement for CloudTrail Lake, whose SQL is Presto's (user guide,
//! "CloudTrail Lake SQL constraints"): columns as in "Supported schema for CloudTrail event record
//! fields", where `requestParameters` is a map of text and `resources` a list of `{accountId, type,
//! arn}`.
//!
//! Invariant: whatever was typed stands in a quoted literal or is refused.

use std::fmt::Write as _;

use super::history::KeyName;
use super::key::{Target, Typed};
use super::question::{Filter, Outcome, Question};
use crate::event::operation::{Class, OPERATIONS};
use crate::keys::inventory::Inventory;
use crate::keys::pattern::NamePattern;
use crate::time::EventTime;

/// Stands for the event data store until its id is put in.
pub const PLACEHOLDER: &str = "$EDS_ID";

/// The id of an event data store, which may be given by its ARN.
///
/// # Errors
/// When it is neither.
pub fn event_data_store(text: &str) -> Result<String, String> {
    let id = text.rsplit('/').next().unwrap_or_default();
    let is_plain = !id.is_empty() && id.len() <= 64 && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    is_plain.then(|| id.to_owned()).ok_or_else(|| format!("'{text}' is no id of an event data store, nor its ARN"))
}

/// The statement.
#[must_use]
pub fn statement(question: Question, target: &Target, filter: &Filter, inventory: &Inventory, store: &str) -> String {
    let mut out = String::from(
        "SELECT eventTime, eventID, recipientAccountId, awsRegion, eventName,\n       \
         userIdentity.type AS identityType, userIdentity.arn AS identityArn,\n       \
         userIdentity.sessionContext.sessionIssuer.arn AS roleArn,\n       \
         userIdentity.sessionContext.sourceIdentity AS sourceIdentity,\n       \
         userIdentity.onBehalfOf.userId AS onBehalfOf, userIdentity.principalId AS principalId,\n       \
         userIdentity.accountId AS callerAccount, userIdentity.invokedBy AS invokedBy,\n       \
         sourceIPAddress, vpcEndpointId, userAgent, errorCode, errorMessage, sharedEventID,\n       \
         requestParameters, responseElements, resources\n",
    );
    let _ = writeln!(out, "FROM {store}");
    let mut conditions = vec!["eventSource = 'kms.amazonaws.com'".to_owned(), operations(question, filter)];
    if question == Question::Denied {
        conditions.push(DENIED.to_owned());
    }
    if !filter.outcomes.is_empty() {
        let wanted: Vec<_> = filter.outcomes.iter().map(|outcome| outcome_condition(*outcome)).collect();
        conditions.push(any(&wanted));
    }
    // How AWS's own sample queries write times; with a zone they would not compare.
    let time = |time: EventTime| literal(&time.to_string().replace('T', " ").replace('Z', ""));
    conditions.extend(filter.window.since.map(|since| format!("eventTime >= {}", time(since))));
    conditions.extend(filter.window.until.map(|until| format!("eventTime < {}", time(until))));
    if !filter.principals.is_empty() {
        let wanted: Vec<_> = filter.principals.iter().flat_map(principal).collect();
        conditions.push(any(&wanted));
    }
    if !target.is_everything() {
        conditions.push(any(&keys(target, inventory)));
    }
    conditions.retain(|condition| !condition.is_empty());
    let _ = writeln!(out, "WHERE {}", conditions.join("\n  AND "));
    out.push_str("ORDER BY eventTime, eventID\n");
    out
}

/// What such a statement cannot tell, for the person who runs it.
#[must_use]
pub fn limits(target: &Target) -> String {
    let mut out = String::from(
        "This statement asks the same question, but SQL cannot tell:\n  \
         - what an alias stood for at the time: an alias finds the records that name it, and the keys that an inventory (--keys) gives with it\n  \
         - whether a use was expected, and copies of one call in two accounts (see sharedEventID)\n  \
         - encryption contexts redacted: the column requestParameters shows them as they were\n",
    );
    if target.asked.iter().any(|asked| matches!(asked.typed, Typed::Domain(_))) {
        out.push_str("  - keys that the domain knows by tag only: they are not in the statement\n");
    }
    out.push_str("Give --since and --until: Lake charges by what it scans.\n");
    out
}

const DENIED: &str = "(errorCode LIKE '%AccessDenied%' OR errorCode LIKE '%Unauthorized%')";

/// As the codes are told apart in records; see `kms.outcome`.
fn outcome_condition(outcome: Outcome) -> String {
    let dry_run = "errorCode IN ('DryRunOperationException', 'DryRunOperation')";
    let throttled = "(errorCode LIKE '%Throttl%' OR errorCode = 'RequestLimitExceeded')";
    match outcome {
        Outcome::Success => "(errorCode IS NULL OR errorCode = '')".to_owned(),
        Outcome::Denied => DENIED.to_owned(),
        Outcome::DryRun => dry_run.to_owned(),
        Outcome::Throttled => throttled.to_owned(),
        Outcome::Error => format!("(errorCode <> '' AND NOT {DENIED} AND NOT {dry_run} AND NOT {throttled})"),
    }
}

fn operations(question: Question, filter: &Filter) -> String {
    let names = |wanted: &dyn Fn(&str) -> bool| {
        let names = OPERATIONS.iter().map(|operation| operation.name).filter(|name| wanted(name));
        names.map(literal).collect::<Vec<_>>().join(", ")
    };
    if !filter.operations.is_empty() {
        return format!("eventName IN ({})", names(&|name| question.is_about(name) && filter.wants_operation(name)));
    }
    let is_use = |name: &str| crate::event::operation::class_of(name) == Class::Cryptographic;
    match question {
        Question::WhoUsed => format!("eventName IN ({})", names(&is_use)),
        // Newer operations than these are changes too.
        Question::WhoChanged => {
            format!("eventName NOT IN ({})\n  AND NOT regexp_like(eventName, '^(Get|List|Describe)')", names(&is_use))
        }
        Question::Denied => String::new(),
    }
}

/// The names that a caller has in Lake's columns.
fn principal(pattern: &NamePattern) -> Vec<String> {
    let text = pattern.as_str();
    let columns = [
        "userIdentity.arn",
        "userIdentity.sessionContext.sessionIssuer.arn",
        "userIdentity.sessionContext.sourceIdentity",
        "userIdentity.onBehalfOf.userId",
    ];
    let service = text.strip_prefix("service:").map(|service| like("userIdentity.invokedBy", service));
    let of_columns = columns.iter().map(|column| like(column, text));
    // Names without their ARN: of roles, users and sessions.
    let short = !text.contains(':');
    let ends = ["userIdentity.arn", "userIdentity.sessionContext.sessionIssuer.arn"];
    let of_ends = ends.iter().filter(|_| short).map(|column| like(column, &format!("*/{text}")));
    let session = short.then(|| like("userIdentity.principalId", &format!("*:{text}")));
    of_columns.chain(of_ends).chain(session).chain(service).collect()
}

/// The conditions by which records name the keys asked for.
fn keys(target: &Target, inventory: &Inventory) -> Vec<String> {
    let mut found = Vec::new();
    for asked in &target.asked {
        match &asked.typed {
            Typed::Arn(_) => found.extend(by_arn(&asked.text)),
            Typed::Id(id) => found.extend(by_id(id)),
            Typed::Alias { place, alias } => {
                found.extend(by_alias(place.as_deref(), alias));
                found.extend(asked.listed.iter().flat_map(|name| by_arn(&name.arn())));
            }
            Typed::Domain(name) => {
                let domain = inventory.domains.iter().find(|domain| domain.name == *name);
                for name in domain.into_iter().flat_map(|domain| &domain.key_names) {
                    match Typed::parse(name) {
                        Ok(Typed::Arn(_)) => found.extend(by_arn(name)),
                        Ok(Typed::Id(id)) => found.extend(by_id(&id)),
                        Ok(Typed::Alias { place, alias }) => {
                            found.extend(by_alias(place.as_deref(), &alias));
                            let listed = inventory.arns_of(&alias).into_iter().map(str::to_owned).collect::<Vec<_>>();
                            found.extend(listed.iter().flat_map(|arn| by_arn(arn)));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    let mut once = Vec::new();
    for condition in found {
        if !once.contains(&condition) {
            once.push(condition);
        }
    }
    // A domain of tags alone has no names; then nothing can fit.
    if once.is_empty() { vec!["false".to_owned()] } else { once }
}

/// Where a request may name a key.
const REQUESTED: [&str; 4] = ["keyId", "targetKeyId", "sourceKeyId", "destinationKeyId"];

fn by_arn(arn: &str) -> Vec<String> {
    let mut found = vec![
        format!("any_match(resources, r -> r.arn = {})", literal(arn)),
        format!("element_at(responseElements, 'keyId') = {}", literal(arn)),
        like("errorMessage", &format!("*{arn}*")),
    ];
    let requested = REQUESTED.iter().map(|name| format!("element_at(requestParameters, '{name}') = {}", literal(arn)));
    found.extend(requested);
    // A call that names the key by id alone is one of its own account and Region.
    if let Some(name) = KeyName::from_arn(arn) {
        let mut place = name.place.split(':');
        let (region, account) = (place.next().unwrap_or_default(), place.next().unwrap_or_default());
        found.push(format!(
            "(element_at(requestParameters, 'keyId') = {} AND awsRegion = {} AND recipientAccountId = {})",
            literal(&name.id),
            literal(region),
            literal(account)
        ));
    }
    found
}

fn by_id(id: &str) -> Vec<String> {
    let mut found = vec![
        format!("any_match(resources, r -> r.arn LIKE {})", pattern(&format!("*:key/{id}"))),
        like("errorMessage", &format!("*:key/{id}*")),
    ];
    for name in REQUESTED {
        let column = format!("element_at(requestParameters, '{name}')");
        found.push(format!("{column} = {}", literal(id)));
        found.push(like(&column, &format!("*:key/{id}")));
    }
    found
}

fn by_alias(place: Option<&str>, alias: &str) -> Vec<String> {
    let arn = format!("arn:*:kms:{}:{alias}", place.unwrap_or("*"));
    let mut found = vec![format!("any_match(resources, r -> r.arn LIKE {})", pattern(&arn))];
    for name in ["keyId", "aliasName", "sourceKeyId", "destinationKeyId"] {
        let column = format!("element_at(requestParameters, '{name}')");
        found.push(format!("{column} = {}", literal(alias)));
        found.push(like(&column, &arn));
    }
    found
}

fn any(conditions: &[String]) -> String {
    format!("({})", conditions.join("\n    OR "))
}

/// A text as a literal; quotes doubled, control characters gone.
fn literal(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("'{}'", plain.replace('\'', "''"))
}

fn like(column: &str, glob: &str) -> String {
    if glob.contains(['*', '?']) {
        format!("{column} LIKE {}", pattern(glob))
    } else {
        format!("{column} = {}", literal(glob))
    }
}

/// A pattern of `*` and `?` as one of LIKE.
fn pattern(glob: &str) -> String {
    let mut text = String::new();
    for c in glob.chars() {
        match c {
            '*' => text.push('%'),
            '?' => text.push('_'),
            '%' | '_' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            other => text.push(other),
        }
    }
    let escape = if text.contains('\\') { " ESCAPE '\\'" } else { "" };
    format!("{}{escape}", literal(&text))
}
