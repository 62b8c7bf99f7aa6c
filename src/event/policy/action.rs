//! The KMS actions that a key policy can allow on its key, and sets of them.
//!
//! Actions are not quite the operations: ReEncrypt is two actions, one on each key, and replication
//! has one of its own. Operations that are on no key (CreateKey, ListKeys, custom key stores) are
//! for IAM policies alone and mean nothing in a key policy.
//!
//! Source: API model 2014-11-01 (aws-facts 2.4 and 3) and the service authorization reference.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::text::list;
use crate::event::glob::glob;
use crate::event::key::KeyRole;

/// What an action is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Uses the key on data.
    Use,
    /// Gives and takes grants.
    Grants,
    /// Changes the key or who may use it.
    Administration,
    /// Looks at the key.
    Reading,
}

/// One action on a key.
#[derive(Clone, Copy, Debug)]
pub struct Action {
    /// Name without `kms:`.
    pub name: &'static str,
    /// What it is for.
    pub group: Group,
    /// Whether a principal of another account can have it (aws-facts 2.4).
    pub cross_account: bool,
}

const fn across(name: &'static str, group: Group) -> Action {
    Action { name, group, cross_account: true }
}

const fn within(name: &'static str, group: Group) -> Action {
    Action { name, group, cross_account: false }
}

/// All actions on a key: what does most harm comes first, for lists that are cut.
pub const ACTIONS: &[Action] = &[
    across("Decrypt", Group::Use),
    across("CreateGrant", Group::Grants),
    within("PutKeyPolicy", Group::Administration),
    within("ScheduleKeyDeletion", Group::Administration),
    within("DeleteImportedKeyMaterial", Group::Administration),
    within("DisableKey", Group::Administration),
    within("ReplicateKey", Group::Administration),
    across("ReEncryptFrom", Group::Use),
    across("DeriveSharedSecret", Group::Use),
    across("Sign", Group::Use),
    across("GenerateMac", Group::Use),
    across("Encrypt", Group::Use),
    across("GenerateDataKey", Group::Use),
    across("GenerateDataKeyWithoutPlaintext", Group::Use),
    across("GenerateDataKeyPair", Group::Use),
    across("GenerateDataKeyPairWithoutPlaintext", Group::Use),
    across("ReEncryptTo", Group::Use),
    across("Verify", Group::Use),
    across("VerifyMac", Group::Use),
    across("RevokeGrant", Group::Grants),
    across("RetireGrant", Group::Grants),
    within("ImportKeyMaterial", Group::Administration),
    within("GetParametersForImport", Group::Administration),
    within("UpdatePrimaryRegion", Group::Administration),
    within("SynchronizeMultiRegionKey", Group::Administration),
    within("CancelKeyDeletion", Group::Administration),
    within("EnableKey", Group::Administration),
    within("UpdateAlias", Group::Administration),
    within("CreateAlias", Group::Administration),
    within("DeleteAlias", Group::Administration),
    within("TagResource", Group::Administration),
    within("UntagResource", Group::Administration),
    within("DisableKeyRotation", Group::Administration),
    within("EnableKeyRotation", Group::Administration),
    within("RotateKeyOnDemand", Group::Administration),
    within("UpdateKeyDescription", Group::Administration),
    across("DescribeKey", Group::Reading),
    within("GetKeyPolicy", Group::Reading),
    across("ListGrants", Group::Reading),
    within("ListKeyPolicies", Group::Reading),
    within("ListResourceTags", Group::Reading),
    across("GetKeyRotationStatus", Group::Reading),
    within("ListKeyRotations", Group::Reading),
    within("GetKeyLastUsage", Group::Reading),
    across("GetPublicKey", Group::Reading),
];

/// Operations that are on no key: a key policy cannot allow them.
pub const ON_NO_KEY: &[&str] = &[
    "ConnectCustomKeyStore",
    "CreateCustomKeyStore",
    "CreateKey",
    "DeleteCustomKeyStore",
    "DescribeCustomKeyStores",
    "DisconnectCustomKeyStore",
    "GenerateRandom",
    "ListAliases",
    "ListKeys",
    "ListRetirableGrants",
    "UpdateCustomKeyStore",
];

