//! What the inventory says of a use: verdict, the line that comes nearest and its parts.

use serde::Serialize;

use crate::alert::redact::{Redaction, printable};
use crate::event::derive::Use;
use crate::event::record::Record;
use crate::keys::expect::parts::{Part, PartKind, leaves, nearest_line, never, parts_of};
use crate::keys::expect::{Call, judge};
use crate::keys::inventory::{Domain, Expect, Inventory};
use crate::keys::picture::Picture;
use crate::keys::picture::change::place_of;

/// What the inventory says.
#[derive(Clone, Debug, Serialize)]
pub struct Expectation {
    /// Domain of the key.
    pub domain: String,
    /// Its tier.
    pub tier: Option<String>,
    /// Its owner.
    pub owner: Option<String>,
    /// `attested`, `decoy`, `retired`.
    pub standing: Vec<&'static str>,
    /// How many lines of expected use it has.
    pub lines: usize,
    /// Expected or not; nothing for what is no use.
    pub verdict: Option<bool>,
    /// Why.
    pub reason: Option<String>,
    /// The `never` that the caller fits.
    pub never: Option<String>,
    /// The line that comes nearest; nothing when none is for the caller.
    pub nearest: Option<Line>,
    /// Break-glass access about such a use.
    pub break_glass: Vec<Leave>,
}

/// A line of expected use.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Where it stands in the inventory.
    pub line: u64,
    /// Its parts.
    pub parts: Vec<PartTried>,
}

/// A part of a line.
#[derive(Clone, Debug, Serialize)]
pub struct PartTried {
    /// `principal`, `operation`, `via`, `region`, `network`, `time`, `context`.
    pub part: &'static str,
    /// Of the context which entry.
    pub entry: Option<String>,
    /// What the line wants; empty when anything will do.
    pub wanted: Vec<String>,
    /// What the use has.
    pub given: Option<String>,
    /// Whether that will do.
    pub met: bool,
}

/// Break-glass access.
#[derive(Clone, Debug, Serialize)]
pub struct Leave {
    /// Under which it was given.
    pub ticket: String,
    /// From.
    pub start: String,
    /// Until.
    pub until: String,
    /// Whether it held at the time of the record.
    pub in_force: bool,
}

/// What the inventory says of a use; nothing when no domain has the key.
pub(super) fn of(
    record: &Record<'_>,
    used: &Use,
    inventory: &Inventory,
    picture: &Picture,
    redaction: Redaction,
) -> Option<Expectation> {
    let key = used.key.as_ref()?;
    let known = || picture.known(key, &place_of(record), record.time);
    let domain = inventory.domain_of(key, used.principal.account.as_deref(), &known)?;
    let call = Call::of(used, record.name(), &record.fields, record.time);
    let judgement = judge(domain, &call, inventory);
    let leave = |leave: &&crate::keys::exception::BreakGlass| Leave {
        ticket: leave.ticket.clone(),
        start: leave.start.to_string(),
        until: leave.until.to_string(),
        in_force: leave.holds(record.time),
    };
    Some(Expectation {
        domain: domain.name.clone(),
        tier: domain.tier.clone(),
        owner: domain.owner.clone(),
        standing: standing(domain),
        lines: domain.expect.len(),
        verdict: judgement.as_ref().map(|judgement| judgement.expected),
        reason: judgement.as_ref().map(|judgement| printable(&judgement.reason)),
        never: never(domain, &call).map(ToString::to_string),
        nearest: judgement.and_then(|_| nearest_line(domain, &call)).map(|line| tried(line, &call, redaction)),
        break_glass: leaves(domain, &call, inventory).iter().map(leave).collect(),
    })
}

/// What is peculiar about the keys of a domain.
pub(crate) fn standing(domain: &Domain) -> Vec<&'static str> {
    let standing = domain.standing;
    let flags = [("attested", standing.attested), ("decoy", standing.decoy), ("retired", standing.retired)];
    flags.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect()
}

fn tried(line: &Expect, call: &Call<'_>, redaction: Redaction) -> Line {
    let part = |part: Part| {
        let of_context = part.kind == PartKind::Context;
        let shown = |text: &String| {
            let path = if of_context { "requestParameters.encryptionContext" } else { "" };
            printable(&redaction.field(path, text))
        };
        PartTried {
            part: part.kind.as_str(),
            given: part.given.as_ref().map(shown),
            entry: part.entry,
            wanted: part.wanted,
            met: part.met,
        }
    };
    Line { line: line.line, parts: parts_of(line, call).into_iter().map(part).collect() }
}
