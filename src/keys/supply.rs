//! The product's own supply line: the trail, event rules, queue, topic and keys that it lives by.
//!
//! Whoever cuts one of them blinds it, so calls on them are told from calls on all the others of
//! their kind. CloudTrail names them by ARN, by URL, or by a bare name that the record's account and
//! Region complete.
//!
//! Invariant: a bare name is ours only in our account and Region.

use std::fmt;

use crate::event::field::{FieldId, Fields, core};
use crate::event::key::{KeyRef, arn_parts};

/// What kmswatch lives by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SupplyLine {
    resources: Vec<Resource>,
}

/// One resource of the supply line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// As configured; of a queue given by URL, what its ARN is.
    pub arn: String,
    /// What it is.
    pub kind: ResourceKind,
    account: String,
    region: String,
    /// Its bare name.
    name: String,
    /// Of an event rule: its bus.
    bus: String,
}

/// Kinds of resources of a supply line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each says itself what it is")]
pub enum ResourceKind {
    Trail,
    EventRule,
    EventBus,
    Queue,
    Topic,
    Subscription,
    Bucket,
    Table,
    LogGroup,
    Function,
    Key,
}

impl ResourceKind {
    /// As in `kms.supply_line`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trail => "trail",
            Self::EventRule => "event-rule",
            Self::EventBus => "event-bus",
            Self::Queue => "queue",
            Self::Topic => "topic",
            Self::Subscription => "subscription",
            Self::Bucket => "bucket",
            Self::Table => "table",
            Self::LogGroup => "log-group",
            Self::Function => "function",
            Self::Key => "key",
        }
    }

    /// The service whose calls are about it.
    const fn source(self) -> &'static str {
        match self {
            Self::Trail => "cloudtrail.amazonaws.com",
            Self::EventRule | Self::EventBus => "events.amazonaws.com",
            Self::Queue => "sqs.amazonaws.com",
            Self::Topic | Self::Subscription => "sns.amazonaws.com",
            Self::Bucket => "s3.amazonaws.com",
            Self::Table => "dynamodb.amazonaws.com",
            Self::LogGroup => "logs.amazonaws.com",
            Self::Function => "lambda.amazonaws.com",
            Self::Key => "kms.amazonaws.com",
        }
    }

    /// Where its calls name it.
    const fn named_in(self) -> &'static [FieldId] {
        match self {
            Self::Trail => &[core::REQUEST_NAME, core::TRAIL_NAME],
            Self::EventRule => &[core::REQUEST_NAME, core::EVENT_RULE],
            Self::EventBus => &[core::REQUEST_NAME, core::EVENT_BUS],
            Self::Queue => &[core::QUEUE_URL],
            Self::Topic => &[core::TOPIC_ARN, core::SUBSCRIPTION_ARN],
            Self::Subscription => &[core::SUBSCRIPTION_ARN],
            Self::Bucket => &[core::BUCKET_NAME],
            Self::Table => &[core::TABLE_NAME],
            Self::LogGroup => &[core::LOG_GROUP],
            Self::Function => &[core::FUNCTION_NAME],
            Self::Key => &[],
        }
    }
}

/// A text that names no resource that a supply line can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAResource(String);

impl fmt::Display for NotAResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is no ARN of a trail, event rule, event bus, queue, topic, subscription, bucket, table, log group, function or key, and no queue URL",
            self.0
        )
    }
}

impl std::error::Error for NotAResource {}

