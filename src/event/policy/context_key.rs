//! The condition keys that a key policy can use, and which of them say who calls.
//!
//! Source: "conditions-kms" of the developer guide for `kms:` (aws-facts 7) and the table of global
//! keys of the IAM guide for `aws:`. A key that is not here is named wherever it counts.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use super::text::bounded;

/// What the value of a key has to say to bound who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// It says nothing of who calls.
    Nobody,
    /// An account.
    Account,
    /// The ARN of somebody or something of an account.
    Arn,
    /// An organisation's id.
    Organisation,
    /// A path that begins with an organisation's id.
    OrganisationPath,
    /// A unique id, with the session after a colon.
    UniqueId,
    /// A network that only its owner can use.
    Network,
    /// True where an AWS service itself calls.
    ServiceItself,
}

/// All keys that have a fixed name.
const KEYS: &[(&str, Bounds)] = &[
    ("kms:BypassPolicyLockoutSafetyCheck", Bounds::Nobody),
    ("kms:CallerAccount", Bounds::Account),
    ("kms:CustomerMasterKeySpec", Bounds::Nobody),
    ("kms:CustomerMasterKeyUsage", Bounds::Nobody),
    ("kms:DataKeyPairSpec", Bounds::Nobody),
    ("kms:EncryptionAlgorithm", Bounds::Nobody),
    ("kms:EncryptionContextKeys", Bounds::Nobody),
    ("kms:ExpirationModel", Bounds::Nobody),
    ("kms:GrantConstraintSourceArn", Bounds::Nobody),
    ("kms:GrantConstraintType", Bounds::Nobody),
    ("kms:GrantIsForAWSResource", Bounds::Nobody),
    ("kms:GrantOperations", Bounds::Nobody),
    ("kms:GranteePrincipal", Bounds::Nobody),
    ("kms:GranteeServicePrincipal", Bounds::Nobody),
    ("kms:KeyAgreementAlgorithm", Bounds::Nobody),
    ("kms:KeyOrigin", Bounds::Nobody),
    ("kms:KeySpec", Bounds::Nobody),
    ("kms:KeyUsage", Bounds::Nobody),
    ("kms:MacAlgorithm", Bounds::Nobody),
    ("kms:MessageType", Bounds::Nobody),
    ("kms:MultiRegion", Bounds::Nobody),
    ("kms:MultiRegionKeyType", Bounds::Nobody),
    ("kms:PrimaryRegion", Bounds::Nobody),
    ("kms:ReEncryptOnSameKey", Bounds::Nobody),
    ("kms:ReplicaRegion", Bounds::Nobody),
    ("kms:RequestAlias", Bounds::Nobody),
    ("kms:ResourceAliases", Bounds::Nobody),
    ("kms:RetiringPrincipal", Bounds::Nobody),
    ("kms:RetiringServicePrincipal", Bounds::Nobody),
    ("kms:RotationPeriodInDays", Bounds::Nobody),
    ("kms:ScheduleKeyDeletionPendingWindowInDays", Bounds::Nobody),
    ("kms:SigningAlgorithm", Bounds::Nobody),
    ("kms:TrailingDaysWithoutKeyUsage", Bounds::Nobody),
    ("kms:ValidTo", Bounds::Nobody),
    ("kms:ViaService", Bounds::Nobody),
    ("kms:WrappingAlgorithm", Bounds::Nobody),
    ("kms:WrappingKeySpec", Bounds::Nobody),
    ("aws:AssumedRoot", Bounds::Nobody),
    ("aws:CalledVia", Bounds::Nobody),
    ("aws:CalledViaFirst", Bounds::Nobody),
    ("aws:CalledViaLast", Bounds::Nobody),
    ("aws:ChatbotSourceArn", Bounds::Nobody),
    ("aws:CurrentTime", Bounds::Nobody),
    ("aws:Ec2InstanceSourceVpc", Bounds::Network),
    ("aws:Ec2InstanceSourcePrivateIPv4", Bounds::Nobody),
    ("aws:EpochTime", Bounds::Nobody),
    ("aws:FederatedProvider", Bounds::Nobody),
    ("aws:MultiFactorAuthAge", Bounds::Nobody),
    ("aws:MultiFactorAuthPresent", Bounds::Nobody),
    ("aws:PrincipalAccount", Bounds::Account),
    ("aws:PrincipalArn", Bounds::Arn),
    ("aws:PrincipalIsAWSService", Bounds::ServiceItself),
    ("aws:PrincipalOrgID", Bounds::Organisation),
    ("aws:PrincipalOrgPaths", Bounds::OrganisationPath),
    ("aws:PrincipalServiceName", Bounds::Nobody),
    ("aws:PrincipalServiceNamesList", Bounds::Nobody),
    ("aws:PrincipalType", Bounds::Nobody),
    ("aws:referer", Bounds::Nobody),
    ("aws:RequestedRegion", Bounds::Nobody),
    ("aws:ResourceAccount", Bounds::Nobody),
    ("aws:ResourceOrgID", Bounds::Nobody),
    ("aws:ResourceOrgPaths", Bounds::Nobody),
    ("aws:SecureTransport", Bounds::Nobody),
    ("aws:SourceAccount", Bounds::Account),
    ("aws:SourceArn", Bounds::Arn),
    ("aws:SourceIdentity", Bounds::Nobody),
    ("aws:SourceIp", Bounds::Nobody),
    ("aws:SourceOrgID", Bounds::Organisation),
    ("aws:SourceOrgPaths", Bounds::OrganisationPath),
    ("aws:SourceVpc", Bounds::Network),
    ("aws:SourceVpcArn", Bounds::Arn),
    ("aws:SourceVpce", Bounds::Network),
    ("aws:TagKeys", Bounds::Nobody),
    ("aws:TokenIssueTime", Bounds::Nobody),
    ("aws:UserAgent", Bounds::Nobody),
    ("aws:userid", Bounds::UniqueId),
    ("aws:username", Bounds::Nobody),
    ("aws:ViaAWSService", Bounds::Nobody),
    ("aws:VpceAccount", Bounds::Account),
    ("aws:VpceOrgID", Bounds::Organisation),
    ("aws:VpceOrgPaths", Bounds::OrganisationPath),
    ("aws:VpcSourceIp", Bounds::Nobody),
];

