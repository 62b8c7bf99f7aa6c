//! All keys of one account and Region, asked a few at a time.

use std::num::NonZeroU32;
use std::sync::Arc;

use aws_sdk_kms::Client;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::ask::Asker;
use super::pace::Pace;
use super::{KmsError, Place};
use crate::keys::snapshot::KeyFacts;
use crate::time::{Clock, EventTime};

/// Keys asked at the same time: enough to keep up the pace, few enough that the grants of as many
/// keys fit in memory.
const KEYS_AT_ONCE: usize = 8;
/// Answers that wait to be taken.
const MAX_WAITING: usize = 16;

/// The keys of one account and Region.
#[derive(Clone)]
pub struct Survey {
    asker: Arc<Asker>,
}

/// What a survey came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keys listed.
    pub listed: usize,
    /// Not asked, for the answer was there already.
    pub known: usize,
    /// Asked and answered.
    pub answered: usize,
    /// Deleted between list and question.
    pub gone: usize,
}

impl Survey {
    /// Surveys `place` through a client that leads there and does not itself try again; at most
    /// `per_second` requests a second.
    #[must_use]
    pub fn new(place: Place, client: Client, per_second: NonZeroU32, clock: Arc<dyn Clock>) -> Self {
        let pace = Arc::new(Pace::new(per_second));
        Self { asker: Arc::new(Asker { place, client, pace, clock }) }
    }

    /// Where.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.asker.place
    }

    /// How it went about.
    #[must_use]
    pub fn pace(&self) -> &Pace {
        &self.asker.pace
    }

    /// The time, for those who tell of it.
    #[must_use]
    pub fn now(&self) -> EventTime {
        self.asker.clock.now()
    }

    /// Lists the keys and begins to ask each that is not `known`.
    ///
    /// # Errors
    /// When the keys cannot be listed.
    pub async fn begin(&self, known: impl Fn(&str) -> bool) -> Result<Answers, KmsError> {
        // The whole list first, for its marks may not live as long as the questions take.
        let keys = self.asker.list().await?;
        let mut counts = Counts { listed: keys.len(), ..Counts::default() };
        let todo: Vec<String> = keys.into_iter().filter(|arn| !known(arn)).collect();
        counts.known = counts.listed - todo.len();
        let todo = Arc::new(Mutex::new(todo.into_iter()));
        let (told, answers) = mpsc::channel(MAX_WAITING);
        let mut workers = JoinSet::new();
        for _ in 0..KEYS_AT_ONCE {
            workers.spawn(ask_keys(self.asker.clone(), todo.clone(), told.clone()));
        }
        Ok(Answers { counts, answers, _workers: workers })
    }
}

/// Answers as they come. Whoever drops it ends the questions.
pub struct Answers {
    counts: Counts,
    answers: mpsc::Receiver<Answer>,
    _workers: JoinSet<()>,
}

impl Answers {
    /// What came of it so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The next key; nothing when all are asked. May be given up without losing an answer.
    ///
    /// # Errors
    /// When KMS is out of reach. What was handed over before is whole.
    pub async fn next(&mut self) -> Result<Option<KeyFacts>, KmsError> {
        loop {
            match self.answers.recv().await.transpose()? {
                None => return Ok(None),
                Some(None) => self.counts.gone += 1,
                Some(Some(facts)) => {
                    self.counts.answered += 1;
                    return Ok(Some(facts));
                }
            }
        }
    }
}

type Answer = Result<Option<KeyFacts>, KmsError>;

/// Asks one key after the other until there is none left, or nobody listens.
async fn ask_keys(asker: Arc<Asker>, todo: Arc<Mutex<std::vec::IntoIter<String>>>, told: mpsc::Sender<Answer>) {
    loop {
        let Some(arn) = todo.lock().await.next() else { return };
        let answer = asker.key(&arn).await;
        let is_last = answer.is_err();
        if told.send(answer).await.is_err() || is_last {
            return;
        }
    }
}
