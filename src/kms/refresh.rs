//! Asks KMS again and again, so that a running service's picture of the keys is no older than it
//! says.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::KmsError;
use super::survey::{Counts, Survey};
use crate::keys::snapshot::KeyFacts;
use crate::telemetry::{Counter, Gauge};

/// Answers handed over at a time.
const BATCH: usize = 64;
/// After a failure the next round is no further off than this.
const AFTER_FAILURE: Duration = Duration::from_secs(900);

/// Surveys every place, at once and then every so often, until stopped or nobody listens.
///
/// A place that fails is told in the log and counted; the others go on, and it is asked again with
/// the next round. Handing over waits, so a slow listener slows the questions and nothing piles up.
pub async fn refresh(
    surveys: Vec<Survey>,
    every: Duration,
    asked: mpsc::Sender<Vec<KeyFacts>>,
    stop: CancellationToken,
) {
    loop {
        let rounds = async {
            let mut failed = false;
            for survey in &surveys {
                failed |= !round(survey, &asked).await;
            }
            failed
        };
        let failed = tokio::select! {
            () = stop.cancelled() => return,
            failed = rounds => failed,
        };
        if asked.is_closed() {
            return;
        }
        let pause = if failed { every.min(AFTER_FAILURE) } else { every };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Whether the keys of a place were asked.
async fn round(survey: &Survey, asked: &mpsc::Sender<Vec<KeyFacts>>) -> bool {
    match survey_once(survey, asked).await {
        Ok(counts) => {
            tracing::info!(place = %survey.place(), keys = counts.answered, gone = counts.gone, "asked KMS about its keys");
            Gauge::KeyRefreshed.set(u64::try_from(survey.now().as_millis() / 1000).unwrap_or_default());
            true
        }
        Err(error) => {
            Counter::KeyRefreshErrors.add(1);
            tracing::error!(%error, "KMS could not be asked about its keys");
            false
        }
    }
}

async fn survey_once(survey: &Survey, asked: &mpsc::Sender<Vec<KeyFacts>>) -> Result<Counts, KmsError> {
    let mut answers = survey.begin(|_| false).await?;
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let next = answers.next().await;
        let is_more = matches!(next, Ok(Some(_)));
        let ended = match next {
            Ok(facts) => {
                batch.extend(facts);
                Ok(())
            }
            Err(error) => Err(error),
        };
        // What was answered before a failure is as true as ever.
        if batch.len() >= BATCH || !is_more {
            Counter::KeysAsked.add(batch.len() as u64);
            let nobody_listens = asked.send(std::mem::take(&mut batch)).await.is_err();
            if nobody_listens || !is_more {
                return ended.map(|()| answers.counts());
            }
        }
    }
}
