//! SQS: long polling, receipts kept claimed while their messages are worked on, deleted in batches.
//!
//! Many pollers share one source. A message that is received is in flight until it is acknowledged,
//! parked or given back; a task extends the claim on those whose visibility runs out. Times and
//! limits: aws-facts 4.
//!
//! Invariants: a message is deleted only by [`Source::ack`]; the claim on one that is acknowledged or
//! parked is not extended, so that it comes again when that did not reach the queue.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName,
    QueueAttributeName,
};
use dashmap::DashMap;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Delivery, Receipt, Received, Source, SourceError};
use crate::time::EventTime;

/// How to read the queue.
#[derive(Clone, Debug)]
pub struct SqsSettings {
    /// URL of the queue.
    pub queue_url: String,
    /// Longest wait of one receive, 20 seconds at most.
    pub wait: Duration,
    /// How long a message is claimed at a time.
    pub visibility: Duration,
    /// End after this many empty receives, instead of waiting for more.
    pub once_after_empty: Option<u32>,
}

/// What SQS takes in one call.
const BATCH: usize = 10;
/// Deletes and extensions under way at once.
const CALLS_AT_ONCE: usize = 16;
/// A message can be claimed for twelve hours from its first receive.
const MAX_CLAIM: Duration = Duration::from_secs(12 * 3600 - 120);
/// Where a message goes that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poison {
    /// To a dead-letter queue, after a few receives.
    Redriven,
    /// Nowhere: it comes again for as long as the queue keeps it.
    Stays,
}

impl Poison {
    /// How long a parked message stays hidden: a moment, so that redrive takes it soon; longer where
    /// it would only come again and again.
    const fn hidden_secs(self) -> i32 {
        match self {
            Self::Redriven => 1,
            Self::Stays => 900,
        }
    }
}

/// A message being worked on.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    deadline: Instant,
    received: Instant,
}

/// A queue.
#[derive(Debug)]
pub struct SqsSource {
    client: Client,
    settings: SqsSettings,
    in_flight: Arc<DashMap<String, InFlight>>,
    extender: tokio::task::JoinHandle<()>,
    empty: std::sync::atomic::AtomicU32,
    poison: std::sync::OnceLock<Poison>,
}

/// What the queue says of itself at the start.
#[derive(Debug)]
pub struct QueueCheck {
    /// Whether poison messages have somewhere to go.
    pub has_dead_letter_queue: bool,
    /// Messages waiting, approximately.
    pub waiting: u64,
}

impl SqsSource {
    /// A source over a queue; starts the task that extends claims. Call within a runtime.
    #[must_use]
    pub fn new(client: Client, settings: SqsSettings) -> Self {
        let in_flight = Arc::new(DashMap::new());
        let extender = tokio::spawn(extend_claims(client.clone(), settings.clone(), in_flight.clone()));
        Self {
            client,
            settings,
            in_flight,
            extender,
            empty: std::sync::atomic::AtomicU32::new(0),
            poison: std::sync::OnceLock::new(),
        }
    }

    /// Asks the queue about itself.
    ///
    /// # Errors
    /// Fatal when it is not there or may not be read; to be tried again when nobody answers.
    pub async fn check(&self) -> Result<QueueCheck, SourceError> {
        let got = self
            .client
            .get_queue_attributes()
            .queue_url(&self.settings.queue_url)
            .attribute_names(QueueAttributeName::All)
            .send()
            .await
            .map_err(|error| {
                let status = error.raw_response().map(|answer| answer.status().as_u16());
                match classify("GetQueueAttributes", error.code(), &DisplayErrorContext(&error)) {
                    SourceError::Retry(reason) if is_refusal(status, error.code()) => SourceError::Fatal(reason),
                    other => other,
                }
            })?;
        let attribute = |name| got.attributes().and_then(|attributes| attributes.get(&name)).cloned();
        let has_dead_letter_queue =
            attribute(QueueAttributeName::RedrivePolicy).is_some_and(|policy| !policy.is_empty());
        self.poison.get_or_init(|| if has_dead_letter_queue { Poison::Redriven } else { Poison::Stays });
        Ok(QueueCheck {
            has_dead_letter_queue,
            waiting: attribute(QueueAttributeName::ApproximateNumberOfMessages)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
        })
    }

    /// Messages being worked on.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn delivery(&self, message: Message) -> Option<Delivery> {
        let receipt = message.receipt_handle?;
        let attribute = |name| message.attributes.as_ref().and_then(|attributes| attributes.get(&name)).cloned();
        let sent = attribute(MessageSystemAttributeName::SentTimestamp).and_then(|text| text.parse().ok());
        let count = attribute(MessageSystemAttributeName::ApproximateReceiveCount).and_then(|text| text.parse().ok());
        let now = Instant::now();
        self.in_flight.insert(receipt.clone(), InFlight { deadline: now + self.settings.visibility, received: now });
        Some(Delivery {
            body: message.body.unwrap_or_default().into_bytes(),
            receipt: Receipt(receipt),
            label: message.message_id.unwrap_or_default(),
            sent_at: sent.map(EventTime::from_millis),
            receive_count: count.unwrap_or(1),
        })
    }
}

