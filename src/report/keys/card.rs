//! A key's card as text.

use std::fmt::Write as _;

use super::{Card, GrantShown, Lifecycle};
use crate::time::EventTime;

/// One screen, more for a busy key.
#[must_use]
pub fn render(card: &Card) -> String {
    let mut out = format!("{}\n", card.name);
    head(&mut out, card);
    policy(&mut out, card);
    grants(&mut out, card);
    users(&mut out, card);
    incidents(&mut out, card);
    out
}

fn head(out: &mut String, card: &Card) {
    let mut line = |name: &str, text: &str| {
        if !text.is_empty() {
            let _ = writeln!(out, "  {name:<9} {text}");
        }
    };
    line("arn", &card.arn);
    line("aliases", &card.aliases.join(", "));
    line("replicas", &card.siblings.join(", "));
    match &card.domain {
        None => line("domain", "none of the inventory"),
        Some(domain) => {
            let tier = domain.tier.iter().map(|tier| format!("tier {tier}"));
            let owner = domain.owner.iter().map(|owner| format!("owner {owner}"));
            let standing = domain.standing.iter().map(|standing| (*standing).to_owned());
            let parts: Vec<_> = std::iter::once(domain.name.clone()).chain(tier).chain(owner).chain(standing).collect();
            line("domain", &parts.join(", "));
        }
    }
    let about = &card.about;
    let origin = about.origin.as_ref().map(|origin| match origin.as_str() {
        "EXTERNAL" => "imported material".to_owned(),
        other => format!("material of {other}"),
    });
    let made = about.created.map(|created| format!("made {created}"));
    let manager = about.manager.as_ref().filter(|manager| *manager == "AWS").map(|_| "managed by AWS".to_owned());
    let parts = [about.spec.clone(), about.usage.clone(), origin, manager, made];
    line("key", &parts.into_iter().flatten().collect::<Vec<_>>().join(", "));
    line("about", about.description.as_deref().unwrap_or_default());
    line("state", &card.state.as_ref().map_or_else(|| "not told of".to_owned(), state));
    line("rotation", card.rotation.as_deref().unwrap_or_default());
    line("tags", &about.tags.join(", "));
    let snapshot = about.snapshot.map(|time| format!("; KMS itself was asked {time}")).unwrap_or_default();
    line("as of", &format!("{}{snapshot}", card.as_of));
}

fn state(state: &Lifecycle) -> String {
    let since = state.since.map(|since| format!(" since {since}")).unwrap_or_default();
    let deletion = match (state.deletion, state.days_left) {
        (Some(deletion), Some(days)) if days < 0 => format!(", to be deleted {deletion}, which is past"),
        (Some(deletion), Some(days)) => format!(", to be deleted {deletion}: {days} days left"),
        _ => String::new(),
    };
    format!("{}{since}{deletion}", state.name)
}

fn by_and_when(by: Option<&String>, at: Option<EventTime>) -> String {
    let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
    let at = at.map(|at| format!(" {at}")).unwrap_or_default();
    format!("{by}{at}")
}

fn policy(out: &mut String, card: &Card) {
    let Some(policy) = &card.policy else {
        out.push_str("\nPOLICY  not told of\n");
        return;
    };
    let verb = if policy.put_by.is_some() { "put" } else { "as KMS gave it" };
    let _ = writeln!(out, "\nPOLICY  {verb}{}", by_and_when(policy.put_by.as_ref(), policy.put_at));
    for line in &policy.in_words {
        let _ = writeln!(out, "  {line}");
    }
}

fn grants(out: &mut String, card: &Card) {
    let grants = &card.grants;
    let live = grants.live.len() + grants.not_shown;
    let _ = writeln!(out, "\nGRANTS  {live} live, {} ended", grants.ended);
    grants.live.iter().for_each(|grant| one_grant(out, grant));
    if grants.not_shown > 0 {
        let _ = writeln!(out, "  and {} more; --format json lists as many", grants.not_shown);
    }
}

fn one_grant(out: &mut String, grant: &GrantShown) {
    let external = if grant.external == Some(true) { "  OTHER ACCOUNT" } else { "" };
    let _ = writeln!(out, "  {}: {}{external}", grant.grantee, grant.operations.join(", "));
    let made = by_and_when(grant.made_by.as_ref(), grant.made_at);
    let made = if made.is_empty() { String::new() } else { format!(", made{made}") };
    let retiring = grant.retiring.as_ref().map(|who| format!(", may be retired by {who}")).unwrap_or_default();
    let name = grant.name.as_ref().map(|name| format!(" '{name}'")).unwrap_or_default();
    let _ = writeln!(out, "    grant {}{name}{made}{retiring}", grant.id);
    if !grant.constraints.is_empty() {
        let _ = writeln!(out, "    only if {}", grant.constraints.join(" and "));
    }
}

fn users(out: &mut String, card: &Card) {
    let _ = writeln!(out, "\nUSERS  {} seen", card.users.len());
    for user in &card.users {
        let calls = match user.calls {
            Some(1) => ", 1 call".to_owned(),
            Some(calls) => format!(", {calls} calls"),
            None => String::new(),
        };
        let _ = writeln!(out, "  {:<12}  {}", user.standing.as_str(), user.principal);
        let _ = writeln!(out, "  {:<12}  {} to {}{calls}: {}", "", user.first, user.last, user.operations.join(", "));
        let only_some = user.unexpected_operations.len() < user.operations.len();
        if only_some && !user.unexpected_operations.is_empty() {
            let _ = writeln!(out, "  {:<12}  not expected for {}", "", user.unexpected_operations.join(", "));
        }
    }
    if card.expected.is_empty() {
        return;
    }
    out.push_str("\nEXPECTED USERS  by the inventory\n");
    for line in &card.expected {
        let seen = if line.seen { "seen" } else { "NEVER SEEN" };
        let _ = writeln!(out, "  {seen:<12}  {} (line {})", line.in_words, line.line);
    }
}

fn incidents(out: &mut String, card: &Card) {
    let _ = writeln!(out, "\nINCIDENTS  {}", if card.incidents.is_empty() { "none known" } else { "the last" });
    for incident in &card.incidents {
        let _ = writeln!(out, "  {}  {}  {}", incident.time, incident.title, incident.id);
    }
}
