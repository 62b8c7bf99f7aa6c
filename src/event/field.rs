//! Fields: their names, their slots in a record, and the projection that says which are read.
//!
//! Every field that a rule or the enrichment reads has a [`FieldId`], an index into the slots of
//! [`Fields`]. The first ids are fixed constants ([`core`] of a CloudTrail record, [`derived`] by
//! kmswatch); the rest are given out by [`ProjectionBuilder`] as rules are compiled. Reading a
//! record that way costs what the rules need and nothing for the rest of its bytes.
//!
//! Must not know: rules, windows, keys.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// The index of a field in [`Fields`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldId(u32);

impl FieldId {
    const fn new(index: u32) -> Self {
        Self(index)
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

macro_rules! fixed_fields {
    (@consts $index:expr;) => {};
    (@consts $index:expr; $name:ident = $path:literal, $doc:literal; $($rest:tt)*) => {
        #[doc = concat!("`", $path, "`: ", $doc, ".")]
        pub const $name: FieldId = FieldId::new($index);
        fixed_fields!(@consts $index + 1; $($rest)*);
    };
    ($module:ident, $first:expr, $doc_module:literal; $($name:ident = $path:literal, $doc:literal;)*) => {
        #[doc = $doc_module]
        pub mod $module {
            use super::FieldId;
            fixed_fields!(@consts $first; $($name = $path, $doc;)*);
            /// Path and meaning of each, in the order of their ids.
            pub const ALL: &[(&str, &str)] = &[$(($path, $doc)),*];
            /// Id and path of each.
            pub fn each() -> impl Iterator<Item = (FieldId, &'static str)> {
                ($first..).zip(ALL).map(|(index, (path, _))| (FieldId::new(index), *path))
            }
        }
    };
}

fixed_fields! { core, 0, "The fields of a CloudTrail record that every decode extracts (record contents: aws-facts 2).";
    EVENT_ID = "eventID", "GUID of the record";
    EVENT_TIME = "eventTime", "when the call completed, one second of resolution";
    EVENT_SOURCE = "eventSource", "the service called, like kms.amazonaws.com";
    EVENT_NAME = "eventName", "the operation called";
    EVENT_TYPE = "eventType", "AwsApiCall, AwsServiceEvent, AwsVpceEvent";
    AWS_REGION = "awsRegion", "the Region called";
    RECIPIENT_ACCOUNT = "recipientAccountId", "the account whose trail holds the record";
    SHARED_EVENT_ID = "sharedEventID", "the same for the copies in the caller's and the owner's account";
    ERROR_CODE = "errorCode", "absent on success";
    ERROR_MESSAGE = "errorMessage", "absent on success";
    SOURCE_IP = "sourceIPAddress", "an address, a service name, or AWS Internal";
    USER_AGENT = "userAgent", "client, or the service that forwarded the call";
    VPC_ENDPOINT = "vpcEndpointId", "the VPC endpoint the call came through";
    ORIGINAL_EVENT_ID = "addendum.originalEventID", "the event that a supplement is of";
    ISSUED_TO = "userIdentity.inScopeOf.credentialsIssuedTo", "the resource, like a function, whose credentials the call was made with";
    IDENTITY_TYPE = "userIdentity.type", "kind of caller, absent on service events";
    IDENTITY_ARN = "userIdentity.arn", "ARN of the caller";
    IDENTITY_ACCOUNT = "userIdentity.accountId", "account of the caller";
    IDENTITY_PRINCIPAL_ID = "userIdentity.principalId", "unique id of the caller";
    IDENTITY_USER_NAME = "userIdentity.userName", "name of the caller";
    IDENTITY_INVOKED_BY = "userIdentity.invokedBy", "the AWS service that made the call for the caller";
    IDENTITY_PROVIDER = "userIdentity.identityProvider", "of SAML and web identity callers";
    ISSUER_ARN = "userIdentity.sessionContext.sessionIssuer.arn", "the role behind a session, with its path";
    ISSUER_ACCOUNT = "userIdentity.sessionContext.sessionIssuer.accountId", "account of the role";
    ISSUER_NAME = "userIdentity.sessionContext.sessionIssuer.userName", "name of the role";
    SOURCE_IDENTITY = "userIdentity.sessionContext.sourceIdentity", "the human, sticky over role chaining";
    ON_BEHALF_USER = "userIdentity.onBehalfOf.userId", "Identity Center user";
    ON_BEHALF_STORE = "userIdentity.onBehalfOf.identityStoreArn", "Identity Center store";
    RESOURCE_ARN = "resources.ARN", "ARNs touched, in order";
    RESOURCE_ARN_LOWER = "resources.arn", "the same in the spelling of some exports";
    RESOURCE_ACCOUNT = "resources.accountId", "owners of the resources, in order";
    RESPONSE_KEY_ID = "responseElements.keyId", "key ARN that KMS writes on management calls";
    REQUEST_KEY_ID = "requestParameters.keyId", "key id, ARN or alias as the caller typed it";
    REQUEST_SOURCE_KEY_ID = "requestParameters.sourceKeyId", "ReEncrypt's source";
    REQUEST_DESTINATION_KEY_ID = "requestParameters.destinationKeyId", "ReEncrypt's destination";
    REQUEST_TARGET_KEY_ID = "requestParameters.targetKeyId", "the key an alias is put on";
    REQUEST_ALIAS_NAME = "requestParameters.aliasName", "the alias being made, moved or deleted";
    SERVICE_EVENT_KEY_ID = "serviceEventDetails.keyId", "key of a service event";
    ENCRYPTION_CONTEXT = "requestParameters.encryptionContext", "plaintext name-value pairs bound to the ciphertext";
    GRANTEE = "requestParameters.granteePrincipal", "who a grant is for";
    CREATED_KEY_ARN = "responseElements.keyMetadata.arn", "ARN of a key just created";
    EVENT_SELECTORS = "requestParameters.eventSelectors", "basic selectors of PutEventSelectors";
    ADVANCED_EVENT_SELECTORS = "requestParameters.advancedEventSelectors", "advanced selectors of PutEventSelectors";
    POLICY = "requestParameters.policy", "a key policy, JSON in a string";
    VALID_TO = "requestParameters.validTo", "when imported key material expires, as locale text";
    GRANTEE_SERVICE = "requestParameters.granteeServicePrincipal", "the AWS service that a grant is for";
    GRANT_OPERATIONS = "requestParameters.operations", "what a grant allows";
    REPLICA_REGION = "requestParameters.replicaRegion", "where a key is replicated to";
    PRIMARY_REGION = "requestParameters.primaryRegion", "which Region becomes the primary";
    ATTESTATION = "additionalEventData.recipient", "attestation document of a Nitro enclave";
    S3_KMS_KEY = "requestParameters.x-amz-server-side-encryption-aws-kms-key-id", "the key that S3 is asked to encrypt under";
    S3_DEFAULT_KEY = "requestParameters.ServerSideEncryptionConfiguration.Rule.ApplyServerSideEncryptionByDefault.KMSMasterKeyID", "the key that a bucket is set to encrypt under";
    OTHER_KMS_KEY = "requestParameters.kmsKeyId", "the key that EC2, RDS and others are asked to encrypt under";
    REQUEST_NAME = "requestParameters.name", "name of a trail, event rule, bus or grant";
    TRAIL_NAME = "requestParameters.trailName", "trail whose selectors are set";
    EVENT_RULE = "requestParameters.rule", "event rule whose targets are set";
    EVENT_BUS = "requestParameters.eventBusName", "event bus, default without it";
    QUEUE_URL = "requestParameters.queueUrl", "queue called";
    TOPIC_ARN = "requestParameters.topicArn", "topic called";
    SUBSCRIPTION_ARN = "requestParameters.subscriptionArn", "subscription called";
    BUCKET_NAME = "requestParameters.bucketName", "bucket called";
    TABLE_NAME = "requestParameters.tableName", "table called, by name or ARN";
    LOG_GROUP = "requestParameters.logGroupName", "log group called";
    FUNCTION_NAME = "requestParameters.functionName", "function called, by name or ARN";
    EBS_DEFAULT_KEY = "requestParameters.ModifyEbsDefaultKmsKeyIdRequest.KmsKeyId", "the key that EBS is set to encrypt under";
    DISK_KEY = "requestParameters.blockDeviceMapping.items.ebs.kmsKeyId", "the keys that the disks of new instances are encrypted under";
    TABLE_KEY = "requestParameters.sSESpecification.kMSMasterKeyId", "the key that DynamoDB is asked to encrypt under";
    RESTORED_TABLE_KEY = "requestParameters.sSESpecificationOverride.kMSMasterKeyId", "the same of a restored table";
    EXPORT_KEY = "requestParameters.s3SseKmsKeyId", "the key that DynamoDB is asked to export under";
    FUNCTION_KEY = "requestParameters.kMSKeyArn", "the key that Lambda is asked to encrypt under";
    ATTRIBUTES_KEY = "requestParameters.attributes.KmsMasterKeyId", "the key that SQS or SNS is asked to encrypt under";
    ATTRIBUTE_NAME = "requestParameters.attributeName", "attribute of a topic, subscription or snapshot that is set";
    ATTRIBUTE_VALUE = "requestParameters.attributeValue", "what it is set to";
    REPLICA_SECRET_KEY = "requestParameters.addReplicaRegions.kmsKeyId", "the keys that replicas of a secret are encrypted under";
    VAULT_KEY = "requestParameters.encryptionKeyArn", "the key that a backup vault encrypts under";
    SET_EVENT_SELECTORS = "responseElements.eventSelectors", "basic selectors in force after PutEventSelectors";
    SET_ADVANCED_EVENT_SELECTORS = "responseElements.advancedEventSelectors", "advanced selectors in force after it";
}

fixed_fields! { derived, super::core::ALL.len() as u32, "The fields that kmswatch derives; rules read them under `kms.`.";
    OPERATION = "kms.operation", "the KMS operation, empty for other services";
    CLASS = "kms.class", "cryptographic, destruction, availability, policy, grants, import, keystore, replication, alias, tag, rotation, creation, enumeration, unknown";
    OUTCOME = "kms.outcome", "success, denied, throttled, dry-run, error";
    KEY_ARN = "kms.key_arn", "ARN of the key used";
    KEY_ID = "kms.key_id", "id of the key used";
    KEY = "kms.key", "how a person names the key: alias, else ARN";
    KEY_ROLE = "kms.key_role", "of ReEncrypt: source or destination";
    ALIAS = "kms.alias", "alias of the key as far as known";
    DOMAIN = "kms.domain", "key domain of the inventory";
    TIER = "kms.tier", "tier of the domain";
    OWNER = "kms.owner", "owner of the domain";
    OWNER_ACCOUNT = "kms.owner_account", "account that owns the key";
    CALLER_ACCOUNT = "kms.caller_account", "account of the caller";
    CROSS_ACCOUNT = "kms.cross_account", "true when caller and owner differ";
    PRINCIPAL = "kms.principal", "canonical caller: role rather than session";
    PRINCIPAL_TYPE = "kms.principal_type", "Root, IAMUser, AssumedRole, AWSService, ...";
    WHO = "kms.who", "the caller in words: role or user, session and account";
    SESSION = "kms.session", "session name, or the human behind it";
    VIA = "kms.via", "the AWS service that forwarded the call";
    SOURCE_KIND = "kms.source_kind", "address, service, aws-internal, unknown";
    OBJECT = "kms.object", "what the encryption context says was en- or decrypted";
    EXPECTED = "kms.expected", "true or false by the inventory, absent when the key is in no domain";
    EXPECTED_REASON = "kms.expected_reason", "why, in words";
    BREAK_GLASS = "kms.break_glass", "ticket of the break-glass access without which the use would not be expected";
    CHANGE = "kms.change", "of calls that change a key: what changed, in words";
    GRANT = "kms.grant", "the grant known to allow the call, with who made it and when, in words";
    GRANTEE_ACCOUNT = "kms.grantee_account", "account of a grant's grantee";
    GRANTEE_EXTERNAL = "kms.grantee_external", "true when the grantee is of another account than the key";
    TRAIL_BLINDS_KMS = "kms.trail_blinds_kms", "true when PutEventSelectors leaves KMS management events out";
    POLICY_PUBLIC = "kms.policy_public", "true when a key policy allows everybody and no condition says whom";
    POLICY_OPENS = "kms.policy_opens", "whether a new key policy lets anybody do more than the one before; absent when that is not known";
    POLICY_EXTERNAL = "kms.policy_external_accounts", "other accounts that a key policy allows";
    POLICY_PRINCIPALS = "kms.policy_principals", "principals that a key policy allows, as written";
    POLICY_LOCKS_OUT = "kms.policy_locks_owner_out", "true when nobody of the owner's account may change the policy again";
    POLICY_READABLE = "kms.policy_readable", "whether a key policy given could be read";
    GRANTEE = "kms.grantee", "canonical grantee of a grant: role rather than session";
    GRANTEE_PATHLESS = "kms.grantee_pathless", "the same without an IAM path, which sessions do not have";
    PRINCIPAL_PATHLESS = "kms.principal_pathless", "canonical caller without an IAM path, to compare with grantees";
    ENCRYPTS = "kms.encrypts", "true for operations that make ciphertext";
    KEY_STATE_ERROR = "kms.key_state_error", "of failed calls: pending-deletion, disabled, pending-import, unavailable";
    MATERIAL_HOURS = "kms.material_valid_hours", "hours from the import until key material expires";
    ATTESTED = "kms.attested", "whether a call that can be attested carried an attestation document";
    OTHER_KEY = "kms.requested_key", "the key that another service is asked to encrypt under";
    OTHER_KEY_FOREIGN = "kms.requested_key_foreign", "true when that key is of another account than the record";
    DECOY = "kms.decoy", "true when the key's domain is a decoy that nobody uses";
    RETIRED = "kms.retired", "true when the key's domain is retired";
    ATTESTATION_REQUIRED = "kms.attestation_required", "true when the key's domain wants attested calls only";
    OWNER_TRUSTED = "kms.owner_trusted", "whether the key's owner is among the inventory's accounts; absent when it lists none";
    CALLER_TRUSTED = "kms.caller_trusted", "the same of the caller's account";
    GRANTEE_TRUSTED = "kms.grantee_trusted", "the same of the grantee's account";
    POLICY_TRUSTED = "kms.policy_accounts_trusted", "whether all other accounts that a policy allows are among the inventory's";
    REQUESTED_KEY_TRUSTED = "kms.requested_key_trusted", "the same of the account of `kms.requested_key`";
    SUPPLY_LINE = "kms.supply_line", "of calls on what kmswatch itself lives by: trail, event-rule, event-bus, queue, topic, subscription, bucket, table, log-group, function, key";
    SUPPLY_LINE_ARN = "kms.supply_line_arn", "which of them";
    IN_NO_DOMAIN = "kms.in_no_domain", "true when the key is in no domain of an inventory that says it has them all";
    REGION_APPROVED = "kms.region_approved", "whether the Region that a key is moved or copied to is among the inventory's; absent when it lists none";
}

/// One value of a field, borrowed from the record where it can be.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue<'a> {
    /// JSON null.
    Null,
    /// JSON true or false.
    Bool(bool),
    /// A JSON number.
    Number(serde_json::Number),
    /// A JSON string, unescaped.
    Text(Cow<'a, str>),
    /// An object or array read whole.
    Json(serde_json::Value),
}

impl<'a> FieldValue<'a> {
    /// The text of a string value.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as text: strings as they are, null as nothing, the rest as JSON.
    #[must_use]
    pub fn to_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Null => None,
            Self::Bool(true) => Some(Cow::Borrowed("true")),
            Self::Bool(false) => Some(Cow::Borrowed("false")),
            Self::Number(number) => Some(Cow::Owned(number.to_string())),
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Json(value) => Some(Cow::Owned(value.to_string())),
        }
    }

