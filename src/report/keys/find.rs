//! Finds the key that a person means.

use super::Sources;
use crate::event::key::arn_parts;
use crate::rule::diagnostic::nearest;

/// What a name came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// One key, by ARN.
    One(String),
    /// Several, which the person must choose from.
    Several(Vec<String>),
    /// None; names that are near.
    Nothing(Vec<String>),
}

/// Near names told.
const MAX_NEAR: usize = 5;

/// The key meant by an ARN, an id, an alias, or an alias's ARN.
#[must_use]
pub fn find(sources: &Sources<'_>, name: &str) -> Meant {
    let arns = sources.arns();
    let alias_parts = arn_parts(name).filter(|parts| parts.resource.starts_with("alias/"));
    let is_meant = |arn: &&String| {
        if arn.as_str() == name {
            return true;
        }
        let Some(parts) = arn_parts(arn) else { return false };
        if let Some(alias) = alias_parts {
            let same_place = (alias.region, alias.account) == (parts.region, parts.account);
            return same_place && sources.aliases(arn).iter().any(|known| known == alias.resource);
        }
        let is_alias = |known: &String| known == name || known.strip_prefix("alias/") == Some(name);
        parts.resource.strip_prefix("key/") == Some(name) || sources.aliases(arn).iter().any(is_alias)
    };
    let mut meant: Vec<String> = arns.iter().filter(is_meant).cloned().collect();
    match (meant.len(), meant.pop()) {
        (1, Some(arn)) => Meant::One(arn),
        (0, _) | (_, None) => Meant::Nothing(near(sources, &arns, name)),
        (_, Some(last)) => {
            meant.push(last);
            Meant::Several(meant)
        }
    }
}

fn near(sources: &Sources<'_>, arns: &[String], name: &str) -> Vec<String> {
    let aliases: Vec<String> = arns.iter().flat_map(|arn| sources.aliases(arn)).collect();
    let ids = arns.iter().filter_map(|arn| arn.rsplit('/').next());
    let names: Vec<&str> =
        aliases.iter().map(String::as_str).chain(ids).chain(arns.iter().map(String::as_str)).collect();
    let wanted = name.trim_start_matches("alias/").to_lowercase();
    let with_prefix = format!("alias/{wanted}");
    let spelled = nearest(name, names.iter().copied()).or_else(|| nearest(&with_prefix, names.iter().copied()));
    let within = names.iter().copied().filter(|known| wanted.len() >= 3 && known.to_lowercase().contains(&wanted));
    let mut found: Vec<String> = Vec::new();
    for known in spelled.into_iter().chain(within) {
        if !found.iter().any(|other| other == known) {
            found.push(known.to_owned());
        }
    }
    found.truncate(MAX_NEAR);
    found
}
