//! SNS: one publish an alert, a text for each protocol, attributes for filter policies.
//!
//! Limits of SNS: aws-facts 5. Publishing stays below the topic's quota by `governor`, so that a
//! storm of ours is not answered with throttling of everybody's.

use std::num::NonZeroU32;

use aws_sdk_sns::Client;
use aws_sdk_sns::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_sns::types::MessageAttributeValue;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::{Sink, SinkError};
use crate::alert::Alert;
use crate::alert::{json, text};

/// A topic.
#[derive(Debug)]
pub struct SnsSink {
    client: Client,
    topic_arn: String,
    limiter: DefaultDirectRateLimiter,
}

/// A message may have 262,144 bytes, attributes and all texts together.
const MAX_MESSAGE_BYTES: usize = 262_144;
/// The JSON stands in the message twice more, escaped; this leaves room for the rest.
const MAX_JSON_BYTES: usize = 48 * 1024;

/// Messages a second that SNS takes in a Region by default (aws-facts 5).
#[must_use]
pub fn default_quota(region: &str) -> NonZeroU32 {
    let per_second = match region {
        "us-east-1" => 30_000,
        "us-west-2" | "eu-west-1" => 9_000,
        "us-east-2" | "us-west-1" | "ap-south-1" | "ap-northeast-2" | "ap-southeast-1" | "ap-southeast-2"
        | "ap-northeast-1" | "eu-central-1" => 1_500,
        _ => 300,
    };
    NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN)
}

impl SnsSink {
    /// Publishes to a topic, at most `per_second` messages a second.
    #[must_use]
    pub fn new(client: Client, topic_arn: String, per_second: NonZeroU32) -> Self {
        Self { client, topic_arn, limiter: RateLimiter::direct(Quota::per_second(per_second)) }
    }
}

/// The message with a text for each protocol, within the size that SNS takes.
#[must_use]
pub fn message(alert: &Alert) -> String {
    let full = text::render(alert);
    let full: String = full.chars().take(8_000).collect();
    let mut max_json = MAX_JSON_BYTES;
    loop {
        let json = json::line_within(alert, max_json);
        let message = serde_json::json!({
            "default": json, "email": full, "sms": text::short(alert), "email-json": json,
        });
        let message = message.to_string();
        if message.len() + 2_048 <= MAX_MESSAGE_BYTES || max_json < 4_096 {
            return message;
        }
        max_json /= 2;
    }
}

/// What filter policies see. SNS refuses empty values, so they are left out.
#[must_use]
pub fn attributes(alert: &Alert) -> Vec<(&'static str, String)> {
    let domain = alert.keys.iter().find_map(|key| key.domain.clone());
    let all = [
        ("level", Some(alert.level.as_str().to_owned())),
        ("rule_id", Some(alert.rule.id.clone())),
        ("key_domain", domain),
        ("account", alert.account.clone()),
        ("status", Some(alert.status.as_str().to_owned())),
        ("schema", Some(alert.schema.to_string())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).filter(|(_, value)| !value.is_empty()).collect()
}

impl Sink for SnsSink {
    fn name(&self) -> &str {
        "sns"
    }

    async fn deliver(&self, alert: &Alert) -> Result<(), SinkError> {
        self.limiter.until_ready().await;
        let mut call = self
            .client
            .publish()
            .topic_arn(&self.topic_arn)
            .subject(text::subject(alert))
            .message_structure("json")
            .message(message(alert));
        for (name, value) in attributes(alert) {
            let attribute = MessageAttributeValue::builder().data_type("String").string_value(value).build();
            let attribute = attribute.map_err(|error| SinkError::Permanent(error.to_string()))?;
            call = call.message_attributes(name, attribute);
        }
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) => {
                Err(classify(error.code(), &format!("Publish to {}: {}", self.topic_arn, DisplayErrorContext(&error))))
            }
        }
    }
}

/// Only a message that SNS will never take is given up. A missing topic, a missing right or a
/// disabled key of the topic can be mended, and the alert must still be there then.
fn classify(code: Option<&str>, text: &str) -> SinkError {
    match code {
        // About the topic and not about this alert: every alert would be given up.
        Some(_) if text.contains("Invalid parameter: TopicArn") => SinkError::Retry(text.to_owned()),
        Some("InvalidParameter" | "InvalidParameterValue" | "ValidationException" | "ParameterValueInvalid") => {
            SinkError::Permanent(text.to_owned())
        }
        _ => SinkError::Retry(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_fits_and_has_a_text_for_each_protocol() {
        let mut alert = crate::alert::tests::sample();
        alert.evidence = vec![serde_json::json!({"policy": "\"\\".repeat(60_000)}); 3];
        alert.summary = "\"".repeat(20_000);
        let message = message(&alert);
        assert!(message.len() <= MAX_MESSAGE_BYTES, "{}", message.len());
        let texts: serde_json::Value = serde_json::from_str(&message).unwrap();
        assert!(texts["sms"].as_str().unwrap().chars().count() <= 160);
        let sent: Alert = serde_json::from_str(texts["default"].as_str().unwrap()).unwrap();
        assert_eq!((sent.id, sent.count), (alert.id, alert.count));
    }

    #[test]
    fn attributes_are_never_empty() {
        let mut alert = crate::alert::tests::sample();
        let names = |alert: &Alert| attributes(alert).iter().map(|(name, _)| *name).collect::<Vec<_>>();
        assert_eq!(names(&alert), ["level", "rule_id", "key_domain", "account", "status", "schema"]);
        alert.account = Some(String::new());
        alert.keys.clear();
        assert_eq!(names(&alert), ["level", "rule_id", "status", "schema"]);
    }

    #[test]
    fn only_what_will_never_be_taken_is_given_up() {
        assert!(matches!(classify(Some("InvalidParameter"), ""), SinkError::Permanent(_)));
        for code in ["NotFound", "AuthorizationError", "KMSDisabledException", "Throttled", "InternalError"] {
            assert!(matches!(classify(Some(code), ""), SinkError::Retry(_)), "{code}");
        }
        assert!(matches!(classify(None, ""), SinkError::Retry(_)));
        let topic = classify(Some("InvalidParameter"), "InvalidParameter: Invalid parameter: TopicArn Reason: ...");
        assert!(matches!(topic, SinkError::Retry(_)), "a wrong topic would empty the outbox into the dead letters");
    }
}
