//! The names of fields, so that a misspelt one is an error and not a rule that never fires.
//!
//! Sources: the record reference (aws-facts 2) and the API model of KMS (aws-facts 3). Below
//! `requestParameters` and `responseElements` only calls to KMS are known by name; those of other
//! services may hold anything.

use super::diagnostic::nearest;
use crate::event::field::{core, derived};

/// Fields of a record beside those that every decode extracts.
const RECORD: &[&str] = &[
    "eventVersion",
    "requestID",
    "apiVersion",
    "readOnly",
    "managementEvent",
    "eventCategory",
    "resources",
    "resources.type",
    "addendum.reason",
    "addendum.updatedFields",
    "addendum.originalRequestID",
    "addendum.originalEventID",
    "sessionCredentialFromConsole",
    "vpcEndpointAccountId",
    "edgeDeviceDetails",
    "tlsDetails.tlsVersion",
    "tlsDetails.cipherSuite",
    "tlsDetails.clientProvidedHostHeader",
    "tlsDetails.keyExchange",
    "userIdentity.accessKeyId",
    "userIdentity.credentialId",
    "userIdentity.invokedByDelegate.accountId",
    "userIdentity.sessionContext.sessionIssuer.type",
    "userIdentity.sessionContext.sessionIssuer.principalId",
    "userIdentity.sessionContext.attributes.mfaAuthenticated",
    "userIdentity.sessionContext.attributes.creationDate",
    "userIdentity.sessionContext.webIdFederationData.federatedProvider",
    "userIdentity.sessionContext.ec2RoleDelivery",
    "userIdentity.sessionContext.assumedRoot",
    "userIdentity.inScopeOf.sourceArn",
    "userIdentity.inScopeOf.sourceAccount",
    "userIdentity.inScopeOf.issuerType",
    "userIdentity.inScopeOf.credentialsIssuedTo",
    "requestParameters",
    "responseElements",
    "additionalEventData",
    "serviceEventDetails",
];

/// First names below `requestParameters` of KMS calls.
const KMS_REQUEST: &[&str] = &[
    "keyId",
    "sourceKeyId",
    "destinationKeyId",
    "targetKeyId",
    "aliasName",
    "encryptionContext",
    "sourceEncryptionContext",
    "destinationEncryptionContext",
    "encryptionAlgorithm",
    "sourceEncryptionAlgorithm",
    "destinationEncryptionAlgorithm",
    "grantTokens",
    "dryRun",
    "dryRunModifiers",
    "recipient",
    "keySpec",
    "numberOfBytes",
    "keyPairSpec",
    "signingAlgorithm",
    "messageType",
    "macAlgorithm",
    "keyAgreementAlgorithm",
    "granteePrincipal",
    "retiringPrincipal",
    "granteeServicePrincipal",
    "retiringServicePrincipal",
    "operations",
    "constraints",
    "name",
    "grantId",
    "grantToken",
    "policyName",
    "policy",
    "bypassPolicyLockoutSafetyCheck",
    "description",
    "keyUsage",
    "customerMasterKeySpec",
    "origin",
    "customKeyStoreId",
    "customKeyStoreName",
    "tags",
    "tagKeys",
    "multiRegion",
    "xksKeyId",
    "pendingWindowInDays",
    "rotationPeriodInDays",
    "importTokenId",
    "validTo",
    "expirationModel",
    "importType",
    "keyMaterialId",
    "keyMaterialDescription",
    "wrappingAlgorithm",
    "wrappingKeySpec",
    "replicaRegion",
    "primaryRegion",
    "newCustomKeyStoreName",
    "cloudHsmClusterId",
    "xksProxyUriEndpoint",
    "xksProxyUriPath",
    "xksProxyVpcEndpointServiceName",
    "xksProxyVpcEndpointServiceOwner",
    "xksProxyConnectivity",
    "trustAnchorCertificate",
    "customKeyStoreType",
    "limit",
    "marker",
    "includeKeyMaterial",
];

/// First names below `responseElements` of KMS calls.
const KMS_RESPONSE: &[&str] = &[
    "keyId",
    "keyMetadata",
    "grantId",
    "aliasArn",
    "deletionDate",
    "keyState",
    "pendingWindowInDays",
    "customKeyStoreId",
    "replicaKeyMetadata",
    "replicaPolicy",
    "replicaTags",
    "keyMaterialId",
];

/// Why a path is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The nearest name that is known.
    pub nearest: Option<String>,
}

/// Whether a record can have the field. `only_kms`: the rule reads records of KMS alone.
///
/// # Errors
/// When it cannot, with the nearest name that it can.
pub fn check(path: &str, only_kms: bool) -> Result<(), Unknown> {
    let fixed = || core::ALL.iter().chain(derived::ALL).map(|(path, _)| *path).chain(RECORD.iter().copied());
    // An object as a whole, as in `userIdentity.sessionContext|exists`, is as good as what is in it.
    let is_or_holds =
        |known: &str| known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if !path.is_empty() && fixed().any(is_or_holds) {
        return Ok(());
    }
    let below = |parent: &str| path.strip_prefix(parent).and_then(|rest| rest.strip_prefix('.'));
    for (parent, names) in [("requestParameters", KMS_REQUEST), ("responseElements", KMS_RESPONSE)] {
        let Some(rest) = below(parent) else { continue };
        let first = rest.split(['.', '[']).next().unwrap_or_default();
        if !only_kms || names.contains(&first) {
            return Ok(());
        }
        let near =
            nearest(first, names.iter().copied()).map(|name| format!("{parent}.{}", rest.replacen(first, name, 1)));
        return Err(Unknown { nearest: near });
    }
    if ["additionalEventData", "serviceEventDetails", "insightDetails", "eventContext"]
        .iter()
        .any(|parent| below(parent).is_some())
    {
        return Ok(());
    }
    // Written without its parent, as in `keyId`, is as common as misspelt.
    let whole = nearest(path, fixed()).map(str::to_owned);
    let suffix = || fixed().find(|known| known.rsplit('.').next() == Some(path)).map(str::to_owned);
    let request = || KMS_REQUEST.contains(&path).then(|| format!("requestParameters.{path}"));
    Err(Unknown { nearest: whole.or_else(request).or_else(suffix) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_misspelt_and_orphaned() {
        for known in [
            "eventName",
            "kms.principal",
            "requestParameters.encryptionContext.aws:s3:arn",
            "additionalEventData.x.y",
            "userIdentity.sessionContext",
            "userIdentity.sessionContext.attributes.mfaAuthenticated",
        ] {
            assert_eq!(check(known, true), Ok(()), "{known}");
        }
        for (typo, near) in [
            ("eventNme", "eventName"),
            ("requestParameters.keyID", "requestParameters.keyId"),
            ("kms.principle", "kms.principal"),
            ("keyId", "requestParameters.keyId"),
            ("userIdentity.Type", "userIdentity.type"),
        ] {
            assert_eq!(check(typo, true).unwrap_err().nearest.as_deref(), Some(near), "{typo}");
        }
        assert_eq!(check("requestParameters.trailName", false), Ok(()));
        assert_eq!(check("somethingElse", false).unwrap_err().nearest, None);
    }
}