impl Drop for SqsSource {
    fn drop(&mut self) {
        self.extender.abort();
    }
}

impl Source for SqsSource {
    async fn receive(&self) -> Result<Received, SourceError> {
        use std::sync::atomic::Ordering;
        let secs = |span: Duration| i32::try_from(span.as_secs()).unwrap_or(i32::MAX);
        let got = self
            .client
            .receive_message()
            .queue_url(&self.settings.queue_url)
            .max_number_of_messages(BATCH as i32)
            .wait_time_seconds(secs(self.settings.wait))
            .visibility_timeout(secs(self.settings.visibility))
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .send()
            .await
            .map_err(|error| classify("ReceiveMessage", error.code(), &DisplayErrorContext(&error)))?;
        let batch: Vec<_> =
            got.messages.unwrap_or_default().into_iter().filter_map(|message| self.delivery(message)).collect();
        if batch.is_empty() && self.in_flight.is_empty() {
            let empty = self.empty.fetch_add(1, Ordering::Relaxed) + 1;
            if self.settings.once_after_empty.is_some_and(|limit| empty >= limit) {
                return Ok(Received::End);
            }
        } else {
            self.empty.store(0, Ordering::Relaxed);
        }
        Ok(Received::Batch(batch))
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<Vec<Receipt>, SourceError> {
        // Should every try to delete it fail, a message that is still claimed would stay hidden for
        // twelve hours.
        for receipt in receipts {
            self.in_flight.remove(&receipt.0);
        }
        let (client, url) = (self.client.clone(), self.settings.queue_url.clone());
        let handles = receipts.iter().map(|receipt| receipt.0.clone()).collect();
        let left: HashSet<String> =
            in_batches(handles, move |chunk| delete(client.clone(), url.clone(), chunk)).await.into_iter().collect();
        Ok(receipts.iter().filter(|receipt| left.contains(&receipt.0)).cloned().collect())
    }

    async fn park(&self, receipt: &Receipt) -> Result<(), SourceError> {
        self.in_flight.remove(&receipt.0);
        self.client
            .change_message_visibility()
            .queue_url(&self.settings.queue_url)
            .receipt_handle(&receipt.0)
            .visibility_timeout(self.poison.get().copied().unwrap_or(Poison::Redriven).hidden_secs())
            .send()
            .await
            .map(drop)
            .map_err(|error| classify("ChangeMessageVisibility", error.code(), &DisplayErrorContext(&error)))
    }

    async fn close(&self) {
        self.extender.abort();
        let left: Vec<String> = self.in_flight.iter().map(|entry| entry.key().clone()).collect();
        let (client, url) = (self.client.clone(), self.settings.queue_url.clone());
        in_batches(left, move |chunk| change_visibility(client.clone(), url.clone(), chunk, 0)).await;
        self.in_flight.clear();
    }
}

/// Extends the claims that have less than half of their time left.
async fn extend_claims(client: Client, settings: SqsSettings, in_flight: Arc<DashMap<String, InFlight>>) {
    let half = settings.visibility / 2;
    let mut ticks = tokio::time::interval((settings.visibility / 4).max(Duration::from_secs(1)));
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let due: Vec<String> = in_flight
            .iter()
            .filter(|entry| entry.deadline < now + half && now + settings.visibility < entry.received + MAX_CLAIM)
            .map(|entry| entry.key().clone())
            .collect();
        let secs = i32::try_from(settings.visibility.as_secs()).unwrap_or(i32::MAX);
        let (client, url) = (client.clone(), settings.queue_url.clone());
        for receipt in in_batches(due, move |chunk| change_visibility(client.clone(), url.clone(), chunk, secs)).await {
            if let Some(mut entry) = in_flight.get_mut(&receipt) {
                // From before the call: the claim may have begun anew at any time since.
                entry.deadline = now + settings.visibility;
            }
        }
    }
}

/// Makes one call for each ten receipts, several calls at once: one after the other, calls of ten
/// milliseconds would bound the whole program at a thousand messages a second. Returns what the
/// calls return, all together.
async fn in_batches<C>(receipts: Vec<String>, call: impl Fn(Vec<String>) -> C) -> Vec<String>
where
    C: Future<Output = Vec<String>> + Send + 'static,
{
    let mut calls = JoinSet::new();
    let mut answers = Vec::new();
    for chunk in receipts.chunks(BATCH) {
        if calls.len() >= CALLS_AT_ONCE {
            answers.extend(calls.join_next().await.and_then(Result::ok).unwrap_or_default());
        }
        calls.spawn(call(chunk.to_vec()));
    }
    while let Some(answer) = calls.join_next().await {
        answers.extend(answer.unwrap_or_default());
    }
    answers
}

