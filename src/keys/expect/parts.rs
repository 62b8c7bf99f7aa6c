//! Every part of a line of expected use, met or not: for explanations.
//!
//! Invariant: the first part that is not met is what [`gap`](super::gap) says (property test). It
//! decides nothing.

use super::{Call, fits, short_name};
use crate::keys::context_of;
use crate::keys::exception::BreakGlass;
use crate::keys::inventory::{DIRECT, Domain, Expect, Inventory};
use crate::keys::pattern::NamePattern;

/// A part of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartKind {
    /// Who.
    Principal,
    /// What.
    Operation,
    /// Through which service.
    Via,
    /// With whose credentials.
    IssuedTo,
    /// In which Region.
    Region,
    /// From which network or endpoint.
    Network,
    /// When.
    Time,
    /// With which encryption context.
    Context,
}

impl PartKind {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::Operation => "operation",
            Self::Via => "via",
            Self::IssuedTo => "issued to",
            Self::Region => "region",
            Self::Network => "network",
            Self::Time => "time",
            Self::Context => "context",
        }
    }
}

/// A part of a line beside what the use has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub kind: PartKind,
    /// Of a context entry its name.
    pub entry: Option<String>,
    /// What the line wants; empty when it wants nothing of it.
    pub wanted: Vec<String>,
    /// What the use has.
    pub given: Option<String>,
    /// Whether that will do.
    pub met: bool,
}

/// Every part of a line, in the order in which they are asked; what the line leaves out is met.
#[must_use]
pub fn parts_of(line: &Expect, call: &Call<'_>) -> Vec<Part> {
    let texts =
        |patterns: &[NamePattern]| patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect::<Vec<_>>();
    let any = |patterns: &[NamePattern], name: Option<&str>| {
        patterns.is_empty() || name.is_some_and(|name| patterns.iter().any(|pattern| pattern.matches(name)))
    };
    let part = |kind, wanted, given: Option<&str>, met| Part {
        kind,
        entry: None,
        wanted,
        given: given.map(str::to_owned),
        met,
    };
    let (operations, for_operation) = match line.operations.is_empty() {
        true => (vec!["any cryptographic operation".to_owned()], call.is_cryptographic),
        false => (texts(&line.operations), line.operations.iter().any(|pattern| fits(pattern, call.names))),
    };
    let by_principal = line.principals.iter().any(|pattern| pattern.matches(call.principal));
    let networks = line.from.iter().map(ToString::to_string).chain(texts(&line.vpc_endpoints)).collect();
    let place = match (call.source, call.endpoint) {
        (Some(source), Some(endpoint)) => Some(format!("{source} through {endpoint}")),
        (one, other) => one.or(other).map(str::to_owned),
    };
    let when: Vec<String> = line.schedule.iter().map(ToString::to_string).collect();
    let in_time = line.schedule.as_ref().is_none_or(|schedule| schedule.covers(call.time));
    let time = call.time.to_string();
    let via = call.via.unwrap_or(DIRECT);
    let mut parts = vec![
        part(PartKind::Principal, texts(&line.principals), Some(call.principal), by_principal),
        part(PartKind::Operation, operations, Some(call.operation), for_operation),
        part(PartKind::Via, texts(&line.via), Some(via), any(&line.via, Some(via))),
        part(PartKind::IssuedTo, texts(&line.issued_to), call.issued_to, any(&line.issued_to, call.issued_to)),
        part(PartKind::Region, texts(&line.regions), call.region, any(&line.regions, call.region)),
        part(PartKind::Network, networks, place.as_deref(), call.comes_from(line)),
        part(PartKind::Time, when, Some(&time), in_time),
    ];
    parts.retain(|part| part.kind != PartKind::IssuedTo || !part.wanted.is_empty());
    for (name, patterns) in &line.context {
        let same_name = |(given, _): &(&str, &str)| given.eq_ignore_ascii_case(name);
        let given: Vec<&str> = context_of(call.fields).filter(same_name).map(|(_, value)| value).collect();
        parts.push(Part {
            kind: PartKind::Context,
            entry: Some(name.clone()),
            wanted: texts(patterns),
            met: given.iter().any(|value| patterns.iter().any(|pattern| pattern.matches(value))),
            given: given.first().map(|value| (*value).to_owned()),
        });
    }
    parts
}

/// The line that comes nearest to a use, or is met whole; nothing when no line is for the caller.
#[must_use]
pub fn nearest_line<'d>(domain: &'d Domain, call: &Call<'_>) -> Option<&'d Expect> {
    let met_whole = || domain.expect.iter().find(|line| super::gap(line, call).is_none());
    match super::nearest(domain, call) {
        None => met_whole(),
        Some((_, super::Gap::Principal)) => None,
        Some((line, _)) => line,
    }
}

/// The pattern of those who must never use the domain's keys that fits the caller.
#[must_use]
pub fn never<'d>(domain: &'d Domain, call: &Call<'_>) -> Option<&'d NamePattern> {
    domain.never.iter().find(|pattern| pattern.matches(call.principal))
}