impl Resource {
    /// Reads an ARN or a queue URL.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, NotAResource> {
        let text = text.trim();
        let fail = || NotAResource(text.chars().take(200).collect());
        if text.starts_with("https://") || text.starts_with("http://") {
            return queue_of_url(text).ok_or_else(fail);
        }
        let parts = arn_parts(text).ok_or_else(fail)?;
        let rest = |prefix: &str| parts.resource.strip_prefix(prefix);
        let (kind, name) = match parts.service {
            "cloudtrail" => (ResourceKind::Trail, rest("trail/").ok_or_else(fail)?),
            "events" => match (rest("rule/"), rest("event-bus/")) {
                (Some(rule), _) => (ResourceKind::EventRule, rule),
                (_, Some(bus)) => (ResourceKind::EventBus, bus),
                _ => return Err(fail()),
            },
            "sqs" => (ResourceKind::Queue, parts.resource),
            "sns" if parts.resource.contains(':') => (ResourceKind::Subscription, parts.resource),
            "sns" => (ResourceKind::Topic, parts.resource),
            "s3" => (ResourceKind::Bucket, parts.resource),
            "dynamodb" => (ResourceKind::Table, rest("table/").ok_or_else(fail)?),
            "logs" => (ResourceKind::LogGroup, rest("log-group:").ok_or_else(fail)?.trim_end_matches(":*")),
            "lambda" => (ResourceKind::Function, rest("function:").ok_or_else(fail)?),
            "kms" => (ResourceKind::Key, rest("key/").ok_or_else(fail)?),
            _ => return Err(fail()),
        };
        let (bus, name) = match (kind, name.rsplit_once('/')) {
            (ResourceKind::EventRule, Some((bus, name))) => (bus, name),
            (ResourceKind::EventRule, None) => ("default", name),
            _ => ("", name),
        };
        if name.is_empty() {
            return Err(fail());
        }
        Ok(Self {
            arn: text.to_owned(),
            kind,
            account: parts.account.to_owned(),
            region: parts.region.to_owned(),
            name: name.to_owned(),
            bus: bus.to_owned(),
        })
    }

    /// Whether a call names it so.
    fn is(&self, said: &str, fields: &Fields<'_>) -> bool {
        if said == self.arn {
            return true;
        }
        match self.kind {
            // What the host leaves open (FIPS, dual-stack and VPC endpoints) the record's Region says.
            ResourceKind::Queue => match queue_of_url(said) {
                Some(queue) if queue.region.is_empty() => {
                    queue.account == self.account
                        && queue.name == self.name
                        && fields.text(core::AWS_REGION) == Some(&self.region)
                }
                Some(queue) => queue.same_place(self) && queue.name == self.name,
                None => said == self.name && self.is_here(fields),
            },
            // A subscription's ARN is its topic's and an id.
            ResourceKind::Topic => said.strip_prefix(&self.arn).is_some_and(|rest| rest.starts_with(':')),
            ResourceKind::EventRule => {
                let bus = fields.text(core::EVENT_BUS).map_or("default", |bus| bus.rsplit('/').next().unwrap_or(bus));
                said == self.name && bus == self.bus && self.is_here(fields)
            }
            ResourceKind::Bucket => said == self.name,
            _ => said == self.name && self.is_here(fields),
        }
    }

    fn is_same_as(&self, other: &Self) -> bool {
        self.same_place(other) && (self.kind, &self.name, &self.bus) == (other.kind, &other.name, &other.bus)
    }

    fn same_place(&self, other: &Self) -> bool {
        (&self.account, &self.region) == (&other.account, &other.region)
    }

    fn is_here(&self, fields: &Fields<'_>) -> bool {
        fields.text(core::RECIPIENT_ACCOUNT) == Some(&self.account)
            && fields.text(core::AWS_REGION) == Some(&self.region)
    }
}

/// `https://sqs.eu-west-1.amazonaws.com/111122223333/name`, and the older and local forms.
fn queue_of_url(url: &str) -> Option<Resource> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let mut parts = rest.trim_end_matches('/').split('/');
    let (host, account, name) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || account.len() != 12 || name.is_empty() {
        return None;
    }
    let labels: Vec<&str> = host.split('.').collect();
    let region = match labels.as_slice() {
        ["sqs", region, "amazonaws", ..] | [region, "queue", "amazonaws", ..] => *region,
        ["queue", "amazonaws", ..] => "us-east-1",
        _ => "",
    };
    let partition = if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    };
    Some(Resource {
        arn: format!("arn:{partition}:sqs:{region}:{account}:{name}"),
        kind: ResourceKind::Queue,
        account: account.to_owned(),
        region: region.to_owned(),
        name: name.to_owned(),
        bus: String::new(),
    })
}