/// Keys that go on with a name.
const PREFIXES: &[&str] = &[
    "kms:EncryptionContext:",
    "kms:RecipientAttestation:",
    "aws:PrincipalTag/",
    "aws:RequestTag/",
    "aws:ResourceTag/",
];

/// A condition key. Case does not count, as in IAM.
#[derive(Clone, Debug)]
pub struct ContextKey {
    lower: String,
    spelled: String,
}

impl ContextKey {
    /// Takes a key in any case.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let known = KEYS.iter().find(|(known, _)| known.eq_ignore_ascii_case(text)).map(|(known, _)| *known);
        let prefix = PREFIXES.iter().find(|prefix| lower.starts_with(&prefix.to_ascii_lowercase()));
        let spelled = match (known, prefix) {
            (Some(known), _) => known.to_owned(),
            (None, Some(prefix)) => format!("{prefix}{}", text.get(prefix.len()..).unwrap_or_default()),
            (None, None) => text.to_owned(),
        };
        Self { lower, spelled }
    }

    /// In lower case.
    #[must_use]
    pub fn lower(&self) -> &str {
        &self.lower
    }

    /// As the documents spell it, cut.
    #[must_use]
    pub fn in_words(&self) -> String {
        bounded(&self.spelled)
    }

    /// Whether it is in the catalogue.
    #[must_use]
    pub fn is_known(&self) -> bool {
        let named =
            |prefix: &str| self.lower.len() > prefix.len() && self.lower.starts_with(&prefix.to_ascii_lowercase());
        self.row().is_some() || PREFIXES.iter().any(|prefix| named(prefix))
    }

    /// What it says of who calls.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.row().map_or(Bounds::Nobody, |(_, bounds)| *bounds)
    }

    /// Whether its values are of the encryption context, which may name customers.
    #[must_use]
    pub fn is_encryption_context(&self) -> bool {
        self.lower.starts_with("kms:encryptioncontext:")
    }

    fn row(&self) -> Option<&'static (&'static str, Bounds)> {
        KEYS.iter().find(|(known, _)| known.eq_ignore_ascii_case(&self.lower))
    }
}

impl PartialEq for ContextKey {
    fn eq(&self, other: &Self) -> bool {
        self.lower == other.lower
    }
}

impl Eq for ContextKey {}

impl PartialOrd for ContextKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ContextKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.lower.cmp(&other.lower)
    }
}

impl Hash for ContextKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.lower.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_count_and_what_is_not_known_is_said() {
        let key = ContextKey::new("KMS:encryptioncontext:Purpose");
        assert_eq!((key.in_words().as_str(), key.is_known()), ("kms:EncryptionContext:Purpose", true));
        assert_eq!(ContextKey::new("AWS:PRINCIPALORGID"), ContextKey::new("aws:PrincipalOrgID"));
        for unknown in ["kms:EncryptionContext:", "kms:Frobnicate", "aws:PrincipalTag", "s3:prefix", ""] {
            assert!(!ContextKey::new(unknown).is_known(), "{unknown}");
        }
        assert_eq!(ContextKey::new("kms:calleraccount").bounds(), Bounds::Account);
    }
}