/// Break-glass access about such a use, in force or not.
#[must_use]
pub fn leaves<'i>(domain: &Domain, call: &Call<'_>, inventory: &'i Inventory) -> Vec<&'i BreakGlass> {
    let concerns = |leave: &&BreakGlass| leave.concerns(call.principal, &domain.name, call.names);
    inventory.break_glass.iter().filter(concerns).collect()
}

/// For a line of a list: who, for what, and under which bounds.
#[must_use]
pub fn in_words(line: &Expect) -> String {
    let list = |patterns: &[NamePattern]| patterns.iter().map(NamePattern::as_str).collect::<Vec<_>>().join(", ");
    let who = line.principals.iter().map(|pattern| short_name(pattern.as_str())).collect::<Vec<_>>().join(", ");
    let mut words = vec![who];
    words.push(match line.operations.is_empty() {
        true => "for any cryptographic operation".to_owned(),
        false => format!("for {}", list(&line.operations)),
    });
    if !line.via.is_empty() {
        words.push(format!("via {}", list(&line.via)));
    }
    if !line.issued_to.is_empty() {
        words.push(format!("with the credentials of {}", list(&line.issued_to)));
    }
    if !line.regions.is_empty() {
        words.push(format!("in {}", list(&line.regions)));
    }
    let networks: Vec<_> = line.from.iter().map(ToString::to_string).collect();
    let endpoints: Vec<_> = line.vpc_endpoints.iter().map(|pattern| pattern.as_str().to_owned()).collect();
    let places = [networks, endpoints].concat();
    if !places.is_empty() {
        words.push(format!("from {}", places.join(", ")));
    }
    words.extend(line.schedule.as_ref().map(ToString::to_string));
    let entry = |(name, values): &(String, Vec<NamePattern>)| format!("{name}={}", list(values));
    let context: Vec<_> = line.context.iter().map(entry).collect();
    if !context.is_empty() {
        words.push(format!("with context {}", context.join(", ")));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Gap, gap};
    use super::*;
    use crate::event::derive::uses_of;
    use crate::event::field::Projection;
    use crate::event::record::decode;

    fn kind_of(gap: Gap<'_>) -> PartKind {
        match gap {
            Gap::Principal => PartKind::Principal,
            Gap::Operation => PartKind::Operation,
            Gap::Via => PartKind::Via,
            Gap::IssuedTo => PartKind::IssuedTo,
            Gap::Region => PartKind::Region,
            Gap::Network => PartKind::Network,
            Gap::Time => PartKind::Time,
            Gap::Context(_) => PartKind::Context,
        }
    }

    proptest! {
        #[test]
        fn the_first_part_unmet_is_the_gap(
            role in prop::sample::select(vec!["pay", "batch"]),
            operation in prop::sample::select(vec!["Decrypt", "Encrypt", "DescribeKey"]),
            via in prop::sample::select(vec!["", r#","invokedBy":"lambda.amazonaws.com""#,
                r#","invokedBy":"lambda.amazonaws.com","inScopeOf":{"credentialsIssuedTo":"arn:aws:lambda:eu-west-1:111122223333:function:pay"}"#]),
            rest in prop::sample::subsequence(vec![
                r#","awsRegion":"eu-west-1""#, r#","sourceIPAddress":"10.20.0.1""#, r#","vpcEndpointId":"vpce-1""#,
                r#","requestParameters":{"encryptionContext":{"PURPOSE":"x1"}}"#,
            ], 0..=4),
            hour in 0..24,
        ) {
            const LINES: &str = "domains:
  - name: vault
    keys: [k-1]
    expect:
      - {principals: ['arn:aws:iam::*:role/pay']}
      - {principals: ['*'], operations: [Encrypt], via: [direct], context: {purpose: [pay, 'x*']}}
      - {principals: ['*'], operations: ['*'], via: [lambda.amazonaws.com], issued_to: ['arn:aws:lambda:*:*:function:pay'], regions: [eu-*], from: [10.20.0.0/16], vpc_endpoints: [vpce-1], hours: 07:00-19:00, context: {purpose: 'x*'}}
";
            let inventory = Inventory::parse("keys.yml", LINES).unwrap();
            let raw = format!(
                r#"{{"eventTime":"2026-01-05T{hour:02}:00:00Z","eventSource":"kms.amazonaws.com","eventName":"{operation}","userIdentity":{{"type":"IAMUser","arn":"arn:aws:iam::111122223333:role/{role}"{via}}},"resources":[{{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/k-1"}}]{}}}"#,
                rest.concat()
            );
            let record = decode(&raw, &Projection::fixed()).unwrap();
            let used = uses_of(&record).remove(0);
            let call = Call::of(&used, record.name(), &record.fields, record.time);
            for line in &inventory.domains[0].expect {
                let first = parts_of(line, &call).into_iter().find(|part| !part.met).map(|part| part.kind);
                prop_assert_eq!(first, gap(line, &call).map(kind_of));
            }
        }
    }
}