    /// Takes an owned JSON value.
    #[must_use]
    pub fn from_json(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(flag) => Self::Bool(flag),
            serde_json::Value::Number(number) => Self::Number(number),
            serde_json::Value::String(text) => Self::Text(Cow::Owned(text)),
            other => Self::Json(other),
        }
    }
}

/// The slots of one record: for each [`FieldId`] no value, or one, or many (a path through an
/// array has one per element).
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    slots: Vec<Option<Slot<'a>>>,
}

#[derive(Clone, Debug)]
enum Slot<'a> {
    One(FieldValue<'a>),
    Many(Vec<FieldValue<'a>>),
}

impl<'a> Fields<'a> {
    /// Empty slots for every field of `projection`.
    #[must_use]
    pub fn new(projection: &Projection) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(projection.len(), || None);
        Self { slots }
    }

    /// All values of a field; empty when it is absent or an empty list.
    #[must_use]
    pub fn values(&self, id: FieldId) -> &[FieldValue<'a>] {
        match self.slots.get(id.index()) {
            Some(Some(Slot::One(value))) => std::slice::from_ref(value),
            Some(Some(Slot::Many(values))) => values,
            _ => &[],
        }
    }

    /// Whether the record has the field at all, be it null or an empty list.
    #[must_use]
    pub fn is_present(&self, id: FieldId) -> bool {
        matches!(self.slots.get(id.index()), Some(Some(_)))
    }

    /// The first value when it is a non-empty string.
    #[must_use]
    pub fn text(&self, id: FieldId) -> Option<&str> {
        self.values(id).iter().find_map(FieldValue::as_str).filter(|text| !text.is_empty())
    }

    /// Adds a value; a field that gets several keeps them in order.
    pub fn push(&mut self, id: FieldId, value: FieldValue<'a>) {
        if let Some(slot) = self.slots.get_mut(id.index()) {
            *slot = Some(match slot.take() {
                None => Slot::One(value),
                Some(Slot::One(first)) => Slot::Many(vec![first, value]),
                Some(Slot::Many(mut values)) => {
                    values.push(value);
                    Slot::Many(values)
                }
            });
        }
    }

    /// Marks the field as present without a value (an empty array).
    pub fn mark_present(&mut self, id: FieldId) {
        if let Some(slot) = self.slots.get_mut(id.index()) {
            slot.get_or_insert_with(|| Slot::Many(Vec::new()));
        }
    }

    /// Replaces whatever the field held by one text.
    pub fn set_text(&mut self, id: FieldId, text: impl Into<Cow<'a, str>>) {
        self.set(id, FieldValue::Text(text.into()));
    }

    /// Replaces whatever the field held by one value.
    pub fn set(&mut self, id: FieldId, value: FieldValue<'a>) {
        if let Some(slot) = self.slots.get_mut(id.index()) {
            *slot = Some(Slot::One(value));
        }
    }

    /// Empties all derived fields, so that nothing is carried over from the use before.
    pub fn clear_derived(&mut self) {
        let derived = core::ALL.len()..core::ALL.len() + derived::ALL.len();
        for slot in self.slots.get_mut(derived).into_iter().flatten() {
            *slot = None;
        }
    }

    /// Empties the field.
    pub fn clear(&mut self, id: FieldId) {
        if let Some(slot) = self.slots.get_mut(id.index()) {
            *slot = None;
        }
    }
}