/// The action that KMS asks of the caller of an operation, for the part that the key plays in it.
#[must_use]
pub fn action_of(operation: &str, role: KeyRole) -> String {
    match (operation, role) {
        ("ReEncrypt", KeyRole::Destination) => "kms:ReEncryptTo".to_owned(),
        ("ReEncrypt", _) => "kms:ReEncryptFrom".to_owned(),
        (other, _) => format!("kms:{other}"),
    }
}

/// Whether a pattern of a policy fits an action, both with their `kms:`. Case does not count.
#[must_use]
pub fn action_fits(pattern: &str, action: &str) -> bool {
    glob(&pattern.to_ascii_lowercase(), &action.to_ascii_lowercase())
}

/// Whether the operation can be called from another account. One that is not in the table can, for
/// all that is known.
#[must_use]
pub fn is_cross_account(action: &str) -> bool {
    let name = without_service(action);
    ACTIONS.iter().find(|known| known.name.eq_ignore_ascii_case(name)).is_none_or(|known| known.cross_account)
}

fn without_service(action: &str) -> &str {
    match action.split_once(':') {
        Some((service, name)) if service.eq_ignore_ascii_case("kms") => name,
        _ => action,
    }
}

/// A set of actions on a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionSet {
    /// By position in [`ACTIONS`].
    known: u64,
    /// Actions that are yet to come are in it too.
    open_ended: bool,
    /// Patterns that fit nothing of the table, in lower case: newer than this kmswatch.
    others: BTreeSet<String>,
}

/// Names as patterns are matched: with their service, in lower case.
static LOWER: LazyLock<Vec<String>> = LazyLock::new(|| ACTIONS.iter().map(|action| lower(action.name)).collect());
static LOWER_ON_NO_KEY: LazyLock<Vec<String>> = LazyLock::new(|| ON_NO_KEY.iter().map(|name| lower(name)).collect());

fn lower(name: &str) -> String {
    format!("kms:{}", name.to_ascii_lowercase())
}

const ALL_KNOWN: u64 = (1 << ACTIONS.len()) - 1;

impl ActionSet {
    /// Every action, also those yet to come.
    #[must_use]
    pub fn all() -> Self {
        Self { known: ALL_KNOWN, open_ended: true, others: BTreeSet::new() }
    }

    /// What a list of patterns allows; those of other services mean nothing on a key.
    #[must_use]
    pub fn of_patterns<T: AsRef<str>>(patterns: &[T]) -> Self {
        let mut set = Self::default();
        for pattern in patterns {
            let pattern = pattern.as_ref().to_ascii_lowercase();
            if !pattern.starts_with(['k', '*', '?']) {
                continue;
            }
            let mut fitted = false;
            for (at, name) in LOWER.iter().enumerate() {
                if glob(&pattern, name) {
                    set.known |= 1 << at;
                    fitted = true;
                }
            }
            set.open_ended |= matches!(pattern.as_str(), "*" | "kms:*");
            if !fitted && pattern.starts_with("kms:") && !LOWER_ON_NO_KEY.iter().any(|name| glob(&pattern, name)) {
                set.others.insert(pattern);
            }
        }
        // What is yet to come is in it already.
        if set.open_ended {
            set.others.clear();
        }
        set
    }

    /// What a `NotAction` allows: everything else, also what is yet to come.
    #[must_use]
    pub fn all_but<T: AsRef<str>>(patterns: &[T]) -> Self {
        let without = Self::of_patterns(patterns);
        Self { known: ALL_KNOWN & !without.known, open_ended: !without.open_ended, others: BTreeSet::new() }
    }

