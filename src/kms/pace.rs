//! How fast KMS is asked, and what is made of its refusals.
//!
//! The quotas of KMS are shared with everybody in the account and Region: ListGrants takes 100
//! requests a second, the other questions 500 and more (aws-facts 3). So every request first waits
//! for a limiter well below that, and one that is throttled holds all the others back as well.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

use crate::pipeline::backoff::Backoff;

/// Requests a second unless told otherwise. At most one in five or six is a ListGrants, so this is a
/// tenth of its quota.
pub const DEFAULT_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(49);

/// Tries of one request before KMS is held to be out of reach.
const MAX_TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// Of what KMS says.
const MAX_REASON_CHARS: usize = 400;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// KMS has answered: no.
    Refused {
        /// Its error code.
        code: String,
        /// Code and message.
        reason: String,
    },
    /// It has not.
    OutOfReach(String),
}

/// What is to be made of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// KMS wants to be asked more slowly.
    Throttled,
    /// It could not answer just then.
    Again,
    /// It has answered.
    Answer,
    /// It answers nobody who asks like this.
    Hopeless,
}

/// The pace of all requests to one account and Region.
#[derive(Debug)]
pub struct Pace {
    /// Locked while waiting, so that those who wait pass in order instead of all waking at once.
    limiter: tokio::sync::Mutex<DefaultDirectRateLimiter>,
    resume: Mutex<Option<Instant>>,
    per_second: NonZeroU32,
    requests: AtomicU64,
    throttled: AtomicU64,
}

impl Pace {
    /// At most `per_second` requests a second, of which a tenth of a second's may come at once.
    #[must_use]
    pub fn new(per_second: NonZeroU32) -> Self {
        let burst = NonZeroU32::new(per_second.get() / 10).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Self {
            limiter: tokio::sync::Mutex::new(RateLimiter::direct(quota)),
            resume: Mutex::default(),
            per_second,
            requests: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
        }
    }

    /// Requests a second at most.
    #[must_use]
    pub fn per_second(&self) -> NonZeroU32 {
        self.per_second
    }

    /// Requests sent.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests that KMS throttled.
    #[must_use]
    pub fn throttled(&self) -> u64 {
        self.throttled.load(Ordering::Relaxed)
    }

    /// Asks until there is an answer, or it is hopeless. `question` is for messages.
    pub(super) async fn ask<T, E, C, F>(&self, question: &str, call: C) -> Result<T, Failure>
    where
        C: Fn() -> F,
        F: Future<Output = Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut tries = 0;
        loop {
            self.turn().await;
            tries += 1;
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let verdict = judge(&error);
            let reason = reason(&error);
            match verdict {
                Verdict::Answer => {
                    let code = error.code().unwrap_or("error").to_owned();
                    return Err(Failure::Refused { code, reason });
                }
                Verdict::Hopeless => return Err(Failure::OutOfReach(format!("{question}: {reason}"))),
                // An error of KMS itself that stays is its answer for this key.
                Verdict::Again if tries >= MAX_TRIES && matches!(error, SdkError::ServiceError(_)) => {
                    return Err(Failure::Refused { code: error.code().unwrap_or("error").to_owned(), reason });
                }
                Verdict::Throttled | Verdict::Again if tries >= MAX_TRIES => {
                    return Err(Failure::OutOfReach(format!("{question}, {tries} times: {reason}")));
                }
                Verdict::Throttled => {
                    self.throttled.fetch_add(1, Ordering::Relaxed);
                    self.hold(backoff.pause(fastrand::f64()));
                }
                Verdict::Again => tokio::time::sleep(backoff.pause(fastrand::f64())).await,
            }
        }
    }

    /// Waits for leave to send one request.
    async fn turn(&self) {
        let limiter = self.limiter.lock().await;
        while let Some(at) = self.resume_at() {
            tokio::time::sleep_until(at).await;
        }
        limiter.until_ready().await;
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn resume_at(&self) -> Option<Instant> {
        let resume = self.resume.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        resume.filter(|at| *at > Instant::now())
    }

    /// Nobody asks for so long.
    fn hold(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut resume = self.resume.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *resume = Some(resume.map_or(until, |at| at.max(until)));
    }
}

fn judge<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Verdict {
    match error {
        SdkError::ServiceError(answer) => {
            verdict_on(answer.err().code().unwrap_or_default(), answer.raw().status().as_u16())
        }
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Verdict::Again,
        SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => Verdict::Again,
        // No credentials, no address, no trust in the certificate: another try is no better.
        _ => Verdict::Hopeless,
    }
}

fn verdict_on(code: &str, status: u16) -> Verdict {
    match code {
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "SlowDown" => Verdict::Throttled,
        "ExpiredToken"
        | "ExpiredTokenException"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "OptInRequired" => Verdict::Hopeless,
        _ if status == 429 => Verdict::Throttled,
        "KMSInternalException" | "DependencyTimeoutException" | "InternalFailure" | "ServiceUnavailable" => {
            Verdict::Again
        }
        _ if status >= 500 => Verdict::Again,
        _ => Verdict::Answer,
    }
}

/// What KMS said, in one line.
fn reason<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> String {
    let text = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => causes(error),
    };
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON_CHARS).collect();
    line.trim().to_owned()
}

/// An error and what it was caused by, without the details that only programmers read.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if said.last().is_none_or(|before| !before.contains(&text)) {
            said.push(text);
        }
        next = error.source();
    }
    said.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        for (code, status, expected) in [
            ("ThrottlingException", 400, Verdict::Throttled),
            ("", 429, Verdict::Throttled),
            ("KMSInternalException", 500, Verdict::Again),
            ("", 503, Verdict::Again),
            ("AccessDeniedException", 400, Verdict::Answer),
            ("UnsupportedOperationException", 400, Verdict::Answer),
            ("KMSInvalidStateException", 400, Verdict::Answer),
            ("ExpiredTokenException", 400, Verdict::Hopeless),
            ("UnrecognizedClientException", 400, Verdict::Hopeless),
        ] {
            assert_eq!(verdict_on(code, status), expected, "{code} {status}");
        }
        assert_eq!(DEFAULT_PER_SECOND.get(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_throttled_holds_all_back() {
        let pace = Pace::new(NonZeroU32::new(1000).unwrap());
        pace.hold(Duration::from_secs(5));
        pace.hold(Duration::from_secs(1));
        let began = Instant::now();
        pace.turn().await;
        assert!(began.elapsed() >= Duration::from_secs(5), "the longer pause counts");
        pace.turn().await;
        assert!(began.elapsed() < Duration::from_secs(6));
        assert_eq!(pace.requests(), 2);
    }
}