/// Which fields are read, as a trie over path segments.
///
/// A path is split at dots. A JSON key that itself holds dots is split the same way when a record
/// is read, so `requestParameters.encryptionContext.aws:s3:arn` and a key `a.b` both resolve. A
/// path may go through an array (one value per element) and through JSON carried in a string (key
/// policies).
#[derive(Clone, Debug)]
pub struct Projection {
    nodes: Vec<Node>,
    names: Vec<String>,
    ids: BTreeMap<String, FieldId>,
}

/// A place in the projection's trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(usize);

#[derive(Clone, Debug, Default)]
struct Node {
    children: Vec<(Box<str>, NodeId)>,
    field: Option<FieldId>,
}

impl Projection {
    /// The top of a record.
    pub const ROOT: NodeId = NodeId(0);

    /// A projection of just the fixed fields; add those of rules with [`ProjectionBuilder`].
    #[must_use]
    pub fn fixed() -> Self {
        ProjectionBuilder::new().build()
    }

    /// How many fields there are.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "never empty: the fixed fields are always there")]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// The id of a path that is read.
    #[must_use]
    pub fn id(&self, path: &str) -> Option<FieldId> {
        self.ids.get(path).copied()
    }

    /// The path of a field.
    #[must_use]
    pub fn name(&self, id: FieldId) -> &str {
        self.names.get(id.index()).map_or("", String::as_str)
    }