    /// Whether an action of the table is in it.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        ACTIONS.iter().position(|action| action.name == name).is_some_and(|at| self.known & (1 << at) != 0)
    }

    /// Where the gravest of it stands in [`ACTIONS`]: less is graver.
    #[must_use]
    pub fn gravity(&self) -> u32 {
        self.known.trailing_zeros()
    }

    /// Nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known == 0 && self.others.is_empty()
    }

    /// Those of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let open_ended = self.open_ended || other.open_ended;
        let others = if open_ended { BTreeSet::new() } else { self.others.union(&other.others).cloned().collect() };
        Self { known: self.known | other.known, open_ended, others }
    }

    /// Those that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let kept = |one: &Self, two: &Self| -> BTreeSet<String> {
            one.others.iter().filter(|name| two.open_ended || two.others.contains(*name)).cloned().collect()
        };
        let others = kept(self, other).union(&kept(other, self)).cloned().collect();
        Self { known: self.known & other.known, open_ended: self.open_ended && other.open_ended, others }
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let others = match other.open_ended {
            true => BTreeSet::new(),
            false => self.others.difference(&other.others).cloned().collect(),
        };
        Self { known: self.known & !other.known, open_ended: self.open_ended && !other.open_ended, others }
    }

    /// Those that a principal of another account can have.
    #[must_use]
    pub fn cross_account(&self) -> Self {
        let across = ACTIONS.iter().enumerate().filter(|(_, action)| action.cross_account);
        let mask = across.fold(0, |mask, (at, _)| mask | 1 << at);
        Self { known: self.known & mask, ..self.clone() }
    }

    fn of_group(group: Group) -> u64 {
        let members = ACTIONS.iter().enumerate().filter(|(_, action)| action.group == group);
        members.fold(0, |mask, (at, _)| mask | 1 << at)
    }

    /// For a sentence: `every operation`, `administration`, `Decrypt, Encrypt and 3 more`. `most` is
    /// how many are named.
    #[must_use]
    pub fn in_words(&self, most: usize) -> String {
        if self.known == ALL_KNOWN {
            return "every operation".to_owned();
        }
        if self.known == across_all() {
            return "every operation that crosses accounts".to_owned();
        }
        let missing = names(ALL_KNOWN & !self.known);
        if missing.len() <= 4 {
            return format!("every operation but {}", list(&missing, 4));
        }
        let mut left = self.known;
        let mut parts = Vec::new();
        let uses = Self::of_group(Group::Use);
        if left & uses == uses {
            left &= !uses;
            parts.push("every use".to_owned());
        }
        if let Some(words) = administration(left) {
            left &= !Self::of_group(Group::Administration);
            parts.push(words);
        }
        let reading = Self::of_group(Group::Reading) & left;
        let all_reading = reading == Self::of_group(Group::Reading);
        if all_reading {
            left &= !reading;
        }
        parts.extend(names(left));
        if all_reading {
            parts.push("reading".to_owned());
        }
        parts.extend(self.others.iter().map(|name| super::text::bounded(name)));
        if parts.is_empty() && self.open_ended {
            return "operations yet to come".to_owned();
        }
        list(&parts, most)
    }
}

/// All that another account can have of every operation.
fn across_all() -> u64 {
    ActionSet::all().cross_account().known
}

/// Administration as a whole, or nearly so: the published policies for administrators leave a few out.
fn administration(known: u64) -> Option<String> {
    let whole = ActionSet::of_group(Group::Administration);
    let missing: Vec<&str> = (ACTIONS.iter().enumerate())
        .filter(|(at, _)| whole & !known & (1 << at) != 0)
        .map(|(_, action)| action.name)
        .collect();
    let has_policy = !missing.contains(&"PutKeyPolicy");
    match missing.as_slice() {
        [] => Some("administration".to_owned()),
        [one] if has_policy => Some(format!("administration (not {one})")),
        [one, rest @ ..] if has_policy && rest.len() < 7 => {
            Some(format!("administration (not {one} and {} more)", rest.len()))
        }
        _ => None,
    }
}