impl SupplyLine {
    /// Of these resources, each once.
    #[must_use]
    pub fn of(resources: impl IntoIterator<Item = Resource>) -> Self {
        let mut line = Self::default();
        line.extend(resources);
        line
    }

    /// Adds resources that are not there yet.
    pub fn extend(&mut self, resources: impl IntoIterator<Item = Resource>) {
        for resource in resources {
            if !self.resources.contains(&resource) {
                self.resources.push(resource);
            }
        }
    }

    /// All of it.
    #[must_use]
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// Which of ours a call is about.
    #[must_use]
    pub fn touched(&self, source: &str, fields: &Fields<'_>, key: Option<&KeyRef>) -> Option<&Resource> {
        self.resources.iter().filter(|resource| resource.kind.source() == source).find(|resource| match resource.kind {
            ResourceKind::Key => key.and_then(|key| key.arn.as_deref()) == Some(&resource.arn),
            kind => {
                kind.named_in().iter().any(|id| fields.text(*id).is_some_and(|said| resource.is(said, fields)))
                    || refused_on(fields).is_some_and(|refused| refused.is_same_as(resource))
            }
        })
    }
}

/// What a call was refused on. CloudTrail leaves out the parameters of many refused calls, and then
/// the message alone names the resource.
fn refused_on(fields: &Fields<'_>) -> Option<Resource> {
    let (_, rest) = fields.text(core::ERROR_MESSAGE)?.split_once("on resource: ")?;
    Resource::parse(rest.split_whitespace().next()?.trim_end_matches(['.', ','])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::field::Projection;
    use crate::event::record::decode;

    fn touched(source: &str, rest: &str) -> Option<&'static str> {
        let line = SupplyLine::of(
            [
                "arn:aws:cloudtrail:eu-west-1:111122223333:trail/main",
                "arn:aws:events:eu-west-1:111122223333:rule/kmswatch",
                "arn:aws:events:eu-west-1:111122223333:rule/security/kmswatch",
                "arn:aws:events:eu-west-1:111122223333:event-bus/security",
                "https://sqs.eu-west-1.amazonaws.com/111122223333/kmswatch",
                "arn:aws:sns:eu-west-1:111122223333:pager",
                "arn:aws:s3:::trail-bucket",
                "arn:aws:logs:eu-west-1:111122223333:log-group:kmswatch:*",
            ]
            .map(|text| Resource::parse(text).unwrap()),
        );
        let raw = format!(
            r#"{{"eventTime":"2026-01-05T10:00:00Z","eventSource":"{source}.amazonaws.com","eventName":"X","awsRegion":"eu-west-1","recipientAccountId":"111122223333","requestParameters":{{{rest}}}}}"#
        );
        let record = decode(&raw, &Projection::fixed()).unwrap();
        line.touched(record.source(), &record.fields, None).map(|resource| resource.kind.as_str())
    }

    #[test]
    fn ours_by_every_name_that_calls_use() {
        for (source, rest, expected) in [
            ("cloudtrail", r#""name":"main""#, Some("trail")),
            ("cloudtrail", r#""trailName":"arn:aws:cloudtrail:eu-west-1:111122223333:trail/main""#, Some("trail")),
            ("cloudtrail", r#""name":"other""#, None),
            ("events", r#""name":"kmswatch""#, Some("event-rule")),
            ("events", r#""rule":"kmswatch","eventBusName":"security""#, Some("event-rule")),
            (
                "events",
                r#""name":"kmswatch","eventBusName":"arn:aws:events:eu-west-1:111122223333:event-bus/security""#,
                Some("event-rule"),
            ),
            ("events", r#""name":"kmswatch","eventBusName":"elsewhere""#, None),
            ("events", r#""name":"security""#, Some("event-bus")),
            ("sqs", r#""queueUrl":"https://sqs.eu-west-1.amazonaws.com/111122223333/kmswatch""#, Some("queue")),
            ("sqs", r#""queueUrl":"https://eu-west-1.queue.amazonaws.com/111122223333/kmswatch""#, Some("queue")),
            ("sqs", r#""queueUrl":"https://sqs-fips.eu-west-1.amazonaws.com/111122223333/kmswatch""#, Some("queue")),
            ("sqs", r#""queueUrl":"https://sqs.eu-west-1.api.aws/111122223333/kmswatch""#, Some("queue")),
            (
                "sqs",
                r#""queueUrl":"https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com/111122223333/kmswatch/""#,
                Some("queue"),
            ),
            ("sqs", r#""queueUrl":"https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com/111122223333/other""#, None),
            ("sqs", r#""queueUrl":"kmswatch""#, Some("queue")),
            ("sqs", r#""queueUrl":"https://sqs.eu-west-2.amazonaws.com/111122223333/kmswatch""#, None),
            ("sns", r#""topicArn":"arn:aws:sns:eu-west-1:111122223333:pager""#, Some("topic")),
            ("sns", r#""subscriptionArn":"arn:aws:sns:eu-west-1:111122223333:pager:aaaa-bbbb""#, Some("topic")),
            ("sns", r#""topicArn":"arn:aws:sns:eu-west-1:111122223333:pager2""#, None),
            ("s3", r#""bucketName":"trail-bucket""#, Some("bucket")),
            ("logs", r#""logGroupName":"kmswatch""#, Some("log-group")),
            ("sqs", r#""name":"main""#, None),
        ] {
            assert_eq!(touched(source, rest), expected, "{source} {rest}");
        }
    }

    /// Found on a refused StopLogging: it has no parameters.
    #[test]
    fn a_refused_call_names_ours_in_its_message() {
        let refused = |source: &str, action: &str, resource: &str| {
            let message = format!(
                "User: arn:aws:sts::111122223333:assumed-role/ci/1 is not authorized to perform: {source}:{action} on resource: {resource} with an explicit deny"
            );
            touched(source, &format!(r#"}},"errorCode":"AccessDenied","errorMessage":"{message}","x":{{"#))
        };
        for (source, action, resource, expected) in [
            ("cloudtrail", "StopLogging", "arn:aws:cloudtrail:eu-west-1:111122223333:trail/main", Some("trail")),
            ("cloudtrail", "StopLogging", "arn:aws:cloudtrail:eu-west-2:111122223333:trail/main", None),
            (
                "events",
                "DisableRule",
                "arn:aws:events:eu-west-1:111122223333:rule/security/kmswatch",
                Some("event-rule"),
            ),
            ("events", "DisableRule", "arn:aws:events:eu-west-1:111122223333:rule/other/kmswatch", None),
            ("sqs", "purgequeue", "arn:aws:sqs:eu-west-1:111122223333:kmswatch", Some("queue")),
            ("sns", "DeleteTopic", "arn:aws:sns:eu-west-1:111122223333:pager", Some("topic")),
            ("s3", "DeleteBucket", "arn:aws:s3:::trail-bucket", Some("bucket")),
            ("cloudtrail", "StopLogging", "*", None),
        ] {
            assert_eq!(refused(source, action, resource), expected, "{action} {resource}");
        }
    }

    #[test]
    fn what_is_no_resource_is_refused() {
        for text in [
            "",
            "kmswatch",
            "arn:aws:iam::111122223333:role/x",
            "https://example.com/",
            "arn:aws:kms:eu-west-1:111122223333:alias/x",
        ] {
            assert!(Resource::parse(text).is_err(), "{text}");
        }
        assert!(Resource::parse("nonsense").unwrap_err().to_string().contains("'nonsense' is no ARN"));
    }
}
