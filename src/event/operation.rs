//! The KMS operations: 54 of the API and 4 that KMS itself writes, each with its class.
//!
//! Source: API model 2014-11-01 and the CloudTrail samples of the developer guide (aws-facts 3).

/// What an operation is for, and so what its misuse does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Uses the key on data: Decrypt, Sign, ...
    Cryptographic,
    /// Destroys a key or its material, or takes that back.
    Destruction,
    /// Switches a key off or on.
    Availability,
    /// Changes who may use a key.
    Policy,
    /// Gives or takes use of a key by grant.
    Grants,
    /// Brings key material from outside.
    Import,
    /// Custom key stores.
    Keystore,
    /// Multi-Region replicas.
    Replication,
    /// Names of keys.
    Alias,
    /// Tags, which policies may read.
    Tag,
    /// Rotation of key material.
    Rotation,
    /// Makes or describes a key.
    Creation,
    /// Looks around.
    Enumeration,
    /// Not in the table: newer than this kmswatch.
    Unknown,
}

impl Class {
    /// As rules read it under `kms.class`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cryptographic => "cryptographic",
            Self::Destruction => "destruction",
            Self::Availability => "availability",
            Self::Policy => "policy",
            Self::Grants => "grants",
            Self::Import => "import",
            Self::Keystore => "keystore",
            Self::Replication => "replication",
            Self::Alias => "alias",
            Self::Tag => "tag",
            Self::Rotation => "rotation",
            Self::Creation => "creation",
            Self::Enumeration => "enumeration",
            Self::Unknown => "unknown",
        }
    }
}

/// Who writes an operation's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A caller of the API.
    Api,
    /// KMS itself, as a service event.
    Service,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// `eventName`.
    pub name: &'static str,
    /// What it is for.
    pub class: Class,
    /// Who writes it.
    pub origin: Origin,
}

const fn api(name: &'static str, class: Class) -> Operation {
    Operation { name, class, origin: Origin::Api }
}

const fn service(name: &'static str, class: Class) -> Operation {
    Operation { name, class, origin: Origin::Service }
}

/// All operations, sorted by name.
pub const OPERATIONS: &[Operation] = &[
    api("CancelKeyDeletion", Class::Destruction),
    api("ConnectCustomKeyStore", Class::Keystore),
    api("CreateAlias", Class::Alias),
    api("CreateCustomKeyStore", Class::Keystore),
    api("CreateGrant", Class::Grants),
    api("CreateKey", Class::Creation),
    api("Decrypt", Class::Cryptographic),
    api("DeleteAlias", Class::Alias),
    api("DeleteCustomKeyStore", Class::Keystore),
    service("DeleteExpiredKeyMaterial", Class::Destruction),
    api("DeleteImportedKeyMaterial", Class::Destruction),
    service("DeleteKey", Class::Destruction),
    api("DeriveSharedSecret", Class::Cryptographic),
    api("DescribeCustomKeyStores", Class::Keystore),
    api("DescribeKey", Class::Enumeration),
    api("DisableKey", Class::Availability),
    api("DisableKeyRotation", Class::Rotation),
    api("DisconnectCustomKeyStore", Class::Keystore),
    api("EnableKey", Class::Availability),
    api("EnableKeyRotation", Class::Rotation),
    api("Encrypt", Class::Cryptographic),
    api("GenerateDataKey", Class::Cryptographic),
    api("GenerateDataKeyPair", Class::Cryptographic),
    api("GenerateDataKeyPairWithoutPlaintext", Class::Cryptographic),
    api("GenerateDataKeyWithoutPlaintext", Class::Cryptographic),
    api("GenerateMac", Class::Cryptographic),
    api("GenerateRandom", Class::Cryptographic),
    api("GetKeyLastUsage", Class::Enumeration),
    api("GetKeyPolicy", Class::Enumeration),
    api("GetKeyRotationStatus", Class::Enumeration),
    api("GetParametersForImport", Class::Import),
    api("GetPublicKey", Class::Enumeration),
    api("ImportKeyMaterial", Class::Import),
    api("ListAliases", Class::Enumeration),
    api("ListGrants", Class::Enumeration),
    api("ListKeyPolicies", Class::Enumeration),
    api("ListKeyRotations", Class::Enumeration),
    api("ListKeys", Class::Enumeration),
    api("ListResourceTags", Class::Enumeration),
    api("ListRetirableGrants", Class::Enumeration),
    api("PutKeyPolicy", Class::Policy),
    api("ReEncrypt", Class::Cryptographic),
    api("ReplicateKey", Class::Replication),
    api("RetireGrant", Class::Grants),
    api("RevokeGrant", Class::Grants),
    service("RotateKey", Class::Rotation),
    api("RotateKeyOnDemand", Class::Rotation),
    api("ScheduleKeyDeletion", Class::Destruction),
    api("Sign", Class::Cryptographic),
    service("SynchronizeMultiRegionKey", Class::Replication),
    api("TagResource", Class::Tag),
    api("UntagResource", Class::Tag),
    api("UpdateAlias", Class::Alias),
    api("UpdateCustomKeyStore", Class::Keystore),
    api("UpdateKeyDescription", Class::Creation),
    api("UpdatePrimaryRegion", Class::Replication),
    api("Verify", Class::Cryptographic),
    api("VerifyMac", Class::Cryptographic),
];

/// The class of an operation by its exact `eventName`.
#[must_use]
pub fn class_of(name: &str) -> Class {
    OPERATIONS
        .binary_search_by(|operation| operation.name.cmp(name))
        .ok()
        .and_then(|at| OPERATIONS.get(at))
        .map_or(Class::Unknown, |operation| operation.class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_whole() {
        assert!(OPERATIONS.is_sorted_by(|a, b| a.name < b.name));
        let of = |origin| OPERATIONS.iter().filter(|operation| operation.origin == origin).count();
        assert_eq!((of(Origin::Api), of(Origin::Service)), (54, 4));
        for operation in OPERATIONS {
            assert_eq!(class_of(operation.name), operation.class);
        }
        assert_eq!(class_of("EncryptEverything"), Class::Unknown);
    }
}