/// Names, with the families that policies write with a star.
fn names(known: u64) -> Vec<String> {
    let families: [(&str, &[&str]); 2] = [
        ("ReEncrypt*", &["ReEncryptFrom", "ReEncryptTo"]),
        (
            "GenerateDataKey*",
            &[
                "GenerateDataKey",
                "GenerateDataKeyWithoutPlaintext",
                "GenerateDataKeyPair",
                "GenerateDataKeyPairWithoutPlaintext",
            ],
        ),
    ];
    let here: Vec<&str> =
        (ACTIONS.iter().enumerate()).filter(|(at, _)| known & (1 << at) != 0).map(|(_, action)| action.name).collect();
    let whole = |members: &&[&str]| members.iter().all(|member| here.contains(member));
    let mut named = Vec::new();
    for name in &here {
        match families.iter().find(|(_, members)| members.contains(name) && whole(members)) {
            Some((star, members)) if members.first() == Some(name) => named.push((*star).to_owned()),
            Some(_) => {}
            None => named.push((*name).to_owned()),
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::operation::{OPERATIONS, Origin};

    #[test]
    fn every_operation_is_in_the_table_or_on_no_key() {
        for operation in OPERATIONS.iter().filter(|operation| operation.origin == Origin::Api) {
            let known = ACTIONS.iter().any(|action| action.name == operation.name);
            let elsewhere = ON_NO_KEY.contains(&operation.name);
            assert!(known != elsewhere || operation.name == "ReEncrypt", "{}", operation.name);
        }
        assert_eq!(ACTIONS.len() + ON_NO_KEY.len(), 54 - 1 + 3);
        assert_eq!(action_of("ReEncrypt", KeyRole::Destination), "kms:ReEncryptTo");
    }

    #[test]
    fn words() {
        let words = |patterns: &[&str]| ActionSet::of_patterns(patterns).in_words(5);
        assert_eq!(words(&["kms:*"]), "every operation");
        assert_eq!(words(&["*"]), "every operation");
        assert_eq!(
            words(&["KMS:decrypt", "kms:Encrypt", "kms:GenerateDataKey*"]),
            "Decrypt, Encrypt and GenerateDataKey*"
        );
        assert_eq!(words(&["kms:ReEncrypt*", "s3:*", "kms:ListKeys"]), "ReEncrypt*");
        assert_eq!(words(&["kms:Frobnicate"]), "kms:frobnicate");
        // The developer guide's statement for key administrators.
        let administrators = [
            "kms:Create*",
            "kms:Describe*",
            "kms:Enable*",
            "kms:List*",
            "kms:Put*",
            "kms:Update*",
            "kms:Revoke*",
            "kms:Disable*",
            "kms:Get*",
            "kms:Delete*",
            "kms:TagResource",
            "kms:UntagResource",
            "kms:ScheduleKeyDeletion",
            "kms:CancelKeyDeletion",
            "kms:RotateKeyOnDemand",
        ];
        assert_eq!(
            words(&administrators),
            "administration (not ReplicateKey and 2 more), CreateGrant, RevokeGrant and reading"
        );
        assert_eq!(
            ActionSet::all_but(&["kms:PutKeyPolicy", "kms:ReEncrypt*"]).in_words(5),
            "every operation but PutKeyPolicy and ReEncrypt*"
        );
        assert_eq!(ActionSet::all_but(&["kms:*"]), ActionSet::default());
        assert!(ActionSet::all_but(&["kms:PutKeyPolicy"]).has("Decrypt"));
        assert_eq!(ActionSet::all().cross_account().in_words(5), "every operation that crosses accounts");
    }

    #[test]
    fn sets() {
        let all = ActionSet::all();
        let new = ActionSet::of_patterns(&["kms:Frobnicate", "kms:Decrypt"]);
        assert!(new.minus(&all).is_empty() && !new.is_empty());
        assert_eq!(all.intersection(&new), new);
        assert_eq!(all.minus(&new).union(&new).in_words(9), "every operation");
        assert!(!ActionSet::of_patterns(&["kms:Disable?ey"]).has("EnableKey"));
    }
}