    /// The field that ends at a place.
    #[must_use]
    pub fn field(&self, node: NodeId) -> Option<FieldId> {
        self.nodes.get(node.0).and_then(|node| node.field)
    }

    /// Whether some field lies below a place.
    #[must_use]
    pub fn has_children(&self, node: NodeId) -> bool {
        self.nodes.get(node.0).is_some_and(|node| !node.children.is_empty())
    }

    /// The node below `node` for a JSON key, which may span several segments.
    #[must_use]
    pub fn descend(&self, node: NodeId, key: &str) -> Option<NodeId> {
        let here = self.nodes.get(node.0)?;
        if let Some((_, child)) = here.children.iter().find(|(segment, _)| **segment == *key) {
            return Some(*child);
        }
        if !key.contains('.') {
            return None;
        }
        key.split('.').try_fold(node, |at, segment| {
            let at = self.nodes.get(at.0)?;
            at.children.iter().find(|(name, _)| **name == *segment).map(|(_, child)| *child)
        })
    }
}

/// Collects the paths that rules read and gives each its [`FieldId`].
#[derive(Clone, Debug)]
pub struct ProjectionBuilder {
    projection: Projection,
}

impl Default for ProjectionBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ProjectionBuilder {
    /// Starts with the fixed fields.
    #[must_use]
    pub fn new() -> Self {
        let projection = Projection { nodes: vec![Node::default()], names: Vec::new(), ids: BTreeMap::new() };
        let mut builder = Self { projection };
        for (path, _) in core::ALL {
            builder.field(path);
        }
        // Named but not in the trie: a record that brings a `kms` object of its own must not be
        // able to say that its use was expected.
        for (path, _) in derived::ALL {
            builder.name(path);
        }
        builder
    }