/// Deletes at most ten messages; returns those to be tried again.
async fn delete(client: Client, queue_url: String, receipts: Vec<String>) -> Vec<String> {
    let entries = (0..).zip(&receipts).filter_map(|(id, receipt): (usize, &String)| {
        DeleteMessageBatchRequestEntry::builder().id(id.to_string()).receipt_handle(receipt).build().ok()
    });
    let call = client.delete_message_batch().queue_url(queue_url).set_entries(Some(entries.collect()));
    match call.send().await {
        // What is the sender's fault is a receipt that ran out: its message comes again anyway.
        Ok(done) => {
            let failed = done.failed().iter().filter(|entry| !entry.sender_fault());
            failed.filter_map(|entry| receipts.get(entry.id().parse::<usize>().ok()?).cloned()).collect()
        }
        // The rest of the batches may fare better; these are tried again.
        Err(error) => {
            tracing::warn!(error = %DisplayErrorContext(&error), "DeleteMessageBatch failed");
            receipts
        }
    }
}

/// Changes the visibility of at most ten messages; returns those that took it.
async fn change_visibility(client: Client, queue_url: String, receipts: Vec<String>, secs: i32) -> Vec<String> {
    let entries = (0..).zip(&receipts).filter_map(|(id, receipt): (usize, &String)| {
        let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id.to_string()).receipt_handle(receipt);
        entry.visibility_timeout(secs).build().ok()
    });
    let call = client.change_message_visibility_batch().queue_url(queue_url).set_entries(Some(entries.collect()));
    match call.send().await {
        Ok(done) => {
            let taken = done.successful().iter().filter_map(|entry| entry.id().parse::<usize>().ok());
            taken.filter_map(|id| receipts.get(id).cloned()).collect()
        }
        Err(error) => {
            // The message may come twice: harmless, since state is a set.
            tracing::warn!(error = %DisplayErrorContext(&error), "ChangeMessageVisibilityBatch failed");
            Vec::new()
        }
    }
}

/// Which errors no wait will mend: the queue is not there, or its address is none.
fn classify(call: &str, code: Option<&str>, detail: &dyn std::fmt::Display) -> SourceError {
    let text = format!("{call}: {detail}");
    match code {
        Some("AWS.SimpleQueueService.NonExistentQueue" | "QueueDoesNotExist" | "InvalidAddress") => {
            SourceError::Fatal(text)
        }
        _ => SourceError::Retry(text),
    }
}

/// Whether an answer says that the caller has to change something: at the start a person waits for it.
fn is_refusal(status: Option<u16>, code: Option<&str>) -> bool {
    let throttled = status == Some(429) || code.is_some_and(|code| code.contains("Throttl"));
    status.is_some_and(|status| (400..500).contains(&status)) && !throttled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poison_is_not_read_again_every_second_where_nothing_takes_it_away() {
        assert!(Poison::Stays.hidden_secs() >= 600 && Poison::Redriven.hidden_secs() <= 5);
    }

    /// A queue that nobody answers for.
    fn unreachable_queue() -> SqsSource {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .region(aws_sdk_sqs::config::Region::new("eu-west-1"))
            .credentials_provider(aws_sdk_sqs::config::Credentials::new("test", "test", None, None, "test"))
            .retry_config(aws_sdk_sqs::config::retry::RetryConfig::disabled())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url("http://127.0.0.1:1")
            .build();
        let settings = SqsSettings {
            queue_url: "http://127.0.0.1:1/111122223333/events".to_owned(),
            wait: Duration::from_secs(1),
            visibility: Duration::from_secs(30),
            once_after_empty: None,
        };
        SqsSource::new(Client::from_conf(config), settings)
    }

    #[tokio::test]
    async fn a_queue_that_nobody_answers_for_is_asked_again_and_one_that_refuses_is_not() {
        assert!(matches!(unreachable_queue().check().await, Err(SourceError::Retry(_))));
        assert!(is_refusal(Some(403), Some("AccessDenied")) && is_refusal(Some(400), Some("InvalidSecurity")));
        for (status, code) in
            [(None, None), (Some(503), None), (Some(400), Some("RequestThrottled")), (Some(429), None)]
        {
            assert!(!is_refusal(status, code), "{status:?} {code:?}");
        }
    }

    #[tokio::test]
    async fn what_could_not_be_deleted_is_no_longer_hidden_from_the_next_receive() {
        let source = unreachable_queue();
        let message = Message::builder().receipt_handle("r1").message_id("m1").body("{}").build();
        let receipt = source.delivery(message).unwrap().receipt;
        assert_eq!(source.in_flight(), 1);
        assert_eq!(source.ack(std::slice::from_ref(&receipt)).await.unwrap(), [receipt], "it is to be tried again");
        assert_eq!(source.in_flight(), 0, "its claim would be extended for twelve hours");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_of_ten_run_side_by_side_and_every_answer_counts() {
        let receipts: Vec<String> = (0..325).map(|n| n.to_string()).collect();
        let began = Instant::now();
        let mut back = in_batches(receipts.clone(), |chunk| async move {
            assert!(chunk.len() <= BATCH);
            tokio::time::sleep(Duration::from_millis(10)).await;
            chunk
        })
        .await;
        assert!(began.elapsed() < Duration::from_millis(50), "33 calls in three rounds, not one by one");
        back.sort_by_key(|receipt| receipt.parse::<u32>().unwrap());
        assert_eq!(back, receipts);
    }
}