    fn name(&mut self, path: &str) -> FieldId {
        let id = FieldId::new(u32::try_from(self.projection.names.len()).unwrap_or(u32::MAX));
        self.projection.names.push(path.to_owned());
        self.projection.ids.insert(path.to_owned(), id);
        id
    }

    /// The id of `path`, new or as given before.
    pub fn field(&mut self, path: &str) -> FieldId {
        if let Some(id) = self.projection.ids.get(path) {
            return *id;
        }
        let id = self.name(path);
        let mut at = Projection::ROOT;
        for segment in path.split('.') {
            at = self.child(at, segment);
        }
        if let Some(node) = self.projection.nodes.get_mut(at.0) {
            node.field = Some(id);
        }
        id
    }

    fn child(&mut self, parent: NodeId, segment: &str) -> NodeId {
        let next = NodeId(self.projection.nodes.len());
        let Some(node) = self.projection.nodes.get_mut(parent.0) else {
            return parent;
        };
        if let Some((_, child)) = node.children.iter().find(|(name, _)| **name == *segment) {
            return *child;
        }
        node.children.push((segment.into(), next));
        self.projection.nodes.push(Node::default());
        next
    }

    /// The finished projection.
    #[must_use]
    pub fn build(self) -> Projection {
        self.projection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_ids_are_where_their_constants_say() {
        let projection = Projection::fixed();
        assert_eq!(projection.id("eventID"), Some(core::EVENT_ID));
        assert_eq!(projection.id("requestParameters.advancedEventSelectors"), Some(core::ADVANCED_EVENT_SELECTORS));
        assert_eq!(projection.id("kms.operation"), Some(derived::OPERATION));
        assert_eq!(projection.id("kms.trail_blinds_kms"), Some(derived::TRAIL_BLINDS_KMS));
        assert_eq!(projection.name(derived::KEY_ARN), "kms.key_arn");
        assert!(derived::each().chain(core::each()).all(|(id, path)| projection.id(path) == Some(id)));
    }
}
